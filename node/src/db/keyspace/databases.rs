//! Whole databases: emptied, exchanged.

use std::sync::atomic::Ordering;

use super::{Keyspace, Weight};
use crate::db::freer::Garbage;
use crate::db::partition::{Db, Shard};

impl Keyspace<'_> {
    /// Empties the database, every partition of which is held; how many keys there were. Watchers of keys that existed are
    /// raised.
    pub(crate) fn clear(&mut self) -> u64 {
        let (cells, place, db, database) = (self.cells, self.place(), self.db, self.database);
        let mut keys = 0;
        for slice in self.held.slices() {
            if database > 0 && !slice.others().any(|used| used == database) {
                continue;
            }
            let shard = slice.of(database);
            raise_existing(shard, db, &mut self.garbage);
            self.ready.extend(shard.waiters.losing().map(|key| (database, key.into())));
            let before = Weight::of(shard);
            keys += shard.table.len() as u64;
            self.garbage.table(shard.table.clear());
            if !shard.due_fields.is_empty() {
                self.garbage.other(std::mem::take(&mut shard.due_fields));
            }
            before.settle(shard, cells, place);
        }
        self.changed_all();
        keys
    }

    /// Empties every database.
    pub(crate) fn clear_all(&mut self) {
        for database in 0..self.db.databases() {
            self.within(database as u8, Self::clear);
        }
    }

    /// Exchanges what two databases hold; every partition is held. Clients stay where they are: watchers of keys that are
    /// in either are raised, and waiters find what came.
    pub(crate) fn swap(&mut self, one: u8, other: u8) {
        self.expire_behind_watched(one, other);
        self.expire_behind_watched(other, one);
        let (before_one, before_other) = (self.sizes(one), self.sizes(other));
        let (db, ready, garbage) = (self.db, &mut self.ready, &mut self.garbage);
        for slice in self.held.slices() {
            for database in [one, other] {
                raise_existing(slice.of(database), db, garbage);
            }
            slice.swap(one, other);
            for database in [one, other] {
                let shard = slice.of(database);
                raise_existing(shard, db, garbage);
                let came = shard.waiters.keys().filter(|key| shard.table.find(db.hash(key), key).is_some());
                ready.extend(came.chain(shard.waiters.losing()).map(|key| (database, key.into())));
            }
        }
        for (database, (keys, volatile)) in [(one, before_other), (other, before_one)] {
            if let Some(tally) = db.tally(database) {
                tally.keys.store(keys as i64, Ordering::Relaxed);
                tally.volatile.store(volatile as i64, Ordering::Relaxed);
            }
        }
        self.changed_all();
    }

    /// Removes what is due of the keys of `other` that are watched in `database`: to their watchers nothing comes.
    fn expire_behind_watched(&mut self, database: u8, other: u8) {
        let slices = self.held.slices();
        let watched =
            slices.flat_map(|slice| slice.of(database).watched.keys().map(Box::from).collect::<Vec<Box<[u8]>>>());
        let watched = watched.collect::<Vec<_>>();
        self.within(other, |keys| {
            for key in &watched {
                let key = keys.key(key);
                keys.expire_if_due(key);
            }
        });
    }

    /// Keys of a database, and how many of them will expire; every partition is held.
    fn sizes(&mut self, database: u8) -> (usize, usize) {
        self.held.slices().fold((0, 0), |(keys, volatile), slice| {
            let table = &slice.of(database).table;
            (keys + table.len(), volatile + table.volatile_len())
        })
    }
}

/// Raises the watchers of those keys of a shard that exist.
fn raise_existing(shard: &mut Shard, db: &Db, garbage: &mut Garbage) {
    let Shard { table, watched, .. } = shard;
    if watched.is_empty() {
        return;
    }
    garbage.other(watched.untrack_all());
    for key in watched.keys() {
        if table.find(db.hash(key), key).is_some() {
            watched.raise(key);
        }
    }
}
