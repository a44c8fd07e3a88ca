//! Blocking pops: how a client begins to wait, and how a push serves it.

use std::sync::Arc;

use super::cx::{Cx, Outcome};
use super::road;
use crate::commands::{self, Call};
use crate::db::Key;
use crate::db::entry::List;
use crate::error::CommandError;
use crate::metrics::Gauge;
use crate::resp::{Args, OwnedArgs};
use crate::session::{Blocked, Identity, Session};
use crate::waiters::{Waiter, Woken};

/// Makes the client wait at `keys`, whose partitions are held, for `timeout_ms` or for ever.
pub(crate) fn block<'k>(
    cx: &mut Cx<'_>,
    request: Args<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
    timeout_ms: Option<u64>,
) {
    let Some(identity) = &cx.session.identity else { return };
    let waiter = Arc::new(Waiter::new(request.to_owned(), identity.inside.clone(), cx.session.inbox.clone()));
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
/// nobody takes the element in between; each pop is logged as `LPOP` behind the push.
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
    while matches!(cx.keys.collection::<List>(key), Ok(Some(_))) {
        let Some(waiter) = cx.keys.shard(key.hash).waiters.claim_next(bytes) else { return };
        match still_allowed(cx, &waiter, bytes) {
            Err(why) => waiter.wake(Woken::Denied(why)),
            Ok(()) => {
                let Some(element) = pop_front(cx, key) else { return };
                cx.keys.log_also(&[b"LPOP", bytes]);
                waiter.wake(Woken::Popped { key: bytes.into(), element });
            }
        }
    }
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
    let request = OwnedArgs::from_slices([waiter.request.as_args().get(0), key, b"0"]);
    let call = road::observe(cx, Call::new(request.as_args(), cx.now)?);
    match grant.permit(&inside, call, cx.now.wall_ms) {
        Ok(_) => Ok(()),
        Err((call, denied)) => Err(commands::no_permission(&call, &denied)),
    }
}

/// Takes the first element; removes the key with the last.
fn pop_front(cx: &mut Cx<'_>, key: Key<'_>) -> Option<Vec<u8>> {
    // A key that holds another type since serves nobody: as an absent one.
    cx.keys.change(key, |list: &mut List, _| (list.pop_front().map(Vec::from), true)).ok().flatten().flatten()
}

/// Takes a session out of every queue it waits in. The caller holds no partition.
pub(super) fn forget_waiter(session: &mut Session) -> Option<Arc<Waiter>> {
    let Blocked { waiter, .. } = session.blocked.take()?;
    let engine = &session.engine;
    for key in waiter.request.as_args().iter().skip(1) {
        let partition = engine.db.partition_of(engine.db.hash(key));
        engine.db.lock_patiently(partition).shard(partition).waiters.forget(key, &waiter);
    }
    engine.metrics.of(session.worker).shift(Gauge::Blocked, -1);
    Some(waiter)
}
