//! Whether two replies are the same, by all the rules there are.

use larder_node::resp::{Reply, write_double};

use super::accepted;
use super::wire::read;
use crate::transcript::compare::{self, elements};
use crate::transcript::play::{Answer, Got, Request};

/// Moments of expiry may be so far apart, in their own unit: seconds and milliseconds.
const APART: &[(&str, u64)] = &[
    ("TTL", 3),
    ("EXPIRETIME", 3),
    ("PEXPIRETIME", 3_000),
    ("PTTL", 3_000),
    ("HTTL", 3),
    ("HEXPIRETIME", 3),
    ("HPEXPIRETIME", 3_000),
    ("HPTTL", 3_000),
];

/// What comparing two replies gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same bytes.
    Same,
    /// The same by a rule.
    Loose,
    /// Different on purpose: the name of the difference.
    Accepted(&'static str),
    /// Different, and why.
    Different(String),
}

/// Compares redis's reply to a request with the node's. `queued`: the requests it answers, when it is EXEC's.
#[must_use]
pub fn judge(request: &Request, queued: &[Request], redis: &[u8], node: &[u8]) -> Verdict {
    if redis == node {
        return Verdict::Same;
    }
    if queued.is_empty() { one(request, redis, node) } else { each(queued, redis, node, one) }
}

/// The replies of one EXEC, each by what it answers.
fn each(queued: &[Request], redis: &[u8], node: &[u8], one: impl Fn(&Request, &[u8], &[u8]) -> Verdict) -> Verdict {
    match (elements(redis), elements(node)) {
        (Some(a), Some(b)) if a.len() == b.len() && a.len() == queued.len() => {
            let each = queued.iter().zip(a.into_iter().zip(b)).map(|(request, (a, b))| one(request, a, b));
            each.reduce(worse).unwrap_or(Verdict::Same)
        }
        _ => Verdict::Different("not the same bytes".into()),
    }
}

/// As [`judge`], with what is not redis: which error it is, and in which words, is not compared.
#[must_use]
pub fn newer(request: &Request, queued: &[Request], theirs: &[u8], node: &[u8]) -> Verdict {
    if theirs != node && !queued.is_empty() {
        return each(queued, theirs, node, |request, theirs, node| newer(request, &[], theirs, node));
    }
    if theirs != node && theirs.starts_with(b"-") && node.starts_with(b"-") {
        return Verdict::Loose;
    }
    // Fields alone have no order either.
    if request[0] == b"HSCAN" && request.iter().any(|word| word == b"NOVALUES") {
        let as_set = [vec![b"SSCAN".to_vec()], request[1..].to_vec()].concat();
        return judge(&as_set, &[], theirs, node);
    }
    judge(request, &[], theirs, node)
}

/// As [`newer`], with fakeredis, of which the kinds of strings and of nothing are not compared.
#[must_use]
pub fn fakeredis(request: &Request, queued: &[Request], theirs: &[u8], node: &[u8]) -> Verdict {
    match (read(theirs), read(node)) {
        (Some(theirs), Some(node)) => {
            let plain = |reply: Reply| {
                let mut bytes = Vec::new();
                plain(reply).write(&mut bytes);
                bytes
            };
            newer(request, queued, &plain(theirs), &plain(node))
        }
        _ => newer(request, queued, theirs, node),
    }
}

fn plain(reply: Reply) -> Reply {
    let all = |items: Vec<Reply>| items.into_iter().map(plain).collect();
    match reply {
        Reply::Simple(text) | Reply::Bulk(text) => Reply::Bulk(text),
        Reply::NullArray | Reply::NullBulk => Reply::Null,
        // What XREADGROUP has none of is no map.
        Reply::Map(pairs) if pairs.is_empty() => Reply::Null,
        Reply::Double(value) => {
            let mut text = Vec::new();
            write_double(value, &mut text);
            Reply::Bulk(text)
        }
        Reply::Array(items) => Reply::Array(all(items)),
        Reply::Map(pairs) => Reply::Map(pairs.into_iter().map(|(a, b)| (plain(a), plain(b))).collect()),
        other => other,
    }
}

fn one(request: &Request, redis: &[u8], node: &[u8]) -> Verdict {
    if redis == node {
        return Verdict::Same;
    }
    let answer = |bytes: &[u8]| Answer {
        line: 0,
        request: request.clone(),
        queued: Vec::new(),
        got: Got::Reply(bytes.to_vec()),
    };
    match compare::compare(&answer(redis), &answer(node)) {
        compare::Verdict::Exact => Verdict::Same,
        compare::Verdict::Loose(_) => Verdict::Loose,
        compare::Verdict::Different(_) if are_moments_apart(request, redis, node) => Verdict::Loose,
        compare::Verdict::Different(_) if are_payloads_alike(request, redis, node) => Verdict::Loose,
        compare::Verdict::Different(why) => match accepted::find(request, redis, node) {
            Some(accepted) => Verdict::Accepted(accepted.name),
            None => Verdict::Different(why),
        },
    }
}

fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Same => 0,
        Verdict::Loose => 1,
        Verdict::Accepted(_) => 2,
        Verdict::Different(_) => 3,
    };
    if rank(&a) >= rank(&b) { a } else { b }
}

/// Whether these are payloads of a set or a hash that is a table, which has no order, or of a stream, which holds moments.
fn are_payloads_alike(request: &Request, redis: &[u8], node: &[u8]) -> bool {
    const SET: u8 = 2;
    const HASH: u8 = 4;
    const STREAM: u8 = 19;
    let kind = |bytes: &[u8]| match read(bytes) {
        Some(Reply::Bulk(payload)) => payload.first().copied().filter(|kind| [SET, HASH, STREAM].contains(kind)),
        _ => None,
    };
    request[0] == b"DUMP" && redis.len() == node.len() && kind(redis).is_some() && kind(redis) == kind(node)
}

fn are_moments_apart(request: &Request, redis: &[u8], node: &[u8]) -> bool {
    let numbers = |bytes: &[u8]| match read(bytes) {
        Some(Reply::Array(items)) => Some(items),
        Some(number) => Some(vec![number]),
        None => None,
    };
    let most = APART.iter().find(|(name, _)| request[0] == name.as_bytes());
    let (Some((_, most)), Some(redis), Some(node)) = (most, numbers(redis), numbers(node)) else { return false };
    let is_near = |pair: (&Reply, &Reply)| match pair {
        (Reply::Int(redis @ 0..), Reply::Int(node @ 0..)) => redis.abs_diff(*node) <= *most,
        (redis, node) => redis == node,
    };
    redis.len() == node.len() && redis.iter().zip(&node).all(is_near)
}
