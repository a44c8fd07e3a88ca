//! What a command does with keys: find, put, take, and note what changed.
//!
//! Everything that must happen whenever a key changes happens here and nowhere else: watchers are raised, waiters are
//! noted, gauges move, the effect log gets its record, expired keys vanish.

use super::entry::{Collection, Entry, EntryRef, Growth, Kind, Value};
use super::freer::Garbage;
use super::partition::{Db, Held, Shard};
use super::table::Occupied;
use crate::error::CommandError;
use crate::log::EffectLog;
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
    pub(crate) now_ms: u64,
    cells: &'e Cells,
    log: &'e EffectLog,
    /// The log has a reader. Stays true to the log while partitions are held.
    logging: bool,
    /// Changes since [`Keyspace::begin`].
    changes: u32,
    /// The command wrote its own record.
    rewritten: bool,
    /// Effects not yet appended to the log.
    record: Vec<u8>,
    /// Keys that waiters wait for and that may serve them now.
    pub(crate) ready: Vec<Box<[u8]>>,
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
    pub(crate) fn new(db: &'e Db, log: &'e EffectLog, cells: &'e Cells, now_ms: u64) -> Self {
        Self {
            db,
            held: Held::None,
            now_ms,
            cells,
            log,
            logging: false,
            changes: 0,
            rewritten: false,
            record: Vec::new(),
            ready: Vec::new(),
            garbage: Garbage::default(),
            ahead: (0, 0, 0),
        }
    }

    /// Takes over partitions just locked.
    #[inline]
    pub(crate) fn hold(&mut self, held: Held<'e>) {
        self.held = held;
        self.logging = self.log.is_on();
    }

    /// Appends what changed to the log and gives the partitions back.
    #[inline]
    pub(crate) fn release(&mut self) {
        if !self.record.is_empty() {
            self.log.append(&self.record);
            self.record.clear();
        }
        self.held = Held::None;
        if !self.garbage.is_empty() {
            self.garbage.free();
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
        self.held.shard(self.db.partition_of(hash))
    }

    /// The entry at `key`, unless its time has come; such a key is removed on the way.
    pub(crate) fn find(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        if self.shard(key.hash).table.volatile_len() > 0 {
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
        let now_ms = self.now_ms;
        let shard = self.held.shard(self.db.partition_of(key.hash));
        match shard.table.find(key.hash, key.bytes) {
            Some(entry) if entry.is_due(now_ms) => self.expire(key),
            Some(entry) => {
                self.cells.add(Count::Hits, 1);
                match entry.value() {
                    Value::Object(_) => return Err(CommandError::WrongType),
                    value => show(Some(value)),
                }
                return Ok(());
            }
            None => {}
        }
        self.cells.add(Count::Misses, 1);
        show(None);
        Ok(())
    }

    /// Makes `key` a string, whatever it was: SET. One search when it exists.
    #[inline]
    pub(crate) fn set_string(&mut self, key: Key<'_>, value: &[u8], expire_at_ms: Option<u64>) {
        let cells = self.cells;
        let shard = self.held.shard(self.db.partition_of(key.hash));
        let before = Weight::of(shard);
        match shard.table.find_mut(key.hash, key.bytes) {
            Some(mut entry) => {
                if entry.entry().is_due(self.now_ms) {
                    cells.add(Count::Expired, 1);
                }
                entry.set_string(value, expire_at_ms);
            }
            None => shard.table.insert_new(key.hash, Entry::string(key.bytes, value, expire_at_ms)),
        }
        before.settle(shard, cells);
        self.changed(key, Change::Value);
    }

    /// As [`Keyspace::find`], counted as a read of data.
    #[inline]
    pub(crate) fn read(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let cells = self.cells;
        let found = self.find(key);
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
        if after == 0 {
            self.delete(key);
        } else if changed {
            self.changed(key, if after > before { Change::Elements } else { Change::Value });
        }
        Ok(Some(result))
    }

    /// As [`Keyspace::change`], on an empty collection when there is none; it is kept unless it stays empty.
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
        let (result, _) = act(&mut it, &self.db.growth);
        if !it.is_empty() {
            self.put(key, Entry::collection(key.bytes, it, None));
        }
        Ok(result)
    }

    /// Changes the entry at `key` in its place: `act` gets it, unless its time has come. The caller notes the change
    /// with [`Keyspace::changed`].
    pub(crate) fn edit<R>(&mut self, key: Key<'_>, act: impl FnOnce(Option<Occupied<'_>>) -> R) -> R {
        self.expire_if_due(key);
        let cells = self.cells;
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let result = act(shard.table.find_mut(key.hash, key.bytes));
        before.settle(shard, cells);
        result
    }

    /// Puts an entry, replacing what is there.
    pub(crate) fn put(&mut self, key: Key<'_>, entry: Entry) {
        let change = if entry.kind() == Kind::String { Change::Value } else { Change::Elements };
        let cells = self.cells;
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let old = shard.table.upsert(key.hash, entry);
        before.settle(shard, cells);
        self.changed(key, change);
        if let Some(old) = old {
            self.garbage.entry(old);
        }
    }

    /// Takes the entry out; `None` when there is none or its time has come.
    pub(crate) fn take(&mut self, key: Key<'_>) -> Option<Entry> {
        self.expire_if_due(key);
        let taken = self.remove(key)?;
        self.changed(key, Change::Value);
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
        let cells = self.cells;
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let removed = shard.table.remove(key.hash, key.bytes);
        before.settle(shard, cells);
        removed
    }

    /// Notes that `key` changed: raises its watchers, notes waiters, makes the command an effect.
    #[inline]
    pub(crate) fn changed(&mut self, key: Key<'_>, change: Change) {
        self.changes += 1;
        let shard = self.held.shard(self.db.partition_of(key.hash));
        if !shard.watched.is_empty() {
            shard.watched.touch(key.bytes);
        }
        if change == Change::Elements && !shard.waiters.is_empty() && shard.waiters.has(key.bytes) {
            self.ready.push(key.bytes.into());
        }
    }

    /// Notes a change that is not one key's (FLUSHALL).
    pub(crate) fn changed_all(&mut self) {
        self.changes += 1;
    }

    /// Removes `key` when its time has come, which counts as a change of it, and as a `DEL` in the log.
    pub(crate) fn expire_if_due(&mut self, key: Key<'_>) {
        let now_ms = self.now_ms;
        let shard = self.shard(key.hash);
        if shard.table.find(key.hash, key.bytes).is_some_and(|entry| entry.is_due(now_ms)) {
            self.expire(key);
        }
    }

    #[cold]
    fn expire(&mut self, key: Key<'_>) {
        self.remove(key);
        self.note_expired(key.bytes, key.hash);
    }

    /// The bookkeeping of an expiry: the entry is gone already.
    pub(crate) fn note_expired(&mut self, key: &[u8], hash: u64) {
        self.cells.add(Count::Expired, 1);
        let shard = self.shard(hash);
        if !shard.watched.is_empty() {
            shard.watched.touch(key);
        }
        if self.logging {
            encode_request(OwnedArgs::from_slices([&b"DEL"[..], key]).as_args(), &mut self.record);
        }
    }

    /// Takes due entries out of a partition that is held: how many, how many buckets it looked at, whether there is more.
    pub(crate) fn sweep(&mut self, partition: usize, budget: usize) -> (usize, usize, bool) {
        let shard = self.held.shard(partition);
        if u64::from(shard.table.next_due_s()) > self.now_ms / 1000 {
            return (0, 1, false);
        }
        let before = Weight::of(shard);
        let mut dead = Vec::new();
        let swept = shard.table.sweep_due(self.now_ms, budget, &mut |entry| dead.push(entry));
        before.settle(shard, self.cells);
        for entry in &dead {
            self.note_expired(entry.key(), self.db.hash(entry.key()));
        }
        (swept.expired, swept.examined.max(1), swept.more)
    }

    /// Runs `visit` on a partition's shard, whether it is held or has to be locked for it.
    pub(crate) fn visit<R>(&mut self, partition: usize, visit: impl FnOnce(&mut Shard) -> R) -> R {
        if self.held.is_all() {
            return visit(self.held.shard(partition));
        }
        visit(self.db.lock_patiently(partition).shard(partition))
    }

    /// Empties every held partition; how many keys there were. Watchers of keys that existed are raised.
    pub(crate) fn clear(&mut self) -> u64 {
        let cells = self.cells;
        let mut keys = 0;
        for shard in self.held.shards() {
            raise_existing(shard, self.db);
            let before = Weight::of(shard);
            keys += shard.table.len() as u64;
            self.garbage.table(shard.table.clear());
            before.settle(shard, cells);
        }
        self.changed_all();
        keys
    }

    /// Begins a command: what changes from here on is its effect.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.changes = 0;
        self.rewritten = false;
    }

    /// Ends a command: if it changed anything, its request is its record, unless it wrote another.
    #[inline]
    pub(crate) fn seal(&mut self, args: Args<'_>) {
        if self.logging && self.changes > 0 && !self.rewritten {
            encode_request(args, &mut self.record);
        }
    }

    /// Logs this request in place of the command's own.
    pub(crate) fn log_instead(&mut self, request: &[&[u8]]) {
        self.rewritten = true;
        if self.logging {
            encode_request(OwnedArgs::from_slices(request).as_args(), &mut self.record);
        }
    }

    /// Logs nothing for this command though it changed something another record tells of.
    pub(crate) fn log_nothing(&mut self) {
        self.rewritten = true;
    }

    /// Logs one more request, besides the command's own.
    pub(crate) fn log_also(&mut self, request: &[&[u8]]) {
        if self.logging {
            encode_request(OwnedArgs::from_slices(request).as_args(), &mut self.record);
        }
    }

    /// Opens a transaction's record; hand the answer to [`Keyspace::end_record`].
    pub(crate) fn begin_record(&mut self) -> usize {
        self.log_also(&[b"MULTI"]);
        self.record.len()
    }

    /// Closes a transaction's record; one that says nothing is dropped.
    pub(crate) fn end_record(&mut self, begun: usize) {
        if self.record.len() == begun {
            self.record.truncate(0);
        } else {
            self.log_also(&[b"EXEC"]);
        }
    }
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
    fn settle(self, shard: &Shard, cells: &Cells) {
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
    }
}
