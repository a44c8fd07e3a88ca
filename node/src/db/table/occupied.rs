//! An entry of a table, to be changed or removed.

use super::bucket::{Bucket, Slot};
use super::{Entry, EntryRef, Table};
use crate::db::entry::{Collection, Object, Text, Value};
use bytes::Bytes;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A found entry. Changes keep the table's counts of memory, expiries and due times true.
#[derive(Debug)]
pub struct Occupied<'a> {
    table: &'a mut Table,
    /// The number of the root bucket.
    number: usize,
    bucket: NonNull<Bucket>,
    i: usize,
}

impl<'a> Occupied<'a> {
    /// # Safety
    /// `bucket` is in the chain of bucket `number` of `table`, and its place `i` is occupied.
    #[inline]
    pub(super) unsafe fn new(table: &'a mut Table, number: usize, bucket: NonNull<Bucket>, i: usize) -> Occupied<'a> {
        Occupied { table, number, bucket, i }
    }

    #[inline]
    fn slot(&self) -> Slot {
        // SAFETY: the promise of `new`; the table is borrowed mutably by `self`, so the place is still occupied.
        unsafe { self.bucket.as_ref() }.slot(self.i)
    }

    fn set_slot(&mut self, slot: Slot) {
        // SAFETY: as in `slot`, and `self` is borrowed mutably.
        unsafe { self.bucket.as_mut() }.set(self.i, slot);
    }

    /// The entry, to be read.
    #[inline]
    pub fn entry(&self) -> EntryRef<'_> {
        // SAFETY: the entry is owned by the table, which `self` borrows.
        unsafe { self.slot().view() }
    }

    /// The entry, to be read for as long as the table's borrow lasts.
    #[inline]
    pub fn into_entry_ref(self) -> EntryRef<'a> {
        // SAFETY: the entry is owned by the table, whose borrow `self` gives up to the answer.
        unsafe { self.slot().view() }
    }

    /// Puts another entry with the same key here, and answers the present one. The heat stays.
    pub fn replace(&mut self, entry: Entry) -> Entry {
        debug_assert_eq!(self.entry().key(), entry.key());
        let slot = self.slot();
        // SAFETY: the slot is overwritten below, before anything else can see it.
        let old = unsafe { slot.into_entry() };
        self.account(&old, &entry);
        self.set_slot(Slot::new(entry, slot.heat()));
        old
    }

    /// Sets, changes or (with `None`) removes the expiry.
    pub fn set_expiry(&mut self, expire_at_ms: Option<u64>) {
        let slot = self.slot();
        // SAFETY: as in `replace`; building a block of the same content does not panic.
        let old = unsafe { slot.into_entry() };
        let (bytes, was) = (old.heap_bytes(), old.expire_at_ms().is_some());
        let new = old.with_expiry(expire_at_ms);
        self.table.entry_bytes = self.table.entry_bytes - bytes + new.heap_bytes();
        self.table.volatile = self.table.volatile - usize::from(was) + usize::from(expire_at_ms.is_some());
        self.set_slot(Slot::new(new, slot.heat()));
        if let Some(at) = expire_at_ms {
            self.table.lower_due(self.number, at);
        }
    }

    /// Makes the entry a string of this value, expiry and no attribute: SET. In place when the block allows it, else the
    /// old entry is answered, to be dropped where there is time for it.
    pub fn exchange_string(&mut self, value: &[u8], expire_at_ms: Option<u64>) -> Option<Entry> {
        let now = self.entry().expire_at_ms();
        if now.is_some() == expire_at_ms.is_some() && self.overwrite(value) {
            if now != expire_at_ms {
                self.set_expiry(expire_at_ms);
            }
            return None;
        }
        let entry = Entry::string(self.entry().key(), value, expire_at_ms);
        Some(self.replace(entry))
    }

    /// As [`Occupied::exchange_string`]; the old entry is dropped here.
    pub fn set_string(&mut self, value: &[u8], expire_at_ms: Option<u64>) {
        drop(self.exchange_string(value, expire_at_ms));
    }

    /// See [`Entry::set_int`].
    pub fn set_int(&mut self, value: i64) -> bool {
        self.with_entry(|entry| entry.set_int(value))
    }

    /// See [`Entry::overwrite`].
    pub fn overwrite(&mut self, value: &[u8]) -> bool {
        self.with_entry(|entry| entry.overwrite(value))
    }

    /// Lets `change` change the string in its place; it is moved to a block of its own first. `None` for integers and
    /// collections. An attribute is dropped by the move.
    pub fn change_text<R>(&mut self, change: impl FnOnce(&mut Text) -> R) -> Option<R> {
        if let Value::Bytes(bytes) = self.entry().value() {
            let text = Text::of(Bytes::copy_from_slice(bytes));
            let entry = Entry::text(self.entry().key(), text, self.entry().expire_at_ms());
            drop(self.replace(entry));
        }
        self.change_object(|object| match object {
            Object::Text(text) => Some(change(text)),
            _ => None,
        })
    }

    /// Lets `change` change the collection. `None` for other kinds.
    pub fn change<C: Collection, R>(&mut self, change: impl FnOnce(&mut C) -> R) -> Option<R> {
        let Some(elements) = self.entry().elements().filter(|_| self.entry().kind() == C::KIND) else {
            let result = self.change_object(|object| C::of_mut(object).map(change))?;
            if let Some(entry) = self.with_entry(Entry::moved_in::<C>) {
                drop(self.replace(entry));
            }
            return Some(result);
        };
        let mut it = C::of_elements(elements)?;
        let result = change(&mut it);
        let in_place = |elements| self.with_entry(|entry| entry.overwrite_elements(elements));
        if !it.elements().is_some_and(in_place) {
            let entry = self.with_entry(|entry| entry.with_collection(it));
            drop(self.replace(entry));
        }
        Some(result)
    }

    /// Lets `change` change what is in a block of its own, and counts its memory afterwards.
    fn change_object<R>(&mut self, change: impl FnOnce(&mut Object) -> Option<R>) -> Option<R> {
        let (result, before, after) = self.with_entry(|entry| {
            let object = entry.object_mut()?;
            let before = object.heap_bytes();
            let result = change(object)?;
            Some((result, before, object.heap_bytes()))
        })?;
        self.table.entry_bytes = self.table.entry_bytes - before + after;
        Some(result)
    }

    /// Takes the entry out.
    pub fn remove(self) -> Entry {
        let (entry, table) = self.take();
        table.shrink();
        entry
    }

    /// Takes the entry out and leaves the number of buckets as it is.
    pub(super) fn take(mut self) -> (Entry, &'a mut Table) {
        let slot = self.slot();
        self.vacate();
        // SAFETY: the slot was taken out just now.
        let entry = unsafe { slot.into_entry() };
        let table = self.table;
        table.len -= 1;
        table.entry_bytes -= entry.heap_bytes();
        table.volatile -= usize::from(entry.expire_at_ms().is_some());
        (entry, table)
    }

    /// How warm the entry is: 12 bits whose meaning is the eviction policy's.
    pub fn heat(&self) -> u16 {
        self.slot().heat()
    }

    /// Sets the heat; writes only when it changes, so that a hot key's line stays clean.
    pub fn set_heat(&mut self, heat: u16) {
        let slot = self.slot();
        if slot.heat() != heat {
            self.set_slot(slot.with_heat(heat));
        }
    }

    /// Changes the entry in place, block and expiry staying as they are.
    fn with_entry<T>(&mut self, change: impl FnOnce(&mut Entry) -> T) -> T {
        // SAFETY: the entry is owned by the table, which `self` borrows mutably; ManuallyDrop keeps it owned there.
        let mut entry = ManuallyDrop::new(unsafe { self.slot().into_entry() });
        change(&mut entry)
    }

    fn account(&mut self, old: &Entry, new: &Entry) {
        let table = &mut *self.table;
        table.entry_bytes = table.entry_bytes - old.heap_bytes() + new.heap_bytes();
        table.volatile -= usize::from(old.expire_at_ms().is_some());
        if let Some(at) = new.expire_at_ms() {
            table.volatile += 1;
            table.lower_due(self.number, at);
        }
    }

    /// Empties the place. In a chain, the last bucket's last entry fills the hole, and an empty last bucket is freed.
    fn vacate(&mut self) {
        // SAFETY: the promise of `new`: the bucket is alive, and `self` borrows its table mutably.
        let bucket = unsafe { self.bucket.as_mut() };
        bucket.vacate(self.i);
        let root = self.table.bucket_mut(self.number).map(NonNull::from);
        let Some(mut parent) = root.filter(|root| {
            // SAFETY: the root bucket is owned by the table; this is a read.
            unsafe { root.as_ref() }.is_chained()
        }) else {
            return;
        };
        // SAFETY: all buckets of the chain are alive and reached through the mutable borrow of the table; references to
        // them are made one at a time, and `last` is freed only after its final use.
        unsafe {
            let mut last = parent;
            while let Some(next) = last.as_ref().next() {
                (parent, last) = (last, next);
            }
            let occupied = last.as_ref().occupied();
            if last != self.bucket && occupied != 0 {
                let from = occupied.ilog2() as usize;
                let (tag, slot) = (last.as_ref().tag(from), last.as_ref().slot(from));
                last.as_mut().vacate(from);
                let filled = self.bucket.as_mut().put(tag, slot);
                debug_assert!(filled);
            }
            if last.as_ref().occupied() == 0 {
                drop(parent.as_mut().unchain());
                self.table.chain_buckets -= 1;
            }
        }
    }
}
