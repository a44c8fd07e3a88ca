//! Blocking pops: how a client begins to wait, and how a push serves it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cx::{Cx, Outcome};
use super::events::{tell, tell_gone as tell_of_gone};
use super::leftovers::Left;
use super::{Engine, road};
use crate::commands::{self, Call, Serve};
use crate::db::entry::EntryRef;
use crate::db::{Busy, Key};
use crate::error::CommandError;
use crate::metrics::{Cells, Gauge};
use crate::resp::{Args, Out};
use crate::session::{Blocked, Identity, Session};
use crate::time::Now;
use crate::waiters::{Waiter, Waiters, Woken};

/// Serves a blocking command from the first of its keys that holds something, or makes the client wait at all of them.
/// Where nobody can wait, in a transaction or a script, its time is up at once.
pub(crate) fn take_or_block(
    cx: &mut Cx<'_>,
    request: Args<'_>,
    serve: Serve,
    keys: Args<'_>,
    timeout_ms: Option<u64>,
) -> Result<(), CommandError> {
    for bytes in keys.iter() {
        let key = cx.key(bytes);
        match cx.keys.read(key).map(EntryRef::kind) {
            None => continue,
            Some(kind) if kind != serve.kind => return Err(CommandError::WrongType),
            Some(_) => {}
        }
        let Some(effect) = (serve.take)(cx, key, request)? else { continue };
        let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
        if effect.is_empty() {
            cx.keys.log_nothing();
        } else {
            cx.keys.log_instead(&effect);
        }
        return Ok(());
    }
    block(cx, request, serve, keys.iter(), timeout_ms);
    Ok(())
}

/// Makes the client wait at `keys`, whose partitions are held, for `timeout_ms` or for ever. Where nobody can wait, its
/// time is up at once. `request` is what it will be served by: it may say more than what was asked, and names the keys.
pub(crate) fn block<'k>(
    cx: &mut Cx<'_>,
    request: Args<'_>,
    serve: Serve,
    keys: impl Iterator<Item = &'k [u8]>,
    timeout_ms: Option<u64>,
) {
    if cx.nested {
        return (serve.give_up)(cx.out);
    }
    let Some(identity) = &cx.session.identity else { return };
    let waiter = Waiter::new(request.to_owned(), identity.inside.clone(), serve, cx.session, cx.keys.database);
    let waiter = Arc::new(waiter);
    let mut held = cx.session.watch.bytes + waiter.request.as_args().iter().map(<[u8]>::len).sum::<usize>();
    for bytes in keys {
        let key = cx.key(bytes);
        cx.keys.shard(key.hash).waiters.push(bytes, waiter.clone());
        held += Waiters::bytes_of(bytes);
    }
    cx.session.record.state.remembered_bytes.store(held as u64, Ordering::Relaxed);
    let deadline_us = timeout_ms.map(|ms| cx.now.mono_us.saturating_add(ms.saturating_mul(1000)));
    cx.session.blocked = Some(Blocked { waiter, deadline_us });
    cx.cells.shift(Gauge::Blocked, 1);
    cx.outcome = Outcome::Blocked(deadline_us);
}

/// Ends a command, an EXEC or a replay: serves the clients that wait for what it pushed, and gives the partitions back.
/// They are held until then, so nobody takes the element in between; what each takes is logged behind the push.
#[inline]
pub(super) fn serve_and_release(cx: &mut Cx<'_>) {
    if cx.keys.ready.is_empty() {
        cx.keys.release();
    } else {
        serve_all(cx);
    }
}

/// Gives back partitions under which no command ran. Keys whose time had come may have gone on the way: who listens or
/// waits is told.
pub(super) fn let_go(cx: &mut Cx<'_>) {
    tell_of_gone(cx.engine, &mut cx.keys);
    serve_and_release(cx);
}

#[cold]
fn serve_all(cx: &mut Cx<'_>) {
    serve_ready(cx);
    cx.keys.release();
    for (database, bytes) in std::mem::take(&mut cx.keys.owed) {
        if serve_owed(cx, database, &bytes).is_err() {
            cx.engine.forget_at(database, &bytes, Left::Debt);
        }
    }
}

fn serve_ready(cx: &mut Cx<'_>) {
    while !cx.keys.ready.is_empty() {
        // In the order they were pushed to: a client that waits for several gets the first.
        for (database, bytes) in std::mem::take(&mut cx.keys.ready) {
            let before = std::mem::replace(&mut cx.keys.database, database);
            serve_key(cx, &bytes);
            cx.keys.database = before;
        }
    }
}

/// Serves those who wait at a key, with the gate: whatever else they need can be waited for. No partition is held.
fn serve_owed(cx: &mut Cx<'_>, database: u8, bytes: &[u8]) -> Result<(), Busy> {
    let db = &cx.engine.db;
    let held = db.lock_gated(&[db.partition_of(cx.key(bytes).hash) as u16])?;
    cx.keys.hold(held);
    let before = std::mem::replace(&mut cx.keys.database, database);
    serve_key(cx, bytes);
    cx.keys.database = before;
    serve_ready(cx);
    cx.keys.release();
    Ok(())
}

/// Serves what a session's own waiter is owed. False: that has to be tried again soon.
pub(super) fn serve_own(engine: &Engine, session: &mut Session, now: Now) -> bool {
    let Some(waiter) = session.blocked.as_ref().map(|blocked| blocked.waiter.clone()) else { return true };
    let mut nothing = Out::new(2);
    let mut cx = Cx::new(engine, session, now, &mut nothing);
    while let Some(bytes) = waiter.take_owed() {
        if serve_owed(&mut cx, waiter.database, &bytes).is_err() {
            waiter.owe(&bytes);
            return false;
        }
    }
    true
}

fn serve_key(cx: &mut Cx<'_>, bytes: &[u8]) {
    let key = cx.key(bytes);
    let mut at = 0;
    cx.keys.expire_if_due(key);
    cx.keys.tell_gone(key);
    while let Some(kind) = cx.keys.find(key).map(EntryRef::kind) {
        let Some(waiter) = cx.keys.shard(key.hash).waiters.next(bytes, kind, &mut at) else { break };
        let beside = waiter.serve.beside.and_then(|at| waiter.request.as_args().try_get(at.into()));
        if beside.is_some_and(|beside| !cx.keys.reach(cx.key(beside))) {
            // Whoever waits behind it has to wait for it.
            cx.keys.owed.push((cx.keys.database, bytes.into()));
            break;
        }
        if !waiter.claim() {
            // It is looked at once more, as one that somebody claimed.
            continue;
        }
        match still_allowed(cx, &waiter, bytes).and_then(|()| take_for(cx, &waiter, key)) {
            Ok(None) => {
                waiter.unclaim();
                at += 1;
            }
            Ok(Some(reply)) => leave(cx, key, at, &waiter, Woken::Served(reply)),
            Err(why) => {
                count_failed(cx.engine, cx.cells, &waiter, &why);
                leave(cx, key, at, &waiter, Woken::Denied(why));
            }
        }
    }
    cx.keys.shard(key.hash).waiters.tidy(bytes);
}

/// Counts the error that a wait ends with, and its command as failed.
pub(super) fn count_failed(engine: &Engine, cells: &Cells, waiter: &Waiter, error: &CommandError) {
    engine.count_error(cells, error);
    if let Ok(spec) = commands::resolve(waiter.request.as_args()) {
        cells.failed(spec.bit());
    }
}

/// Takes a claimed waiter out of its place in the queue and wakes it.
fn leave(cx: &mut Cx<'_>, key: Key<'_>, at: usize, waiter: &Waiter, woken: Woken) {
    cx.keys.shard(key.hash).waiters.remove(key.bytes, at);
    waiter.wake(woken);
}

/// Takes what a waiting client wants; its reply, in its own protocol. `None`: nothing of it is for this client.
fn take_for(cx: &mut Cx<'_>, waiter: &Waiter, key: Key<'_>) -> Result<Option<Vec<u8>>, CommandError> {
    let mut reply = Out::new(waiter.protocol);
    std::mem::swap(cx.out, &mut reply);
    let effect = (waiter.serve.take)(cx, key, waiter.request.as_args());
    std::mem::swap(cx.out, &mut reply);
    if let Ok(spec) = commands::resolve(waiter.request.as_args()) {
        tell(cx, spec, waiter.request.as_args());
    }
    let Some(effect) = effect? else { return Ok(None) };
    let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
    if !effect.is_empty() {
        cx.keys.log_also(&effect);
    }
    Ok(Some(reply.to_vec()))
}

/// Asks the waiting client's grant once more, by the newest snapshot, about taking from this key, which is held.
fn still_allowed(cx: &mut Cx<'_>, waiter: &Waiter, key: &[u8]) -> Result<(), CommandError> {
    let access = cx.engine.access.load();
    let (caller, source) = (waiter.inside.caller().clone(), waiter.inside.source().clone());
    let inside = access.admit(caller, source, cx.engine.name()).map_err(|_| CommandError::NoAuth)?;
    if inside.caller().expires_at_ms().is_some_and(|at| cx.now.wall_ms >= at) {
        return Err(CommandError::NoAuth);
    }
    let Identity { inside, grant, .. } = cx.engine.identify(inside);
    let request = (waiter.serve.alone)(waiter.request.as_args(), key);
    let call = road::observe(cx, Call::new(request.as_args(), cx.now)?);
    match grant.permit(&inside, call, cx.now.wall_ms) {
        Ok(_) => Ok(()),
        Err((call, denied)) => Err(commands::no_permission(&call, &denied)),
    }
}

/// Takes a session out of every queue it waits in. The caller holds no partition.
pub(super) fn forget_waiter(session: &mut Session) -> Option<Arc<Waiter>> {
    let Blocked { waiter, .. } = session.blocked.take()?;
    session.record.state.remembered_bytes.store(session.watch.bytes as u64, Ordering::Relaxed);
    let engine = &session.engine;
    // Its keys are among its arguments; at the others nobody waits.
    for key in waiter.request.as_args().iter().skip(1) {
        engine.forget_at(waiter.database, key, Left::Waiter(waiter.clone()));
    }
    while let Some(key) = waiter.take_owed() {
        engine.forget_at(waiter.database, &key, Left::Debt);
    }
    engine.metrics.of(session.worker).shift(Gauge::Blocked, -1);
    Some(waiter)
}
