//! What the tests of this crate share: an engine, clients that speak to it in process, and a clock they move by hand.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_iam_policies::access::{Access, LiveAccess, Source};

use crate::engine::{Engine, Next};
use crate::resp::{Out, OwnedArgs, encode_request};
use crate::session::{Peer, Session};
use crate::{EngineConfig, Now};

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_700_000_000_000)))
    }

    pub(crate) fn now(&self) -> Now {
        let wall_ms = self.0.load(Ordering::SeqCst);
        Now { wall_ms, mono_us: wall_ms * 1000 }
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// The policy of tenant `a`: its own keys and channels, with a TTL of a minute at most when written.
const TENANT: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":"cache:Read","Resource":"arn:aws:cache:us-east-1:000000000000:key/default/a:*"},
    {"Effect":"Allow","Action":"cache:Write","Resource":"arn:aws:cache:us-east-1:000000000000:key/default/a:*",
     "Condition":{"NumericLessThanEquals":{"cache:TtlMs":"60000"}}},
    {"Effect":"Allow","Action":["cache:Publish","cache:Subscribe"],
     "Resource":"arn:aws:cache:us-east-1:000000000000:channel/default/a:*"},
    {"Effect":"Allow","Action":"cache:List","Resource":"arn:aws:cache:us-east-1:000000000000:cache/default"}]}"#;

/// Users `reader` (`~a:* +@read`), `app` (everything on `a:*`) and `watcher` (that, and every channel), principal `tenant` with the policy above and token
/// `tenant-token`, the account itself with token `root-token`. With `anonymous`, and nobody limited, no login is needed.
pub(crate) fn access(anonymous: bool) -> Access {
    use larder_iam_policies::config::{RawAccess, RawCacheAccess, RawPolicy, RawPrincipal, RawToken, RawUser};
    let user = |name: &str, access_string: &str| RawUser {
        name: name.into(),
        passwords: vec![format!("{name}-password")],
        access_string: access_string.into(),
        iam: false,
        caches: vec!["default".into()],
    };
    let principal =
        |name: &str, policies: Vec<String>| RawPrincipal { name: name.into(), policies, ..Default::default() };
    let token = |name: &str, principal: &str| RawToken {
        name: name.into(),
        secret: Some(format!("{name}-token")),
        principal: principal.into(),
        cache: Some("default".into()),
        ..Default::default()
    };
    let mut raw = RawAccess { account: "000000000000".into(), region: "us-east-1".into(), ..Default::default() };
    if !anonymous {
        raw.policy = vec![RawPolicy { name: "tenant".into(), document: Some(TENANT.into()), file: None }];
        raw.principal = vec![principal("root", vec![]), principal("tenant", vec!["tenant".into()])];
        raw.token = vec![token("root", "root"), token("tenant", "tenant")];
        raw.user = vec![
            user("reader", "on ~a:* +@read"),
            user("app", "on ~a:* &a:* +@all"),
            user("watcher", "on ~a:* &* +@all"),
        ];
    }
    let cache = RawCacheAccess { name: "default".into(), engine: "valkey".into(), anonymous, ..Default::default() };
    let mut mistakes = Vec::new();
    raw.check(&[cache], &crate::commands::Vocabulary, &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}"))
}

pub(crate) fn engine_with(clock: &Clock, change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let mut config = EngineConfig::new("default");
    config.partitions = 64;
    config.workers = 4;
    change(&mut config);
    assert!(config.mistakes().is_empty());
    Engine::new(config, Arc::new(LiveAccess::new(access(true))), 7, clock.now())
}

/// An engine whose callers have to say who they are.
pub(crate) fn guarded(clock: &Clock) -> Arc<Engine> {
    Engine::new(EngineConfig::new("default"), Arc::new(LiveAccess::new(access(false))), 7, clock.now())
}

pub(crate) fn engine(clock: &Clock) -> Arc<Engine> {
    engine_with(clock, |_| {})
}

/// One RESP connection, without the socket.
pub(crate) struct Client {
    engine: Arc<Engine>,
    clock: Clock,
    pub(crate) session: Session,
    out: Out,
}

impl Client {
    pub(crate) fn new(engine: &Arc<Engine>, clock: &Clock, worker: usize) -> Self {
        let address: crate::Address = "127.0.0.1:4000".parse::<std::net::SocketAddr>().unwrap().into();
        let peer =
            Peer { source: Source::new([127, 0, 0, 1].into(), false, 6379), address: address.clone(), local: address };
        let session = engine.open(peer, worker, clock.now()).unwrap();
        Self { engine: engine.clone(), clock: clock.clone(), session, out: Out::new(2) }
    }

    /// A session of the same caller, as an HTTP call has one.
    pub(crate) fn detached(&self) -> Session {
        let identity = self.session.identity.clone().unwrap();
        self.engine.detached(identity.inside, identity.grant, 0)
    }

    /// Sends one command, its words divided by single spaces, and reads the reply as text, line ends as `|`.
    pub(crate) fn say(&mut self, line: &str) -> String {
        self.words(&line.split(' ').collect::<Vec<_>>())
    }

    pub(crate) fn words<T: AsRef<[u8]>>(&mut self, words: &[T]) -> String {
        let mut input = Vec::new();
        encode_request(OwnedArgs::from_slices(words).as_args(), &mut input);
        self.bytes(&input).0
    }

    /// Sends bytes as they are; the replies, and what the driver would do next.
    pub(crate) fn bytes(&mut self, input: &[u8]) -> (String, Next) {
        let mut from = 0;
        loop {
            let progress = self.engine.exec_batch(&mut self.session, &input[from..], self.clock.now(), &mut self.out);
            from += progress.consumed;
            match progress.next {
                Next::Again => {}
                Next::Busy => std::thread::yield_now(),
                next => return (self.shown(), next),
            }
        }
    }

    /// What came in from others.
    pub(crate) fn hear(&mut self) -> (String, Next) {
        let next = self.engine.deliver(&mut self.session, self.clock.now(), &mut self.out);
        (self.shown(), next)
    }

    fn shown(&mut self) -> String {
        String::from_utf8_lossy(&self.out.take()).replace("\r\n", "|")
    }
}

/// Every live key of an engine with its type, value, expiry: equal for equal states. A key of a database other than 0
/// is shown with its number.
pub(crate) fn dump(engine: &Engine, now: Now) -> std::collections::BTreeMap<Vec<u8>, String> {
    let mut all = std::collections::BTreeMap::new();
    for partition in 0..engine.db.partitions() {
        let mut held = engine.db.lock_patiently(partition);
        for database in std::iter::once(0).chain(held.slice(partition).others()) {
            let shard = held.shard(partition, database);
            for entry in shard.table.iter().filter(|entry| !entry.is_due(now.wall_ms)) {
                let prefix = if database == 0 { String::new() } else { format!("[{database}]") };
                let key = [prefix.as_bytes(), entry.key()].concat();
                all.insert(key, format!("{:?} until {:?}", entry.value(), entry.expire_at_ms()));
            }
        }
    }
    all
}

/// Random numbers of a seed.
pub(crate) fn draws(seed: u64) -> impl FnMut() -> u64 {
    use rand::{Rng, SeedableRng};
    let mut generator = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
    move || generator.next_u64()
}
