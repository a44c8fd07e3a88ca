//! Blocking pops: how a client begins to wait, and how a push serves it.

use std::sync::Arc;

use super::cx::{Cx, Outcome};
use super::leftovers::Left;
use super::road;
use crate::commands::{self, Call, Serve};
use crate::db::Key;
use crate::db::entry::EntryRef;
use crate::error::CommandError;
use crate::metrics::Gauge;
use crate::resp::{Args, Out};
use crate::session::{Blocked, Identity, Session};
use crate::waiters::{Waiter, Woken};

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
        let effect = (serve.take)(cx, key, request)?;
        let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
        cx.keys.log_instead(&effect);
        return Ok(());
    }
    if cx.nested {
        (serve.give_up)(cx.out);
    } else {
        block(cx, request, serve, keys.iter(), timeout_ms);
    }
    Ok(())
}

/// Makes the client wait at `keys`, whose partitions are held, for `timeout_ms` or for ever.
fn block<'k>(
    cx: &mut Cx<'_>,
    request: Args<'_>,
    serve: Serve,
    keys: impl Iterator<Item = &'k [u8]>,
    timeout_ms: Option<u64>,
) {
    let Some(identity) = &cx.session.identity else { return };
    let waiter =
        Waiter::new(request.to_owned(), identity.inside.clone(), serve, cx.session.protocol, cx.session.inbox.clone());
    let waiter = Arc::new(waiter);
    for bytes in keys {
        let key = cx.key(bytes);
        cx.keys.shard(key.hash).waiters.push(bytes, waiter.clone());
    }
    let deadline_us = timeout_ms.map(|ms| cx.now.mono_us.saturating_add(ms.saturating_mul(1000)));
    cx.session.blocked = Some(Blocked { waiter, deadline_us });
    cx.cells.shift(Gauge::Blocked, 1);
    cx.outcome = Outcome::Blocked(deadline_us);
}

/// Serves the clients that wait for what a command, an EXEC or a replay just pushed. The partitions are still held, so
/// nobody takes the element in between; what each takes is logged behind the push.
#[inline]
pub(super) fn serve_ready(cx: &mut Cx<'_>) {
    while !cx.keys.ready.is_empty() {
        // In the order they were pushed to: a client that waits for several gets the first.
        std::mem::take(&mut cx.keys.ready).into_iter().for_each(|bytes| serve_key(cx, &bytes));
    }
}

#[cold]
fn serve_key(cx: &mut Cx<'_>, bytes: &[u8]) {
    let key = cx.key(bytes);
    while let Some(kind) = cx.keys.find(key).map(EntryRef::kind) {
        let Some(waiter) = cx.keys.shard(key.hash).waiters.claim_next(bytes, kind) else { return };
        let served = still_allowed(cx, &waiter, bytes).and_then(|()| take_for(cx, &waiter, key));
        waiter.wake(match served {
            Ok(reply) => Woken::Served(reply),
            Err(why) => Woken::Denied(why),
        });
    }
}

/// Takes what a waiting client wants; its reply, in its own protocol.
fn take_for(cx: &mut Cx<'_>, waiter: &Waiter, key: Key<'_>) -> Result<Vec<u8>, CommandError> {
    let mut reply = Out::new(waiter.protocol);
    std::mem::swap(cx.out, &mut reply);
    let effect = (waiter.serve.take)(cx, key, waiter.request.as_args());
    std::mem::swap(cx.out, &mut reply);
    let effect = effect?;
    let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
    cx.keys.log_also(&effect);
    Ok(reply.to_vec())
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
    let engine = &session.engine;
    // Its keys are among its arguments; at the others nobody waits.
    for key in waiter.request.as_args().iter().skip(1) {
        engine.forget_at(key, Left::Waiter(waiter.clone()));
    }
    engine.metrics.of(session.worker).shift(Gauge::Blocked, -1);
    Some(waiter)
}
