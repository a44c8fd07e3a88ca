//! Several commands as one step: EXEC, and the HTTP dialect's `/multi-exec`.

use super::Engine;
use super::acl_log::Context;
use super::blocking::{let_go, serve_and_release};
use super::cx::Cx;
use super::monitors;
use super::road::{Partitions, Unjudged, act, judge, name_keys};
use crate::commands::{self, Call, Flags, Http, Locks, Spec};
use crate::db::Busy;
use crate::error::CommandError;
use crate::meter::Paid;
use crate::resp::{Args, Out};
use crate::session::{Session, Transaction};
use crate::time::Now;
use std::sync::atomic::Ordering;

/// Why a transaction did not run. None of it did.
#[derive(Debug)]
pub enum TransactionError<'a> {
    /// A partition was held too long: yield, then run the same calls again.
    Busy(Vec<Paid<Call<'a>>>),
    /// The TTL a call was authorised with is no longer the key's: observe and authorise again.
    Stale,
    /// A command has no place in a transaction over HTTP, or memory is short.
    Refused(CommandError),
}

impl Engine {
    /// Runs paid calls as one step and writes one array of their replies; a command that fails answers its error there,
    /// and the others run, as in EXEC.
    ///
    /// # Errors
    /// See [`TransactionError`]; nothing ran and nothing was written.
    pub fn run_transaction<'c>(
        &self,
        session: &mut Session,
        calls: Vec<Paid<Call<'c>>>,
        now: Now,
        out: &mut Out,
    ) -> Result<(), TransactionError<'c>> {
        for paid in &calls {
            if let Http::Refused(why) = paid.call().spec().http {
                return Err(TransactionError::Refused(commands::refused_over_http(paid.call().spec(), why)));
            }
        }
        out.will_be_copied();
        let mut cx = Cx::new(self, session, now, out);
        if self.is_limited() {
            let asks = |asks: fn(&Spec) -> bool| calls.iter().any(|paid| asks(paid.call().spec()));
            let grows = asks(|spec| spec.flags.has(Flags::DENYOOM));
            // A script is told at its first call that would grow data.
            cx.out_of_memory =
                (grows || asks(|spec| matches!(spec.locks, Locks::Script))) && !self.make_room(cx.cells, now);
            if grows && cx.out_of_memory {
                return Err(TransactionError::Refused(CommandError::OutOfMemory));
            }
        }
        let mut wanted = Partitions::default();
        calls.iter().for_each(|paid| wanted.add_queued(&cx, paid.call().spec(), paid.call().args()));
        match wanted.lock(&cx) {
            Ok(held) => cx.keys.hold(held),
            Err(Busy) => {
                return Err(match self.scripts.live.busy() {
                    Some(busy) => TransactionError::Refused(busy),
                    None => TransactionError::Busy(calls),
                });
            }
        }
        if cx.keys.any_fields_due() {
            let mut named = Vec::new();
            calls.iter().for_each(|paid| name_keys(paid.call().spec(), paid.call().args(), &mut named));
            if cx.keys.expire_some_fields(&named) {
                let_go(&mut cx);
                return Err(TransactionError::Busy(calls));
            }
        }
        if calls.iter().any(|paid| super::road::is_stale(&mut cx, paid.call())) {
            let_go(&mut cx);
            return Err(TransactionError::Stale);
        }
        cx.out.array(calls.len());
        let begun = cx.keys.begin_record();
        cx.nested = true;
        for paid in calls {
            let call = paid.into_call();
            act(&mut cx, call.spec(), call.args());
            if cx.engine.monitors.any() {
                monitors::show(&cx, call.spec(), call.args());
            }
        }
        cx.keys.end_record(begun);
        serve_and_release(&mut cx);
        Ok(())
    }
}

/// The partitions that EXEC holds; none, where it will run nothing.
pub(super) fn queued(cx: &Cx<'_>) -> Partitions {
    let mut wanted = Partitions::default();
    if let Some(transaction) = cx.session.transaction.as_ref().filter(|transaction| !transaction.failed) {
        transaction.queue.iter().for_each(|(spec, args)| wanted.add_queued(cx, spec, args.as_args()));
        cx.session.watch.keys.iter().for_each(|(_, key)| wanted.add_key(cx, key));
    }
    wanted
}

/// EXEC: the transaction is complete, none of its commands was refused, and what it needs is held.
pub(crate) fn exec(cx: &mut Cx<'_>, request: Args<'_>) {
    let unchanged = watched_unchanged(cx);
    let Transaction { queue, bytes, .. } = cx.session.transaction.take().unwrap_or_default();
    unwatch_held(cx);
    if !unchanged {
        return cx.out.null_array();
    }
    cx.out.array(queue.len());
    let begun = cx.keys.begin_record();
    cx.nested = true;
    cx.executing = Some((queue.len(), bytes));
    let mut laps = cx.engine.slow.laps();
    for (spec, args) in &queue {
        let args = args.as_args();
        let call = Call::of(spec, args, cx.now);
        // Asked again, by the newest snapshot: a rule may have changed since the command was queued.
        match if spec.flags.has(Flags::NO_AUTH) { Ok(None) } else { judge(cx, call, Context::Multi).map(Some) } {
            Ok(permit) => {
                let paid = permit.map(|permit| cx.engine.meters.charged_before(permit));
                debug_assert!(paid.is_some() || spec.flags.has(Flags::NO_AUTH));
                act(cx, spec, args);
                if let Some(laps) = &mut laps {
                    laps.lap(cx, args);
                }
                if cx.engine.monitors.any() {
                    monitors::show(cx, spec, args);
                }
            }
            Err(Unjudged::Denied(error)) => cx.fail(&commands::no_longer_permitted(&error)),
            Err(Unjudged::Busy) => cx.fail(&CommandError::Text("ERR a partition was not held")),
        }
    }
    cx.nested = false;
    cx.executing = None;
    if let Some(laps) = laps {
        laps.end(cx, request);
    }
    cx.keys.end_record(begun);
    cx.keys.log_nothing();
}

/// Whether no watched key changed. Keys that died since WATCH count as changed.
fn watched_unchanged(cx: &mut Cx<'_>) -> bool {
    let keys = std::mem::take(&mut cx.session.watch.keys);
    for (database, bytes) in &keys {
        let key = cx.key(bytes);
        cx.keys.within(*database, |keys| keys.expire_if_due(key));
    }
    cx.session.watch.keys = keys;
    !cx.session.watch.is_touched()
}

/// Forgets every watch; the partitions of the watched keys are held.
fn unwatch_held(cx: &mut Cx<'_>) {
    let watch = std::mem::take(&mut cx.session.watch);
    cx.session.record.state.remembered_bytes.store(0, Ordering::Relaxed);
    for (database, bytes) in &watch.keys {
        let key = cx.key(bytes);
        cx.keys.within(*database, |keys| keys.shard(key.hash).watched.forget(bytes, watch.flag()));
    }
}
