//! Whether two replies are the same, by all the rules there are.

use larder_node::resp::Reply;

use super::accepted;
use super::wire::read;
use crate::transcript::compare::{self, elements};
use crate::transcript::play::{Answer, Got, Request};

/// Moments of expiry may be so far apart, in their own unit: seconds and milliseconds.
const APART: [(&str, u64); 4] = [("TTL", 3), ("EXPIRETIME", 3), ("PEXPIRETIME", 3_000), ("PTTL", 3_000)];

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
    if queued.is_empty() {
        return one(request, redis, node);
    }
    match (elements(redis), elements(node)) {
        (Some(a), Some(b)) if a.len() == b.len() && a.len() == queued.len() => {
            let each = queued.iter().zip(a.into_iter().zip(b)).map(|(request, (a, b))| one(request, a, b));
            each.reduce(worse).unwrap_or(Verdict::Same)
        }
        _ => Verdict::Different("not the same bytes".into()),
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
    let number = |bytes: &[u8]| match read(bytes) {
        Some(Reply::Int(number @ 0..)) => Some(number),
        _ => None,
    };
    let most = APART.iter().find(|(name, _)| request[0] == name.as_bytes());
    match (most, number(redis), number(node)) {
        (Some((_, most)), Some(redis), Some(node)) => redis.abs_diff(node) <= *most,
        _ => false,
    }
}
