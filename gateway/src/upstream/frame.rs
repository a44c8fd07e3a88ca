//! Where a group of replies ends, found as the bytes arrive and without reading any of them twice.

use crate::http::render::BadReply;

/// Finds the end of the next group of replies in a buffer that only grows.
#[derive(Debug)]
pub(super) struct Framer {
    /// Values still to come, elements of open arrays included.
    left: u64,
    /// First byte of the next value.
    at: usize,
    /// Longest group, in bytes.
    bytes_max: usize,
}

/// Longest line that holds a length, a number or an error.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl Framer {
    /// Waits for `replies` whole replies.
    pub(super) fn new(replies: usize, bytes_max: usize) -> Framer {
        Framer { left: replies as u64, at: 0, bytes_max }
    }

    /// The length of the whole group at the front of `buffer`, once it has arrived.
    ///
    /// # Errors
    /// [`BadReply`] for anything but RESP2, and for a group longer than `bytes_max`.
    pub(super) fn advance(&mut self, buffer: &[u8]) -> Result<Option<usize>, BadReply> {
        while self.left > 0 {
            let Some(after) = self.value(buffer)? else {
                return if buffer.len() > self.bytes_max { Err(BadReply) } else { Ok(None) };
            };
            self.at = after;
        }
        if self.at > self.bytes_max { Err(BadReply) } else { Ok(Some(self.at)) }
    }

    /// Counts the value at `at` as read and answers where it ends, if it has arrived.
    fn value(&mut self, buffer: &[u8]) -> Result<Option<usize>, BadReply> {
        let rest = &buffer[self.at..];
        let Some(line_end) = rest.iter().take(LINE_BYTES_MAX).position(|&b| b == b'\n') else {
            return if rest.len() >= LINE_BYTES_MAX { Err(BadReply) } else { Ok(None) };
        };
        let line = rest[..line_end].strip_suffix(b"\r").ok_or(BadReply)?;
        let after = self.at + line_end + 1;
        match line.split_first() {
            Some((b'+' | b'-' | b':', _)) => {}
            Some((b'$' | b'*', b"-1")) => {}
            Some((b'$', digits)) => {
                let end = after + length(digits, self.bytes_max)? + 2;
                if buffer.len() < end {
                    return Ok(None);
                }
                self.left -= 1;
                return Ok(Some(end));
            }
            Some((b'*', digits)) => self.left += length(digits, self.bytes_max)? as u64,
            _ => return Err(BadReply),
        }
        self.left -= 1;
        Ok(Some(after))
    }
}

fn length(digits: &[u8], max: usize) -> Result<usize, BadReply> {
    let text = std::str::from_utf8(digits).map_err(|_| BadReply)?;
    text.parse::<usize>().ok().filter(|length| *length <= max).ok_or(BadReply)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GROUP: &[u8] = b"+OK\r\n*3\r\n$3\r\na\r\n\r\n*0\r\n$-1\r\n:5\r\n-ERR x\r\n";

    #[test]
    fn the_end_is_found_byte_by_byte() {
        let mut framer = Framer::new(4, 1000);
        for end in 0..GROUP.len() {
            assert_eq!(framer.advance(&GROUP[..end]), Ok(None), "{end}");
        }
        assert_eq!(framer.advance(&[GROUP, b"+next"].concat()), Ok(Some(GROUP.len())));
        assert_eq!(Framer::new(4, 1000).advance(GROUP), Ok(Some(GROUP.len())));
    }

    #[test]
    fn limits_hold_on_each_side() {
        assert_eq!(Framer::new(4, GROUP.len()).advance(GROUP), Ok(Some(GROUP.len())));
        assert_eq!(Framer::new(4, GROUP.len() - 1).advance(GROUP), Err(BadReply));
        assert_eq!(Framer::new(1, 10).advance(b"$11\r\n"), Err(BadReply));
        assert_eq!(Framer::new(1, 10).advance(b"$10\r\n"), Ok(None));
        assert_eq!(Framer::new(1, 1 << 20).advance(&vec![b'+'; LINE_BYTES_MAX - 1]), Ok(None));
        assert_eq!(Framer::new(1, 1 << 20).advance(&vec![b'+'; LINE_BYTES_MAX]), Err(BadReply));
    }

    #[test]
    fn other_bytes_are_refused() {
        for reply in [&b"%1\r\n"[..], b"x\r\n", b"\r\n", b"+OK\n", b"$x\r\n", b"*-2\r\n"] {
            assert_eq!(Framer::new(1, 1000).advance(reply), Err(BadReply), "{}", reply.escape_ascii());
        }
    }
}
