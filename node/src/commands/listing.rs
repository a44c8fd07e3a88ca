//! Finding keys one does not know the names of.

use larder_iam_policies::access::{Actions, Asks, Need};

use super::parse::{ScanOptions, is};
use super::{Acl, Arity, Beyond, Flags, Locks, Spec};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::glob;
use crate::resp::Args;
use crate::session::Session;
use crate::time::Now;

const READ: Acl = Acl::KEYSPACE.or(Acl::READ);

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]`
pub(super) const SCAN: Spec = Spec {
    name: "SCAN",
    since: "2.8.0",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output", "request_policy:special"],
    beyond: Beyond::Cache(Actions::LIST),
    locks: Locks::Walks,
    summary: "Some of the keys, and where to go on.",
    reply: "array: the next cursor, 0 at the end, and an array of keys the caller may read",
    run: scan,
    ..Spec::ROW
};
fn scan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = super::parse::cursor(args.get(1))?;
    let options = ScanOptions::of_keys(args.from(2))?;
    let mut found = Found { keys: Vec::new(), now_ms: cx.now.wall_ms, options: &options };
    let next = walk(cx, cursor, options.count, &mut found);
    let mut keys = found.keys;
    keys.retain(|key| may_read(cx, "SCAN", key));
    cx.out.array(2);
    cx.out.bulk(itoa::Buffer::new().format(next));
    cx.out.array(keys.len());
    keys.iter().for_each(|key| cx.out.bulk(key));
    Ok(())
}

struct Found<'o> {
    keys: Vec<Vec<u8>>,
    now_ms: u64,
    options: &'o ScanOptions<'o>,
}

/// Walks tables from `cursor`, one partition after another, until about `count` keys were seen; the next cursor.
///
/// A cursor is the partition above the table's own 40 bits. Every key that is there throughout is seen: each table keeps
/// that promise for itself, and a key never changes its partition. Empty partitions are passed without ending the call.
fn walk(cx: &mut Cx<'_>, cursor: u64, count: usize, found: &mut Found<'_>) -> u64 {
    const TABLE_BITS: u32 = 40;
    // So many buckets and partitions at most, whatever they hold: bounds one call.
    let mut steps_left = count.saturating_mul(10).max(64);
    let (mut partition, mut inner) = ((cursor >> TABLE_BITS) as usize, cursor & ((1 << TABLE_BITS) - 1));
    let mut seen = 0;
    while partition < cx.engine.db.partitions() {
        let (next, saw, steps) = cx.keys.visit(partition, |shard| {
            let (mut saw, mut steps, mut at) = (0, 0, inner);
            if shard.table.is_empty() {
                return (0, 0, 0);
            }
            loop {
                at = shard.table.scan(at, &mut |entry| {
                    saw += 1;
                    found.add(entry);
                });
                steps += 1;
                if at == 0 || seen + saw >= count || steps >= steps_left {
                    return (at, saw, steps);
                }
            }
        });
        seen += saw;
        steps_left = steps_left.saturating_sub(steps);
        inner = next;
        if next == 0 {
            partition += 1;
        }
        if seen >= count || steps_left == 0 {
            break;
        }
    }
    match partition < cx.engine.db.partitions() {
        true => (partition as u64) << TABLE_BITS | inner,
        false => 0,
    }
}

impl Found<'_> {
    fn add(&mut self, entry: crate::db::entry::EntryRef<'_>) {
        let matches = self.options.pattern.is_none_or(|pattern| glob::matches(pattern, entry.key()))
            && self.options.kind.is_none_or(|kind| is(kind, entry.kind().name()));
        if matches && !entry.is_due(self.now_ms) {
            self.keys.push(entry.key().to_vec());
        }
    }
}

/// Whether the caller could read this key: what SCAN answers is filtered by the grant.
fn may_read(cx: &Cx<'_>, command: &'static str, key: &[u8]) -> bool {
    cx.session.identity.is_none() && cx.nested || may_be_shown(cx.session, command, key, cx.now)
}

/// Whether a session's caller could read this key, which `command` is about to show it.
pub(crate) fn may_be_shown(session: &Session, command: &'static str, key: &[u8], now: Now) -> bool {
    let Some(identity) = &session.identity else { return false };
    let listed = Listed { command, key };
    identity.grant.is_full() || identity.grant.permit(&identity.inside, listed, now.wall_ms).is_ok()
}

/// A key about to be shown by a listing: asks for Read on it, as the listing command.
struct Listed<'k> {
    command: &'static str,
    key: &'k [u8],
}

impl Asks for Listed<'_> {
    fn command(&self) -> &str {
        self.command
    }

    fn command_bit(&self) -> u16 {
        let found = super::find(self.command.as_bytes());
        // A subcommand is found by its whole name only here.
        let found = found.or_else(|| super::table().iter().find(|spec| spec.name == self.command));
        found.map_or(u16::MAX, Spec::bit)
    }

    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        each(Need::Key(self.key, Actions::READ));
    }

    fn ttl_ms(&self) -> Option<u64> {
        None
    }

    fn value_bytes(&self) -> Option<u64> {
        None
    }
}

/// Keys looked at per lock hold.
const STRIDE: usize = 1000;

/// `KEYS pattern`
pub(super) const KEYS: Spec = Spec {
    name: "KEYS",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW).or(Acl::DANGEROUS),
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    beyond: Beyond::Cache(Actions::LIST),
    locks: Locks::Walks,
    summary: "The keys that fit a pattern: all are looked at; SCAN asks for less at a time.",
    reply: "array: keys the caller may read",
    run: keys,
    ..Spec::ROW
};
fn keys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options =
        ScanOptions { pattern: Some(args.get(1)).filter(|pattern| *pattern != b"*"), ..ScanOptions::default() };
    let mut found = Found { keys: Vec::new(), now_ms: cx.now.wall_ms, options: &options };
    let mut cursor = 0;
    loop {
        cursor = walk(cx, cursor, STRIDE, &mut found);
        if cursor == 0 {
            break;
        }
    }
    let mut keys = found.keys;
    keys.retain(|key| may_read(cx, "KEYS", key));
    // A table that shrinks between two steps shows a key again.
    keys.sort_unstable();
    keys.dedup();
    cx.out.array(keys.len());
    keys.iter().for_each(|key| cx.out.bulk(key));
    Ok(())
}

/// `RANDOMKEY`
pub(super) const RANDOMKEY: Spec = Spec {
    name: "RANDOMKEY",
    arity: Arity::Exactly(1),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["request_policy:all_shards", "nondeterministic_output"],
    beyond: Beyond::Cache(Actions::LIST),
    locks: Locks::Walks,
    summary: "Some key that the caller may read.",
    reply: "bulk string; null when there is none",
    run: randomkey,
    ..Spec::ROW
};
fn randomkey(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    /// Draws before all keys are walked: many are expired, or not the caller's.
    const DRAWS: usize = 64;
    let mut generator = cx.engine.random();
    let (partitions, now_ms) = (cx.engine.db.partitions(), cx.now.wall_ms);
    for _ in 0..DRAWS {
        let first = generator.below(partitions);
        let drawn = (0..partitions).find_map(|offset| {
            cx.keys.visit((first + offset) % partitions, |shard| {
                let entry = shard.table.random(&mut || generator.next())?;
                Some((!entry.is_due(now_ms)).then(|| entry.key().to_vec()))
            })
        });
        match drawn {
            None => break,
            Some(Some(key)) if may_read(cx, "RANDOMKEY", &key) => {
                cx.out.bulk(key);
                return Ok(());
            }
            Some(_) => {}
        }
    }
    match first_readable(cx) {
        Some(key) => cx.out.bulk(key),
        None => cx.out.null(),
    }
    Ok(())
}

fn first_readable(cx: &mut Cx<'_>) -> Option<Vec<u8>> {
    let options = ScanOptions::default();
    let mut cursor = 0;
    loop {
        let mut found = Found { keys: Vec::new(), now_ms: cx.now.wall_ms, options: &options };
        cursor = walk(cx, cursor, STRIDE, &mut found);
        let readable = found.keys.into_iter().find(|key| may_read(cx, "RANDOMKEY", key));
        if readable.is_some() || cursor == 0 {
            return readable;
        }
    }
}
