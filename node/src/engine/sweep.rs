//! Active expiry: each worker takes dead keys out of its share of the partitions.

use std::sync::atomic::Ordering;

use super::Engine;
use crate::db::{Busy, Keyspace};
use crate::time::Now;

/// What one sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Keys taken out.
    pub expired: usize,
    /// The budget ended before everything due was seen: sweep again soon.
    pub more: bool,
}

impl Engine {
    /// Takes out keys whose time has come, in the partitions that are `worker`'s of `workers`, looking at about
    /// `budget` buckets. Partitions with nothing due cost one lock and one compare; those held by others are passed over.
    ///
    /// About 5,000 buckets take 100 us.
    pub fn sweep(&self, worker: usize, workers: usize, now: Now, budget: usize) -> Swept {
        if !self.sweeps.load(Ordering::Relaxed) {
            return Swept::default();
        }
        let mut keys = Keyspace::new(&self.db, &self.log, self.metrics.of(worker), now.wall_ms);
        let mut swept = Swept::default();
        let mut left = budget;
        for partition in (worker..self.db.partitions()).step_by(workers.max(1)) {
            if left == 0 {
                swept.more = true;
                break;
            }
            match self.db.lock_one(partition) {
                Err(Busy) => swept.more = true,
                Ok(held) => {
                    keys.hold(held);
                    let (expired, examined, more) = keys.sweep(partition, left);
                    super::events::tell_expired(self, &mut keys);
                    keys.release();
                    swept.expired += expired;
                    swept.more |= more;
                    left = left.saturating_sub(examined);
                }
            }
        }
        swept
    }
}
