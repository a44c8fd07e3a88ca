//! The worker threads: each one a `current_thread` runtime whose tasks never leave it.
//!
//! A connection, RESP or HTTP, is placed once, on the worker with the fewest live connections among those that respond,
//! and lives there: its task uses that worker's buffers and counters without a lock, and runs the engine by a plain
//! call. Nothing is stolen. tokio's `LocalRuntime` is used where `facts` says `LocalSet`: the same thing without a
//! second scheduler between a wake-up and its task.
//!
//! A worker responds when it is parked, or when its pulse is younger than [`PULSE_US_MAX`]. The pulse is one store
//! at each poll of a task, so a task that holds its worker for long shows, whatever it does. A panic in a task ends that
//! task and is counted; the engine aborts the process when the panic happened under one of its locks.

mod clock;
mod drain;
mod task;

pub use clock::Clock;
pub use drain::{Drain, Guest, Phase, PhaseWatch};

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::time::Now;
use task::Watched;

/// A pulse older than this many microseconds belongs to a worker that does not respond: no connection is placed there.
pub const PULSE_US_MAX: u64 = 5_000;
/// Most worker threads.
pub const WORKERS_MAX: usize = 1024;
/// A worker's stack: values of scripts may be nested 1,000 deep.
const STACK_BYTES: usize = 8 << 20;
/// The pulse of a parked worker.
const PARKED: u64 = u64::MAX;

/// The pool of worker threads. A handle: clones mean the same pool.
#[derive(Clone)]
pub struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    workers: Box<[Shared]>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clock: Clock,
}

/// What other threads see of one worker; a line of its own, as its pulse is written all the time.
#[repr(align(128))]
struct Shared {
    pulse_us: AtomicU64,
    live: AtomicUsize,
    placed: AtomicU64,
    panics: AtomicU64,
    jobs: UnboundedSender<Job>,
}

type Local = Pin<Box<dyn Future<Output = ()>>>;

enum Job {
    Run(Box<dyn FnOnce(Seat) -> Local + Send>),
    Stop,
}

/// A place on one worker: what a task there knows of it.
#[derive(Clone)]
pub struct Seat {
    pool: Arc<Pool>,
    worker: usize,
}

/// What one worker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerStats {
    /// Connections that live there now.
    pub live: usize,
    /// Connections ever placed there.
    pub placed: u64,
    /// Tasks that ended by a panic.
    pub panics: u64,
    /// Microseconds since its pulse: 0 while parked.
    pub pulse_age_us: u64,
}

impl Workers {
    /// Starts `n` worker threads, 0 for one per core.
    ///
    /// # Errors
    /// The system refuses a thread or a runtime's files.
    pub fn start(n: usize) -> io::Result<Self> {
        let n = if n == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { n }.min(WORKERS_MAX);
        let (shared, jobs): (Vec<_>, Vec<_>) = (0..n).map(|_| Shared::new()).unzip();
        let pool = Arc::new(Pool { workers: shared.into(), threads: Mutex::default(), clock: Clock::start() });
        for (worker, jobs) in jobs.into_iter().enumerate() {
            let seat = Seat { pool: pool.clone(), worker };
            let thread = std::thread::Builder::new().name(format!("worker-{worker}")).stack_size(STACK_BYTES);
            let (ready, started) = std::sync::mpsc::sync_channel(1);
            pool.threads.lock().push(thread.spawn(move || seat.live(jobs, &ready))?);
            started.recv().map_err(io::Error::other)??;
        }
        Ok(Self { pool })
    }

    /// How many workers there are; at least one.
    pub fn count(&self) -> usize {
        self.pool.workers.len()
    }

    /// The clock all workers share.
    pub fn clock(&self) -> &Clock {
        &self.pool.clock
    }

    /// The worker that takes the next connection: fewest live connections, among those that respond.
    pub fn choose(&self) -> Option<usize> {
        let now_us = self.pool.clock.now().mono_us;
        let responding =
            self.pool.workers.iter().enumerate().filter(|(_, worker)| worker.pulse_age_us(now_us) < PULSE_US_MAX);
        responding.min_by_key(|(_, worker)| worker.live.load(Ordering::Relaxed)).map(|(index, _)| index)
    }

    /// Whether this worker responds.
    pub fn responds(&self, worker: usize) -> bool {
        let now_us = self.pool.clock.now().mono_us;
        self.pool.workers.get(worker).is_some_and(|worker| worker.pulse_age_us(now_us) < PULSE_US_MAX)
    }

    /// Microseconds since the last of them responded; 0 while one does.
    pub fn held_us(&self) -> u64 {
        let now_us = self.pool.clock.now().mono_us;
        self.pool.workers.iter().map(|worker| worker.pulse_age_us(now_us)).min().unwrap_or(0)
    }

    /// Runs a connection's task on the worker that [`Workers::choose`] names, as a live connection until it ends.
    /// Answers the worker's number.
    ///
    /// # Errors
    /// `make` itself, unused, when no worker responds.
    pub fn place<F, T>(&self, make: F) -> Result<usize, F>
    where
        F: FnOnce(Seat) -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let Some(worker) = self.choose() else { return Err(make) };
        let shared = &self.pool.workers[worker];
        shared.live.fetch_add(1, Ordering::Relaxed);
        shared.placed.fetch_add(1, Ordering::Relaxed);
        let live = Live { pool: self.pool.clone(), worker };
        self.send(worker, move |seat| async move {
            let _live = live;
            make(seat).await;
        });
        Ok(worker)
    }

    /// Runs a task of the pool's own (a sweeper) on one worker, until it ends or the pool stops.
    pub fn spawn_on<F, T>(&self, worker: usize, make: F)
    where
        F: FnOnce(Seat) -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        self.send(worker, make);
    }

    fn send<F, T>(&self, worker: usize, make: F)
    where
        F: FnOnce(Seat) -> T + Send + 'static,
        T: Future<Output = ()> + 'static,
    {
        let Some(shared) = self.pool.workers.get(worker) else { return };
        let job = Job::Run(Box::new(move |seat| Box::pin(make(seat))));
        // A stopped worker runs nothing more: the task is dropped here, as its others were.
        drop(shared.jobs.send(job));
    }

    /// What each worker counts, in order.
    pub fn stats(&self) -> Vec<WorkerStats> {
        let now_us = self.pool.clock.now().mono_us;
        let stats = |worker: &Shared| WorkerStats {
            live: worker.live.load(Ordering::Relaxed),
            placed: worker.placed.load(Ordering::Relaxed),
            panics: worker.panics.load(Ordering::Relaxed),
            pulse_age_us: worker.pulse_age_us(now_us),
        };
        self.pool.workers.iter().map(stats).collect()
    }

    /// Ends every worker, dropping the tasks that still live there, and waits for the threads. Drain listeners first.
    /// Not to be called on a worker.
    pub fn stop(&self) {
        self.pool.workers.iter().for_each(|worker| drop(worker.jobs.send(Job::Stop)));
        let threads = std::mem::take(&mut *self.pool.threads.lock());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn new() -> (Self, UnboundedReceiver<Job>) {
        let (jobs, receiver) = unbounded_channel();
        let shared = Self {
            pulse_us: AtomicU64::new(PARKED),
            live: AtomicUsize::new(0),
            placed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            jobs,
        };
        (shared, receiver)
    }

    fn pulse_age_us(&self, now_us: u64) -> u64 {
        match self.pulse_us.load(Ordering::Relaxed) {
            PARKED => 0,
            pulse_us => now_us.saturating_sub(pulse_us),
        }
    }
}

impl Seat {
    /// The worker's number, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The time, from both clocks.
    #[inline]
    pub fn now(&self) -> Now {
        self.pool.clock.now()
    }

    /// The monotonic clock alone.
    #[inline]
    pub fn mono_us(&self) -> u64 {
        self.pool.clock.mono_us()
    }

    /// The moment `mono_us` of [`Seat::now`] means, for timers.
    pub fn instant(&self, mono_us: u64) -> std::time::Instant {
        self.pool.clock.instant(mono_us)
    }

    /// Runs another task on this worker. Must be called there.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(tokio::task::spawn_local(Watched::new(Box::pin(task), self.clone())));
    }

    #[inline]
    fn beat(&self) {
        self.shared().pulse_us.store(self.pool.clock.mono_us(), Ordering::Relaxed);
    }

    fn count_panic(&self) {
        self.shared().panics.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn shared(&self) -> &Shared {
        &self.pool.workers[self.worker]
    }

    /// The whole life of a worker's thread.
    fn live(self, jobs: UnboundedReceiver<Job>, ready: &std::sync::mpsc::SyncSender<io::Result<()>>) {
        match self.runtime() {
            Ok(runtime) => {
                drop(ready.send(Ok(())));
                runtime.block_on(self.work(jobs));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    }

    fn runtime(&self) -> io::Result<LocalRuntime> {
        let seat = self.clone();
        Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || seat.shared().pulse_us.store(PARKED, Ordering::Relaxed))
            .build_local(LocalOptions::default())
    }

    async fn work(self, mut jobs: UnboundedReceiver<Job>) {
        while let Some(Job::Run(make)) = jobs.recv().await {
            self.beat();
            let seat = self.clone();
            // Made inside the task, so that a panic while making is caught like any other.
            self.spawn(async move { make(seat).await });
        }
    }
}

/// One live connection, in its worker's count.
struct Live {
    pool: Arc<Pool>,
    worker: usize,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.pool.workers[self.worker].live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
