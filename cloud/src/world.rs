//! What runs: workers, caches, listeners. Started from a [`Config`], changed by a reload, stopped by a drain.
//!
//! Everything here runs on the control thread; connections live on the workers and meet it only through snapshots
//! (access, routes) and counters. A reload publishes new snapshots and never closes a connection that is still allowed.

mod cache;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use larder_gateway::config::{Http, TlsConfig};
use larder_gateway::tls::TlsError;
use larder_gateway::{Gateway, Routes, Tls};
use larder_iam_policies::access::LiveAccess;
use larder_node::server::{self, ConnectionLimits, Listener};
use larder_node::workers::Workers;
use parking_lot::Mutex;

use crate::admin::{self, PageListener, Pages};
use crate::config::{CacheConfig, Config, Log};
use cache::Cache;

/// What a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// HTTP gateway and the caches of the configuration.
    Everything,
    /// One cache and its RESP listener.
    Node,
    /// An HTTP listener that answers with a constant: the floor that benches compare with.
    HttpEcho,
    /// A RESP listener that does.
    RespEcho,
}

/// A running Larder.
pub struct World {
    shared: Arc<Shared>,
    http: Option<larder_gateway::Listening>,
    resp_echo: Option<server::Listening>,
    aws: Option<PageListener>,
    admin: PageListener,
    started: Started,
}

/// What pages and reloads look at.
pub(crate) struct Shared {
    pub(crate) workers: Workers,
    pub(crate) access: Arc<LiveAccess>,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) caches: Mutex<Vec<Cache>>,
    limits: ConnectionLimits,
    run: Run,
    tls: Option<Tls>,
}

/// The settings that only a start reads, as they were then.
struct Started {
    workers: usize,
    drain_timeout: Duration,
    log: Log,
    http: Http,
    aws: Option<SocketAddr>,
    admin: SocketAddr,
    tls: Option<TlsConfig>,
    node: ConnectionLimits,
}

/// Where everything listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The HTTP data gateway.
    pub http: Option<SocketAddr>,
    /// The pages of `/_larder/`.
    pub aws: Option<SocketAddr>,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// Each cache: its name, its backend's word, and where it speaks RESP.
    pub caches: Vec<(String, &'static str, Option<SocketAddr>)>,
}

/// Why nothing was started.
#[derive(Debug)]
pub enum StartError {
    /// Something a user can mend: a taken port, an unreadable certificate.
    Mistake(String),
    /// The system refused something.
    Broke(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Mistake(what) | StartError::Broke(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// A listener that could not be opened: names the port and what moves it.
    pub(crate) fn listen(address: SocketAddr, moved_by: &str, error: &std::io::Error) -> Self {
        StartError::Mistake(match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "port {} of {} is taken by another process: choose another with {moved_by}",
                address.port(),
                address.ip()
            ),
            _ => format!("cannot listen on {address}: {error}; choose another address with {moved_by}"),
        })
    }
}

impl From<TlsError> for StartError {
    fn from(error: TlsError) -> Self {
        StartError::Mistake(error.to_string())
    }
}

impl World {
    /// Starts everything a configuration names. Call it on the control runtime; when it answers, every listener accepts.
    ///
    /// # Errors
    /// [`StartError`]; what was started before is stopped again.
    pub async fn start(config: Config, run: Run) -> Result<World, StartError> {
        let workers = Workers::start(config.workers).map_err(|error| {
            StartError::Broke(format!("the system refuses the worker threads: {error}; try fewer with --workers"))
        })?;
        let opened = Self::open(config, run, &workers).await;
        if opened.is_err() {
            workers.stop();
        }
        opened
    }

    async fn open(config: Config, run: Run, workers: &Workers) -> Result<World, StartError> {
        let Config { http, caches, access, .. } = config;
        let started = Started {
            workers: config.workers,
            drain_timeout: config.drain_timeout,
            log: config.log,
            http: http.clone(),
            aws: config.aws,
            admin: config.admin,
            tls: config.tls,
            node: config.node,
        };
        let access = Arc::new(LiveAccess::new(access));
        let tls = match (&started.tls, run) {
            (_, Run::RespEcho) => None,
            (source, _) => source.as_ref().map(Tls::load).transpose()?,
        };
        let (caches, resp_echo) = match run {
            Run::Everything | Run::Node => {
                (open_caches(caches, &access, workers, &started, tls.as_ref(), run).await?, None)
            }
            Run::HttpEcho => (Vec::new(), None),
            Run::RespEcho => (Vec::new(), Some(open_resp_echo(&caches, workers, &started).await?)),
        };
        let routes = Routes::new(caches.iter().map(Cache::route));
        let gateway = (run == Run::Everything).then(|| Gateway::new(http.clone(), access.clone(), routes));
        let shared = Arc::new(Shared {
            workers: workers.clone(),
            access,
            gateway,
            caches: Mutex::new(caches),
            limits: started.node,
            run,
            tls,
        });
        let http = match (&shared.gateway, run) {
            (Some(gateway), _) => Some(gateway.listen(workers, shared.tls.clone()).await),
            (None, Run::HttpEcho) => Some(larder_gateway::listen_echo(&http, workers, shared.tls.clone()).await),
            (None, _) => None,
        };
        let http = http.transpose().map_err(|error| StartError::listen(started.http.listen, "--http", &error))?;
        let pages = |pages, address, flag| admin::listen(pages, address, shared.clone(), flag);
        let aws = match started.aws.filter(|_| run == Run::Everything) {
            Some(address) => Some(pages(Pages::Aws, address, "--aws").await?),
            None => None,
        };
        let admin = pages(Pages::Admin, started.admin, "--admin").await?;
        Ok(World { shared, http, resp_echo, aws, admin, started })
    }

    /// Where everything listens.
    pub fn addresses(&self) -> Addresses {
        let mut caches: Vec<_> = self.shared.caches.lock().iter().map(Cache::summary).collect();
        caches.extend(self.resp_echo.as_ref().map(|echo| ("echo".to_owned(), "echo", Some(echo.address()))));
        Addresses {
            http: self.http.as_ref().map(larder_gateway::Listening::address),
            aws: self.aws.as_ref().map(PageListener::address),
            admin: self.admin.address(),
            caches,
        }
    }

    /// The leaf certificate in force, PEM: what a client pins to trust a generated one.
    pub fn certificate_pem(&self) -> Option<String> {
        let der = self.shared.tls.as_ref()?.leaf();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        // 64 characters a line: RFC 7468, section 2.
        let lines = text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line)));
        Some(format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>()))
    }

    /// Puts a new configuration in force without dropping a connection that it still allows. Answers what it could not
    /// apply, for people: settings that only a start reads, listeners that could not be opened.
    pub async fn reload(&self, config: Config) -> Vec<String> {
        let mut left = self.started.differences(&config);
        if let Some(tls) = &self.shared.tls
            && let Err(error) = tls.reload()
        {
            left.push(format!("the certificate stays as it was: {error}"));
        }
        self.shared.replace_caches(config.caches, &mut left).await;
        // Last, so that nobody is judged by rules about caches that are not there yet.
        for (cache, user) in self.shared.access.publish(config.access) {
            left.push(format!(
                "the user {user:?} that ACL SETUSER changed on the cache {cache:?} is as the configuration has it: callers \
                 without a login are not let in any more"
            ));
        }
        left
    }

    /// Whether every listener accepts.
    pub fn is_ready(&self) -> bool {
        let http = self.http.as_ref().is_none_or(larder_gateway::Listening::is_accepting);
        http && self.shared.is_ready()
    }

    /// Takes no more connections, lets requests under way finish within the configured time, then stops everything.
    /// Answers how many connections were cut.
    pub async fn stop(self) -> usize {
        let wait = self.started.drain_timeout;
        let mut resp: Vec<_> = self.shared.caches.lock().iter_mut().filter_map(Cache::take_listener).collect();
        resp.extend(self.resp_echo);
        let drains = resp.into_iter().map(|listening| tokio::spawn(listening.drain(wait))).collect::<Vec<_>>();
        let mut cut = match &self.http {
            Some(http) => http.drain(wait).await,
            None => 0,
        };
        for drain in drains {
            cut += drain.await.unwrap_or(0);
        }
        // Health and metrics answer until the end.
        drop((self.aws, self.admin));
        let workers = self.shared.workers.clone();
        drop(self.shared);
        tokio::task::spawn_blocking(move || workers.stop()).await.unwrap_or(());
        cut
    }
}

async fn open_caches(
    configs: Vec<CacheConfig>,
    access: &Arc<LiveAccess>,
    workers: &Workers,
    started: &Started,
    tls: Option<&Tls>,
    run: Run,
) -> Result<Vec<Cache>, StartError> {
    let mut caches = Vec::with_capacity(configs.len());
    for config in configs {
        let mut cache = Cache::open(config, access, workers);
        cache.listen(started.node, workers, tls, run).await?;
        caches.push(cache);
    }
    Ok(caches)
}

async fn open_resp_echo(
    caches: &[CacheConfig],
    workers: &Workers,
    started: &Started,
) -> Result<server::Listening, StartError> {
    let address = caches.first().and_then(CacheConfig::listen);
    let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6379)));
    let listener = Listener::plain(address, "--listen", started.node);
    server::listen_echo(&listener, workers).await.map_err(|error| StartError::Mistake(error.to_string()))
}

impl Started {
    /// What a new configuration says otherwise and only a start can apply.
    fn differences(&self, new: &Config) -> Vec<String> {
        let parts = [
            ("workers", self.workers != new.workers),
            ("drain_timeout_ms", self.drain_timeout != new.drain_timeout),
            ("log", self.log != new.log),
            ("http", self.http != new.http),
            ("aws", self.aws != new.aws),
            ("admin", self.admin != new.admin),
            ("tls", self.tls != new.tls),
            ("node", self.node != new.node),
        ];
        let changed = parts.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(name, _)| format!("{name} changed, which needs a restart")).collect()
    }
}

impl Shared {
    /// Whether every RESP listener accepts.
    pub(crate) fn is_ready(&self) -> bool {
        self.caches.lock().iter().all(Cache::is_ready)
    }

    /// Makes the caches what the configuration says: kept where nothing changed, opened, closed.
    async fn replace_caches(&self, wanted: Vec<CacheConfig>, left: &mut Vec<String>) {
        let mut old = std::mem::take(&mut *self.caches.lock());
        let mut new = Vec::with_capacity(wanted.len());
        for config in wanted {
            let at = old.iter().position(|cache| cache.name() == config.name);
            let mut cache = match at.map(|at| old.swap_remove(at)) {
                Some(cache) => cache.change(config, &self.access, &self.workers, left),
                None => Cache::open(config, &self.access, &self.workers),
            };
            if let Err(error) = cache.listen(self.limits, &self.workers, self.tls.as_ref(), self.run).await {
                left.push(error.to_string());
            }
            new.push(cache);
        }
        if let Some(gateway) = &self.gateway {
            gateway.publish(Routes::new(new.iter().map(Cache::route)));
        }
        *self.caches.lock() = new;
        old.into_iter().for_each(Cache::close);
    }
}
