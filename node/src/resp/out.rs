//! The reply writer: RESP2 or RESP3 into one growing buffer, with large values by reference.

use super::args::header;
use super::number::write_double;
use bytes::Bytes;
use std::io::IoSlice;

/// Values from this length on are queued by reference instead of being copied: bytes.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;

/// Most bytes that are copied into replies before they are written: the rest of a reply that is longer is left out, and
/// [`Out::is_cut`] says so. A few bytes of a request can ask for the same value a million times.
pub const REPLY_BYTES_MAX: usize = if cfg!(test) { 64 << 20 } else { 512 << 20 };

/// Bytes of `\r\n`.
const LINE_END: usize = 2;

/// Replies of one connection (or one HTTP call), ready to be written out.
///
/// Small replies are bytes of one `Vec`; a value given to [`Out::bulk_shared`] that is large enough stays a reference
/// counted segment between two places of that `Vec`, for `writev`.
#[derive(Debug, Default)]
pub struct Out {
    buf: Vec<u8>,
    /// (place in `buf`, value that goes out before the byte at that place), in order.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
    resp3: bool,
    is_copied: bool,
    is_whole: bool,
    is_cut: bool,
}

/// A place in an [`Out`], to which it can be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    buf: usize,
    shared: usize,
    shared_bytes: usize,
}

impl Out {
    /// An empty writer that speaks RESP2, or RESP3 when `protocol` is 3.
    pub fn new(protocol: u8) -> Out {
        Out { resp3: protocol == 3, ..Out::default() }
    }

    /// 2 or 3.
    pub fn protocol(&self) -> u8 {
        if self.resp3 { 3 } else { 2 }
    }

    /// What HELLO chose, from the next reply on.
    pub fn set_protocol(&mut self, protocol: u8) {
        self.resp3 = protocol == 3;
    }

    /// `+text`. The text is ours and holds no line end.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// `-message`: `message` begins with its code (`ERR`, `WRONGTYPE`, ...). Line ends inside become spaces, as a
    /// message may quote what the client sent.
    pub fn error(&mut self, message: impl AsRef<[u8]>) {
        self.buf.push(b'-');
        self.buf.extend(message.as_ref().iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        self.buf.extend_from_slice(b"\r\n");
    }

    /// `:value`.
    #[inline]
    pub fn int(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.buf.extend_from_slice(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.line(b':', itoa::Buffer::new().format(value).as_bytes());
        }
    }

    /// A bulk string, copied.
    #[inline]
    pub fn bulk(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        if self.is_over() && self.cut() {
            return;
        }
        self.buf.reserve(value.len() + 32);
        header(b'$', value.len(), &mut self.buf);
        self.buf.extend_from_slice(value);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string, which is how GET answers a counter.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value));
    }

    /// A bulk string by reference when it is at least [`SHARED_BYTES_MIN`] long, else copied.
    pub fn bulk_shared(&mut self, value: Bytes) {
        if value.len() < SHARED_BYTES_MIN {
            return self.bulk(&value);
        }
        if self.is_over() && self.cut() {
            return;
        }
        header(b'$', value.len(), &mut self.buf);
        self.shared_bytes += value.len();
        self.shared.push((self.buf.len(), value));
        self.buf.extend_from_slice(b"\r\n");
    }

    /// No value: `_`, in RESP2 the null bulk string.
    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No array (an aborted EXEC, a BLPOP that timed out): `_`, in RESP2 the null array.
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The head of an array; its `n` elements follow.
    #[inline]
    pub fn array(&mut self, n: usize) {
        header(b'*', n, &mut self.buf);
    }

    /// The head of a map; `n` pairs of key and value follow. RESP2: an array of `2 n`.
    pub fn map(&mut self, n: usize) {
        if self.resp3 { header(b'%', n, &mut self.buf) } else { header(b'*', n * 2, &mut self.buf) }
    }

    /// The head of a set. RESP2: an array.
    pub fn set(&mut self, n: usize) {
        header(if self.resp3 { b'~' } else { b'*' }, n, &mut self.buf);
    }

    /// The head of a push message. RESP2: an array.
    pub fn push(&mut self, n: usize) {
        header(if self.resp3 { b'>' } else { b'*' }, n, &mut self.buf);
    }

    /// A double. RESP2: a bulk string of the same text.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        write_double(value, &mut text);
        if self.resp3 { self.line(b',', &text) } else { self.bulk(&text) }
    }

    /// A truth value. RESP2: 1 or 0.
    pub fn bool(&mut self, value: bool) {
        match (self.resp3, value) {
            (true, true) => self.buf.extend_from_slice(b"#t\r\n"),
            (true, false) => self.buf.extend_from_slice(b"#f\r\n"),
            (false, value) => self.int(i64::from(value)),
        }
    }

    /// An integer of any size, as decimal text. RESP2: a bulk string.
    pub fn big_number(&mut self, text: &str) {
        if self.resp3 { self.line(b'(', text.as_bytes()) } else { self.bulk(text) }
    }

    /// Text with its three-letter format (`txt`, `mkd`). RESP2: a bulk string of the text alone.
    pub fn verbatim(&mut self, format: [u8; 3], text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if !self.resp3 {
            return self.bulk(text);
        }
        header(b'=', text.len() + 4, &mut self.buf);
        self.buf.extend_from_slice(&format);
        self.buf.push(b':');
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, reply: &[u8]) {
        self.buf.extend_from_slice(reply);
    }

    /// All that `other` holds, after all that this holds; `other` is left empty.
    pub fn append(&mut self, other: &mut Out) {
        // What is cut already is no reply any more, whatever it is for.
        if other.is_cut || self.is_over() && self.cut() {
            self.is_cut = true;
            return other.clear();
        }
        let base = self.buf.len();
        self.buf.append(&mut other.buf);
        self.shared.extend(other.shared.drain(..).map(|(at, value)| (at + base, value)));
        self.shared_bytes += std::mem::take(&mut other.shared_bytes);
    }

    /// Lets values held by reference count against [`REPLY_BYTES_MAX`] as if they were copied: for a reply that is taken as
    /// one vector in the end.
    pub fn will_be_copied(&mut self) {
        self.is_copied = true;
    }

    /// Whether there is as much already as may be.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        let shared = if self.is_copied { self.shared_bytes } else { 0 };
        self.buf.len() + shared > REPLY_BYTES_MAX
    }

    /// Leaves something out, unless the reply is to be whole.
    #[cold]
    fn cut(&mut self) -> bool {
        self.is_cut = !self.is_whole;
        self.is_cut
    }

    /// Whether what is written from here on is kept however long it is: what a command takes out of the keyspace is nowhere
    /// else, and needs no more memory than it did there.
    #[inline]
    pub fn keep_whole(&mut self, is_whole: bool) {
        self.is_whole = is_whole;
    }

    /// Whether a part of the last reply was left out, as all of it was too long.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Bytes to be written, shared values included.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() + self.shared_bytes
    }

    /// True when there is nothing to write.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// The bytes, when no value is held by reference; else `None`, and [`Out::segments`] is the way.
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.shared.is_empty().then_some(&self.buf)
    }

    /// The bytes in order, as pieces for `writev`, leaving out the first `skip` bytes.
    pub fn segments(&self, skip: usize) -> impl Iterator<Item = &[u8]> {
        let mut skip = skip;
        self.pieces().filter_map(move |piece| {
            let cut = skip.min(piece.len());
            skip -= cut;
            piece.get(cut..).filter(|rest| !rest.is_empty())
        })
    }

    /// Fills `slices` with the pieces after the first `skip` bytes; answers how many were filled.
    pub fn io_slices<'a>(&'a self, skip: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(self.segments(skip)) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// All bytes in one vector, shared values copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().fold(Vec::with_capacity(self.len()), |mut all, piece| {
            all.extend_from_slice(piece);
            all
        })
    }

    /// Takes all bytes out as one vector, without a copy when nothing is shared; the protocol stays.
    pub fn take(&mut self) -> Vec<u8> {
        if self.shared.is_empty() {
            return std::mem::take(&mut self.buf);
        }
        let all = self.to_vec();
        self.clear();
        all
    }

    /// Forgets what was written; the buffer's capacity and the protocol stay.
    pub fn clear(&mut self) {
        self.is_whole = false;
        self.rollback(Mark { buf: 0, shared: 0, shared_bytes: 0 });
    }

    /// Gives memory back when the buffer has grown beyond `bytes` and is empty.
    pub fn shrink(&mut self, bytes: usize) {
        if self.buf.is_empty() && self.buf.capacity() > bytes {
            self.buf = Vec::with_capacity(bytes);
        }
        if self.shared.is_empty() && self.shared.capacity() * size_of::<(usize, Bytes)>() > bytes {
            self.shared = Vec::new();
        }
    }

    /// Bytes written after `mark`.
    pub(crate) fn len_since(&self, mark: Mark) -> usize {
        self.len().saturating_sub(mark.buf + mark.shared_bytes)
    }

    /// The present end, for [`Out::rollback`].
    pub fn mark(&self) -> Mark {
        Mark { buf: self.buf.len(), shared: self.shared.len(), shared_bytes: self.shared_bytes }
    }

    /// Forgets what was written after `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        self.buf.truncate(mark.buf);
        self.shared.truncate(mark.shared);
        self.shared_bytes = mark.shared_bytes;
        self.is_cut = false;
    }

    /// The lengths of the replies behind `mark`, in bytes, none of them copied or read beyond its heads; none for one that is
    /// not whole, and for what follows it.
    pub(crate) fn reply_lengths(&self, mark: Mark) -> Vec<usize> {
        let mut shared = self.shared.get(mark.shared..).unwrap_or_default().iter().peekable();
        let (mut lengths, mut at) = (Vec::new(), mark.buf);
        while at < self.buf.len() {
            let (from, mut shared_bytes, mut left) = (at, 0, 1);
            while left > 0 {
                let Some((kind, number, end)) = self.head(at) else { return lengths };
                (left, at) = (left - 1, end);
                match (kind, number.and_then(|number| usize::try_from(number).ok())) {
                    (b'*' | b'~' | b'>', Some(n)) => left += n,
                    (b'%', Some(n)) => left += 2 * n,
                    (b'$' | b'=', Some(n)) if shared.next_if(|(place, _)| *place == end).is_some() => {
                        shared_bytes += n;
                        at += LINE_END;
                    }
                    (b'$' | b'=', Some(n)) => at += n + LINE_END,
                    _ => {}
                }
            }
            lengths.push(at - from + shared_bytes);
        }
        lengths
    }

    /// The kind of a reply or of a part of one, the number that its first line is, and where that line ends.
    fn head(&self, at: usize) -> Option<(u8, Option<i64>, usize)> {
        let (kind, rest) = self.buf.get(at..)?.split_first()?;
        let text = memchr::memchr(b'\r', rest)?;
        Some((*kind, super::parse_i64(rest.get(..text)?), at + 1 + text + LINE_END))
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        let last = (self.buf.len(), None);
        self.shared.iter().map(|(at, value)| (*at, Some(value))).chain([last]).flat_map(move |(upto, value)| {
            let own = self.buf.get(at..upto).unwrap_or_default();
            at = upto;
            [own, value.map(Bytes::as_ref).unwrap_or_default()]
        })
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buf.push(kind);
        self.buf.extend_from_slice(text);
        self.buf.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(protocol: u8, write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out::new(protocol);
        write(&mut out);
        assert_eq!(out.len(), out.as_slice().unwrap().len());
        String::from_utf8(out.take()).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn each_type_in_both_protocols() {
        type Write = fn(&mut Out);
        let both: [(Write, &str, &str); 17] = [
            (|o| o.simple("PONG"), "+PONG|", "+PONG|"),
            (|o| o.ok(), "+OK|", "+OK|"),
            (|o| o.error("ERR a\r\nb"), "-ERR a  b|", "-ERR a  b|"),
            (|o| o.int(7), ":7|", ":7|"),
            (|o| o.int(i64::MIN), ":-9223372036854775808|", ":-9223372036854775808|"),
            (|o| o.bulk("ab"), "$2|ab|", "$2|ab|"),
            (|o| o.bulk_int(-12), "$3|-12|", "$3|-12|"),
            (|o| o.null(), "$-1|", "_|"),
            (|o| o.null_array(), "*-1|", "_|"),
            (|o| o.array(12), "*12|", "*12|"),
            (|o| o.map(2), "*4|", "%2|"),
            (|o| o.set(0), "*0|", "~0|"),
            (|o| o.push(3), "*3|", ">3|"),
            (|o| o.double(0.5), "$3|0.5|", ",0.5|"),
            (|o| o.bool(true), ":1|", "#t|"),
            (|o| o.big_number("123"), "$3|123|", "(123|"),
            (|o| o.verbatim(*b"txt", "hi"), "$2|hi|", "=6|txt:hi|"),
        ];
        for (write, resp2, resp3) in both {
            assert_eq!(written(2, write), resp2);
            assert_eq!(written(3, write), resp3);
        }
    }

    #[test]
    fn shared_values_keep_their_place() {
        let big = Bytes::from(vec![b'x'; SHARED_BYTES_MIN]);
        let mut out = Out::new(2);
        out.array(3);
        out.bulk_shared(big.clone());
        out.bulk_shared(Bytes::from_static(b"small"));
        let mark = out.mark();
        out.bulk_shared(big.clone());
        let mut want = format!("*3\r\n${}\r\n", big.len()).into_bytes();
        want.extend_from_slice(&big);
        want.extend_from_slice(b"\r\n$5\r\nsmall\r\n");
        let before = want.clone();
        want.extend_from_slice(format!("${}\r\n", big.len()).as_bytes());
        want.extend_from_slice(&big);
        want.extend_from_slice(b"\r\n");
        assert_eq!((out.to_vec(), out.len(), out.as_slice()), (want.clone(), want.len(), None));
        for skip in [0, 1, 12, 13, 5000, before.len(), want.len() - 1, want.len()] {
            assert_eq!(out.segments(skip).collect::<Vec<_>>().concat(), want[skip..], "{skip}");
        }
        let mut slices = [IoSlice::new(b""); 2];
        assert_eq!(out.io_slices(0, &mut slices), 2);
        assert_eq!(slices[1].len(), big.len());
        out.rollback(mark);
        let mut all = Out::new(2);
        all.simple("A");
        all.append(&mut out);
        assert!(out.is_empty());
        assert_eq!(all.take(), [b"+A\r\n", &before[..]].concat());
        assert!(all.is_empty());
    }

    #[test]
    fn lengths_of_replies_are_told_whatever_is_in_them() {
        let big = Bytes::from(vec![b'\n'; SHARED_BYTES_MIN]);
        for protocol in [2, 3] {
            let mut out = Out::new(protocol);
            out.bulk_shared(big.clone());
            let mark = out.mark();
            let replies: [&dyn Fn(&mut Out); 8] = [
                &|out| out.simple("-1"),
                &|out| out.null(),
                &|out| out.bulk("*3\r\n"),
                &|out| out.bulk_shared(big.clone()),
                &|out| {
                    out.map(1);
                    out.bulk_shared(big.clone());
                    out.array(2);
                    out.null_array();
                    out.bulk_shared(big.clone());
                },
                &|out| out.array(0),
                &|out| out.double(0.5),
                &|out| out.verbatim(*b"txt", "a\r\nb"),
            ];
            let mut want = Vec::new();
            for write in replies {
                let before = out.mark();
                write(&mut out);
                want.push(out.len_since(before));
            }
            assert_eq!(out.reply_lengths(mark), want);
            out.array(2);
            out.null();
            assert_eq!(out.reply_lengths(mark), want, "the last is not whole");
        }
    }
}
