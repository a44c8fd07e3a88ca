//! RESP load: GET, SET or a fill, pipelined.

use super::{Limits, Measured, Pace, Seen, Until, drive, hung_up};
use crate::stream::Stream;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET of a random key.
    Get,
    /// SET of a random key.
    Set,
    /// SET of every key once, in order.
    Fill,
}

/// One run of RESP load.
#[derive(Clone, Debug)]
pub struct Resp {
    /// The server.
    pub address: SocketAddr,
    /// What it is asked.
    pub verb: Verb,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Connections, each a closed loop.
    pub connections: u64,
    /// Commands in one write.
    pub pipeline: u64,
    /// Keys are `key:` and 12 digits, from 0 to this.
    pub keys: u64,
    /// When it ends; a fill ends by itself.
    pub until: Until,
    /// Of the keys drawn.
    pub seed: u64,
}

impl Resp {
    /// Runs the load and waits for its end.
    ///
    /// # Errors
    /// Sizes over [`Limits`], a connection that fails, or a reply that is not RESP.
    pub fn run(&self) -> io::Result<Measured> {
        let batch_bytes = (self.value_bytes as u64 + 64).saturating_mul(self.pipeline);
        for (name, value, most) in [
            ("connections", self.connections, Limits::CONNECTIONS_MAX),
            ("keys", self.keys, Limits::KEYS_MAX),
            ("pipeline times value bytes", batch_bytes, Limits::BATCH_BYTES_MAX),
        ] {
            if value == 0 || value > most {
                return Err(io::Error::other(format!("{name}: {value} is not from 1 to {most}")));
            }
        }
        let until = if self.verb == Verb::Fill { Until::Operations(self.keys) } else { self.until };
        let serial = std::cell::Cell::new(0);
        drive(self.address, self.connections, until, |stream, pace| {
            serial.set(serial.get() + 1);
            let keys = Stream::named(self.seed, &format!("keys of connection {}", serial.get()));
            connection(stream, pace, self.clone(), keys)
        })
    }
}

async fn connection(mut stream: TcpStream, pace: Rc<Pace>, run: Resp, mut keys: Stream) -> io::Result<()> {
    let mut frames = Frames::new(run.verb, run.value_bytes, run.pipeline as usize);
    let mut replies = Replies::default();
    let mut buffer = vec![0; 64 << 10];
    let mut now = Instant::now();
    while let Some((first, count)) = pace.claim(now, run.pipeline) {
        for n in 0..count {
            let key = if run.verb == Verb::Fill { first + n } else { keys.below(run.keys) };
            frames.set_key(n as usize, key);
        }
        stream.write_all(frames.first(count as usize)).await?;
        let mut seen = Seen::default();
        while seen.answers < count {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(hung_up());
            }
            replies.read(&buffer[..read], &mut seen)?;
        }
        let then = std::mem::replace(&mut now, Instant::now());
        pace.record(now - then, seen);
    }
    Ok(())
}

/// A batch of equal commands in one buffer; only the digits of the keys change.
#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    frame: usize,
    digits: usize,
}

const DIGITS: usize = 12;

impl Frames {
    fn new(verb: Verb, value_bytes: usize, count: usize) -> Self {
        let mut frame = match verb {
            Verb::Get => b"*2\r\n$3\r\nGET\r\n$16\r\nkey:".to_vec(),
            Verb::Set | Verb::Fill => b"*3\r\n$3\r\nSET\r\n$16\r\nkey:".to_vec(),
        };
        let digits = frame.len();
        frame.extend_from_slice(&[b'0'; DIGITS]);
        frame.extend_from_slice(b"\r\n");
        if verb != Verb::Get {
            frame.extend_from_slice(format!("${value_bytes}\r\n").as_bytes());
            frame.resize(frame.len() + value_bytes, b'x');
            frame.extend_from_slice(b"\r\n");
        }
        Self { bytes: frame.repeat(count), frame: frame.len(), digits }
    }

    fn set_key(&mut self, n: usize, mut key: u64) {
        let start = n * self.frame + self.digits;
        for digit in self.bytes[start..start + DIGITS].iter_mut().rev() {
            *digit = b'0' + (key % 10) as u8;
            key /= 10;
        }
    }

    fn first(&self, count: usize) -> &[u8] {
        &self.bytes[..count * self.frame]
    }
}

/// Counts replies of one line or one bulk string in a stream cut anywhere.
#[derive(Debug, Default)]
struct Replies {
    /// Bytes still to come of a bulk string and its line end.
    bulk_left: usize,
    /// A line of which the end has not come.
    line: Vec<u8>,
}

impl Replies {
    fn read(&mut self, mut bytes: &[u8], seen: &mut Seen) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.bulk_left > 0 {
                let skip = self.bulk_left.min(bytes.len());
                self.bulk_left -= skip;
                bytes = &bytes[skip..];
                seen.answers += u64::from(self.bulk_left == 0);
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                if self.line.len() + bytes.len() > 4096 {
                    return Err(io::Error::other("a reply line is over 4096 bytes"));
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            if self.line.is_empty() {
                self.bulk_left = line(&bytes[..end], seen)?;
            } else {
                self.line.extend_from_slice(&bytes[..end]);
                self.bulk_left = line(&self.line, seen)?;
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }
}

/// Reads a reply's first line, without its LF; gives the bytes that follow it.
fn line(line: &[u8], seen: &mut Seen) -> io::Result<usize> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [b'+' | b':', ..] => seen.answers += 1,
        [b'-', ..] => {
            seen.answers += 1;
            seen.errors += 1;
        }
        b"$-1" | b"_" => {
            seen.answers += 1;
            seen.misses += 1;
        }
        [b'$', digits @ ..] => {
            let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|&length| length <= Limits::REPLY_BYTES_MAX);
            return Ok(length.ok_or_else(|| io::Error::other("a bulk reply with a bad length"))? + 2);
        }
        _ => return Err(io::Error::other(format!("not a reply: {:?}", String::from_utf8_lossy(line)))),
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn frames_are_what_redis_reads() {
        let mut frames = Frames::new(Verb::Set, 3, 2);
        frames.set_key(0, 7);
        frames.set_key(1, 123_456_789_012);
        assert_eq!(
            frames.first(2),
            b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$3\r\nxxx\r\n\
              *3\r\n$3\r\nSET\r\n$16\r\nkey:123456789012\r\n$3\r\nxxx\r\n"
        );
        assert_eq!(Frames::new(Verb::Get, 3, 9).first(1), b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
    }

    #[test]
    fn replies_count_alike_however_they_are_cut() {
        let stream = b"+OK\r\n$3\r\na\nb\r\n$-1\r\n-ERR no\r\n:5\r\n_\r\n$0\r\n\r\n";
        for cut in 1..stream.len() {
            let (mut replies, mut seen) = (Replies::default(), Seen::default());
            for part in stream.chunks(cut) {
                replies.read(part, &mut seen).expect("these are replies");
            }
            assert_eq!(seen, Seen { answers: 7, errors: 1, misses: 2 }, "cut at {cut}");
        }
        for wrong in [&b"hello\r\n"[..], b"$x\r\n", b"$99999999999999999999\r\n", b"*1\r\n", &[b'+'; 5000]] {
            assert!(Replies::default().read(wrong, &mut Seen::default()).is_err());
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let run = |connections, pipeline| Resp {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            verb: Verb::Get,
            value_bytes: 64,
            connections,
            pipeline,
            keys: 1,
            until: Until::Elapsed(Duration::from_millis(1)),
            seed: 1,
        };
        let said = |run: Resp| run.run().map(|_| ()).unwrap_err().to_string();
        assert!(said(run(10_001, 1)).contains("connections"));
        assert!(said(run(0, 1)).contains("connections"));
        assert!(said(run(1, 8193)).contains("pipeline"));
        assert!(!said(run(1, 8192)).contains("pipeline"), "only the port is closed");
    }
}
