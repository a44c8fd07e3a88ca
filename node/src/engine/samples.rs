//! Figures that need more than one look: rates over the last seconds, and the most memory there was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Engine;
use crate::metrics::Count;
use crate::time::Now;

/// Looks kept: with one in 100 ms, what is shown is the mean of 1.5 s. Redis keeps as many.
const LOOKS: usize = 16;
/// Looks are this far apart at least.
const LOOK_US_MIN: u64 = 90_000;

/// What was seen lately.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Monotonic time in us of the last look; 0 before the first.
    last_us: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Monotonic time in us, and the totals then.
    looks: VecDeque<(u64, Totals)>,
    peak_bytes: u64,
}

/// What rates are made of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Means over the last looks.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// Commands a second.
    pub(super) commands: u64,
    /// KiB read a second.
    pub(super) input_kib: f64,
    /// KiB written a second.
    pub(super) output_kib: f64,
}

impl Engine {
    /// Looks at the totals, for the rates that INFO shows, and at what clients hold: to be called about every 100 ms, by
    /// everyone who sweeps, as each of them may be held by a script. One of them does it.
    pub fn sample(&self, now: Now) {
        if !self.samples.is_due(now.mono_us) {
            return;
        }
        let metrics = &self.metrics;
        let totals = Totals {
            commands: metrics.commands(),
            bytes_in: metrics.count(Count::BytesIn),
            bytes_out: metrics.count(Count::BytesOut),
        };
        self.samples.look(now.mono_us, totals);
        if let Some(used) = self.sum_rest(now) {
            self.samples.peak_bytes(used);
            self.cut_slow_readers(now);
        }
        self.evict_clients();
    }
}

impl Samples {
    /// Whether it is time for another look: true for one of all who ask.
    fn is_due(&self, mono_us: u64) -> bool {
        let last_us = self.last_us.load(Ordering::Relaxed);
        (last_us == 0 || mono_us >= last_us.saturating_add(LOOK_US_MIN))
            && self.last_us.compare_exchange(last_us, mono_us.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn look(&self, mono_us: u64, totals: Totals) {
        let mut seen = self.seen.lock();
        if seen.looks.len() == LOOKS {
            seen.looks.pop_front();
        }
        seen.looks.push_back((mono_us, totals));
    }

    /// The most of `bytes` and what was ever given here.
    pub(super) fn peak_bytes(&self, bytes: u64) -> u64 {
        let mut seen = self.seen.lock();
        seen.peak_bytes = seen.peak_bytes.max(bytes);
        seen.peak_bytes
    }

    pub(super) fn rates(&self) -> Rates {
        let seen = self.seen.lock();
        let (Some((from_us, from)), Some((to_us, to))) = (seen.looks.front(), seen.looks.back()) else {
            return Rates::default();
        };
        let seconds = (to_us - from_us) as f64 / 1e6;
        if seconds <= 0.0 {
            return Rates::default();
        }
        let kib = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1024.0 / seconds;
        Rates {
            commands: (to.commands.saturating_sub(from.commands) as f64 / seconds) as u64,
            input_kib: kib(from.bytes_in, to.bytes_in),
            output_kib: kib(from.bytes_out, to.bytes_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_the_looks_that_are_kept() {
        let samples = Samples::default();
        assert_eq!(samples.rates(), Rates::default());
        let totals = |n| Totals { commands: n, bytes_in: n * 1024, bytes_out: n * 2048 };
        for n in 0..40 {
            samples.look(n * 100_000, totals(if n < 20 { 0 } else { (n - 20) * 10 }));
        }
        assert_eq!(samples.rates(), Rates { commands: 100, input_kib: 100.0, output_kib: 200.0 });
    }

    #[test]
    fn of_all_who_ask_one_looks() {
        let samples = Samples::default();
        let asked = [0, 10, 100_000, 100_000, 150_000, 189_999, 190_000, 100_000, 280_000];
        let due = asked.map(|mono_us| samples.is_due(mono_us));
        assert_eq!(due, [true, false, true, false, false, false, true, false, true]);
    }

    #[test]
    fn the_peak_stays() {
        let samples = Samples::default();
        assert_eq!((samples.peak_bytes(5), samples.peak_bytes(3), samples.peak_bytes(7)), (5, 5, 7));
    }
}
