//! A consumer group: what was delivered to whom, and is not acknowledged yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entries::Entries;
use super::id::Id;
use crate::db::entry::size_class;

/// What a pending entry takes: its place among the group's and among its consumer's, in B-trees that are filled from one
/// end and so a little more than half full.
const PENDING_BYTES: usize = 120;

/// What a consumer takes beside its name: its slot and its place among the names.
const CONSUMER_BYTES: usize = 160;

/// A consumer's number within its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whose it is.
    pub consumer: Number,
    /// When it was delivered last, in unix ms.
    pub delivered_ms: u64,
    /// How often.
    pub deliveries: u64,
}

/// Someone who reads for a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it asked for something last, in unix ms.
    pub seen_ms: u64,
    pending: BTreeSet<Id>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has to acknowledge.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

/// A consumer group.
#[derive(Debug, Clone)]
pub struct Group {
    /// The last entry that was delivered to anyone.
    pub last_id: Id,
    /// How many entries were ever added up to that one, where that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<Id, Pending>,
    names: BTreeMap<Arc<[u8]>, Number>,
    consumers: Vec<Option<Consumer>>,
    /// Numbers that nobody has.
    free: Vec<Number>,
    name_bytes: usize,
}

impl Group {
    pub(super) fn new(last_id: Id, entries_read: Option<u64>) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
            name_bytes: 0,
        }
    }

    /// Heap bytes behind it, estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        self.pending.len() * PENDING_BYTES + self.names.len() * CONSUMER_BYTES + self.name_bytes
    }

    /// The consumers, by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (Number, &[u8])> {
        self.names.iter().map(|(name, number)| (*number, &**name))
    }

    /// The consumer of this name.
    pub fn named(&self, name: &[u8]) -> Option<Number> {
        self.names.get(name).copied()
    }

    /// The consumer of this number.
    pub fn consumer(&self, number: Number) -> Option<&Consumer> {
        self.consumers.get(number.0 as usize)?.as_ref()
    }

    fn consumer_mut(&mut self, number: Number) -> Option<&mut Consumer> {
        self.consumers.get_mut(number.0 as usize)?.as_mut()
    }

    /// Makes a consumer of this name, unless there is one; whether it did.
    pub fn create(&mut self, name: &[u8], now_ms: u64) -> bool {
        if self.names.contains_key(name) {
            return false;
        }
        let name: Arc<[u8]> = name.into();
        self.name_bytes += size_class(16 + name.len());
        let consumer = Some(Consumer { name: name.clone(), seen_ms: now_ms, pending: BTreeSet::new() });
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.consumers.push(None);
                Number(self.consumers.len() as u32 - 1)
            }
        };
        if let Some(place) = self.consumers.get_mut(number.0 as usize) {
            *place = consumer;
        }
        self.names.insert(name, number);
        true
    }

    /// Notes that a consumer asks for something, and makes it when there is none of this name; whether it did.
    pub fn see(&mut self, name: &[u8], now_ms: u64) -> (Number, bool) {
        let created = self.create(name, now_ms);
        // It is there now.
        let number = self.named(name).unwrap_or(Number(u32::MAX));
        if let Some(consumer) = self.consumer_mut(number) {
            consumer.seen_ms = now_ms;
        }
        (number, created)
    }

    /// Removes a consumer with all it has to acknowledge; how many entries that was.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.names.remove(name)?;
        self.name_bytes -= size_class(16 + name.len());
        let consumer = self.consumers.get_mut(number.0 as usize)?.take()?;
        self.free.push(number);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// How many entries are not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries not acknowledged, from an id on.
    pub fn pending(&self, from: Id) -> impl DoubleEndedIterator<Item = (Id, Pending)> {
        self.pending.range(from..).map(|(id, pending)| (*id, *pending))
    }

    /// The first and the last entry not acknowledged.
    pub fn pending_bounds(&self) -> Option<(Id, Id)> {
        Some((*self.pending.first_key_value()?.0, *self.pending.last_key_value()?.0))
    }

    /// The entries that a consumer has not acknowledged, from an id on.
    pub fn pending_of(&self, number: Number, from: Id) -> impl Iterator<Item = (Id, Pending)> {
        let ids = self.consumer(number).map(|consumer| consumer.pending.range(from..));
        ids.into_iter().flatten().filter_map(|id| Some((*id, *self.pending.get(id)?)))
    }

    /// What is known of an entry that is not acknowledged.
    pub fn pending_at(&self, id: Id) -> Option<Pending> {
        self.pending.get(&id).copied()
    }

    /// Notes what is known of an entry now, whoever had it before.
    pub fn set_pending(&mut self, id: Id, pending: Pending) {
        let before = self.pending.insert(id, pending).map(|before| before.consumer);
        if before == Some(pending.consumer) {
            return;
        }
        if let Some(other) = before.and_then(|other| self.consumer_mut(other)) {
            other.pending.remove(&id);
        }
        if let Some(consumer) = self.consumer_mut(pending.consumer) {
            consumer.pending.insert(id);
        }
    }

    /// Forgets an entry, acknowledged or gone; whether it was pending.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumer_mut(pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Notes that the group has read up to this entry, which is there.
    pub fn advance(&mut self, id: Id, entries: &Entries) {
        if id <= self.last_id {
            return;
        }
        match self.entries_read {
            Some(read) if !entries.is_broken_from(id) => self.entries_read = Some(read.wrapping_add(1)),
            _ if entries.added() > 0 => self.entries_read = entries.added_up_to(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// How many entries the group has still to read, where that can be told.
    pub fn lag(&self, entries: &Entries) -> Option<i64> {
        if entries.added() == 0 {
            return Some(0);
        }
        let read = match self.entries_read {
            Some(read) if !entries.is_broken_from(self.last_id) => read,
            _ => entries.added_up_to(self.last_id)?,
        };
        Some(entries.added().wrapping_sub(read) as i64)
    }
}
