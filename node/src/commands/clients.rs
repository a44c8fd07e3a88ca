//! CLIENT on others: closing them, pausing them, ending their waits.

use super::client::{CLIENT, OTHERS};
use super::client_filters::Filters;
use super::help::misused;
use super::parse::{int, is};
use super::{Arity, Flags, Spec};
use crate::engine::{Calls, Cx, Outcome, State};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

/// `CLIENT KILL addr:port | filter value …`
pub(super) const CLIENT_KILL: Spec = Spec {
    name: "CLIENT|KILL",
    arity: Arity::AtLeast(3),
    flags: OTHERS.flags.or(Flags::SESSION),
    summary: "Closes the connections that fit all filters.",
    reply: "OK in the old form; how many in the new",
    run: client_kill,
    ..OTHERS
};
fn client_kill(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_old = args.len() == 3;
    let filters = match is_old {
        true => Filters::of_address(args.get(2)),
        false => Filters::read(cx, args.from(2), ("ERR client-id should be greater than 0", 1))?,
    };
    let skips_me = filters.skip_me.unwrap_or(true);
    let all = cx.engine.clients.all().into_iter();
    let wanted: Vec<_> = all.filter(|record| filters.admit(record, cx.now)).collect();
    let mut killed = 0;
    for record in wanted {
        if record.id != cx.session.id {
            record.calls.raise(Calls::CLOSE);
        } else if skips_me {
            continue;
        } else {
            // It still gets its reply.
            cx.outcome = Outcome::Close;
        }
        killed += 1;
    }
    match killed {
        _ if !is_old => cx.out.int(killed),
        0 => return Err(CommandError::Text("ERR No such client")),
        _ => cx.out.ok(),
    }
    Ok(())
}

/// `CLIENT PAUSE milliseconds [WRITE | ALL]`: of RESP connections; HTTP calls go on.
pub(super) const CLIENT_PAUSE: Spec = Spec {
    name: "CLIENT|PAUSE",
    since: "2.9.50",
    arity: Arity::AtLeast(3),
    flags: OTHERS.flags.or(Flags::SESSION),
    summary: "Makes all connections wait with what they ask, or with what writes.",
    reply: "OK",
    run: client_pause,
    ..OTHERS
};
fn client_pause(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reads_too = match args.try_get(3) {
        _ if args.len() > 4 => return Err(misused(&CLIENT, args.get(1))),
        None => true,
        Some(mode) if is(mode, "ALL") => true,
        Some(mode) if is(mode, "WRITE") => false,
        Some(_) => return Err(CommandError::Text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let ms = parse_i64(args.get(2)).ok_or(CommandError::Text("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::Text("ERR timeout is negative"))?;
    // Redis 7.0 adds the time of day to it, and its sum may be in the past.
    let until_us = ms.checked_mul(1000).and_then(|us| cx.now.mono_us.checked_add(us));
    let until_us = until_us.ok_or(CommandError::Text("ERR timeout is out of range"))?;
    cx.engine.clients.pause_until(until_us, reads_too, cx.now);
    cx.out.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
pub(super) const CLIENT_UNPAUSE: Spec = Spec {
    name: "CLIENT|UNPAUSE",
    since: "6.2.0",
    arity: Arity::Exactly(2),
    flags: OTHERS.flags.or(Flags::SESSION),
    summary: "Ends a pause.",
    reply: "OK",
    run: client_unpause,
    ..OTHERS
};
fn client_unpause(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    cx.engine.clients.unpause();
    cx.out.ok();
    Ok(())
}

/// `CLIENT UNBLOCK id [TIMEOUT | ERROR]`
pub(super) const CLIENT_UNBLOCK: Spec = Spec {
    name: "CLIENT|UNBLOCK",
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    summary: "Ends another connection's blocking command.",
    reply: "1, or 0 when it does not wait in one",
    run: client_unblock,
    ..OTHERS
};
fn client_unblock(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let call = match args.try_get(3) {
        _ if args.len() > 4 => return Err(misused(&CLIENT, args.get(1))),
        None => Calls::TIME_UP,
        Some(reason) if is(reason, "TIMEOUT") => Calls::TIME_UP,
        Some(reason) if is(reason, "ERROR") => Calls::UNBLOCK,
        Some(_) => return Err(CommandError::Text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let id = int(args.get(2))?;
    let record = u64::try_from(id).ok().and_then(|id| cx.engine.clients.find(id));
    let blocked = record.filter(|record| record.state.has(State::BLOCKED));
    if let Some(record) = &blocked {
        record.calls.raise(call);
    }
    cx.out.int(blocked.is_some().into());
    Ok(())
}
