//! The key space of one partition: linear hashing over buckets of one cache line.
//!
//! A table has `n` buckets, `2^l <= n < 2^(l+1)`. A hash goes to the bucket of its lowest `l + 1` bits, or of its lowest
//! `l` bits while that bucket does not exist yet. So growing by one bucket moves entries out of exactly one other, and
//! shrinking by one moves them back: no second table, no directory, no stall. Buckets come in chunks of 32, each with
//! the earliest second at which an entry in it may be due, so that the sweeper touches only memory that can pay.
//!
//! The caller hashes ([`KeyHash`]). Bucket numbers come from the low bits and tags from bits 44 to 51; the top 12 bits
//! choose the partition and are not used here. Facts B5 and B6 give the measurements behind each choice.
//!
//! `unsafe` lives here, below, and in `entry.rs`; `table/twin.rs` is the same face over std collections, and every
//! operation is tested against it.
#![allow(unsafe_code)]

mod bucket;
mod heat;
mod occupied;
mod scan;
mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

pub use occupied::Occupied;
pub use scan::Iter;
pub use sweep::Swept;

use super::entry::{Entry, EntryRef};
use bucket::{Bucket, SLOTS, Slot};
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use smallvec::SmallVec;
use std::hash::Hasher;
use std::ptr::NonNull;

/// Buckets of a chunk. 256 cost 6 bytes a key more at 5M keys (facts B5).
const CHUNK: usize = 32;
/// "No entry of this chunk expires", in seconds.
const NEVER: u32 = u32::MAX;

/// How keys are hashed; one for all partitions, each table keeps a copy to hash again when it splits a bucket.
#[derive(Clone, Debug)]
pub struct KeyHash {
    seed: u64,
    shared: SharedSeed,
}

impl KeyHash {
    /// A hash function chosen by `seed`, which is random in production so that nobody can aim keys at one bucket.
    pub fn new(seed: u64) -> KeyHash {
        KeyHash { seed, shared: SharedSeed::from_u64(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// 64 well-mixed bits.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}

/// Entries by key. Not synchronised: it lives under its partition's lock.
pub struct Table {
    chunks: Vec<Chunk>,
    /// Buckets in use; the rest of the last chunk is empty.
    buckets: usize,
    /// The next power of two at or above `buckets`, less one.
    mask: usize,
    len: usize,
    volatile: usize,
    entry_bytes: usize,
    chain_buckets: usize,
    /// Not above any chunk's `due_s`.
    earliest_due_s: u32,
    /// The chunk at which the next sweep goes on.
    sweep_at: usize,
    hash: KeyHash,
}

struct Chunk {
    buckets: Box<[Bucket; CHUNK]>,
    /// Not later than the second in which the first of the chunk's entries can be swept.
    due_s: u32,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} entries in {} buckets, {} more chained)", self.len, self.buckets, self.chain_buckets)
    }
}

/// What a cleared table held, to be dropped where time does not matter.
#[derive(Debug)]
pub struct Cleared(Table);

impl Cleared {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// True when there were none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Heap bytes that dropping it gives back.
    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// A slot with its tag, out of any bucket.
type Loose = SmallVec<[(u8, Slot); 2 * SLOTS]>;

impl Table {
    /// An empty table. It takes no memory until the first entry.
    pub fn new(hash: KeyHash) -> Table {
        Table {
            chunks: Vec::new(),
            buckets: 0,
            mask: 0,
            len: 0,
            volatile: 0,
            entry_bytes: 0,
            chain_buckets: 0,
            earliest_due_s: NEVER,
            sweep_at: 0,
            hash,
        }
    }

    /// How its keys are hashed.
    pub(crate) fn key_hash(&self) -> &KeyHash {
        &self.hash
    }

    /// How many entries, those that are due and not yet swept included.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of a key, as this table's callers must compute it.
    #[inline]
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        self.hash.hash(key)
    }

    /// How many entries have an expiry.
    pub fn volatile_len(&self) -> usize {
        self.volatile
    }

    /// Heap bytes of entries, values and buckets, as size classes of the allocator.
    pub fn heap_bytes(&self) -> usize {
        self.entry_bytes + self.bucket_bytes()
    }

    /// Heap bytes of the buckets alone.
    pub fn bucket_bytes(&self) -> usize {
        self.chunks.len() * size_of::<[Bucket; CHUNK]>()
            + self.chain_buckets * size_of::<Bucket>()
            + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// The entry of `key`, whose hash is `hash`. A due entry is found too: the clock is the caller's.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<EntryRef<'_>> {
        let root = NonNull::from(self.root(hash)?);
        // SAFETY: `root` and its chain are borrowed through `self`, and only read.
        unsafe {
            let (bucket, i) = locate(root, tag(hash), key)?;
            Some(bucket.as_ref().slot(i).view())
        }
    }

    /// The entry of `key`, to be changed or removed.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<Occupied<'_>> {
        let number = self.bucket_of(hash);
        let root = NonNull::from(self.bucket_mut(number)?);
        // SAFETY: `root` and its chain are owned by `self`, which is borrowed mutably for as long as the answer lives.
        unsafe {
            let (bucket, i) = locate(root, tag(hash), key)?;
            Some(Occupied::new(self, number, bucket, i))
        }
    }

    /// Puts the entry in, in place of the one with the same key, which is answered.
    pub fn upsert(&mut self, hash: u64, entry: Entry) -> Option<Entry> {
        debug_assert_eq!(hash, self.hash.hash(entry.key()));
        match self.find_mut(hash, entry.key()) {
            Some(mut occupied) => Some(occupied.replace(entry)),
            None => {
                self.insert_new(hash, entry);
                None
            }
        }
    }

    /// Puts an entry in whose key the table does not hold: [`Table::upsert`] without the search.
    pub fn insert_new(&mut self, hash: u64, entry: Entry) {
        self.insert_warm(hash, entry, 0);
    }

    /// As [`Table::insert_new`], with a heat to begin with.
    pub fn insert_warm(&mut self, hash: u64, entry: Entry, heat: u16) {
        debug_assert!(self.find(hash, entry.key()).is_none());
        if self.buckets == 0 {
            self.add_bucket();
        }
        let expire_at_ms = entry.expire_at_ms();
        self.len += 1;
        self.entry_bytes += entry.heap_bytes();
        let number = self.bucket_of(hash);
        if let Some(at) = expire_at_ms {
            self.volatile += 1;
            self.lower_due(number, at);
        }
        self.put(number, tag(hash), Slot::new(entry, heat));
        self.grow();
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        self.find_mut(hash, key).map(Occupied::remove)
    }

    /// Takes everything out at once.
    pub fn clear(&mut self) -> Cleared {
        let empty = Table::new(self.hash.clone());
        Cleared(std::mem::replace(self, empty))
    }

    /// Asks the processor to bring the bucket of `hash` closer. The first of two steps of a batch (facts B7).
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(root) = self.root(hash) {
            prefetch(std::ptr::from_ref(root).cast());
        }
    }

    /// Asks the processor to bring the entry closer that is likely to be the one of `hash`. The second step: the bucket
    /// should have arrived.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        let Some(root) = self.root(hash) else { return };
        let candidates = root.matching(tag(hash));
        if candidates != 0 {
            let entry = root.slot(candidates.trailing_zeros() as usize).address().as_ptr();
            prefetch(entry);
            // Entries are not aligned to lines, and most do not fit in one: the value is on the next.
            prefetch(entry.wrapping_add(64));
        } else if let Some(next) = root.next() {
            prefetch(next.as_ptr().cast());
        }
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let number = hash as usize & self.mask;
        if number < self.buckets { number } else { number & (self.mask >> 1) }
    }

    #[inline]
    fn root(&self, hash: u64) -> Option<&Bucket> {
        let number = self.bucket_of(hash);
        self.chunks.get(number / CHUNK).map(|chunk| &chunk.buckets[number % CHUNK])
    }

    #[inline]
    fn bucket_mut(&mut self, number: usize) -> Option<&mut Bucket> {
        self.chunks.get_mut(number / CHUNK).map(|chunk| &mut chunk.buckets[number % CHUNK])
    }

    /// Puts a slot into bucket `number` or its chain.
    fn put(&mut self, number: usize, tag: u8, slot: Slot) {
        let chunk = &mut self.chunks[number / CHUNK];
        let mut bucket = &mut chunk.buckets[number % CHUNK];
        while !bucket.put(tag, slot) {
            if !bucket.is_chained() {
                bucket.chain(Box::new(Bucket::new()));
                self.chain_buckets += 1;
            }
            let Some(mut next) = bucket.next() else { unreachable!("the bucket was chained just now") };
            // SAFETY: the chain is owned by the bucket that `bucket` borrows mutably, and that borrow ends here.
            bucket = unsafe { next.as_mut() };
        }
    }

    /// Empties bucket `number` and frees its chain; the slots are the caller's.
    fn drain(&mut self, number: usize) -> Loose {
        let mut loose = Loose::new();
        let bucket = &mut self.chunks[number / CHUNK].buckets[number % CHUNK];
        let mut next = drain_one(bucket, &mut loose);
        while let Some(mut bucket) = next {
            self.chain_buckets -= 1;
            next = drain_one(&mut bucket, &mut loose);
        }
        loose
    }

    /// Splits one bucket when the load has passed 0.75.
    fn grow(&mut self) {
        // 0.75 * 7 slots = 21/4.
        if self.len * 4 <= self.buckets * 21 {
            return;
        }
        let new = self.buckets;
        let old = new - prev_power_of_two(new);
        self.add_bucket();
        let loose = self.drain(old);
        for (_, slot) in &loose {
            prefetch(slot.address().as_ptr());
        }
        for (tag, slot) in loose {
            // SAFETY: the slot's entry is owned by this table and unchanged.
            let entry = unsafe { slot.view() };
            let number = self.bucket_of(self.hash.hash(entry.key()));
            debug_assert!(number == old || number == new);
            if number == new
                && let Some(at) = entry.expire_at_ms()
            {
                self.lower_due(new, at);
            }
            self.put(number, tag, slot);
        }
    }

    /// Merges the last bucket into the one it was split from when the load is below 0.40; frees all when empty.
    fn shrink(&mut self) {
        if self.len == 0 {
            self.chunks = Vec::new();
            self.set_buckets(0);
            (self.earliest_due_s, self.sweep_at) = (NEVER, 0);
            return;
        }
        // 0.40 * 7 slots = 28/10.
        if self.buckets < 2 || self.len * 10 >= self.buckets * 28 {
            return;
        }
        let last = self.buckets - 1;
        let target = last - prev_power_of_two(last);
        let loose = self.drain(last);
        let due_s = self.chunks[last / CHUNK].due_s;
        if loose.iter().any(|(_, slot)| slot.is_volatile()) {
            let chunk = &mut self.chunks[target / CHUNK];
            chunk.due_s = chunk.due_s.min(due_s);
        }
        self.set_buckets(last);
        self.chunks.truncate(last.div_ceil(CHUNK));
        if self.chunks.capacity() > 4 * self.chunks.len() + 16 {
            self.chunks.shrink_to(2 * self.chunks.len());
        }
        for (tag, slot) in loose {
            self.put(target, tag, slot);
        }
    }

    fn add_bucket(&mut self) {
        if self.buckets == self.chunks.len() * CHUNK {
            self.chunks.push(Chunk { buckets: Box::new([const { Bucket::new() }; CHUNK]), due_s: NEVER });
        }
        self.set_buckets(self.buckets + 1);
    }

    fn set_buckets(&mut self, buckets: usize) {
        self.buckets = buckets;
        self.mask = buckets.next_power_of_two() - 1;
    }

    /// Notes that an entry of bucket `number` expires.
    #[inline]
    fn lower_due(&mut self, number: usize, expire_at_ms: u64) {
        let due_s = sweep::due_s(expire_at_ms);
        if let Some(chunk) = self.chunks.get_mut(number / CHUNK) {
            chunk.due_s = chunk.due_s.min(due_s);
        }
        self.earliest_due_s = self.earliest_due_s.min(due_s);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for number in 0..self.buckets {
            for (_, slot) in self.drain(number) {
                // SAFETY: `drain` took the slot out of its bucket.
                drop(unsafe { slot.into_entry() });
            }
        }
    }
}

/// The bits of a hash that a bucket keeps of each of its entries.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash >> 44) as u8
}

fn prev_power_of_two(n: usize) -> usize {
    1 << n.ilog2()
}

/// Moves a bucket's slots to `loose` and takes its chain off.
fn drain_one(bucket: &mut Bucket, loose: &mut Loose) -> Option<Box<Bucket>> {
    for i in 0..SLOTS {
        if bucket.occupied() & 1 << i != 0 {
            loose.push((bucket.tag(i), bucket.slot(i)));
            bucket.vacate(i);
        }
    }
    bucket.unchain()
}

/// The bucket and place of `key` in the chain that begins at `root`.
///
/// # Safety
/// The chain and its entries are alive and not being changed; what the caller does with the answer is what its own
/// borrow of the table allows.
#[inline]
unsafe fn locate(root: NonNull<Bucket>, tag: u8, key: &[u8]) -> Option<(NonNull<Bucket>, usize)> {
    let mut at = root;
    loop {
        // SAFETY: the caller's promise: `at` is the root or a link of its chain.
        let bucket = unsafe { at.as_ref() };
        let mut candidates = bucket.matching(tag);
        while candidates != 0 {
            let i = candidates.trailing_zeros() as usize;
            // SAFETY: as above: occupied slots hold living entries.
            if unsafe { bucket.slot(i).view() }.key() == key {
                return Some((at, i));
            }
            candidates &= candidates - 1;
        }
        at = bucket.next()?;
    }
}

/// Bytes of a line of the processor's caches, and how many of them are asked for ahead of a walk.
const LINE_BYTES: usize = 64;
const LINES_MAX: usize = 16;

/// Asks the processor to bring the beginning of a buffer closer, that is about to be walked by lengths: the walk itself
/// knows the next address only when the last has come.
#[inline]
pub(crate) fn prefetch_walk(bytes: &[u8]) {
    bytes.chunks(LINE_BYTES).take(LINES_MAX).for_each(|line| prefetch(line.as_ptr()));
}

#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
