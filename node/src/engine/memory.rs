//! Where the engine's memory is: what INFO and MEMORY show, and what `maxmemory` is compared with.
//!
//! Keys, values and tables are counted exactly, by the allocator's size classes, as they change. The rest is added up when
//! someone asks, and about once a second for the comparison, so that no command pays for it. Where there is a limit, what
//! a connection holds for its client counts as it changes: replies that nobody reads push keys out at once, and a client
//! that leaves must not do so for another second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::clients::Record;
use super::{Engine, Session};
use crate::db::entry::size_class;
use crate::metrics::Gauge;
use crate::pubsub::Inbox;
use crate::time::Now;

/// What a connection holds besides its session: its task and its place with the system's poll, in bytes, about.
const CONNECTION_BYTES: usize = 2048;
/// What a queued command takes besides its words, in bytes, about.
const QUEUED_BYTES: u64 = 96;
/// What the maps of channels and their kind take before anything is in them, in bytes, about.
const MAPS_BYTES: usize = 20 << 10;
/// How old the sum of everything but data may be when it is compared with `maxmemory`: microseconds.
const REST_AGE_US: u64 = 1_000_000;

/// Bytes by their use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// What an engine without data or clients takes.
    pub(crate) startup: u64,
    /// Keys, values and tables.
    pub(crate) data: u64,
    /// Values taken out and not freed yet.
    pub(crate) freeing: u64,
    /// Clients: their sessions, queued transactions, names of channels, buffers and waiting messages.
    pub(crate) clients: u64,
    /// Lua's own.
    pub(crate) lua: u64,
    /// Texts of scripts.
    pub(crate) scripts: u64,
    /// Libraries of functions.
    pub(crate) functions: u64,
    /// The effect log, as far as its readers have not read it.
    pub(crate) log: u64,
    /// Places of channels and patterns, keys that clients track, the slow log and the ACL log.
    pub(crate) other: u64,
}

impl Usage {
    /// All of it: `used_memory`.
    pub(crate) fn total(&self) -> u64 {
        self.data + self.freeing + self.rest()
    }

    /// All but the data.
    pub(crate) fn overhead(&self) -> u64 {
        self.freeing + self.rest()
    }

    fn rest(&self) -> u64 {
        self.startup + self.clients + self.lua + self.scripts + self.functions + self.log + self.other
    }
}

/// Usage and what surrounds it.
pub(crate) struct Memory {
    pub(crate) usage: Usage,
    /// The most there was.
    pub(crate) peak: u64,
    /// Of the whole process, in RAM.
    pub(crate) resident: u64,
}

impl Memory {
    pub(crate) fn of(engine: &Engine) -> Self {
        let usage = engine.usage();
        let peak = engine.samples.peak_bytes(usage.total());
        Self { usage, peak, resident: super::info::resident_bytes() }
    }
}

/// What the comparison with `maxmemory` remembers between two sums.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Everything but data, as each part of it was counted last.
    bytes: AtomicI64,
    /// What of it is not clients'.
    others: AtomicU64,
    summed_us: AtomicU64,
    /// Bytes by which scripts of this engine grew the workers' Lua states.
    lua: Arc<AtomicI64>,
}

impl Rest {
    /// What all clients take.
    pub(super) fn clients(&self) -> u64 {
        let others = self.others.load(Ordering::Relaxed).cast_signed();
        self.bytes.load(Ordering::Relaxed).saturating_sub(others).max(0).unsigned_abs()
    }

    /// A part of it takes `now` instead of `before`.
    fn change(&self, before: u64, now: u64) {
        self.bytes.fetch_add(now.wrapping_sub(before).cast_signed(), Ordering::Relaxed);
    }
}

impl Engine {
    /// What takes how much.
    pub(crate) fn usage(&self) -> Usage {
        let usage = Usage {
            startup: self.startup_bytes(),
            data: self.metrics.gauge(Gauge::UsedBytes),
            freeing: self.db.freeing.bytes(),
            clients: self.clients.sum(|record| self.recount(record)),
            lua: self.rest.lua.load(Ordering::Relaxed).max(0).unsigned_abs(),
            scripts: self.scripts.kept_bytes(),
            functions: self.scripts.functions.now().heap_bytes(),
            log: self.log.unread_bytes(),
            other: self.pubsub.heap_bytes()
                + self.tracking.heap_bytes()
                + self.slow.heap_bytes()
                + self.acl_log.heap_bytes(),
        };
        let others = usage.rest() - usage.clients;
        self.rest.change(self.rest.others.swap(others, Ordering::Relaxed), others);
        usage
    }

    /// Counts what a client takes now, which is answered, instead of what it took when it was counted last.
    pub(crate) fn recount(&self, record: &Record) -> u64 {
        let bytes = client_bytes(record);
        self.rest.change(record.state.counted_bytes.swap(bytes, Ordering::Relaxed), bytes);
        bytes
    }

    /// Counts a client no more: it is gone from the list of all.
    pub(crate) fn count_out(&self, record: &Record) {
        self.rest.change(record.state.counted_bytes.swap(0, Ordering::Relaxed), 0);
    }

    /// What is compared with `maxmemory`: all but what is being freed already.
    #[inline]
    pub(crate) fn used_bytes(&self) -> u64 {
        // Parts that change at once may be added after they are taken away.
        let rest = self.rest.bytes.load(Ordering::Relaxed).max(0);
        self.metrics.gauge(Gauge::UsedBytes) + rest.unsigned_abs()
    }

    /// Sums up what is not data, if that is due; answers `used_memory` when it did.
    pub(super) fn sum_rest(&self, now: Now) -> Option<u64> {
        let last_us = self.rest.summed_us.load(Ordering::Relaxed);
        if now.mono_us < last_us.saturating_add(REST_AGE_US) && last_us > 0 {
            return None;
        }
        self.rest.summed_us.store(now.mono_us.max(1), Ordering::Relaxed);
        Some(self.usage().total())
    }

    /// Bytes of the workers' Lua states that are this engine's.
    pub(super) fn lua_bytes(&self) -> &Arc<AtomicI64> {
        &self.rest.lua
    }

    fn startup_bytes(&self) -> u64 {
        (MAPS_BYTES + size_class(size_of::<Self>()) + self.db.startup_bytes() + self.metrics.heap_bytes()) as u64
    }
}

/// What one client takes, about.
pub(crate) fn client_bytes(record: &Record) -> u64 {
    let fixed = [size_of::<Session>(), size_of::<Record>(), size_of::<Inbox>(), CONNECTION_BYTES];
    let waiting = record.inbox().map_or(0, |inbox| (inbox.bytes() + inbox.unsent()) as u64);
    let state = &record.state;
    let commands = state.queued.load(Ordering::Relaxed).max(0).unsigned_abs();
    let held = commands * QUEUED_BYTES
        + state.queued_bytes.load(Ordering::Relaxed)
        + state.remembered_bytes.load(Ordering::Relaxed)
        + state.channel_bytes.load(Ordering::Relaxed)
        + state.query_bytes.load(Ordering::Relaxed)
        + state.query_room.load(Ordering::Relaxed);
    fixed.into_iter().map(size_class).sum::<usize>() as u64 + waiting + held
}
