//! What a stream, its groups and their consumers are: XINFO.

use super::groups::no_group_of;
use super::{READ, RO_ACCESS, write_entries, write_entry};
use crate::commands::help::{help, misused};
use crate::commands::parse::{int, is};
use crate::commands::{Acl, Arity, Family, Flags, KeySpec, Spec};
use crate::db::entry::Stream;
use crate::db::entry::stream::{Consumer, Entries, Group, Id, Item, Number};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out};

/// `XINFO subcommand`
pub(in crate::commands) const XINFO: Spec = Spec {
    name: "XINFO",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "What a stream, its groups and their consumers are.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// `XINFO STREAM key [FULL [COUNT count]]`
pub(in crate::commands) const XINFO_STREAM: Spec = Spec {
    name: "XINFO|STREAM",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(2).doing(RO_ACCESS)],
    summary: "What a stream is.",
    reply: "map: counts, ids, first and last entry; with FULL the entries and all of its groups",
    run: stream,
    ..Spec::ROW
};
fn stream(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(CommandError::NoSuchKey)?;
    let full = full_option(args)?;
    let out = &mut *cx.out;
    out.map(if full.is_some() { 9 } else { 10 });
    counts(out, stream.entries());
    match full {
        None => {
            out.bulk("groups");
            out.int(stream.groups().len() as i64);
            edge(out, "first-entry", stream.entries().range(Id::MIN, Id::MAX).next());
            edge(out, "last-entry", stream.entries().range_back(Id::MIN, Id::MAX).next());
        }
        Some(count) => {
            out.bulk("entries");
            write_entries(out, stream.entries().range(Id::MIN, Id::MAX).take(count));
            out.bulk("groups");
            out.array(stream.groups().len());
            stream.groups().for_each(|(name, group)| full_group(out, name, group, stream.entries(), count));
        }
    }
    Ok(())
}

/// Reads `[FULL [COUNT n]]`: how many of each to show at most, `None` without FULL.
fn full_option(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    const COUNT: usize = 10;
    let misused = || Err(misused(&XINFO, args.get(1)));
    match args.len() {
        3 => return Ok(None),
        4 | 6 if is(args.get(3), "FULL") => {}
        _ => return misused(),
    }
    if args.len() == 4 {
        return Ok(Some(COUNT));
    }
    if !is(args.get(4), "COUNT") {
        return misused();
    }
    Ok(Some(match int(args.get(5))? {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(COUNT),
    }))
}

fn counts(out: &mut Out, entries: &Entries) {
    let blocks = entries.blocks() as i64;
    // Redis's tree has inner nodes besides one for each key.
    let nodes = if blocks == 0 { 1 } else { blocks + 1 };
    let int = |out: &mut Out, name: &str, value: i64| {
        out.bulk(name);
        out.int(value);
    };
    let id = |out: &mut Out, name: &str, id: Id| {
        out.bulk(name);
        out.bulk(id.text());
    };
    int(out, "length", entries.len() as i64);
    int(out, "radix-tree-keys", blocks);
    int(out, "radix-tree-nodes", nodes);
    id(out, "last-generated-id", entries.last_id());
    id(out, "max-deleted-entry-id", entries.max_deleted_id());
    int(out, "entries-added", entries.added() as i64);
    id(out, "recorded-first-entry-id", entries.first_id());
}

fn edge(out: &mut Out, name: &str, item: Option<Item<'_>>) {
    out.bulk(name);
    match item {
        Some(item) => write_entry(out, item),
        None => out.null(),
    }
}

fn read_and_lag(out: &mut Out, group: &Group, entries: &Entries) {
    let number = |out: &mut Out, name: &str, value: Option<i64>| {
        out.bulk(name);
        match value {
            Some(value) => out.int(value),
            None => out.null(),
        }
    };
    number(out, "entries-read", group.entries_read.map(|read| read as i64));
    number(out, "lag", group.lag(entries));
}

fn full_group(out: &mut Out, name: &[u8], group: &Group, entries: &Entries, count: usize) {
    out.map(7);
    out.bulk("name");
    out.bulk(name);
    out.bulk("last-delivered-id");
    out.bulk(group.last_id.text());
    read_and_lag(out, group, entries);
    out.bulk("pel-count");
    out.int(group.pending_len() as i64);
    out.bulk("pending");
    out.array(group.pending_len().min(count));
    for (id, pending) in group.pending(Id::MIN).take(count) {
        out.array(4);
        out.bulk(id.text());
        out.bulk(group.consumer(pending.consumer).map_or(&b""[..], Consumer::name));
        out.int(pending.delivered_ms as i64);
        out.int(pending.deliveries as i64);
    }
    out.bulk("consumers");
    out.array(group.consumers().len());
    group.consumers().for_each(|(number, name)| full_consumer(out, name, group, number, count));
}

fn full_consumer(out: &mut Out, name: &[u8], group: &Group, number: Number, count: usize) {
    let (seen_ms, pending) = group.consumer(number).map_or((0, 0), |it| (it.seen_ms, it.pending()));
    out.map(4);
    out.bulk("name");
    out.bulk(name);
    out.bulk("seen-time");
    out.int(seen_ms as i64);
    out.bulk("pel-count");
    out.int(pending as i64);
    out.bulk("pending");
    out.array(pending.min(count));
    for (id, pending) in group.pending_of(number, Id::MIN).take(count) {
        out.array(3);
        out.bulk(id.text());
        out.int(pending.delivered_ms as i64);
        out.int(pending.deliveries as i64);
    }
}

/// `XINFO GROUPS key`
pub(in crate::commands) const XINFO_GROUPS: Spec = Spec {
    name: "XINFO|GROUPS",
    arity: Arity::Exactly(3),
    summary: "The groups of a stream.",
    reply: "array of maps: name, consumers, pending, last-delivered-id, entries-read, lag",
    run: groups,
    ..XINFO_STREAM
};
fn groups(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(CommandError::NoSuchKey)?;
    let out = &mut *cx.out;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk("name");
        out.bulk(name);
        out.bulk("consumers");
        out.int(group.consumers().len() as i64);
        out.bulk("pending");
        out.int(group.pending_len() as i64);
        out.bulk("last-delivered-id");
        out.bulk(group.last_id.text());
        read_and_lag(out, group, stream.entries());
    }
    Ok(())
}

/// `XINFO CONSUMERS key group`
pub(in crate::commands) const XINFO_CONSUMERS: Spec = Spec {
    name: "XINFO|CONSUMERS",
    arity: Arity::Exactly(4),
    tips: &["nondeterministic_output"],
    summary: "The consumers of a group.",
    reply: "array of maps: name, pending, idle",
    run: consumers,
    ..XINFO_STREAM
};
fn consumers(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (now_ms, key) = (cx.now.wall_ms, cx.key(args.get(2)));
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(args.get(3)).ok_or_else(|| no_group_of(key.bytes, args.get(3)))?;
    let out = &mut *cx.out;
    out.array(group.consumers().len());
    for (number, name) in group.consumers() {
        let (seen_ms, pending) = group.consumer(number).map_or((0, 0), |it| (it.seen_ms, it.pending()));
        out.map(3);
        out.bulk("name");
        out.bulk(name);
        out.bulk("pending");
        out.int(pending as i64);
        out.bulk("idle");
        out.int(now_ms.saturating_sub(seen_ms) as i64);
    }
    Ok(())
}

/// `XINFO HELP`
pub(in crate::commands) const XINFO_HELP: Spec = Spec {
    name: "XINFO|HELP",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::STREAM.or(Acl::SLOW),
    summary: "The subcommands.",
    reply: "array of lines",
    run: |cx, _| {
        help(cx, &XINFO, HELP);
        Ok(())
    },
    ..Spec::ROW
};
const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
];
