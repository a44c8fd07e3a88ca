//! Publish and subscribe by shard channels: names of their own, which patterns do not reach. All are here, as in redis
//! outside of cluster mode.

use super::help::misused;
use super::pubsub::{
    Kind, LISTENS, PUBLISH, PUBSUB, PUBSUB_CHANNELS, PUBSUB_NUMSUB, SUBSCRIBE, UNSUBSCRIBE, count, hear, leave, list,
    listen,
};
use super::{KeyFlags, KeySpec, Spec};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const SINCE: &str = "7.0.0";

/// `SPUBLISH shardchannel message`
pub(super) const SPUBLISH: Spec = Spec {
    name: "SPUBLISH",
    since: SINCE,
    keys: &[KeySpec::at(1).doing(KeyFlags::NOT_KEY)],
    summary: "Sends a message to everyone who listens to the shard channel.",
    run: spublish,
    ..PUBLISH
};
fn spublish(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let heard = cx.engine.pubsub.publish_to_shard(args.get(1), args.get(2));
    hear(cx);
    cx.out.int(heard as i64);
    Ok(())
}

/// `SSUBSCRIBE shardchannel [shardchannel …]`
pub(super) const SSUBSCRIBE: Spec = Spec {
    name: "SSUBSCRIBE",
    since: SINCE,
    flags: LISTENS,
    keys: &[KeySpec::at(1).to(-1, 1).doing(KeyFlags::NOT_KEY)],
    summary: "Listens to shard channels.",
    reply: "for each channel a push: ssubscribe, the channel, how many shard channels are listened to",
    run: ssubscribe,
    ..SUBSCRIBE
};
fn ssubscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // As redis has it: unlike SUBSCRIBE, not in a transaction either.
    if cx.nested {
        return Err(CommandError::Text("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    listen(cx, args, Kind::Shard)
}

/// `SUNSUBSCRIBE [shardchannel …]`
pub(super) const SUNSUBSCRIBE: Spec = Spec {
    name: "SUNSUBSCRIBE",
    since: SINCE,
    keys: &[KeySpec::at(1).to(-1, 1).doing(KeyFlags::NOT_KEY)],
    summary: "Stops listening to these shard channels, or to all.",
    reply: "for each channel a push: sunsubscribe, the channel, how many shard channels are still listened to",
    run: sunsubscribe,
    ..UNSUBSCRIBE
};
fn sunsubscribe(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    leave(cx, args, Kind::Shard)
}

/// `PUBSUB SHARDCHANNELS [pattern]`
pub(super) const PUBSUB_SHARDCHANNELS: Spec = Spec {
    name: "PUBSUB|SHARDCHANNELS",
    since: SINCE,
    summary: "The shard channels that someone listens to.",
    run: shardchannels,
    ..PUBSUB_CHANNELS
};
fn shardchannels(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(misused(&PUBSUB, args.get(1)));
    }
    let names = cx.engine.pubsub.shards.names();
    list(cx, args, names);
    Ok(())
}

/// `PUBSUB SHARDNUMSUB [shardchannel …]`
pub(super) const PUBSUB_SHARDNUMSUB: Spec = Spec {
    name: "PUBSUB|SHARDNUMSUB",
    since: SINCE,
    summary: "How many listen to each of these shard channels.",
    run: shardnumsub,
    ..PUBSUB_NUMSUB
};
fn shardnumsub(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let shards = &cx.engine.pubsub.shards;
    count(cx, args, shards);
    Ok(())
}
