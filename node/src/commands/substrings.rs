//! Strings: the older ways to set them, and parts of them.

use super::events::Event;
use super::parse::{Expiry, int};
use super::strings::{bulk, copy, length};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Stated, Ttl};
use crate::db::entry::{EDITED_BYTES_MIN, EntryRef, Text, Value};
use crate::db::{Change, Key};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const READ: Acl = Acl::READ.or(Acl::STRING);
const WRITE: Acl = Acl::WRITE.or(Acl::STRING);
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);

fn at(args: Args<'_>, position: usize) -> Option<u64> {
    args.try_get(position).map(|value| value.len() as u64)
}

/// `SETNX key value`
pub(super) const SETNX: Spec = Spec {
    name: "SETNX",
    family: Family::String,
    arity: Arity::Exactly(3),
    flags: GROWS.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::INSERT))],
    value_bytes: |args| at(args, 2),
    event: Event::Set,
    summary: "Makes the key a string with this value, unless the key exists.",
    reply: "integer: 1 when it was made, 0 when not",
    run: setnx,
    ..Spec::ROW
};
fn setnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let free = !cx.keys.use_key(key);
    if free {
        cx.keys.set_string(key, args.get(2), None);
    }
    cx.out.int(free.into());
    Ok(())
}

/// `MSETNX key value [key value …]`: all or none.
pub(super) const MSETNX: Spec = Spec {
    name: "MSETNX",
    family: Family::String,
    since: "1.0.1",
    arity: Arity::AtLeast(3),
    flags: GROWS,
    acl: WRITE.or(Acl::SLOW),
    tips: &["request_policy:multi_shard", "response_policy:agg_min"],
    keys: &[KeySpec::at(1).to(-1, 2).doing(KeyFlags::OW.or(KeyFlags::INSERT))],
    value_bytes: |args| args.iter().skip(2).step_by(2).map(|value| value.len() as u64).max(),
    event: Event::Set,
    summary: "Makes each key a string with its value, unless any of the keys exists.",
    reply: "integer: 1 when they were made, 0 when not",
    run: msetnx,
    ..Spec::ROW
};
fn msetnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("msetnx".into()));
    }
    for at in (1..args.len()).step_by(2) {
        let key = cx.key(args.get(at));
        if cx.keys.use_key(key) {
            cx.out.int(0);
            return Ok(());
        }
    }
    for at in (1..args.len()).step_by(2) {
        let key = cx.key(args.get(at));
        cx.keys.set_string(key, args.get(at + 1), None);
    }
    cx.out.int(1);
    Ok(())
}

/// `SETEX key s value`
pub(super) const SETEX: Spec = Spec {
    name: "SETEX",
    family: Family::String,
    since: "2.0.0",
    arity: Arity::Exactly(4),
    flags: GROWS,
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Of(setex_ttl),
    value_bytes: |args| at(args, 3),
    event: Event::Set,
    summary: "Makes the key a string that expires in so many seconds.",
    reply: "OK",
    run: setex,
    ..Spec::ROW
};
fn setex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiring(cx, args, true, "setex")
}
fn setex_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    stated(args, true, wall_ms)
}

/// `PSETEX key ms value`
pub(super) const PSETEX: Spec = Spec {
    name: "PSETEX",
    since: "2.6.0",
    ttl: Ttl::Of(psetex_ttl),
    event: Event::Set,
    summary: "Makes the key a string that expires in so many milliseconds.",
    run: psetex,
    ..SETEX
};
fn psetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_expiring(cx, args, false, "psetex")
}
fn psetex_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    stated(args, false, wall_ms)
}

fn stated(args: Args<'_>, seconds: bool, wall_ms: u64) -> Stated {
    let text = args.try_get(2).unwrap_or_default();
    match (Expiry { text, seconds, absolute: false }).at_ms(wall_ms, "setex") {
        Ok(at_ms) => Stated::Ms(at_ms.saturating_sub(wall_ms)),
        Err(_) => Stated::Absent,
    }
}

fn set_expiring(cx: &mut Cx<'_>, args: Args<'_>, seconds: bool, name: &'static str) -> Result<(), CommandError> {
    let expiry = Expiry { text: args.get(2), seconds, absolute: false };
    let at_ms = expiry.at_ms(cx.now.wall_ms, name)?;
    let key = cx.key(args.get(1));
    cx.keys.set_string(key, args.get(3), Some(at_ms));
    let at = at_ms.to_string();
    cx.keys.log_instead(&[b"SET", key.bytes, args.get(3), b"PXAT", at.as_bytes()]);
    cx.out.ok();
    Ok(())
}

/// `GETSET key value`
pub(super) const GETSET: Spec = Spec {
    name: "GETSET",
    family: Family::String,
    arity: Arity::Exactly(3),
    flags: GROWS.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    value_bytes: |args| at(args, 2),
    event: Event::Set,
    looks: true,
    summary: "Makes the key a string with this value; the old one is the answer.",
    reply: "bulk string; null when the key is absent",
    run: getset,
    ..Spec::ROW
};
fn getset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    match cx.keys.string(key)? {
        Some(value) => bulk(cx.out, value),
        None => cx.out.null(),
    }
    cx.keys.set_string(key, args.get(2), None);
    Ok(())
}

/// `GETRANGE key start end`
pub(super) const GETRANGE: Spec = Spec {
    name: "GETRANGE",
    family: Family::String,
    since: "2.4.0",
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The bytes from one position to another, both included; negative ones count from the end.",
    reply: "bulk string",
    run: getrange,
    ..Spec::ROW
};
fn getrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, end) = (int(args.get(2))?, int(args.get(3))?);
    let key = cx.key(args.get(1));
    let Some(value) = cx.keys.string(key)? else {
        cx.out.bulk("");
        return Ok(());
    };
    let mut digits = Vec::new();
    let bytes: &[u8] = match value {
        Value::Bytes(bytes) => bytes,
        Value::Shared(bytes) => bytes,
        value => {
            copy(value, &mut digits);
            &digits
        }
    };
    match window(start, end, bytes.len()) {
        Some((from, to)) => cx.out.bulk(&bytes[from..=to]),
        None => cx.out.bulk(""),
    }
    Ok(())
}

/// `SUBSTR key start end`
pub(super) const SUBSTR: Spec = Spec { name: "SUBSTR", since: "1.0.0", ..GETRANGE };

/// The positions from one to another, both included, within `len`: what lies outside is cut off.
pub(super) fn window(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if are_backwards(start, end) { None } else { clipped(start, end, len) }
}

/// Whether positions from the end are the wrong way round: redis does not cut these off first.
pub(super) fn are_backwards(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

/// As [`window`], where positions before the beginning are the beginning, in whatever order.
pub(super) fn clipped(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if len == 0 {
        return None;
    }
    let len = len as i64;
    let within = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (within(start), within(end).min(len - 1));
    (start <= end).then_some((start as usize, end as usize))
}

/// `SETRANGE key offset value`
pub(super) const SETRANGE: Spec = Spec {
    name: "SETRANGE",
    family: Family::String,
    since: "2.2.0",
    arity: Arity::Exactly(4),
    flags: GROWS,
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| {
        let offset = int(args.try_get(2)?).ok()?;
        Some(u64::try_from(offset).ok()?.saturating_add(args.try_get(3)?.len() as u64))
    },
    summary: "Writes bytes over those at an offset; zeros fill a gap.",
    reply: "integer: the length after it",
    run: setrange,
    ..Spec::ROW
};
fn setrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = int(args.get(2))?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::Text("ERR offset is out of range"))?;
    let (key, patch) = (cx.key(args.get(1)), args.get(3));
    let old = cx.keys.string(key)?.map_or(0, length);
    if patch.is_empty() {
        cx.out.int(old as i64);
        return Ok(());
    }
    let end = offset.checked_add(patch.len()).filter(|end| *end <= cx.engine.config.limits.resp.bulk_bytes_max);
    let end = end.ok_or(CommandError::StringTooLong)?;
    let len = edit(cx, key, end, |whole| {
        whole[offset..end].copy_from_slice(patch);
        true
    })?;
    cx.out.int(len as i64);
    Ok(())
}

/// Changes a string that is at least `least` bytes long for it, zeros at its end; its length. The TTL stays. `change`
/// answers whether it did: a string that neither grows nor changes is left alone.
pub(super) fn edit(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    least: usize,
    change: impl FnOnce(&mut [u8]) -> bool,
) -> Result<usize, CommandError> {
    cx.keys.string(key)?;
    edit_again(cx, key, least, change)
}

/// As [`edit`], of a key that was counted already.
pub(super) fn edit_again(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    least: usize,
    change: impl FnOnce(&mut [u8]) -> bool,
) -> Result<usize, CommandError> {
    let found = cx.keys.find(key);
    let expire_at_ms = found.and_then(|entry| entry.expire_at_ms());
    let mut whole = Vec::new();
    match found.map(|entry| entry.value()) {
        None => {}
        Some(Value::Object(_)) => return Err(CommandError::WrongType),
        Some(value) if is_edited_in_place(found, length(value).max(least)) => {
            return Ok(edit_in_place(cx, key, |text| {
                let grows = text.bytes().len() < least;
                text.edit(least, change) || grows
            }));
        }
        Some(value) => {
            whole.reserve_exact(length(value).max(least));
            copy(value, &mut whole);
        }
    }
    let grows = whole.len() < least;
    if grows {
        whole.resize(least, 0);
    }
    if !change(&mut whole) && !grows {
        return Ok(whole.len());
    }
    cx.keys.set_string(key, &whole, expire_at_ms);
    Ok(whole.len())
}

/// Whether a string is changed in its place when it is so long, or becomes so long by it.
pub(super) fn is_edited_in_place(entry: Option<EntryRef<'_>>, len: usize) -> bool {
    let is_one = |entry: EntryRef<'_>| matches!(entry.value(), Value::Bytes(_) | Value::Shared(_));
    len >= EDITED_BYTES_MIN && entry.is_some_and(|entry| is_one(entry) && entry.attribute().is_none())
}

/// Changes a string that is there in its place; its length. `change` answers whether it did.
pub(super) fn edit_in_place(cx: &mut Cx<'_>, key: Key<'_>, change: impl FnOnce(&mut Text) -> bool) -> usize {
    let (len, changed) = cx.keys.edit(key, |entry| {
        let Some(mut entry) = entry else { return (0, false) };
        entry.change_text(|text| (change(text), text.bytes().len())).map_or((0, false), |(changed, len)| (len, changed))
    });
    if changed {
        cx.keys.changed(key, Change::Value);
    }
    len
}
