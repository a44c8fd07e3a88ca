//! The road of one HTTP request: who asks, for which cache, may they, is it paid, then run it. The first file to read.
//!
//! The first and the last arrow, bytes to a [`Request`] and an [`Answer`] to bytes, are in [`crate::http`]; everything
//! between is here and in [`crate::run`], in order. [`Gateway::serve`] takes a request as far as its cache; what it asks
//! for, one command or many, walks the rest in [`Visit::permit`] and [`crate::run`] per command.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use larder_iam_policies::access::{Admitted, Grant, LiveAccess, Permit, Source};
use larder_node::commands::Http as OverHttp;
use larder_node::resp::Args;
use larder_node::workers::Seat;
use larder_node::{Call, CommandError, Now, Paid};

use crate::config::Http;
use crate::failure::{Failure, refusal};
use crate::http::answer::Answer;
use crate::http::browser::Names;
use crate::http::connection::Here;
use crate::http::request::Request;
use crate::http::work::Work;
use crate::metrics::Metrics;
use crate::route::{Route, Routes};

/// The HTTP front: one per process, shared by its listeners and workers.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) http: Http,
    pub(crate) names: Names,
    pub(crate) access: Arc<LiveAccess>,
    pub(crate) metrics: Metrics,
    routes: ArcSwap<Routes>,
    /// Tells this process's tokens and request ids from those of others.
    pub(crate) run: u32,
    /// Counts requests, for their ids.
    pub(crate) requests: AtomicU64,
    /// Counts writes: the sync token of the command dialect.
    writes: AtomicU64,
}

impl Gateway {
    /// A gateway to these caches.
    pub fn new(http: Http, access: Arc<LiveAccess>, routes: Routes) -> Arc<Gateway> {
        let names = Names { hosts: http.hosts.clone(), origins: http.origins.clone() };
        Arc::new(Gateway {
            http,
            names,
            access,
            metrics: Metrics::default(),
            routes: ArcSwap::from_pointee(routes),
            run: rand::random(),
            requests: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        })
    }

    /// Replaces the routes; requests under way end on the old ones.
    pub fn publish(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The routes in force.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// What the gateway has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The whole life of one request, in order. Read this function first.
    ///
    /// # Errors
    /// The first stage that says no decides the answer; no later stage runs.
    pub(crate) async fn serve(&self, request: &Request<'_>, source: Source, here: &Here) -> Result<Answer, Failure> {
        let now = here.seat.now();
        let epoch = self.access.epoch();
        let access = self.access.load();
        let shown = request.shown(&self.http)?;
        let caller = access.authenticate(&shown.evidence(request), now.wall_ms)?; // signature over method, path and body
        let cache = request.cache(caller.bound_cache())?; // token, path and Host must mean one cache
        // Network rules of this cache, and what the caller may do in it.
        let (inside, grant) = access.enter(&here.last, epoch, caller, source, &cache)?;
        let work = Work::read(request, &shown, &self.http)?; // strangers never reach this parser
        let route = self.routes.load().find(&cache).cloned().ok_or_else(|| Failure::NoSuchCache(cache.into_owned()))?;
        let visit = Visit { gateway: self, seat: &here.seat, now, inside, grant, route, wrote: Cell::new(false) };
        work.run(&visit).await // for each command: authorize, charge, run
    }

    /// The sync token after a request: it changes with each write.
    fn sync_token(&self, wrote: bool) -> u64 {
        if wrote { self.writes.fetch_add(1, Ordering::Relaxed) + 1 } else { self.writes.load(Ordering::Relaxed) }
    }
}

/// One caller inside one cache, for one request.
pub(crate) struct Visit<'g> {
    pub(crate) gateway: &'g Gateway,
    pub(crate) seat: &'g Seat,
    pub(crate) now: Now,
    pub(crate) inside: Admitted,
    pub(crate) grant: Arc<Grant>,
    pub(crate) route: Arc<Route>,
    wrote: Cell<bool>,
}

impl Visit<'_> {
    /// What `args` ask for, if it can be asked over HTTP at all.
    ///
    /// # Errors
    /// An unknown command, a wrong number of arguments, or one that needs a connection of its own.
    pub(crate) fn call<'a>(&self, args: Args<'a>) -> Result<Call<'a>, Failure> {
        let call = Call::new(args, self.now)?;
        match call.spec().http {
            OverHttp::Allowed => Ok(call),
            OverHttp::Refused(why) => {
                let name = call.spec().name.replace('|', " ");
                Err(CommandError::Said(format!("ERR Command is not available: '{name}'. Over HTTP it {why}")).into())
            }
        }
    }

    /// Whether the judge must be told the TTL that the call's key has already.
    pub(crate) fn must_observe(&self, call: &Call<'_>) -> bool {
        self.grant.uses_ttl() && call.inherits_from().is_some()
    }

    /// Every key, before anything runs.
    ///
    /// # Errors
    /// 403, and nothing ran.
    pub(crate) fn permit<'a>(&self, call: Call<'a>) -> Result<Permit<Call<'a>>, Failure> {
        match self.grant.permit(&self.inside, call, self.now.wall_ms) {
            Ok(permit) => Ok(permit),
            Err((call, denied)) => {
                self.gateway.metrics.denied(self.seat.worker());
                Err(refusal(&call, &denied))
            }
        }
    }

    /// The cache's budgets.
    ///
    /// # Errors
    /// 429, and nothing ran.
    pub(crate) fn charge<'a>(&self, permit: Permit<Call<'a>>) -> Result<Paid<Call<'a>>, Failure> {
        let paid = self.route.meters.charge(permit, self.now)?;
        self.note(paid.call());
        Ok(paid)
    }

    /// As [`Visit::charge`], for all calls of a transaction or none.
    ///
    /// # Errors
    /// 429, and nothing ran.
    pub(crate) fn charge_all<'a>(&self, permits: Vec<Permit<Call<'a>>>) -> Result<Vec<Paid<Call<'a>>>, Failure> {
        let paid = self.route.meters.charge_all(permits, self.now)?;
        paid.iter().for_each(|paid| self.note(paid.call()));
        Ok(paid)
    }

    /// The sync token for the answer.
    pub(crate) fn sync_token(&self) -> u64 {
        self.gateway.sync_token(self.wrote.get())
    }

    fn note(&self, call: &Call<'_>) {
        if !call.spec().is_read() {
            self.wrote.set(true);
        }
    }
}
