//! Freeing large values away from commands.
//!
//! Dropping a list of a million elements takes milliseconds. What is large is kept until the locks are given back, and
//! then dropped by a thread of its own.

use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};

use super::entry::Entry;
use super::table::Cleared;

/// Blocks and collections from this many bytes on are freed elsewhere.
const LARGE_BYTES_MIN: usize = 64 << 10;

/// What is to be dropped after the locks are.
#[derive(Default)]
pub(crate) struct Garbage {
    entries: Vec<Entry>,
    tables: Vec<Cleared>,
}

impl Garbage {
    /// Drops an entry, now if it is small.
    pub(crate) fn entry(&mut self, entry: Entry) {
        if entry.heap_bytes() >= LARGE_BYTES_MIN {
            self.entries.push(entry);
        }
    }

    pub(crate) fn table(&mut self, table: Cleared) {
        if !table.is_empty() {
            self.tables.push(table);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tables.is_empty()
    }

    /// Hands everything to the freeing thread. The caller holds no lock.
    #[cold]
    pub(crate) fn free(&mut self) {
        static FREER: OnceLock<Option<Sender<Garbage>>> = OnceLock::new();
        let freer = FREER.get_or_init(|| {
            let (sender, receiver) = mpsc::channel::<Garbage>();
            let thread = std::thread::Builder::new().name("larder-free".to_owned());
            thread.spawn(move || receiver.into_iter().for_each(drop)).ok().map(|_| sender)
        });
        let garbage = std::mem::take(self);
        // Without the thread it is dropped here, which is only slower.
        if let Some(freer) = freer {
            drop(freer.send(garbage));
        }
    }
}
