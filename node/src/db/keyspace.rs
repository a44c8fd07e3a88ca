//! What a command does with keys: find, put, take, and note what changed.
//!
//! Everything that must happen whenever a key changes happens here and nowhere else: watchers are raised, waiters are
//! noted, gauges move, the effect log gets its record, expired keys vanish.

mod fields;

use std::sync::atomic::Ordering;

use super::due_fields::DueFields;
use super::entry::{Collection, Entry, EntryRef, Growth, Kind, Value};
use super::freer::Garbage;
use super::holds::Since;
use super::partition::{Db, Held, Shard};
use super::table::Occupied;
use super::warmth::Warmth;
use crate::commands::{Class, Classes};
use crate::error::CommandError;
use crate::log::{EffectLog, write_select};
use crate::metrics::{Cells, Count, Gauge};
use crate::resp::{Args, OwnedArgs, encode_request};

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
    /// Keys looked for in vain are told of.
    tells_misses: bool,
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

/// What became of one key, for those who listen to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    pub(crate) database: u8,
    pub(crate) key: Box<[u8]>,
    pub(crate) how: How,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It is there and was not.
    Added,
    /// It is there, its time having come before: it expired and was added.
    Renewed,
    /// It holds something else.
    Changed,
    /// It is gone with the last of what it held.
    Emptied,
    /// It was removed.
    Deleted,
    /// Its time came.
    Expired,
    /// It went for want of memory.
    Evicted,
    /// It was looked for and is not there.
    Missed,
}

impl How {
    /// Whether it is nothing that the command did.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Expired | Self::Evicted | Self::Missed)
    }
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
            tells_misses: false,
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

    /// The entry at `key`, unless its time has come; such a key is removed on the way.
    pub(crate) fn find(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let now_ms = self.now_ms;
        let shard = self.shard(key.hash);
        if shard.table.volatile_len() > 0 || shard.due_fields.any_due(now_ms) {
            self.expire_if_due(key);
        }
        self.shard(key.hash).table.find(key.hash, key.bytes)
    }

    /// As [`Keyspace::string`], handed to `show` instead: one search of the table, whatever else is in it.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub(crate) fn show_string(
        &mut self,
        key: Key<'_>,
        show: impl FnOnce(Option<Value<'_>>),
    ) -> Result<(), CommandError> {
        let (now_ms, warmth) = (self.now_ms, self.warmth);
        let shard = self.held.shard(self.db.partition_of(key.hash), self.database);
        match shard.table.find_warm(key.hash, key.bytes, |heat| warmth.touched(heat)) {
            Some(entry) if entry.is_due(now_ms) => self.expire(key),
            Some(entry) if entry.kind() != Kind::String => {
                // A hash may have lost its last field just now.
                let is_there = self.find(key).is_some();
                if is_there {
                    self.cells.add(Count::Hits, 1);
                    return Err(CommandError::WrongType);
                }
            }
            Some(entry) => {
                self.cells.add(Count::Hits, 1);
                show(Some(entry.value()));
                return Ok(());
            }
            None => {}
        }
        self.cells.add(Count::Misses, 1);
        self.missed(key.bytes);
        show(None);
        Ok(())
    }

    /// Makes `key` a string, whatever it was: SET. One search when it exists.
    #[inline]
    pub(crate) fn set_string(&mut self, key: Key<'_>, value: &[u8], expire_at_ms: Option<u64>) {
        let (cells, place, warmth) = (self.cells, self.place(), self.warmth);
        let shard = self.held.shard(self.db.partition_of(key.hash), self.database);
        let before = Weight::of(shard);
        let mut how = How::Changed;
        let old = match shard.table.find_mut(key.hash, key.bytes) {
            Some(mut entry) => {
                if entry.entry().is_due(self.now_ms) {
                    cells.add(Count::Expired, 1);
                    how = How::Renewed;
                }
                entry.set_heat(warmth.touched(entry.heat()));
                entry.exchange_string(value, expire_at_ms)
            }
            None => {
                let entry = Entry::string(key.bytes, value, expire_at_ms);
                shard.table.insert_warm(key.hash, entry, warmth.fresh());
                how = How::Added;
                None
            }
        };
        before.settle(shard, cells, place);
        self.note(key, Change::Value, how);
        if let Some(old) = old {
            self.garbage.entry(old);
        }
    }

    /// As [`Keyspace::find`], counted as a read of data, though the key is not used by it.
    pub(crate) fn look(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let cells = self.cells;
        if self.tells_misses && self.find(key).is_none() {
            self.touch(key.bytes, How::Missed);
        }
        let found = self.find(key);
        cells.add(if found.is_some() { Count::Hits } else { Count::Misses }, 1);
        found
    }

    /// As [`Keyspace::find`], counted as a read of data and a use of the key.
    #[inline]
    pub(crate) fn read(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let (cells, warmth, now_ms) = (self.cells, self.warmth, self.now_ms);
        let shard = self.shard(key.hash);
        if shard.table.volatile_len() > 0 || shard.due_fields.any_due(now_ms) {
            self.expire_if_due(key);
        }
        if self.tells_misses && self.find(key).is_none() {
            self.touch(key.bytes, How::Missed);
        }
        let found = self.shard(key.hash).table.find_warm(key.hash, key.bytes, |heat| warmth.touched(heat));
        cells.add(if found.is_some() { Count::Hits } else { Count::Misses }, 1);
        found
    }

    /// The string at `key`, counted as a read.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    #[inline]
    pub(crate) fn string(&mut self, key: Key<'_>) -> Result<Option<Value<'_>>, CommandError> {
        match self.read(key).map(EntryRef::value) {
            Some(Value::Object(_)) => Err(CommandError::WrongType),
            other => Ok(other),
        }
    }

    /// The collection at `key`, counted as a read.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn collection<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<&C>, CommandError> {
        match self.read(key).map(|entry| entry.value().collection()) {
            Some(Some(it)) => Ok(Some(it)),
            None => Ok(None),
            Some(None) => Err(CommandError::WrongType),
        }
    }

    /// As [`Keyspace::collection`], of a key that was counted already.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn collection_again<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<&C>, CommandError> {
        match self.find(key).map(|entry| entry.value().collection()) {
            Some(Some(it)) => Ok(Some(it)),
            None => Ok(None),
            Some(None) => Err(CommandError::WrongType),
        }
    }

    /// Changes the collection at `key` in its place: `act` gets it and answers whether it changed it. One that is empty
    /// afterwards is removed with its key. Without one, `act` is not called.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn change<C: Collection, R>(
        &mut self,
        key: Key<'_>,
        act: impl FnOnce(&mut C, &Growth) -> (R, bool),
    ) -> Result<Option<R>, CommandError> {
        let growth = &self.db.growth;
        let done = self.edit(key, |entry| -> Result<_, CommandError> {
            let Some(mut entry) = entry else { return Ok(None) };
            let mut it = entry.collection_mut::<C>().ok_or(CommandError::WrongType)?;
            let before = it.len();
            let (result, changed) = act(&mut it, growth);
            Ok(Some((result, changed, before, it.len())))
        })?;
        let Some((result, changed, before, after)) = done else { return Ok(None) };
        if after == 0 && !C::KEEPS_EMPTY {
            if let Some(entry) = self.take_as(key, How::Emptied) {
                self.garbage.entry(entry);
            }
        } else if changed {
            self.changed(key, if after > before { Change::Elements } else { Change::Value });
        }
        Ok(Some(result))
    }

    /// As [`Keyspace::change`], on an empty collection when there is none; it is kept unless it stays empty, or, where
    /// empty ones are kept, unchanged.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn change_or_new<C: Collection + Default, R>(
        &mut self,
        key: Key<'_>,
        act: impl FnOnce(&mut C, &Growth) -> (R, bool),
    ) -> Result<R, CommandError> {
        let mut act = Some(act);
        let done = self.change(key, |it, growth| match act.take() {
            Some(act) => {
                let (result, changed) = act(it, growth);
                (Some(result), changed)
            }
            None => (None, false),
        })?;
        if let Some(Some(result)) = done {
            return Ok(result);
        }
        let mut it = C::default();
        let Some(act) = act else { unreachable!("it is taken only where the collection exists") };
        let (result, changed) = act(&mut it, &self.db.growth);
        if !it.is_empty() || C::KEEPS_EMPTY && changed {
            self.put(key, Entry::collection(key.bytes, it, None));
        }
        Ok(result)
    }

    /// Changes the entry at `key` in its place: `act` gets it, unless its time has come. The caller notes the change
    /// with [`Keyspace::changed`].
    pub(crate) fn edit<R>(&mut self, key: Key<'_>, act: impl FnOnce(Option<Occupied<'_>>) -> R) -> R {
        self.expire_if_due(key);
        let (cells, place, warmth) = (self.cells, self.place(), self.warmth);
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let mut found = shard.table.find_mut(key.hash, key.bytes);
        if let Some(found) = &mut found {
            found.set_heat(warmth.touched(found.heat()));
        }
        let result = act(found);
        before.settle(shard, cells, place);
        result
    }

    /// Puts an entry, replacing what is there.
    pub(crate) fn put(&mut self, key: Key<'_>, entry: Entry) {
        let change = if entry.kind() == Kind::String { Change::Value } else { Change::Elements };
        let is_timed = entry.view().fields_due_at_ms().is_some();
        let (cells, place, warmth) = (self.cells, self.place(), self.warmth);
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let old = shard.table.upsert_warm(key.hash, entry, warmth.fresh(), |heat| warmth.touched(heat));
        before.settle(shard, cells, place);
        self.note(key, change, if old.is_some() { How::Changed } else { How::Added });
        if let Some(old) = old {
            self.garbage.entry(old);
        }
        if is_timed {
            self.note_fields(key);
        }
    }

    /// Takes the entry out; `None` when there is none or its time has come.
    pub(crate) fn take(&mut self, key: Key<'_>) -> Option<Entry> {
        self.take_as(key, How::Deleted)
    }

    fn take_as(&mut self, key: Key<'_>, how: How) -> Option<Entry> {
        self.expire_if_due(key);
        let taken = self.remove(key)?;
        self.note(key, Change::Value, how);
        Some(taken)
    }

    /// Removes the key; whether there was one.
    pub(crate) fn delete(&mut self, key: Key<'_>) -> bool {
        match self.take(key) {
            Some(entry) => {
                self.garbage.entry(entry);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, key: Key<'_>) -> Option<Entry> {
        let (cells, place) = (self.cells, self.place());
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let removed = shard.table.remove(key.hash, key.bytes);
        before.settle(shard, cells, place);
        removed
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

    /// Whether records are asked for: spares making those of [`Keyspace::log_instead`] for nobody.
    #[inline]
    pub(crate) fn is_logging(&self) -> bool {
        self.logging
    }

    /// Has those asked who wait at `key`: there may be something for them, though its watchers need not know.
    pub(crate) fn wake(&mut self, key: Key<'_>) {
        let shard = self.shard(key.hash);
        if !shard.waiters.is_empty() && shard.waiters.mind(key.bytes, true) {
            self.ready.push((self.database, key.bytes.into()));
        }
    }

    /// Notes what became of a key, for those who listen.
    #[cold]
    pub(crate) fn touch(&mut self, key: &[u8], how: How) {
        let how = match how {
            How::Renewed => {
                self.touch(key, How::Expired);
                How::Added
            }
            how => how,
        };
        self.touches.push(Touch { database: self.database, key: key.into(), how });
    }

    #[inline]
    fn missed(&mut self, key: &[u8]) {
        if self.tells_misses {
            self.touch(key, How::Missed);
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

    /// Removes `key` when its time has come, which counts as a change of it, and as a `DEL` in the log. So with the fields
    /// of a hash.
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
    fn expire(&mut self, key: Key<'_>) {
        if let Some(dead) = self.remove(key) {
            self.garbage.entry(dead);
        }
        self.note_expired(key.bytes, key.hash);
    }

    /// How warm the key is, and what to read that with; it is not used by this.
    pub(crate) fn heat(&mut self, key: Key<'_>) -> Option<(u16, Warmth)> {
        self.expire_if_due(key);
        let (warmth, now_s) = (self.warmth, self.now_ms / 1000);
        let shard = self.shard(key.hash);
        shard.settle_heats(warmth, now_s);
        Some((shard.table.heat(key.hash, key.bytes)?, warmth))
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
        for (_, bytes) in std::mem::take(&mut self.ready) {
            self.tell_gone(self.key(&bytes));
        }
        (swept.expired, swept.examined.max(1), swept.more)
    }

    /// Runs `visit` on a partition's shard, whether it is held or has to be locked for it.
    pub(crate) fn visit<R>(&mut self, partition: usize, visit: impl FnOnce(&mut Shard) -> R) -> R {
        if self.held.is_all() {
            return visit(self.held.shard(partition, self.database));
        }
        visit(self.db.lock_patiently(partition).shard(partition, self.database))
    }

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
            raise_existing(shard, db);
            self.ready.extend(shard.waiters.losing().map(|key| (database, key.into())));
            let before = Weight::of(shard);
            keys += shard.table.len() as u64;
            self.garbage.table(shard.table.clear());
            shard.due_fields = DueFields::default();
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
        let (before_one, before_other) = (self.sizes(one), self.sizes(other));
        let (db, ready) = (self.db, &mut self.ready);
        for slice in self.held.slices() {
            for database in [one, other] {
                raise_existing(slice.of(database), db);
            }
            slice.swap(one, other);
            for database in [one, other] {
                let shard = slice.of(database);
                raise_existing(shard, db);
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

    /// Keys of a database, and how many of them will expire; every partition is held.
    fn sizes(&mut self, database: u8) -> (usize, usize) {
        self.held.slices().fold((0, 0), |(keys, volatile), slice| {
            let table = &slice.of(database).table;
            (keys + table.len(), volatile + table.volatile_len())
        })
    }

    /// Begins a command: what changes from here on is its effect.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.changes = 0;
        self.rewritten = false;
    }

    /// Whether those who listen are told of keys that what follows looks for in vain; `looks`: it is such a command.
    #[inline]
    pub(crate) fn tell_misses(&mut self, looks: bool) {
        self.tells_misses = looks && self.events.has(Class::MISSED);
    }

    /// Ends a command: if it changed anything, its request is its record, unless it wrote another.
    #[inline]
    pub(crate) fn seal(&mut self, args: Args<'_>) {
        if self.logging && self.changes > 0 && !self.rewritten {
            self.record.add(args, self.database);
        }
    }

    /// Logs this request in place of the command's own.
    pub(crate) fn log_instead(&mut self, request: &[&[u8]]) {
        self.rewritten = true;
        if self.logging {
            self.record.add(OwnedArgs::from_slices(request).as_args(), self.database);
        }
    }

    /// Logs nothing for this command though it changed something another record tells of.
    pub(crate) fn log_nothing(&mut self) {
        self.rewritten = true;
    }

    /// Logs one more request, besides the command's own.
    pub(crate) fn log_also(&mut self, request: &[&[u8]]) {
        if self.logging {
            self.record.add(OwnedArgs::from_slices(request).as_args(), self.database);
        }
    }

    /// Opens a transaction's record; hand the answer to [`Keyspace::end_record`].
    pub(crate) fn begin_record(&mut self) -> usize {
        self.log_also(&[b"MULTI"]);
        self.record.bytes.len()
    }

    /// Closes a transaction's record; one that says nothing is dropped.
    pub(crate) fn end_record(&mut self, begun: usize) {
        if self.record.bytes.len() == begun {
            self.record.bytes.clear();
        } else if self.logging {
            encode_request(OwnedArgs::from_slices([b"EXEC"]).as_args(), &mut self.record.bytes);
        }
    }
}

/// Requests on their way to the log.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    /// The database that the first of them is about.
    from: u8,
    /// That the last is about.
    to: u8,
}

impl Record {
    fn add(&mut self, args: Args<'_>, database: u8) {
        if self.bytes.is_empty() {
            self.from = database;
        } else if self.to != database {
            write_select(database, &mut self.bytes);
        }
        self.to = database;
        encode_request(args, &mut self.bytes);
    }
}

/// Which database, of all.
#[derive(Clone, Copy)]
struct Place<'e> {
    db: &'e Db,
    database: u8,
}

/// Raises the watchers of those keys of a shard that exist.
fn raise_existing(shard: &mut Shard, db: &Db) {
    let Shard { table, watched, .. } = shard;
    if watched.is_empty() {
        return;
    }
    watched.untrack_all();
    for key in watched.keys() {
        if table.find(db.hash(key), key).is_some() {
            watched.raise(key);
        }
    }
}

/// What a shard weighs, to move the gauges by the difference.
#[derive(Clone, Copy)]
struct Weight {
    bytes: usize,
    keys: usize,
    volatile: usize,
}

impl Weight {
    #[inline]
    fn of(shard: &Shard) -> Self {
        Self { bytes: shard.table.heap_bytes(), keys: shard.table.len(), volatile: shard.table.volatile_len() }
    }

    #[inline]
    fn settle(self, shard: &Shard, cells: &Cells, place: Place<'_>) {
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
