//! Load generators: closed loops over real sockets, for benches.
//!
//! They run in a process of their own (`larder-load`), on one thread, so that what they cost is not counted as the
//! server's. Everything that can be made before the run is: RESP frames are built once and only their key digits change,
//! HTTP requests are rendered and signed in a file beforehand. A closed loop hides stalls: its percentiles compare
//! servers, they do not promise latency under an open load.

pub mod cli;
pub mod http;
pub mod resp;
pub mod sign;

use hdrhistogram::Histogram;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

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
}

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// After this time; batches under way are finished.
    Elapsed(Duration),
    /// After this many operations.
    Operations(u64),
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
}

impl Pace {
    fn new(until: Until) -> io::Result<Self> {
        let (deadline, left) = match until {
            Until::Elapsed(time) => (Some(Instant::now() + time), u64::MAX),
            Until::Operations(count) => (None, count),
        };
        let waits = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(io::Error::other)?;
        Ok(Self {
            deadline,
            left: Cell::new(left),
            claimed: Cell::new(0),
            operations: Cell::new(0),
            errors: Cell::new(0),
            misses: Cell::new(0),
            waits: RefCell::new(waits),
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
        self.operations.set(self.operations.get() + seen.answers);
        self.errors.set(self.errors.get() + seen.errors);
        self.misses.set(self.misses.get() + seen.misses);
    }

    fn measured(&self, elapsed: Duration) -> Measured {
        let waits = self.waits.borrow();
        let us = |ns: u64| ns as f64 / 1000.0;
        Measured {
            operations: self.operations.get(),
            errors: self.errors.get(),
            misses: self.misses.get(),
            seconds: elapsed.as_secs_f64(),
            per_s: self.operations.get() as f64 / elapsed.as_secs_f64().max(1e-9),
            p50_us: us(waits.value_at_quantile(0.5)),
            p99_us: us(waits.value_at_quantile(0.99)),
            max_us: us(waits.max()),
        }
    }
}

/// Answers read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    answers: u64,
    errors: u64,
    misses: u64,
}

/// Opens `connections` to `address`, then runs `client` on each until all return.
fn drive<F, Client>(address: SocketAddr, connections: u64, until: Until, client: Client) -> io::Result<Measured>
where
    Client: Fn(TcpStream, Rc<Pace>) -> F,
    F: Future<Output = io::Result<()>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let pace = Rc::new(Pace::new(until)?);
        let start = Instant::now();
        let tasks: Vec<_> =
            streams.into_iter().map(|stream| tokio::task::spawn_local(client(stream, pace.clone()))).collect();
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(pace.measured(start.elapsed()))
    })
}

/// The server hung up with requests unanswered.
fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection with requests unanswered")
}
