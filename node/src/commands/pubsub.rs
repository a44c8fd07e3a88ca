//! Publish and subscribe.

use std::collections::BTreeSet;

use bytes::Bytes;
use larder_iam_policies::access::Actions;

use super::help::{help, misused};
use super::{Acl, Arity, Beyond, Family, Flags, Http, Spec};
use crate::config::Limits;
use crate::engine::{Cx, Outcome, deliver_messages, may_listen};
use crate::error::CommandError;
use crate::glob;
use crate::metrics::Gauge;
use crate::pubsub::Channels;
use crate::resp::Args;
use crate::session::{Session, name_bytes};

pub(super) const LISTENS: Flags =
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
    listen(cx, args, Kind::Channel)
}

/// `PSUBSCRIBE pattern [pattern …]`
pub(super) const PSUBSCRIBE: Spec = Spec {
    name: "PSUBSCRIBE",
    beyond: Beyond::Patterns,
    summary: "Listens to every channel that fits a pattern; messages of channels the caller may not hear are left out.",
    reply: "for each pattern a push: psubscribe, the pattern, how many are listened to",
    run: psubscribe,
    ..SUBSCRIBE
};
fn psubscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    listen(cx, args, Kind::Pattern)
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
    leave(cx, args, Kind::Channel)
}

/// `PUNSUBSCRIBE [pattern …]`
pub(super) const PUNSUBSCRIBE: Spec = Spec {
    name: "PUNSUBSCRIBE",
    summary: "Stops listening to these patterns, or to all.",
    reply: "for each pattern a push: punsubscribe, the pattern, how many are still listened to",
    run: punsubscribe,
    ..UNSUBSCRIBE
};
fn punsubscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    leave(cx, args, Kind::Pattern)
}

/// What a connection listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
    /// A shard channel: counted by itself.
    Shard,
}

impl Kind {
    /// What a client is told of one it begins to listen to, and of one it leaves.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Channel => ("subscribe", "unsubscribe"),
            Self::Pattern => ("psubscribe", "punsubscribe"),
            Self::Shard => ("ssubscribe", "sunsubscribe"),
        }
    }

    /// Those that the client listens to.
    fn own(self, session: &mut Session) -> &mut BTreeSet<Bytes> {
        match self {
            Self::Channel => &mut session.channels,
            Self::Pattern => &mut session.patterns,
            Self::Shard => &mut session.shard_channels,
        }
    }

    fn enter(self, session: &Session, name: &Bytes) {
        let (pubsub, inbox) = (&session.engine.pubsub, session.inbox());
        match self {
            Self::Channel => pubsub.channels.subscribe(name, inbox),
            Self::Pattern => pubsub.subscribe_pattern(name, inbox),
            Self::Shard => pubsub.shards.subscribe(name, inbox),
        }
    }

    fn leave(self, session: &Session, name: &Bytes) {
        let (pubsub, inbox) = (&session.engine.pubsub, session.inbox());
        match self {
            Self::Channel => pubsub.channels.unsubscribe(name, inbox),
            Self::Pattern => pubsub.unsubscribe_pattern(name, inbox),
            Self::Shard => pubsub.shards.unsubscribe(name, inbox),
        }
    }
}

/// Listens to what the arguments name, and says so of each.
pub(super) fn listen(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), CommandError> {
    let Limits { channels_max, channel_bytes_max, .. } = cx.engine.config.limits;
    let own = kind.own(cx.session);
    let new = args.iter().skip(1).filter(|name| !own.contains(*name)).map(name_bytes);
    let (new, bytes) = new.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    if cx.session.listens_to() + new > channels_max {
        return Err(CommandError::Said(format!("ERR a connection may listen to {channels_max} channels at most")));
    }
    if cx.session.channel_bytes + bytes > channel_bytes_max {
        return Err(CommandError::Said(format!(
            "ERR a connection may listen to channels whose names have {channel_bytes_max} bytes at most"
        )));
    }
    for name in args.iter().skip(1).map(Bytes::copy_from_slice) {
        if cx.session.listens_to() == 0 {
            cx.cells.shift(Gauge::Subscribers, 1);
        }
        if kind.own(cx.session).insert(name.clone()) {
            cx.session.channel_bytes += name_bytes(&name);
            kind.enter(cx.session, &name);
        }
        reply(cx, kind, kind.words().0, Some(&name));
    }
    Ok(())
}

/// Leaves what the arguments name, or all, and says so of each.
pub(super) fn leave(cx: &mut Cx<'_>, args: Args<'_>, kind: Kind) -> Result<(), CommandError> {
    // What was sent before is heard before.
    hear(cx);
    let names: Vec<Bytes> = if args.len() > 1 {
        args.iter().skip(1).map(Bytes::copy_from_slice).collect()
    } else {
        kind.own(cx.session).iter().cloned().collect()
    };
    if names.is_empty() {
        reply(cx, kind, kind.words().1, None);
    }
    for name in names {
        if kind.own(cx.session).remove(&name) {
            cx.session.channel_bytes -= name_bytes(&name);
            kind.leave(cx.session, &name);
            if cx.session.listens_to() == 0 {
                cx.cells.shift(Gauge::Subscribers, -1);
            }
        }
        reply(cx, kind, kind.words().1, Some(&name));
    }
    Ok(())
}

fn reply(cx: &mut Cx<'_>, kind: Kind, what: &str, name: Option<&[u8]>) {
    cx.push(|cx| push(cx, kind, what, name));
}

fn push(cx: &mut Cx<'_>, kind: Kind, what: &str, name: Option<&[u8]>) {
    cx.out.push(3);
    cx.out.bulk(what);
    match name {
        Some(name) => cx.out.bulk(name),
        None => cx.out.null(),
    }
    let count = match kind {
        Kind::Channel | Kind::Pattern => cx.session.channels.len() + cx.session.patterns.len(),
        Kind::Shard => cx.session.shard_channels.len(),
    };
    cx.out.int(count as i64);
}

/// `PUBSUB CHANNELS | NUMSUB | NUMPAT`
pub(super) const PUBSUB: Spec = Spec {
    name: "PUBSUB",
    family: Family::Pubsub,
    since: "2.8.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Who listens.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// `PUBSUB CHANNELS [pattern]`
pub(super) const PUBSUB_CHANNELS: Spec = Spec {
    name: "PUBSUB|CHANNELS",
    arity: Arity::AtLeast(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    acl: Acl::PUBSUB.or(Acl::SLOW),
    beyond: Beyond::Cache(Actions::LIST),
    summary: "The channels that someone listens to by name.",
    reply: "array of bulk strings",
    run: channels,
    ..PUBSUB
};
fn channels(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(misused(&PUBSUB, args.get(1)));
    }
    let names = cx.engine.pubsub.channels.names();
    list(cx, args, names);
    Ok(())
}

/// Answers those of the channels that fit the pattern, if one is given, and that the caller may hear of.
pub(super) fn list(cx: &mut Cx<'_>, args: Args<'_>, mut names: Vec<Bytes>) {
    names.retain(|name| args.try_get(2).is_none_or(|pattern| glob::matches(pattern, name)));
    names.retain(|name| may_listen(cx.session, name, cx.now));
    cx.out.array(names.len());
    names.iter().for_each(|name| cx.out.bulk(name));
}

/// `PUBSUB NUMSUB [channel …]`
pub(super) const PUBSUB_NUMSUB: Spec = Spec {
    name: "PUBSUB|NUMSUB",
    summary: "How many listen to each of these channels by name.",
    reply: "array: each channel and its number",
    run: numsub,
    ..PUBSUB_CHANNELS
};
fn numsub(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let channels = &cx.engine.pubsub.channels;
    count(cx, args, channels);
    Ok(())
}

/// Answers how many listen to each of the channels, none where the caller may not hear of it.
pub(super) fn count(cx: &mut Cx<'_>, args: Args<'_>, channels: &Channels) {
    cx.out.array((args.len() - 2) * 2);
    for channel in args.iter().skip(2) {
        cx.out.bulk(channel);
        let number = if may_listen(cx.session, channel, cx.now) { channels.listeners(channel) } else { 0 };
        cx.out.int(number as i64);
    }
}

/// `PUBSUB NUMPAT`
pub(super) const PUBSUB_NUMPAT: Spec = Spec {
    name: "PUBSUB|NUMPAT",
    arity: Arity::Exactly(2),
    summary: "How many patterns someone listens to.",
    reply: "integer",
    run: numpat,
    ..PUBSUB_CHANNELS
};
fn numpat(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(cx.engine.pubsub.patterns() as i64);
    Ok(())
}

/// `PUBSUB HELP`
pub(super) const PUBSUB_HELP: Spec = Spec {
    name: "PUBSUB|HELP",
    since: "6.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "The subcommands.",
    reply: "array of lines",
    run: pubsub_help,
    ..PUBSUB
};
fn pubsub_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &PUBSUB, HELP_LINES);
    Ok(())
}
const HELP_LINES: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

/// Writes the messages that wait; a client that may not listen any more is closed.
pub(super) fn hear(cx: &mut Cx<'_>) {
    cx.push(|cx| {
        if !deliver_messages(cx.session, cx.now, cx.out) {
            cx.outcome = Outcome::Close;
        }
    });
}
