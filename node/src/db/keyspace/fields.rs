//! Fields of hashes whose time has come.

use super::{Key, Keyspace, Weight};
use crate::commands::Class;
use crate::db::entry::{Entry, EntryRef, Hash};

/// Fields that are taken out in one hold of a partition, of one hash by the sweep, of all together before a command: some
/// hundred microseconds.
const TAKEN_MAX: usize = 1000;
/// Fields that one record of the log names.
const LOGGED_MAX: usize = 500;

impl Keyspace<'_> {
    /// Notes when the first field of the hash at `key` expires. Whoever gives a field an expiry calls this.
    pub(crate) fn note_fields(&mut self, key: Key<'_>) {
        let db = self.db;
        let shard = self.shard(key.hash);
        let Some(at_ms) = shard.table.find(key.hash, key.bytes).and_then(EntryRef::fields_due_at_ms) else { return };
        if shard.due_fields.note(key.bytes, at_ms) {
            let table = &shard.table;
            let found = |key: &[u8]| table.find(db.hash(key), key).and_then(EntryRef::fields_due_at_ms);
            shard.due_fields.clear(|key| found(key).is_some());
        }
    }

    /// Takes the fields that are due out of the hash at `key`, at most so many, and the key with its last; how many.
    /// To the log it is an `HDEL`.
    #[cold]
    pub(super) fn expire_fields(&mut self, key: Key<'_>, most: usize) -> usize {
        let (cells, place, now_ms) = (self.cells, self.place(), self.now_ms);
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let found = shard.table.find_mut(key.hash, key.bytes);
        let taken = found.and_then(|mut entry| {
            entry.change(|hash: &mut Hash| (hash.take_due(now_ms, most), hash.view().is_empty()))
        });
        let Some((gone, is_empty)) = taken else { return 0 };
        before.settle(shard, cells, place);
        if gone.is_empty() {
            return 0;
        }
        if !shard.watched.is_empty() {
            shard.watched.touch(key.bytes);
        }
        if is_empty {
            self.remove(key);
        }
        self.say(key, Class::HASH, "hexpired");
        if is_empty {
            self.say(key, Class::GENERIC, "del");
        }
        for gone in gone.chunks(LOGGED_MAX) {
            let mut record: Vec<&[u8]> = vec![b"HDEL", key.bytes];
            record.extend(gone.iter().map(Entry::key));
            self.log_also(&record);
        }
        let count = gone.len();
        gone.into_iter().for_each(|field| self.garbage.entry(field));
        count
    }

    /// Whether a hash in the partitions just taken may have fields that are due.
    #[inline]
    pub(crate) fn any_fields_due(&self) -> bool {
        let now_ms = self.now_ms;
        self.held.any(self.database, |shard| shard.due_fields.any_due(now_ms))
    }

    /// Takes due fields out of the hashes at these keys, as many as one hold may; whether there are more.
    #[cold]
    pub(crate) fn expire_some_fields(&mut self, keys: &[&[u8]]) -> bool {
        let mut left = TAKEN_MAX;
        for key in keys {
            let key = self.key(key);
            if self.has_fields_due(key) {
                left -= self.expire_fields(key, left);
                if self.has_fields_due(key) {
                    return true;
                }
            }
        }
        false
    }

    fn has_fields_due(&mut self, key: Key<'_>) -> bool {
        let now_ms = self.now_ms;
        let found = self.shard(key.hash).table.find(key.hash, key.bytes).filter(|entry| !entry.is_due(now_ms));
        found.and_then(EntryRef::fields_due_at_ms).is_some_and(|at_ms| now_ms > at_ms)
    }

    /// Takes due fields out of a partition that is held: how many steps it took, and whether there is more.
    pub(super) fn sweep_fields(&mut self, partition: usize, budget: usize) -> (usize, bool) {
        let now_ms = self.now_ms;
        let mut steps = 0;
        while let Some(name) = self.held.shard(partition, self.database).due_fields.pop_due(now_ms) {
            let key = Key { bytes: &name, hash: self.db.hash(&name) };
            steps += 1 + self.expire_fields(key, TAKEN_MAX);
            self.note_fields(key);
            if steps >= budget {
                return (steps, self.held.shard(partition, self.database).due_fields.any_due(now_ms));
            }
        }
        (steps, false)
    }
}
