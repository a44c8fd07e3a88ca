//! What the listeners in front of an engine tell it, for INFO.

use std::sync::atomic::{AtomicU64, Ordering};

/// The listeners' figures, all of them together.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    connections_max: AtomicU64,
    rejected: AtomicU64,
}

impl Doors {
    /// A listener opened that holds so many connections at once.
    pub(crate) fn opened(&self, connections_max: usize) {
        self.connections_max.fetch_add(connections_max as u64, Ordering::Relaxed);
    }

    /// It closed.
    pub(crate) fn closed(&self, connections_max: usize) {
        self.connections_max.fetch_sub(connections_max as u64, Ordering::Relaxed);
    }

    /// A connection was turned away because all that are allowed were open.
    pub(crate) fn turned_away(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_max(&self) -> u64 {
        self.connections_max.load(Ordering::Relaxed)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}
