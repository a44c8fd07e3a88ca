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
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::due_fields::DueFields;
use super::entry::{Growth, aligned_class};
use super::eviction::Settings;
use super::freer::Freeing;
use super::holds::Holds;
use super::table::{self, KeyHash, Table};
use super::warmth::{Kind, SETTLE_S, Warmth};
use crate::tracking::{Tracked, Tracker, Tracking};
use crate::waiters::Waiters;

/// How long a command waits for a partition before it gives its worker to others.
const WAIT_MAX: Duration = Duration::from_micros(50);
/// Failed rounds of trying before the gate is taken.
const TRIES_MAX: u32 = 8;

/// A partition (or the gate) was held by someone else for longer than the wait: yield and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// All partitions of one engine. Each holds its share of every database: a key's partition is the same in all of them,
/// so whoever holds the partitions of a command's keys may touch them in any database.
pub(crate) struct Db {
    partitions: Box<[Partition]>,
    /// What each database holds; that of the first is not kept, it is what the others leave of the gauges.
    tallies: Box<[Tally]>,
    /// Bits to shift a hash right by to get its partition.
    shift: u32,
    gate: Mutex<()>,
    /// Which events of keys are told, by [`crate::commands::Classes`].
    pub(crate) events: AtomicU32,
    /// How keys are hashed, and what collections need to grow.
    pub(crate) growth: Growth,
    /// What was taken out and is not freed yet.
    pub(crate) freeing: Arc<Freeing>,
    /// How much may be held, and what goes first.
    pub(crate) eviction: Settings,
    /// How long partitions are held.
    pub(crate) holds: Holds,
}

/// How many keys a database holds, those that are due included.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) keys: AtomicI64,
    pub(crate) volatile: AtomicI64,
}

#[repr(align(64))]
struct Partition {
    slice: Mutex<Slice>,
}

/// What one partition's lock guards: its share of every database.
pub(crate) struct Slice {
    /// Of database 0, which most clients never leave.
    first: Shard,
    /// Of the others, from 1 on, made when they are first used.
    others: Vec<Option<Box<Shard>>>,
}

impl Slice {
    fn new(key_hash: &KeyHash) -> Self {
        Self { first: Shard::new(key_hash), others: Vec::new() }
    }

    /// The share of a database.
    #[inline]
    pub(crate) fn of(&mut self, database: u8) -> &mut Shard {
        if database == 0 { &mut self.first } else { self.of_other(database) }
    }

    #[cold]
    fn of_other(&mut self, database: u8) -> &mut Shard {
        let place = usize::from(database) - 1;
        if place >= self.others.len() {
            self.others.resize_with(place + 1, || None);
        }
        let Self { first, others } = self;
        others[place].get_or_insert_with(|| {
            let mut shard = Box::new(Shard::new(first.table.key_hash()));
            shard.watched.broadcast_as(&first.watched);
            (shard.settled_s, shard.heats) = (first.settled_s, first.heats);
            shard
        })
    }

    /// The share of a database, if it has one.
    fn peek(&self, database: u8) -> Option<&Shard> {
        match usize::from(database).checked_sub(1) {
            None => Some(&self.first),
            Some(place) => self.others.get(place)?.as_deref(),
        }
    }

    /// The shares of all databases that have one.
    pub(crate) fn every(&mut self) -> impl Iterator<Item = &mut Shard> {
        let others = self.others.iter_mut().flatten().map(|shard| &mut **shard);
        std::iter::once(&mut self.first).chain(others)
    }

    /// The databases other than 0 that have a share here.
    pub(crate) fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let used: SmallVec<[u8; 16]> = (1..=u8::MAX)
            .zip(&self.others)
            .filter(|(_, shard)| shard.is_some())
            .map(|(database, _)| database)
            .collect();
        used.into_iter()
    }

    /// Forgets keys that clients track while there are too many of them; whether there may be more here.
    pub(crate) fn shed_tracked(&mut self, tracking: &Tracking) -> bool {
        tracking.is_over() && self.every().any(|shard| shard.watched.shed(tracking))
    }

    /// Exchanges what two databases hold. Who watches and who waits stays.
    pub(crate) fn swap(&mut self, one: u8, other: u8) {
        let empty = Table::new(self.first.table.key_hash().clone());
        let mut table = std::mem::replace(&mut self.of(one).table, empty);
        std::mem::swap(&mut self.of(other).table, &mut table);
        self.of(one).table = table;
        let mut due_fields = std::mem::take(&mut self.of(one).due_fields);
        std::mem::swap(&mut self.of(other).due_fields, &mut due_fields);
        self.of(one).due_fields = due_fields;
        // What the heats of their keys mean goes with them.
        let heats = |shard: &Shard| (shard.settled_s, shard.heats);
        let (of_one, of_other) = (heats(self.of(one)), heats(self.of(other)));
        (self.of(one).settled_s, self.of(one).heats) = of_other;
        (self.of(other).settled_s, self.of(other).heats) = of_one;
    }

    /// Brings the heats of the keys of every database up to date, if it is time; how many buckets that took.
    #[inline]
    pub(crate) fn settle_heats(&mut self, warmth: Warmth, now_s: u64) -> usize {
        let others = self.others.iter_mut().flatten().map(|shard| shard.settle_heats(warmth, now_s)).sum::<usize>();
        self.first.settle_heats(warmth, now_s) + others
    }
}

/// One partition's share of one database.
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) due_fields: DueFields,
    pub(crate) watched: Watched,
    pub(crate) waiters: Waiters,
    /// The heats of the table were brought up to date in this unix second.
    settled_s: u64,
    /// What they mean.
    heats: Kind,
}

impl Shard {
    fn new(key_hash: &KeyHash) -> Self {
        Self {
            table: Table::new(key_hash.clone()),
            due_fields: DueFields::default(),
            watched: Watched::default(),
            waiters: Waiters::default(),
            settled_s: 0,
            heats: Kind::default(),
        }
    }

    /// Brings the heats of the keys up to date, if it is time; how many buckets that took.
    #[inline]
    pub(crate) fn settle_heats(&mut self, warmth: Warmth, now_s: u64) -> usize {
        let from = self.heats;
        let changed = from != warmth.kind();
        // Time may go back.
        if !changed && now_s.abs_diff(self.settled_s) < SETTLE_S {
            return 0;
        }
        (self.settled_s, self.heats) = (now_s, warmth.kind());
        self.table.warm_all(|heat| if changed { warmth.adopted(heat, from) } else { warmth.settled(heat) })
    }
}

type Guard<'e> = MutexGuard<'e, Slice>;

impl Db {
    /// `partitions` must be a power of two, `databases` from 1 to 256.
    pub(crate) fn new(partitions: usize, databases: usize, seed: u64) -> Self {
        let key_hash = KeyHash::new(seed);
        Self {
            partitions: (0..partitions).map(|_| Partition { slice: Mutex::new(Slice::new(&key_hash)) }).collect(),
            tallies: (0..databases).map(|_| Tally::default()).collect(),
            shift: u64::BITS - partitions.trailing_zeros(),
            gate: Mutex::new(()),
            events: AtomicU32::new(0),
            growth: Growth::new(key_hash),
            freeing: Arc::default(),
            eviction: Settings::default(),
            holds: Holds::default(),
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

    /// Asks for the partition of a hash, which is locked soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(partition) = self.partitions.get(self.partition_of(hash)) {
            let address = std::ptr::from_ref(partition).cast::<u8>();
            (0..size_of::<Partition>()).step_by(64).for_each(|at| table::prefetch(address.wrapping_add(at)));
        }
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// How many databases there are.
    pub(crate) fn databases(&self) -> usize {
        self.tallies.len()
    }

    /// What is kept of a database's size; nothing of the first's.
    pub(crate) fn tally(&self, database: u8) -> Option<&Tally> {
        self.tallies.get(usize::from(database)).filter(|_| database > 0)
    }

    /// Heap bytes of the partitions without what is in them.
    pub(crate) fn startup_bytes(&self) -> usize {
        aligned_class(&self.partitions)
    }

    /// One partition; the caller holds none.
    #[inline]
    pub(crate) fn lock_one(&self, partition: usize) -> Result<Held<'_>, Busy> {
        match self.partitions[partition].slice.try_lock() {
            Some(guard) => Ok(Held::One(partition, guard)),
            None => self.wait_for_one(partition),
        }
    }

    #[cold]
    fn wait_for_one(&self, partition: usize) -> Result<Held<'_>, Busy> {
        let guard = self.partitions[partition].slice.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        Ok(Held::One(partition, guard))
    }

    /// One partition without waiting; allowed whatever the caller holds.
    #[inline]
    pub(crate) fn try_lock(&self, partition: usize) -> Option<Guard<'_>> {
        self.partitions[partition].slice.try_lock()
    }

    /// One partition, waiting as long as it takes; the caller holds none. For work that is not a client's command.
    pub(crate) fn lock_patiently(&self, partition: usize) -> Held<'_> {
        Held::One(partition, self.partitions[partition].slice.lock())
    }

    /// Brings the heats of every partition that nobody holds up to date; the sweepers do the others.
    pub(crate) fn settle_heats(&self, now_ms: u64) {
        let warmth = self.eviction.warmth(now_ms);
        for mut slice in (0..self.partitions()).filter_map(|at| self.try_lock(at)) {
            slice.settle_heats(warmth, now_ms / 1000);
        }
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
        let guards = partitions.iter().map(|at| (*at, self.partitions[usize::from(*at)].slice.lock())).collect();
        drop(gate);
        Ok(Held::Many(guards))
    }

    fn try_all(&self, partitions: &[u16]) -> Option<Several<'_>> {
        partitions.iter().map(|at| Some((*at, self.partitions[usize::from(*at)].slice.try_lock()?))).collect()
    }

    /// Every partition, through the gate; the caller holds none.
    pub(crate) fn lock_all(&self) -> Result<Held<'_>, Busy> {
        let gate = self.gate.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        let guards = self.partitions.iter().map(|partition| partition.slice.lock()).collect();
        drop(gate);
        Ok(Held::All(guards))
    }

    /// The gate, kept, and these partitions, ascending and without repeats: for a script, which may need more later.
    pub(crate) fn lock_gated(&self, partitions: &[u16]) -> Result<Held<'_>, Busy> {
        let gate = self.gate.try_lock_for(WAIT_MAX).ok_or(Busy)?;
        let guards = partitions.iter().map(|at| (*at, self.partitions[usize::from(*at)].slice.lock())).collect();
        Ok(Held::Gated { _gate: gate, guards, partitions: self.partitions.len() })
    }

    /// Every partition, waiting as long as it takes.
    pub(crate) fn lock_all_patiently(&self) -> Held<'_> {
        let gate = self.gate.lock();
        let guards = self.partitions.iter().map(|partition| partition.slice.lock()).collect();
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
    /// Those of a command, and what it reached for while it ran.
    More {
        first: Box<Held<'e>>,
        more: Several<'e>,
    },
}

impl<'e> Held<'e> {
    /// The share of `database` in `partition`.
    #[inline]
    pub(crate) fn shard(&mut self, partition: usize, database: u8) -> &mut Shard {
        self.slice(partition).of(database)
    }

    /// The share of `database` in `partition`, if it has one, to be read: several can be had at a time.
    pub(crate) fn peek(&self, partition: usize, database: u8) -> Option<&Shard> {
        let among = |guards: &'_ Several<'e>| guards.binary_search_by_key(&partition, |(at, _)| usize::from(*at)).ok();
        let slice: &Slice = match self {
            Self::One(at, guard) if *at == partition => guard,
            Self::Many(guards) | Self::Gated { guards, .. } => &guards.get(among(guards)?)?.1,
            Self::All(guards) => guards.get(partition)?,
            Self::More { first, more } => match more.iter().find(|(at, _)| usize::from(*at) == partition) {
                Some((_, guard)) => guard,
                None => return first.peek(partition, database),
            },
            Self::One(..) | Self::None => return None,
        };
        slice.peek(database)
    }

    /// What `partition` holds. The executor holds every partition a command's keys name, so a miss is a bug here.
    #[inline]
    pub(crate) fn slice(&mut self, partition: usize) -> &mut Slice {
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
            Self::More { first, more } => match more.iter_mut().find(|(at, _)| usize::from(*at) == partition) {
                Some((_, guard)) => guard,
                None => first.slice(partition),
            },
            Self::None => panic!("a command touched a key without a lock"),
        }
    }

    /// Whether something is so of the share of `database` in a partition that is held.
    #[inline]
    pub(crate) fn any(&self, database: u8, is_so: impl Fn(&Shard) -> bool + Copy) -> bool {
        let of = |slice: &Slice| slice.peek(database).is_some_and(is_so);
        match self {
            Self::None => false,
            Self::One(_, guard) => of(guard),
            Self::Many(guards) | Self::Gated { guards, .. } => guards.iter().any(|(_, guard)| of(guard)),
            Self::All(guards) => guards.iter().any(|guard| of(guard)),
            Self::More { first, more } => first.any(database, is_so) || more.iter().any(|(_, guard)| of(guard)),
        }
    }

    /// What every partition that is held holds.
    pub(crate) fn slices(&mut self) -> Box<dyn Iterator<Item = &mut Slice> + '_> {
        match self {
            Self::None => Box::new(std::iter::empty()),
            Self::One(_, guard) => Box::new(std::iter::once(&mut **guard)),
            Self::Many(guards) | Self::Gated { guards, .. } => {
                Box::new(guards.iter_mut().map(|(_, guard)| &mut **guard))
            }
            Self::All(guards) => Box::new(guards.iter_mut().map(|guard| &mut **guard)),
            Self::More { first, more } => {
                Box::new(first.slices().chain(more.iter_mut().map(|(_, guard)| &mut **guard)))
            }
        }
    }

    pub(crate) fn is_all(&self) -> bool {
        match self {
            Self::All(_) => true,
            Self::Gated { guards, partitions, .. } => guards.len() == *partitions,
            _ => false,
        }
    }

    fn has(&self, partition: usize) -> bool {
        match self {
            Self::None => false,
            Self::One(at, _) => *at == partition,
            Self::Many(guards) | Self::Gated { guards, .. } => {
                guards.binary_search_by_key(&partition, |(at, _)| usize::from(*at)).is_ok()
            }
            Self::All(_) => true,
            Self::More { first, more } => {
                first.has(partition) || more.iter().any(|(at, _)| usize::from(*at) == partition)
            }
        }
    }

    /// Takes one more partition unless it is held already. Only the gate's holder waits for it; for everybody else false
    /// says that someone has it now.
    pub(crate) fn reach(&mut self, db: &'e Db, partition: usize) -> bool {
        if self.has(partition) {
            return true;
        }
        if let Self::Gated { .. } = self {
            self.extend(db, [partition as u16]);
            return true;
        }
        let Some(guard) = db.try_lock(partition) else { return false };
        if !matches!(self, Self::More { .. }) {
            let first = Box::new(std::mem::replace(self, Self::None));
            *self = Self::More { first, more: SmallVec::new() };
        }
        if let Self::More { more, .. } = self {
            more.push((partition as u16, guard));
        }
        true
    }

    /// Locks more partitions, waiting for each: only the gate's holder may, and only it does.
    pub(crate) fn extend(&mut self, db: &'e Db, partitions: impl IntoIterator<Item = u16>) {
        let Self::Gated { guards, .. } = self else { return };
        for at in partitions {
            if let Err(place) = guards.binary_search_by_key(&at, |(held, _)| *held) {
                guards.insert(place, (at, db.partitions[usize::from(at)].slice.lock()));
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

    /// Forgets what was read, for FLUSHALL. The answer is to be dropped where there is time for it.
    pub(crate) fn untrack_all(&mut self) -> impl Send + use<> {
        let forgotten = self.tracked.clear();
        self.settle();
        forgotten
    }

    fn shed(&mut self, tracking: &Tracking) -> bool {
        let more = self.tracked.shed(tracking);
        self.settle();
        more
    }

    /// Tells a client of every change of its prefixes from here on.
    pub(crate) fn broadcast_to(&mut self, tracker: &Arc<Tracker>) {
        self.tracked.broadcast_to(tracker);
        self.settle();
    }

    /// Tells of every change whoever is told of those of another database.
    fn broadcast_as(&mut self, other: &Self) {
        self.tracked.broadcast_as(&other.tracked);
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
