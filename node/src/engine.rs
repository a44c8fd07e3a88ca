//! The engine of one cache: consumes paid calls, answers replies.
//!
//! Synchronous and free of any runtime: a driver reads bytes, tells the time and calls [`Engine::exec_batch`] (RESP) or
//! [`Engine::run`], [`Engine::run_transaction`] and [`Engine::update`] (HTTP).
//!
//! A command waits 50 us at most for its one partition, or for the gate; what would wait longer is answered with `Busy`, and
//! the driver yields and asks again. Who has the gate (several partitions that were not to be had at once, all of them, a
//! script) waits for each partition until its holder is done: with a command, an EXEC or a slice of a sweep, and never
//! with a script, which has the gate itself. Who walks all partitions (SCAN, KEYS, DBSIZE, RANDOMKEY, MEMORY STATS, DEBUG
//! OBJECT) waits for each as long as it is held, be it by a script that was not slow yet when the walk began. A replay of
//! the log, and a new reader of it, wait as long as it takes.

mod acl_log;
mod baseline;
mod batch;
mod blocking;
mod burden;
mod clients;
mod cx;
mod deliver;
mod doors;
mod events;
mod evict;
mod fuzz;
mod info;
pub(crate) mod leftovers;
mod memory;
mod monitors;
mod percentiles;
mod random;
mod replay;
mod road;
mod samples;
pub(crate) mod script;
mod slow;
mod sweep;
#[cfg(test)]
mod tests;
mod tracking;
mod transaction;
mod update;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use larder_iam_policies::access::{Admitted, Evidence, Grant, LiveAccess, NotAdmitted, Source};

pub(crate) use acl_log::{Context, Reason, What};
pub(crate) use batch::TURN_OUT_BYTES;
pub(crate) use blocking::{block, take_or_block};
pub(crate) use clients::{Calls, Record, State};
pub use cx::Cx;
pub(crate) use cx::Outcome;
pub(crate) use deliver::{deliver_messages, forget, may_listen, unsubscribe_all};
pub use fuzz::{fuzz_commands, fuzz_lua_replies};
pub(crate) use info::{called, info};
pub(crate) use memory::{Memory, client_bytes};
pub(crate) use monitors::{Seen, start_monitoring, stop_monitoring};
pub(crate) use percentiles::Percentiles;
pub(crate) use random::Random;
pub use replay::ReplayError;
pub(crate) use slow::{Event, What as Logged};
pub use sweep::Swept;
pub(crate) use tracking::stop_tracking;
pub use transaction::TransactionError;
pub(crate) use transaction::exec;
pub use update::{Change, Current, TtlChange, UpdateError, Updated};

use crate::buffers::Buffers;
use crate::commands::{self, Call, Http};
use crate::config::EngineConfig;
use crate::db::{Busy, Db, Pool};
use crate::log::{EffectLog, LogReader};
use crate::meter::{Meters, Paid};
use crate::metrics::Metrics;
use crate::pubsub::PubSub;
use crate::resp::Out;
use crate::session::{self, Identity, Kind, Peer, Session};
use crate::time::Now;
use crate::tracking::Tracking;

/// One cache's data and everything its clients share.
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) access: Arc<LiveAccess>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) metrics: Metrics,
    pub(crate) db: Db,
    pub(crate) log: EffectLog,
    pub(crate) pubsub: PubSub,
    pub(crate) started: Now,
    pub(crate) samples: samples::Samples,
    pub(crate) doors: doors::Doors,
    /// 40 hexadecimal digits that tell this run of the engine from every other.
    pub(crate) run_id: String,
    pub(crate) scripts: script::Scripts,
    pub(crate) leftovers: leftovers::Leftovers,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) monitors: monitors::Monitors,
    baseline: baseline::Baseline,
    pub(crate) slow: slow::Slow,
    pub(crate) percentiles: Percentiles,
    rest: memory::Rest,
    pub(crate) acl_log: acl_log::AclLog,
    /// Error replies by their first word.
    pub(crate) errors: parking_lot::Mutex<BTreeMap<Box<str>, u64>>,
    /// Keys that may be evicted next.
    victims: parking_lot::Mutex<Pool>,
    pub(crate) tracking: Arc<Tracking>,
    pub(crate) clients: clients::Clients,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub(crate) sweeps: AtomicBool,
    next_session: AtomicU64,
    seed: u64,
    /// Generators handed out so far.
    drawn: AtomicU64,
    /// The database in which the log that was replayed so far leaves off.
    replayed_to: AtomicU8,
}

/// What happened to one call.
#[derive(Debug)]
pub enum Flow<'a> {
    /// The reply is in `out`.
    Done,
    /// The reply is in `out`; the connection is to be closed after it.
    Close,
    /// The client waits in a blocking command, until its inbox rings or this monotonic time in us: then
    /// [`Engine::deliver`].
    Blocked(Option<u64>),
    /// A partition was held too long: nothing ran. Yield, then run the same call again.
    Busy(Paid<Call<'a>>),
    /// The TTL the call was authorised with is no longer the key's: nothing ran. Observe and authorise again.
    Stale,
}

/// What a batch did, and what its driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// What comes next.
    pub next: Next,
}

/// What a driver does next with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read more: the rest of the input is not a whole request.
    Read {
        /// At least so many more bytes make the request whole.
        missing: usize,
    },
    /// The rest of the input may hold more requests: call again, after letting others have a turn.
    Again,
    /// A partition was held too long: yield, then call again with the rest of the input.
    Busy,
    /// Wait until the inbox rings or for this monotonic time in us, then call [`Engine::deliver`]; run no request before.
    Blocked(Option<u64>),
    /// Write what there is and close.
    Close,
}

impl Engine {
    /// An empty engine. `seed` decides hashing and every random choice; use fresh randomness in production.
    pub fn new(config: EngineConfig, access: Arc<LiveAccess>, seed: u64, now: Now) -> Arc<Self> {
        let partitions = config.partitions.next_power_of_two().clamp(64, 4096);
        let db = Db::new(partitions, config.databases.clamp(1, 256), seed);
        db.eviction.set_limit(config.maxmemory_bytes);
        db.eviction.set_policy(config.maxmemory_policy);
        let engine = Arc::new(Self {
            access,
            meters: Arc::new(Meters::new(config.requests_per_second, config.burst_or_default())),
            metrics: Metrics::new(config.workers, commands::table().len()),
            db,
            log: EffectLog::new(config.limits.log_bytes_max),
            pubsub: PubSub::default(),
            started: now,
            samples: samples::Samples::default(),
            doors: doors::Doors::default(),
            run_id: run_id(seed),
            scripts: script::Scripts::default(),
            leftovers: leftovers::Leftovers::default(),
            buffers: Arc::new(Buffers::new(config.limits.inbox_bytes_max)),
            monitors: monitors::Monitors::default(),
            baseline: baseline::Baseline::default(),
            slow: slow::Slow::default(),
            percentiles: Percentiles::default(),
            rest: memory::Rest::default(),
            acl_log: acl_log::AclLog::default(),
            errors: parking_lot::Mutex::default(),
            victims: parking_lot::Mutex::default(),
            tracking: Arc::default(),
            clients: clients::Clients::default(),
            sweeps: AtomicBool::new(true),
            next_session: AtomicU64::new(1),
            seed,
            drawn: AtomicU64::new(0),
            replayed_to: AtomicU8::new(0),
            config,
        });
        // The limit is for all of it, from the first command on.
        engine.usage();
        engine.db.settle_heats(now.wall_ms);
        engine
    }

    /// The cache's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The cache's budgets, shared with every front that charges them.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Who may do what.
    pub fn access(&self) -> &Arc<LiveAccess> {
        &self.access
    }

    /// A session for a new RESP connection on `worker`. It acts for the anonymous principal where the cache has one, and
    /// for nobody until AUTH otherwise.
    ///
    /// # Errors
    /// [`NotAdmitted`] when this cache's network rules refuse the peer, whoever it is.
    pub fn open(self: &Arc<Self>, peer: Peer, worker: usize, now: Now) -> Result<Session, NotAdmitted> {
        let access = self.access.load();
        if !access.admits_any(&[self.name()], peer.source.ip, peer.source.port) {
            return Err(NotAdmitted::Network);
        }
        let identity = self.anonymous(peer.source.clone(), now);
        let mut session = self.session(Kind::Connection, peer.source, identity, worker);
        let user = session.identity.as_ref().map(|identity| identity.inside.caller().login_name().to_owned());
        let record = Record::new(session.id, Some((peer.address, peer.local)), user, now);
        // It is the first and only one.
        let _ = record.inbox.set(Arc::downgrade(session.inbox()));
        session.record = Arc::new(record);
        session::count_opened(self, worker);
        self.clients.entered(&session.record);
        Ok(session)
    }

    /// The anonymous principal's identity, where this cache has one for this source.
    pub(crate) fn anonymous(&self, source: Source, now: Now) -> Option<Identity> {
        let access = self.access.load();
        let caller = access.authenticate(&Evidence::Anonymous, now.wall_ms).ok()?;
        access.admit(caller, source, self.name()).ok().map(|inside| self.identify(inside))
    }

    /// A session for one HTTP call of an admitted caller with what that may do, run on `worker`.
    pub fn detached(self: &Arc<Self>, inside: Admitted, grant: Arc<Grant>, worker: usize) -> Session {
        let source = inside.source().clone();
        // Older than any snapshot: it ends before there is another, and would be asked anew if it did not.
        let identity = Identity { inside, grant, epoch: 0 };
        self.session(Kind::Detached, source, Some(identity), worker)
    }

    /// Compiles what an admitted caller may do, by the newest snapshot.
    pub(crate) fn identify(&self, inside: Admitted) -> Identity {
        let epoch = self.access.epoch();
        let grant = self.access.load().grant(&inside);
        Identity { inside, grant, epoch }
    }

    fn session(self: &Arc<Self>, kind: Kind, source: Source, identity: Option<Identity>, worker: usize) -> Session {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        Session {
            engine: self.clone(),
            worker,
            id,
            record: self.clients.nobody(),
            kind,
            source,
            identity,
            ends_at_ms: None,
            protocol: 2,
            database: 0,
            replies: session::Replies::All,
            last_command: None,
            alone: false,
            executed_us: 0,
            resume: crate::resp::Resume::default(),
            transaction: None,
            watch: session::Watch::default(),
            channels: std::collections::BTreeSet::new(),
            patterns: std::collections::BTreeSet::new(),
            shard_channels: std::collections::BTreeSet::new(),
            channel_bytes: 0,
            inbox: OnceCell::new(),
            tracker: None,
            monitors: false,
            touches_not: false,
            caching: false,
            blocked: None,
            stalled: None,
        }
    }

    /// Tells a call the TTL its key has, where the command keeps that TTL: to be done before it is authorised by a grant
    /// that uses TTLs. An HTTP call is about database 0. `None`: the key's partition was held too long; yield and ask again.
    pub fn observe<'c>(&self, call: Call<'c>, now: Now) -> Option<Call<'c>> {
        let Some(key) = call.inherits_from() else { return Some(call) };
        let hash = self.db.hash(key);
        let partition = self.db.partition_of(hash);
        let mut held = self.db.lock_one(partition).ok()?;
        let entry = held.shard(partition, 0).table.find(hash, key).filter(|entry| !entry.is_due(now.wall_ms));
        Some(call.with_observed_ttl(entry.and_then(|entry| entry.expire_at_ms())))
    }

    /// Runs one paid call and writes its reply.
    pub fn run<'c>(&self, session: &mut Session, paid: Paid<Call<'c>>, now: Now, out: &mut Out) -> Flow<'c> {
        if session.is_detached() {
            out.will_be_copied();
        }
        let mut cx = Cx::new(self, session, now, out);
        let spec = paid.call().spec();
        if let (Kind::Detached, Http::Refused(why)) = (&cx.session.kind, spec.http) {
            cx.fail(&commands::refused_over_http(spec, why));
            return Flow::Done;
        }
        if let Err(error) = road::admissible(&mut cx, spec) {
            cx.fail(&error);
            return Flow::Done;
        }
        match road::hold(&mut cx, paid.call()) {
            Ok(()) => {}
            Err(Busy) => {
                let Some(busy) = self.scripts.live.busy() else { return Flow::Busy(paid) };
                cx.fail(&busy);
                return Flow::Done;
            }
        }
        if road::is_stale(&mut cx, paid.call()) {
            blocking::let_go(&mut cx);
            return Flow::Stale;
        }
        match road::shown(&mut cx, paid) {
            Outcome::Done => Flow::Done,
            Outcome::Close => Flow::Close,
            Outcome::Blocked(deadline_us) => Flow::Blocked(deadline_us),
            Outcome::Busy => Flow::Stale,
        }
    }

    /// A generator for one command's random choices, decided by the engine's seed and how many were asked for before.
    pub(crate) fn random(&self) -> Random {
        Random::new(self.seed, self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts a reader of the effect log, between two commands: what it reads, applied to the state at that moment,
    /// gives the state at any later one. Waits for every partition.
    pub fn subscribe_log(&self) -> LogReader {
        let _all = self.db.lock_all_patiently();
        self.log.subscribe()
    }
}

fn run_id(seed: u64) -> String {
    use rand::{Rng, SeedableRng};
    let mut generator = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..40).map(|_| char::from(b"0123456789abcdef"[(generator.next_u64() & 15) as usize])).collect()
}
