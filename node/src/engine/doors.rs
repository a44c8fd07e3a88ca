//! What the listeners in front of an engine tell it, and what CONFIG SET tells them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::server::{ConnectionLimits, Listener, TlsDoor, TlsMode, UnixPlace};

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
    /// Where those that are open listen.
    places: Mutex<Vec<(SocketAddr, TlsMode)>>,
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
            places: Mutex::default(),
            unix: Mutex::default(),
        }
    }
}

impl Doors {
    /// A listener opened that treats its connections so.
    pub(crate) fn opened(&self, listener: &Listener, address: SocketAddr) {
        let limits = listener.limits;
        self.places.lock().push((address, mode_of(listener.tls.as_ref())));
        if let Some(unix) = &listener.unix {
            *self.unix.lock() = Some(unix.clone());
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.connections_max.fetch_add(limits.connections_max as u64, Ordering::Relaxed);
        self.idle_timeout_ms.store(limits.idle_timeout_ms, Ordering::Relaxed);
    }

    /// It closed.
    pub(crate) fn closed(&self, limits: ConnectionLimits, address: SocketAddr) {
        let mut places = self.places.lock();
        if let Some(at) = places.iter().position(|(place, _)| *place == address) {
            places.remove(at);
        }
        drop(places);
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.connections_max.fetch_sub(limits.connections_max as u64, Ordering::Relaxed);
    }

    /// The Unix socket, where there is one.
    pub(crate) fn unix(&self) -> Option<UnixPlace> {
        self.unix.lock().clone()
    }

    /// The port of the listener opened first that takes connections without TLS, or with it; 0 for none.
    pub(crate) fn port(&self, with_tls: bool) -> u16 {
        let without = if with_tls { TlsMode::Off } else { TlsMode::Required };
        let places = self.places.lock();
        places.iter().find(|(_, mode)| *mode != without).map_or(0, |(address, _)| address.port())
    }

    /// The addresses listened on, as redis's `bind` has them.
    pub(crate) fn bind(&self) -> String {
        let mut addresses: Vec<String> = Vec::new();
        for (address, _) in &*self.places.lock() {
            let address = address.ip().to_string();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.join(" ")
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

fn mode_of(door: Option<&TlsDoor>) -> TlsMode {
    door.map_or(TlsMode::Off, |door| door.mode)
}

fn set_or(set: &AtomicU64, otherwise: u64) -> u64 {
    match set.load(Ordering::Relaxed) {
        AS_OPENED => otherwise,
        set => set,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_those_of_open_listeners() {
        let doors = Doors::default();
        assert_eq!((doors.port(false), doors.port(true), doors.bind()), (0, 0, String::new()));
        let limits = ConnectionLimits::default();
        let [one, other]: [SocketAddr; 2] = ["127.0.0.1:6379", "[::1]:6380"].map(|text| text.parse().unwrap());
        doors.opened(&Listener::plain(one, "--listen", limits), one);
        doors.opened(&Listener::plain(other, "--listen", limits), other);
        assert_eq!((doors.port(false), doors.port(true)), (6379, 0));
        assert_eq!(doors.bind(), "127.0.0.1 ::1");
        doors.opened(&Listener::plain(one, "--listen", limits), one);
        assert_eq!(doors.bind(), "127.0.0.1 ::1");
        doors.closed(limits, one);
        doors.closed(limits, one);
        assert_eq!((doors.port(false), doors.bind()), (6380, "::1".to_owned()));
    }
}
