//! The batch pipeline: many requests of one connection, read and found together, run in order.
//!
//! Up to [`COMMANDS_MAX`] requests are framed in place, their rows found, the keys of simple ones and the first of each
//! script hashed, and the memory they will touch asked for ahead, so that the waits for memory overlap. Then they run in
//! order. A command with one key locks, acts, replies and unlocks; everything else runs alone.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::cx::{Cx, Outcome};
use super::deliver::deliver_messages;
use super::road;
use super::{Calls, Engine, Next, Progress};
use crate::commands::{self, Acl, Call, Family, Flags, Locks, Shape, Spec};
use crate::error::CommandError;
use crate::resp::{self, Args, Out, OwnedArgs, Parsed, ProtocolError};
use crate::session::{Replies, Session};
use crate::time::Now;

/// Requests taken in one turn: facts B7.
const COMMANDS_MAX: usize = 32;
/// A turn ends early when it has written so much: bytes.
pub(crate) const TURN_OUT_BYTES: usize = 256 * 1024;
/// And when so many requests have run whose time grows with what they ask for.
const SLOW_MAX: usize = 8;

/// One turn's requests.
#[derive(Default)]
struct Batch {
    ranges: Vec<(u32, u32)>,
    items: Vec<Item>,
}

/// One request of a turn.
struct Item {
    /// Its row, when its name is a top-level command's and its arity fits; otherwise it takes the slow road.
    spec: Option<&'static Spec>,
    first: u32,
    count: u32,
    /// Where the next request begins.
    end: usize,
    /// Hash of the one key of a simple command, of the first that a script declares, or 0.
    hash: u64,
    /// The words of an inline request with quotes.
    quoted: Option<Box<OwnedArgs>>,
}

impl Item {
    /// Whether the keys it touches do not hang on what runs before it.
    fn is_foreseen(&self) -> bool {
        self.hash != 0 || self.spec.is_some_and(|spec| spec.shape() != Shape::Alone)
    }
}

impl Batch {
    fn args<'b>(&'b self, item: &'b Item, input: &'b [u8]) -> Args<'b> {
        match &item.quoted {
            Some(quoted) => quoted.as_args(),
            None => {
                let end = (item.first + item.count) as usize;
                Args::new(input, self.ranges.get(item.first as usize..end).unwrap_or_default())
            }
        }
    }
}

thread_local! {
    /// A worker's scratch: a batch never outlives its call, so one per thread is enough, and idle connections hold none.
    static SCRATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

impl Engine {
    /// Runs the requests at the beginning of `input`, at most 32 of them, each by the whole road.
    ///
    /// Call again with `input[consumed..]`, and more bytes behind it if [`Next::Read`] asks for them.
    pub fn exec_batch(&self, session: &mut Session, input: &[u8], now: Now, out: &mut Out) -> Progress {
        out.set_protocol(session.protocol);
        if let Some(blocked) = &session.blocked {
            return Progress { consumed: 0, next: Next::Blocked(blocked.deadline_us) };
        }
        if let Some(stalled) = &session.stalled {
            return Progress { consumed: 0, next: Next::Blocked(Some(stalled.until_us)) };
        }
        if session.record.calls.any() && session.record.calls.has(Calls::CLOSE) || !self.refresh(session, now) {
            return Progress { consumed: 0, next: Next::Close };
        }
        // What was sent before these requests is heard before their replies: the client may know that it was.
        if session.hears() && !deliver_messages(session, now, out) {
            return Progress { consumed: 0, next: Next::Close };
        }
        session.record.state.last_ms.store(now.wall_ms, Ordering::Relaxed);
        session.record.state.held.store(false, Ordering::Relaxed);
        session.executed_us = 0;
        let mut batch = SCRATCH.take().unwrap_or_default();
        let after = self.frame(session, &mut batch, input);
        if self.monitors.any() {
            // By the long road, where they are shown.
            batch.items.iter_mut().for_each(|item| (item.spec, item.hash) = (None, 0));
        }
        let progress = self.run_batch(session, &batch, input, after, now, out);
        session.note(None);
        session.alone = batch.items.len() == 1 && progress.consumed > 0;
        batch.ranges.clear();
        batch.items.clear();
        SCRATCH.set(Some(batch));
        progress
    }

    /// Frames requests; answers what follows the last of them.
    fn frame(&self, session: &mut Session, batch: &mut Batch, input: &[u8]) -> Result<Next, ProtocolError> {
        let limits = &self.config.limits;
        // Before AUTH one request at a time: what it says decides how large the next may be.
        let (limits, commands_max) = match session.identity {
            Some(_) if self.slow.is_fine() => (&limits.resp, 1),
            Some(_) => (&limits.resp, COMMANDS_MAX),
            None => (&limits.resp_unauthenticated, 1),
        };
        let (mut from, mut slow) = (0, 0);
        // What does not run in this turn is framed again in the next.
        while batch.items.len() < commands_max && slow < SLOW_MAX {
            let first = batch.ranges.len() as u32;
            match resp::parse(input, from, &mut batch.ranges, limits, &mut session.resume)? {
                Parsed::Complete { end, args } => {
                    let (spec, hash) = self.recognise(Args::new(input, &batch.ranges[first as usize..]));
                    slow += usize::from(spec.is_none_or(may_be_slow));
                    batch.items.push(Item { spec, first, count: args as u32, end, hash, quoted: None });
                    from = end;
                }
                Parsed::Quoted { end, args } => {
                    let quoted = Some(Box::new(args));
                    batch.items.push(Item { spec: None, first, count: 0, end, hash: 0, quoted });
                    from = end;
                }
                Parsed::Incomplete { missing } => return Ok(Next::Read { missing }),
            }
        }
        Ok(if from < input.len() { Next::Again } else { Next::Read { missing: 1 } })
    }

    /// The row of a request whose name and arity fit, and the hash of its one key or of a script's first.
    #[inline]
    fn recognise(&self, args: Args<'_>) -> (Option<&'static Spec>, u64) {
        let found = args.try_get(0).and_then(commands::find);
        match found.filter(|spec| spec.arity.admits(args.len()) && !spec.is_container()) {
            Some(spec) => match spec.shape() {
                Shape::OneKey(position) => (Some(spec), self.db.hash(args.get(position.into()))),
                // Behind the script and how many keys there are.
                _ if matches!(spec.locks, Locks::Script) => {
                    (Some(spec), args.try_get(3).map_or(0, |key| self.db.hash(key)))
                }
                _ => (Some(spec), 0),
            },
            None => (None, 0),
        }
    }

    fn run_batch(
        &self,
        session: &mut Session,
        batch: &Batch,
        input: &[u8],
        after: Result<Next, ProtocolError>,
        now: Now,
        out: &mut Out,
    ) -> Progress {
        let mut pause = self.clients.pause(now);
        let mut cx = Cx::new(self, session, now, out);
        let mut consumed = 0;
        let (mut at, mut slow, out_max) = (0, 0, cx.out.len() + TURN_OUT_BYTES);
        let mut foreseen = 0;
        while let Some(item) = batch.items.get(at) {
            if at >= foreseen && self.takes_short_road(cx.session) {
                let run = batch.items[at..].iter().take_while(|item| item.is_foreseen()).count();
                prefetch(&cx, &batch.items[at..at + run]);
                foreseen = at + run;
            }
            let simple =
                item.spec.is_some_and(|spec| spec.shape() != Shape::Alone) && self.takes_short_road(cx.session);
            let args = batch.args(item, input);
            if let Some(pause) = pause.filter(|pause| road::is_paused(&cx, *pause, args)) {
                cx.session.resume.reset();
                cx.session.record.state.held.store(true, Ordering::Relaxed);
                cx.session.last_command = commands::resolve(args).ok().or(cx.session.last_command);
                return Progress { consumed, next: Next::Blocked(Some(pause.until_us)) };
            }
            let outcome = match item.spec {
                Some(spec) if simple => short_road(&mut cx, spec, args, item.hash),
                _ if args.is_empty() => Outcome::Done,
                _ => road::command(&mut cx, args),
            };
            let outcome = if outcome == Outcome::Busy { road::held_up(&mut cx, args) } else { outcome };
            let next = match outcome {
                Outcome::Done => {
                    consumed = item.end;
                    at += 1;
                    slow += usize::from(item.spec.is_none_or(may_be_slow));
                    let is_over = slow >= SLOW_MAX || cx.out.len() >= out_max;
                    let walked = !simple && {
                        // It may have been CLIENT PAUSE.
                        pause = self.clients.pause(now);
                        // A walk takes as long as there are keys.
                        cx.session.last_command.is_some_and(|spec| matches!(spec.locks, Locks::Walks))
                    };
                    if !(is_over || walked) || at == batch.items.len() {
                        continue;
                    }
                    // Whether others come first is asked before the next.
                    Next::Again
                }
                Outcome::Busy => Next::Busy,
                Outcome::Close => Next::Close,
                Outcome::Blocked(deadline_us) => Next::Blocked(deadline_us),
            };
            if outcome != Outcome::Busy {
                consumed = item.end;
            }
            // What was framed behind this request will be framed again.
            cx.session.resume.reset();
            return Progress { consumed, next };
        }
        match after {
            Ok(next) => Progress { consumed, next },
            Err(error) => {
                cx.out.error([b"ERR ", &*error.text()].concat());
                Progress { consumed, next: Next::Close }
            }
        }
    }

    /// Whether the state of a session asks nothing of a simple command but whether it may: it queues nothing, the cache sets
    /// no rate, and its rights can be told from the arguments alone.
    #[inline]
    fn takes_short_road(&self, session: &Session) -> bool {
        session.transaction.is_none()
            && session.replies == Replies::All
            && !session.only_subscriptions()
            && !self.meters.is_limited()
            && session.identity.as_ref().is_some_and(|identity| identity.grant.is_full() || identity.grant.is_of_user())
    }
}

/// Whether the time of a command grows with what it asks for. Redis calls SET and its kin slow too, which take one string.
#[inline]
fn may_be_slow(spec: &Spec) -> bool {
    spec.acl.has(Acl::SLOW) && !(matches!(spec.family, Family::String) && matches!(spec.shape(), Shape::OneKey(_)))
}

/// Asks for the memory a run of requests will touch: first all buckets, then all entries, so that the waits
/// overlap. A partition someone holds is passed over: this is only ever a hint. Of a single request only the partition
/// itself is asked for, which takes no lock: it locks it at once and looks for the rest.
fn prefetch(cx: &Cx<'_>, items: &[Item]) {
    let hashes = || items.iter().filter(|item| item.hash != 0).map(|item| item.hash);
    let (db, database) = (&cx.engine.db, cx.keys.database);
    if hashes().count() < 2 {
        return hashes().for_each(|hash| db.prefetch(hash));
    }
    for hash in hashes() {
        if let Some(mut slice) = db.try_lock(db.partition_of(hash)) {
            slice.of(database).table.prefetch(hash);
        }
    }
    for hash in hashes() {
        if let Some(mut slice) = db.try_lock(db.partition_of(hash)) {
            slice.of(database).table.prefetch_entry(hash);
        }
    }
}

/// The road of a simple command for which the session's state asks nothing: permit and payment are made, and cost little.
/// Whoever may not run it takes the long road, which says why.
#[inline]
fn short_road(cx: &mut Cx<'_>, spec: &'static Spec, args: Args<'_>, hash: u64) -> Outcome {
    if spec.flags.has(Flags::DENYOOM) && cx.engine.is_limited() && !cx.engine.make_room(cx.cells, cx.now) {
        return road::refuse(cx, args, &CommandError::OutOfMemory);
    }
    let Some(identity) = &cx.session.identity else { return Outcome::Busy };
    let Ok(permit) = identity.grant.permit(&identity.inside, Call::of(spec, args, cx.now), cx.now.wall_ms) else {
        return road::command(cx, args);
    };
    let paid = match cx.engine.meters.charge(permit, cx.now) {
        Ok(paid) => paid,
        Err(throttled) => return road::refuse(cx, args, &throttled.into()),
    };
    cx.session.last_command = Some(spec);
    if let Shape::OneKey(position) = spec.shape() {
        cx.keys.hashed_ahead(args.get(position.into()), hash);
    }
    road::locked(cx, paid)
}
