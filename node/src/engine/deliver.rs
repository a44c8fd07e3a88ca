//! What other workers have for a session: messages of its channels, the outcome of its blocking command.

use super::blocking::{count_failed, forget_waiter, serve_own};
use super::events::key_of;
use super::monitors::{deliver_seen, stop_monitoring};
use super::tracking::{deliver_invalidations, stop_tracking};
use super::{Calls, Engine, Next};
use crate::buffers::Cut;
use crate::commands::{self, Call};
use crate::error::CommandError;
use crate::metrics::{Count, Gauge};
use crate::pubsub::{Heard, Waiting};
use crate::resp::{Out, OwnedArgs};
use crate::session::{Replies, Session};
use crate::time::Now;
use crate::waiters::Woken;

/// Microseconds after which a waiter that could not be served what it is owed tries again.
const OWED_US: u64 = 500;

impl Engine {
    /// Writes what waits for `session`: call it when its inbox rang, and when the time of a blocking command is up.
    pub fn deliver(&self, session: &mut Session, now: Now, out: &mut Out) -> Next {
        out.set_protocol(session.protocol);
        if session.record.calls.any() && called(session) {
            return Next::Close;
        }
        if session.inbox().overflowed() {
            self.cut(&session.record, Cut::Output);
            return Next::Close;
        }
        if !self.refresh(session, now) || !deliver_messages(session, now, out) {
            return Next::Close;
        }
        if let Some(stalled) = session.stalled {
            if now.mono_us < stalled.until_us {
                return Next::Blocked(Some(stalled.until_us));
            }
            session.stalled = None;
            answer(session, out, |out| out.ok());
            return Next::Again;
        }
        match &session.blocked {
            None => Next::Read { missing: 0 },
            Some(_) => {
                let served = serve_own(self, session, now);
                match deliver_outcome(session, now, out) {
                    Next::Blocked(deadline_us) if !served => {
                        let soon_us = now.mono_us.saturating_add(OWED_US);
                        Next::Blocked(Some(deadline_us.map_or(soon_us, |at| at.min(soon_us))))
                    }
                    next => next,
                }
            }
        }
    }
}

/// Undoes everything a session holds in its engine.
pub(crate) fn forget(session: &mut Session) {
    if let Some(waiter) = forget_waiter(session)
        && !waiter.claim()
        && let Some(Woken::Served(reply)) = waiter.outcome()
    {
        // As in redis, what was taken for a client that is gone before it read the reply is gone with it.
        tracing::debug!(reply_bytes = reply.len(), "a served client is gone");
    }
    commands::unwatch(session);
    unsubscribe_all(session);
    stop_tracking(session);
    stop_monitoring(session);
}

/// Takes what was called for; whether the client is to be closed. What a blocked one is called for is taken there.
#[cold]
fn called(session: &Session) -> bool {
    session.record.calls.take(Calls::LOOK);
    if session.blocked.is_none() {
        session.record.calls.take(Calls::TIME_UP);
        session.record.calls.take(Calls::UNBLOCK);
    }
    session.record.calls.has(Calls::CLOSE)
}

/// Writes the reply to a command that waited, unless its client wants none.
fn answer(session: &mut Session, out: &mut Out, write: impl FnOnce(&mut Out)) {
    if session.replies == Replies::All {
        write(out);
    } else if session.replies == Replies::ButNext {
        session.replies = Replies::All;
    }
}

const UNBLOCKED: CommandError = CommandError::Text("UNBLOCKED client unblocked via CLIENT UNBLOCK");

fn deliver_outcome(session: &mut Session, now: Now, out: &mut Out) -> Next {
    let Some(blocked) = &session.blocked else { return Next::Read { missing: 0 } };
    let deadline_us = blocked.deadline_us;
    let (calls, waiter) = (&session.record.calls, &blocked.waiter);
    let is_over = || deadline_us.is_some_and(|at| now.mono_us >= at) || calls.has(Calls::TIME_UP);
    let mark = out.mark();
    match waiter.outcome() {
        Some(Woken::Served(reply)) => out.raw(&reply),
        Some(Woken::Denied(error)) => out.error(error.bytes()),
        // Who just looks whether there is something for it may let it go again: what it is called for stays until then.
        None if calls.has(Calls::UNBLOCK) && waiter.claim() => {
            count_failed(&session.engine, session.engine.metrics.of(session.worker), waiter, &UNBLOCKED);
            out.error(UNBLOCKED.bytes());
        }
        None if is_over() && waiter.claim() => (waiter.serve.give_up)(out),
        None => return Next::Blocked(deadline_us),
    }
    calls.take(Calls::TIME_UP);
    calls.take(Calls::UNBLOCK);
    forget_waiter(session);
    session.note(None);
    if session.replies != Replies::All {
        out.rollback(mark);
        answer(session, out, |_| {});
    }
    Next::Again
}

/// Writes the messages that wait, each only if the client may still receive it. False: the client may not listen to one
/// of its channels any more, and is to be closed, as redis does when an ACL changes.
pub(crate) fn deliver_messages(session: &mut Session, now: Now, out: &mut Out) -> bool {
    if !session.inbox().is_full() {
        return true;
    }
    let Waiting { invalidations, seen, messages, .. } = session.inbox().take();
    deliver_invalidations(session, invalidations, now, out);
    // What a monitor is shown is a reply, of which it may want none.
    if session.replies == Replies::All && !deliver_seen(session, &seen, now, out) {
        return false;
    }
    let cells = session.engine.metrics.of(session.worker);
    for message in messages {
        let listens = match &message.heard {
            Heard::Channel => session.channels.contains(&message.channel),
            Heard::Pattern(pattern) => session.patterns.contains(pattern),
            Heard::Shard => session.shard_channels.contains(&message.channel),
        };
        if !listens {
            continue;
        }
        match &message.heard {
            Heard::Pattern(pattern) if !may(session, b"PSUBSCRIBE", pattern, now) => return false,
            Heard::Channel if !may(session, b"SUBSCRIBE", &message.channel, now) => return false,
            Heard::Shard if !may(session, b"SSUBSCRIBE", &message.channel, now) => return false,
            // A pattern may reach further than its listener's rights: what they do not cover is not for it.
            Heard::Pattern(_) if !may_hear_by_pattern(session, &message.channel, now) => continue,
            _ => {}
        }
        let tells_of = key_of(&message.channel, &message.payload);
        if tells_of.is_some_and(|key| !commands::may_be_shown(session, "SUBSCRIBE", key, now)) {
            continue;
        }
        match message.heard {
            Heard::Channel => begin(out, 3, "message"),
            Heard::Shard => begin(out, 3, "smessage"),
            Heard::Pattern(pattern) => {
                begin(out, 4, "pmessage");
                out.bulk_shared(pattern);
            }
        }
        out.bulk_shared(message.channel);
        out.bulk_shared(message.payload);
        cells.add(Count::Delivered, 1);
    }
    true
}

fn begin(out: &mut Out, parts: usize, kind: &str) {
    out.push(parts);
    out.bulk(kind);
}

/// Whether the client may still listen so.
fn may(session: &Session, command: &[u8], what: &[u8], now: Now) -> bool {
    let Some(identity) = &session.identity else { return false };
    if identity.grant.is_full() {
        return true;
    }
    let request = OwnedArgs::from_slices([command, what]);
    let call = Call::new(request.as_args(), now);
    call.is_ok_and(|call| identity.grant.permit(&identity.inside, call, now.wall_ms).is_ok())
}

/// Whether the client could listen to this channel: what it is shown of channels is filtered by its rights.
pub(crate) fn may_listen(session: &Session, channel: &[u8], now: Now) -> bool {
    may(session, b"SUBSCRIBE", channel, now)
}

/// Whether the client may listen to all that it listens to.
pub(super) fn may_listen_on(session: &Session, now: Now) -> bool {
    session.channels.iter().all(|channel| may(session, b"SUBSCRIBE", channel, now))
        && session.patterns.iter().all(|pattern| may(session, b"PSUBSCRIBE", pattern, now))
        && session.shard_channels.iter().all(|channel| may(session, b"SSUBSCRIBE", channel, now))
}

/// Whether a message heard by a pattern is for the client. A user's access string names its patterns, as in redis, and
/// with them what they match; a policy names channels.
fn may_hear_by_pattern(session: &Session, channel: &[u8], now: Now) -> bool {
    let is_user = session.identity.as_ref().is_some_and(|identity| identity.grant.is_of_user());
    is_user || may(session, b"SUBSCRIBE", channel, now)
}

/// Leaves every channel and pattern.
pub(crate) fn unsubscribe_all(session: &mut Session) {
    if session.listens_to() == 0 {
        return;
    }
    let (channels, patterns) = (std::mem::take(&mut session.channels), std::mem::take(&mut session.patterns));
    let shard_channels = std::mem::take(&mut session.shard_channels);
    session.channel_bytes = 0;
    let pubsub = &session.engine.pubsub;
    channels.iter().for_each(|channel| pubsub.channels.unsubscribe(channel, session.inbox()));
    shard_channels.iter().for_each(|channel| pubsub.shards.unsubscribe(channel, session.inbox()));
    patterns.iter().for_each(|pattern| pubsub.unsubscribe_pattern(pattern, session.inbox()));
    session.engine.metrics.of(session.worker).shift(Gauge::Subscribers, -1);
}
