//! RESP load in an open loop: requests are sent when a Poisson process says, whatever is still unanswered.
//!
//! A request's time counts from when it was meant to be sent, so that a stall of the server is felt by all that were due
//! meanwhile and not by one alone (coordinated omission). The generator spins: what it waits for is the clock.

use super::replies::Replies;
use super::template::{Frames, Template};
use super::{Door, Limits, Measured, Pace, Seen, Until, connect, hung_up, runtime};
use crate::stream::Stream;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Requests a second at most.
const RATE_MAX: u64 = 10_000_000;
/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run of it.
#[derive(Clone, Debug)]
pub struct Open {
    /// Where it connects; connections take turns.
    pub door: Door,
    /// What is asked.
    pub command: Template,
    /// Keys are drawn from 0 to this.
    pub keys: u64,
    /// Requests a second.
    pub rate: u64,
    /// How long.
    pub time: Duration,
    /// Of keys and times.
    pub seed: u64,
}

impl Open {
    /// Runs the load and waits for its last answer.
    ///
    /// # Errors
    /// Sizes over [`Limits`], a connection or login that fails, a reply that is not RESP2, or a server so far behind that it
    /// owes answers 10 s after the end.
    pub fn run(&self) -> io::Result<Measured> {
        Limits::check(&[
            ("connections", self.door.connections, Limits::CONNECTIONS_MAX),
            ("keys", self.keys, Limits::KEYS_MAX),
            ("rate", self.rate, RATE_MAX),
        ])?;
        // The socket events are asked for at every turn: a turn lost is latency.
        runtime(1)?.block_on(self.spin())
    }

    async fn spin(&self) -> io::Result<Measured> {
        let streams = connect(&self.door).await?;
        let mut peers: Vec<Peer> = streams.into_iter().map(Peer::new).collect();
        let mut frames = Frames::new(&self.command, 1, self.keys, Stream::named(self.seed, "keys"));
        let mut times = Stream::named(self.seed, "times of requests");
        let pace = Pace::new(Until::elapsed(self.time), self.door.server)?;
        let mut buffer = vec![0; 64 << 10];
        let start = pace.start;
        let mut due = start;
        let mut sent = 0;
        let mut owed = 0_u64;
        while due < start + self.time || owed > 0 {
            let now = Instant::now();
            while due <= now && due < start + self.time {
                let turn = sent as usize % peers.len();
                peers[turn].ask(frames.batch(sent, 1), due);
                sent += 1;
                owed += 1;
                due += Duration::from_secs_f64(times.exponential() / self.rate as f64);
            }
            for peer in peers.iter_mut().filter(|peer| !peer.due.is_empty()) {
                peer.write()?;
                owed -= peer.read(&mut buffer, &pace)?;
            }
            if now > start + self.time + PATIENCE {
                return Err(io::Error::other(format!(
                    "{owed} of {sent} requests are unanswered: the rate is too high"
                )));
            }
            tokio::task::yield_now().await;
        }
        pace.measured()
    }
}

/// One connection and what it is owed.
struct Peer {
    stream: TcpStream,
    unwritten: Vec<u8>,
    /// When each request without an answer was meant to be sent.
    due: VecDeque<Instant>,
    replies: Replies,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self { stream, unwritten: Vec::new(), due: VecDeque::new(), replies: Replies::default() }
    }

    fn ask(&mut self, frame: &[u8], due: Instant) {
        self.unwritten.extend_from_slice(frame);
        self.due.push_back(due);
    }

    fn write(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(&self.unwritten) {
            Ok(written) => self.unwritten.drain(..written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Reads what has come; how many answers it held.
    fn read(&mut self, buffer: &mut [u8], pace: &Pace) -> io::Result<u64> {
        let read = match self.stream.try_read(buffer) {
            Ok(0) => return Err(hung_up()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let mut seen = Seen::default();
        self.replies.read(&buffer[..read], &mut seen)?;
        pace.count(Seen { answers: 0, ..seen });
        for due in self.due.drain(..(seen.answers as usize).min(self.due.len())) {
            pace.record(now - due, Seen { answers: 1, ..Seen::default() });
        }
        Ok(seen.answers)
    }
}
