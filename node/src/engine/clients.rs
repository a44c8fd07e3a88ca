//! Who is connected: one small record per connection, for CLIENT LIST, KILL and their like.
//!
//! A client's own worker keeps its record current with a few plain stores at the end of a batch; nobody else writes
//! them, and readers take no lock for them. What seldom changes (its names) is behind a lock of its own. Others reach a
//! client by its [`Calls`]: bits they raise, and its task woken to look at them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

use parking_lot::Mutex;

use crate::buffers::Class;
use crate::pubsub::Inbox;
use crate::session::{Address, Library};
use crate::time::Now;

/// Every connection of an engine, and whether they may go on.
#[derive(Debug)]
pub(crate) struct Clients {
    records: Mutex<BTreeMap<u64, Arc<Record>>>,
    /// The record of every session that is no connection: nobody sees it, and an HTTP call would pay for one of its own.
    nobody: Arc<Record>,
    /// CLIENT PAUSE: twice the monotonic time in us that it ends at, and 1 more when it holds reads too. 0 is no pause.
    pause: AtomicU64,
}

/// One client, as others see it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    /// Its end of the socket and ours; none for what is no connection.
    pub(crate) addresses: Option<(Address, Address)>,
    pub(crate) since_ms: u64,
    pub(crate) who: Mutex<Who>,
    pub(crate) calls: Calls,
    pub(crate) state: State,
    /// Where it is reached; none for what is no connection.
    pub(crate) inbox: OnceLock<Weak<Inbox>>,
    /// Another client's invalidations are redirected to it.
    pub(crate) hears: AtomicBool,
}

/// What a client is called and acts as.
#[derive(Debug, Default)]
pub(crate) struct Who {
    pub(crate) name: Vec<u8>,
    pub(crate) library: Library,
    pub(crate) user: Option<String>,
}

/// What changes with every batch.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) last_ms: AtomicU64,
    /// The row of its last command; [`State::NO_COMMAND`] before the first.
    pub(crate) last_command: AtomicU16,
    pub(crate) channels: AtomicU32,
    pub(crate) patterns: AtomicU32,
    pub(crate) shard_channels: AtomicU32,
    /// What the names of all these take.
    pub(crate) channel_bytes: AtomicU64,
    /// Commands queued in MULTI; -1 outside.
    pub(crate) queued: AtomicI64,
    pub(crate) queued_bytes: AtomicU64,
    /// What the keys take that it watches or waits at, here and in their partitions, about.
    pub(crate) remembered_bytes: AtomicU64,
    /// Bytes of requests that its connection holds between two turns, and the room it has for more. Unread replies are its
    /// inbox's.
    pub(crate) query_bytes: AtomicU64,
    pub(crate) query_room: AtomicU64,
    /// What it was counted with last, of the memory that clients take.
    pub(crate) counted_bytes: AtomicU64,
    /// Since when, in ms since 1970, it is over its soft limit of unread replies; 0 when it is not.
    pub(crate) slow_since_ms: AtomicU64,
    pub(crate) protocol: AtomicU8,
    pub(crate) database: AtomicU8,
    /// [`State::BLOCKED`] and the like.
    pub(crate) flags: AtomicU8,
    /// A pause holds its next request.
    pub(crate) held: AtomicBool,
    /// CLIENT TRACKING's REDIRECT, 0 for none; -1 when it is off.
    pub(crate) redirect: AtomicI64,
}

impl State {
    pub(crate) const NO_COMMAND: u16 = u16::MAX;
    /// It waits in a blocking command.
    pub(crate) const BLOCKED: u8 = 1;
    /// A key it watches changed.
    pub(crate) const DIRTY: u8 = 2;
    /// CLIENT NO-EVICT ON.
    pub(crate) const KEPT: u8 = 4;
    /// CLIENT TRACKING ON, and in its BCAST mode.
    pub(crate) const TRACKING: u8 = 8;
    pub(crate) const BROADCAST: u8 = 16;
    /// CLIENT NO-TOUCH ON.
    pub(crate) const TOUCHES_NOT: u8 = 32;
    /// MONITOR.
    pub(crate) const MONITORS: u8 = 64;
    /// CLIENT CAPA redirect.
    pub(crate) const REDIRECTS: u8 = 128;
    /// What no batch changes.
    pub(crate) const LASTING: u8 =
        Self::KEPT | Self::TRACKING | Self::BROADCAST | Self::TOUCHES_NOT | Self::MONITORS | Self::REDIRECTS;

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }
}

impl Record {
    pub(crate) fn new(id: u64, addresses: Option<(Address, Address)>, user: Option<String>, now: Now) -> Self {
        Self {
            id,
            addresses,
            since_ms: now.wall_ms,
            who: Mutex::new(Who { user, ..Who::default() }),
            calls: Calls::default(),
            state: State {
                last_ms: AtomicU64::new(now.wall_ms),
                last_command: AtomicU16::new(State::NO_COMMAND),
                channels: AtomicU32::new(0),
                patterns: AtomicU32::new(0),
                shard_channels: AtomicU32::new(0),
                channel_bytes: AtomicU64::new(0),
                queued: AtomicI64::new(-1),
                queued_bytes: AtomicU64::new(0),
                remembered_bytes: AtomicU64::new(0),
                query_bytes: AtomicU64::new(0),
                query_room: AtomicU64::new(0),
                counted_bytes: AtomicU64::new(0),
                slow_since_ms: AtomicU64::new(0),
                protocol: AtomicU8::new(2),
                database: AtomicU8::new(0),
                flags: AtomicU8::new(0),
                held: AtomicBool::new(false),
                redirect: AtomicI64::new(-1),
            },
            inbox: OnceLock::new(),
            hears: AtomicBool::new(false),
        }
    }

    /// Its inbox, while it is there.
    pub(crate) fn inbox(&self) -> Option<Arc<Inbox>> {
        self.inbox.get().and_then(Weak::upgrade)
    }

    /// By which limits its unread replies are bounded.
    pub(crate) fn class(&self) -> Class {
        if self.is_subscribed() { Class::Pubsub } else { Class::Normal }
    }

    /// Whether it listens to channels.
    pub(crate) fn is_subscribed(&self) -> bool {
        let listens_to = [&self.state.channels, &self.state.patterns, &self.state.shard_channels];
        listens_to.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// What others want of a client.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    raised: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Calls {
    /// To be closed.
    pub(crate) const CLOSE: u8 = 1;
    /// To look again at what it waits for: a pause ended, a setting changed, its rights did.
    pub(crate) const LOOK: u8 = 2;
    /// To end its blocking command as if its time were up.
    pub(crate) const TIME_UP: u8 = 4;
    /// To end its blocking command with an error.
    pub(crate) const UNBLOCK: u8 = 8;

    /// Raises a call and wakes the client.
    pub(crate) fn raise(&self, call: u8) {
        self.raised.fetch_or(call, Ordering::AcqRel);
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Whether anything was raised: one load.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        self.raised.load(Ordering::Acquire) != 0
    }

    pub(crate) fn has(&self, call: u8) -> bool {
        self.raised.load(Ordering::Acquire) & call != 0
    }

    /// Whether this was raised; it is not any more.
    pub(crate) fn take(&self, call: u8) -> bool {
        self.any() && self.raised.fetch_and(!call, Ordering::AcqRel) & call != 0
    }

    /// Tells which task to wake. To be asked once more whether anything was raised, after this.
    #[cold]
    pub(crate) fn register(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }
}

impl Default for Clients {
    fn default() -> Self {
        let nobody = Arc::new(Record::new(0, None, None, Now { wall_ms: 0, mono_us: 0 }));
        Self { records: Mutex::default(), nobody, pause: AtomicU64::new(0) }
    }
}

impl Clients {
    pub(crate) fn nobody(&self) -> Arc<Record> {
        self.nobody.clone()
    }

    pub(crate) fn entered(&self, record: &Arc<Record>) {
        self.records.lock().insert(record.id, record.clone());
    }

    pub(crate) fn left(&self, id: u64) {
        self.records.lock().remove(&id);
    }

    /// Everyone, by number. Who was called to end is gone for everybody else at once, as in redis, though its own worker
    /// may still have to close it.
    pub(crate) fn all(&self) -> Vec<Arc<Record>> {
        self.records.lock().values().filter(|record| !record.calls.has(Calls::CLOSE)).cloned().collect()
    }

    /// The sum of something over everyone, those called to end included.
    pub(crate) fn sum(&self, of: impl Fn(&Record) -> u64) -> u64 {
        self.records.lock().values().map(|record| of(record)).sum()
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Record>> {
        self.records.lock().get(&id).filter(|record| !record.calls.has(Calls::CLOSE)).cloned()
    }

    /// Raises a call of everyone.
    pub(crate) fn call_all(&self, call: u8) {
        self.all().iter().for_each(|record| record.calls.raise(call));
    }

    /// The pause that holds now, if one does: one load when none does.
    #[inline]
    pub(crate) fn pause(&self, now: Now) -> Option<Pause> {
        match self.pause.load(Ordering::Relaxed) {
            0 => None,
            word => Pause::read(word, now),
        }
    }

    /// How many clients a pause holds.
    pub(crate) fn held(&self, now: Now) -> u64 {
        self.pause(now).map_or(0, |_| self.sum(|record| record.state.held.load(Ordering::Relaxed).into()))
    }

    /// Pauses until `until_us`; the longer and the stricter of two pauses holds.
    pub(crate) fn pause_until(&self, until_us: u64, reads_too: bool, now: Now) {
        let before = self.pause(now);
        let until_us = before.map_or(until_us, |before| before.until_us.max(until_us)).min(u64::MAX >> 1);
        let reads_too = reads_too || before.is_some_and(|before| before.reads_too);
        self.pause.store(until_us << 1 | u64::from(reads_too), Ordering::Relaxed);
    }

    /// Ends a pause.
    pub(crate) fn unpause(&self) {
        self.pause.store(0, Ordering::Relaxed);
        self.call_all(Calls::LOOK);
    }
}

/// A pause of all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// Monotonic time in us.
    pub(crate) until_us: u64,
    /// It holds what only reads too.
    pub(crate) reads_too: bool,
}

impl Pause {
    #[cold]
    fn read(word: u64, now: Now) -> Option<Self> {
        let pause = Self { until_us: word >> 1, reads_too: word & 1 == 1 };
        (now.mono_us < pause.until_us).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_us: u64) -> Now {
        Now { wall_ms: 0, mono_us }
    }

    #[test]
    fn the_longer_and_the_stricter_pause_holds_and_ends_by_itself() {
        let clients = Clients::default();
        assert_eq!(clients.pause(at(0)), None);
        clients.pause_until(100, false, at(0));
        assert_eq!(clients.pause(at(99)), Some(Pause { until_us: 100, reads_too: false }));
        clients.pause_until(50, true, at(0));
        assert_eq!(clients.pause(at(0)), Some(Pause { until_us: 100, reads_too: true }));
        assert_eq!(clients.pause(at(100)), None);
        clients.pause_until(u64::MAX, false, at(200));
        assert!(clients.pause(at(1 << 60)).is_some_and(|pause| !pause.reads_too));
        clients.unpause();
        assert_eq!(clients.pause(at(0)), None);
    }

    #[test]
    fn who_is_called_to_end_is_seen_no_more() {
        let clients = Clients::default();
        let record = |id| Arc::new(Record::new(id, None, None, at(0)));
        (1..=2).for_each(|id| clients.entered(&record(id)));
        clients.find(1).into_iter().for_each(|record| record.calls.raise(Calls::CLOSE));
        assert!(clients.find(1).is_none());
        assert_eq!(clients.all().iter().map(|record| record.id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn calls_are_taken_once() {
        let calls = Calls::default();
        assert!(!calls.any() && !calls.take(Calls::LOOK));
        calls.raise(Calls::LOOK);
        calls.raise(Calls::CLOSE);
        assert!(calls.take(Calls::LOOK) && !calls.take(Calls::LOOK) && calls.has(Calls::CLOSE));
    }
}
