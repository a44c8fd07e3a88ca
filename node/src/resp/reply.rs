//! Replies as a tree, for those who look into them: the gateway's JSON, remote nodes, tests. Commands write to `Out`.

use super::args::header;
use super::number::{parse_i64, write_double};
use super::{Limits, ProtocolError};

/// One reply of RESP2 or RESP3. Reading and writing back gives the same bytes, doubles excepted (same value).
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `+`: a line.
    Simple(Vec<u8>),
    /// `-`: an error line, code first. Also RESP3's `!`, written back as a line with CR and LF as spaces.
    Error(Vec<u8>),
    /// `:`.
    Int(i64),
    /// `$`.
    Bulk(Vec<u8>),
    /// `_` of RESP3.
    Null,
    /// `$-1` of RESP2.
    NullBulk,
    /// `*-1` of RESP2.
    NullArray,
    /// `*`.
    Array(Vec<Reply>),
    /// `%`.
    Map(Vec<(Reply, Reply)>),
    /// `~`.
    Set(Vec<Reply>),
    /// `>`: out of band, never the answer to a command.
    Push(Vec<Reply>),
    /// `,`.
    Double(f64),
    /// `#`.
    Bool(bool),
    /// `(`: decimal text.
    BigNumber(Vec<u8>),
    /// `=`: format and text.
    Verbatim([u8; 3], Vec<u8>),
    /// `|`: attributes, and the reply they belong to.
    Attributed(Vec<(Reply, Reply)>, Box<Reply>),
}

impl Reply {
    /// True for the three ways to say "nothing".
    pub fn is_null(&self) -> bool {
        matches!(self, Reply::Null | Reply::NullBulk | Reply::NullArray)
    }

    /// Appends the reply's bytes, as its own variant says: a `Map` is RESP3 whatever the connection speaks.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => line(b'+', text, out),
            Reply::Error(text) => line(b'-', text, out),
            Reply::Int(value) => line(b':', itoa::Buffer::new().format(*value).as_bytes(), out),
            Reply::Bulk(value) => blob(b'$', &[value], out),
            Reply::Null => out.extend_from_slice(b"_\r\n"),
            Reply::NullBulk => out.extend_from_slice(b"$-1\r\n"),
            Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
            Reply::Array(items) => list(b'*', items, out),
            Reply::Set(items) => list(b'~', items, out),
            Reply::Push(items) => list(b'>', items, out),
            Reply::Map(pairs) => map(b'%', pairs, out),
            Reply::Double(value) => {
                let mut text = Vec::with_capacity(24);
                write_double(*value, &mut text);
                line(b',', &text, out);
            }
            Reply::Bool(value) => out.extend_from_slice(if *value { b"#t\r\n" } else { b"#f\r\n" }),
            Reply::BigNumber(text) => line(b'(', text, out),
            Reply::Verbatim(format, text) => blob(b'=', &[format, b":", text], out),
            Reply::Attributed(pairs, reply) => {
                map(b'|', pairs, out);
                reply.write(out);
            }
        }
    }
}

fn line(kind: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

fn blob(kind: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    header(kind, parts.iter().map(|part| part.len()).sum(), out);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

fn list(kind: u8, items: &[Reply], out: &mut Vec<u8>) {
    header(kind, items.len(), out);
    items.iter().for_each(|item| item.write(out));
}

fn map(kind: u8, pairs: &[(Reply, Reply)], out: &mut Vec<u8>) {
    header(kind, pairs.len(), out);
    for (key, value) in pairs {
        key.write(out);
        value.write(out);
    }
}

/// Reads one reply at the start of `buf`: the reply and its length in bytes, or `None` while it is not whole.
///
/// Memory is taken for what has arrived, not for what a length claims.
///
/// # Errors
/// The bytes are no reply, or pass a limit: see [`ProtocolError`]. The connection is of no more use.
pub fn read_reply(buf: &[u8], limits: &Limits) -> Result<Option<(Reply, usize)>, ProtocolError> {
    let mut reader = Reader { buf, at: 0, limits };
    match reader.reply(0) {
        Ok(reply) => Ok(Some((reply, reader.at))),
        Err(Stop::More) if buf.len() > limits.frame_bytes_max => Err(ProtocolError::FrameBytes),
        Err(Stop::More) => Ok(None),
        Err(Stop::Bad(error)) => Err(error),
    }
}

enum Stop {
    More,
    Bad(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Stop {
        Stop::Bad(error)
    }
}

struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
    limits: &'a Limits,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        if depth > self.limits.depth_max {
            return Err(ProtocolError::Depth.into());
        }
        let kind = *self.buf.get(self.at).ok_or(Stop::More)?;
        if !b"+-:$*_,#(=!%~>|".contains(&kind) {
            return Err(ProtocolError::ReplyType(kind).into());
        }
        let text = self.line()?;
        Ok(match kind {
            b'+' => Reply::Simple(text.to_vec()),
            b'-' => Reply::Error(text.to_vec()),
            b':' => Reply::Int(parse_i64(text.strip_prefix(b"+").unwrap_or(text)).ok_or(ProtocolError::ReplyLine)?),
            b'$' => self.blob(text)?.map_or(Reply::NullBulk, |value| Reply::Bulk(value.to_vec())),
            b'!' => Reply::Error(self.blob(text)?.ok_or(ProtocolError::BulkLength)?.to_vec()),
            b'=' => match self.blob(text)? {
                Some([a, b, c, b':', text @ ..]) => Reply::Verbatim([*a, *b, *c], text.to_vec()),
                _ => return Err(ProtocolError::ReplyLine.into()),
            },
            b'*' if text == b"-1" => Reply::NullArray,
            b'*' => Reply::Array(self.list(text, depth)?),
            b'~' => Reply::Set(self.list(text, depth)?),
            b'>' => Reply::Push(self.list(text, depth)?),
            b'%' => Reply::Map(self.map(text, depth)?),
            b'|' => Reply::Attributed(self.map(text, depth)?, Box::new(self.reply(depth + 1)?)),
            b',' => Reply::Double(double(text).ok_or(ProtocolError::ReplyLine)?),
            b'#' if text == b"t" => Reply::Bool(true),
            b'#' if text == b"f" => Reply::Bool(false),
            b'(' if is_decimal(text) => Reply::BigNumber(text.to_vec()),
            b'_' if text.is_empty() => Reply::Null,
            _ => return Err(ProtocolError::ReplyLine.into()),
        })
    }

    /// The line after the type byte; its CR LF is consumed.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.buf.get(self.at + 1..).unwrap_or_default();
        let window = rest.get(..rest.len().min(self.limits.inline_bytes_max + 2)).unwrap_or_default();
        let Some(length) = memchr::memchr(b'\n', window) else {
            return Err(if rest.len() > window.len() { ProtocolError::ReplyLine.into() } else { Stop::More });
        };
        let text = window.get(..length).and_then(|text| text.strip_suffix(b"\r")).ok_or(ProtocolError::ReplyLine)?;
        self.at += 1 + length + 1;
        Ok(text)
    }

    fn blob(&mut self, length: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
        if length == b"-1" {
            return Ok(None);
        }
        let length = parse_i64(length)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= self.limits.bulk_bytes_max)
            .ok_or(ProtocolError::BulkLength)?;
        let value = self.buf.get(self.at..self.at + length + 2).ok_or(Stop::More)?;
        self.at += length + 2;
        Ok(Some(value.strip_suffix(b"\r\n").ok_or(ProtocolError::ReplyLine)?))
    }

    fn count(&self, text: &[u8]) -> Result<usize, Stop> {
        let count = parse_i64(text).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= self.limits.args_max);
        Ok(count.ok_or(ProtocolError::MultibulkLength)?)
    }

    /// Elements have at least 3 bytes, so room is made for no more than the bytes at hand can hold.
    fn room(&self, count: usize) -> usize {
        count.min((self.buf.len() - self.at) / 3)
    }

    fn list(&mut self, count: &[u8], depth: usize) -> Result<Vec<Reply>, Stop> {
        let count = self.count(count)?;
        let mut items = Vec::with_capacity(self.room(count));
        for _ in 0..count {
            items.push(self.reply(depth + 1)?);
        }
        Ok(items)
    }

    fn map(&mut self, count: &[u8], depth: usize) -> Result<Vec<(Reply, Reply)>, Stop> {
        let count = self.count(count)?;
        let mut pairs = Vec::with_capacity(self.room(count));
        for _ in 0..count {
            pairs.push((self.reply(depth + 1)?, self.reply(depth + 1)?));
        }
        Ok(pairs)
    }
}

fn double(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" | b"+inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        b"nan" | b"-nan" => Some(f64::NAN),
        [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

fn is_decimal(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(wire: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
        read_reply(wire, &Limits::DEFAULT)
    }

    #[test]
    fn every_type_reads_and_writes_back() {
        let wires = "+OK\r\n;-ERR x\r\n;:-5\r\n;$3\r\na\r\n\r\n;$-1\r\n;*-1\r\n;_\r\n;*2\r\n:1\r\n*0\r\n;%1\r\n+a\r\n:1\r\n;\
            ~1\r\n#t\r\n;>2\r\n+x\r\n#f\r\n;,0.5\r\n;,inf\r\n;(123456789012345678901234567890\r\n;=6\r\ntxt:hi\r\n;\
            |1\r\n+k\r\n:2\r\n+v\r\n";
        for wire in wires.split(';') {
            let (reply, length) = read(wire.as_bytes()).unwrap().unwrap();
            assert_eq!(length, wire.len());
            let mut back = Vec::new();
            reply.write(&mut back);
            assert_eq!(back, wire.as_bytes());
            for cut in 0..wire.len() {
                assert_eq!(read(&wire.as_bytes()[..cut]), Ok(None), "{wire:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for wire in [
            "x\r\n",
            ":1a\r\n",
            "$-2\r\n",
            "$1\r\nabc",
            "+a\n",
            "#x\r\n",
            ",e\r\n",
            "(1.5\r\n",
            "=2\r\nab\r\n",
            "_x\r\n",
            "*1048577\r\n",
            "$536870913\r\n",
            "*?\r\n",
            "$?\r\n",
        ] {
            assert!(read(wire.as_bytes()).is_err(), "{wire:?}");
        }
        assert_eq!(read(b"*1048576\r\n"), Ok(None));
        assert_eq!(read(b"$536870912\r\n"), Ok(None));
        let deep = |n: usize| "*1\r\n".repeat(n) + ":1\r\n";
        assert!(read(deep(32).as_bytes()).unwrap().is_some());
        assert_eq!(read(deep(33).as_bytes()), Err(ProtocolError::Depth));
        let long = [b"+", &vec![b'a'; 64 * 1024][..], b"\r\n"].concat();
        assert!(read(&long).unwrap().is_some());
        assert_eq!(read(&[b"+a", &long[1..]].concat()), Err(ProtocolError::ReplyLine));
    }

    fn tree() -> impl Strategy<Value = Reply> {
        let text = || proptest::collection::vec(any::<u8>(), 0..12);
        let line = || "[ -~]{0,12}".prop_map(String::into_bytes);
        let leaf = prop_oneof![
            line().prop_map(Reply::Simple),
            line().prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Int),
            text().prop_map(Reply::Bulk),
            Just(Reply::Null),
            Just(Reply::NullBulk),
            Just(Reply::NullArray),
            any::<bool>().prop_map(Reply::Bool),
            (-1e300f64..1e300).prop_map(Reply::Double),
            text().prop_map(|t| Reply::Verbatim(*b"txt", t)),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let items = || proptest::collection::vec(inner.clone(), 0..5);
            let pairs = || proptest::collection::vec((inner.clone(), inner.clone()), 0..4);
            prop_oneof![
                items().prop_map(Reply::Array),
                items().prop_map(Reply::Set),
                items().prop_map(Reply::Push),
                pairs().prop_map(Reply::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn trees_survive_the_wire(reply in tree(), tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut wire = Vec::new();
            reply.write(&mut wire);
            let length = wire.len();
            wire.extend_from_slice(&tail);
            prop_assert_eq!(read(&wire), Ok(Some((reply, length))));
        }

        #[test]
        fn any_bytes_are_an_answer(wire in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&wire);
        }
    }
}
