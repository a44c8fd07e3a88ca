//! HTTP/1.1 load: pre-rendered requests over kept connections, one at a time on each.

use super::{Door, Limits, Measured, Pace, Seen, Until, drive, hung_up};
use crate::load::sign;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a response's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One run of HTTP load.
#[derive(Debug)]
pub struct Http {
    /// Where it connects; each connection is a closed loop.
    pub door: Door,
    /// A file of requests, in memory.
    pub file: Vec<u8>,
    /// When it ends. Requests are taken in the file's order, over and over.
    pub until: Until,
}

impl Http {
    /// Runs the load and waits for its end.
    ///
    /// # Errors
    /// A file that is not one of requests, a connection that fails, or an answer that is not HTTP/1.1 with a length.
    pub fn run(self) -> io::Result<Measured> {
        Limits::check(&[("connections", self.door.connections, Limits::CONNECTIONS_MAX)])?;
        let ranges = Rc::new(sign::requests(&self.file)?);
        let file = Rc::new(self.file);
        drive(&self.door, self.until, |stream, pace| connection(stream, pace, file.clone(), ranges.clone()))
    }
}

async fn connection(
    mut stream: TcpStream,
    pace: Rc<Pace>,
    file: Rc<Vec<u8>>,
    requests: Rc<Vec<Range<usize>>>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut now = Instant::now();
    while let Some((n, _)) = pace.claim(now, 1) {
        let range = requests[n as usize % requests.len()].clone();
        stream.write_all(&file[range]).await?;
        let mut seen = Seen { answers: 1, ..Seen::default() };
        read_answer(&mut stream, &mut buffer, &mut seen).await?;
        let then = std::mem::replace(&mut now, Instant::now());
        pace.record(now - then, seen);
    }
    Ok(())
}

/// Reads one whole answer; bytes beyond it would be an answer to nothing.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, seen: &mut Seen) -> io::Result<()> {
    buffer.clear();
    let whole = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(hung_up());
        }
        if let Some(head) = Head::read(buffer)? {
            seen.misses += u64::from(head.status == 404);
            seen.errors += u64::from(!(200..300).contains(&head.status) && head.status != 404);
            break head.whole;
        }
    };
    while buffer.len() < whole {
        if stream.read_buf(buffer).await? == 0 {
            return Err(hung_up());
        }
    }
    if buffer.len() > whole {
        return Err(io::Error::other("more bytes than the answer's length says"));
    }
    Ok(())
}

/// What a generator needs of a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of head and body.
    whole: usize,
}

impl Head {
    /// The head at the start of `bytes`, when all of it is there.
    fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a response head over 64 KB"));
            }
            return Ok(None);
        };
        let wrong = |what: &str| {
            let head = String::from_utf8_lossy(&bytes[..end]);
            io::Error::other(format!("{what}: {head:?}"))
        };
        let mut lines = bytes[..end].split(|&byte| byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let number = |text: Option<&[u8]>| std::str::from_utf8(text?).ok()?.trim().parse::<usize>().ok();
        let status = number(first.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)));
        let status = status.ok_or_else(|| wrong("not an HTTP/1.1 response"))? as u16;
        let name = b"content-length:";
        let length = lines.find_map(|line| {
            let named = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            named.then(|| number(line.get(name.len()..)))
        });
        let length = match length {
            Some(length) => length.filter(|&length| length <= Limits::REPLY_BYTES_MAX),
            None => (status == 204 || status == 304).then_some(0),
        };
        let length = length.ok_or_else(|| wrong("no usable content-length"))?;
        Ok(Some(Self { status, whole: end + 4 + length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let read = |text: &str| Head::read(text.as_bytes());
        let whole = "HTTP/1.1 200 OK\r\nx: y\r\nContent-Length:  5\r\n\r\nhello";
        assert_eq!(read(whole).ok().flatten(), Some(Head { status: 200, whole: whole.len() }));
        assert_eq!(read(&whole[..whole.len() - 7]).ok().flatten(), None);
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n").ok().flatten().map(|head| head.status), Some(204));
        for wrong in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Head::read(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
