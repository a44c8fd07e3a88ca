//! What shards weigh, for the gauges.

use std::sync::atomic::Ordering;

use crate::db::partition::{Db, Shard};
use crate::metrics::{Cells, Gauge};

/// Which database, of all.
#[derive(Clone, Copy)]
pub(super) struct Place<'e> {
    pub(super) db: &'e Db,
    pub(super) database: u8,
}

/// What a shard weighs, to move the gauges by the difference.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    bytes: usize,
    keys: usize,
    volatile: usize,
}

impl Weight {
    #[inline]
    pub(super) fn of(shard: &Shard) -> Self {
        Self { bytes: shard.table.heap_bytes(), keys: shard.table.len(), volatile: shard.table.volatile_len() }
    }

    #[inline]
    pub(super) fn settle(self, shard: &Shard, cells: &Cells, place: Place<'_>) {
        let after = Self::of(shard);
        if after.bytes != self.bytes {
            cells.shift(Gauge::UsedBytes, after.bytes as i64 - self.bytes as i64);
        }
        if after.keys != self.keys {
            cells.shift(Gauge::Keys, after.keys as i64 - self.keys as i64);
        }
        if after.volatile != self.volatile {
            cells.shift(Gauge::Volatile, after.volatile as i64 - self.volatile as i64);
        }
        if place.database != 0 {
            self.tell(after, place);
        }
    }

    #[cold]
    fn tell(self, after: Self, place: Place<'_>) {
        let Some(tally) = place.db.tally(place.database) else { return };
        tally.keys.fetch_add(after.keys as i64 - self.keys as i64, Ordering::Relaxed);
        tally.volatile.fetch_add(after.volatile as i64 - self.volatile as i64, Ordering::Relaxed);
    }
}
