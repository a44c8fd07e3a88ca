//! The arguments of one request: borrowed from a read buffer, or owned.

/// One request's arguments: ranges into a buffer. Two slices, so it is passed by value.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    ranges: &'a [(u32, u32)],
}

impl<'a> Args<'a> {
    /// Arguments at `ranges` (start, end) of `buf`. A range outside `buf` reads as an empty argument.
    #[inline]
    pub fn new(buf: &'a [u8], ranges: &'a [(u32, u32)]) -> Args<'a> {
        Args { buf, ranges }
    }

    /// How many arguments, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True for the empty request (`*0`, an empty line), which is answered by nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`; empty when there is none. Arity is checked before, so commands index freely.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        self.try_get(i).unwrap_or_default()
    }

    /// Argument `i`, if the request has it.
    #[inline]
    pub fn try_get(&self, i: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.ranges.get(i)?;
        Some(self.buf.get(start as usize..end as usize).unwrap_or_default())
    }

    /// The arguments from `i` on.
    #[inline]
    pub fn from(&self, i: usize) -> Args<'a> {
        Args { buf: self.buf, ranges: self.ranges.get(i..).unwrap_or_default() }
    }

    /// The first `n` arguments, or all when there are fewer.
    pub fn up_to(&self, n: usize) -> Args<'a> {
        Args { buf: self.buf, ranges: self.ranges.get(..n).unwrap_or(self.ranges) }
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let buf = self.buf;
        self.ranges.iter().map(move |&(start, end)| buf.get(start as usize..end as usize).unwrap_or_default())
    }

    /// The sum of the arguments' lengths, in bytes.
    pub fn bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// A copy that outlives the read buffer: for MULTI, blocking commands and retries.
    pub fn to_owned(&self) -> OwnedArgs {
        let mut owned = OwnedArgs::default();
        owned.buf.reserve_exact(self.bytes());
        owned.ranges.reserve_exact(self.len());
        for arg in self.iter() {
            owned.push(arg);
        }
        owned
    }
}

impl std::fmt::Debug for Args<'_> {
    /// The command's name and the sizes only: arguments may be passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({} args, {} bytes)", self.get(0).escape_ascii(), self.len(), self.bytes())
    }
}

/// Room for most commands that are made here and not read from a client.
const ROOM_BYTES: usize = 64;

/// Arguments in one buffer of their own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    buf: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl OwnedArgs {
    /// No arguments yet.
    pub fn new() -> OwnedArgs {
        OwnedArgs::default()
    }

    /// None yet, with room for so many.
    pub fn with_capacity(args: usize) -> OwnedArgs {
        OwnedArgs { buf: Vec::with_capacity(ROOM_BYTES), ranges: Vec::with_capacity(args) }
    }

    /// One argument for each slice.
    pub fn from_slices<T: AsRef<[u8]>>(args: impl IntoIterator<Item = T>) -> OwnedArgs {
        let args = args.into_iter();
        let mut owned = OwnedArgs::with_capacity(args.size_hint().0);
        for arg in args {
            owned.push(arg.as_ref());
        }
        owned
    }

    /// Adds an argument. The total is meant to stay below `Limits::frame_bytes_max`; beyond 4 GiB the argument is
    /// kept as an empty one.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.buf.len();
        let (start, end) = match (u32::try_from(start), u32::try_from(start + arg.len())) {
            (Ok(start), Ok(end)) => (start, end),
            _ => return self.ranges.push((0, 0)),
        };
        self.buf.extend_from_slice(arg);
        self.ranges.push((start, end));
    }

    /// Forgets the arguments, and what memory they had beyond `bytes`.
    pub fn clear(&mut self, bytes: usize) {
        if self.heap_bytes() > bytes {
            return *self = OwnedArgs::new();
        }
        self.buf.clear();
        self.ranges.clear();
    }

    /// The arguments, borrowed.
    #[inline]
    pub fn as_args(&self) -> Args<'_> {
        Args { buf: &self.buf, ranges: &self.ranges }
    }

    /// Bytes held on the heap, for queue limits.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity() + self.ranges.capacity() * size_of::<(u32, u32)>()
    }
}

impl std::fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_args().fmt(f)
    }
}

/// Appends `args` as a RESP array of bulk strings: what a client sends, what the effect log holds.
pub fn encode_request(args: Args<'_>, out: &mut Vec<u8>) {
    out.reserve(args.bytes() + 16 * (args.len() + 1));
    header(b'*', args.len(), out);
    for arg in args.iter() {
        header(b'$', arg.len(), out);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[inline]
pub(super) fn header(kind: u8, n: usize, out: &mut Vec<u8>) {
    if n < 10 {
        // One store of a small constant-length slice: most counts and many lengths are one digit.
        out.extend_from_slice(&[kind, b'0' + n as u8, b'\r', b'\n']);
    } else {
        out.push(kind);
        out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_written() {
        let owned = OwnedArgs::from_slices([&b"SET"[..], b"k", b""]);
        let args = owned.as_args();
        assert_eq!((args.len(), args.bytes()), (3, 4));
        assert_eq!((args.get(0), args.get(1), args.get(2), args.get(3)), (&b"SET"[..], &b"k"[..], &b""[..], &b""[..]));
        assert_eq!(args.try_get(3), None);
        assert_eq!(args.from(1).iter().collect::<Vec<_>>(), [&b"k"[..], b""]);
        assert!(args.from(9).is_empty());
        assert_eq!(args.to_owned(), owned);
        let mut wire = Vec::new();
        encode_request(args, &mut wire);
        assert_eq!(wire, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    #[test]
    fn debug_shows_no_argument() {
        let owned = OwnedArgs::from_slices(["AUTH", "hunter2"]);
        assert_eq!(format!("{owned:?}"), "AUTH(2 args, 11 bytes)");
    }

    #[test]
    fn ranges_outside_the_buffer_are_empty() {
        assert_eq!(Args::new(b"abc", &[(2, 9), (3, 1)]).get(0), b"");
        assert_eq!(Args::new(b"abc", &[(2, 9), (3, 1)]).iter().next_back(), Some(&b""[..]));
    }
}
