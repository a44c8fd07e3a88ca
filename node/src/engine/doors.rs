//! What the listeners in front of an engine tell it, and what CONFIG SET tells them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::server::{ConnectionLimits, Listener, UnixPlace};

/// No CONFIG SET said otherwise: what the listener was opened with holds.
const AS_OPENED: u64 = u64::MAX;
/// Redis's `tcp-keepalive`.
const KEEPALIVE_S: u64 = 300;

/// The listeners' figures, all of them together, and the settings they ask for.
#[derive(Debug)]
pub(crate) struct Doors {
    /// Listeners that are open.
    open: AtomicUsize,
    connections_max: AtomicU64,
    /// Of the listener opened last.
    idle_timeout_ms: AtomicU64,
    rejected: AtomicU64,
    set_connections_max: AtomicU64,
    set_idle_timeout_ms: AtomicU64,
    keepalive_s: AtomicU64,
    /// The Unix socket of the listener opened last with one.
    unix: Mutex<Option<UnixPlace>>,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            connections_max: AtomicU64::new(0),
            idle_timeout_ms: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            set_connections_max: AtomicU64::new(AS_OPENED),
            set_idle_timeout_ms: AtomicU64::new(AS_OPENED),
            keepalive_s: AtomicU64::new(KEEPALIVE_S),
            unix: Mutex::default(),
        }
    }
}

impl Doors {
    /// A listener opened that treats its connections so.
    pub(crate) fn opened(&self, listener: &Listener) {
        let limits = listener.limits;
        if let Some(unix) = &listener.unix {
            *self.unix.lock() = Some(unix.clone());
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections_max.fetch_add(limits.connections_max as u64, Ordering::Relaxed);
        self.idle_timeout_ms.store(limits.idle_timeout_ms, Ordering::Relaxed);
    }

    /// It closed.
    pub(crate) fn closed(&self, limits: ConnectionLimits) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.connections_max.fetch_sub(limits.connections_max as u64, Ordering::Relaxed);
    }

    /// The Unix socket, where there is one.
    pub(crate) fn unix(&self) -> Option<UnixPlace> {
        self.unix.lock().clone()
    }

    /// Whether it is one listener that all connections come through.
    pub(crate) fn is_one(&self) -> bool {
        self.open.load(Ordering::Relaxed) <= 1
    }

    /// A connection was turned away because all that are allowed were open.
    pub(crate) fn turned_away(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_max(&self) -> u64 {
        set_or(&self.set_connections_max, self.connections_max.load(Ordering::Relaxed))
    }

    /// What holds for one listener, opened with so many.
    pub(crate) fn connections_max_of(&self, opened_with: usize) -> usize {
        usize::try_from(set_or(&self.set_connections_max, opened_with as u64)).unwrap_or(usize::MAX)
    }

    pub(crate) fn set_connections_max(&self, connections: u64) {
        self.set_connections_max.store(connections, Ordering::Relaxed);
    }

    /// Milliseconds of silence after which a client is closed; 0 for never.
    pub(crate) fn idle_timeout_ms(&self) -> u64 {
        set_or(&self.set_idle_timeout_ms, self.idle_timeout_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_idle_timeout_ms(&self, ms: u64) {
        self.set_idle_timeout_ms.store(ms, Ordering::Relaxed);
    }

    /// Seconds of silence after which the system asks whether a peer is there; 0 for never.
    pub(crate) fn keepalive_s(&self) -> u64 {
        self.keepalive_s.load(Ordering::Relaxed)
    }

    pub(crate) fn set_keepalive_s(&self, seconds: u64) {
        self.keepalive_s.store(seconds, Ordering::Relaxed);
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

fn set_or(set: &AtomicU64, otherwise: u64) -> u64 {
    match set.load(Ordering::Relaxed) {
        AS_OPENED => otherwise,
        set => set,
    }
}
