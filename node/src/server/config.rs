//! What a RESP listener needs to be told: raw as written, then checked.

use std::net::SocketAddr;

use serde::Deserialize;

use super::entry::{AddressSource, TlsDoor};
use super::unix::UnixPlace;
use crate::buffers::{BufferLimits, read_clients, read_output, show_clients, show_output};

/// `[node]`: how connections of every RESP listener are treated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawNode {
    /// Connections one listener holds at once, 1 to 1,000,000. Redis: `maxclients`.
    pub connections_max: u64,
    /// Milliseconds of silence after which a client is closed, 0 for never; subscribers and blocked clients are spared.
    pub idle_timeout_ms: u64,
    /// Bytes of replies one connection may leave unread before its requests wait, 64 KiB to 1 GiB.
    pub output_bytes_max: u64,
    /// How many bytes of replies may wait for a client of each class before it is cut. Redis: `client-output-buffer-limit`.
    pub client_output_buffer_limit: String,
    /// How much all clients of a cache may hold before the largest are cut: bytes, or percent of its `maxmemory`, 0 for no
    /// limit. Redis: `maxmemory-clients`.
    pub maxmemory_clients: String,
}

impl Default for RawNode {
    fn default() -> Self {
        let limits = BufferLimits::default();
        Self {
            connections_max: 10_000,
            idle_timeout_ms: 0,
            output_bytes_max: 32 << 20,
            client_output_buffer_limit: show_output(&limits.output),
            maxmemory_clients: show_clients(limits.clients),
        }
    }
}

/// How one listener treats its connections; within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections held at once.
    pub connections_max: usize,
    /// Milliseconds of silence after which a client is closed; 0 for never.
    pub idle_timeout_ms: u64,
    /// Bytes of unread replies above which a connection is not read and runs nothing.
    pub output_bytes_max: usize,
    /// What a cache's clients may make it hold, unless CONFIG SET says otherwise.
    pub buffers: BufferLimits,
}

/// One RESP listener, checked.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What moves it, as an error about its port says: a flag (`--resp`) or a setting (`listen` of cache "default").
    pub moved_by: String,
    /// How its connections are treated.
    pub limits: ConnectionLimits,
    /// A Unix socket beside it.
    pub unix: Option<UnixPlace>,
    /// Where the addresses of its callers are taken from. Who comes by the Unix socket comes from this machine.
    pub source: AddressSource,
    /// TLS, where it is offered.
    pub tls: Option<TlsDoor>,
}

impl Listener {
    /// A plain listener.
    pub fn plain(address: SocketAddr, moved_by: &str, limits: ConnectionLimits) -> Self {
        Self { address, moved_by: moved_by.to_owned(), limits, unix: None, source: AddressSource::Peer, tls: None }
    }
}

impl RawNode {
    /// The checked limits, or every mistake as (path of the setting, what is wrong).
    pub fn check(&self, path: &str, mistakes: &mut Vec<(String, String)>) -> Option<ConnectionLimits> {
        let before = mistakes.len();
        let mut bound = |name: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                mistakes.push((format!("{path}.{name}"), format!("{value} is not from {least} to {most}")));
            }
        };
        bound("connections_max", self.connections_max, 1, 1_000_000);
        bound("idle_timeout_ms", self.idle_timeout_ms, 0, 24 * 3_600_000);
        bound("output_bytes_max", self.output_bytes_max, 64 << 10, 1 << 30);
        let output = read_output(&self.client_output_buffer_limit, BufferLimits::default().output);
        let output = output.map_err(|why| mistakes.push((format!("{path}.client_output_buffer_limit"), why.into())));
        let clients = read_clients(&self.maxmemory_clients);
        let clients = clients.map_err(|why| mistakes.push((format!("{path}.maxmemory_clients"), why.into())));
        let buffers = BufferLimits { output: output.ok()?, clients: clients.ok()? };
        (mistakes.len() == before).then_some(ConnectionLimits {
            connections_max: self.connections_max as usize,
            idle_timeout_ms: self.idle_timeout_ms,
            output_bytes_max: self.output_bytes_max as usize,
            buffers,
        })
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let raw = RawNode::default();
        Self {
            connections_max: raw.connections_max as usize,
            idle_timeout_ms: raw.idle_timeout_ms,
            output_bytes_max: raw.output_bytes_max as usize,
            buffers: BufferLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_check_and_bounds_hold_on_each_side() {
        let checked = |raw: &RawNode| {
            let mut mistakes = Vec::new();
            (raw.check("node", &mut mistakes).is_some(), mistakes.len())
        };
        let raw = RawNode::default();
        assert_eq!(checked(&raw), (true, 0));
        for (connections_max, good) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
            assert_eq!(checked(&RawNode { connections_max, ..raw.clone() }).0, good);
        }
        for (output_bytes_max, good) in [(65_535, false), (65_536, true), (1 << 30, true), ((1 << 30) + 1, false)] {
            assert_eq!(checked(&RawNode { output_bytes_max, ..raw.clone() }).0, good);
        }
        for (idle_timeout_ms, good) in [(0, true), (86_400_000, true), (86_400_001, false)] {
            assert_eq!(checked(&RawNode { idle_timeout_ms, ..raw.clone() }).0, good);
        }
        assert_eq!(
            checked(&RawNode { connections_max: 0, output_bytes_max: 0, idle_timeout_ms: u64::MAX, ..raw.clone() }),
            (false, 3)
        );
    }
}
