//! CLIENT on others: closing them, pausing them, ending their waits.

use super::client::{CLIENT, OTHERS, Type};
use super::help::misused;
use super::parse::{int, is};
use super::{Arity, Flags, Spec, shown};
use crate::engine::{Calls, Cx, Outcome, Record, State};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};
use crate::session::Address;

/// `CLIENT KILL addr:port | filter value …`: filters ID, ADDR, LADDR, TYPE, USER, MAXAGE (Valkey
/// 8.0's: seconds since it connected, at least), SKIPME.
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
    let filters = if is_old { Filters::of_address(args.get(2)) } else { Filters::read(cx, args.from(2))? };
    let wanted: Vec<_> = cx.engine.clients.all().into_iter().filter(|record| filters.admit(record)).collect();
    let mut killed = 0;
    for record in wanted {
        if record.id != cx.session.id {
            record.calls.raise(Calls::CLOSE);
        } else if filters.skip_me {
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

/// Which connections are meant.
struct Filters<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    kind: Option<Type>,
    user: Option<&'a [u8]>,
    /// Unix ms: no younger than that.
    since_ms: Option<u64>,
    skip_me: bool,
}

impl<'a> Filters<'a> {
    const NONE: Self =
        Self { id: None, address: None, local: None, kind: None, user: None, since_ms: None, skip_me: true };

    fn of_address(address: &'a [u8]) -> Self {
        Self { address: Some(address), skip_me: false, ..Self::NONE }
    }

    fn read(cx: &Cx<'_>, args: Args<'a>) -> Result<Self, CommandError> {
        let mut filters = Self::NONE;
        let mut words = args.iter();
        while let Some(filter) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            match () {
                () if is(filter, "ID") => filters.id = Some(id(value)?),
                () if is(filter, "TYPE") => filters.kind = Some(Type::read(value)?),
                () if is(filter, "ADDR") => filters.address = Some(value),
                () if is(filter, "LADDR") => filters.local = Some(value),
                () if is(filter, "USER") => filters.user = Some(known_user(cx, value)?),
                () if is(filter, "MAXAGE") => {
                    filters.since_ms = Some(cx.now.wall_ms.saturating_sub(max_age_s(value)?.saturating_mul(1000)));
                }
                () if is(filter, "SKIPME") && is(value, "YES") => filters.skip_me = true,
                () if is(filter, "SKIPME") && is(value, "NO") => filters.skip_me = false,
                () => return Err(CommandError::Syntax),
            }
        }
        Ok(filters)
    }

    fn admit(&self, record: &Record) -> bool {
        let is = |wanted: Option<&[u8]>, address: Option<&Address>| {
            wanted.is_none_or(|wanted| address.is_some_and(|address| address.to_string().as_bytes() == wanted))
        };
        let (address, local) =
            (record.addresses.as_ref().map(|both| &both.0), record.addresses.as_ref().map(|both| &both.1));
        self.id.is_none_or(|id| id == record.id)
            && is(self.address, address)
            && is(self.local, local)
            && self.kind.is_none_or(|kind| kind == Type::of(record))
            && self.since_ms.is_none_or(|since_ms| record.since_ms <= since_ms)
            && self.user.is_none_or(|user| record.who.lock().user.as_ref().is_some_and(|own| own.as_bytes() == user))
    }
}

fn id(text: &[u8]) -> Result<u64, CommandError> {
    let id = parse_i64(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or(CommandError::Text("ERR client-id should be greater than 0"))
}

fn max_age_s(text: &[u8]) -> Result<u64, CommandError> {
    let age = parse_i64(text).ok_or(CommandError::Text("ERR maxage is not an integer or out of range"))?;
    let age = u64::try_from(age).ok().filter(|age| *age > 0);
    age.ok_or(CommandError::Text("ERR maxage should be greater than 0"))
}

fn known_user<'a>(cx: &Cx<'_>, name: &'a [u8]) -> Result<&'a [u8], CommandError> {
    let is_known = std::str::from_utf8(name).is_ok_and(|name| cx.engine.access.load().knows(cx.engine.name(), name));
    let unknown = || CommandError::Quoted([b"ERR No such user '", shown(name, 1024), b"'"].concat());
    if is_known { Ok(name) } else { Err(unknown()) }
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
    let until_us = cx.now.mono_us.saturating_add(ms.saturating_mul(1000));
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
