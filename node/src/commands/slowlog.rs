//! What was slow: SLOWLOG and LATENCY. What is measured, and how: [`crate::engine::Slow`].

use larder_iam_policies::access::Actions;

use super::help::{help, misused};
use super::parse::is;
use super::{Acl, Arity, Beyond, Family, Flags, Spec};
use crate::engine::{Cx, Event, Logged, called};
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
        Some(text) => count(text)?,
    };
    show(cx, Logged::Slow, count);
    Ok(())
}

/// How many entries are asked for; -1 is all.
fn count(text: &[u8]) -> Result<usize, CommandError> {
    match parse_i64(text) {
        Some(-1) => Ok(usize::MAX),
        Some(count @ 0..) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err(CommandError::Text("ERR count should be greater than or equal to -1")),
    }
}

fn show(cx: &mut Cx<'_>, what: Logged, count: usize) {
    let entries = cx.engine.slow.entries(what, count);
    cx.out.array(entries.len());
    for entry in entries {
        cx.out.array(6);
        [entry.id, entry.at_s, entry.measure].into_iter().for_each(|number| cx.out.int(number as i64));
        cx.out.array(entry.words.len());
        entry.words.iter().for_each(|word| cx.out.bulk(word));
        cx.out.bulk(entry.address);
        cx.out.bulk(entry.name);
    }
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
    cx.out.int(cx.engine.slow.len(Logged::Slow) as i64);
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
    cx.engine.slow.reset(Logged::Slow);
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

/// `COMMANDLOG <subcommand>`: Valkey 8.1's. Its log of slow requests is SLOWLOG's.
pub(super) const COMMANDLOG: Spec = Spec {
    name: "COMMANDLOG",
    since: "8.1.0",
    summary: "Requests that were slow or large, or whose replies were.",
    ..SLOWLOG
};

/// `COMMANDLOG GET count slow | large-request | large-reply`
pub(super) const COMMANDLOG_GET: Spec = Spec {
    name: "COMMANDLOG|GET",
    since: "8.1.0",
    arity: Arity::Exactly(4),
    summary: "The newest entries of one log.",
    reply: "array of arrays: number, unix seconds, microseconds or bytes, request, address, client name",
    run: commandlog_get,
    ..SLOWLOG_GET
};
fn commandlog_get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = count(args.get(2))?;
    show(cx, logged(args.get(3))?, count);
    Ok(())
}

fn logged(text: &[u8]) -> Result<Logged, CommandError> {
    let wrong = CommandError::Text("ERR type should be one of the following: slow, large-request, large-reply");
    Logged::ALL.into_iter().find(|(name, _)| is(text, name)).map(|(_, what)| what).ok_or(wrong)
}

/// `COMMANDLOG LEN slow | large-request | large-reply`
pub(super) const COMMANDLOG_LEN: Spec = Spec {
    name: "COMMANDLOG|LEN",
    since: "8.1.0",
    arity: Arity::Exactly(3),
    summary: "How many entries a log has.",
    run: commandlog_len,
    ..SLOWLOG_LEN
};
fn commandlog_len(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(cx.engine.slow.len(logged(args.get(2))?) as i64);
    Ok(())
}

/// `COMMANDLOG RESET slow | large-request | large-reply`
pub(super) const COMMANDLOG_RESET: Spec = Spec {
    name: "COMMANDLOG|RESET",
    since: "8.1.0",
    arity: Arity::Exactly(3),
    summary: "Forgets all entries of a log.",
    run: commandlog_reset,
    ..SLOWLOG_RESET
};
fn commandlog_reset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    cx.engine.slow.reset(logged(args.get(2))?);
    cx.out.ok();
    Ok(())
}

/// `COMMANDLOG HELP`
pub(super) const COMMANDLOG_HELP: Spec = Spec { name: "COMMANDLOG|HELP", since: "8.1.0", run: commandlog_help, ..HELP };
fn commandlog_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &COMMANDLOG, COMMANDLOG_LINES);
    Ok(())
}
const COMMANDLOG_LINES: &[&str] = &[
    "GET <count> <type>",
    "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
    "    Entries are made of:",
    "    id, timestamp,",
    "    time in microseconds for type of slow,",
    "    or size in bytes for type of large-request,",
    "    or size in bytes for type of large-reply",
    "    arguments array, client IP and port,",
    "    client name",
    "LEN <type>",
    "    Return the length of the specified type of commandlog.",
    "RESET <type>",
    "    Reset the specified type of commandlog.",
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

/// `LATENCY HISTOGRAM [command …]`: of requests that came alone.
pub(super) const LATENCY_HISTOGRAM: Spec = Spec {
    name: "LATENCY|HISTOGRAM",
    since: "7.0.0",
    arity: Arity::AtLeast(2),
    tips: LATENCY_TIPS,
    summary: "How many calls of each command took at most how long.",
    reply: "map: command, map of calls and of microseconds to how many calls took no longer",
    run: latency_histogram,
    ..LATENCIES
};
fn latency_histogram(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted: Vec<String> =
        args.iter().skip(2).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    // A container stands for its subcommands.
    let is_wanted = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|one| one == name || name.split('|').next() == Some(one.as_str()))
    };
    let found: Vec<_> = called(cx.engine).filter(|(name, stats)| stats.timed() > 0 && is_wanted(name)).collect();
    cx.out.map(found.len());
    for (name, stats) in found {
        cx.out.bulk(name);
        cx.out.map(2);
        cx.out.bulk("calls");
        cx.out.int(stats.timed() as i64);
        cx.out.bulk("histogram_usec");
        cx.out.map(stats.within.iter().filter(|count| **count > 0).count());
        let mut sum = 0;
        for (place, count) in stats.within.iter().enumerate().filter(|(_, count)| **count > 0) {
            sum += count;
            cx.out.int(1 << place);
            cx.out.int(sum as i64);
        }
    }
    Ok(())
}

/// `LATENCY DOCTOR`
pub(super) const LATENCY_DOCTOR: Spec = Spec {
    name: "LATENCY|DOCTOR",
    arity: Arity::Exactly(2),
    tips: LATENCY_TIPS,
    summary: "What was slow, in words.",
    reply: "verbatim text",
    run: latency_doctor,
    ..LATENCIES
};
fn latency_doctor(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let events = cx.engine.slow.events();
    let said = if cx.engine.slow.latency_ms() == 0 {
        "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this Redis instance. You may use \"CONFIG SET \
         latency-monitor-threshold <milliseconds>.\" in order to enable it. If we weren't in a deep space mission I'd \
         suggest to take a look at https://redis.io/topics/latency-monitor.\n"
            .to_owned()
    } else if events.is_empty() {
        "Dave, no latency spike was observed during the lifetime of this Redis instance, not in the slightest bit. I \
         honestly think you ought to sit down calmly, take a stress pill, and think things over.\n"
            .to_owned()
    } else {
        let line = |(name, event): &(&str, Event)| {
            let sum: u64 = event.samples.iter().map(|(_, ms)| ms).sum();
            let mean = sum / (event.samples.len() as u64).max(1);
            format!(
                "{name}: {} latency spikes (average {mean}ms). Worst all time event {}ms.\n",
                event.samples.len(),
                event.worst_ms
            )
        };
        events.iter().map(line).collect::<String>() + "SLOWLOG GET shows the commands themselves.\n"
    };
    cx.out.verbatim(*b"txt", said);
    Ok(())
}

/// `LATENCY GRAPH event`
pub(super) const LATENCY_GRAPH: Spec = Spec {
    name: "LATENCY|GRAPH",
    arity: Arity::Exactly(3),
    tips: LATENCY_TIPS,
    summary: "The samples of an event as a picture of bars.",
    reply: "verbatim text",
    run: latency_graph,
    ..LATENCIES
};
fn latency_graph(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let events = cx.engine.slow.events();
    let Some((name, event)) = events.into_iter().find(|(name, _)| name.as_bytes() == args.get(2)) else {
        let start: &[u8] = b"ERR No samples available for event '";
        return Err(CommandError::Quoted([start, super::shown(args.get(2), 128), b"'"].concat()));
    };
    let shown = event.samples.iter().rev().take(GRAPH_COLUMNS).rev();
    let most = event.samples.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let least = event.samples.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut text = format!("{name} - high {most} ms, low {least} ms (all time high {} ms)\n", event.worst_ms);
    text.push_str(&"-".repeat(GRAPH_COLUMNS));
    text.push('\n');
    for row in (1..=GRAPH_ROWS).rev() {
        let bar = |(_, ms): &(u64, u64)| if ms * GRAPH_ROWS >= most * row { '#' } else { ' ' };
        text.extend(shown.clone().map(bar));
        text.push('\n');
    }
    cx.out.verbatim(*b"txt", text);
    Ok(())
}
/// How wide and high the picture is.
const GRAPH_COLUMNS: usize = 80;
const GRAPH_ROWS: u64 = 4;

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
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];
