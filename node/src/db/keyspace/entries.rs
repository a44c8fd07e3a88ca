//! What is at a key: found, read, changed in its place, put and taken.

use super::{Change, How, Key, Keyspace, Weight};
use crate::db::entry::{Collection, Entry, EntryRef, Growth, Kind, Value};
use crate::db::table::Occupied;
use crate::db::warmth::Warmth;
use crate::error::CommandError;
use crate::metrics::Count;

impl Keyspace<'_> {
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
                    self.looked(key.bytes, true);
                    return Err(CommandError::WrongType);
                }
            }
            Some(entry) => {
                if self.looks {
                    self.cells.add(Count::Hits, 1);
                }
                show(Some(entry.value()));
                return Ok(());
            }
            None => {}
        }
        self.looked(key.bytes, false);
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

    /// As [`Keyspace::find`], counted as a look for data, though the key is not used by it.
    pub(crate) fn look(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let (cells, looks) = (self.cells, self.looks);
        if self.tells_misses() && self.find(key).is_none() {
            self.touch(key.bytes, How::Missed);
        }
        let found = self.find(key);
        if looks {
            cells.add(if found.is_some() { Count::Hits } else { Count::Misses }, 1);
        }
        found
    }

    /// As [`Keyspace::find`], counted as a read of data and a use of the key.
    #[inline]
    pub(crate) fn read(&mut self, key: Key<'_>) -> Option<EntryRef<'_>> {
        let (cells, warmth, now_ms, looks) = (self.cells, self.warmth, self.now_ms, self.looks);
        let shard = self.shard(key.hash);
        if shard.table.volatile_len() > 0 || shard.due_fields.any_due(now_ms) {
            self.expire_if_due(key);
        }
        if self.tells_misses() && self.find(key).is_none() {
            self.touch(key.bytes, How::Missed);
        }
        let found = self.shard(key.hash).table.find_warm(key.hash, key.bytes, |heat| warmth.touched(heat));
        if looks {
            cells.add(if found.is_some() { Count::Hits } else { Count::Misses }, 1);
        }
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
    pub(crate) fn collection<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<C::View<'_>>, CommandError> {
        match self.read(key).map(|entry| entry.value().collection::<C>()) {
            Some(Some(it)) => Ok(Some(it)),
            None => Ok(None),
            Some(None) => Err(CommandError::WrongType),
        }
    }

    /// As [`Keyspace::collection`], of a key that was counted already.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn collection_again<C: Collection>(
        &mut self,
        key: Key<'_>,
    ) -> Result<Option<C::View<'_>>, CommandError> {
        match self.find(key).map(|entry| entry.value().collection::<C>()) {
            Some(Some(it)) => Ok(Some(it)),
            None => Ok(None),
            Some(None) => Err(CommandError::WrongType),
        }
    }

    /// The collection at `key`, looked at besides others: it was read before, and nothing counts it or lets it expire.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub(crate) fn peek_collection<C: Collection>(&self, key: Key<'_>) -> Result<Option<C::View<'_>>, CommandError> {
        match self.peek(key).map(|entry| entry.value().collection::<C>()) {
            Some(Some(it)) => Ok(Some(it)),
            None => Ok(None),
            Some(None) => Err(CommandError::WrongType),
        }
    }

    /// As [`Keyspace::peek_collection`], of any type.
    pub(crate) fn peek(&self, key: Key<'_>) -> Option<EntryRef<'_>> {
        self.held.peek(self.db.partition_of(key.hash), self.database)?.table.find(key.hash, key.bytes)
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
            let done = entry.change(|it: &mut C| {
                let before = it.len();
                let (result, changed) = act(it, growth);
                (result, changed, before, it.len())
            });
            done.map(Some).ok_or(CommandError::WrongType)
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

    /// Uses the key, if it is there: whether it is. As looking it up to change it, which may be refused then.
    pub(crate) fn use_key(&mut self, key: Key<'_>) -> bool {
        self.edit(key, |entry| entry.is_some())
    }

    /// Moves what is at `from`, as warm as it is, to `to` in this database, over what is there.
    pub(crate) fn relocate(&mut self, from: Key<'_>, database: u8, to: Key<'_>) {
        let Some((heat, _)) = self.heat(from) else { return };
        let Some(entry) = self.take(from) else { return };
        let entry = if from.bytes == to.bytes { entry } else { entry.with_key(to.bytes) };
        self.within(database, |keys| {
            keys.put(to, entry);
            keys.set_heat(to, heat);
        });
    }

    /// Puts an entry, replacing what is there.
    pub(crate) fn put(&mut self, key: Key<'_>, entry: Entry) {
        let change = if entry.kind() == Kind::String { Change::Value } else { Change::Elements };
        let is_timed = entry.view().fields_due_at_ms().is_some();
        let (cells, place, warmth, now_ms) = (self.cells, self.place(), self.warmth, self.now_ms);
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let old = shard.table.upsert_warm(key.hash, entry, warmth.fresh(), |heat| warmth.touched(heat));
        before.settle(shard, cells, place);
        let how = match &old {
            Some(old) if old.view().is_due(now_ms) => {
                cells.add(Count::Expired, 1);
                How::Renewed
            }
            Some(_) => How::Changed,
            None => How::Added,
        };
        self.note(key, change, how);
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

    pub(super) fn remove(&mut self, key: Key<'_>) -> Option<Entry> {
        let (cells, place) = (self.cells, self.place());
        let shard = self.shard(key.hash);
        let before = Weight::of(shard);
        let removed = shard.table.remove(key.hash, key.bytes);
        before.settle(shard, cells, place);
        removed
    }

    /// Lets the key, if there is one, be as if it had last been used so many seconds ago, or as often as this counter says:
    /// whichever of them the policy keeps. When that is not told, it is as new.
    pub(crate) fn tell_heat(&mut self, key: Key<'_>, idle_s: Option<u64>, counter: Option<u8>) {
        let heat = self.warmth.told(idle_s, counter).unwrap_or_else(|| self.warmth.fresh());
        self.set_heat(key, heat);
    }

    fn set_heat(&mut self, key: Key<'_>, heat: u16) {
        let (warmth, now_s) = (self.warmth, self.now_ms / 1000);
        let shard = self.shard(key.hash);
        shard.settle_heats(warmth, now_s);
        shard.table.find_warm(key.hash, key.bytes, |_| heat);
    }

    /// How warm the key is, and what to read that with; it is not used by this.
    pub(crate) fn heat(&mut self, key: Key<'_>) -> Option<(u16, Warmth)> {
        self.expire_if_due(key);
        let (warmth, now_s) = (self.warmth, self.now_ms / 1000);
        let shard = self.shard(key.hash);
        shard.settle_heats(warmth, now_s);
        Some((shard.table.heat(key.hash, key.bytes)?, warmth))
    }
}
