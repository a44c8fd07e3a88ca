//! What one engine counts, beside the code that counts it.
//!
//! Every worker has cells of its own that no other thread writes: a count is a load and a store, never a locked
//! instruction, and never a line that two cores fight over. Readers add the cells up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::db::entry::{aligned_class, size_class};

/// One worker's counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct Cells {
    counts: [AtomicU64; Count::ALL.len()],
    gauges: [AtomicI64; Gauge::ALL.len()],
    calls: Box<[AtomicU64]>,
    timings: Box<[Timing]>,
}

/// What is known of one command besides how often it was called.
#[derive(Debug, Default)]
struct Timing {
    /// Calls that ran and failed; that were refused and did not run.
    failed: AtomicU64,
    rejected: AtomicU64,
    /// Microseconds of the calls that were timed.
    us: AtomicU64,
    /// Timed calls of at most 1, 2, 4, … us.
    within: [AtomicU64; BUCKETS],
}

/// Places of a histogram of times: the last is for 0.5 s and all above.
pub const BUCKETS: usize = 20;

/// What is known of one command, over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that ran.
    pub calls: u64,
    /// Of these, those answered by an error.
    pub failed: u64,
    /// Calls that were refused before they ran.
    pub rejected: u64,
    /// Microseconds of the calls that were timed.
    pub us: u64,
    /// Timed calls of at most 1, 2, 4, … us.
    pub within: [u64; BUCKETS],
}

impl Stats {
    /// Calls that were timed: those that came alone.
    pub fn timed(&self) -> u64 {
        self.within.iter().sum()
    }
}

/// The place of a time in a histogram.
#[inline]
pub(crate) fn bucket(us: u64) -> usize {
    (u64::BITS - us.saturating_sub(1).leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$each:meta])* $name:ident = $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($(#[$each])* $name),+ }
        impl $type {
            /// All of them, in the order of their cells.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name readers know it by.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

named! {
    /// What only grows.
    Count {
        /// Connections taken, HTTP sessions not counted.
        Connections = "total_connections_received";
        /// Reads that found their key.
        Hits = "keyspace_hits";
        /// Reads that did not.
        Misses = "keyspace_misses";
        /// Keys removed because their time came.
        Expired = "expired_keys";
        /// Keys removed because memory was short.
        Evicted = "evicted_keys";
        /// Error replies.
        Errors = "total_error_replies";
        /// Commands refused by policy or access string.
        Denied = "acl_access_denied_cmd";
        /// Failed AUTH and HELLO AUTH.
        AuthFailures = "acl_access_denied_auth";
        /// Requests over the cache's rate.
        Throttled = "throttled_requests";
        /// Bytes of requests read.
        BytesIn = "total_net_input_bytes";
        /// Bytes of replies written.
        BytesOut = "total_net_output_bytes";
        /// Turns that read something of a connection.
        Reads = "total_reads_processed";
        /// Turns that wrote something to one.
        Writes = "total_writes_processed";
        /// Messages put into inboxes.
        Delivered = "pubsub_messages_delivered";
        /// Turns ended early because a partition was held for longer than the wait.
        Busy = "busy_partitions";
        /// Times several partitions could not be had by trying and the gate was taken.
        Gates = "gate_waits";
    }
}

named! {
    /// What rises and falls.
    Gauge {
        /// Open connections.
        Clients = "connected_clients";
        /// Connections waiting in a blocking command.
        Blocked = "blocked_clients";
        /// Connections with subscriptions.
        Subscribers = "pubsub_clients";
        /// Bytes of keys, values and tables.
        UsedBytes = "used_memory";
        /// Keys.
        Keys = "keys";
        /// Keys with a TTL.
        Volatile = "expires";
    }
}

impl Cells {
    pub(crate) fn new(commands: usize) -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            gauges: std::array::from_fn(|_| AtomicI64::new(0)),
            calls: (0..commands).map(|_| AtomicU64::new(0)).collect(),
            timings: (0..commands).map(|_| Timing::default()).collect(),
        }
    }

    /// Adds to a count. Only the cells' own worker may.
    #[inline]
    pub fn add(&self, count: Count, n: u64) {
        bump(&self.counts[count as usize], n);
    }

    /// Moves a gauge. Only the cells' own worker may.
    #[inline]
    pub fn shift(&self, gauge: Gauge, by: i64) {
        let cell = &self.gauges[gauge as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// Notes how long a call of the command with this bit took.
    #[inline]
    pub(crate) fn took(&self, bit: u16, us: u64) {
        if let Some(timing) = self.timings.get(usize::from(bit)) {
            bump(&timing.us, us);
            bump(&timing.within[bucket(us)], 1);
        }
    }

    /// Counts an error that a command answered with.
    #[cold]
    pub(crate) fn failed(&self, bit: u16) {
        if let Some(timing) = self.timings.get(usize::from(bit)) {
            bump(&timing.failed, 1);
        }
    }

    /// Counts a command that was not let run.
    #[cold]
    pub(crate) fn rejected(&self, bit: u16) {
        if let Some(timing) = self.timings.get(usize::from(bit)) {
            bump(&timing.rejected, 1);
        }
    }

    /// Counts a call of the command with this bit.
    #[inline]
    pub(crate) fn called(&self, bit: u16) {
        if let Some(cell) = self.calls.get(usize::from(bit)) {
            bump(cell, 1);
        }
    }
}

#[inline]
fn bump(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// The counts of all workers of one engine.
#[derive(Debug)]
pub struct Metrics {
    workers: Box<[Cells]>,
}

impl Metrics {
    pub(crate) fn new(workers: usize, commands: usize) -> Self {
        Self { workers: (0..workers + 1).map(|_| Cells::new(commands)).collect() }
    }

    /// The cells of `worker`, for it alone. Who is no worker (a replay) gets the spare ones behind the last.
    #[inline]
    pub fn of(&self, worker: usize) -> &Cells {
        &self.workers[worker.min(self.workers.len() - 1)]
    }

    /// Heap bytes of the cells.
    pub(crate) fn heap_bytes(&self) -> usize {
        let calls = |cells: &Cells| size_class(size_of_val(&*cells.calls)) + size_class(size_of_val(&*cells.timings));
        aligned_class(&self.workers) + self.workers.iter().map(calls).sum::<usize>()
    }

    /// A count over all workers.
    pub fn count(&self, count: Count) -> u64 {
        self.workers.iter().map(|cells| cells.counts[count as usize].load(Ordering::Relaxed)).sum()
    }

    /// A gauge over all workers; never below zero.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        let sum: i64 = self.workers.iter().map(|cells| cells.gauges[gauge as usize].load(Ordering::Relaxed)).sum();
        sum.max(0).unsigned_abs()
    }

    /// What is known of the command with this bit.
    pub fn stats(&self, bit: u16) -> Stats {
        let mut stats = Stats { calls: self.calls(bit), ..Stats::default() };
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        for timing in self.workers.iter().filter_map(|cells| cells.timings.get(usize::from(bit))) {
            stats.failed += load(&timing.failed);
            stats.rejected += load(&timing.rejected);
            stats.us += load(&timing.us);
            stats.within.iter_mut().zip(&timing.within).for_each(|(sum, cell)| *sum += load(cell));
        }
        stats
    }

    /// Commands run, of every kind.
    pub fn commands(&self) -> u64 {
        self.workers.iter().flat_map(|cells| cells.calls.iter()).map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// Calls of the command with this bit.
    pub fn calls(&self, bit: u16) -> u64 {
        let cells = self.workers.iter().filter_map(|cells| cells.calls.get(usize::from(bit)));
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_add_up_and_names_are_unique() {
        let metrics = Metrics::new(1, 1);
        metrics.of(0).add(Count::Hits, 2);
        metrics.of(1).add(Count::Hits, 3);
        metrics.of(0).shift(Gauge::Keys, 5);
        metrics.of(1).shift(Gauge::Keys, -1);
        metrics.of(1).called(0);
        assert_eq!((metrics.count(Count::Hits), metrics.gauge(Gauge::Keys), metrics.calls(0)), (5, 4, 1));
        let mut names: Vec<_> =
            Count::ALL.iter().map(|c| c.name()).chain(Gauge::ALL.iter().map(|g| g.name())).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
