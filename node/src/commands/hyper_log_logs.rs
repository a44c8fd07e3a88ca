//! HyperLogLogs: strings that count different elements.

use std::sync::atomic::Ordering;

use super::bitmaps::{with_any_bytes, with_bytes};
use super::events::{self, Class, Event};
use super::substrings::{edit, edit_again};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::Value;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::hyper_log_log::{self as hll, Corrupted, Union};
use crate::resp::Args;

const READ: Acl = Acl::READ.or(Acl::HYPERLOGLOG);
const WRITE: Acl = Acl::WRITE.or(Acl::HYPERLOGLOG);

const NOT_ONE: CommandError = CommandError::Text("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        Self::Text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// A copy of the one at a key.
fn held(cx: &mut Cx<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, CommandError> {
    let found = cx.key(key);
    if cx.keys.find(found).is_none() {
        return Ok(None);
    }
    let bytes = with_bytes(cx, key, |bytes| hll::is_one(bytes).then(|| bytes.to_vec()))?;
    bytes.map(Some).ok_or(NOT_ONE)
}

/// Puts one in place of what a key holds. The TTL stays.
fn put(cx: &mut Cx<'_>, key: Key<'_>, bytes: &[u8]) {
    let expire_at_ms = cx.keys.find(key).and_then(|entry| entry.expire_at_ms());
    cx.keys.set_string(key, bytes, expire_at_ms);
}

/// `PFADD key [element …]`
pub(super) const PFADD: Spec = Spec {
    name: "PFADD",
    family: Family::HyperLogLog,
    since: "2.8.9",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(1),
    event: Event::Is(Class::STRING, "pfadd"),
    summary: "Counts elements in.",
    reply: "integer: 1 when the count may have changed or the key is new, else 0",
    run: pfadd,
    ..Spec::ROW
};
fn pfadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let is_dense = match cx.keys.find(key).map(|entry| entry.value()) {
        Some(Value::Bytes(bytes)) => hll::is_dense_one(bytes),
        Some(Value::Shared(bytes)) => hll::is_dense_one(bytes),
        _ => false,
    };
    if is_dense {
        let mut changed = false;
        edit(cx, key, 0, |bytes| {
            args.iter().skip(2).for_each(|element| changed |= hll::add_dense(bytes, element));
            if changed {
                hll::outdate(bytes);
            }
            changed
        })?;
        cx.out.int(changed.into());
        return Ok(());
    }
    let old = held(cx, args.get(1))?;
    let mut changed = old.is_none();
    let mut bytes = old.unwrap_or_else(hll::new);
    let sparse_bytes_max = sparse_bytes_max(cx);
    for element in args.iter().skip(2) {
        changed |= hll::add(&mut bytes, element, sparse_bytes_max)?;
    }
    if changed {
        hll::outdate(&mut bytes);
        put(cx, key, &bytes);
    }
    cx.out.int(changed.into());
    Ok(())
}

fn sparse_bytes_max(cx: &Cx<'_>) -> usize {
    cx.engine.db.growth.sparse_bytes_max.load(Ordering::Relaxed)
}

/// `PFCOUNT key [key …]`
pub(super) const PFCOUNT: Spec = Spec {
    name: "PFCOUNT",
    family: Family::HyperLogLog,
    since: "2.8.9",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.or(Flags::MAY_REPLICATE),
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1)
        .to(-1, 1)
        .doing(KeyFlags::RW.or(KeyFlags::ACCESS))
        .noting("RW because it may change the internal representation of the key, and propagate to replicas")],
    event: Event::All(events::untold),
    summary: "About how many different elements were counted in, at all keys together.",
    reply: "integer",
    run: pfcount,
    ..Spec::ROW
};
fn pfcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => count_one(cx, args.get(1))?,
        _ => {
            let mut union = Union::new();
            for key in args.iter().skip(1) {
                take(cx, &mut union, key)?;
            }
            union.count()
        }
    };
    cx.out.int(count as i64);
    Ok(())
}

/// Counts one, and keeps the count in it.
fn count_one(cx: &mut Cx<'_>, key: &[u8]) -> Result<u64, CommandError> {
    let (count, is_kept) = with_any_bytes(cx, key, |bytes| match bytes.map(|bytes| (hll::is_one(bytes), bytes)) {
        None => Ok((0, true)),
        Some((false, _)) => Err(NOT_ONE),
        Some((true, bytes)) => match hll::cached(bytes) {
            Some(count) => Ok((count, true)),
            None => Ok((hll::count(bytes)?, false)),
        },
    })??;
    if !is_kept {
        edit_again(cx, cx.key(key), 0, |bytes| {
            hll::keep(bytes, count);
            true
        })?;
    }
    Ok(count)
}

/// Takes the one at a key into a union.
fn take(cx: &mut Cx<'_>, union: &mut Union, key: &[u8]) -> Result<(), CommandError> {
    with_any_bytes(cx, key, |bytes| match bytes {
        None => Ok(()),
        Some(bytes) if hll::is_one(bytes) => union.take(bytes).map_err(CommandError::from),
        Some(_) => Err(NOT_ONE),
    })?
}

/// `PFMERGE destination [key …]`
pub(super) const PFMERGE: Spec = Spec {
    name: "PFMERGE",
    family: Family::HyperLogLog,
    since: "2.8.9",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[
        KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT)),
        KeySpec::at(2).to(-1, 1).doing(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    ttl: Ttl::Inherited(1),
    event: Event::Is(Class::STRING, "pfadd"),
    looks: true,
    summary: "Counts into the first key all that was counted in at the others.",
    reply: "OK",
    run: pfmerge,
    ..Spec::ROW
};
fn pfmerge(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut union = Union::new();
    for key in args.iter().skip(1) {
        take(cx, &mut union, key)?;
    }
    // The destination was looked at among the others.
    cx.keys.count_looks(false);
    let mut bytes = held(cx, args.get(1))?.unwrap_or_else(hll::new);
    union.write(&mut bytes, sparse_bytes_max(cx))?;
    put(cx, cx.key(args.get(1)), &bytes);
    cx.out.ok();
    Ok(())
}
