//! What a command does with keys: find, put, take, and note what changed.
//!
//! Everything that must happen whenever a key changes happens here and nowhere else: watchers are raised, waiters are
//! noted, gauges move, the effect log gets its record, expired keys vanish.

mod databases;
mod endings;
mod entries;
mod events;
mod fields;
mod record;
mod weight;

use std::sync::atomic::Ordering;

pub(crate) use self::events::How;
pub use self::events::Touch;
use self::record::Record;
use self::weight::{Place, Weight};
use super::entry::EntryRef;
use super::freer::Garbage;
use super::holds::Since;
use super::partition::{Db, Held, Shard};
use super::warmth::Warmth;
use crate::commands::Classes;
use crate::log::EffectLog;
use crate::metrics::Cells;

/// A key and its hash.
#[derive(Clone, Copy)]
pub(crate) struct Key<'k> {
    pub(crate) bytes: &'k [u8],
    pub(crate) hash: u64,
}

/// The partitions a command holds, and what it did to them.
pub(crate) struct Keyspace<'e> {
    pub(crate) db: &'e Db,
    pub(crate) held: Held<'e>,
    since: Since,
    pub(crate) now_ms: u64,
    /// The database whose keys are meant. [`crate::engine::Cx::select`] changes it for good.
    pub(crate) database: u8,
    /// What keys that are used are touched with.
    warmth: Warmth,
    cells: &'e Cells,
    log: &'e EffectLog,
    /// Which events are told.
    events: Classes,
    /// Looking for keys is counted, and told when it is in vain.
    looks: bool,
    /// What became of keys since it was told last.
    pub(crate) touches: Vec<Touch>,
    /// The log has a reader. Stays true to the log while partitions are held.
    logging: bool,
    /// Changes since [`Keyspace::begin`].
    changes: u32,
    /// The command wrote its own record.
    rewritten: bool,
    /// Effects not yet appended to the log.
    record: Record,
    /// Keys that waiters wait for and that may serve them now, each with its database.
    pub(crate) ready: Vec<(u8, Box<[u8]>)>,
    /// Such keys whose waiters need a partition that someone else had.
    pub(crate) owed: Vec<(u8, Box<[u8]>)>,
    /// What is dropped once the partitions are given back.
    garbage: Garbage,
    /// The key whose hash was computed ahead: its address, length and hash.
    ahead: (usize, usize, u64),
}

/// What happened to a key, as far as bookkeeping cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It holds another value or TTL.
    Value,
    /// It holds a collection that it did not hold, or a longer one.
    Elements,
}

impl<'e> Keyspace<'e> {
    pub(crate) fn new(db: &'e Db, log: &'e EffectLog, cells: &'e Cells, database: u8, now_ms: u64) -> Self {
        Self {
            db,
            held: Held::None,
            since: Since::default(),
            now_ms,
            database,
            warmth: db.eviction.warmth(now_ms),
            cells,
            log,
            events: Classes(0),
            looks: false,
            touches: Vec::new(),
            logging: false,
            changes: 0,
            rewritten: false,
            record: Record::default(),
            ready: Vec::new(),
            owed: Vec::new(),
            garbage: Garbage::default(),
            ahead: (0, 0, 0),
        }
    }

    /// Lets keys that are used from here on stay as warm as they are, or not.
    pub(crate) fn touch_not(&mut self, touches_not: bool) {
        self.warmth = if touches_not { self.warmth.still() } else { self.warmth.awake() };
    }

    /// Touches keys as if it were this unix ms, whatever else the time is said to be.
    pub(crate) fn warm_as_at(&mut self, now_ms: u64) {
        self.warmth = self.db.eviction.warmth(now_ms);
    }

    /// Takes over partitions just locked.
    #[inline]
    pub(crate) fn hold(&mut self, held: Held<'e>) {
        self.held = held;
        self.since = self.db.holds.begin();
        self.logging = self.log.is_on();
        self.events = Classes(self.db.events.load(Ordering::Relaxed));
    }

    /// Appends what changed to the log and gives the partitions back.
    #[inline]
    pub(crate) fn release(&mut self) {
        if !self.record.bytes.is_empty() {
            self.log.append(&self.record.bytes, self.record.from, self.record.to);
            self.record.bytes.clear();
        }
        self.held = Held::None;
        self.db.holds.end(std::mem::take(&mut self.since));
        self.garbage.hold_ended();
        if !self.garbage.is_empty() {
            self.garbage.free(&self.db.freeing);
        }
    }

    /// Remembers the hash of `key`, computed ahead of the command.
    #[inline]
    pub(crate) fn hashed_ahead(&mut self, key: &[u8], hash: u64) {
        self.ahead = (key.as_ptr() as usize, key.len(), hash);
    }

    #[inline]
    pub(crate) fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        let (address, len, hash) = self.ahead;
        let hash = if address == bytes.as_ptr() as usize && len == bytes.len() { hash } else { self.db.hash(bytes) };
        Key { bytes, hash }
    }

    /// Asks for the bucket of a key that will be touched soon, if its partition is held.
    pub(crate) fn foresee(&self, key: Key<'_>) {
        if let Some(shard) = self.held.peek(self.db.partition_of(key.hash), self.database) {
            shard.table.prefetch(key.hash);
        }
    }

    /// As [`Keyspace::foresee`], some time later: for its entry.
    pub(crate) fn foresee_entry(&self, key: Key<'_>) {
        if let Some(shard) = self.held.peek(self.db.partition_of(key.hash), self.database) {
            shard.table.prefetch_entry(key.hash);
        }
    }

    #[inline]
    pub(crate) fn shard(&mut self, hash: u64) -> &mut Shard {
        self.held.shard(self.db.partition_of(hash), self.database)
    }

    /// Does something in another database; what is held holds there too.
    pub(crate) fn within<R>(&mut self, database: u8, act: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.database, database);
        let result = act(self);
        self.database = before;
        result
    }

    fn place(&self) -> Place<'e> {
        Place { db: self.db, database: self.database }
    }

    /// Notes that `key` changed: raises its watchers, notes waiters, makes the command an effect.
    #[inline]
    pub(crate) fn changed(&mut self, key: Key<'_>, change: Change) {
        self.note(key, change, How::Changed);
    }

    #[inline]
    fn note(&mut self, key: Key<'_>, change: Change, how: How) {
        self.changes += 1;
        if self.events.0 != 0 {
            self.touch(key.bytes, how);
        }
        let shard = self.held.shard(self.db.partition_of(key.hash), self.database);
        if !shard.watched.is_empty() {
            shard.watched.touch(key.bytes);
        }
        if !shard.waiters.is_empty() && shard.waiters.mind(key.bytes, change == Change::Elements) {
            self.ready.push((self.database, key.bytes.into()));
        }
    }

    /// Notes a change that watchers and waiters are not told of: bookkeeping inside a value.
    pub(crate) fn changed_within(&mut self) {
        self.changes += 1;
    }

    /// Has those asked who wait at `key`: there may be something for them, though its watchers need not know.
    pub(crate) fn wake(&mut self, key: Key<'_>) {
        let shard = self.shard(key.hash);
        if !shard.waiters.is_empty() && shard.waiters.mind(key.bytes, true) {
            self.ready.push((self.database, key.bytes.into()));
        }
    }

    /// Takes the partition of one more key, if that can be had at once.
    pub(crate) fn reach(&mut self, key: Key<'_>) -> bool {
        self.held.reach(self.db, self.db.partition_of(key.hash))
    }

    /// Tells those who wait for `key` to go on holding what it does not hold any more.
    pub(crate) fn tell_gone(&mut self, key: Key<'_>) {
        let Shard { table, waiters, .. } = self.shard(key.hash);
        waiters.lose(key.bytes, table.find(key.hash, key.bytes).map(EntryRef::kind));
    }

    /// Notes a change that is not one key's (FLUSHALL).
    pub(crate) fn changed_all(&mut self) {
        self.changes += 1;
    }

    /// Runs `visit` on a partition's shard, whether it is held or has to be locked for it.
    pub(crate) fn visit<R>(&mut self, partition: usize, visit: impl FnOnce(&mut Shard) -> R) -> R {
        if self.held.is_all() {
            return visit(self.held.shard(partition, self.database));
        }
        visit(self.db.lock_patiently(partition).shard(partition, self.database))
    }
}
