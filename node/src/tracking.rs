//! CLIENT TRACKING: clients that keep values on their side are told when a key of theirs changes.
//!
//! What a client read is remembered beside the key's partition, under the partition's lock, so that no change slips
//! between a read and its being remembered. Who asks for whole prefixes (BCAST) is known to every partition. A change
//! asks nothing more than whether anybody watches anything in the partition, which WATCH asks anyway.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::db::entry::size_class;
use crate::pubsub::{Inbox, Invalidation};

/// Redis's default of tracking-table-max-keys.
const KEYS_MAX: u64 = 1_000_000;
/// Prefixes of one client, and bytes of all of them.
pub(crate) const PREFIXES_MAX: usize = 1024;
pub(crate) const PREFIX_BYTES_MAX: usize = 64 * 1024;

/// Keys that one partition forgets in one hold where too many are remembered.
const SHED_MAX: usize = 256;

thread_local! {
    /// The tracked client whose command this worker runs; 0 for none.
    static ACTING: Cell<u64> = const { Cell::new(0) };
}

/// Whose command runs on this worker from here on.
pub(crate) fn acts(id: u64) {
    ACTING.set(id);
}

/// Everyone who tracks in one engine, and how much is remembered.
#[derive(Debug)]
pub(crate) struct Tracking {
    trackers: Mutex<BTreeMap<u64, Arc<Tracker>>>,
    keys: AtomicUsize,
    items: AtomicUsize,
    /// Of the keys, as size classes of the allocator.
    key_bytes: AtomicUsize,
    keys_max: AtomicU64,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            trackers: Mutex::default(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            key_bytes: AtomicUsize::new(0),
            keys_max: AtomicU64::new(KEYS_MAX),
        }
    }
}

impl Tracking {
    /// `tracking-table-max-keys`; 0 is no bound.
    pub(crate) fn keys_max(&self) -> u64 {
        self.keys_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_keys_max(&self, keys: u64) {
        self.keys_max.store(keys, Ordering::Relaxed);
    }

    pub(crate) fn clients(&self) -> usize {
        self.trackers.lock().len()
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    pub(crate) fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// What is remembered of keys takes, about.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let places = self.keys() * 2 * size_of::<(Box<[u8]>, Trackers)>() + self.items() * size_of::<Arc<Tracker>>();
        (self.key_bytes.load(Ordering::Relaxed) + places) as u64
    }

    pub(crate) fn prefixes(&self) -> usize {
        let trackers = self.trackers.lock();
        let all = trackers.values().flat_map(|tracker| tracker.options.lock().prefixes.clone());
        all.collect::<std::collections::BTreeSet<_>>().len()
    }

    pub(crate) fn enter(&self, tracker: &Arc<Tracker>) {
        self.trackers.lock().insert(tracker.id, tracker.clone());
    }

    pub(crate) fn leave(&self, tracker: &Tracker) {
        tracker.on.store(false, Ordering::Release);
        self.trackers.lock().remove(&tracker.id);
    }

    /// Tells everyone that nothing is as it was: FLUSHALL.
    pub(crate) fn flushed(&self) {
        self.trackers.lock().values().for_each(|tracker| tracker.tell(None));
    }

    fn forget(&self, keys: usize, key_bytes: usize, items: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.key_bytes.fetch_sub(key_bytes, Ordering::Relaxed);
        self.items.fetch_sub(items, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        let most = self.keys_max();
        most > 0 && self.keys() as u64 > most
    }
}

/// A client that tracks.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) id: u64,
    inbox: Weak<Inbox>,
    tracking: Arc<Tracking>,
    on: AtomicBool,
    /// Whom it redirects to is gone.
    broken: AtomicBool,
    pub(crate) options: Mutex<Options>,
}

/// How a client tracks.
#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    pub(crate) broadcast: bool,
    pub(crate) opt_in: bool,
    pub(crate) opt_out: bool,
    pub(crate) no_loop: bool,
    /// Another client, and where it is reached.
    pub(crate) redirect: Option<(u64, Weak<Inbox>)>,
    pub(crate) prefixes: Vec<Bytes>,
}

impl Tracker {
    pub(crate) fn new(id: u64, inbox: &Arc<Inbox>, tracking: &Arc<Tracking>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            id,
            inbox: Arc::downgrade(inbox),
            tracking: tracking.clone(),
            on: AtomicBool::new(true),
            broken: AtomicBool::new(false),
            options: Mutex::new(options),
        })
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Takes other options; the prefixes it has stay.
    pub(crate) fn change(&self, mut options: Options) {
        let mut own = self.options.lock();
        let mut prefixes = std::mem::take(&mut own.prefixes);
        prefixes.append(&mut options.prefixes);
        *own = Options { prefixes, ..options };
        self.broken.store(false, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Tells the client, or whom it redirects to, that a key is other than it was; every key, for none.
    fn tell(&self, key: Option<&[u8]>) {
        if !self.is_on() {
            return;
        }
        let options = self.options.lock();
        if key.is_some() && options.no_loop && ACTING.get() == self.id {
            return;
        }
        let key = key.map(Bytes::copy_from_slice);
        match &options.redirect {
            None => {
                if let Some(inbox) = self.inbox.upgrade() {
                    inbox.invalidate(Invalidation::Keys { key, redirected: false });
                }
            }
            Some((id, inbox)) => match inbox.upgrade() {
                Some(inbox) => inbox.invalidate(Invalidation::Keys { key, redirected: true }),
                None => {
                    self.broken.store(true, Ordering::Relaxed);
                    if let Some(inbox) = self.inbox.upgrade() {
                        inbox.invalidate(Invalidation::Broken(*id));
                    }
                }
            },
        }
    }
}

/// Who read one key.
type Trackers = SmallVec<[Arc<Tracker>; 1]>;

/// Who tracks what in one partition.
#[derive(Default)]
pub(crate) struct Tracked {
    keys: HashMap<Box<[u8]>, Trackers>,
    /// Of the keys, as size classes of the allocator.
    key_bytes: usize,
    /// Clients of all keys.
    items: usize,
    broadcasts: Vec<Arc<Tracker>>,
}

impl Tracked {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.broadcasts.is_empty()
    }

    /// Remembers that a client read a key. When that is one key too many, another is forgotten: its clients are told as if
    /// it had changed.
    pub(crate) fn remember(&mut self, key: &[u8], tracker: &Arc<Tracker>) {
        let tracking = &tracker.tracking;
        let trackers = self.keys.entry(key.into()).or_default();
        if trackers.is_empty() {
            tracking.keys.fetch_add(1, Ordering::Relaxed);
            tracking.key_bytes.fetch_add(size_class(key.len()), Ordering::Relaxed);
            self.key_bytes += size_class(key.len());
        }
        let before = trackers.len();
        trackers.retain(|one| one.is_on() && one.id != tracker.id);
        trackers.push(tracker.clone());
        tracking.items.fetch_add(trackers.len(), Ordering::Relaxed);
        tracking.items.fetch_sub(before, Ordering::Relaxed);
        self.items = self.items + trackers.len() - before;
        if tracking.is_over()
            && let Some(other) = self.keys.keys().find(|other| ***other != *key).cloned()
        {
            self.forget(&other).iter().for_each(|tracker| tracker.tell(Some(&other)));
        }
    }

    /// Forgets keys while more are remembered in all than may be: the bound was lowered, or they came one to a partition.
    /// Their clients are told as if they had changed. True when there may be more to forget here.
    pub(crate) fn shed(&mut self, tracking: &Tracking) -> bool {
        let keys: Vec<_> = self.keys.keys().take(SHED_MAX).cloned().collect();
        for key in &keys {
            if !tracking.is_over() {
                return false;
            }
            self.forget(key).iter().for_each(|tracker| tracker.tell(Some(key)));
        }
        keys.len() == SHED_MAX
    }

    /// Tells everyone whom a change of `key` concerns.
    pub(crate) fn touch(&mut self, key: &[u8]) {
        self.forget(key).iter().for_each(|tracker| tracker.tell(Some(key)));
        self.broadcasts.retain(|tracker| tracker.is_on());
        for tracker in &self.broadcasts {
            let concerned = tracker.options.lock().prefixes.iter().any(|prefix| key.starts_with(prefix));
            if concerned {
                tracker.tell(Some(key));
            }
        }
    }

    fn forget(&mut self, key: &[u8]) -> Trackers {
        let trackers = self.keys.remove(key).unwrap_or_default();
        if let Some(first) = trackers.first() {
            first.tracking.forget(1, size_class(key.len()), trackers.len());
            self.key_bytes -= size_class(key.len());
            self.items -= trackers.len();
        }
        trackers
    }

    /// Forgets what was read: everything is gone, and everyone is told of that at once. The answer is to be dropped where
    /// there is time for it.
    pub(crate) fn clear(&mut self) -> impl Send + use<> {
        let keys = std::mem::take(&mut self.keys);
        if let Some(first) = keys.values().find_map(|trackers| trackers.first()) {
            first.tracking.forget(keys.len(), std::mem::take(&mut self.key_bytes), std::mem::take(&mut self.items));
        }
        keys
    }

    pub(crate) fn broadcast_to(&mut self, tracker: &Arc<Tracker>) {
        self.broadcasts.retain(|tracker| tracker.is_on());
        self.broadcasts.push(tracker.clone());
    }

    /// Tells of every change whoever is told by another.
    pub(crate) fn broadcast_as(&mut self, other: &Self) {
        self.broadcasts.clone_from(&other.broadcasts);
    }
}
