//! Rules for what a server says of itself and of its clients.

use larder_node::resp::Reply;

use super::{kind, pairs, same, same_list, shown, text};

pub(super) fn hello(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let without_id = |reply: &Reply| {
        let mut pairs = pairs(reply);
        for (key, value) in &mut pairs {
            if *key == Reply::Bulk(b"id".to_vec()) && matches!(value, Reply::Int(1..)) {
                *value = Reply::Null;
            }
        }
        pairs
    };
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    same("fields", without_id(oracle), without_id(ours))
}

/// Fields of CLIENT INFO that do not depend on the machine or the moment.
const STEADY: [&str; 11] = ["name", "flags", "db", "sub", "psub", "ssub", "multi", "events", "cmd", "redir", "resp"];

pub(super) fn client_info(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let read = |reply: &Reply| -> Result<Vec<(String, String)>, String> {
        let (_, line) = text(reply).ok_or("no text")?;
        let line = line.strip_suffix('\n').ok_or("no line end")?;
        line.split(' ')
            .map(|field| Ok(field.split_once('=').map(|(a, b)| (a.into(), b.into())).ok_or("no field")?))
            .collect()
    };
    same("kind", text(oracle).map(|(kind, _)| kind), text(ours).map(|(kind, _)| kind))?;
    let shown = |fields: Vec<(String, String)>| {
        let value = |name: &str, value: String| match STEADY.contains(&name) {
            true => value,
            false => kind(&value).to_owned(),
        };
        fields.into_iter().map(|(name, text)| (value(&name, text), name)).collect::<Vec<_>>()
    };
    same("fields", shown(read(oracle)?), shown(read(ours)?))
}

pub(super) fn client_list(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let (oracle, ours) = (text(oracle).ok_or("redis: no text")?, text(ours).ok_or("node: no text")?);
    same("kind", oracle.0, ours.0)?;
    let lines = |text: &str| text.split_inclusive('\n').map(|line| Reply::Bulk(line.into())).collect::<Vec<_>>();
    let (oracle, ours) = (lines(&oracle.1), lines(&ours.1));
    same("lines", oracle.len(), ours.len())?;
    oracle.iter().zip(&ours).try_for_each(|(oracle, ours)| client_info(oracle, ours))
}

/// Lists of entries, where numbers and addresses differ.
pub(super) fn slow_entries(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    fn steady(reply: &Reply) -> Reply {
        match reply {
            Reply::Int(_) => Reply::Int(0),
            Reply::Bulk(text) if text.starts_with(b"127.0.0.1:") => Reply::Bulk(b"address".to_vec()),
            Reply::Array(items) => Reply::Array(items.iter().map(steady).collect()),
            other => other.clone(),
        }
    }
    same("entries", shown(&steady(oracle)), shown(&steady(ours)))
}

/// Parameters whose values are the node's own, each for the reason beside it; an empty value of redis is none at all.
pub const OWN_PARAMETERS: &[(&str, &str)] = &[
    ("set-max-listpack-entries", "redis 7.2's"),
    ("set-max-listpack-value", "redis 7.2's"),
    ("io-threads", "workers"),
    ("io-threads-do-reads", "workers read"),
    ("port", "another"),
    ("bind", "another"),
    ("protected-mode", "strangers are let in or not, by the configuration"),
    ("tcp-backlog", "longer"),
    ("sanitize-dump-payload", "always"),
    ("stop-writes-on-bgsave-error", "there is no BGSAVE"),
    ("dynamic-hz", "hz is steady"),
    ("pidfile", "there is none"),
    ("lazyfree-lazy-user-del", "what is large is always freed in the background"),
    ("lazyfree-lazy-user-flush", "as lazyfree-lazy-user-del"),
    ("lazyfree-lazy-server-del", "as lazyfree-lazy-user-del"),
    ("lazyfree-lazy-eviction", "as lazyfree-lazy-user-del"),
    ("lazyfree-lazy-expire", "as lazyfree-lazy-user-del"),
    ("commandlog-execution-slower-than", "Valkey 8.1's"),
    ("commandlog-slow-execution-max-len", "Valkey 8.1's"),
    ("commandlog-request-larger-than", "Valkey 8.1's"),
    ("commandlog-large-request-max-len", "Valkey 8.1's"),
    ("commandlog-reply-larger-than", "Valkey 8.1's"),
    ("commandlog-large-reply-max-len", "Valkey 8.1's"),
    ("lock-hold-sampling", "ours: how many holds of partitions are timed for INFO's lock_hold_usec"),
    ("lua-instruction-limit", "ours: a script of one tenant may not hold a worker of all for ever"),
];

pub(super) fn config(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    let theirs = pairs(oracle);
    let is_own = |name: &Reply| OWN_PARAMETERS.iter().any(|(own, _)| *name == Reply::Bulk((*own).into()));
    for (name, value) in pairs(ours) {
        match theirs.iter().find(|(one, _)| *one == name) {
            _ if is_own(&name) => {}
            Some((_, found)) => same(&shown(&name), shown(found), shown(&value))?,
            None => return Err(format!("redis has no {}", shown(&name))),
        }
    }
    Ok(())
}

/// Fields of INFO that only one side has, each for the reason beside it. `name*` stands for all that begin so.
pub mod info_exceptions {
    /// Only redis has these.
    pub const THEIRS: &[(&str, &str)] = &[
        ("errorstat_*", "those since the start, and redis's order is that of its table"),
        ("cmdstat_*", "redis's order is that of its table"),
        ("latency_percentiles_usec_*", "redis's order is that of its table"),
    ];
    /// Only the node has these.
    pub const OURS: &[(&str, &str)] = &[
        ("errorstat_*", "as redis's"),
        ("cmdstat_*", "as redis's"),
        ("latency_percentiles_usec_*", "as redis's"),
        ("larder_version", "which Larder gives redis 7.0.15's replies"),
        ("acl_access_denied_cmd", "redis 7.2's: commands refused by policy or access string"),
        ("acl_access_denied_auth", "redis 7.2's: logins refused"),
        ("client_query_buffer_limit_disconnections", "Valkey 8's: clients cut for the length of a request"),
        ("client_output_buffer_limit_disconnections", "Valkey 8's: clients cut for what they did not read"),
        ("throttled_requests", "requests over the cache's rate"),
        ("lock_hold_usec", "processor time per hold of partitions, of those that were timed"),
        ("lock_hold_usec_max", "the longest of them"),
        ("busy_partitions", "turns ended because a partition was held"),
        ("gate_waits", "commands that had to close the gate"),
    ];
}

pub(super) fn info(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let (oracle, ours) = (text(oracle).ok_or("redis: no text")?, text(ours).ok_or("node: no text")?);
    same("kind", oracle.0, ours.0)?;
    if COUNTED.iter().any(|section| oracle.1.starts_with(section)) {
        return same_list("counts", &counts(&oracle.1), &counts(&ours.1));
    }
    same_list("fields", &fields(&oracle.1, info_exceptions::THEIRS), &fields(&ours.1, info_exceptions::OURS))
}

/// Sections that, asked for alone, have to tell the same counts.
const COUNTED: [&str; 2] = ["# Commandstats", "# Errorstats"];

/// Their lines without times, in order. How often INFO ran is left out: whoever waits for a client to block asks it until
/// that is so.
fn counts(text: &str) -> Vec<String> {
    let is_left_out = |part: &str| part.starts_with("usec") || part.starts_with("cmdstat_info:calls");
    let line = |line: &str| line.split(',').filter(|part| !is_left_out(part)).collect::<Vec<_>>().join(",");
    let mut lines: Vec<_> = text.split("\r\n").map(line).collect();
    lines.sort_unstable();
    lines
}

/// Section and field names with the kind of each value, in order, without the excepted ones.
fn fields(text: &str, excepted: &[(&str, &str)]) -> Vec<String> {
    let is_excepted = |name: &str| {
        excepted.iter().any(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
    };
    let line = |line: &str| match line.split_once(':') {
        None => Some(line.to_owned()),
        Some((name, _)) if is_excepted(name) => None,
        Some((name, value)) => Some(format!("{name}:{}", kind(value))),
    };
    text.split("\r\n").filter_map(line).collect()
}
