//! Keys that no command removes: those whose time has come, and those that go for want of memory.

use super::{How, Key, Keyspace, Weight};
use crate::commands::Class;
use crate::metrics::Count;

impl Keyspace<'_> {
    /// Removes `key` when its time has come, which counts as a change of it, and as a `DEL` in the log. So with the fields
    /// of a hash, of which few are left here: [`Keyspace::expire_some_fields`] comes before commands that name their keys.
    pub(crate) fn expire_if_due(&mut self, key: Key<'_>) {
        let now_ms = self.now_ms;
        let shard = self.shard(key.hash);
        match shard.table.find(key.hash, key.bytes) {
            Some(entry) if entry.is_due(now_ms) => self.expire(key),
            Some(entry)
                if shard.due_fields.any_due(now_ms) && entry.fields_due_at_ms().is_some_and(|at| now_ms > at) =>
            {
                self.expire_fields(key, usize::MAX);
            }
            _ => {}
        }
    }

    #[cold]
    pub(super) fn expire(&mut self, key: Key<'_>) {
        if let Some(dead) = self.remove(key) {
            self.garbage.entry(dead);
        }
        self.note_expired(key.bytes, key.hash);
    }

    /// Takes a key out because memory is short, which is a change of it, and a `DEL` in the log.
    pub(crate) fn evict(&mut self, key: Key<'_>) -> bool {
        let Some(entry) = self.remove(key) else { return false };
        self.garbage.entry(entry);
        self.cells.add(Count::Evicted, 1);
        if self.events.has(Class::EVICTED) {
            self.touch(key.bytes, How::Evicted);
        }
        self.note_gone(key.bytes, key.hash);
        true
    }

    /// The bookkeeping of an expiry: the entry is gone already.
    pub(crate) fn note_expired(&mut self, key: &[u8], hash: u64) {
        self.cells.add(Count::Expired, 1);
        if self.events.has(Class::EXPIRED) {
            self.touch(key, How::Expired);
        }
        self.note_gone(key, hash);
    }

    /// Tells watchers and the log of a key that no command removed.
    fn note_gone(&mut self, key: &[u8], hash: u64) {
        let shard = self.shard(hash);
        if !shard.watched.is_empty() {
            shard.watched.touch(key);
        }
        if !shard.waiters.is_empty() && shard.waiters.mind(key, false) {
            self.ready.push((self.database, key.into()));
        }
        self.log_also(&[b"DEL", key]);
    }

    /// Tells those who wait at keys that went without a command, where nothing comes in their place.
    pub(crate) fn tell_waiters(&mut self) {
        for (database, bytes) in std::mem::take(&mut self.ready) {
            self.within(database, |keys| keys.tell_gone(keys.key(&bytes)));
        }
    }

    /// Takes due entries and due fields out of a partition that is held: how many entries, how many buckets it looked at,
    /// whether there is more.
    pub(crate) fn sweep(&mut self, partition: usize, budget: usize) -> (usize, usize, bool) {
        let (mut expired, mut examined, mut more) = self.sweep_database(partition, budget);
        for database in self.held.slice(partition).others() {
            let left = budget.saturating_sub(examined);
            let swept = self.within(database, |keys| keys.sweep_database(partition, left));
            expired += swept.0;
            examined += swept.1;
            more |= swept.2;
        }
        (expired, examined, more)
    }

    fn sweep_database(&mut self, partition: usize, budget: usize) -> (usize, usize, bool) {
        let (steps, more_fields) = self.sweep_fields(partition, budget);
        let (expired, examined, more) = self.sweep_keys(partition, budget.saturating_sub(steps).max(1));
        (expired, examined + steps, more || more_fields)
    }

    fn sweep_keys(&mut self, partition: usize, budget: usize) -> (usize, usize, bool) {
        let place = self.place();
        let shard = self.held.shard(partition, self.database);
        if u64::from(shard.table.next_due_s()) > self.now_ms / 1000 {
            return (0, 1, false);
        }
        let before = Weight::of(shard);
        let mut dead = Vec::new();
        let swept = shard.table.sweep_due(self.now_ms, budget, &mut |entry| dead.push(entry));
        before.settle(shard, self.cells, place);
        for entry in dead {
            self.note_expired(entry.key(), self.db.hash(entry.key()));
            self.garbage.entry(entry);
        }
        self.tell_waiters();
        (swept.expired, swept.examined.max(1), swept.more)
    }
}
