//! Looking up, putting in and sampling entries by how warm they are. What the heat means is the caller's.

use super::bucket::SLOTS;
use super::{CHUNK, Entry, EntryRef, NEVER, Table};
use std::ptr::NonNull;

/// Chunks that may hold what is wanted and are looked at for one sample.
const CHUNKS_MAX: usize = 4;

impl Table {
    /// As [`Table::find`]; the entry's heat becomes what `touch` makes of it, written only when it changes.
    #[inline]
    pub fn find_warm(&mut self, hash: u64, key: &[u8], touch: impl FnOnce(u16) -> u16) -> Option<EntryRef<'_>> {
        let mut found = self.find_mut(hash, key)?;
        found.set_heat(touch(found.heat()));
        Some(found.into_entry_ref())
    }

    /// As [`Table::upsert`]; a new entry begins with `fresh`, and one in another's place with what `touch` makes of that.
    pub fn upsert_warm(
        &mut self,
        hash: u64,
        entry: Entry,
        fresh: u16,
        touch: impl FnOnce(u16) -> u16,
    ) -> Option<Entry> {
        match self.find_mut(hash, entry.key()) {
            Some(mut occupied) => {
                occupied.set_heat(touch(occupied.heat()));
                Some(occupied.replace(entry))
            }
            None => {
                self.insert_warm(hash, entry, fresh);
                None
            }
        }
    }

    /// The heat of `key`.
    pub fn heat(&mut self, hash: u64, key: &[u8]) -> Option<u16> {
        self.find_mut(hash, key).map(|found| found.heat())
    }

    /// Gives every entry the heat that `change` makes of its own; how many buckets that took.
    pub fn warm_all(&mut self, mut change: impl FnMut(u16) -> u16) -> usize {
        let mut looked = 0;
        for number in 0..self.buckets {
            let mut at = self.bucket_mut(number).map(NonNull::from);
            while let Some(mut bucket) = at {
                looked += 1;
                // SAFETY: the root or a link of its chain, reached through the mutable borrow of the table; one
                // reference lives at a time.
                let bucket = unsafe { bucket.as_mut() };
                let occupied = bucket.occupied();
                for i in (0..SLOTS).filter(|i| occupied & 1 << i != 0) {
                    let slot = bucket.slot(i);
                    let heat = change(slot.heat());
                    if heat != slot.heat() {
                        bucket.set(i, slot.with_heat(heat));
                    }
                }
                at = bucket.next();
            }
        }
        looked
    }

    /// Shows some entries with their heats, about `wanted`, from a place chosen by `draw`; only those that expire with
    /// `volatile`. Stops early where there are few.
    pub fn sample(&self, draw: u64, volatile: bool, wanted: usize, visit: &mut impl FnMut(EntryRef<'_>, u16)) {
        if self.len == 0 || volatile && self.volatile == 0 {
            return;
        }
        let start = (draw % self.buckets as u64) as usize;
        let (mut seen, mut chunks, mut number) = (0, 0, start);
        for _ in 0..self.buckets.div_ceil(CHUNK) + 1 {
            let end = (number / CHUNK * CHUNK + CHUNK).min(self.buckets);
            // Where nothing expires is passed over by one compare.
            if !volatile || self.chunks.get(number / CHUNK).is_some_and(|chunk| chunk.due_s != NEVER) {
                for number in number..end {
                    seen += self.show(number, volatile, visit);
                    if seen >= wanted {
                        return;
                    }
                }
                chunks += 1;
                if seen > 0 && chunks >= CHUNKS_MAX {
                    return;
                }
            }
            number = if end == self.buckets { 0 } else { end };
        }
    }

    fn show(&self, number: usize, volatile: bool, visit: &mut impl FnMut(EntryRef<'_>, u16)) -> usize {
        let mut seen = 0;
        for bucket in self.chain(number) {
            let wanted = |i: &usize| bucket.occupied() & 1 << i != 0 && (!volatile || bucket.slot(*i).is_volatile());
            for i in (0..SLOTS).filter(wanted) {
                let slot = bucket.slot(i);
                // SAFETY: entries in occupied slots are owned by the table, which is borrowed for the visit.
                visit(unsafe { slot.view() }, slot.heat());
                seen += 1;
            }
        }
        seen
    }
}
