//! MEMORY: what a key takes, and where the rest is. What is counted, and how: [`crate::engine::Memory`].

use larder_iam_policies::access::Actions;

use super::help::help;
use super::parse::{int, is};
use super::{Acl, Arity, Beyond, Family, Flags, KeyFlags, KeySpec, Locks, Spec};
use crate::db::entry::EntryRef;
use crate::engine::{self, Cx};
use crate::error::CommandError;
use crate::resp::Args;

/// What a key's place in its bucket takes, at the load at which buckets are split: bytes.
const PLACE_BYTES: usize = 12;
/// Below this MEMORY DOCTOR has nothing to say: redis's.
const SMALL_BYTES: u64 = 5 << 20;

/// `MEMORY <subcommand>`
pub(super) const MEMORY: Spec = Spec {
    name: "MEMORY",
    family: Family::Server,
    since: "4.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "What keys take, and where the rest of the memory is.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// `MEMORY USAGE key [SAMPLES count]`: counted, not sampled.
pub(super) const MEMORY_USAGE: Spec = Spec {
    name: "MEMORY|USAGE",
    family: Family::Server,
    since: "4.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::SLOW),
    keys: &[KeySpec::at(2).doing(KeyFlags::RO)],
    summary: "Bytes that the key, its value and its place take; exact, whatever SAMPLES says.",
    reply: "integer; null when the key is absent",
    run: usage,
    ..Spec::ROW
};
fn usage(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        let count = options.next().filter(|_| is(option, "SAMPLES")).ok_or(CommandError::Syntax)?;
        if int(count)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    let key = cx.key(args.get(2));
    match cx.keys.find(key).map(EntryRef::heap_bytes) {
        Some(bytes) => cx.out.int((bytes + PLACE_BYTES) as i64),
        None => cx.out.null(),
    }
    Ok(())
}

const FIGURES: Spec = Spec {
    family: Family::Server,
    since: "4.0.0",
    arity: Arity::Exactly(2),
    acl: Acl::SLOW,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    beyond: Beyond::Cache(Actions::LIST),
    ..Spec::ROW
};

/// `MEMORY STATS`
pub(super) const MEMORY_STATS: Spec = Spec {
    name: "MEMORY|STATS",
    locks: Locks::Walks,
    summary: "Where the memory is.",
    reply: "map: figure, value",
    run: stats,
    ..FIGURES
};
fn stats(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let (mut keys, mut buckets) = (0, 0);
    for partition in 0..cx.engine.db.partitions() {
        let (more_keys, more_buckets) =
            cx.keys.visit(partition, |shard| (shard.table.len(), shard.table.bucket_bytes()));
        (keys, buckets) = (keys + more_keys as u64, buckets + more_buckets as u64);
    }
    let memory = engine::Memory::of(cx.engine);
    let usage = memory.usage;
    let (total, data) = (usage.total(), usage.data.saturating_sub(buckets));
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    cx.out.map(27 + usize::from(keys > 0));
    let plain = |cx: &mut Cx<'_>, name: &str, bytes: u64| {
        cx.out.bulk(name);
        cx.out.int(number(bytes));
    };
    let share = |cx: &mut Cx<'_>, name: &str, value: f64| {
        cx.out.bulk(name);
        cx.out.double(value);
    };
    plain(cx, "peak.allocated", memory.peak);
    plain(cx, "total.allocated", total);
    plain(cx, "startup.allocated", usage.startup);
    plain(cx, "replication.backlog", usage.log);
    plain(cx, "clients.slaves", 0);
    plain(cx, "clients.normal", usage.clients);
    plain(cx, "cluster.links", 0);
    plain(cx, "aof.buffer", 0);
    plain(cx, "lua.caches", usage.scripts);
    plain(cx, "functions.caches", usage.functions);
    if keys > 0 {
        cx.out.bulk("db.0");
        cx.out.map(3);
        plain(cx, "overhead.hashtable.main", buckets);
        plain(cx, "overhead.hashtable.expires", 0);
        plain(cx, "overhead.hashtable.slot-to-keys", 0);
    }
    plain(cx, "overhead.total", total - data);
    plain(cx, "keys.count", keys);
    plain(cx, "keys.bytes-per-key", (total - usage.startup).checked_div(keys).unwrap_or(0));
    plain(cx, "dataset.bytes", data);
    share(cx, "dataset.percentage", percent(data, total - usage.startup));
    share(cx, "peak.percentage", percent(total, memory.peak));
    plain(cx, "allocator.allocated", total);
    plain(cx, "allocator.active", memory.resident);
    plain(cx, "allocator.resident", memory.resident);
    let over = memory.resident.saturating_sub(total);
    share(cx, "allocator-fragmentation.ratio", percent(memory.resident, total) / 100.0);
    plain(cx, "allocator-fragmentation.bytes", over);
    share(cx, "allocator-rss.ratio", 1.0);
    plain(cx, "allocator-rss.bytes", 0);
    share(cx, "rss-overhead.ratio", 1.0);
    plain(cx, "rss-overhead.bytes", 0);
    share(cx, "fragmentation", percent(memory.resident, total) / 100.0);
    plain(cx, "fragmentation.bytes", over);
    Ok(())
}

/// 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `MEMORY DOCTOR`
pub(super) const MEMORY_DOCTOR: Spec = Spec {
    name: "MEMORY|DOCTOR",
    summary: "What is remarkable about the memory, in words.",
    reply: "verbatim text",
    run: doctor,
    ..FIGURES
};
fn doctor(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let memory = engine::Memory::of(cx.engine);
    let (total, usage) = (memory.usage.total(), memory.usage);
    let mut said = String::new();
    if total < SMALL_BYTES {
        said =
            "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these \
                conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will \
                be back to our programming as soon as I finished rebooting.\n"
                .to_owned();
    } else {
        let findings = [
            (memory.peak > total / 2 * 3, "Peak memory: it held one and a half times as much in the past.\n"),
            (memory.resident > total / 10 * 14, "Fragmentation: the process has 1.4 times as much in RAM.\n"),
            (usage.clients > total / 4, "Clients: a quarter of the memory is their buffers.\n"),
            (usage.log > total / 4, "Effect log: a quarter of the memory waits for its readers.\n"),
            (usage.scripts + usage.functions > total / 10, "Scripts: a tenth of the memory is texts of scripts.\n"),
        ];
        findings.iter().filter(|(is_so, _)| *is_so).for_each(|(_, words)| said.push_str(words));
        if said.is_empty() {
            said.push_str(
                "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n",
            );
        }
    }
    cx.out.verbatim(*b"txt", said);
    Ok(())
}

/// `MEMORY MALLOC-STATS`
pub(super) const MEMORY_MALLOC_STATS: Spec = Spec {
    name: "MEMORY|MALLOC-STATS",
    summary: "Nothing: the allocator is not asked.",
    reply: "verbatim text that says so",
    run: malloc_stats,
    ..FIGURES
};
fn malloc_stats(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.verbatim(*b"txt", "Stats not supported for the current allocator");
    Ok(())
}

/// `MEMORY PURGE`
pub(super) const MEMORY_PURGE: Spec = Spec {
    name: "MEMORY|PURGE",
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    summary: "Nothing: the allocator gives back what is free by itself.",
    reply: "OK",
    run: purge,
    ..FIGURES
};
fn purge(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.ok();
    Ok(())
}

/// `MEMORY HELP`
pub(super) const MEMORY_HELP: Spec = Spec {
    name: "MEMORY|HELP",
    family: Family::Server,
    since: "4.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::SLOW,
    summary: "The subcommands.",
    reply: "array of lines",
    run: memory_help,
    ..Spec::ROW
};
fn memory_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &MEMORY, LINES);
    Ok(())
}
const LINES: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];
