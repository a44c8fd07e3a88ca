//! Where a cache lives: its name to the target that runs its calls.
//!
//! A snapshot, replaced as a whole when the configuration changes. Whoever holds a route keeps its target alive, so a
//! request under way ends where it began.

use std::collections::HashMap;
use std::sync::Arc;

use larder_node::{Engine, Meters};

use crate::config::Remote;
use crate::upstream::{Limits, Upstream};

/// Every cache of the gateway, by name.
#[derive(Debug, Default)]
pub struct Routes {
    by_name: HashMap<String, Arc<Route>, foldhash::fast::RandomState>,
}

/// One cache.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub target: Target,
    /// Its budgets.
    pub meters: Arc<Meters>,
}

/// Where calls run.
#[derive(Clone)]
pub enum Target {
    /// In this process: a plain call.
    Embedded(Arc<Engine>),
    /// On a RESP server elsewhere.
    Remote(RemoteTarget),
}

/// A RESP server elsewhere.
#[derive(Clone, Debug)]
pub struct RemoteTarget {
    pub(crate) upstream: Upstream,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Embedded(engine) => f.debug_tuple("Embedded").field(&engine.name()).finish(),
            Target::Remote(remote) => f.debug_tuple("Remote").field(remote).finish(),
        }
    }
}

impl Target {
    /// A cache in this process.
    pub fn embedded(engine: Arc<Engine>) -> Target {
        Target::Embedded(engine)
    }

    /// A cache on a RESP server elsewhere; nothing is connected yet.
    pub fn remote(remote: Remote) -> Target {
        Target::Remote(RemoteTarget { upstream: Upstream::new(remote, Limits::default()) })
    }
}

impl Routes {
    /// The routes of these caches; of two with one name the later wins.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Routes {
        Routes { by_name: routes.into_iter().map(|route| (route.name.clone(), Arc::new(route))).collect() }
    }

    /// The route of a cache.
    pub fn find(&self, cache: &str) -> Option<&Arc<Route>> {
        self.by_name.get(cache)
    }

    /// The names of all caches.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
