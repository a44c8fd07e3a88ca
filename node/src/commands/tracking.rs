//! CLIENT TRACKING and its like: caches on the client's side. How it works: [`crate::tracking`].

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::client::ABOUT;
use super::parse::{int, is};
use super::{Arity, Locks, Spec};
use crate::db::Slice;
use crate::engine::{Calls, Cx, State, stop_tracking};
use crate::error::CommandError;
use crate::resp::Args;
use crate::tracking::{Options, PREFIX_BYTES_MAX, PREFIXES_MAX, Tracker};

/// `CLIENT GETREDIR`
pub(super) const CLIENT_GETREDIR: Spec = Spec {
    name: "CLIENT|GETREDIR",
    since: "6.0.0",
    arity: Arity::Exactly(2),
    summary: "Whom the connection's invalidations are sent to.",
    reply: "a connection's number; 0: to itself; -1: tracking is off",
    run: client_getredir,
    ..ABOUT
};
fn client_getredir(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.out.int(cx.session.record.state.redirect.load(Ordering::Relaxed));
    Ok(())
}

/// `CLIENT TRACKING ON | OFF [REDIRECT id] [PREFIX prefix …] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub(super) const CLIENT_TRACKING: Spec = Spec {
    name: "CLIENT|TRACKING",
    since: "6.0.0",
    arity: Arity::AtLeast(3),
    locks: Locks::AllIf(|args| args.iter().skip(2).any(|word| is(word, "BCAST"))),
    summary: "Tells the connection, or another, when keys change that it read, or those of prefixes.",
    reply: "OK",
    run: client_tracking,
    ..ABOUT
};
fn client_tracking(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = read(cx, args)?;
    if is(args.get(2), "ON") {
        check(cx, &options)?;
        on(cx, options);
    } else if is(args.get(2), "OFF") {
        off(cx);
    } else {
        return Err(CommandError::Syntax);
    }
    cx.out.ok();
    Ok(())
}

fn read(cx: &Cx<'_>, args: Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut at = 3;
    while let Some(word) = args.try_get(at) {
        let more = args.try_get(at + 1);
        match (word, more) {
            (word, Some(id)) if is(word, "REDIRECT") => {
                if options.redirect.is_some() {
                    return Err(CommandError::Text("ERR A client can only redirect to a single other client"));
                }
                options.redirect = Some(target(cx, int(id)?)?);
                at += 1;
            }
            (word, Some(prefix)) if is(word, "PREFIX") => {
                options.prefixes.push(Bytes::copy_from_slice(prefix));
                at += 1;
            }
            (word, _) if is(word, "BCAST") => options.broadcast = true,
            (word, _) if is(word, "OPTIN") => options.opt_in = true,
            (word, _) if is(word, "OPTOUT") => options.opt_out = true,
            (word, _) if is(word, "NOLOOP") => options.no_loop = true,
            _ => return Err(CommandError::Syntax),
        }
        at += 1;
    }
    Ok(options)
}

/// The client to redirect to: one that acts for the same user, as it is told of what this one reads.
fn target(cx: &Cx<'_>, id: i64) -> Result<(u64, std::sync::Weak<crate::pubsub::Inbox>), CommandError> {
    let nobody = CommandError::Text("ERR The client ID you want redirect to does not exist");
    let own = cx.session.record.who.lock().user.clone();
    let found = u64::try_from(id).ok().and_then(|id| cx.engine.clients.find(id));
    let found = found.filter(|record| record.id == cx.session.id || record.who.lock().user == own);
    found.and_then(|record| Some((record.id, record.inbox.get()?.clone()))).ok_or(nobody)
}

fn check(cx: &Cx<'_>, options: &Options) -> Result<(), CommandError> {
    if !options.broadcast && !options.prefixes.is_empty() {
        return Err(CommandError::Text("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    let own = cx.session.tracker.as_ref().map(|tracker| tracker.options.lock().clone());
    if own.as_ref().is_some_and(|own| own.broadcast != options.broadcast) {
        return Err(CommandError::Text(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return Err(CommandError::Text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if options.opt_in && options.opt_out {
        return Err(CommandError::Text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    let own = own.unwrap_or_default();
    if (options.opt_in && own.opt_out) || (options.opt_out && own.opt_in) {
        return Err(CommandError::Text(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    disjoint(&own.prefixes, &options.prefixes)
}

/// No prefix of a client may cover another.
fn disjoint(own: &[Bytes], new: &[Bytes]) -> Result<(), CommandError> {
    let overlaps = |a: &Bytes, b: &Bytes| a.starts_with(b) || b.starts_with(a);
    let refused = |prefix: &Bytes, what: &str, other: &Bytes| {
        let what = format!("' overlaps with {what} prefix '");
        let end = b"'. Prefixes for a single client must not overlap.";
        let (prefix, other) = (super::shown(prefix, 128), super::shown(other, 128));
        Err(CommandError::Quoted([b"ERR Prefix '", prefix, what.as_bytes(), other, end].concat()))
    };
    if own.len() + new.len() > PREFIXES_MAX || own.iter().chain(new).map(Bytes::len).sum::<usize>() > PREFIX_BYTES_MAX {
        return Err(CommandError::Said(format!(
            "ERR a client may track {PREFIXES_MAX} prefixes of {PREFIX_BYTES_MAX} bytes together at most"
        )));
    }
    for (at, prefix) in new.iter().enumerate() {
        if let Some(other) = own.iter().find(|other| overlaps(prefix, other)) {
            return refused(prefix, "an existing", other);
        }
        if let Some(other) = new.iter().skip(at + 1).find(|other| overlaps(prefix, other)) {
            return refused(prefix, "another provided", other);
        }
    }
    Ok(())
}

fn on(cx: &mut Cx<'_>, mut options: Options) {
    // Without a prefix: every key.
    if options.broadcast && options.prefixes.is_empty() {
        options.prefixes.push(Bytes::new());
    }
    let target = options.redirect.as_ref().and_then(|(id, _)| cx.engine.clients.find(*id));
    if let Some(record) = target {
        // From now on it waits for what is sent to it.
        record.hears.store(true, Ordering::Relaxed);
        record.calls.raise(Calls::LOOK);
    }
    match &cx.session.tracker {
        Some(tracker) => tracker.change(options),
        None => {
            let broadcast = options.broadcast;
            let tracker = Tracker::new(cx.session.id, cx.session.inbox(), &cx.engine.tracking, options);
            cx.engine.tracking.enter(&tracker);
            if broadcast {
                let shards = cx.keys.held.slices().flat_map(Slice::every);
                shards.for_each(|shard| shard.watched.broadcast_to(&tracker));
            }
            cx.session.tracker = Some(tracker);
        }
    }
    note(cx);
}

/// Ends tracking.
pub(super) fn off(cx: &mut Cx<'_>) {
    stop_tracking(cx.session);
    note(cx);
}

/// Shows others how the client tracks.
fn note(cx: &Cx<'_>) {
    let state = &cx.session.record.state;
    let options = cx.session.tracker.as_ref().map(|tracker| tracker.options.lock().clone());
    let flags =
        options.as_ref().map_or(0, |options| State::TRACKING | if options.broadcast { State::BROADCAST } else { 0 });
    state.flags.fetch_and(!(State::TRACKING | State::BROADCAST), Ordering::Relaxed);
    state.flags.fetch_or(flags, Ordering::Relaxed);
    let redirect = options.map_or(-1, |options| options.redirect.map_or(0, |(id, _)| id as i64));
    state.redirect.store(redirect, Ordering::Relaxed);
}

/// `CLIENT TRACKINGINFO`
pub(super) const CLIENT_TRACKINGINFO: Spec = Spec {
    name: "CLIENT|TRACKINGINFO",
    since: "6.2.0",
    arity: Arity::Exactly(2),
    summary: "How the connection tracks.",
    reply: "map: flags, redirect, prefixes",
    run: client_trackinginfo,
    ..ABOUT
};
fn client_trackinginfo(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let (mut flags, mut prefixes) = (vec!["off"], Vec::new());
    if let Some(tracker) = &cx.session.tracker {
        let options = tracker.options.lock();
        let caching = cx.session.caching;
        let known = [
            ("on", true),
            ("bcast", options.broadcast),
            ("optin", options.opt_in),
            ("caching-yes", options.opt_in && caching),
            ("optout", options.opt_out),
            ("caching-no", options.opt_out && caching),
            ("noloop", options.no_loop),
            ("broken_redirect", tracker.is_broken()),
        ];
        flags = known.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
        prefixes.clone_from(&options.prefixes);
    }
    prefixes.sort_unstable();
    cx.out.map(3);
    cx.out.bulk("flags");
    cx.out.set(flags.len());
    flags.iter().for_each(|flag| cx.out.bulk(flag));
    cx.out.bulk("redirect");
    cx.out.int(cx.session.record.state.redirect.load(Ordering::Relaxed));
    cx.out.bulk("prefixes");
    cx.out.array(prefixes.len());
    prefixes.into_iter().for_each(|prefix| cx.out.bulk_shared(prefix));
    Ok(())
}

/// `CLIENT CACHING YES | NO`
pub(super) const CLIENT_CACHING: Spec = Spec {
    name: "CLIENT|CACHING",
    since: "6.0.0",
    arity: Arity::Exactly(3),
    summary: "Whether the next command's keys are tracked, in OPTIN and OPTOUT modes.",
    reply: "OK",
    run: client_caching,
    ..ABOUT
};
fn client_caching(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let modes = cx.session.tracker.as_ref().map(|tracker| {
        let options = tracker.options.lock();
        (options.opt_in, options.opt_out)
    });
    let Some((opt_in, opt_out)) = modes else {
        return Err(CommandError::Text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match args.get(2) {
        yes if is(yes, "YES") && !opt_in => {
            Err(CommandError::Text("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."))
        }
        no if is(no, "NO") && !opt_out => {
            Err(CommandError::Text("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."))
        }
        word if is(word, "YES") || is(word, "NO") => {
            cx.session.caching = true;
            cx.out.ok();
            Ok(())
        }
        _ => Err(CommandError::Syntax),
    }
}
