//! Lists.

mod middle;
mod moves;

pub(super) use middle::{LINDEX, LINSERT, LPOS, LREM, LSET, LTRIM};
pub(super) use moves::{BLMOVE, BLMPOP, BRPOPLPUSH, LMOVE, LMPOP, RPOPLPUSH};

use super::events::{Class, Event};
use super::parse::{count, int, is, places, timeout_ms};
use super::{Acl, Arity, Effect, Family, Flags, Http, KeyFlags, KeySpec, Serve, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Growth, Kind, List};
use crate::engine::{Cx, take_or_block};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs};

const READ: Acl = Acl::READ.or(Acl::LIST);
const WRITE: Acl = Acl::WRITE.or(Acl::LIST);
const TAKES: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl End {
    /// Reads `LEFT` or `RIGHT`.
    fn read(text: &[u8]) -> Result<End, CommandError> {
        match text {
            text if is(text, "LEFT") => Ok(End::Left),
            text if is(text, "RIGHT") => Ok(End::Right),
            _ => Err(CommandError::Syntax),
        }
    }

    /// The command that takes from it.
    fn pops(self) -> &'static [u8] {
        match self {
            End::Left => b"LPOP",
            End::Right => b"RPOP",
        }
    }

    fn push(self, list: &mut List, element: &[u8], growth: &Growth) {
        list.push(self == End::Left, element, growth.fill());
    }

    /// Takes an element and shows it.
    fn pop<R>(self, list: &mut List, show: impl FnOnce(&[u8]) -> R) -> Option<R> {
        list.pop(self == End::Left, show)
    }
}

/// `LPUSH key element [element …]`
pub(super) const LPUSH: Spec = Spec {
    name: "LPUSH",
    family: Family::List,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.iter().skip(2).map(|element| element.len() as u64).max(),
    summary: "Adds elements before the first.",
    reply: "integer: the length after it",
    run: lpush,
    ..Spec::ROW
};
fn lpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(cx, args, End::Left)
}

/// `RPUSH key element [element …]`
pub(super) const RPUSH: Spec = Spec { name: "RPUSH", summary: "Adds elements after the last.", run: rpush, ..LPUSH };
fn rpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(cx, args, End::Right)
}

fn push(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let length = cx.keys.change_or_new(key, |list: &mut List, growth| {
        args.iter().skip(2).for_each(|element| end.push(list, element, growth));
        (list.len(), true)
    })?;
    cx.out.int(length as i64);
    Ok(())
}

/// `LPUSHX key element [element …]`
pub(super) const LPUSHX: Spec = Spec {
    name: "LPUSHX",
    since: "2.2.0",
    event: Event::Is(Class::LIST, "lpush"),
    summary: "Adds elements before the first of a list that exists.",
    reply: "integer: the length after it; 0 when the key is absent",
    run: lpushx,
    ..LPUSH
};
fn lpushx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push_existing(cx, args, End::Left)
}

/// `RPUSHX key element [element …]`
pub(super) const RPUSHX: Spec = Spec {
    name: "RPUSHX",
    event: Event::Is(Class::LIST, "rpush"),
    summary: "Adds elements after the last of a list that exists.",
    run: rpushx,
    ..LPUSHX
};
fn rpushx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push_existing(cx, args, End::Right)
}

fn push_existing(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    if cx.keys.collection::<List>(key)?.is_some() {
        return push(cx, args, end);
    }
    cx.out.int(0);
    Ok(())
}

/// `LPOP key [count]`
pub(super) const LPOP: Spec = Spec {
    name: "LPOP",
    family: Family::List,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(TAKES)],
    ttl: Ttl::Inherited(1),
    summary: "Takes the first elements.",
    reply: "bulk string, or with a count an array; null when the key is absent",
    run: lpop,
    ..Spec::ROW
};
fn lpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Left, "lpop")
}

/// `RPOP key [count]`
pub(super) const RPOP: Spec = Spec { name: "RPOP", summary: "Takes the last elements.", run: rpop, ..LPOP };
fn rpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Right, "rpop")
}

fn pop(cx: &mut Cx<'_>, args: Args<'_>, end: End, name: &'static str) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Arity(name.into()));
    }
    let wanted = args.try_get(2).map(count).transpose()?;
    let key = cx.key(args.get(1));
    let Some(list) = cx.keys.collection::<List>(key)? else {
        match wanted {
            Some(_) => cx.out.null_array(),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let length = list.len();
    if let Some(wanted) = wanted {
        cx.out.array(wanted.min(length));
    }
    take(cx, key, end, wanted.unwrap_or(1).min(length))
}

/// Takes `taking` elements and writes each.
fn take(cx: &mut Cx<'_>, key: Key<'_>, end: End, taking: usize) -> Result<(), CommandError> {
    let out = &mut *cx.out;
    cx.keys.change(key, |list: &mut List, _| {
        for _ in 0..taking {
            end.pop(list, |element| out.bulk(element));
        }
        ((), taking > 0)
    })?;
    Ok(())
}

/// `LLEN key`
pub(super) const LLEN: Spec = Spec {
    name: "LLEN",
    family: Family::List,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "The length of the list.",
    reply: "integer; 0 when the key is absent",
    run: llen,
    ..Spec::ROW
};
fn llen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let length = cx.keys.collection::<List>(key)?.map_or(0, List::len);
    cx.out.int(length as i64);
    Ok(())
}

/// `LRANGE key start stop`
pub(super) const LRANGE: Spec = Spec {
    name: "LRANGE",
    family: Family::List,
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The elements from one position to another, both included; negative ones count from the end.",
    reply: "array of bulk strings",
    run: lrange,
    ..Spec::ROW
};
fn lrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (int(args.get(2))?, int(args.get(3))?);
    let key = cx.key(args.get(1));
    let Some(list) = cx.keys.collection::<List>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    let (from, to) = places(start, stop, list.len());
    let elements = list.range(from, to);
    cx.out.array(elements.len());
    elements.for_each(|element| cx.out.bulk(element));
    Ok(())
}

/// `BLPOP key [key …] timeout`
pub(super) const BLPOP: Spec = Spec {
    name: "BLPOP",
    family: Family::List,
    since: "2.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::NOSCRIPT).or(Flags::BLOCKING),
    acl: WRITE.or(Acl::SLOW).or(Acl::BLOCKING),
    keys: &[KeySpec::at(1).to(-2, 1).doing(TAKES)],
    ttl: Ttl::Inherited(1),
    http: Http::Refused("would hold the HTTP request open; poll with LPOP"),
    serve: Some(SERVE_LEFT),
    event: Event::Is(Class::LIST, "lpop"),
    summary: "Takes the first element of the first list that has one, or waits for one.",
    reply: "array: the key and the element; null when the time is up",
    run: blpop,
    ..Spec::ROW
};
fn blpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, SERVE_LEFT)
}

/// `BRPOP key [key …] timeout`
pub(super) const BRPOP: Spec = Spec {
    name: "BRPOP",
    http: Http::Refused("would hold the HTTP request open; poll with RPOP"),
    serve: Some(SERVE_RIGHT),
    event: Event::Is(Class::LIST, "rpop"),
    summary: "Takes the last element of the first list that has one, or waits for one.",
    run: brpop,
    ..BLPOP
};
fn brpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, SERVE_RIGHT)
}

const SERVE_LEFT: Serve = Serve { kind: Kind::List, alone: alone_with_timeout, take: take_left, ..Serve::WAITING };
const SERVE_RIGHT: Serve = Serve { take: take_right, ..SERVE_LEFT };

/// Runs `NAME key [key …] timeout`.
pub(super) fn blocking_pop(cx: &mut Cx<'_>, args: Args<'_>, serve: Serve) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let timeout_ms = timeout_ms(args.get(last))?;
    take_or_block(cx, args, serve, args.from(1).up_to(last - 1), timeout_ms)
}

/// `NAME key timeout`
pub(super) fn alone_with_timeout(request: Args<'_>, key: &[u8]) -> OwnedArgs {
    OwnedArgs::from_slices([request.get(0), key, b"0"])
}

fn take_left(cx: &mut Cx<'_>, key: Key<'_>, _: Args<'_>) -> Result<Option<Effect>, CommandError> {
    take_one(cx, key, End::Left)
}

fn take_right(cx: &mut Cx<'_>, key: Key<'_>, _: Args<'_>) -> Result<Option<Effect>, CommandError> {
    take_one(cx, key, End::Right)
}

fn take_one(cx: &mut Cx<'_>, key: Key<'_>, end: End) -> Result<Option<Effect>, CommandError> {
    cx.out.array(2);
    cx.out.bulk(key.bytes);
    take(cx, key, end, 1)?;
    Ok(Some(vec![end.pops().to_vec(), key.bytes.to_vec()]))
}
