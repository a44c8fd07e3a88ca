//! What each worker does in its share of the partitions: dead keys are taken out, heats are brought up to date, and keys
//! that clients track are forgotten where there are too many.

use std::sync::atomic::Ordering;

use super::Engine;
use crate::db::{Busy, Keyspace};
use crate::time::Now;

/// Buckets looked at in one hold of a partition: all of their keys may be due, which takes a third of a millisecond.
const HOLD_BUCKETS: usize = 256;

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
    /// `budget` buckets; before that evicts some keys where memory is short. Partitions with nothing due cost one lock and
    /// one compare; those held by others are passed over.
    ///
    /// About 5,000 buckets take 100 us.
    pub fn sweep(&self, worker: usize, workers: usize, now: Now, budget: usize) -> Swept {
        self.forget_leftovers();
        let expires = self.sweeps.load(Ordering::Relaxed);
        let warmth = self.db.eviction.warmth(now.wall_ms);
        let mut keys = Keyspace::new(&self.db, &self.log, self.metrics.of(worker), 0, now.wall_ms);
        let mut swept = Swept { more: self.evict_behind(self.metrics.of(worker), now), ..Swept::default() };
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
                    left = left.saturating_sub(keys.held.slice(partition).settle_heats(warmth, now.wall_ms / 1000));
                    swept.more |= keys.held.slice(partition).shed_tracked(&self.tracking);
                    let mut due = expires;
                    while due {
                        let (expired, examined, more) = keys.sweep(partition, left.min(HOLD_BUCKETS));
                        super::events::tell_gone(self, &mut keys);
                        swept.expired += expired;
                        left = left.saturating_sub(examined);
                        due = more && left > 0;
                        swept.more |= more && !due;
                        if due {
                            // Others get a turn.
                            keys.release();
                            match self.db.lock_one(partition) {
                                Ok(held) => keys.hold(held),
                                Err(Busy) => (swept.more, due) = (true, false),
                            }
                        }
                    }
                    keys.release();
                }
            }
        }
        swept
    }
}
