//! The users of a cache, and how `ACL SETUSER` and `ACL DELUSER` change them.
//!
//! A change is a new snapshot, made and published under one lock, so that none is lost to another or to a reload. A
//! reload brings the users of the configuration back as it names them; users made since stay beside them.

use std::fmt;
use std::sync::Arc;

use super::{Access, Asks, CacheAccess, Commands, Denied, Grant, LiveAccess, Map};
use crate::acl::{AccessString, RuleFault, Unmatched, merged};

/// How many users a cache may have once `ACL SETUSER` adds to them.
pub const USERS_MAX: usize = 10_000;
/// Who redis calls whoever has not logged in.
const DEFAULT: &str = "default";

/// A user of one cache.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) acl: Arc<AccessString>,
    /// It logs in by IAM tokens, and not by passwords.
    pub(crate) iam: bool,
    pub(crate) origin: Origin,
}

/// Where a user comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The configuration, for this cache alone.
    Configured,
    /// The configuration, for several caches: no cache's ACL commands show or change it.
    Shared,
    /// `ACL SETUSER`.
    Made,
}

/// Why a user was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserError {
    /// No cache has that name.
    NoCache,
    /// A selector without an end begins here.
    Unmatched(Vec<u8>),
    /// A rule cannot be applied.
    Rule(Vec<u8>, RuleFault),
    /// The configuration lets the user log in to other caches too.
    Shared,
    /// `default` would let callers in without a login, and the configuration does not.
    Default,
    /// There are as many users as there may be.
    TooMany,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCache => f.write_str("the cache is not configured any more"),
            Self::Unmatched(word) => {
                let word = String::from_utf8_lossy(word);
                write!(f, "Unmatched parenthesis in acl selector starting at '{word}'.")
            }
            Self::Rule(rule, fault) => {
                write!(f, "Error in ACL SETUSER modifier '{}': {fault}", String::from_utf8_lossy(rule))
            }
            Self::Shared => f.write_str("the configuration gives this user other caches too: change it there"),
            Self::Default => {
                f.write_str("`default` may be on without a password only where the configuration says anonymous = true")
            }
            Self::TooMany => write!(f, "a cache may have {USERS_MAX} users at most"),
        }
    }
}

impl std::error::Error for UserError {}

impl CacheAccess {
    /// The user `default` when there is none of that name: whoever has not logged in.
    fn nobody(&self, vocabulary: &dyn Commands) -> AccessString {
        if self.anonymous { AccessString::everything(vocabulary) } else { AccessString::reset() }
    }

    /// The user of this name who may log in by an IAM token.
    pub(super) fn login_user(&self, name: &str) -> Option<&User> {
        self.users.get(name).filter(|user| user.iam && user.acl.enabled)
    }

    fn visible(&self, name: &str, vocabulary: &dyn Commands) -> Option<Arc<AccessString>> {
        match self.users.get(name) {
            Some(user) if user.origin == Origin::Shared => None,
            Some(user) => Some(user.acl.clone()),
            None => (name == DEFAULT).then(|| Arc::new(self.nobody(vocabulary))),
        }
    }

    /// The user that callers without a login are, once somebody has changed what they may do.
    pub(super) fn changed_nobody(&self) -> Option<&User> {
        self.users.get(DEFAULT).filter(|user| user.acl.enabled && user.acl.nopass)
    }

    /// Puts a user in, and callers without a login out or back in where the user is `default`. A configuration in which
    /// somebody has fewer rights than nobody is a mistake; redis lets whoever administrates a running server do it.
    fn put(&mut self, name: &str, acl: AccessString) -> Result<(), UserError> {
        if name == DEFAULT {
            let is_open = acl.enabled && acl.nopass;
            if is_open && !self.anonymous_configured {
                return Err(UserError::Default);
            }
            self.anonymous = is_open;
        }
        let iam = self.users.get(name).is_some_and(|user| user.iam);
        let user = User { acl: Arc::new(acl), iam, origin: Origin::Made };
        Arc::make_mut(&mut self.users).insert(name.into(), user);
        Ok(())
    }

    /// Takes over the users made in the snapshot before. Answers who could not be.
    fn inherit(&mut self, before: &Self) -> Vec<Arc<str>> {
        let made = before.users.iter().filter(|(_, user)| user.origin == Origin::Made);
        let made: Vec<_> = made.filter(|(name, _)| !self.users.contains_key(*name)).collect();
        let refused = |(name, user): (&Arc<str>, &User)| {
            self.put(name, AccessString::clone(&user.acl)).is_err().then(|| name.clone())
        };
        made.into_iter().filter_map(refused).collect()
    }
}

impl Access {
    /// The users that a cache's ACL commands show, by name: all but those the configuration gives other caches too.
    pub fn users_of(&self, cache: &str, vocabulary: &dyn Commands) -> Vec<(Arc<str>, Arc<AccessString>)> {
        let Some(found) = self.caches.get(cache) else { return Vec::new() };
        let mut names: Vec<Arc<str>> = found.users.keys().cloned().collect();
        if !found.users.contains_key(DEFAULT) {
            names.push(DEFAULT.into());
        }
        names.sort_unstable();
        names.into_iter().filter_map(|name| Some((name.clone(), found.visible(&name, vocabulary)?))).collect()
    }

    /// One of them.
    pub fn user_of(&self, cache: &str, name: &str, vocabulary: &dyn Commands) -> Option<Arc<AccessString>> {
        self.caches.get(cache)?.visible(name, vocabulary)
    }

    /// This snapshot with other users and no grant compiled yet.
    fn with_caches(&self, caches: Map<Arc<str>, CacheAccess>) -> Self {
        Self {
            account: self.account.clone(),
            region: self.region.clone(),
            principals: self.principals.clone(),
            keys: self.keys.clone(),
            tokens: self.tokens.clone(),
            network: self.network.clone(),
            revoked: self.revoked.clone(),
            unknown_signing: self.unknown_signing.clone(),
            grants: Default::default(),
            caches,
        }
    }
}

impl AccessString {
    /// Whether a call fits, and the argument that does not.
    ///
    /// # Errors
    /// Why not, with the key or channel.
    pub fn asked(&self, call: &dyn Asks) -> Result<(), (Denied, Option<Vec<u8>>)> {
        self.judge(call).map_err(|short| (short.into(), short.object(call)))
    }
}

impl LiveAccess {
    /// Makes a user of a cache, or changes it by rules: all of them, or none.
    ///
    /// # Errors
    /// [`UserError`]; nothing has changed.
    pub fn set_user<'r>(
        &self,
        cache: &str,
        name: &str,
        rules: impl Iterator<Item = &'r [u8]>,
        vocabulary: &dyn Commands,
    ) -> Result<(), UserError> {
        let rules = merged(rules).map_err(|Unmatched(word)| UserError::Unmatched(word))?;
        self.change(cache, |found| {
            if found.users.get(name).is_some_and(|user| user.origin == Origin::Shared) {
                return Err(UserError::Shared);
            }
            let known = found.visible(name, vocabulary);
            if known.is_none() && found.users.len() >= USERS_MAX {
                return Err(UserError::TooMany);
            }
            let mut acl = known.map(|acl| AccessString::clone(&acl)).unwrap_or_default();
            for rule in rules {
                acl.apply(&rule, vocabulary).map_err(|fault| UserError::Rule(rule, fault))?;
            }
            found.put(name, acl)
        })
    }

    /// Takes users away from a cache; names of none are passed over. Answers how many there were.
    ///
    /// # Errors
    /// [`UserError`]; nothing has changed.
    pub fn delete_users<'n>(&self, cache: &str, names: impl Iterator<Item = &'n str>) -> Result<usize, UserError> {
        self.change(cache, |found| {
            let mut deleted = 0;
            for name in names {
                match found.users.get(name) {
                    Some(user) if user.origin == Origin::Shared => return Err(UserError::Shared),
                    Some(_) => deleted += usize::from(Arc::make_mut(&mut found.users).remove(name).is_some()),
                    None => {}
                }
            }
            Ok(deleted)
        })
    }

    /// Publishes the newest snapshot with one cache's users changed.
    fn change<T>(
        &self,
        cache: &str,
        change: impl FnOnce(&mut CacheAccess) -> Result<T, UserError>,
    ) -> Result<T, UserError> {
        let _one_at_a_time = self.changing.lock();
        let before = self.load();
        let mut caches = before.caches.clone();
        let done = change(caches.get_mut(cache).ok_or(UserError::NoCache)?)?;
        self.replace(before.with_caches(caches));
        Ok(done)
    }

    /// Puts the snapshot of a new configuration in place; users made by `ACL SETUSER` that it does not name stay. Answers
    /// those who could not, the cache and the user: a `default` without a password, where the configuration now lets
    /// nobody in without a login.
    pub fn publish(&self, mut access: Access) -> Vec<(String, String)> {
        let _one_at_a_time = self.changing.lock();
        let before = self.load();
        let mut lost = Vec::new();
        for (name, cache) in &mut access.caches {
            let old = before.caches.get(name);
            let gone = old.map(|old| cache.inherit(old)).unwrap_or_default();
            lost.extend(gone.into_iter().map(|user| (name.to_string(), user.to_string())));
        }
        self.replace(access);
        lost
    }
}

impl Grant {
    /// What a denied call was denied for: a key or a channel, or nothing in particular.
    pub fn culprit(&self, call: &dyn Asks) -> Option<Vec<u8>> {
        self.access_string()?.judge(call).err()?.object(call)
    }
}
