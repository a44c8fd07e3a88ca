//! Strings.

use super::events::{Class, Event};
use super::parse::{StringOptions, int, is};
use super::substrings::{edit_in_place, is_edited_in_place};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Stated, Ttl};
use crate::db::entry::{Entry, Value};
use crate::db::{Change, Key};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out, SHARED_BYTES_MIN};

const READ: Acl = Acl::READ.or(Acl::STRING).or(Acl::FAST);
const WRITE: Acl = Acl::WRITE.or(Acl::STRING);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const GROWS: Flags = Flags::WRITE.or(Flags::DENYOOM);
const COUNTS: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);

/// Writes a string value as a bulk string.
pub(super) fn bulk(out: &mut Out, value: Value<'_>) {
    match value {
        Value::Bytes(bytes) => out.bulk(bytes),
        Value::Int(value) => out.bulk_int(value),
        // Of those that are copied anyway, no reference is taken.
        Value::Shared(bytes) if bytes.len() < SHARED_BYTES_MIN => out.bulk(bytes),
        Value::Shared(bytes) => out.bulk_shared(bytes.clone()),
        Value::Object(_) => out.null(),
    }
}

/// Whether a string is these bytes.
fn equals(value: Value<'_>, bytes: &[u8]) -> bool {
    match value {
        Value::Bytes(held) => held == bytes,
        Value::Int(held) => itoa::Buffer::new().format(held).as_bytes() == bytes,
        Value::Shared(held) => held == bytes,
        Value::Object(_) => false,
    }
}

/// The third argument is the value written.
fn third(args: Args<'_>) -> Option<u64> {
    args.try_get(2).map(|value| value.len() as u64)
}

/// `SET key value [NX | XX | IFEQ value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`: IFEQ is Valkey 8.1's.
pub(super) const SET: Spec = Spec {
    name: "SET",
    family: Family::String,
    arity: Arity::AtLeast(3),
    flags: GROWS,
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1)
        .doing(COUNTS.or(KeyFlags::VARIABLE))
        .varying(set_flags)
        .noting("RW and ACCESS due to the optional `GET` argument")],
    ttl: Ttl::Of(set_ttl),
    value_bytes: third,
    event: Event::Set,
    looks: true,
    summary: "Makes the key a string with this value.",
    reply: "OK; null when NX, XX or IFEQ forbade it; with GET the old value or null",
    run: set,
    ..Spec::ROW
};
fn set(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    if args.len() == 3 {
        cx.keys.set_string(key, args.get(2), None);
        cx.out.ok();
        return Ok(());
    }
    if args.len() > 4 && cx.replays() && is(args.get(args.len() - 2), CONTENT_TYPE) {
        return set_typed(cx, key, args);
    }
    set_with(cx, key, args.get(2), StringOptions::of_set(args.from(3).iter())?)
}

/// The word of a log's SET before the content type that HTTP put the string with. No client can say it.
pub(crate) const CONTENT_TYPE: &str = "CONTENT-TYPE";

fn set_typed(cx: &mut Cx<'_>, key: Key<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let named = args.len() - 2;
    let options = StringOptions::of_set(args.up_to(named).from(3).iter())?;
    let expire_at_ms = options.expiry.map(|expiry| expiry.at_ms(cx.now.wall_ms, "set")).transpose()?;
    let entry = Entry::string(key.bytes, args.get(2), expire_at_ms);
    let entry = entry.with_attribute(args.try_get(named + 1)).map_err(|_| CommandError::Syntax)?;
    cx.keys.put(key, entry);
    cx.out.ok();
    Ok(())
}

fn set_with(cx: &mut Cx<'_>, key: Key<'_>, value: &[u8], options: StringOptions<'_>) -> Result<(), CommandError> {
    let expire_at_ms = match options.expiry {
        Some(expiry) => Some(expiry.at_ms(cx.now.wall_ms, "set")?),
        None => None,
    };
    let equal = match options.only_equal {
        Some(wanted) => cx.keys.string(key)?.is_some_and(|held| equals(held, wanted)),
        None => true,
    };
    let found = if options.get {
        match cx.keys.string(key)? {
            Some(old) => {
                bulk(cx.out, old);
                true
            }
            None => {
                cx.out.null();
                false
            }
        }
    } else {
        cx.keys.find(key).is_some()
    };
    if (options.only_new && found) || (options.only_old && !found) || !equal {
        cx.keys.use_key(key);
        if !options.get {
            cx.out.null();
        }
        return Ok(());
    }
    let keeps = if options.keep_ttl { cx.keys.find(key).and_then(|entry| entry.expire_at_ms()) } else { None };
    cx.keys.set_string(key, value, expire_at_ms.or(keeps));
    if let Some(at_ms) = expire_at_ms {
        let at = at_ms.to_string();
        cx.keys.log_instead(&[b"SET", key.bytes, value, b"PXAT", at.as_bytes()]);
    }
    if !options.get {
        cx.out.ok();
    }
    Ok(())
}
fn set_flags(args: Args<'_>) -> KeyFlags {
    // IFEQ tells what the key holds, so it asks for the right to read it.
    match args.iter().skip(3).any(|option| is(option, "GET") || is(option, "IFEQ")) {
        true => COUNTS,
        false => KeyFlags::OW.or(KeyFlags::UPDATE),
    }
}
fn set_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    match StringOptions::of_set(args.from(3).iter()) {
        Ok(options) => match options.expiry.map(|expiry| expiry.at_ms(wall_ms, "set")) {
            Some(Ok(at_ms)) => Stated::Ms(at_ms.saturating_sub(wall_ms)),
            None if options.keep_ttl => Stated::Inherits(1),
            _ => Stated::Absent,
        },
        Err(_) => Stated::Absent,
    }
}

/// `GET key`: the string at `key`.
pub(super) const GET: Spec = Spec {
    name: "GET",
    family: Family::String,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ,
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The string at the key.",
    reply: "bulk string; null when the key is absent or expired",
    run: get,
    ..Spec::ROW
};
fn get(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let out = &mut *cx.out;
    cx.keys.show_string(key, |value| match value {
        Some(value) => bulk(out, value),
        None => out.null(),
    })
}

/// `GETDEL key`: the string at `key`, which is then gone.
pub(super) const GETDEL: Spec = Spec {
    name: "GETDEL",
    family: Family::String,
    since: "6.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    looks: true,
    summary: "The string at the key, which it removes.",
    reply: "bulk string; null when the key is absent",
    run: getdel,
    ..Spec::ROW
};
fn getdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    match cx.keys.string(key)? {
        Some(value) => bulk(cx.out, value),
        None => {
            cx.out.null();
            return Ok(());
        }
    }
    cx.keys.delete(key);
    cx.keys.log_instead(&[b"DEL", key.bytes]);
    Ok(())
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`
pub(super) const GETEX: Spec = Spec {
    name: "GETEX",
    family: Family::String,
    since: "6.2.0",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(COUNTS).noting("RW and UPDATE because it changes the TTL")],
    ttl: Ttl::Of(getex_ttl),
    event: Event::By(Class::GENERIC, expired),
    looks: true,
    summary: "The string at the key, whose expiry it changes.",
    reply: "bulk string; null when the key is absent",
    run: getex,
    ..Spec::ROW
};
fn expired(args: Args<'_>, _: &[u8]) -> &'static str {
    let persists = args.iter().skip(2).any(|word| word.eq_ignore_ascii_case(b"PERSIST"));
    if persists { "persist" } else { "expire" }
}
fn getex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = StringOptions::of_getex(args.from(2).iter())?;
    let key = cx.key(args.get(1));
    let now_ms = cx.now.wall_ms;
    let Some(value) = cx.keys.string(key)? else {
        cx.out.null();
        return Ok(());
    };
    let at_ms = match options.expiry {
        Some(expiry) => Some(expiry.at_ms(now_ms, "getex")?),
        None => None,
    };
    bulk(cx.out, value);
    match at_ms {
        Some(at_ms) if at_ms <= now_ms => super::keyspace::expire_now(cx, key),
        Some(at_ms) => super::keyspace::expire_at(cx, key, at_ms),
        None if options.persist => super::keyspace::persist_key(cx, key).map_or((), |_| ()),
        None => {}
    }
    Ok(())
}
fn getex_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    match StringOptions::of_getex(args.from(2).iter()) {
        Ok(options) => match options.expiry.map(|expiry| expiry.at_ms(wall_ms, "getex")) {
            Some(Ok(at_ms)) => Stated::Ms(at_ms.saturating_sub(wall_ms)),
            None if !options.persist => Stated::Inherits(1),
            _ => Stated::Absent,
        },
        Err(_) => Stated::Absent,
    }
}

/// `MGET key [key …]`: the strings, seen at one moment.
pub(super) const MGET: Spec = Spec {
    name: "MGET",
    family: Family::String,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ,
    tips: &["request_policy:multi_shard"],
    keys: &[KeySpec::at(1).to(-1, 1).doing(RO_ACCESS)],
    summary: "The strings at the keys, as they are at one moment.",
    reply: "array of bulk strings; null for a key that is absent or no string",
    run: mget,
    ..Spec::ROW
};
fn mget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    cx.out.array(args.len() - 1);
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        match cx.keys.string(key) {
            Ok(Some(value)) => bulk(cx.out, value),
            _ => cx.out.null(),
        }
    }
    Ok(())
}

/// `MSET key value [key value …]`: all or none.
pub(super) const MSET: Spec = Spec {
    name: "MSET",
    family: Family::String,
    since: "1.0.1",
    arity: Arity::AtLeast(3),
    flags: GROWS,
    acl: WRITE.or(Acl::SLOW),
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    keys: &[KeySpec::at(1).to(-1, 2).doing(KeyFlags::OW.or(KeyFlags::UPDATE))],
    value_bytes: |args| args.iter().skip(2).step_by(2).map(|value| value.len() as u64).max(),
    event: Event::Set,
    summary: "Makes each key a string with its value, as one step.",
    reply: "OK",
    run: mset,
    ..Spec::ROW
};
fn mset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity("mset".into()));
    }
    for at in (1..args.len()).step_by(2) {
        let key = cx.key(args.get(at));
        cx.keys.set_string(key, args.get(at + 1), None);
    }
    cx.out.ok();
    Ok(())
}

macro_rules! counter {
    ($(#[$doc:meta])* $row:ident $name:literal $arity:literal $run:ident $summary:literal) => {
        $(#[$doc])*
        pub(super) const $row: Spec = Spec {
            name: $name,
            family: Family::String,
            arity: Arity::Exactly($arity),
            flags: GROWS.or(Flags::FAST),
            acl: WRITE.or(Acl::FAST),
            keys: &[KeySpec::at(1).doing(COUNTS)],
            ttl: Ttl::Inherited(1),
            event: Event::Is(Class::STRING, "incrby"),
            summary: $summary,
            reply: "integer: the value after it",
            run: $run,
            ..Spec::ROW
        };
    };
}

counter! {
    /// `INCR key`
    INCR "INCR" 2 incr "Adds one to the number at the key."
}
fn incr(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(cx, args.get(1), 1)
}

counter! {
    /// `DECR key`
    DECR "DECR" 2 decr "Takes one from the number at the key."
}
fn decr(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(cx, args.get(1), -1)
}

counter! {
    /// `INCRBY key n`
    INCRBY "INCRBY" 3 incrby "Adds to the number at the key."
}
fn incrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = int(args.get(2))?;
    add(cx, args.get(1), by)
}

counter! {
    /// `DECRBY key n`
    DECRBY "DECRBY" 3 decrby "Takes from the number at the key."
}
fn decrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = int(args.get(2))?.checked_neg().ok_or(CommandError::Text("ERR decrement would overflow"))?;
    add(cx, args.get(1), by)
}

/// Adds to the integer at a key; an absent key counts as 0. The TTL stays.
fn add(cx: &mut Cx<'_>, bytes: &[u8], by: i64) -> Result<(), CommandError> {
    let key = cx.key(bytes);
    let sum = cx.keys.edit(key, |entry| {
        let Some(mut entry) = entry else { return Ok((by, false)) };
        let sum = match entry.entry().value() {
            Value::Int(value) => value.checked_add(by).ok_or(CommandError::Overflow)?,
            Value::Object(_) => return Err(CommandError::WrongType),
            _ => return Err(CommandError::NotInteger),
        };
        if !entry.set_int(sum) {
            let expire_at_ms = entry.entry().expire_at_ms();
            entry.replace(Entry::int(bytes, sum, expire_at_ms));
        }
        Ok((sum, true))
    })?;
    match sum {
        (_, true) => cx.keys.changed(key, Change::Value),
        (value, false) => cx.keys.put(key, Entry::int(bytes, value, None)),
    }
    cx.out.int(sum.0);
    Ok(())
}

/// `APPEND key value`
pub(super) const APPEND: Spec = Spec {
    name: "APPEND",
    family: Family::String,
    since: "2.0.0",
    arity: Arity::Exactly(3),
    flags: GROWS.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(1),
    value_bytes: third,
    summary: "Adds bytes at the end of the string at the key.",
    reply: "integer: the length after it",
    run: append,
    ..Spec::ROW
};
fn append(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, more) = (cx.key(args.get(1)), args.get(2));
    let bulk_bytes_max = cx.engine.config.limits.resp.bulk_bytes_max;
    let found = cx.keys.find(key);
    let expire_at_ms = found.and_then(|entry| entry.expire_at_ms());
    let mut whole = Vec::new();
    match found.map(|entry| entry.value()) {
        None => {}
        Some(Value::Object(_)) => return Err(CommandError::WrongType),
        Some(value) if length(value) + more.len() > bulk_bytes_max => return Err(CommandError::StringTooLong),
        Some(value) if is_edited_in_place(found, length(value) + more.len()) => {
            let length = edit_in_place(cx, key, |text| {
                text.append(more);
                true
            });
            cx.out.int(length as i64);
            return Ok(());
        }
        Some(value) => {
            whole.reserve_exact(length(value) + more.len());
            copy(value, &mut whole);
        }
    }
    whole.extend_from_slice(more);
    cx.keys.set_string(key, &whole, expire_at_ms);
    cx.out.int(whole.len() as i64);
    Ok(())
}

/// `STRLEN key`
pub(super) const STRLEN: Spec = Spec {
    name: "STRLEN",
    family: Family::String,
    since: "2.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ,
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "The length of the string at the key.",
    reply: "integer: bytes; 0 when the key is absent",
    run: strlen,
    ..Spec::ROW
};
fn strlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let bytes = cx.keys.string(key)?.map_or(0, length);
    cx.out.int(bytes as i64);
    Ok(())
}

/// Bytes of a string value as a client sees it.
pub(crate) fn length(value: Value<'_>) -> usize {
    match value {
        Value::Int(value) => itoa::Buffer::new().format(value).len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Shared(bytes) => bytes.len(),
        Value::Object(_) => 0,
    }
}

/// Appends a string value as a client sees it.
pub(crate) fn copy(value: Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Int(value) => to.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Bytes(bytes) => to.extend_from_slice(bytes),
        Value::Shared(bytes) => to.extend_from_slice(bytes),
        Value::Object(_) => {}
    }
}
