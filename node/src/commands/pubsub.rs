//! Publish and subscribe.

use bytes::Bytes;

use super::{Acl, Arity, Beyond, Family, Flags, Http, Spec};
use crate::engine::{Cx, Outcome, deliver_messages};
use crate::error::CommandError;
use crate::metrics::Gauge;
use crate::resp::Args;

const LISTENS: Flags =
    Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE).or(Flags::SESSION).or(Flags::IN_SUBSCRIPTION);

/// `PUBLISH channel message`
pub(super) const PUBLISH: Spec = Spec {
    name: "PUBLISH",
    family: Family::Pubsub,
    since: "2.0.0",
    arity: Arity::Exactly(3),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE).or(Flags::FAST),
    acl: Acl::PUBSUB.or(Acl::FAST),
    beyond: Beyond::Publish,
    summary: "Sends a message to everyone who listens to the channel.",
    reply: "integer: how many listen",
    run: publish,
    ..Spec::ROW
};
fn publish(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let heard = cx.engine.pubsub.publish(args.get(1), args.get(2));
    // Who listens to itself sees its message before the reply, as in redis 7.0.
    hear(cx);
    cx.out.int(heard as i64);
    Ok(())
}

/// `SUBSCRIBE channel [channel …]`
pub(super) const SUBSCRIBE: Spec = Spec {
    name: "SUBSCRIBE",
    family: Family::Pubsub,
    since: "2.0.0",
    arity: Arity::AtLeast(2),
    flags: LISTENS,
    acl: Acl::PUBSUB.or(Acl::SLOW),
    beyond: Beyond::Subscribe,
    http: Http::Refused("needs a stream; subscribe over RESP"),
    summary: "Listens to channels.",
    reply: "for each channel a push: subscribe, the channel, how many are listened to",
    run: subscribe,
    ..Spec::ROW
};
fn subscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let channels_max = cx.engine.config.limits.channels_max;
    let new = args.iter().skip(1).filter(|channel| !cx.session.channels.contains(*channel)).count();
    if cx.session.channels.len() + new > channels_max {
        return Err(CommandError::Said(format!("ERR a connection may listen to {channels_max} channels at most")));
    }
    for channel in args.iter().skip(1) {
        let channel = Bytes::copy_from_slice(channel);
        if cx.session.channels.is_empty() {
            cx.cells.shift(Gauge::Subscribers, 1);
        }
        if cx.session.channels.insert(channel.clone()) {
            cx.engine.pubsub.subscribe(&channel, &cx.session.inbox);
        }
        reply(cx, "subscribe", Some(&channel));
    }
    Ok(())
}

/// `UNSUBSCRIBE [channel …]`
pub(super) const UNSUBSCRIBE: Spec = Spec {
    name: "UNSUBSCRIBE",
    family: Family::Pubsub,
    since: "2.0.0",
    arity: Arity::AtLeast(1),
    flags: LISTENS,
    acl: Acl::PUBSUB.or(Acl::SLOW),
    http: Http::Refused("concerns a connection, and an HTTP request has none"),
    summary: "Stops listening to these channels, or to all.",
    reply: "for each channel a push: unsubscribe, the channel, how many are still listened to",
    run: unsubscribe,
    ..Spec::ROW
};
fn unsubscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // What was sent before is heard before.
    hear(cx);
    let channels: Vec<Bytes> = if args.len() > 1 {
        args.iter().skip(1).map(Bytes::copy_from_slice).collect()
    } else {
        cx.session.channels.iter().cloned().collect()
    };
    if channels.is_empty() {
        reply(cx, "unsubscribe", None);
    }
    for channel in channels {
        if cx.session.channels.remove(&channel) {
            cx.engine.pubsub.unsubscribe(&channel, &cx.session.inbox);
            if cx.session.channels.is_empty() {
                cx.cells.shift(Gauge::Subscribers, -1);
            }
        }
        reply(cx, "unsubscribe", Some(&channel));
    }
    Ok(())
}

/// Writes the messages that wait; a client that may not listen any more is closed.
pub(super) fn hear(cx: &mut Cx<'_>) {
    if !deliver_messages(cx.session, cx.now, cx.out) {
        cx.outcome = Outcome::Close;
    }
}

fn reply(cx: &mut Cx<'_>, what: &str, channel: Option<&[u8]>) {
    cx.out.push(3);
    cx.out.bulk(what);
    match channel {
        Some(channel) => cx.out.bulk(channel),
        None => cx.out.null(),
    }
    cx.out.int(cx.session.channels.len() as i64);
}
