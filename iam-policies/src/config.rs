//! The access part of `larder.toml`: raw, then checked, with every mistake told at once.
//!
//! This crate reads no file and no environment: secrets and policy documents arrive looked up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::access::{Access, CacheAccess, Commands, Identity, Key, Map, Origin, StaticToken, User};
use crate::acl::AccessString;
use crate::jwt::IssuerKey;
use crate::network::{Cidrs, Ingress, Network, Peer, parse_cidr, parse_ports};
use crate::policy::{CacheFacts, Policy, Principal};

/// The principal that is the account itself: it needs no policy and may do everything.
pub const ROOT: &str = "root";

/// Mistakes: the path of the setting, and what is wrong with it.
pub type Mistakes = Vec<(String, String)>;

/// Who may do what from where, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAccess {
    /// The account's twelve digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// `[[policy]]`
    pub policy: Vec<RawPolicy>,
    /// `[[principal]]`
    pub principal: Vec<RawPrincipal>,
    /// `[[token]]`
    pub token: Vec<RawToken>,
    /// `[[user]]`
    pub user: Vec<RawUser>,
    /// `[[security_group]]`
    pub security_group: Vec<RawSecurityGroup>,
    /// `[[prefix_list]]`
    pub prefix_list: Vec<RawPrefixList>,
    /// `[[interface]]`
    pub interface: Vec<RawInterface>,
    /// The `jti` of signed-policy tokens that are no longer good.
    pub revoked_tokens: Vec<String>,
}

/// An IAM policy document.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPolicy {
    /// Its name.
    pub name: String,
    /// The document, JSON.
    pub document: Option<String>,
    /// The file that holds it: read by whoever composes the configuration, and put into `document`.
    pub file: Option<String>,
}

/// An IAM user; the name `root` is the account itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPrincipal {
    /// Its name.
    pub name: String,
    /// The names of its policies.
    pub policies: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The keys it signs with.
    pub access_keys: Vec<RawAccessKey>,
    /// The public keys of tokens it issues.
    pub public_keys: Vec<RawPublicKey>,
}

/// An access key.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAccessKey {
    /// Its id.
    pub id: String,
    /// Its secret, looked up.
    pub secret: String,
}

impl std::fmt::Debug for RawAccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawAccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A registered public key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPublicKey {
    /// Its id, `kid`.
    pub id: String,
    /// Ed25519, in PEM.
    pub ed25519_pem: String,
}

/// A static bearer token.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawToken {
    /// Its name, for logs.
    pub name: String,
    /// The SHA-256 of the token, 64 hex digits.
    pub sha256: Option<String>,
    /// The token itself, looked up; hashed here.
    pub secret: Option<String>,
    /// The principal it stands for.
    pub principal: String,
    /// The cache it is bound to; without one, of the account itself only, it is for all.
    pub cache: Option<String>,
    /// Whether it may only read.
    pub read_only: bool,
}

impl std::fmt::Debug for RawToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawToken").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A user of RESP logins.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawUser {
    /// The name given to AUTH and HELLO.
    pub name: String,
    /// Its passwords, looked up.
    pub passwords: Vec<String>,
    /// Whether it logs in by ElastiCache IAM tokens, instead of passwords.
    pub iam: bool,
    /// What it may do.
    pub access_string: String,
    /// The caches it may log in to.
    pub caches: Vec<String>,
}

impl std::fmt::Debug for RawUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A security group.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSecurityGroup {
    /// Its id.
    pub id: String,
    /// Who is let in.
    pub ingress: Vec<RawIngress>,
}

/// An ingress rule: exactly one of `cidr`, `group` and `prefix_list`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawIngress {
    /// An address range.
    pub cidr: Option<String>,
    /// The group of the caller's interface.
    pub group: Option<String>,
    /// A prefix list.
    pub prefix_list: Option<String>,
    /// `6379`, `6379-6380`; every port without it.
    pub ports: Option<String>,
}

/// A prefix list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPrefixList {
    /// Its id.
    pub id: String,
    /// Its ranges.
    pub cidrs: Vec<String>,
}

/// A caller's emulated interface.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawInterface {
    /// The source address.
    pub address: String,
    /// Its security groups.
    pub groups: Vec<String>,
}

/// The access part of a cache.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawCacheAccess {
    /// The cache's name.
    pub name: String,
    /// The engine's name, `cache:Engine`.
    pub engine: String,
    /// The security groups that admit callers; none means loopback only.
    pub security_groups: Vec<String>,
    /// Whether RESP connections need no login.
    pub anonymous: bool,
    /// `optional` or `required`.
    pub data_policy: Option<String>,
    /// A serverless cache, as its IAM tokens have to say.
    pub serverless: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl RawAccess {
    /// Checks everything and makes a snapshot; `None` when there are mistakes, all of which are added to `mistakes`.
    pub fn check(
        &self,
        caches: &[RawCacheAccess],
        vocabulary: &dyn Commands,
        mistakes: &mut Mistakes,
    ) -> Option<Access> {
        let before = mistakes.len();
        let mut checker = Checker { raw: self, mistakes };
        let access = checker.access(caches, vocabulary);
        if mistakes.len() == before {
            for (cache, who) in access.anonymous_conflicts() {
                mistakes.push((
                    "cache".to_owned(),
                    format!(
                        "the cache {cache:?} takes anonymous callers, who may do everything there, while {who} is limited \
                         on it: set anonymous = false, or give everybody full rights"
                    ),
                ));
            }
        }
        (mistakes.len() == before).then_some(access)
    }
}

struct Checker<'a> {
    raw: &'a RawAccess,
    mistakes: &'a mut Mistakes,
}

impl Checker<'_> {
    fn wrong(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.mistakes.push((path.into(), what.into()));
    }

    fn access(&mut self, raw_caches: &[RawCacheAccess], vocabulary: &dyn Commands) -> Access {
        if self.raw.account.len() != 12 || !self.raw.account.bytes().all(|byte| byte.is_ascii_digit()) {
            self.wrong("account", "must be twelve digits");
        }
        let network = self.network();
        let mut caches = self.caches(raw_caches, &network);
        self.users(&mut caches, vocabulary);
        let principals = self.principals();
        Access {
            account: self.raw.account.clone(),
            region: self.raw.region.clone(),
            keys: self.keys(&principals).into(),
            tokens: self.tokens(&principals, &caches).into(),
            principals: principals.into(),
            caches,
            network: network.into(),
            revoked: Arc::new(self.raw.revoked_tokens.iter().cloned().collect()),
            unknown_signing: Default::default(),
            grants: Default::default(),
        }
    }

    /// Names that stand twice are wrong.
    fn unique<'n>(&mut self, section: &str, field: &str, names: impl Iterator<Item = &'n str>) {
        let mut seen = HashSet::new();
        let twice: Vec<_> = names.enumerate().filter(|(_, name)| !seen.insert(*name)).collect();
        for (at, name) in twice {
            self.wrong(format!("{section}[{at}].{field}"), format!("{name:?} stands twice"));
        }
    }

    fn network(&mut self) -> Network {
        let raw = self.raw;
        let mut network = Network::default();
        self.unique("security_group", "id", raw.security_group.iter().map(|group| &*group.id));
        self.unique("prefix_list", "id", raw.prefix_list.iter().map(|list| &*list.id));
        for (at, list) in raw.prefix_list.iter().enumerate() {
            match Cidrs::parse(list.cidrs.iter().map(String::as_str)) {
                Ok(cidrs) => network.add_prefix_list(&list.id, cidrs),
                Err(why) => self.wrong(format!("prefix_list[{at}].cidrs"), why),
            }
        }
        let groups: HashSet<&str> = raw.security_group.iter().map(|group| &*group.id).collect();
        for (at, group) in raw.security_group.iter().enumerate() {
            let mut rules = Vec::new();
            for (rule_at, rule) in group.ingress.iter().enumerate() {
                let path = format!("security_group[{at}].ingress[{rule_at}]");
                rules.extend(self.ingress(&path, rule, &groups, &network));
            }
            network.add_group(&group.id, rules);
        }
        for (at, interface) in raw.interface.iter().enumerate() {
            for group in interface.groups.iter().filter(|group| !groups.contains(&***group)) {
                self.wrong(format!("interface[{at}].groups"), format!("no security group is named {group:?}"));
            }
            match interface.address.parse::<IpAddr>() {
                Ok(ip) => network.add_interface(ip, interface.groups.iter().map(|id| id.as_str().into()).collect()),
                Err(_) => {
                    self.wrong(format!("interface[{at}].address"), format!("{:?} is no address", interface.address))
                }
            }
        }
        network
    }

    fn ingress(&mut self, path: &str, rule: &RawIngress, groups: &HashSet<&str>, network: &Network) -> Option<Ingress> {
        let ports = parse_ports(rule.ports.as_deref().unwrap_or("*"));
        let ports = ports.map_err(|why| self.wrong(format!("{path}.ports"), why)).ok();
        let peer = match (&rule.cidr, &rule.group, &rule.prefix_list) {
            (Some(cidr), None, None) => {
                parse_cidr(cidr).map(Peer::Cidr).map_err(|why| self.wrong(format!("{path}.cidr"), why)).ok()
            }
            (None, Some(group), None) if groups.contains(&**group) => Some(Peer::Group(group.as_str().into())),
            (None, Some(group), None) => {
                self.wrong(format!("{path}.group"), format!("no security group is named {group:?}"));
                None
            }
            (None, None, Some(list)) if network.has_prefix_list(list) => Some(Peer::PrefixList(list.as_str().into())),
            (None, None, Some(list)) => {
                self.wrong(format!("{path}.prefix_list"), format!("no prefix list is named {list:?}"));
                None
            }
            _ => {
                self.wrong(path, "needs exactly one of cidr, group and prefix_list");
                None
            }
        };
        Some(Ingress { peer: peer?, ports: ports? })
    }

    fn caches(&mut self, raw: &[RawCacheAccess], network: &Network) -> Map<Arc<str>, CacheAccess> {
        self.unique("cache", "name", raw.iter().map(|cache| &*cache.name));
        let mut caches = Map::default();
        for (at, cache) in raw.iter().enumerate() {
            for group in cache.security_groups.iter().filter(|group| !network.has_group(group)) {
                self.wrong(format!("cache[{at}].security_groups"), format!("no security group is named {group:?}"));
            }
            if cache.name.is_empty() || !cache.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                self.wrong(format!("cache[{at}].name"), "must be letters, digits and hyphens");
            }
            if !matches!(cache.data_policy.as_deref(), None | Some("optional" | "required")) {
                self.wrong(format!("cache[{at}].data_policy"), "must be optional or required");
            }
            if cache.data_policy.as_deref() == Some("required") && cache.anonymous {
                self.wrong(
                    format!("cache[{at}].anonymous"),
                    "a cache with data_policy = \"required\" has no anonymous callers",
                );
            }
            let facts = CacheFacts {
                name: cache.name.clone(),
                engine: cache.engine.clone(),
                region: self.raw.region.clone(),
                account: self.raw.account.clone(),
                tags: lower(&cache.tags),
            };
            let groups = cache.security_groups.iter().map(|id| id.as_str().into()).collect();
            let access = CacheAccess {
                facts,
                groups,
                anonymous: cache.anonymous,
                anonymous_configured: cache.anonymous,
                users: Arc::default(),
                serverless: cache.serverless,
                data_policy_required: cache.data_policy.as_deref() == Some("required"),
            };
            caches.insert(cache.name.as_str().into(), access);
        }
        caches
    }

    fn policies(&mut self) -> HashMap<String, Arc<Policy>> {
        let raw = self.raw;
        self.unique("policy", "name", raw.policy.iter().map(|policy| &*policy.name));
        let mut policies = HashMap::new();
        for (at, policy) in raw.policy.iter().enumerate() {
            let Some(document) = &policy.document else {
                self.wrong(format!("policy[{at}]"), "needs a document, or a file that holds it");
                continue;
            };
            match Policy::parse(&policy.name, document) {
                Ok(parsed) => drop(policies.insert(policy.name.clone(), Arc::new(parsed))),
                Err(found) => {
                    found.into_iter().for_each(|why| self.wrong(format!("policy[{at}].document"), why));
                    // A stand-in that allows nothing, so that no second mistake is told of the same policy.
                    let nothing = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
                    policies
                        .extend(Policy::parse(&policy.name, nothing).ok().map(|p| (policy.name.clone(), Arc::new(p))));
                }
            }
        }
        policies
    }

    fn principals(&mut self) -> Map<Arc<str>, Identity> {
        let raw = self.raw;
        let policies = self.policies();
        self.unique("principal", "name", raw.principal.iter().map(|principal| &*principal.name));
        let mut principals = Map::default();
        for (at, principal) in raw.principal.iter().enumerate() {
            let is_root = principal.name == ROOT;
            let mut attached = Vec::new();
            for name in &principal.policies {
                match policies.get(name) {
                    Some(policy) => attached.push(policy.clone()),
                    None => self.wrong(format!("principal[{at}].policies"), format!("no policy is named {name:?}")),
                }
            }
            if is_root && !attached.is_empty() {
                self.wrong(
                    format!("principal[{at}].policies"),
                    "root is the account itself and may do everything: no policy limits it",
                );
            }
            let account = &self.raw.account;
            let facts = Principal {
                arn: if is_root {
                    format!("arn:aws:iam::{account}:root")
                } else {
                    format!("arn:aws:iam::{account}:user/{}", principal.name)
                },
                name: (!is_root).then(|| principal.name.clone()),
                kind: if is_root { "Account" } else { "User" },
                userid: if is_root { account.clone() } else { principal.name.clone() },
                account: account.clone(),
                tags: lower(&principal.tags),
                token_issued_ms: None,
            };
            principals.insert(principal.name.as_str().into(), Identity { facts, policies: attached, is_root });
        }
        principals
    }

    fn keys(&mut self, principals: &Map<Arc<str>, Identity>) -> Map<Arc<str>, Key> {
        let raw = self.raw;
        let ids = raw.principal.iter().flat_map(|principal| {
            let public = principal.public_keys.iter().map(|key| &*key.id);
            principal.access_keys.iter().map(|key| &*key.id).chain(public)
        });
        self.unique("principal.access_keys", "id", ids);
        let mut keys = Map::default();
        for (at, principal) in raw.principal.iter().enumerate() {
            let Some((name, _)) = principals.get_key_value(&*principal.name) else { continue };
            for (key_at, key) in principal.access_keys.iter().enumerate() {
                if key.secret.is_empty() || key.id.is_empty() {
                    self.wrong(format!("principal[{at}].access_keys[{key_at}]"), "needs an id and a secret");
                }
                let secret = key.secret.as_bytes();
                keys.insert(key.id.as_str().into(), Key::new(name, Some(secret), IssuerKey::of_secret(secret)));
            }
            for (key_at, key) in principal.public_keys.iter().enumerate() {
                match IssuerKey::of_public_pem(key.ed25519_pem.as_bytes()) {
                    Ok(issuer) => {
                        keys.insert(key.id.as_str().into(), Key::new(name, None, issuer));
                    }
                    Err(why) => self.wrong(format!("principal[{at}].public_keys[{key_at}].ed25519_pem"), why),
                }
            }
        }
        keys
    }

    fn tokens(
        &mut self,
        principals: &Map<Arc<str>, Identity>,
        caches: &Map<Arc<str>, CacheAccess>,
    ) -> Map<[u8; 32], StaticToken> {
        let mut tokens = Map::default();
        for (at, token) in self.raw.token.iter().enumerate() {
            let path = |field: &str| format!("token[{at}].{field}");
            let hash = match (&token.sha256, &token.secret) {
                (Some(hex), None) => self.sha256(&path("sha256"), hex),
                (None, Some(secret)) if !secret.is_empty() => Some(Sha256::digest(secret.as_bytes()).into()),
                _ => {
                    self.wrong(format!("token[{at}]"), "needs exactly one of sha256 and secret");
                    None
                }
            };
            let principal = principals.get_key_value(&*token.principal);
            if principal.is_none() {
                self.wrong(path("principal"), format!("no principal is named {:?}", token.principal));
            }
            let cache = token.cache.as_ref().map(|name| (name, caches.get_key_value(&**name)));
            match &cache {
                Some((name, None)) => self.wrong(path("cache"), format!("no cache is named {name:?}")),
                None if principal.is_some_and(|(_, identity)| !identity.is_root) => {
                    self.wrong(path("cache"), "a token is bound to a cache: name it");
                }
                _ => {}
            }
            let cache = cache.and_then(|(_, found)| found).map(|(name, _)| name.clone());
            if let (Some(hash), Some((principal, _))) = (hash, principal) {
                let entry = StaticToken { principal: principal.clone(), cache, read_only: token.read_only };
                if tokens.insert(hash, entry).is_some() {
                    self.wrong(format!("token[{at}]"), "the same token stands twice");
                }
            }
        }
        tokens
    }

    fn sha256(&mut self, path: &str, hex: &str) -> Option<[u8; 32]> {
        let digits = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2).unwrap_or_default(), 16).unwrap_or(0);
        if !digits {
            self.wrong(path, "must be 64 hex digits");
        }
        digits.then(|| std::array::from_fn(byte))
    }

    /// Gives each cache its users.
    fn users(&mut self, caches: &mut Map<Arc<str>, CacheAccess>, vocabulary: &dyn Commands) {
        let raw = self.raw;
        self.unique("user", "name", raw.user.iter().map(|user| &*user.name));
        for (at, user) in raw.user.iter().enumerate() {
            let mut acl = AccessString::parse(&user.access_string, vocabulary).unwrap_or_else(|found| {
                found.into_iter().for_each(|why| self.wrong(format!("user[{at}].access_string"), why));
                AccessString::default()
            });
            user.passwords.iter().for_each(|password| acl.add_password(password.as_bytes()));
            let acl = Arc::new(acl);
            let is_shared = user.caches.iter().any(|name| *name != user.caches[0]);
            let origin = if is_shared { Origin::Shared } else { Origin::Configured };
            for name in &user.caches {
                match caches.get_mut(&**name) {
                    Some(cache) => {
                        let known = User { acl: acl.clone(), iam: user.iam, origin };
                        Arc::make_mut(&mut cache.users).insert(user.name.as_str().into(), known);
                    }
                    None => self.wrong(format!("user[{at}].caches"), format!("no cache is named {name:?}")),
                }
            }
            if user.iam && !user.passwords.is_empty() {
                self.wrong(format!("user[{at}].passwords"), "a user that logs in by IAM tokens has none");
            }
        }
    }
}

/// Tags with their keys in lower case, as conditions ask for them.
fn lower(tags: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.clone())).collect()
}
