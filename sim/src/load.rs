//! Load generators: closed and open loops over real sockets, for benches.
//!
//! They run in a process of their own (`larder-load`), on one thread, so that what they cost is not counted as the
//! server's. Everything that can be made before the run is: RESP frames are built once and only their digits change,
//! HTTP requests are rendered and signed in a file beforehand. A closed loop hides stalls: its percentiles compare
//! servers, they do not promise latency under an open load; [`open`] does.

pub mod cli;
mod cpu;
pub mod http;
pub mod open;
mod replies;
pub mod resp;
pub mod sign;
pub mod template;

use cpu::Process;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What a generator may be asked for at most.
pub struct Limits;

impl Limits {
    /// Connections of one run.
    pub const CONNECTIONS_MAX: u64 = 10_000;
    /// Bytes of one batch of commands; it is written whole before replies are read.
    pub const BATCH_BYTES_MAX: u64 = 1 << 20;
    /// Keys: their number has 12 digits in a key.
    pub const KEYS_MAX: u64 = 1_000_000_000_000;
    /// Bytes of one reply.
    pub const REPLY_BYTES_MAX: usize = 64 << 20;

    /// Whether each named value is from 1 to its most.
    fn check(values: &[(&str, u64, u64)]) -> io::Result<()> {
        match values.iter().find(|(_, value, most)| *value == 0 || value > most) {
            Some((name, value, most)) => Err(io::Error::other(format!("{name}: {value} is not from 1 to {most}"))),
            None => Ok(()),
        }
    }
}

/// When a run ends: at whichever of the two comes first.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Until {
    /// After this time; batches under way are finished.
    pub time: Option<Duration>,
    /// After this many operations.
    pub operations: Option<u64>,
}

impl Until {
    /// After this time alone.
    pub fn elapsed(time: Duration) -> Self {
        Self { time: Some(time), operations: None }
    }
}

/// Where a load connects, and as whom.
#[derive(Clone, Debug)]
pub struct Door {
    /// The server.
    pub address: SocketAddr,
    /// How many.
    pub connections: u64,
    /// The user and password that a RESP connection begins with.
    pub login: Option<(String, String)>,
    /// The server's process, of which to tell the processor time. The load begins once it rests.
    pub server: Option<u32>,
}

impl Door {
    /// 50 connections without a login.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, connections: 50, login: None, server: None }
    }
}

/// What a run measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Operations answered.
    pub operations: u64,
    /// Of them, answered with an error or a status other than 2xx.
    pub errors: u64,
    /// Of them, answered with no value.
    pub misses: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Operations a second.
    pub per_s: f64,
    /// Median time from writing a batch to its last reply.
    pub p50_us: f64,
    /// Its 0.99 quantile.
    pub p99_us: f64,
    /// Its maximum.
    pub max_us: f64,
    /// Processor time of the server from the first request to the last answer, where its process was named.
    pub cpu_ns: Option<u64>,
}

/// Shared by the connections of a run: what is left to do and what was seen. One thread, no locks.
#[derive(Debug)]
struct Pace {
    deadline: Option<Instant>,
    left: Cell<u64>,
    claimed: Cell<u64>,
    operations: Cell<u64>,
    errors: Cell<u64>,
    misses: Cell<u64>,
    /// Nanoseconds.
    waits: RefCell<Histogram<u64>>,
    /// The server, and its processor time at the start.
    server: Option<(Process, u64)>,
    start: Instant,
}

impl Pace {
    /// From now on, once the server rests.
    fn new(until: Until, server: Option<u32>) -> io::Result<Self> {
        let server = match server.map(Process) {
            Some(process) => {
                process.rest()?;
                Some((process, process.cpu_ns()?))
            }
            None => None,
        };
        let start = Instant::now();
        let (deadline, left) = (until.time.map(|time| start + time), until.operations.unwrap_or(u64::MAX));
        let waits = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(io::Error::other)?;
        Ok(Self {
            deadline,
            left: Cell::new(left),
            claimed: Cell::new(0),
            operations: Cell::new(0),
            errors: Cell::new(0),
            misses: Cell::new(0),
            waits: RefCell::new(waits),
            server,
            start,
        })
    }

    /// Claims up to `most` operations at `now`: the number of the first, and how many. None when the run is over.
    fn claim(&self, now: Instant, most: u64) -> Option<(u64, u64)> {
        if self.deadline.is_some_and(|deadline| now >= deadline) || self.left.get() == 0 {
            return None;
        }
        let count = most.min(self.left.get());
        let first = self.claimed.get();
        self.left.set(self.left.get() - count);
        self.claimed.set(first + count);
        Some((first, count))
    }

    fn record(&self, wait: Duration, seen: Seen) {
        let ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        self.waits.borrow_mut().saturating_record_n(ns, seen.answers);
        self.count(seen);
    }

    fn count(&self, seen: Seen) {
        self.operations.set(self.operations.get() + seen.answers);
        self.errors.set(self.errors.get() + seen.errors);
        self.misses.set(self.misses.get() + seen.misses);
    }

    /// What was seen until now.
    fn measured(&self) -> io::Result<Measured> {
        let elapsed = self.start.elapsed();
        let cpu_ns = match self.server {
            Some((process, before)) => Some(process.cpu_ns()?.saturating_sub(before)),
            None => None,
        };
        let waits = self.waits.borrow();
        let us = |ns: u64| ns as f64 / 1000.0;
        Ok(Measured {
            operations: self.operations.get(),
            errors: self.errors.get(),
            misses: self.misses.get(),
            seconds: elapsed.as_secs_f64(),
            per_s: self.operations.get() as f64 / elapsed.as_secs_f64().max(1e-9),
            p50_us: us(waits.value_at_quantile(0.5)),
            p99_us: us(waits.value_at_quantile(0.99)),
            max_us: us(waits.max()),
            cpu_ns,
        })
    }
}

/// Answers read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    answers: u64,
    errors: u64,
    misses: u64,
}

/// Opens the door's connections, then runs `client` on each until all return.
fn drive<F, Client>(door: &Door, until: Until, client: Client) -> io::Result<Measured>
where
    Client: Fn(TcpStream, Rc<Pace>) -> F,
    F: Future<Output = io::Result<()>> + 'static,
{
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime(61)?, async {
        let streams = connect(door).await?;
        let pace = Rc::new(Pace::new(until, door.server)?);
        let tasks: Vec<_> =
            streams.into_iter().map(|stream| tokio::task::spawn_local(client(stream, pace.clone()))).collect();
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        pace.measured()
    })
}

/// One thread, which looks for socket events after every `event_interval` tasks.
fn runtime(event_interval: u32) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().event_interval(event_interval).enable_all().build()
}

/// Opens the door's connections and logs in on each.
async fn connect(door: &Door) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..door.connections {
        let mut stream = TcpStream::connect(door.address).await?;
        stream.set_nodelay(true)?;
        if let Some((user, password)) = &door.login {
            log_in(&mut stream, user, password).await?;
        }
        streams.push(stream);
    }
    Ok(streams)
}

async fn log_in(stream: &mut TcpStream, user: &str, password: &str) -> io::Result<()> {
    let auth = format!("*3\r\n$4\r\nAUTH\r\n${}\r\n{user}\r\n${}\r\n{password}\r\n", user.len(), password.len());
    stream.write_all(auth.as_bytes()).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    if &answer == b"+OK\r\n" { Ok(()) } else { Err(io::Error::other(format!("{user} may not log in"))) }
}

/// The server hung up with requests unanswered.
fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection with requests unanswered")
}
