//! The server's clock, and what tests ask of it: TIME and DEBUG.

use std::sync::atomic::Ordering;

use larder_iam_policies::access::Actions;

use super::connection::VERSION;
use super::help::{help, misused};
use super::objects::encoding_of;
use super::parse::{int, is};
use super::{Acl, Arity, Beyond, Family, Flags, Http, Locks, Spec};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// `TIME`: to the millisecond, as the engine is told it.
pub(super) const TIME: Spec = Spec {
    name: "TIME",
    family: Family::Server,
    since: "2.6.0",
    arity: Arity::Exactly(1),
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Acl::FAST,
    tips: &["nondeterministic_output"],
    summary: "The server's time.",
    reply: "array: seconds since 1970, microseconds of this second",
    run: time,
    ..Spec::ROW
};
fn time(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let ms = cx.now.wall_ms;
    cx.out.array(2);
    cx.out.bulk((ms / 1000).to_string());
    cx.out.bulk((ms % 1000 * 1000).to_string());
    Ok(())
}

/// `LOLWUT [VERSION version …]`: what redis answers whose version has no drawing.
pub(super) const LOLWUT: Spec = Spec {
    name: "LOLWUT",
    family: Family::Server,
    since: "5.0.0",
    arity: Arity::AtLeast(1),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::FAST),
    summary: "The version, without a drawing.",
    reply: "verbatim string",
    run: lolwut,
    ..Spec::ROW
};
fn lolwut(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 && is(args.get(1), "VERSION") {
        int(args.get(2))?;
    }
    cx.out.verbatim(*b"txt", format!("Redis ver. {VERSION}\n"));
    Ok(())
}

/// `DEBUG SLEEP seconds | OBJECT key | SET-ACTIVE-EXPIRE 0 | 1 | ERROR text | HELP`
pub(super) const DEBUG: Spec = Spec {
    name: "DEBUG",
    family: Family::Server,
    arity: Arity::AtLeast(2),
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE).or(Flags::SESSION),
    acl: Acl::ADMIN.or(Acl::SLOW).or(Acl::DANGEROUS),
    beyond: Beyond::Cache(Actions::ADMIN),
    http: Http::Refused("concerns a connection, and an HTTP request has none"),
    locks: Locks::Walks,
    summary: "Makes the client wait, describes a key's value, or stops active expiry.",
    reply: "depends on the subcommand",
    run: debug,
    ..Spec::ROW
};
fn debug(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let subcommand = args.get(1);
    match args.len() {
        2 if is(subcommand, "HELP") => help(cx, &DEBUG, HELP),
        3 if is(subcommand, "SLEEP") => return sleep(cx, args),
        3 if is(subcommand, "OBJECT") => return object(cx, args.get(2)),
        3 if is(subcommand, "ERROR") => {
            let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
            let text = args.get(2).iter().map(|byte| if line_end(byte) { b' ' } else { *byte }).collect();
            return Err(CommandError::Quoted(text));
        }
        3 if is(subcommand, "SET-ACTIVE-EXPIRE") => {
            // As C's `atoi`, which is how redis reads it: what is no number is 0.
            cx.engine.sweeps.store(number(args.get(2)).trunc() != 0.0, Ordering::Relaxed);
            cx.out.ok();
        }
        _ => return Err(misused(&DEBUG, subcommand)),
    }
    Ok(())
}

const HELP: &[&str] = &[
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SLEEP <seconds>",
    "    Stop the client for <seconds>. Decimals allowed.",
];

/// The plain decimal at the beginning, 0 without one: C's `strtod` and `atoi`, which is how redis reads these.
fn number(text: &[u8]) -> f64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+')).count();
    std::str::from_utf8(&text[..digits]).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Only the client waits: a worker serves others, and a request of one must not stop them.
fn sleep(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let seconds = number(args.get(2)).max(0.0);
    if cx.nested && seconds > 0.0 {
        return Err(CommandError::Text("ERR DEBUG SLEEP cannot wait inside MULTI"));
    }
    // A float cast saturates.
    let us = (seconds * 1e6) as u64;
    if us == 0 {
        cx.out.ok();
    } else {
        cx.engine.slow.enter(cx.session, args, us, cx.now);
        cx.stall(us);
    }
    Ok(())
}

fn object(cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), CommandError> {
    let key = cx.key(bytes);
    let partition = cx.engine.db.partition_of(key.hash);
    let now_ms = cx.now.wall_ms;
    let said = cx.keys.visit(partition, |shard| {
        let entry = shard.table.find(key.hash, key.bytes).filter(|entry| !entry.is_due(now_ms))?;
        Some(format!("Value at:0x0 refcount:1 encoding:{}", encoding_of(entry.value())))
    });
    let said = said.ok_or(CommandError::NoSuchKey)?;
    cx.out.simple(&said);
    Ok(())
}
