//! The road of one RESP command: what it is, who asks, may they, is it paid, then run it.
//!
//! The order of the checks is redis' own, because it decides which of several errors a client sees.

use larder_iam_policies::access::{Asks, Denied, Need, Permit};
use smallvec::SmallVec;

use super::Engine;
use super::acl_log::{Context, Reason, What};
use super::blocking::{let_go, serve_and_release};
use super::clients::Pause;
use super::cx::{Cx, Outcome};
use super::deliver::may_listen_on;
use super::events::tell;
use super::monitors;
use super::tracking;
use super::transaction::queued;
use crate::commands::{self, Call, Flags, Locks, Observed, Shape, Spec, keys};
use crate::db::{Busy, Held};
use crate::error::CommandError;
use crate::meter::Paid;
use crate::metrics::Count;
use crate::resp::{Args, REPLY_BYTES_MAX};
use crate::session::{Replies, Session};
use crate::time::Now;
use crate::tracking::acts;

impl Engine {
    /// Brings a session up to the newest access snapshot: one compare when nothing changed. False when the client may
    /// not be connected any more, by its network or because its credential ended.
    #[inline]
    pub(crate) fn refresh(&self, session: &mut Session, now: Now) -> bool {
        match &session.identity {
            None => true,
            Some(identity) => {
                let expired = identity.inside.caller().expires_at_ms().is_some_and(|at| now.wall_ms >= at);
                !expired && (identity.epoch == self.access.epoch() || self.readmit(session, now))
            }
        }
    }

    #[cold]
    fn readmit(&self, session: &mut Session, now: Now) -> bool {
        let Some(identity) = session.identity.take() else { return true };
        let (caller, source) = (identity.inside.caller().clone(), session.source.clone());
        session.act_for(self.access.load().admit(caller, source, self.name()).ok().map(|inside| self.identify(inside)));
        session.identity.is_some() && may_listen_on(session, now)
    }
}

/// The whole life of one command of a connection.
pub(super) fn command(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    if cx.session.replies == Replies::All { answered(cx, args) } else { unanswered(cx, args) }
}

/// A command whose client wants no reply to it.
#[cold]
fn unanswered(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (before, mark) = (cx.session.replies, cx.out.mark());
    let outcome = answered(cx, args);
    // One that blocks is answered, or not, when it is served.
    if !matches!(outcome, Outcome::Busy | Outcome::Blocked(_)) && cx.session.replies == before {
        cx.out.rollback(mark);
        if before == Replies::ButNext {
            cx.session.replies = Replies::All;
        }
    }
    if let Some(pushes) = cx.aside.take() {
        cx.out.raw(&pushes.to_vec());
    }
    outcome
}

/// Whether a pause holds this request back.
#[cold]
pub(super) fn is_paused(cx: &Cx<'_>, pause: Pause, args: Args<'_>) -> bool {
    let may_write = |spec: &Spec, args| spec.may_replicate() && !commands::declares_no_writes(cx, spec, args);
    let queued = || cx.session.transaction.iter().flat_map(|transaction| &transaction.queue);
    match commands::resolve(args) {
        _ if pause.reads_too => true,
        Ok(spec) if spec.runs_queue() => queued().any(|(spec, args)| may_write(spec, args.as_args())),
        Ok(spec) => may_write(spec, args),
        Err(_) => false,
    }
}

fn answered(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    match commands::resolve(args) {
        Ok(spec) => resolved(cx, spec, args),
        Err(error) => refuse(cx, args, &error),
    }
}

/// As [`command`], for a row already found.
pub(super) fn resolved(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>) -> Outcome {
    cx.session.last_command = Some(spec);
    if spec.flags.has(Flags::NO_AUTH) {
        return unauthenticated(cx, spec, args);
    }
    if cx.session.identity.is_none() {
        return refuse(cx, args, &CommandError::NoAuth);
    }
    let call = Call::of(spec, args, cx.now);
    let queueing = cx.session.transaction.is_some() && !spec.flags.has(Flags::UNQUEUED);
    let context = if cx.session.transaction.is_some() { Context::Multi } else { Context::Toplevel };
    let permit = match judge(cx, call, context) {
        Ok(permit) => admissible(cx, spec).map(|()| permit),
        Err(Unjudged::Busy) => return Outcome::Busy,
        Err(Unjudged::Denied(error)) => Err(error),
    };
    // Locked before it is paid for: a busy partition must not cost the client twice.
    if permit.is_ok() && !queueing && hold(cx, &call).is_err() {
        return Outcome::Busy;
    }
    let paid = permit.and_then(|permit| Ok(cx.engine.meters.charge(permit, cx.now)?));
    match paid {
        Ok(paid) if !queueing => shown(cx, paid),
        outcome => {
            let_go(cx);
            match outcome {
                // Charged now: EXEC pays nothing for it.
                Ok(_) => enqueue(cx, spec, args),
                Err(error) => refuse(cx, args, &error),
            }
        }
    }
}

/// Commands that say who one is, or that one leaves: no permit is asked, and none could be.
fn unauthenticated(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>) -> Outcome {
    if let Err(error) = admissible(cx, spec) {
        return refuse(cx, args, &error);
    }
    if cx.session.transaction.is_some() && !spec.flags.has(Flags::UNQUEUED) {
        return enqueue(cx, spec, args);
    }
    act(cx, spec, args);
    if cx.engine.monitors.any() {
        monitors::show(cx, spec, args);
    }
    cx.take_outcome()
}

pub(super) enum Unjudged {
    Busy,
    Denied(CommandError),
}

/// Asks the session's grant about a call. When the judge must know the TTL a key has already, locks the call's keys
/// first, looks, and keeps them locked: the call then runs with the TTL it was judged by. A refusal is entered into the ACL
/// log as one of this context, if there is one.
pub(super) fn judge<'c>(
    cx: &mut Cx<'_>,
    call: Call<'c>,
    context: impl Into<Option<Context>>,
) -> Result<Permit<Call<'c>>, Unjudged> {
    let looks = cx.session.identity.as_ref().is_some_and(|identity| identity.grant.uses_ttl());
    let call = if !looks || call.inherits_from().is_none() {
        call
    } else {
        hold(cx, &call).map_err(|Busy| Unjudged::Busy)?;
        observe(cx, call)
    };
    permit(cx, call, context.into()).map_err(Unjudged::Denied)
}

/// Asks a session's grant about a call whose TTL is known or does not matter.
fn permit<'c>(cx: &Cx<'_>, call: Call<'c>, context: Option<Context>) -> Result<Permit<Call<'c>>, CommandError> {
    let identity = cx.session.identity.as_ref().ok_or(CommandError::NoAuth)?;
    let asked = identity.grant.permit(&identity.inside, call, cx.now.wall_ms);
    asked.map_err(|(call, denied)| {
        if let Some(context) = context {
            denied_call(cx, &call, &denied, context);
        }
        commands::no_permission(&call, &denied)
    })
}

/// Enters a denied call into the ACL log.
#[cold]
fn denied_call(cx: &Cx<'_>, call: &Call<'_>, denied: &Denied, context: Context) {
    let Some((identity, reason)) = cx.session.identity.as_ref().zip(Reason::of(call, denied)) else { return };
    let object = match reason {
        Reason::Command | Reason::Auth => call.spec().name.to_ascii_lowercase().into_bytes(),
        Reason::Key | Reason::Channel => identity.grant.culprit(call).unwrap_or_else(|| touched(call)),
    };
    let user = identity.inside.caller().login_name().as_bytes().to_vec();
    cx.note_refusal(What { reason, context, object, user });
}

/// The first key or channel of a call that policies denied as a whole.
fn touched(call: &Call<'_>) -> Vec<u8> {
    let mut first = None;
    call.needs(&mut |need| {
        if let Need::Key(name, _) | Need::Look(name) | Need::Channel(name, _) | Need::Pattern(name, _) = need {
            first.get_or_insert_with(|| name.to_vec());
        }
    });
    first.unwrap_or_default()
}

/// Tells a call the TTL its key has, under the key's lock. A command that takes from whichever of its keys has something
/// is judged by the longest TTL among them, and none is the longest. One that waits at one key and has another beside it
/// says itself whose TTL counts.
pub(super) fn observe<'c>(cx: &mut Cx<'_>, call: Call<'c>) -> Call<'c> {
    let Some(bytes) = call.inherits_from() else { return call };
    let expire_at_ms = if call.spec().serve.is_some_and(|serve| serve.beside.is_none()) {
        let mut expiries: SmallVec<[Option<u64>; 4]> = SmallVec::new();
        // Key specs of a resolved call fit its arguments; one that did not would leave the TTL unknown, which denies.
        let known = keys::each(call.spec(), call.args(), &mut |position, _| {
            let key = cx.key(call.args().get(position));
            expiries.extend(cx.keys.find(key).map(|entry| entry.expire_at_ms()));
        });
        if known.is_err() {
            return call;
        }
        expiries.into_iter().max_by_key(|expiry| expiry.unwrap_or(u64::MAX)).flatten()
    } else {
        let key = cx.key(bytes);
        cx.keys.find(key).and_then(|entry| entry.expire_at_ms())
    };
    call.with_observed(Observed(expire_at_ms))
}

/// Whether the TTL a call was authorised with is no longer its key's. The key is locked.
pub(super) fn is_stale(cx: &mut Cx<'_>, call: &Call<'_>) -> bool {
    call.observed().is_some_and(|seen| observe(cx, *call).observed() != Some(seen))
}

/// What the state of the cache and of the connection forbids, whoever asks.
pub(super) fn admissible(cx: &mut Cx<'_>, spec: &Spec) -> Result<(), CommandError> {
    cx.out_of_memory = false;
    if cx.engine.is_limited() {
        room_for(cx, spec)?;
    }
    if cx.session.only_subscriptions() && !spec.flags.has(Flags::IN_SUBSCRIPTION) {
        return Err(CommandError::Said(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
            spec.name.to_ascii_lowercase()
        )));
    }
    Ok(())
}

/// Makes room for a command that may grow data, in memory that has a limit. Inside MULTI every command may: the queue
/// itself grows. A script only learns whether there is room: it is told at its first call that would grow data.
#[cold]
fn room_for(cx: &mut Cx<'_>, spec: &Spec) -> Result<(), CommandError> {
    let grows = match &cx.session.transaction {
        Some(transaction) if spec.runs_queue() => transaction.grows(),
        Some(_) if !spec.flags.has(Flags::UNQUEUED) => true,
        _ => spec.flags.has(Flags::DENYOOM),
    };
    let asks = grows || spec.runs_queue() || matches!(spec.locks, Locks::Script);
    cx.out_of_memory = asks && !cx.engine.make_room(cx.cells, cx.now);
    if grows && cx.out_of_memory { Err(CommandError::OutOfMemory) } else { Ok(()) }
}

/// As [`locked`], and shown to whoever monitors.
pub(super) fn shown(cx: &mut Cx<'_>, paid: Paid<Call<'_>>) -> Outcome {
    if !cx.engine.monitors.any() {
        return locked(cx, paid);
    }
    let (spec, args) = (paid.call().spec(), paid.call().args());
    if monitors::comes_first(spec) {
        monitors::show(cx, spec, args);
        return locked(cx, paid);
    }
    let outcome = locked(cx, paid);
    if outcome != Outcome::Busy {
        monitors::show(cx, spec, args);
    }
    outcome
}

/// Locks what a paid call needs, unless it is locked already, runs it, and lets go.
pub(super) fn locked(cx: &mut Cx<'_>, paid: Paid<Call<'_>>) -> Outcome {
    let call = paid.into_call();
    if hold(cx, &call).is_err() {
        return Outcome::Busy;
    }
    act(cx, call.spec(), call.args());
    serve_and_release(cx);
    cx.take_outcome()
}

/// Locks what a call needs, unless something is locked already.
pub(super) fn hold(cx: &mut Cx<'_>, call: &Call<'_>) -> Result<(), Busy> {
    if matches!(cx.keys.held, Held::None) {
        let held = lock_for(cx, call).inspect_err(|Busy| cx.cells.add(Count::Busy, 1))?;
        cx.keys.hold(held);
        if cx.keys.any_fields_due() {
            return expire_some_fields(cx, call);
        }
    }
    Ok(())
}

/// Takes fields that are due out of the hashes that a call is about. While there are more than one hold may take, the
/// partitions are given back, and the call has to be asked again.
#[cold]
fn expire_some_fields(cx: &mut Cx<'_>, call: &Call<'_>) -> Result<(), Busy> {
    let mut named = Vec::new();
    name_keys(call.spec(), call.args(), &mut named);
    if call.spec().runs_queue() {
        let queue = cx.session.transaction.iter().flat_map(|transaction| &transaction.queue);
        queue.for_each(|(spec, args)| name_keys(spec, args.as_args(), &mut named));
    }
    if cx.keys.expire_some_fields(&named) {
        let_go(cx);
        return Err(Busy);
    }
    Ok(())
}

/// Adds the keys of a command that its specs name.
pub(super) fn name_keys<'c>(spec: &Spec, args: Args<'c>, named: &mut Vec<&'c [u8]>) {
    // Others are looked at when they are found.
    let _ = keys::each(spec, args, &mut |position, _| named.push(args.get(position)));
}

/// Runs a command whose partitions are held, and notes its effect.
#[inline]
pub(super) fn act(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>) {
    cx.cells.called(spec.bit());
    cx.keys.begin();
    cx.keys.count_looks(spec.is_read() || spec.looks);
    let tracks = cx.session.tracker.is_some();
    if tracks {
        acts(cx.session.id);
    }
    let before = cx.out.mark();
    cx.out.keep_whole(spec.takes());
    // What would be changed, or taken, without an answer is left as it is.
    let mut done = if cx.out.is_over() && spec.may_replicate() { Err(too_long()) } else { (spec.run)(cx, args) };
    cx.out.keep_whole(false);
    if cx.out.is_cut() {
        cx.out.rollback(before);
        done = Err(too_long());
    }
    if let Err(error) = done {
        cx.cells.failed(spec.bit());
        cx.fail(&error);
    }
    cx.keys.seal(args);
    tell(cx, spec, args);
    if tracks {
        tracking::ran(cx, spec, args);
    }
}

#[cold]
fn too_long() -> CommandError {
    CommandError::Said(format!("ERR the reply would be longer than {REPLY_BYTES_MAX} bytes"))
}

/// Every partition one call needs.
fn lock_for<'a>(cx: &Cx<'a>, call: &Call<'_>) -> Result<Held<'a>, Busy> {
    let db = &cx.engine.db;
    if let (Shape::OneKey(position), Locks::Keys) = (call.spec().shape(), call.spec().locks) {
        let hash = cx.key(call.args().get(position.into())).hash;
        return db.lock_one(db.partition_of(hash));
    }
    if matches!(call.spec().locks, Locks::Walks) && cx.engine.scripts.live.is_long() {
        // It would wait for each partition, for one of them as long as the script runs.
        return Err(Busy);
    }
    if call.spec().runs_queue() {
        return queued(cx).lock(cx);
    }
    let mut wanted = Partitions::default();
    wanted.add(cx, call.spec(), call.args());
    wanted.lock(cx)
}

/// The partitions of several commands.
#[derive(Clone, Default)]
pub(super) struct Partitions {
    some: SmallVec<[u16; 16]>,
    all: bool,
    /// A script is among the commands.
    gated: bool,
}

impl Partitions {
    /// Adds what one command holds while it runs alone.
    pub(super) fn add(&mut self, cx: &Cx<'_>, spec: &Spec, args: Args<'_>) {
        match spec.locks {
            Locks::Keys | Locks::Walks | Locks::Queue => {}
            Locks::All => self.all = true,
            Locks::AllIf(all) => self.all |= all(args),
            Locks::Script => self.gated = true,
        }
        // Keys a spec cannot name are nobody's guess: hold everything.
        self.all |=
            keys::each(spec, args, &mut |position, _| self.some.push(partition(cx, args.get(position)))).is_err();
    }

    /// Adds what a command that walks the partitions needs inside a transaction: everything.
    pub(super) fn add_queued(&mut self, cx: &Cx<'_>, spec: &Spec, args: Args<'_>) {
        self.all |= matches!(spec.locks, Locks::Walks);
        self.add(cx, spec, args);
    }

    pub(super) fn add_key(&mut self, cx: &Cx<'_>, key: &[u8]) {
        self.some.push(partition(cx, key));
    }

    /// As [`Partitions::lock`], waiting as long as it takes.
    pub(super) fn lock_patiently<'a>(self, cx: &Cx<'a>) -> Held<'a> {
        let wanted = self;
        loop {
            match wanted.clone().lock(cx) {
                Ok(held) => return held,
                Err(Busy) => std::thread::yield_now(),
            }
        }
    }

    /// Adds them to what a script holds already.
    pub(super) fn extend(self, cx: &mut Cx<'_>) {
        let db = &cx.engine.db;
        if self.all {
            cx.keys.held.extend(db, 0..db.partitions() as u16);
        } else {
            cx.keys.held.extend(db, self.some);
        }
    }

    pub(super) fn lock<'a>(mut self, cx: &Cx<'a>) -> Result<Held<'a>, Busy> {
        let db = &cx.engine.db;
        if self.all && !self.gated {
            return db.lock_all();
        }
        if self.all {
            // Scripts are serial among themselves: the gate is kept.
            self.some = (0..db.partitions() as u16).collect();
        }
        self.some.sort_unstable();
        self.some.dedup();
        if self.gated {
            return db.lock_gated(&self.some);
        }
        if self.some.is_empty() {
            return Ok(Held::None);
        }
        let mut gated = false;
        let held = db.lock_many(&self.some, &mut gated);
        if gated {
            cx.cells.add(Count::Gates, 1);
        }
        held
    }
}

fn partition(cx: &Cx<'_>, key: &[u8]) -> u16 {
    cx.engine.db.partition_of(cx.key(key).hash) as u16
}

/// Keeps a command for EXEC.
fn enqueue(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>) -> Outcome {
    let limits = &cx.engine.config.limits;
    let Some(transaction) = &mut cx.session.transaction else { return Outcome::Done };
    let bytes = transaction.bytes + args.bytes() + size_of::<(u32, u32)>() * args.len();
    if transaction.queue.len() >= limits.queued_commands_max || bytes > limits.queued_bytes_max {
        let error = CommandError::Said(format!(
            "ERR transaction is over its limits of {} commands and {} bytes",
            limits.queued_commands_max, limits.queued_bytes_max
        ));
        return refuse(cx, args, &error);
    }
    // A transaction already refused keeps nothing: EXEC will run none of it.
    if !transaction.failed {
        transaction.queue.push((spec, args.to_owned()));
        transaction.bytes = bytes;
    }
    cx.out.simple("QUEUED");
    Outcome::Done
}

/// Answers a command that will not run. Inside MULTI that spoils the transaction; a refused EXEC ends it.
#[cold]
pub(super) fn refuse(cx: &mut Cx<'_>, args: Args<'_>, error: &CommandError) -> Outcome {
    if looks_like_http(args) {
        return Outcome::Close;
    }
    let named = commands::named(args).ok();
    if let Some(spec) = named {
        cx.cells.rejected(spec.bit());
    }
    if named.is_some_and(Spec::runs_queue) {
        crate::commands::discard(cx);
        let text = error.text();
        let why = format!(": {}", text.strip_prefix("ERR ").unwrap_or(&text));
        cx.fail(&CommandError::ExecAbort(why.into()));
        return Outcome::Done;
    }
    if let Some(transaction) = &mut cx.session.transaction {
        transaction.failed = true;
    }
    cx.fail(error);
    Outcome::Done
}

/// What becomes of a command whose partitions are held for too long: it is asked again, or, when it is a script that holds
/// them and it has gone on for long, answered so.
#[cold]
pub(super) fn held_up(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(error) = cx.engine.scripts.live.busy() else { return Outcome::Busy };
    let mark = cx.out.mark();
    let outcome = refuse(cx, args, &error);
    if cx.session.replies != Replies::All {
        cx.out.rollback(mark);
    }
    if cx.session.replies == Replies::ButNext {
        cx.session.replies = Replies::All;
    }
    outcome
}

/// A browser or an HTTP client talks to us, perhaps because a web page made it: contract section 4.
fn looks_like_http(args: Args<'_>) -> bool {
    // The last is how HTTP/2 begins.
    const VERBS: [&[u8]; 10] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE", b"PRI"];
    let first = args.get(0);
    let is_version = |word: &[u8]| word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"HTTP/"));
    let verb = VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(first));
    first.eq_ignore_ascii_case(b"HOST:")
        || first.eq_ignore_ascii_case(b"POST")
        || (verb && args.len() == 3 && is_version(args.get(2)))
}
