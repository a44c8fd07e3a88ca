//! How long partitions are held: a histogram of the processor time between taking locks and giving them back.
//!
//! Asking for a thread's processor time is a system call, so only one hold in [`EVERY`] is timed, unless every one is
//! asked for.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::metrics::{BUCKETS, bucket};

/// One hold in so many is timed.
const EVERY: u32 = 256;

/// The holds of one engine that were timed.
#[derive(Debug)]
pub(crate) struct Holds {
    every: AtomicU32,
    /// Holds of at most 1, 2, 4, … us of processor time.
    within: [AtomicU64; BUCKETS],
    longest_us: AtomicU64,
}

impl Default for Holds {
    fn default() -> Self {
        Self {
            every: AtomicU32::new(EVERY),
            within: std::array::from_fn(|_| AtomicU64::new(0)),
            longest_us: AtomicU64::new(0),
        }
    }
}

/// When a hold began, by its thread's processor time; nothing when it is not timed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Since(Option<u64>);

impl Holds {
    /// One hold in so many is timed.
    pub(crate) fn every(&self) -> u32 {
        self.every.load(Ordering::Relaxed)
    }

    /// Times one hold in so many from here on.
    pub(crate) fn time_one_in(&self, every: u32) {
        self.every.store(every.max(1), Ordering::Relaxed);
    }

    /// A hold begins.
    #[inline]
    pub(crate) fn begin(&self) -> Since {
        thread_local! {
            static LEFT: Cell<u32> = const { Cell::new(0) };
        }
        LEFT.with(|left| match left.get() {
            0 => {
                left.set(self.every.load(Ordering::Relaxed) - 1);
                Since(Some(processor_ns()))
            }
            n => {
                left.set(n - 1);
                Since(None)
            }
        })
    }

    /// A hold ends.
    #[inline]
    pub(crate) fn end(&self, since: Since) {
        if let Some(began_ns) = since.0 {
            self.note(processor_ns().saturating_sub(began_ns) / 1000);
        }
    }

    #[cold]
    fn note(&self, us: u64) {
        self.within[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.longest_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Timed holds of at most 1, 2, 4, … us.
    pub(crate) fn within(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.within[at].load(Ordering::Relaxed))
    }

    /// The longest timed hold, in us.
    pub(crate) fn longest_us(&self) -> u64 {
        self.longest_us.load(Ordering::Relaxed)
    }
}

/// Processor time of this thread, in ns.
#[cold]
pub(crate) fn processor_ns() -> u64 {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    at.tv_sec.unsigned_abs() * 1_000_000_000 + at.tv_nsec.unsigned_abs()
}
