//! The configuration within its bounds, and what its parts must agree on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use larder_gateway::config::{Http, Remote, TlsConfig};
use larder_iam_policies::access::Access;
use larder_iam_policies::config::RawCacheAccess;
use larder_node::commands::Vocabulary;
use larder_node::proxy::Version;
use larder_node::server::{AddressSource, ConnectionLimits, TlsMode, UnixPlace, listen_address};
use larder_node::{EngineConfig, Policy};

use super::raw::{Raw, RawCache};
use super::{Mistakes, Mode};

/// Everything a process is started with.
#[derive(Debug)]
pub struct Config {
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// How long a stop waits for requests under way.
    pub drain_timeout: Duration,
    /// What is logged, and how.
    pub log: Log,
    /// The HTTP data gateway.
    pub http: Http,
    /// Where the pages of `/_larder/` are.
    pub aws: Option<SocketAddr>,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// The certificate of the listeners; without one they speak in plain.
    pub tls: Option<TlsConfig>,
    /// How RESP connections are treated.
    pub node: ConnectionLimits,
    /// The caches that this process serves.
    pub caches: Vec<CacheConfig>,
    /// Who may do what from where.
    pub access: Access,
    /// The account's twelve digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// Whether the development credentials are in force.
    pub development: bool,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// JSON instead of text.
    pub json: bool,
}

/// One cache.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Its name.
    pub name: String,
    /// Whether RESP connections need no login.
    pub anonymous: bool,
    /// Where it lives.
    pub backend: Backend,
    /// Calls a second, 0 for no limit.
    pub requests_per_second: u32,
    /// Calls at once above the rate.
    pub burst: u32,
}

/// Where a cache lives.
#[derive(Debug, Clone)]
pub enum Backend {
    /// In this process.
    Embedded {
        /// Its engine's settings; `workers` is filled in at the start.
        engine: Box<EngineConfig>,
        /// Where it speaks RESP.
        listen: Option<SocketAddr>,
        /// How.
        door: Door,
    },
    /// On a RESP server elsewhere.
    Remote(Remote),
}

/// How a RESP listener takes its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Who speaks TLS.
    pub tls: TlsMode,
    /// Where addresses come from.
    pub source: AddressSource,
    /// A Unix socket beside the listener.
    pub unix: Option<UnixPlace>,
}

impl Backend {
    /// Its word in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Backend::Embedded { .. } => "embedded",
            Backend::Remote(_) => "remote",
        }
    }
}

impl CacheConfig {
    /// Where it speaks RESP, if it does.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listener().map(|(address, _)| address)
    }

    /// Where it speaks RESP and how, if it does.
    pub fn listener(&self) -> Option<(SocketAddr, &Door)> {
        match &self.backend {
            Backend::Embedded { listen, door, .. } => listen.map(|address| (address, door)),
            Backend::Remote(_) => None,
        }
    }
}

/// Checks every part and what they must agree on.
pub(super) fn check(
    mut raw: Raw,
    mode: &Mode,
    development: bool,
    mistakes: &mut Mistakes,
) -> Option<(Config, Vec<String>)> {
    if let Mode::Node(name) = mode {
        keep_node_cache(&mut raw, name.as_deref(), mistakes);
    }
    let http = raw.http.check("http", mistakes);
    let tls = raw.tls.as_ref().map(|tls| tls.check("tls", mistakes));
    let node = raw.node.check("node", mistakes);
    let aws = raw.aws.listen.as_deref().map(|text| address("aws.listen", text, mistakes));
    let admin = address("admin.listen", &raw.admin.listen, mistakes);
    let caches: Vec<_> = raw
        .cache
        .iter()
        .enumerate()
        .filter_map(|(at, cache)| check_cache(&format!("cache[{at}]"), cache, raw.tls.is_some(), mistakes))
        .collect();
    let facts: Vec<_> = raw.cache.iter().map(access_of).collect();
    let access = raw.access.check(&facts, &Vocabulary, mistakes);
    check_mode(mode, &caches, mistakes);
    let config = Config {
        workers: raw.workers,
        drain_timeout: Duration::from_millis(raw.drain_timeout_ms),
        log: Log { level: raw.log.level, json: raw.log.format == "json" },
        http: http?,
        aws: match aws {
            Some(aws) => Some(aws?),
            None => None,
        },
        admin: admin?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        node: node?,
        caches,
        access: access?,
        account: raw.access.account,
        region: raw.access.region,
        development,
    };
    check_addresses(&config, mode, mistakes);
    let notes = notes(&config, &facts);
    Some((config, notes))
}

fn address(path: &str, text: &str, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    listen_address(text).map_err(|what| mistakes.push((path.to_owned(), what))).ok()
}

/// A node is of one cache: the one that was named, or the only embedded one.
fn keep_node_cache(raw: &mut Raw, name: Option<&str>, mistakes: &mut Mistakes) {
    let embedded = |cache: &RawCache| cache.remote.is_none();
    match name {
        Some(name) if raw.cache.iter().any(|cache| cache.name == name && embedded(cache)) => {
            raw.cache.retain(|cache| cache.name == name);
        }
        Some(name) => mistakes.push(("--cache".to_owned(), format!("no embedded cache is named {name:?}"))),
        None => match raw.cache.iter().filter(|cache| embedded(cache)).count() {
            1 => raw.cache.retain(embedded),
            0 => mistakes.push(("cache".to_owned(), "a node needs an embedded cache: add [[cache]]".to_owned())),
            n => mistakes.push(("--cache".to_owned(), format!("name one of the {n} embedded caches"))),
        },
    }
    // Rights on caches that live elsewhere are their nodes' business.
    let here: Vec<String> = raw.cache.iter().map(|cache| cache.name.clone()).collect();
    let is_here = |name: &String| here.contains(name);
    raw.access.token.retain(|token| token.cache.as_ref().is_none_or(is_here));
    for user in &mut raw.access.user {
        user.caches.retain(|cache| is_here(cache));
    }
}

fn check_cache(path: &str, raw: &RawCache, has_tls: bool, mistakes: &mut Mistakes) -> Option<CacheConfig> {
    let before = mistakes.len();
    let mut wrong = |name: &str, what: &str| mistakes.push((format!("{path}.{name}"), what.to_owned()));
    let serverless = raw.kind == "serverless";
    if serverless && raw.databases.is_some_and(|databases| databases > 1) {
        wrong("databases", "a serverless cache has one");
    }
    if raw.burst > 0 && raw.requests_per_second == 0 {
        wrong("burst", "has no meaning without requests_per_second");
    }
    let backend = match (raw.backend.as_deref(), &raw.remote) {
        (Some("process"), _) => {
            wrong("backend", "\"process\" is not built yet: start `larder node` and use a remote backend");
            None
        }
        (Some("embedded"), Some(_)) => {
            wrong("backend", "an embedded cache has no `remote`: remove one of the two");
            None
        }
        (Some("remote"), None) => {
            wrong("remote", "a remote backend needs remote = { url = \"redis://host:port\" }");
            None
        }
        (_, Some(remote)) => {
            let embedded = [
                ("listen", raw.listen.is_some()),
                ("tls", raw.tls.is_some()),
                ("unix_socket", raw.unix_socket.is_some()),
                ("maxmemory_bytes", raw.maxmemory_bytes > 0),
                ("maxmemory_policy", raw.maxmemory_policy.as_deref().is_some_and(|policy| policy != "noeviction")),
            ];
            for (name, given) in embedded {
                if given {
                    wrong(name, "is of embedded caches only");
                }
            }
            remote.check(&format!("{path}.remote"), mistakes).map(Backend::Remote)
        }
        (_, None) => {
            let listen = raw.listen.as_deref().map(|text| address(&format!("{path}.listen"), text, mistakes));
            let engine = EngineConfig {
                databases: raw.databases.unwrap_or(if serverless { 1 } else { 16 }),
                maxmemory_bytes: raw.maxmemory_bytes,
                maxmemory_policy: raw.maxmemory_policy.as_deref().and_then(Policy::named).unwrap_or_default(),
                requests_per_second: raw.requests_per_second,
                burst: raw.burst,
                ..EngineConfig::new(&raw.name)
            };
            let door = check_door(path, raw, has_tls, mistakes);
            door.map(|door| Backend::Embedded { engine: Box::new(engine), listen: listen.flatten(), door })
        }
    };
    if mistakes.len() > before {
        return None;
    }
    Some(CacheConfig {
        name: raw.name.clone(),
        anonymous: raw.anonymous,
        backend: backend?,
        requests_per_second: raw.requests_per_second,
        burst: raw.burst,
    })
}

fn check_door(path: &str, raw: &RawCache, has_tls: bool, mistakes: &mut Mistakes) -> Option<Door> {
    let before = mistakes.len();
    let mut wrong = |name: &str, what: String| mistakes.push((format!("{path}.{name}"), what));
    let tls = match raw.tls.as_deref() {
        Some("off") => TlsMode::Off,
        Some("required") => TlsMode::Required,
        Some(_) => TlsMode::Preferred,
        None if has_tls => TlsMode::Preferred,
        None => TlsMode::Off,
    };
    if tls != TlsMode::Off && !has_tls {
        wrong("tls", format!("\"{tls}\" needs a certificate: add [tls] with `cert` and `key`, or `generated = true`"));
    }
    let source = match raw.source.as_str() {
        "proxy-v1" => AddressSource::Proxy(Version::V1),
        "proxy-v2" => AddressSource::Proxy(Version::V2),
        _ => AddressSource::Peer,
    };
    let digits = raw.unix_socket_mode.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(&raw.unix_socket_mode, 8).ok().filter(|mode| digits && *mode <= 0o777);
    if mode.is_none() {
        wrong("unix_socket_mode", format!("{:?} is no octal number from \"0\" to \"777\"", raw.unix_socket_mode));
    }
    // The kernel's `sun_path`, less the NUL, and what the socket is called before it is in its place.
    const PATH_BYTES_MAX: usize = 107 - 16;
    let unix = raw.unix_socket.as_deref();
    if let Some(text) = unix.filter(|text| text.is_empty() || text.len() > PATH_BYTES_MAX) {
        wrong("unix_socket", format!("{text:?} is no path of 1 to {PATH_BYTES_MAX} bytes"));
    }
    if unix.is_some() && raw.listen.is_none() {
        wrong("unix_socket", "stands beside a `listen`, which is missing".to_owned());
    }
    let unix = unix.map(|text| UnixPlace { path: text.into(), mode: mode.unwrap_or_default() });
    (mistakes.len() == before).then_some(Door { tls, source, unix })
}

fn access_of(raw: &RawCache) -> RawCacheAccess {
    RawCacheAccess {
        name: raw.name.clone(),
        engine: raw.engine.clone(),
        security_groups: raw.security_groups.clone(),
        anonymous: raw.anonymous,
        data_policy: raw.data_policy.clone(),
        serverless: raw.kind == "serverless",
        tags: raw.tags.clone(),
    }
}

/// What a mode cannot start without, or with.
fn check_mode(mode: &Mode, caches: &[CacheConfig], mistakes: &mut Mistakes) {
    let embedded = |cache: &&CacheConfig| matches!(cache.backend, Backend::Embedded { .. });
    match mode {
        Mode::Gateway => {
            if caches.is_empty() && mistakes.is_empty() {
                let what = "a gateway needs a cache to be in front of: add [[cache]] with `remote`";
                mistakes.push(("cache".to_owned(), what.to_owned()));
            }
            for cache in caches.iter().filter(embedded) {
                let what = "is embedded, and `larder gateway` stands in front of backends that exist: give it `remote`, or \
                            use `larder up --config`";
                mistakes.push((format!("the cache {:?}", cache.name), what.to_owned()));
            }
        }
        Mode::Node(_) => {
            if let Some(cache) = caches.first().filter(|cache| cache.listen().is_none()) {
                let what = format!("the cache {:?} has no `listen`", cache.name);
                mistakes.push(("--listen".to_owned(), what));
            }
        }
        Mode::Up | Mode::Echo | Mode::Check => {}
    }
}

/// Listeners that would meet, and development credentials that strangers could use.
fn check_addresses(config: &Config, mode: &Mode, mistakes: &mut Mistakes) {
    let mut listeners: Vec<(String, SocketAddr)> = vec![("admin.listen".to_owned(), config.admin)];
    if !matches!(mode, Mode::Node(_)) {
        listeners.push(("http.listen".to_owned(), config.http.listen));
        listeners.extend(config.aws.map(|aws| ("aws.listen".to_owned(), aws)));
    }
    let of_caches = config.caches.iter().enumerate();
    listeners.extend(of_caches.filter_map(|(at, cache)| Some((format!("cache[{at}].listen"), cache.listen()?))));
    let mut seen = HashMap::new();
    for (path, address) in &listeners {
        if address.port() != 0
            && let Some(other) = seen.insert(*address, path.clone())
        {
            mistakes.push((path.clone(), format!("{address} is taken by {other}")));
        }
        if config.development && !address.ip().is_loopback() {
            let what = format!(
                "{address} can be reached from elsewhere, and the development credentials are known to everybody: \
                 declare a [[principal]] with keys of its own, or listen on 127.0.0.1"
            );
            mistakes.push((path.clone(), what));
        }
    }
}

fn notes(config: &Config, facts: &[RawCacheAccess]) -> Vec<String> {
    let mut notes = Vec::new();
    for (cache, facts) in config.caches.iter().zip(facts) {
        let open = std::iter::once(config.http.listen).chain(cache.listen()).any(|address| !address.ip().is_loopback());
        if open && facts.security_groups.is_empty() {
            notes.push(format!(
                "the cache {:?} has no security group, so only callers on this machine are let in",
                cache.name
            ));
        }
    }
    notes
}
