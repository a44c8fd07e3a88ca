//! CONFIG RESETSTAT: the counts of INFO begin again. The cells go on, as `/metrics` must never see a count fall.

use parking_lot::Mutex;

use super::Engine;
use crate::metrics::Count;

/// What every count was at the last reset.
#[derive(Debug, Default)]
pub(crate) struct Baseline(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    counts: [u64; Count::ALL.len()],
    commands: u64,
    rejected: u64,
}

impl Engine {
    /// Lets the counts of INFO begin at 0.
    pub(crate) fn reset_stats(&self) {
        let mut counts = [0; Count::ALL.len()];
        counts.iter_mut().zip(Count::ALL).for_each(|(base, count)| *base = self.metrics.count(*count));
        let (commands, rejected) = (self.metrics.commands(), self.doors.rejected());
        *self.baseline.0.lock() = Counts { counts, commands, rejected };
    }

    /// A count since the last reset.
    pub(crate) fn count_since_reset(&self, count: Count) -> u64 {
        self.metrics.count(count).saturating_sub(self.baseline.0.lock().counts[count as usize])
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
