//! Partitions and the one rule for locking them.
//!
//! A key's hash names its partition; a partition's mutex guards its table, its watchers and its waiters. Commands run on
//! the connection's own thread under the locks of their keys.
//!
//! **Deadlock rule**: only the holder of the gate may wait for a partition while it holds another. Everyone else takes
//! several by trying in ascending order, gives all back on a failure, and after [`TRIES_MAX`] failures takes the gate. A
//! waiter without the gate holds nothing, so no cycle can form. The gate is given back once everything is held.
//!
//! A panic under a lock aborts the process: these locks do not poison, and a half-done write must not live on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::entry::Growth;
use super::table::{KeyHash, Table};
use crate::tracking::{Tracked, Tracker};
use crate::waiters::Waiters;

/// How long a command waits for a partition before it gives its worker to others.
const WAIT_MAX: Duration = Duration::from_micros(50);
/// Failed rounds of trying before the gate is taken.
const TRIES_MAX: u32 = 8;

/// A partition (or the gate) was held by someone else for longer than the wait: yield and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// All partitions of one engine.
pub(crate) struct Db {
    partitions: Box<[Partition]>,
    /// Bits to shift a hash right by to get its partition.
    shift: u32,
    gate: Mutex<()>,
    /// How keys are hashed, and what collections need to grow.
    pub(crate) growth: Growth,
}

#[repr(align(64))]
struct Partition {
    shard: Mutex<Shard>,
}

/// What one partition's lock guards.
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) watched: Watched,
    pub(crate) waiters: Waiters,
}

type Guard<'e> = MutexGuard<'e, Shard>;

impl Db {
    /// `partitions` must be a power of two.
    pub(crate) fn new(partitions: usize, seed: u64) -> Self {
        let key_hash = KeyHash::new(seed);
        let shard =
            || Shard { table: Table::new(key_hash.clone()), watched: Watched::default(), waiters: Waiters::default() };
        Self {
            partitions: (0..partitions).map(|_| Partition { shard: Mutex::new(shard()) }).collect(),
            shift: u64::BITS - partitions.trailing_zeros(),
            gate: Mutex::new(()),
            growth: Growth::new(key_hash),
        }
    }

    /// A key's hash, the same for the life of the engine. Tables use its low bits, partitions its high ones.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.growth.key_hash.hash(key)
    }

    /// The partition of a key by its hash. With cluster mode this one place becomes `slot & (partitions - 1)`.
    #[inline]
    pub(crate) fn partition_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// One partition; the caller holds none.
    #[inline]
    pub(crate) fn lock_one(&self, partition: usize) -> Result<Held<'_>, Busy> {
        match self.partitions[partition].shard.try_lock() {
            Some(guard) => Ok(Held::One(partition, guard)),
            None => self.wait_for_one(partition),
        }
    }

    #[cold]
    fn wait_for_one(&self, partition: usize) -> Result<Held<'_>, Busy> {
        let guard = self.partitions[partition].shard.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        Ok(Held::One(partition, guard))
    }

    /// One partition without waiting; allowed whatever the caller holds.
    #[inline]
    pub(crate) fn try_lock(&self, partition: usize) -> Option<Guard<'_>> {
        self.partitions[partition].shard.try_lock()
    }

    /// One partition, waiting as long as it takes; the caller holds none. For work that is not a client's command.
    pub(crate) fn lock_patiently(&self, partition: usize) -> Held<'_> {
        Held::One(partition, self.partitions[partition].shard.lock())
    }

    /// These partitions, ascending and without repeats; the caller holds none. `gated` is told when the gate was needed.
    pub(crate) fn lock_many(&self, partitions: &[u16], gated: &mut bool) -> Result<Held<'_>, Busy> {
        if let [one] = partitions {
            return self.lock_one(usize::from(*one));
        }
        for round in 0..TRIES_MAX {
            if let Some(guards) = self.try_all(partitions) {
                return Ok(Held::Many(guards));
            }
            back_off(round);
        }
        *gated = true;
        let gate = self.gate.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        let guards = partitions.iter().map(|at| (*at, self.partitions[usize::from(*at)].shard.lock())).collect();
        drop(gate);
        Ok(Held::Many(guards))
    }

    fn try_all(&self, partitions: &[u16]) -> Option<Several<'_>> {
        partitions.iter().map(|at| Some((*at, self.partitions[usize::from(*at)].shard.try_lock()?))).collect()
    }

    /// Every partition, through the gate; the caller holds none.
    pub(crate) fn lock_all(&self) -> Result<Held<'_>, Busy> {
        let gate = self.gate.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        let guards = self.partitions.iter().map(|partition| partition.shard.lock()).collect();
        drop(gate);
        Ok(Held::All(guards))
    }

    /// The gate, kept, and these partitions, ascending and without repeats: for a script, which may need more later.
    pub(crate) fn lock_gated(&self, partitions: &[u16]) -> Result<Held<'_>, Busy> {
        let gate = self.gate.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        let guards = partitions.iter().map(|at| (*at, self.partitions[usize::from(*at)].shard.lock())).collect();
        Ok(Held::Gated { _gate: gate, guards, partitions: self.partitions.len() })
    }

    /// Every partition, waiting as long as it takes.
    pub(crate) fn lock_all_patiently(&self) -> Held<'_> {
        let gate = self.gate.lock();
        let guards = self.partitions.iter().map(|partition| partition.shard.lock()).collect();
        drop(gate);
        Held::All(guards)
    }
}

fn back_off(round: u32) {
    if round < 4 {
        (0..8 << round).for_each(|_| std::hint::spin_loop());
    } else {
        std::thread::yield_now();
    }
}

type Several<'e> = SmallVec<[(u16, Guard<'e>); 4]>;

/// The partitions someone holds.
pub(crate) enum Held<'e> {
    None,
    One(usize, Guard<'e>),
    /// Ascending.
    Many(Several<'e>),
    /// Ascending, and the gate: more can be locked.
    Gated {
        _gate: MutexGuard<'e, ()>,
        guards: Several<'e>,
        /// How many there are in all.
        partitions: usize,
    },
    All(Vec<Guard<'e>>),
}

impl<'e> Held<'e> {
    /// The shard of `partition`. The executor holds every partition a command's keys name, so a miss is a bug here.
    #[inline]
    pub(crate) fn shard(&mut self, partition: usize) -> &mut Shard {
        match self {
            Self::One(at, guard) => {
                assert!(*at == partition, "a command touched a partition it does not hold");
                guard
            }
            Self::Many(guards) | Self::Gated { guards, .. } => {
                let place = guards
                    .binary_search_by_key(&partition, |(at, _)| usize::from(*at))
                    .expect("a command touched a partition it does not hold");
                &mut guards[place].1
            }
            Self::All(guards) => &mut guards[partition],
            Self::None => panic!("a command touched a key without a lock"),
        }
    }

    /// Every shard that is held.
    pub(crate) fn shards(&mut self) -> Box<dyn Iterator<Item = &mut Shard> + '_> {
        match self {
            Self::None => Box::new(std::iter::empty()),
            Self::One(_, guard) => Box::new(std::iter::once(&mut **guard)),
            Self::Many(guards) | Self::Gated { guards, .. } => {
                Box::new(guards.iter_mut().map(|(_, guard)| &mut **guard))
            }
            Self::All(guards) => Box::new(guards.iter_mut().map(|guard| &mut **guard)),
        }
    }

    pub(crate) fn is_all(&self) -> bool {
        match self {
            Self::All(_) => true,
            Self::Gated { guards, partitions, .. } => guards.len() == *partitions,
            _ => false,
        }
    }

    /// Locks more partitions, waiting for each: only the gate's holder may, and only it does.
    pub(crate) fn extend(&mut self, db: &'e Db, partitions: impl IntoIterator<Item = u16>) {
        let Self::Gated { guards, .. } = self else { return };
        for at in partitions {
            if let Err(place) = guards.binary_search_by_key(&at, |(held, _)| *held) {
                guards.insert(place, (at, db.partitions[usize::from(at)].shard.lock()));
            }
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !matches!(self, Self::None) {
            abort_under_lock();
        }
    }
}

#[cold]
fn abort_under_lock() -> ! {
    tracing::error!("a panic under a partition lock: the process ends, so that no half-done write lives on");
    std::process::abort()
}

/// Who watches which key of one partition.
#[derive(Default)]
pub(crate) struct Watched {
    keys: HashMap<Box<[u8]>, Vec<Arc<AtomicBool>>>,
    tracked: Tracked,
    /// Somebody watches or tracks something: what a change asks first.
    any: bool,
}

impl Watched {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    fn settle(&mut self) {
        self.any = !self.keys.is_empty() || !self.tracked.is_empty();
    }

    /// Remembers that a client that tracks read a key.
    pub(crate) fn track(&mut self, key: &[u8], tracker: &Arc<Tracker>) {
        self.tracked.remember(key, tracker);
        self.settle();
    }

    /// Forgets what was read, for FLUSHALL.
    pub(crate) fn untrack_all(&mut self) {
        self.tracked.clear();
        self.settle();
    }

    /// Tells a client of every change of its prefixes from here on.
    pub(crate) fn broadcast_to(&mut self, tracker: &Arc<Tracker>) {
        self.tracked.broadcast_to(tracker);
        self.settle();
    }

    pub(crate) fn broadcast_no_more(&mut self, tracker: &Tracker) {
        self.tracked.broadcast_no_more(tracker);
        self.settle();
    }

    /// False when this flag watches the key already.
    pub(crate) fn add(&mut self, key: &[u8], flag: &Arc<AtomicBool>) -> bool {
        let flags = self.keys.entry(key.into()).or_default();
        let new = !flags.iter().any(|one| Arc::ptr_eq(one, flag));
        if new {
            flags.push(flag.clone());
        }
        self.settle();
        new
    }

    pub(crate) fn forget(&mut self, key: &[u8], flag: &Arc<AtomicBool>) {
        if let Some(flags) = self.keys.get_mut(key) {
            flags.retain(|one| !Arc::ptr_eq(one, flag));
            if flags.is_empty() {
                self.keys.remove(key);
            }
        }
        self.settle();
    }

    /// Raises the flag of everyone who watches `key`, and tells those who track it.
    #[cold]
    pub(crate) fn touch(&mut self, key: &[u8]) {
        self.raise(key);
        self.tracked.touch(key);
        self.settle();
    }

    /// Raises the flag of everyone who watches `key`.
    pub(crate) fn raise(&self, key: &[u8]) {
        if let Some(flags) = self.keys.get(key) {
            flags.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        }
    }

    /// The watched keys, for FLUSHALL.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(|key| &**key)
    }
}
