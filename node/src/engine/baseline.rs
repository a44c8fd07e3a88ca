//! CONFIG RESETSTAT: the counts of INFO begin again. The cells go on, as `/metrics` must never see a count fall.

use parking_lot::Mutex;

use super::Engine;
use crate::commands::{self, Spec};
use crate::metrics::{Count, Stats};

/// What every count was at the last reset.
#[derive(Debug, Default)]
pub(crate) struct Baseline(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    counts: [u64; Count::ALL.len()],
    commands: u64,
    rejected: u64,
    freed: u64,
    stats: Vec<Stats>,
}

impl Engine {
    /// Lets the counts of INFO begin at 0, but for the call that asks for it: redis counts calls when they end.
    pub(crate) fn reset_stats(&self, asked_by: &Spec) {
        let mut counts = [0; Count::ALL.len()];
        counts.iter_mut().zip(Count::ALL).for_each(|(base, count)| *base = self.metrics.count(*count));
        let (commands, rejected) = (self.metrics.commands().saturating_sub(1), self.doors.rejected());
        let mut stats: Vec<_> = commands::table().iter().map(|spec| self.metrics.stats(spec.bit())).collect();
        if let Some(own) = stats.get_mut(usize::from(asked_by.bit())) {
            own.calls = own.calls.saturating_sub(1);
        }
        self.errors.lock().clear();
        self.buffers.reset();
        *self.baseline.0.lock() = Counts { counts, commands, rejected, freed: self.db.freeing.freed(), stats };
    }

    /// A count since the last reset.
    pub(crate) fn count_since_reset(&self, count: Count) -> u64 {
        self.metrics.count(count).saturating_sub(self.baseline.0.lock().counts[count as usize])
    }

    /// Values freed by the freeing thread since the last reset.
    pub(crate) fn freed_since_reset(&self) -> u64 {
        self.db.freeing.freed().saturating_sub(self.baseline.0.lock().freed)
    }

    /// What is known of the command with this bit since the last reset.
    pub(crate) fn stats_since_reset(&self, bit: u16) -> Stats {
        let mut stats = self.metrics.stats(bit);
        if let Some(base) = self.baseline.0.lock().stats.get(usize::from(bit)) {
            let less = |now: &mut u64, base: u64| *now = now.saturating_sub(base);
            less(&mut stats.calls, base.calls);
            less(&mut stats.failed, base.failed);
            less(&mut stats.rejected, base.rejected);
            less(&mut stats.us, base.us);
            stats.within.iter_mut().zip(base.within).for_each(|(now, base)| less(now, base));
        }
        stats
    }

    /// Commands run since the last reset.
    pub(crate) fn commands_since_reset(&self) -> u64 {
        self.metrics.commands().saturating_sub(self.baseline.0.lock().commands)
    }

    /// Connections turned away since the last reset.
    pub(crate) fn rejected_since_reset(&self) -> u64 {
        self.doors.rejected().saturating_sub(self.baseline.0.lock().rejected)
    }
}
