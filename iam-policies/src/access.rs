//! The judge: who is calling, may they come in, may they do that.
//!
//! [`Access`] is an immutable snapshot; [`LiveAccess`] is where the newest one is found. A call walks
//! `authenticate -> admit -> authorize`, and each step wants the value only the step before it makes.

mod call;
mod chain;
mod entry;
mod explain;
mod grant;
mod login;
mod refusal;
mod users;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use lru::LruCache;
use parking_lot::Mutex;

use crate::jwt::IssuerKey;
use crate::network::Network;
use crate::policy::{CacheFacts, Compiled, Moment, Policy, Principal, may_connect};
use crate::sigv4::LastKey;
use chain::{Inside, Known, Proof};

pub use call::{Actions, Asks, Commands, Need};
pub use chain::{Admitted, Caller, Evidence, Permit, Source};
pub use entry::LastEntry;
pub use explain::Explained;
pub use grant::Grant;
pub use refusal::{AuthnError, Denied, NotAdmitted, Statement};
pub(crate) use users::{Origin, User};
pub use users::{USERS_MAX, UserError};

/// How many compiled grants a snapshot keeps.
const GRANTS_MAX: usize = 16_384;
/// The service that data requests are signed for.
pub const SERVICE: &str = "elasticache";

/// Maps that requests look into. Only a configuration adds to them, so a quick hash does.
pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;

/// An immutable snapshot of who may do what from where. What only a configuration changes is shared by the snapshots
/// between two of them.
#[derive(Debug)]
pub struct Access {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) principals: Arc<Map<Arc<str>, Identity>>,
    /// Access keys and registered public keys, by id.
    pub(crate) keys: Arc<Map<Arc<str>, Key>>,
    /// Static bearer tokens, by the SHA-256 of each.
    pub(crate) tokens: Arc<Map<[u8; 32], StaticToken>>,
    pub(crate) caches: Map<Arc<str>, CacheAccess>,
    pub(crate) network: Arc<Network>,
    /// The `jti` of revoked signed-policy tokens.
    pub(crate) revoked: Arc<std::collections::HashSet<String>>,
    /// Stands in for [`Key::signing`] of an access key that is not known.
    pub(crate) unknown_signing: Arc<LastKey>,
    pub(crate) grants: Grants,
}

/// A principal and what is attached to it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) facts: Principal,
    pub(crate) policies: Vec<Arc<Policy>>,
    /// The account itself, which starts with everything allowed.
    pub(crate) is_root: bool,
}

/// A key that signs.
pub(crate) struct Key {
    pub(crate) principal: Arc<str>,
    /// The secret, of access keys.
    pub(crate) secret: Option<Box<[u8]>>,
    pub(crate) signing: LastKey,
    pub(crate) issuer: IssuerKey,
    /// Who signs with it, once somebody has: the same for every request.
    pub(crate) caller: OnceLock<Caller>,
}

impl Key {
    pub(crate) fn new(principal: &Arc<str>, secret: Option<&[u8]>, issuer: IssuerKey) -> Self {
        let (principal, secret) = (principal.clone(), secret.map(Box::from));
        Self { principal, secret, signing: LastKey::default(), issuer, caller: OnceLock::new() }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// A static bearer token.
#[derive(Debug)]
pub(crate) struct StaticToken {
    pub(crate) principal: Arc<str>,
    pub(crate) cache: Option<Arc<str>>,
    pub(crate) read_only: bool,
}

/// Who is let in to a cache.
#[derive(Debug, Clone)]
pub(crate) struct CacheAccess {
    pub(crate) facts: CacheFacts,
    pub(crate) groups: Vec<Arc<str>>,
    /// Whether callers are let in without a login.
    pub(crate) anonymous: bool,
    /// Whether the configuration says so.
    pub(crate) anonymous_configured: bool,
    /// Who may log in, by name.
    pub(crate) users: Arc<Map<Arc<str>, User>>,
    /// A serverless cache; otherwise a replication group.
    pub(crate) serverless: bool,
    /// Who logs in by an IAM token needs a `cache:` Allow, too.
    pub(crate) data_policy_required: bool,
}

/// A caller's tag and a cache's name.
type GrantKey = (Arc<str>, Arc<str>);

/// Grants compiled lately, by caller and cache.
pub(crate) struct Grants(Mutex<LruCache<GrantKey, Arc<Grant>, RandomState>>);

impl Default for Grants {
    fn default() -> Self {
        let most = NonZeroUsize::MIN.saturating_add(GRANTS_MAX - 1);
        Self(Mutex::new(LruCache::with_hasher(most, RandomState::default())))
    }
}

impl std::fmt::Debug for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grants(..)")
    }
}

impl Access {
    /// Whether any of a listener's caches can be reached from an address: asked at accept, before a byte is read.
    pub fn admits_any(&self, caches: &[&str], ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        caches
            .iter()
            .filter_map(|name| self.caches.get(*name))
            .any(|cache| self.network.admits(&cache.groups, ip, port))
    }

    /// Whether anybody logs in to a cache by this name: a user, a principal, or the caller without one, which redis calls
    /// `default`.
    pub fn knows(&self, cache: &str, name: &str) -> bool {
        let here = |cache: &CacheAccess| (name == "default" && cache.anonymous) || cache.users.contains_key(name);
        self.caches.get(cache).is_some_and(here) || self.principals.contains_key(name)
    }

    /// Lets a caller into one cache: by its network, the credential's binding, and what still holds of the credential.
    ///
    /// # Errors
    /// [`NotAdmitted`], when the network, the credential's binding or the cache refuses.
    pub fn admit(&self, caller: Caller, source: Source, cache: &str) -> Result<Admitted, NotAdmitted> {
        let wall_ms = caller.0.proved_ms;
        let (name, found) = self.caches.get_key_value(cache).ok_or(NotAdmitted::UnknownCache)?;
        if !self.network.admits(&found.groups, source.ip, source.port) {
            return Err(NotAdmitted::Network);
        }
        if caller.bound_cache().is_some_and(|bound| bound != cache) {
            return Err(NotAdmitted::OtherCache);
        }
        match &caller.0.proof {
            Proof::Anonymous if !found.anonymous => return Err(NotAdmitted::Anonymous),
            Proof::User => match found.users.get(caller.name()) {
                Some(user) if user.acl.enabled => {}
                _ => return Err(NotAdmitted::Revoked),
            },
            proof if !self.still_holds(caller.name(), proof) => return Err(NotAdmitted::Revoked),
            Proof::Connect { principal, .. } => self.admit_login(caller.name(), principal, found, &source, wall_ms)?,
            _ => {}
        }
        Ok(Admitted(Arc::new(Inside { caller, source, cache: name.clone() })))
    }

    /// Whether a principal may be logged in as a user: the network it comes by, the user's caches, and its policies.
    fn admit_login(
        &self,
        user: &str,
        principal: &str,
        cache: &CacheAccess,
        source: &Source,
        wall_ms: u64,
    ) -> Result<(), NotAdmitted> {
        // Whoever reads a token on its way could use it for a quarter of an hour.
        if !source.secure && !source.ip.is_loopback() {
            return Err(NotAdmitted::InPlain);
        }
        let identity = self.principals.get(principal).ok_or(NotAdmitted::Revoked)?;
        let kind = if cache.serverless { "serverlesscache" } else { "replicationgroup" };
        let resources = [format!("{kind}:{}", cache.facts.name.to_ascii_lowercase()), format!("user:{user}")];
        let moment = Moment { source, wall_ms };
        let may =
            identity.is_root || may_connect(&identity.policies, &identity.facts, &cache.facts, &resources, moment);
        if may && cache.login_user(user).is_some() { Ok(()) } else { Err(NotAdmitted::NotItsUser) }
    }

    /// Whether what a caller showed is still good in this snapshot.
    fn still_holds(&self, name: &str, proof: &Proof) -> bool {
        match proof {
            Proof::Anonymous | Proof::User => true,
            Proof::Key(id) => self.keys.get(id).is_some_and(|key| &*key.principal == name),
            Proof::Connect { key, principal } => self.keys.get(key).is_some_and(|key| key.principal == *principal),
            Proof::Token(hash) => self.tokens.get(hash).is_some_and(|token| &*token.principal == name),
            Proof::PolicyToken { key, ids, .. } => {
                let revoked = ids.iter().any(|id| self.revoked.contains(id));
                !revoked && self.keys.get(key).is_some_and(|key| &*key.principal == name)
            }
        }
    }

    /// What a caller may do in the cache it is in, compiled once per snapshot.
    pub fn grant(&self, inside: &Admitted) -> Arc<Grant> {
        let key = (inside.0.caller.0.tag.clone(), inside.0.cache.clone());
        if let Some(grant) = self.grants.0.lock().get(&key) {
            return grant.clone();
        }
        let grant = Arc::new(self.compile(&inside.0.caller.0, &inside.0.cache));
        self.grants.0.lock().put(key, grant.clone());
        grant
    }

    fn compile(&self, known: &Known, cache: &str) -> Grant {
        let Some(cache) = self.caches.get(cache) else { return Grant::none() };
        if !self.still_holds(&known.name, &known.proof) {
            return Grant::none();
        }
        let grant = match &known.proof {
            Proof::Anonymous if cache.anonymous => {
                cache.changed_nobody().map_or_else(Grant::full, |user| Grant::of_user(&user.acl))
            }
            Proof::Anonymous => Grant::none(),
            Proof::User => cache.users.get(&known.name).map_or_else(Grant::none, |user| Grant::of_user(&user.acl)),
            Proof::Connect { principal, .. } => self.of_login(&known.name, principal, cache),
            Proof::Key(_) | Proof::Token(_) => self.of_principal(&known.name, cache, &[]),
            Proof::PolicyToken { policies, .. } => self.of_principal(&known.name, cache, policies),
        };
        grant.limited(known.read_only, known.expires_at_ms)
    }

    /// The rights of a user as whom a principal logged in.
    fn of_login(&self, user: &str, principal: &str, cache: &CacheAccess) -> Grant {
        let (Some(user), Some(identity)) = (cache.login_user(user), self.principals.get(principal)) else {
            return Grant::none();
        };
        if identity.is_root {
            return Grant::of_user(&user.acl);
        }
        let policies = Compiled::new(std::slice::from_ref(&identity.policies), &identity.facts, &cache.facts);
        Grant::of_bound(&user.acl, policies, cache.data_policy_required)
    }

    /// The rights of a principal, narrowed by each of a token's policies.
    fn of_principal(&self, name: &str, cache: &CacheAccess, narrowing: &[Arc<Policy>]) -> Grant {
        let Some(identity) = self.principals.get(name) else { return Grant::none() };
        let mut layers: Vec<Vec<Arc<Policy>>> = narrowing.iter().map(|policy| vec![policy.clone()]).collect();
        if !identity.is_root {
            layers.push(identity.policies.clone());
        }
        if layers.is_empty() {
            return Grant::full();
        }
        Grant::of_policies(Compiled::new(&layers, &identity.facts, &cache.facts))
    }

    /// Judges one call.
    ///
    /// # Errors
    /// The call back, and why not.
    pub fn authorize<C: Asks>(&self, inside: &Admitted, call: C, wall_ms: u64) -> Result<Permit<C>, (C, Denied)> {
        self.grant(inside).permit(inside, call, wall_ms)
    }

    /// Whether a caller may do everything on every cache: what metrics and console ask of strangers' addresses.
    pub fn is_administrator(&self, caller: &Caller) -> bool {
        let known = &caller.0;
        matches!(known.proof, Proof::Key(_) | Proof::Token(_))
            && known.bound_cache.is_none()
            && self.caches.keys().all(|cache| self.compile(known, cache).is_full())
    }

    /// The caches that have anonymous callers and on which somebody else is limited, with who that is: a configuration to
    /// refuse, since being nobody would be worth more than being somebody.
    pub fn anonymous_conflicts(&self) -> Vec<(String, String)> {
        let mut conflicts = Vec::new();
        for (name, cache) in self.caches.iter().filter(|(_, cache)| cache.anonymous) {
            for (who, identity) in &*self.principals {
                if !self.of_principal(who, cache, &[]).is_full() {
                    conflicts.push((name.to_string(), format!("principal {}", identity.facts.arn)));
                }
            }
            let is_limited = |user: &User| user.acl.enabled && !user.acl.is_full();
            let limited = cache.users.iter().filter(|(_, user)| is_limited(user));
            conflicts.extend(limited.map(|(who, _)| (name.to_string(), format!("user {who}"))));
            let read_only =
                |token: &StaticToken| token.read_only && token.cache.as_ref().is_none_or(|cache| cache == name);
            if self.tokens.values().any(read_only) {
                conflicts.push((name.to_string(), "a read-only token".to_owned()));
            }
        }
        conflicts.sort_unstable();
        conflicts
    }
}

/// The newest [`Access`], changed as a whole.
#[derive(Debug)]
pub struct LiveAccess {
    newest: ArcSwap<Access>,
    epoch: AtomicU64,
    /// Held from reading the snapshot that is changed to publishing the next.
    changing: Mutex<()>,
}

impl LiveAccess {
    /// Starts with a snapshot.
    pub fn new(access: Access) -> Self {
        Self { newest: ArcSwap::from_pointee(access), epoch: AtomicU64::new(1), changing: Mutex::new(()) }
    }

    /// The newest snapshot.
    pub fn load(&self) -> Arc<Access> {
        self.newest.load_full()
    }

    /// Puts a new snapshot in place. Whoever compares epochs notices at their next command.
    fn replace(&self, access: Access) {
        self.newest.store(Arc::new(access));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever the snapshot does. Read it before [`LiveAccess::load`].
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}
