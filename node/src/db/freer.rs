//! Freeing large values away from commands.
//!
//! Dropping a list of a million elements takes milliseconds. What is large is kept until the locks are given back, and
//! then dropped by a thread of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};

use super::entry::Entry;
use super::table::Cleared;

/// Blocks and collections from this many bytes on are freed elsewhere.
const LARGE_BYTES_MIN: usize = 64 << 10;
/// What is small is dropped at once up to so many bytes for one hold of partitions: many collections that expire together
/// are as long to drop as a big one.
const DROPPED_BYTES_MAX: usize = 256 << 10;

/// What one engine has given to the freeing thread.
#[derive(Debug, Default)]
pub(crate) struct Freeing {
    bytes: AtomicU64,
    values: AtomicU64,
    freed: AtomicU64,
    /// Times that something was given, and times that it was freed.
    loads: AtomicU64,
    loads_freed: AtomicU64,
}

impl Freeing {
    /// Bytes not freed yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Values not freed yet; a cleared table counts its entries.
    pub(crate) fn values(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    /// Whether everything that was given is freed.
    pub(crate) fn is_done(&self) -> bool {
        self.loads_freed.load(Ordering::Acquire) == self.loads.load(Ordering::Acquire)
    }

    /// Values freed so far.
    pub(crate) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }
}

/// What is on its way to the freeing thread, and whose it was.
struct Load {
    garbage: Garbage,
    freeing: Arc<Freeing>,
}

impl Load {
    fn drop_all(self) {
        let (bytes, values) = self.garbage.weigh();
        drop(self.garbage);
        self.freeing.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.freeing.values.fetch_sub(values, Ordering::Relaxed);
        self.freeing.freed.fetch_add(values, Ordering::Relaxed);
        self.freeing.loads_freed.fetch_add(1, Ordering::Release);
    }
}

/// What is to be dropped after the locks are.
#[derive(Default)]
pub(crate) struct Garbage {
    entries: Vec<Entry>,
    tables: Vec<Cleared>,
    /// What was kept beside the entries: not counted.
    others: Vec<Box<dyn Send>>,
    /// Bytes dropped in this hold.
    dropped_bytes: usize,
}

impl Garbage {
    /// Drops an entry, now if it is small.
    pub(crate) fn entry(&mut self, entry: Entry) {
        let bytes = entry.heap_bytes();
        self.dropped_bytes += bytes;
        if bytes >= LARGE_BYTES_MIN || self.dropped_bytes > DROPPED_BYTES_MAX {
            self.entries.push(entry);
        }
    }

    /// The partitions are given back.
    #[inline]
    pub(crate) fn hold_ended(&mut self) {
        self.dropped_bytes = 0;
    }

    pub(crate) fn table(&mut self, table: Cleared) {
        if !table.is_empty() {
            self.tables.push(table);
        }
    }

    /// Drops what is not counted as a value.
    pub(crate) fn other(&mut self, other: impl Send + 'static) {
        self.others.push(Box::new(other));
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tables.is_empty() && self.others.is_empty()
    }

    fn weigh(&self) -> (u64, u64) {
        let bytes = self.entries.iter().map(Entry::heap_bytes).chain(self.tables.iter().map(Cleared::heap_bytes));
        let values = self.entries.len() + self.tables.iter().map(Cleared::len).sum::<usize>();
        (bytes.sum::<usize>() as u64, values as u64)
    }

    /// Hands everything to the freeing thread. The caller holds no lock.
    #[cold]
    pub(crate) fn free(&mut self, freeing: &Arc<Freeing>) {
        static FREER: OnceLock<Option<Sender<Load>>> = OnceLock::new();
        let freer = FREER.get_or_init(|| {
            let (sender, receiver) = mpsc::channel::<Load>();
            let thread = std::thread::Builder::new().name("larder-free".to_owned());
            thread.spawn(move || receiver.into_iter().for_each(Load::drop_all)).ok().map(|_| sender)
        });
        let load = Load { garbage: std::mem::take(self), freeing: freeing.clone() };
        let (bytes, values) = load.garbage.weigh();
        freeing.bytes.fetch_add(bytes, Ordering::Relaxed);
        freeing.values.fetch_add(values, Ordering::Relaxed);
        freeing.loads.fetch_add(1, Ordering::Release);
        match freer {
            Some(freer) => {
                if let Err(unsent) = freer.send(load) {
                    unsent.0.drop_all();
                }
            }
            // Without the thread it is dropped here, which is only slower.
            None => load.drop_all(),
        }
    }
}
