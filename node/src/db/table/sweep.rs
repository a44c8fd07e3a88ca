//! Active expiry: taking out entries that are due, without touching memory that cannot hold any.

use super::bucket::SLOTS;
use super::{CHUNK, Entry, NEVER, Occupied, Table};
use std::ptr::NonNull;

/// What one call of [`Table::sweep_due`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries taken out.
    pub expired: usize,
    /// Buckets looked at.
    pub examined: usize,
    /// True when the budget ended the call before every due chunk was seen.
    pub more: bool,
}

/// The second from whose beginning an entry with this expiry can be swept: it is due one millisecond after.
#[inline]
pub(super) fn due_s(expire_at_ms: u64) -> u32 {
    u32::try_from((expire_at_ms + 1).div_ceil(1000)).unwrap_or(NEVER).min(NEVER - 1)
}

impl Table {
    /// Takes out entries that are due at `now_ms`, giving each to `on_expired`, and looks at about `budget` buckets.
    ///
    /// Chunks of 32 buckets in which nothing can be due are skipped by one comparison. An entry is seen at the latest in
    /// the second after its expiry; readers check by the millisecond.
    pub fn sweep_due(&mut self, now_ms: u64, budget: usize, on_expired: &mut impl FnMut(Entry)) -> Swept {
        let now_s = u32::try_from(now_ms / 1000).unwrap_or(NEVER - 1);
        let mut swept = Swept::default();
        if self.earliest_due_s > now_s {
            return swept;
        }
        for _ in 0..self.chunks.len() {
            if self.sweep_at >= self.chunks.len() {
                self.sweep_at = 0;
            }
            if self.chunks.get(self.sweep_at).is_some_and(|chunk| chunk.due_s <= now_s) {
                if swept.examined >= budget {
                    swept.more = true;
                    return swept;
                }
                self.sweep_chunk(self.sweep_at, now_ms, &mut swept, on_expired);
            }
            self.sweep_at += 1;
        }
        self.earliest_due_s = self.chunks.iter().map(|chunk| chunk.due_s).min().unwrap_or(NEVER);
        // Shrinking moved entries into a chunk that was seen already.
        swept.more = self.earliest_due_s <= now_s;
        swept
    }

    /// The second in which the next entry may be due, or `u32::MAX`. Costs nothing; never too late.
    pub fn next_due_s(&self) -> u32 {
        self.earliest_due_s
    }

    fn sweep_chunk(&mut self, chunk: usize, now_ms: u64, swept: &mut Swept, on_expired: &mut impl FnMut(Entry)) {
        let (mut earliest, mut expired) = (NEVER, 0);
        for number in chunk * CHUNK..((chunk + 1) * CHUNK).min(self.buckets) {
            swept.examined += 1;
            while let Some(due) = self.find_due(number, now_ms, &mut earliest) {
                expired += 1;
                on_expired(due.take().0);
            }
        }
        swept.expired += expired;
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            chunk.due_s = earliest;
        }
        // The buckets were kept as they were while they were walked.
        (0..expired).for_each(|_| self.shrink());
    }

    /// A due entry of the chain of bucket `number`; lowers `earliest` to those that are not due.
    fn find_due(&mut self, number: usize, now_ms: u64, earliest: &mut u32) -> Option<Occupied<'_>> {
        let mut at = NonNull::from(self.bucket_mut(number)?);
        loop {
            // SAFETY: `at` is the root or a link of its chain, reached through the mutable borrow of the table.
            let bucket = unsafe { at.as_ref() };
            for i in (0..SLOTS).filter(|i| bucket.occupied() & 1 << i != 0 && bucket.slot(*i).is_volatile()) {
                // SAFETY: the entry is owned by this table, and read here only.
                let entry = unsafe { bucket.slot(i).view() };
                match entry.expire_at_ms() {
                    // SAFETY: `at` is in the chain of `number`, and place `i` is occupied.
                    Some(_) if entry.is_due(now_ms) => {
                        return Some(unsafe { Occupied::new(self, number, at, i) });
                    }
                    Some(at_ms) => *earliest = (*earliest).min(due_s(at_ms)),
                    None => {}
                }
            }
            at = bucket.next()?;
        }
    }
}
