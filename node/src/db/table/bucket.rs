//! One bucket: a cache line of 7 slots, their tags, and a link to more of them.

#[cfg(test)]
use crate::db::entry::Kind;
use crate::db::entry::{Entry, EntryRef};
use std::ptr::NonNull;

/// Slots of a bucket.
pub(super) const SLOTS: usize = 7;

/// The slot that holds the link when a bucket is chained.
const LINK: usize = SLOTS - 1;
const CHAINED: u8 = 1 << 7;

/// 64 bytes, on a cache line of its own.
///
/// Bit `i` of `meta` says that slot `i` holds an entry whose hash has tag `tags[i]`. With bit 7 set, the last slot is
/// no entry but the address of the next bucket, which this one owns.
#[repr(C, align(64))]
pub(super) struct Bucket {
    meta: u8,
    tags: [u8; SLOTS],
    slots: [u64; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// An owned entry as 64 bits: address 48, heat 12, volatile 1, kind 3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

const ADDRESS: u64 = (1 << 48) - 1;
const HEAT_SHIFT: u32 = 48;
const HEAT_MAX: u64 = (1 << 12) - 1;
const VOLATILE: u64 = 1 << 60;
const KIND_SHIFT: u32 = 61;

impl Slot {
    /// Takes the entry over; what the slot says about it is read from it.
    pub(super) fn new(entry: Entry, heat: u16) -> Slot {
        let volatile = if entry.expire_at_ms().is_some() { VOLATILE } else { 0 };
        let kind = entry.kind() as u64;
        let address = entry.into_raw().expose_provenance().get() as u64;
        assert!(address & !ADDRESS == 0, "addresses of user space have 48 bits");
        Slot(address | u64::from(heat).min(HEAT_MAX) << HEAT_SHIFT | volatile | kind << KIND_SHIFT)
    }

    #[inline]
    pub(super) fn address(self) -> NonNull<u8> {
        let address = std::ptr::with_exposed_provenance_mut((self.0 & ADDRESS) as usize);
        // SAFETY: a slot is made from a NonNull alone.
        unsafe { NonNull::new_unchecked(address) }
    }

    /// # Safety
    /// The slot's entry lives, unchanged, for `'a`.
    #[inline]
    pub(super) unsafe fn view<'a>(self) -> EntryRef<'a> {
        // SAFETY: the address came from Entry::into_raw; the caller promises the rest.
        unsafe { EntryRef::from_raw(self.address()) }
    }

    /// # Safety
    /// The slot was taken out of its bucket, and is not used again.
    pub(super) unsafe fn into_entry(self) -> Entry {
        // SAFETY: the address came from Entry::into_raw; the caller promises that nobody else owns it.
        unsafe { Entry::from_raw(self.address()) }
    }

    pub(super) fn heat(self) -> u16 {
        (self.0 >> HEAT_SHIFT & HEAT_MAX) as u16
    }

    pub(super) fn with_heat(self, heat: u16) -> Slot {
        Slot(self.0 & !(HEAT_MAX << HEAT_SHIFT) | u64::from(heat).min(HEAT_MAX) << HEAT_SHIFT)
    }

    #[inline]
    pub(super) fn is_volatile(self) -> bool {
        self.0 & VOLATILE != 0
    }

    /// The kind, without a look at the entry: for eviction and SCAN TYPE, which come later.
    #[cfg(test)]
    pub(super) fn is_kind(self, kind: Kind) -> bool {
        self.0 >> KIND_SHIFT == kind as u64
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({} used)", self.occupied().count_ones())
    }
}

impl Bucket {
    pub(super) const fn new() -> Bucket {
        Bucket { meta: 0, tags: [0; SLOTS], slots: [0; SLOTS] }
    }

    /// Bit `i` set: slot `i` holds an entry.
    #[inline]
    pub(super) fn occupied(&self) -> u8 {
        self.meta & !CHAINED
    }

    /// Bit `i` set: slot `i` holds an entry with this tag.
    #[inline]
    pub(super) fn matching(&self, tag: u8) -> u8 {
        let [a, b, c, d, e, f, g] = self.tags;
        same_bytes(u64::from_le_bytes([self.meta, a, b, c, d, e, f, g]), tag) >> 1 & self.occupied()
    }

    /// Slot `i`, which is occupied.
    #[inline]
    pub(super) fn slot(&self, i: usize) -> Slot {
        debug_assert!(self.occupied() & 1 << i != 0);
        Slot(self.slots[i])
    }

    #[inline]
    pub(super) fn tag(&self, i: usize) -> u8 {
        self.tags[i]
    }

    /// Puts another slot in the place of an occupied one, whose entry the caller has taken.
    pub(super) fn set(&mut self, i: usize, slot: Slot) {
        debug_assert!(self.occupied() & 1 << i != 0);
        self.slots[i] = slot.0;
    }

    /// Empties slot `i`, whose entry the caller has taken.
    pub(super) fn vacate(&mut self, i: usize) {
        debug_assert!(self.occupied() & 1 << i != 0);
        self.meta &= !(1 << i);
    }

    /// Puts a slot in a free place; false when there is none.
    pub(super) fn put(&mut self, tag: u8, slot: Slot) -> bool {
        let places = if self.is_chained() { SLOTS - 1 } else { SLOTS };
        let free = (!self.occupied()).trailing_zeros() as usize;
        if free >= places {
            return false;
        }
        self.meta |= 1 << free;
        self.tags[free] = tag;
        self.slots[free] = slot.0;
        true
    }

    #[inline]
    pub(super) fn is_chained(&self) -> bool {
        self.meta & CHAINED != 0
    }

    /// The next bucket of the chain, for reading or writing as the caller's borrow of this one allows.
    #[inline]
    pub(super) fn next(&self) -> Option<NonNull<Bucket>> {
        let address: *mut Bucket = std::ptr::with_exposed_provenance_mut(self.slots[LINK] as usize);
        self.is_chained().then(|| {
            // SAFETY: the link of a chained bucket came from Box::into_raw.
            unsafe { NonNull::new_unchecked(address) }
        })
    }

    /// Hangs `next` behind this full bucket, moving the entry in the link's place to it.
    pub(super) fn chain(&mut self, mut next: Box<Bucket>) {
        debug_assert!(!self.is_chained() && self.occupied() & 1 << LINK != 0);
        let moved = next.put(self.tags[LINK], Slot(self.slots[LINK]));
        debug_assert!(moved);
        self.slots[LINK] = Box::into_raw(next).expose_provenance() as u64;
        self.meta = self.meta & !(1 << LINK) | CHAINED;
    }

    /// Takes the next bucket off, with all that hangs behind it.
    pub(super) fn unchain(&mut self) -> Option<Box<Bucket>> {
        let next = self.next()?;
        self.meta &= !CHAINED;
        // SAFETY: the link came from Box::into_raw and this bucket, which owned it, has just forgotten it.
        Some(unsafe { Box::from_raw(next.as_ptr()) })
    }
}

/// Bit `i` set: byte `i` of `bytes` (lowest first) equals `byte`.
#[cfg(target_arch = "x86_64")]
#[inline]
fn same_bytes(bytes: u64, byte: u8) -> u8 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_cvtsi64_si128(bytes as i64), _mm_set1_epi8(byte as i8))) as u8 }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn same_bytes(bytes: u64, byte: u8) -> u8 {
    portable_same_bytes(bytes, byte)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable_same_bytes(bytes: u64, byte: u8) -> u8 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differing = bytes ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    // The top bit of each byte that is zero, exactly: no borrow runs between bytes.
    let same = !(((differing & LOW7) + LOW7) | differing | LOW7);
    // Gathers the eight top bits into one byte, lowest first.
    ((same >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tags_are_compared_exactly(bytes in prop_oneof![any::<[u8; 8]>(), any::<[bool; 8]>().prop_map(|b| b.map(u8::from))], byte in 0u8..3) {
            let slow = (0..8).fold(0, |mask, i| mask | u8::from(bytes[i] == byte) << i);
            let bytes = u64::from_le_bytes(bytes);
            prop_assert_eq!(same_bytes(bytes, byte), slow);
            prop_assert_eq!(portable_same_bytes(bytes, byte), slow);
        }
    }
}
