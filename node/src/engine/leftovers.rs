//! What sessions leave behind in partitions that a long script holds: taken away by a later sweep, so that no worker waits
//! for the script. Until then it does nothing: a watch raises a flag nobody reads, a waiter was claimed by its own client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Engine;
use crate::waiters::Waiter;

/// What is still to be forgotten.
#[derive(Default)]
pub(crate) struct Leftovers {
    any: AtomicBool,
    list: Mutex<Vec<Leftover>>,
}

/// Where something was left, by database and key, and what.
type Leftover = (u8, Box<[u8]>, Left);

/// Something that is queued at a key, or that its queue has to be told.
pub(crate) enum Left {
    Watch(Arc<AtomicBool>),
    Waiter(Arc<Waiter>),
    /// A key that those who wait at it are owed.
    Debt,
}

impl Engine {
    /// Forgets what was left at a key of a database: now, or when whoever holds its partition lets go. The caller holds no partition.
    pub(crate) fn forget_at(&self, database: u8, key: &[u8], left: Left) {
        let partition = self.db.partition_of(self.db.hash(key));
        match self.db.lock_one(partition) {
            Ok(mut held) => {
                let shard = held.shard(partition, database);
                match &left {
                    Left::Watch(flag) => shard.watched.forget(key, flag),
                    Left::Waiter(waiter) => shard.waiters.forget(key, waiter),
                    Left::Debt => shard.waiters.pass_on(key),
                }
            }
            Err(_) => {
                self.leftovers.list.lock().push((database, key.into(), left));
                self.leftovers.any.store(true, Ordering::Release);
            }
        }
    }

    /// Tries again what could not be forgotten at once.
    pub(super) fn forget_leftovers(&self) {
        if self.leftovers.any.swap(false, Ordering::AcqRel) {
            let list = std::mem::take(&mut *self.leftovers.list.lock());
            list.into_iter().for_each(|(database, key, left)| self.forget_at(database, &key, left));
        }
    }
}
