//! Walking a table: SCAN, random picks, plain iteration.

use super::bucket::{Bucket, SLOTS};
use super::{CHUNK, EntryRef, Table, prev_power_of_two};

impl Table {
    /// Visits the entries of one step and answers the cursor of the next; begin with 0, and 0 means the end.
    ///
    /// Redis's promise: an entry that is in the table from the first call to the last is visited at least once, whatever
    /// comes, goes, grows and shrinks between calls; some may be visited twice. The cursor counts bucket numbers with
    /// their bits reversed, as many bits as every bucket has in common; a bucket split already is visited together with
    /// its other half, so every cursor stands for a fixed set of hashes. It stays below 2^40.
    pub fn scan(&self, cursor: u64, visit: &mut impl FnMut(EntryRef<'_>)) -> u64 {
        if self.buckets == 0 {
            return 0;
        }
        let half = prev_power_of_two(self.buckets);
        let mask = half as u64 - 1;
        let number = (cursor & mask) as usize;
        self.visit(number, visit);
        if number + half < self.buckets {
            self.visit(number + half, visit);
        }
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// Some entry, each with about the same chance. `draw` gives random 64-bit numbers. `None` when there is none.
    pub fn random(&self, draw: &mut impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        if self.len == 0 {
            return None;
        }
        // Random bucket, random place out of more than chains usually have: every entry has the same chance. A longer
        // chain's tail shares the chance of its places.
        const PLACES: u64 = 16;
        for _ in 0..1000 {
            let bucket = (draw() % self.buckets as u64) as usize;
            let entries = || self.chain(bucket).flat_map(entries);
            let count = entries().count() as u64;
            let place = draw() % PLACES.max(count);
            if place < count {
                return entries().nth(place as usize);
            }
        }
        let start = (draw() % self.buckets as u64) as usize;
        (start..self.buckets).chain(0..start).find_map(|bucket| self.chain(bucket).flat_map(entries).next())
    }

    /// All entries, in no order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { table: self, bucket: 0, chain: None, left: 0 }
    }

    fn visit(&self, number: usize, visit: &mut impl FnMut(EntryRef<'_>)) {
        self.chain(number).flat_map(entries).for_each(visit);
    }

    /// Bucket `number` and those chained to it.
    pub(super) fn chain(&self, number: usize) -> impl Iterator<Item = &Bucket> {
        let root = self.chunks.get(number / CHUNK).map(|chunk| &chunk.buckets[number % CHUNK]);
        std::iter::successors(root, |bucket| next(bucket))
    }
}

fn next(bucket: &Bucket) -> Option<&Bucket> {
    // SAFETY: a bucket owns the next one of its chain, so a borrow of it is a borrow of both.
    bucket.next().map(|next| unsafe { next.as_ref() })
}

fn entries(bucket: &Bucket) -> impl Iterator<Item = EntryRef<'_>> {
    let occupied = bucket.occupied();
    // SAFETY: entries in occupied slots are owned by the table, which the bucket's borrow holds.
    (0..SLOTS).filter(move |i| occupied & 1 << i != 0).map(|i| unsafe { bucket.slot(i).view() })
}

/// All entries of a table.
#[derive(Debug)]
pub struct Iter<'a> {
    table: &'a Table,
    /// The next root bucket.
    bucket: usize,
    chain: Option<&'a Bucket>,
    /// Occupied places of `chain` not yet answered.
    left: u8,
}

impl<'a> Iterator for Iter<'a> {
    type Item = EntryRef<'a>;

    fn next(&mut self) -> Option<EntryRef<'a>> {
        while self.left == 0 {
            let following = self.chain.and_then(next);
            let bucket = match following {
                Some(bucket) => bucket,
                None if self.bucket < self.table.buckets => {
                    self.bucket += 1;
                    self.table.chain(self.bucket - 1).next()?
                }
                None => return None,
            };
            (self.chain, self.left) = (Some(bucket), bucket.occupied());
        }
        let i = self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        // SAFETY: the entry in an occupied slot is owned by the table, which is borrowed for 'a.
        self.chain.map(|bucket| unsafe { bucket.slot(i).view() })
    }
}
