//! Condition keys: their names, and their values for one call.

use std::borrow::Cow;

use super::{CacheFacts, Principal};
use crate::access::{Asks, Need, Source};

/// When and from where a call is judged.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Where the call came from.
    pub source: &'a Source,
    /// Now, in ms since 1970: one value for the whole call.
    pub wall_ms: u64,
}

/// A condition key that policies may name.
#[derive(Debug, Clone, Copy)]
pub struct ConditionKey {
    /// The name as documented; a name that ends in `/` is followed by a tag's key. Matched ignoring case.
    pub name: &'static str,
    /// Whether it can have several values, so that a set operator is needed.
    pub many: bool,
    /// Whether its value is the same for every call of one principal on one cache.
    fixed: bool,
}

const fn key(name: &'static str, many: bool, fixed: bool) -> ConditionKey {
    ConditionKey { name, many, fixed }
}

/// Every condition key there is; another name is refused when a policy is written.
pub const CONDITION_KEYS: &[ConditionKey] = &[
    key("aws:CurrentTime", false, false),
    key("aws:EpochTime", false, false),
    key("aws:PrincipalAccount", false, true),
    key("aws:PrincipalArn", false, true),
    key("aws:PrincipalTag/", false, true),
    key("aws:PrincipalType", false, true),
    key("aws:RequestedRegion", false, true),
    key("aws:ResourceAccount", false, true),
    key("aws:ResourceTag/", false, true),
    key("aws:SecureTransport", false, false),
    key("aws:SourceIp", false, false),
    key("aws:SourceVpce", false, false),
    key("aws:TokenIssueTime", false, true),
    key("aws:userid", false, true),
    key("aws:username", false, true),
    key("cache:Command", false, false),
    key("cache:Engine", false, true),
    key("cache:Key", true, false),
    key("cache:Name", false, true),
    key("cache:TtlMs", false, false),
    key("cache:ValueBytes", false, false),
];

/// Finds a key by its name in lower case.
pub(super) fn find_key(lower: &str) -> Option<&'static ConditionKey> {
    CONDITION_KEYS.iter().find(|each| {
        let name = each.name.to_ascii_lowercase();
        if name.ends_with('/') { lower.len() > name.len() && lower.starts_with(&name) } else { lower == name }
    })
}

/// Whether a key's value is fixed for one principal on one cache.
pub(super) fn is_fixed(lower: &str) -> bool {
    find_key(lower).is_some_and(|key| key.fixed)
}

/// A key named in lower case, as its documentation writes it.
pub(super) fn documented(lower: &str) -> String {
    let Some(key) = find_key(lower) else { return lower.to_owned() };
    format!("{}{}", key.name, lower.get(key.name.len()..).unwrap_or_default())
}

/// The values of a key; none when it is absent.
pub(super) type Values<'a> = Vec<Cow<'a, [u8]>>;

/// Everything a condition can ask of one call.
pub(super) struct Context<'a> {
    pub(super) principal: &'a Principal,
    pub(super) cache: &'a CacheFacts,
    pub(super) call: Option<(&'a dyn Asks, Moment<'a>)>,
}

impl Context<'_> {
    /// The values of a key named in lower case.
    pub(super) fn values(&self, lower: &str) -> Values<'_> {
        if lower == "cache:key" {
            return self.keys();
        }
        self.value(lower).map(|text| Cow::Owned(text.into_bytes())).into_iter().collect()
    }

    /// The value of a key that has one value.
    pub(super) fn value(&self, lower: &str) -> Option<String> {
        let (principal, cache) = (self.principal, self.cache);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        if let Some(tag) = lower.strip_prefix("aws:principaltag/") {
            return principal.tags.get(tag).cloned();
        }
        if let Some(tag) = lower.strip_prefix("aws:resourcetag/") {
            return cache.tags.get(tag).cloned();
        }
        match lower {
            "aws:principalaccount" => text(&principal.account),
            "aws:principalarn" => text(&principal.arn),
            "aws:principaltype" => text(principal.kind),
            "aws:userid" => text(&principal.userid),
            "aws:username" => principal.name.clone(),
            "aws:tokenissuetime" => principal.token_issued_ms.map(|ms| (ms / 1000).to_string()),
            "aws:requestedregion" => text(&cache.region),
            "aws:resourceaccount" => text(&cache.account),
            "cache:engine" => text(&cache.engine),
            "cache:name" => text(&cache.name),
            _ => self.value_of_call(lower),
        }
    }

    fn value_of_call(&self, lower: &str) -> Option<String> {
        let (call, moment) = self.call?;
        match lower {
            "aws:currenttime" | "aws:epochtime" => Some((moment.wall_ms / 1000).to_string()),
            "aws:securetransport" => Some(moment.source.secure.to_string()),
            // AWS leaves SourceIp out when the call came through a VPC endpoint.
            "aws:sourceip" => moment.source.vpce.is_none().then(|| moment.source.ip.to_canonical().to_string()),
            "aws:sourcevpce" => moment.source.vpce.clone(),
            "cache:command" => Some(call.command().to_owned()),
            "cache:ttlms" => call.ttl_ms().map(|ms| ms.to_string()),
            "cache:valuebytes" => call.value_bytes().map(|bytes| bytes.to_string()),
            _ => None,
        }
    }

    fn keys(&self) -> Values<'_> {
        let mut keys = Vec::new();
        if let Some((call, _)) = self.call {
            call.needs(&mut |need| {
                if let Need::Key(key, _) | Need::Look(key) = need {
                    keys.push(Cow::Owned(key.to_vec()));
                }
            });
        }
        keys
    }
}
