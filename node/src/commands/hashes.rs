//! Hashes.

use super::events::{Class, Event};
use super::parse::{int, picks};
use super::scans::scan;
use super::strings::{bulk, copy, length};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Hash, HashRef, Value};
use crate::engine::{Cx, Random};
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const READ: Acl = Acl::READ.or(Acl::HASH);
const WRITE: Acl = Acl::WRITE.or(Acl::HASH);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// The longest value among field-value pairs from `first` on.
fn longest_value(args: Args<'_>, first: usize) -> Option<u64> {
    args.iter().skip(first + 1).step_by(2).map(|value| value.len() as u64).max()
}

/// `HSET key field value [field value …]`
pub(super) const HSET: Spec = Spec {
    name: "HSET",
    family: Family::Hash,
    since: "2.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| longest_value(args, 2),
    summary: "Gives fields values.",
    reply: "integer: how many fields are new",
    run: hset,
    ..Spec::ROW
};
fn hset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let new = set_pairs(cx, args, "hset")?;
    cx.out.int(new);
    Ok(())
}

/// `HMSET key field value [field value …]`
pub(super) const HMSET: Spec = Spec {
    name: "HMSET",
    event: Event::Is(Class::HASH, "hset"),
    summary: "Gives fields values; HSET answers more.",
    reply: "OK",
    run: hmset,
    ..HSET
};
fn hmset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_pairs(cx, args, "hmset")?;
    cx.out.ok();
    Ok(())
}

fn set_pairs(cx: &mut Cx<'_>, args: Args<'_>, name: &'static str) -> Result<i64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(name.into()));
    }
    let key = cx.key(args.get(1));
    cx.keys.change_or_new(key, |hash: &mut Hash, growth| {
        let mut new = 0;
        for at in (2..args.len()).step_by(2) {
            new += i64::from(hash.set(args.get(at), args.get(at + 1), growth));
        }
        (new, true)
    })
}

/// `HSETNX key field value`
pub(super) const HSETNX: Spec = Spec {
    name: "HSETNX",
    arity: Arity::Exactly(4),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    event: Event::Is(Class::HASH, "hset"),
    summary: "Gives a field a value unless it has one.",
    reply: "integer: 1 when it was given, 0 when not",
    run: hsetnx,
    ..HSET
};
fn hsetnx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let new = cx.keys.change_or_new(key, |hash: &mut Hash, growth| {
        let new = hash.view().get(args.get(2)).is_none() && hash.set(args.get(2), args.get(3), growth);
        (new, new)
    })?;
    cx.out.int(new.into());
    Ok(())
}

/// `HGET key field`
pub(super) const HGET: Spec = Spec {
    name: "HGET",
    family: Family::Hash,
    since: "2.0.0",
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The value of a field.",
    reply: "bulk string; null when key or field is absent",
    run: hget,
    ..Spec::ROW
};
fn hget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    match cx.keys.collection::<Hash>(key)?.and_then(|hash| hash.get(args.get(2))) {
        Some(value) => bulk(cx.out, value),
        None => cx.out.null(),
    }
    Ok(())
}

/// `HMGET key field [field …]`
pub(super) const HMGET: Spec = Spec {
    name: "HMGET",
    arity: Arity::AtLeast(3),
    summary: "The values of fields.",
    reply: "array of bulk strings, null for absent fields",
    run: hmget,
    ..HGET
};
fn hmget(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let hash = cx.keys.collection::<Hash>(key)?;
    cx.out.array(args.len() - 2);
    for field in args.iter().skip(2) {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => bulk(cx.out, value),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// `HGETALL key`
pub(super) const HGETALL: Spec = Spec {
    name: "HGETALL",
    family: Family::Hash,
    since: "2.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "All fields with their values.",
    reply: "map of bulk strings",
    run: hgetall,
    ..Spec::ROW
};
fn hgetall(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let hash = cx.keys.collection::<Hash>(key)?;
    cx.out.map(hash.map_or(0, HashRef::len));
    for (field, value) in hash.into_iter().flat_map(HashRef::iter) {
        cx.out.bulk(field);
        bulk(cx.out, value);
    }
    Ok(())
}

/// `HKEYS key`
pub(super) const HKEYS: Spec =
    Spec { name: "HKEYS", summary: "All fields.", reply: "array of bulk strings", run: hkeys, ..HGETALL };
fn hkeys(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let hash = cx.keys.collection::<Hash>(key)?;
    cx.out.array(hash.map_or(0, HashRef::len));
    hash.into_iter().flat_map(HashRef::iter).for_each(|(field, _)| cx.out.bulk(field));
    Ok(())
}

/// `HVALS key`
pub(super) const HVALS: Spec =
    Spec { name: "HVALS", summary: "All values.", reply: "array of bulk strings", run: hvals, ..HGETALL };
fn hvals(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let hash = cx.keys.collection::<Hash>(key)?;
    cx.out.array(hash.map_or(0, HashRef::len));
    hash.into_iter().flat_map(HashRef::iter).for_each(|(_, value)| bulk(cx.out, value));
    Ok(())
}

/// `HDEL key field [field …]`
pub(super) const HDEL: Spec = Spec {
    name: "HDEL",
    family: Family::Hash,
    since: "2.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    summary: "Removes fields; the key with the last.",
    reply: "integer: how many were there",
    run: hdel,
    ..Spec::ROW
};
fn hdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let removed = cx.keys.change(key, |hash: &mut Hash, _| {
        let removed = args.iter().skip(2).filter(|field| hash.remove(field)).count();
        (removed, removed > 0)
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `HLEN key`
pub(super) const HLEN: Spec = Spec {
    name: "HLEN",
    arity: Arity::Exactly(2),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "How many fields.",
    reply: "integer; 0 when the key is absent",
    run: hlen,
    ..HGET
};
fn hlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let len = cx.keys.collection::<Hash>(key)?.map_or(0, HashRef::len);
    cx.out.int(len as i64);
    Ok(())
}

/// `HEXISTS key field`
pub(super) const HEXISTS: Spec = Spec {
    name: "HEXISTS",
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "Whether a field is there.",
    reply: "integer: 1 or 0",
    run: hexists,
    ..HGET
};
fn hexists(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let found = cx.keys.collection::<Hash>(key)?.is_some_and(|hash| hash.get(args.get(2)).is_some());
    cx.out.int(found.into());
    Ok(())
}

/// `HSTRLEN key field`
pub(super) const HSTRLEN: Spec = Spec {
    name: "HSTRLEN",
    since: "3.2.0",
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "Bytes of a field's value.",
    reply: "integer; 0 when key or field is absent",
    run: hstrlen,
    ..HGET
};
fn hstrlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let bytes = cx.keys.collection::<Hash>(key)?.and_then(|hash| hash.get(args.get(2))).map_or(0, length);
    cx.out.int(bytes as i64);
    Ok(())
}

/// `HINCRBY key field increment`
pub(super) const HINCRBY: Spec = Spec {
    name: "HINCRBY",
    arity: Arity::Exactly(4),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    value_bytes: |_| None,
    summary: "Adds to the integer in a field.",
    reply: "integer: the sum",
    run: hincrby,
    ..HSET
};
fn hincrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = int(args.get(3))?;
    let key = cx.key(args.get(1));
    let held = match cx.keys.collection::<Hash>(key)?.and_then(|hash| hash.get(args.get(2))) {
        None => 0,
        Some(value) => integer(value).ok_or(CommandError::Text("ERR hash value is not an integer"))?,
    };
    let sum = held.checked_add(by).ok_or(CommandError::Text("ERR increment or decrement would overflow"))?;
    put(cx, key, args.get(2), itoa::Buffer::new().format(sum).as_bytes())?;
    cx.out.int(sum);
    Ok(())
}

fn integer(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(int) => Some(int),
        Value::Bytes(bytes) => parse_i64(bytes),
        Value::Shared(_) | Value::Object(_) => None,
    }
}

fn put(cx: &mut Cx<'_>, key: Key<'_>, field: &[u8], value: &[u8]) -> Result<(), CommandError> {
    cx.keys.change_or_new(key, |hash: &mut Hash, growth| {
        hash.set_keeping(field, value, growth);
        ((), true)
    })
}

/// `HSCAN key cursor [MATCH pattern] [COUNT n] [NOVALUES]`: NOVALUES is Valkey 8.0's.
pub(super) const HSCAN: Spec = Spec {
    name: "HSCAN",
    family: Family::Hash,
    since: "2.8.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Some of the fields with their values, and where to go on.",
    reply: "array: the next cursor, 0 at the end, and an array of fields and values; NOVALUES: of fields",
    run: hscan,
    ..Spec::ROW
};
fn hscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan::<Hash>(cx, args, |hash, cursor, page| {
        hash.scan(cursor, &mut |field, value| {
            page.add(field, |shown| {
                let mut text = Vec::new();
                copy(value, &mut text);
                shown.push(text);
            });
        })
    })
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub(super) const HRANDFIELD: Spec = Spec {
    name: "HRANDFIELD",
    family: Family::Hash,
    since: "6.2.0",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Random fields: each once for a count, with repeats for a negative one.",
    reply: "bulk string or null; with a count an array",
    run: hrandfield,
    ..Spec::ROW
};
fn hrandfield(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some((wanted, with_values)) = picks(args, "WITHVALUES")? else { return one_field(cx, args) };
    let key = cx.key(args.get(1));
    let mut generator = cx.engine.random();
    let Some(hash) = cx.keys.collection::<Hash>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    let picked: Vec<(&[u8], Value<'_>)> = if wanted < 0 {
        let draws = wanted.unsigned_abs() as usize;
        (0..draws).filter_map(|_| hash.random(&mut || generator.next())).collect()
    } else {
        let draw = |generator: &mut Random| hash.random(&mut || generator.next());
        generator.pick((wanted as usize, hash.len()), || hash.iter().collect(), draw, |(field, _)| *field)
    };
    // RESP3 pairs each field with its value.
    let paired = with_values && cx.out.protocol() == 3;
    cx.out.array(picked.len() * if with_values && !paired { 2 } else { 1 });
    for (field, value) in picked {
        if paired {
            cx.out.array(2);
        }
        cx.out.bulk(field);
        if with_values {
            bulk(cx.out, value);
        }
    }
    Ok(())
}

fn one_field(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let mut generator = cx.engine.random();
    match cx.keys.collection::<Hash>(key)?.and_then(|hash| hash.random(&mut || generator.next())) {
        Some((field, _)) => cx.out.bulk(field),
        None => cx.out.null(),
    }
    Ok(())
}
