//! What was slow: SLOWLOG and LATENCY. What is measured, and how: [`crate::engine::Slow`].

use larder_iam_policies::access::Actions;

use super::help::{help, misused};
use super::{Acl, Arity, Beyond, Family, Flags, Spec};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const ADMIN: Spec = Spec {
    family: Family::Server,
    flags: Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    ..Spec::ROW
};
const HELP: Spec = Spec {
    family: Family::Server,
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::SLOW,
    summary: "The subcommands.",
    reply: "array of lines",
    ..Spec::ROW
};

/// `SLOWLOG <subcommand>`
pub(super) const SLOWLOG: Spec = Spec {
    name: "SLOWLOG",
    family: Family::Server,
    since: "2.2.12",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Requests that took longer than slowlog-log-slower-than.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// `SLOWLOG GET [count]`
pub(super) const SLOWLOG_GET: Spec = Spec {
    name: "SLOWLOG|GET",
    since: "2.2.12",
    arity: Arity::AtLeast(2),
    tips: &["request_policy:all_nodes", "nondeterministic_output"],
    summary: "The newest entries.",
    reply: "array of arrays: number, unix seconds, microseconds, request, address, client name",
    run: slowlog_get,
    ..ADMIN
};
fn slowlog_get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.try_get(2) {
        _ if args.len() > 3 => return Err(misused(&SLOWLOG, args.get(1))),
        None => 10,
        Some(text) => match parse_i64(text) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return Err(CommandError::Text("ERR count should be greater than or equal to -1")),
        },
    };
    let entries = cx.engine.slow.entries(count);
    cx.out.array(entries.len());
    for entry in entries {
        cx.out.array(6);
        [entry.id, entry.at_s, entry.took_us].into_iter().for_each(|number| cx.out.int(number as i64));
        cx.out.array(entry.words.len());
        entry.words.iter().for_each(|word| cx.out.bulk(word));
        cx.out.bulk(entry.address);
        cx.out.bulk(entry.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
pub(super) const SLOWLOG_LEN: Spec = Spec {
    name: "SLOWLOG|LEN",
    since: "2.2.12",
    arity: Arity::Exactly(2),
    tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
    summary: "How many entries there are.",
    reply: "integer",
    run: slowlog_len,
    ..ADMIN
};
fn slowlog_len(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(cx.engine.slow.len() as i64);
    Ok(())
}

/// `SLOWLOG RESET`
pub(super) const SLOWLOG_RESET: Spec = Spec {
    name: "SLOWLOG|RESET",
    since: "2.2.12",
    arity: Arity::Exactly(2),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    summary: "Forgets all entries.",
    reply: "OK",
    run: slowlog_reset,
    ..ADMIN
};
fn slowlog_reset(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.engine.slow.reset();
    cx.out.ok();
    Ok(())
}

/// `SLOWLOG HELP`
pub(super) const SLOWLOG_HELP: Spec = Spec { name: "SLOWLOG|HELP", since: "6.2.0", run: slowlog_help, ..HELP };
fn slowlog_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &SLOWLOG, SLOWLOG_LINES);
    Ok(())
}
const SLOWLOG_LINES: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

const LATENCIES: Spec = Spec { since: "2.8.13", flags: ADMIN.flags.or(Flags::NOSCRIPT), ..ADMIN };
const LATENCY_TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

/// `LATENCY <subcommand>`
pub(super) const LATENCY: Spec = Spec {
    name: "LATENCY",
    since: "2.8.13",
    summary: "Samples of what took longer than latency-monitor-threshold.",
    ..SLOWLOG
};

/// `LATENCY LATEST`
pub(super) const LATENCY_LATEST: Spec = Spec {
    name: "LATENCY|LATEST",
    arity: Arity::Exactly(2),
    tips: LATENCY_TIPS,
    summary: "The newest sample of every event.",
    reply: "array of arrays: event, unix seconds, milliseconds, the worst milliseconds of all",
    run: latency_latest,
    ..LATENCIES
};
fn latency_latest(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let events = cx.engine.slow.events();
    cx.out.array(events.len());
    for (name, event) in events {
        let (at_s, ms) = event.samples.back().copied().unwrap_or_default();
        cx.out.array(4);
        cx.out.bulk(name);
        [at_s, ms, event.worst_ms].into_iter().for_each(|number| cx.out.int(number as i64));
    }
    Ok(())
}

/// `LATENCY HISTORY event`
pub(super) const LATENCY_HISTORY: Spec = Spec {
    name: "LATENCY|HISTORY",
    arity: Arity::Exactly(3),
    tips: LATENCY_TIPS,
    summary: "The samples of an event: `command` or `fast-command`.",
    reply: "array of pairs: unix seconds, milliseconds",
    run: latency_history,
    ..LATENCIES
};
fn latency_history(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let events = cx.engine.slow.events();
    let found = events.into_iter().find(|(name, _)| name.as_bytes() == args.get(2));
    let samples = found.map(|(_, event)| event.samples).unwrap_or_default();
    cx.out.array(samples.len());
    for (at_s, ms) in samples {
        cx.out.array(2);
        cx.out.int(at_s as i64);
        cx.out.int(ms as i64);
    }
    Ok(())
}

/// `LATENCY RESET [event …]`
pub(super) const LATENCY_RESET: Spec = Spec {
    name: "LATENCY|RESET",
    arity: Arity::AtLeast(2),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    summary: "Forgets the samples of these events, or of all.",
    reply: "how many events were forgotten",
    run: latency_reset,
    ..LATENCIES
};
fn latency_reset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names: Vec<&[u8]> = args.iter().skip(2).collect();
    let forgotten = cx.engine.slow.forget(Some(&names[..]).filter(|names| !names.is_empty()));
    cx.out.int(forgotten as i64);
    Ok(())
}

/// `LATENCY HELP`
pub(super) const LATENCY_HELP: Spec = Spec { name: "LATENCY|HELP", since: "2.8.13", run: latency_help, ..HELP };
fn latency_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &LATENCY, LATENCY_LINES);
    Ok(())
}
const LATENCY_LINES: &[&str] = &[
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
];
