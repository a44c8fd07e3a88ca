//! RESP load in a closed loop: one command over and over, pipelined.

use super::replies::Replies;
use super::template::{Frames, Template};
use super::{Door, Limits, Measured, Pace, Seen, Until, drive, hung_up};
use crate::stream::Stream;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One run of RESP load.
#[derive(Clone, Debug)]
pub struct Resp {
    /// Where it connects.
    pub door: Door,
    /// What is asked.
    pub command: Template,
    /// Commands in one write.
    pub pipeline: u64,
    /// Keys are drawn from 0 to this.
    pub keys: u64,
    /// When it ends.
    pub until: Until,
    /// Of the keys drawn.
    pub seed: u64,
}

impl Resp {
    /// Runs the load and waits for its end.
    ///
    /// # Errors
    /// Sizes over [`Limits`], a connection or login that fails, or a reply that is not RESP2.
    pub fn run(&self) -> io::Result<Measured> {
        let batch_bytes = (self.command.bytes() as u64).saturating_mul(self.pipeline);
        Limits::check(&[
            ("connections", self.door.connections, Limits::CONNECTIONS_MAX),
            ("keys", self.keys, Limits::KEYS_MAX),
            ("pipeline times command bytes", batch_bytes, Limits::BATCH_BYTES_MAX),
        ])?;
        let serial = Cell::new(0);
        drive(&self.door, self.until, |stream, pace| {
            serial.set(serial.get() + 1);
            let keys = Stream::named(self.seed, &format!("keys of connection {}", serial.get()));
            let frames = Frames::new(&self.command, self.pipeline as usize, self.keys, keys);
            connection(stream, pace, frames, self.pipeline)
        })
    }
}

async fn connection(mut stream: TcpStream, pace: Rc<Pace>, mut frames: Frames, pipeline: u64) -> io::Result<()> {
    let mut replies = Replies::default();
    let mut buffer = vec![0; 64 << 10];
    let mut now = Instant::now();
    while let Some((first, count)) = pace.claim(now, pipeline) {
        stream.write_all(frames.batch(first, count)).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    #[test]
    fn sizes_are_bounded() {
        let run = |connections, pipeline| Resp {
            door: Door { connections, ..Door::at(SocketAddr::from(([127, 0, 0, 1], 1))) },
            command: "SET key:{key} {x64}".parse().expect("a command"),
            pipeline,
            keys: 1,
            until: Until::elapsed(Duration::from_millis(1)),
            seed: 1,
        };
        let said = |run: Resp| run.run().map(|_| ()).unwrap_err().to_string();
        assert!(said(run(10_001, 1)).contains("connections"));
        assert!(said(run(0, 1)).contains("connections"));
        assert!(said(run(1, 9999)).contains("pipeline"));
        assert!(!said(run(1, 4096)).contains("pipeline"), "only the port is closed");
    }
}
