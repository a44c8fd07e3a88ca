//! MULTI, EXEC and WATCH.

use super::{Acl, Arity, Family, Flags, Http, KeyFlags, KeySpec, Locks, Spec};
use crate::engine::leftovers::Left;
use crate::engine::{self, Cx};
use crate::error::CommandError;
use crate::resp::Args;
use crate::session::{Session, Transaction, Watch};
use std::sync::atomic::Ordering;

const FLAGS: Flags =
    Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST).or(Flags::ALLOW_BUSY).or(Flags::SESSION);
const ACL: Acl = Acl::FAST.or(Acl::TRANSACTION);
const USE_MULTI_EXEC: Http = Http::Refused("concerns a connection; send the commands to /multi-exec");

/// `MULTI`
pub(super) const MULTI: Spec = Spec {
    name: "MULTI",
    family: Family::Transactions,
    since: "1.2.0",
    arity: Arity::Exactly(1),
    flags: FLAGS.or(Flags::UNQUEUED),
    acl: ACL,
    http: USE_MULTI_EXEC,
    summary: "Begins a transaction: what follows is queued until EXEC.",
    reply: "OK",
    run: multi,
    ..Spec::ROW
};
fn multi(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if cx.session.transaction.is_some() {
        return Err(CommandError::Text("ERR MULTI calls can not be nested"));
    }
    cx.session.transaction = Some(Transaction::default());
    cx.out.ok();
    Ok(())
}

/// `EXEC`
pub(super) const EXEC: Spec = Spec {
    name: "EXEC",
    family: Family::Transactions,
    since: "1.2.0",
    arity: Arity::Exactly(1),
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::SKIP_SLOWLOG)
        .or(Flags::SESSION)
        .or(Flags::UNQUEUED),
    acl: Acl::SLOW.or(Acl::TRANSACTION),
    locks: Locks::Queue,
    http: USE_MULTI_EXEC,
    summary: "Runs the queued commands as one step, unless a watched key changed.",
    reply: "array of their replies; null when a watched key changed",
    run: exec,
    ..Spec::ROW
};
fn exec(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match &cx.session.transaction {
        None => Err(CommandError::Text("ERR EXEC without MULTI")),
        Some(transaction) if transaction.failed => {
            discard(cx);
            Err(CommandError::ExecAbort(" previous errors.".into()))
        }
        Some(_) => {
            engine::exec(cx, args);
            Ok(())
        }
    }
}

/// `DISCARD`
pub(super) const DISCARD: Spec = Spec {
    name: "DISCARD",
    family: Family::Transactions,
    since: "2.0.0",
    arity: Arity::Exactly(1),
    flags: FLAGS.or(Flags::UNQUEUED),
    acl: ACL,
    http: USE_MULTI_EXEC,
    summary: "Throws the queued commands away.",
    reply: "OK",
    run: discard_command,
    ..Spec::ROW
};
fn discard_command(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if cx.session.transaction.is_none() {
        return Err(CommandError::Text("ERR DISCARD without MULTI"));
    }
    discard(cx);
    cx.out.ok();
    Ok(())
}

/// Ends a transaction that will not run, and its watches.
pub(crate) fn discard(cx: &mut Cx<'_>) {
    cx.session.transaction = None;
    unwatch(cx.session);
}

/// `WATCH key [key …]`
pub(super) const WATCH: Spec = Spec {
    name: "WATCH",
    family: Family::Transactions,
    since: "2.2.0",
    arity: Arity::AtLeast(2),
    flags: FLAGS.or(Flags::UNQUEUED),
    acl: ACL,
    keys: &[KeySpec::at(1).to(-1, 1).doing(KeyFlags::RO)],
    http: USE_MULTI_EXEC,
    summary: "Lets the next EXEC run only if these keys have not changed by then.",
    reply: "OK",
    run: watch,
    ..Spec::ROW
};
fn watch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if cx.session.transaction.is_some() {
        return Err(CommandError::Text("ERR WATCH inside MULTI is not allowed"));
    }
    let watched_keys_max = cx.engine.config.limits.watched_keys_max;
    if cx.session.watch.keys.len() + args.len() - 1 > watched_keys_max {
        return Err(CommandError::Said(format!("ERR a connection may watch {watched_keys_max} keys at most")));
    }
    let bytes_max = cx.engine.config.limits.queued_bytes_max;
    let bytes: usize = args.iter().skip(1).map(Watch::bytes_of).sum();
    if cx.session.watch.bytes + bytes > bytes_max {
        return Err(CommandError::Said(format!("ERR a connection may watch keys of {bytes_max} bytes at most")));
    }
    for bytes in args.iter().skip(1) {
        // A key that is dead already must not count as changed when it is swept.
        let key = cx.key(bytes);
        cx.keys.expire_if_due(key);
        let touched = cx.session.watch.flag().clone();
        if cx.keys.shard(key.hash).watched.add(bytes, &touched) {
            cx.session.watch.keys.push((cx.keys.database, bytes.into()));
            cx.session.watch.bytes += Watch::bytes_of(bytes);
        }
    }
    cx.session.record.state.remembered_bytes.store(cx.session.watch.bytes as u64, Ordering::Relaxed);
    cx.out.ok();
    Ok(())
}

/// `UNWATCH`
pub(super) const UNWATCH: Spec = Spec {
    name: "UNWATCH",
    family: Family::Transactions,
    since: "2.2.0",
    arity: Arity::Exactly(1),
    flags: FLAGS,
    acl: ACL,
    http: USE_MULTI_EXEC,
    summary: "Forgets every watched key.",
    reply: "OK",
    run: unwatch_command,
    ..Spec::ROW
};
fn unwatch_command(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    unwatch(cx.session);
    cx.out.ok();
    Ok(())
}

/// Forgets every watched key. Inside EXEC there are none left; everywhere else the caller holds no partition.
pub(crate) fn unwatch(session: &mut Session) {
    if session.watch.keys.is_empty() {
        return;
    }
    let watch = std::mem::take(&mut session.watch);
    session.record.state.remembered_bytes.store(0, Ordering::Relaxed);
    for (database, key) in &watch.keys {
        session.engine.forget_at(*database, key, Left::Watch(watch.flag().clone()));
    }
}
