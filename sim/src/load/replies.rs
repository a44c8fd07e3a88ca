//! Counting RESP2 replies in a stream.

use super::{Limits, Seen};
use std::io;

/// Most bytes of a reply's line.
const LINE_BYTES_MAX: usize = 4096;

/// Counts replies in a stream cut anywhere. An array counts once, when its last element has come; an empty one, and a
/// null anywhere, is a miss.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Bytes still to come of a bulk string and its line end.
    bulk_left: usize,
    /// Elements still to come of the array under way, those of nested arrays added as they begin.
    elements_left: u64,
    /// A line of which the end has not come.
    line: Vec<u8>,
}

impl Replies {
    pub(super) fn read(&mut self, mut bytes: &[u8], seen: &mut Seen) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.bulk_left > 0 {
                let skip = self.bulk_left.min(bytes.len());
                self.bulk_left -= skip;
                bytes = &bytes[skip..];
                if self.bulk_left == 0 {
                    self.ended(seen);
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                if self.line.len() + bytes.len() > LINE_BYTES_MAX {
                    return Err(io::Error::other(format!("a reply line is over {LINE_BYTES_MAX} bytes")));
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            if self.line.is_empty() {
                self.line(&bytes[..end], seen)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line, seen)?;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Reads a reply's first line, without its LF.
    fn line(&mut self, line: &[u8], seen: &mut Seen) -> io::Result<()> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            [b'+' | b':', ..] => self.ended(seen),
            [b'-', ..] => {
                seen.errors += 1;
                self.ended(seen);
            }
            b"$-1" | b"_" | b"*-1" | b"*0" => {
                seen.misses += 1;
                self.ended(seen);
            }
            [b'$', digits @ ..] => self.bulk_left = length(digits)? + 2,
            [b'*', digits @ ..] => self.elements_left = self.elements_left.saturating_sub(1) + length(digits)? as u64,
            _ => return Err(io::Error::other(format!("not a reply: {:?}", String::from_utf8_lossy(line)))),
        }
        Ok(())
    }

    /// A reply, or an element of the array under way, has come whole.
    fn ended(&mut self, seen: &mut Seen) {
        self.elements_left = self.elements_left.saturating_sub(1);
        seen.answers += u64::from(self.elements_left == 0);
    }
}

fn length(digits: &[u8]) -> io::Result<usize> {
    let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    length
        .filter(|&length| length <= Limits::REPLY_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a reply with a bad length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_count_alike_however_they_are_cut() {
        let stream = b"+OK\r\n$3\r\na\nb\r\n$-1\r\n-ERR no\r\n:5\r\n_\r\n$0\r\n\r\n\
                       *2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n*0\r\n*1\r\n*1\r\n:1\r\n";
        for cut in 1..stream.len() {
            let (mut replies, mut seen) = (Replies::default(), Seen::default());
            for part in stream.chunks(cut) {
                replies.read(part, &mut seen).expect("these are replies");
            }
            assert_eq!(seen, Seen { answers: 10, errors: 1, misses: 4 }, "cut at {cut}");
        }
        for wrong in [&b"hello\r\n"[..], b"$x\r\n", b"$99999999999999999999\r\n", b"*-2\r\n", &[b'+'; 5000]] {
            assert!(Replies::default().read(wrong, &mut Seen::default()).is_err());
        }
    }
}
