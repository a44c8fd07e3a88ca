//! What the engine knows about one client between two of its commands.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use larder_iam_policies::access::{Admitted, Grant, Source};

use crate::commands::{Flags, Spec};
use crate::db::entry::size_class;
use crate::engine::{Engine, Record, State, forget};
use crate::metrics::{Count, Gauge};
use crate::pubsub::Inbox;
use crate::resp::{OwnedArgs, Resume};
use crate::tracking::Tracker;
use crate::waiters::Waiter;

/// Where a connection comes from, and by what it is shown to its owner.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The caller's address as policies judge it.
    pub source: Source,
    /// The client's end of the socket; behind a proxy, what that says it is.
    pub address: Address,
    /// Our end.
    pub local: Address,
}

/// An end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Of the network.
    Net(SocketAddr),
    /// A Unix socket, by its path.
    Unix(Arc<str>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Net(address)
    }
}

impl std::fmt::Display for Address {
    /// As redis shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// One client: who it is, what it has queued, watched and subscribed to.
///
/// A RESP connection has one as long as it lives ([`Engine::open`]); an HTTP call has one for that call
/// ([`Engine::detached`]). Dropping it undoes everything it holds in the engine.
pub struct Session {
    pub(crate) engine: Arc<Engine>,
    pub(crate) worker: usize,
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) identity: Option<Identity>,
    /// When its credential ends, in ms since 1970.
    pub(crate) ends_at_ms: Option<u64>,
    /// What others see of it.
    pub(crate) record: Arc<Record>,
    pub(crate) protocol: u8,
    /// The database it chose.
    pub(crate) database: u8,
    pub(crate) replies: Replies,
    pub(crate) last_command: Option<&'static Spec>,
    /// The last batch was one request: the time it took is this command's.
    pub(crate) alone: bool,
    /// How long commands ran within EXEC in this batch, where they were timed: microseconds.
    pub(crate) executed_us: u64,
    pub(crate) resume: Resume,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watch: Watch,
    pub(crate) channels: BTreeSet<Bytes>,
    pub(crate) patterns: BTreeSet<Bytes>,
    pub(crate) shard_channels: BTreeSet<Bytes>,
    /// What the names of these three take, about: see [`name_bytes`].
    pub(crate) channel_bytes: usize,
    pub(crate) inbox: OnceCell<Arc<Inbox>>,
    pub(crate) blocked: Option<Blocked>,
    /// CLIENT TRACKING is on.
    pub(crate) tracker: Option<Arc<Tracker>>,
    /// MONITOR was said.
    pub(crate) monitors: bool,
    /// CLIENT NO-TOUCH ON.
    pub(crate) touches_not: bool,
    /// CLIENT CACHING was said of the next command.
    pub(crate) caching: bool,
    pub(crate) stalled: Option<Stalled>,
}

/// What kind of client a session serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A RESP connection.
    Connection,
    /// One HTTP call.
    Detached,
    /// The replay of a log.
    Replay,
}

/// Who a session acts for, and the compiled answer to what they may do.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) inside: Admitted,
    pub(crate) grant: Arc<Grant>,
    /// The access snapshot `grant` was compiled from.
    pub(crate) epoch: u64,
}

/// CLIENT SETINFO.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub(crate) name: Vec<u8>,
    pub(crate) version: Vec<u8>,
}

/// CLIENT REPLY: which replies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// All.
    All,
    /// None.
    None,
    /// All but the next command's.
    ButNext,
}

/// A transaction being queued.
#[derive(Default)]
pub(crate) struct Transaction {
    pub(crate) queue: Vec<(&'static Spec, OwnedArgs)>,
    pub(crate) bytes: usize,
    /// A command was refused while queueing: EXEC will refuse all.
    pub(crate) failed: bool,
}

impl Transaction {
    /// Whether any of its commands may grow data.
    pub(crate) fn grows(&self) -> bool {
        self.queue.iter().any(|(spec, _)| spec.flags.has(Flags::DENYOOM))
    }
}

/// The keys a session watches, and the flag that writers raise.
#[derive(Default)]
pub(crate) struct Watch {
    /// Each with its database.
    pub(crate) keys: Vec<(u8, Box<[u8]>)>,
    touched: OnceCell<Arc<AtomicBool>>,
    /// What the keys take, about: each is here, and in its partition with the flag.
    pub(crate) bytes: usize,
}

/// What the name of one channel or pattern takes: its listener keeps it, and lends it to the map of all channels.
pub(crate) fn name_bytes(name: &[u8]) -> usize {
    size_class(name.len())
}

impl Watch {
    /// What one key takes, about.
    pub(crate) fn bytes_of(key: &[u8]) -> usize {
        const PLACES: usize = size_of::<(u8, Box<[u8]>)>() + 2 * size_of::<(Box<[u8]>, Vec<Arc<AtomicBool>>)>();
        2 * size_class(key.len()) + PLACES
    }

    pub(crate) fn is_touched(&self) -> bool {
        self.touched.get().is_some_and(|touched| touched.load(Ordering::Relaxed))
    }

    /// What writers raise.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        self.touched.get_or_init(Arc::default)
    }
}

/// A session in a blocking command.
pub(crate) struct Blocked {
    pub(crate) waiter: Arc<Waiter>,
    /// Monotonic time in us after which it gives up; `None` waits for ever.
    pub(crate) deadline_us: Option<u64>,
}

/// A session that is made to wait (DEBUG SLEEP): it runs nothing until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stalled {
    /// Monotonic time in us.
    pub(crate) until_us: u64,
}

impl Session {
    /// The client's number, unique in its engine.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether the client has said who it is (or may be anonymous).
    pub fn is_authenticated(&self) -> bool {
        self.identity.is_some()
    }

    /// The name of who it acts for, for logs.
    pub fn principal(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.inside.caller().name())
    }

    /// Rings when another worker has something for this session: call [`Engine::deliver`] then.
    pub fn inbox(&self) -> &Arc<Inbox> {
        self.inbox.get_or_init(|| Arc::new(Inbox::new(self.engine.buffers.clone())))
    }

    /// Whether the client waits in a blocking command: no request of its may run until it is done.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether others may have something for the client: messages, or word of keys that it or another tracks.
    pub fn hears(&self) -> bool {
        self.is_subscribed() || self.tracker.is_some() || self.monitors || self.record.hears.load(Ordering::Relaxed)
    }

    /// Whether the client listens to channels.
    pub fn is_subscribed(&self) -> bool {
        self.listens_to() > 0
    }

    /// Whether the protocol lets it ask only for subscriptions now.
    #[inline]
    pub(crate) fn only_subscriptions(&self) -> bool {
        self.protocol == 2 && self.listens_to() > 0
    }

    /// Channels of both kinds and patterns that it listens to.
    pub(crate) fn listens_to(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    /// Makes it act for somebody else.
    pub(crate) fn act_for(&mut self, identity: Option<Identity>) {
        self.identity = identity;
        self.ends_at_ms = self.identity.as_ref().and_then(|identity| identity.inside.caller().expires_at_ms());
        let user = self.identity.as_ref().map(|identity| identity.inside.caller().login_name().to_owned());
        self.record.who.lock().user = user;
    }

    /// Brings its record up to date; `executing` are commands and bytes of the EXEC it is in.
    #[inline]
    pub(crate) fn note(&self, executing: Option<(usize, usize)>) {
        let state = &self.record.state;
        let (queued, queued_bytes) = match (executing, &self.transaction) {
            (Some((commands, bytes)), _) => (commands as i64, bytes as u64),
            (None, Some(transaction)) => (transaction.queue.len() as i64, transaction.bytes as u64),
            (None, None) => (-1, 0),
        };
        state.queued.store(queued, Ordering::Relaxed);
        state.queued_bytes.store(queued_bytes, Ordering::Relaxed);
        state.channels.store(self.channels.len() as u32, Ordering::Relaxed);
        state.patterns.store(self.patterns.len() as u32, Ordering::Relaxed);
        state.shard_channels.store(self.shard_channels.len() as u32, Ordering::Relaxed);
        state.channel_bytes.store(self.channel_bytes as u64, Ordering::Relaxed);
        state.protocol.store(self.protocol, Ordering::Relaxed);
        state.last_command.store(self.last_command.map_or(State::NO_COMMAND, Spec::bit), Ordering::Relaxed);
        let kept = state.flags.load(Ordering::Relaxed) & State::LASTING;
        let blocked = if self.is_blocked() { State::BLOCKED } else { 0 };
        let dirty = if self.watch.is_touched() { State::DIRTY } else { 0 };
        state.flags.store(kept | blocked | dirty, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        matches!(self.kind, Kind::Detached)
    }

    /// Lives on this worker from now on; its gauges add up over all of them.
    pub(crate) fn moves_to(&mut self, worker: usize) {
        self.worker = worker;
    }

    pub(crate) fn is_connection(&self) -> bool {
        matches!(self.kind, Kind::Connection)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        forget(self);
        if self.is_connection() {
            self.engine.clients.left(self.id);
            self.engine.count_out(&self.record);
            self.engine.metrics().of(self.worker).shift(Gauge::Clients, -1);
        }
    }
}

/// Counts a new connection.
pub(crate) fn count_opened(engine: &Engine, worker: usize) {
    let cells = engine.metrics().of(worker);
    cells.add(Count::Connections, 1);
    cells.shift(Gauge::Clients, 1);
}
