//! One cache as it runs: where it lives, its listener, its route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use larder_gateway::{Route, Target, Tls};
use larder_iam_policies::access::LiveAccess;
use larder_node::config::EngineConfig;
use larder_node::server::{self, ConnectionLimits, Listener, Listening, TlsDoor, TlsMode};
use larder_node::workers::Workers;
use larder_node::{Engine, Meters};

use super::{Run, StartError};
use crate::config::{Backend, CacheConfig, Door};

/// How long clients of a removed cache may finish.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// A cache and what serves it.
pub(crate) struct Cache {
    config: CacheConfig,
    target: Target,
    meters: Arc<Meters>,
    /// The RESP listener, and how it was configured.
    listening: Option<(SocketAddr, Door, Listening)>,
}

impl Cache {
    /// Opens a cache without its listener.
    pub(super) fn open(mut config: CacheConfig, access: &Arc<LiveAccess>, workers: &Workers) -> Cache {
        let (target, meters) = match &mut config.backend {
            Backend::Embedded { engine, .. } => {
                engine.workers = workers.count();
                let engine = new_engine(engine, access, workers);
                let meters = engine.meters().clone();
                (Target::embedded(engine), meters)
            }
            Backend::Remote(remote) => {
                let burst = if config.burst == 0 { config.requests_per_second } else { config.burst };
                (Target::remote(remote.clone()), Arc::new(Meters::new(config.requests_per_second, burst)))
            }
        };
        Cache { config, target, meters, listening: None }
    }

    /// The same cache under a new configuration. Its data stays; what needs a restart stays as it was and is told.
    pub(super) fn change(
        mut self,
        mut new: CacheConfig,
        access: &Arc<LiveAccess>,
        workers: &Workers,
        left: &mut Vec<String>,
    ) -> Cache {
        let same_budget = (self.config.requests_per_second, self.config.burst) == (new.requests_per_second, new.burst);
        match (&self.config.backend, &mut new.backend) {
            (Backend::Embedded { engine: old, .. }, Backend::Embedded { engine, .. }) => {
                engine.workers = old.workers;
                if *old != *engine {
                    left.push(format!(
                        "the budgets or databases of the cache {:?} changed, which needs a restart",
                        new.name
                    ));
                }
                *engine = old.clone();
                self.config = new;
                self
            }
            (Backend::Remote(old), Backend::Remote(remote)) if old == remote && same_budget => {
                self.config = new;
                self
            }
            _ => {
                let fresh = Cache::open(new, access, workers);
                self.close();
                fresh
            }
        }
    }

    /// Opens the listener that is configured, and lets go of one that no longer is.
    pub(super) async fn listen(
        &mut self,
        limits: ConnectionLimits,
        workers: &Workers,
        tls: Option<&Tls>,
        run: Run,
    ) -> Result<(), StartError> {
        let wanted = self.config.listener();
        if self.listening.as_ref().map(|(address, door, _)| (*address, door)) == wanted {
            return Ok(());
        }
        // At the same address there is only room for one.
        if self.listening.as_ref().is_some_and(|(address, ..)| wanted.is_some_and(|(wanted, _)| wanted == *address))
            && let Some((.., mut old)) = self.listening.take()
        {
            old.shut().await;
            tokio::spawn(old.drain(CLOSE_WAIT));
        }
        let opened = match (wanted, &self.target) {
            (Some((address, door)), Target::Embedded(engine)) => {
                let moved_by = match (run, &*self.config.name) {
                    (Run::Node, _) => "--listen".to_owned(),
                    (_, "default") => "--resp".to_owned(),
                    (_, name) => format!("`listen` of the cache {name:?}"),
                };
                let listener = Listener {
                    unix: door.unix.clone(),
                    source: door.source,
                    tls: tls.map(|tls| offer(tls, door.tls)),
                    ..Listener::plain(address, &moved_by, limits)
                };
                let opened = server::listen(&listener, engine.clone(), workers).await;
                Some((address, door.clone(), opened.map_err(|error| StartError::Mistake(error.to_string()))?))
            }
            _ => None,
        };
        if let Some((.., old)) = std::mem::replace(&mut self.listening, opened) {
            tokio::spawn(old.drain(CLOSE_WAIT));
        }
        Ok(())
    }

    /// Lets clients finish; the data goes with the last of them.
    pub(super) fn close(mut self) {
        if let Some(listening) = self.take_listener() {
            tokio::spawn(listening.drain(CLOSE_WAIT));
        }
    }

    pub(super) fn take_listener(&mut self) -> Option<Listening> {
        self.listening.take().map(|(.., listening)| listening)
    }

    pub(super) fn route(&self) -> Route {
        Route { name: self.config.name.clone(), target: self.target.clone(), meters: self.meters.clone() }
    }

    pub(super) fn summary(&self) -> (String, &'static str, Option<SocketAddr>) {
        let resp = self.listening.as_ref().map(|(.., listening)| listening.address());
        (self.config.name.clone(), self.config.backend.word(), resp)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether its listener, if it has one, accepts.
    pub(crate) fn is_ready(&self) -> bool {
        self.listening.as_ref().is_none_or(|(.., listening)| listening.is_accepting())
    }

    /// The engine, of an embedded cache.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        match &self.target {
            Target::Embedded(engine) => Some(engine),
            Target::Remote(_) => None,
        }
    }

    /// The listener.
    pub(crate) fn listening(&self) -> Option<&Listening> {
        self.listening.as_ref().map(|(.., listening)| listening)
    }
}

/// A listener's TLS: each handshake takes the certificate in force then.
fn offer(tls: &Tls, mode: TlsMode) -> TlsDoor {
    let tls = tls.clone();
    TlsDoor { mode, settings: Arc::new(move || tls.plain()) }
}

fn new_engine(config: &EngineConfig, access: &Arc<LiveAccess>, workers: &Workers) -> Arc<Engine> {
    let engine = Engine::new(config.clone(), access.clone(), rand::random(), workers.clock().now());
    server::sweep(&engine, workers);
    engine
}
