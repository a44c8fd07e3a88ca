//! Fields of hashes that expire: what Redis 7.4 and 8.0 added. Redis 7.0 has none of it, so the replies are those that
//! Redis 8 documents.
//!
//! In the log every time is absolute, and a field that a command took away because its time had passed is an `HDEL`.

mod values;

pub(super) use values::{HGETDEL, HGETEX, HSETEX};

use super::events::{self, Class, Event};
use super::parse::{int, is};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Growth, Hash};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const READ: Acl = Acl::READ.or(Acl::HASH).or(Acl::FAST);
const WRITE: Acl = Acl::WRITE.or(Acl::HASH).or(Acl::FAST);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const RW_UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::UPDATE);

/// The latest expiry of a field, in unix ms: Redis's.
const EXPIRE_AT_MS_MAX: i64 = (1 << 46) - 1;

/// What is answered for each field.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// Reads `FIELDS numfields field [field …]`, which ends the request. `refused` is said of a number that is none.
fn fields<'a>(args: Args<'a>, refused: &'static str) -> Result<Args<'a>, CommandError> {
    if !args.try_get(0).is_some_and(|text| is(text, "FIELDS")) {
        return Err(CommandError::Text("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = int(args.get(1)).ok().filter(|count| *count > 0).ok_or(CommandError::Text(refused))?;
    let fields = args.from(2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(CommandError::Text("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(fields)
}

const NO_COUNT: &str = "ERR Number of fields must be a positive integer";

/// The unit of a time, and whether it counts from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unit {
    seconds: bool,
    absolute: bool,
}

impl Unit {
    /// Reads a time; in unix ms.
    fn at_ms(self, text: &[u8], now_ms: u64, command: &'static str) -> Result<u64, CommandError> {
        let given = int(text)?;
        if given < 0 {
            return Err(CommandError::Text("ERR invalid expire time, must be >= 0"));
        }
        let base = if self.absolute { 0 } else { i64::try_from(now_ms).unwrap_or(i64::MAX) };
        let ms = given.checked_mul(if self.seconds { 1000 } else { 1 });
        let at = ms.and_then(|ms| ms.checked_add(base)).filter(|at| *at <= EXPIRE_AT_MS_MAX);
        at.map(i64::unsigned_abs).ok_or(CommandError::InvalidExpire(command))
    }
}

/// When a field gets the expiry that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// It has none.
    Nx,
    /// It has one.
    Xx,
    /// It has an earlier one.
    Gt,
    /// It has a later one, or none.
    Lt,
}

impl Condition {
    fn read(text: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Condition); 4] =
            [("NX", Condition::Nx), ("XX", Condition::Xx), ("GT", Condition::Gt), ("LT", Condition::Lt)];
        NAMES.iter().find(|(name, _)| is(text, name)).map(|(_, condition)| *condition)
    }

    fn is_met(self, old: Option<u64>, new: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nx => old.is_none(),
            Self::Xx => old.is_some(),
            Self::Gt => old.is_some_and(|old| new > old),
            Self::Lt => old.is_none_or(|old| new < old),
        }
    }
}

/// Which fields a command gave an expiry, and which it took away as their time had passed.
#[derive(Default)]
struct Effects<'a> {
    set: Vec<&'a [u8]>,
    deleted: Vec<&'a [u8]>,
}

impl<'a> Effects<'a> {
    /// Gives a field that is there an expiry, or takes it away if that has passed; what is answered.
    fn expire(&mut self, hash: &mut Hash, field: &'a [u8], at_ms: u64, now_ms: u64, growth: &Growth) -> i64 {
        if at_ms <= now_ms {
            hash.remove(field);
            self.deleted.push(field);
            return DELETED;
        }
        hash.set_expiry(field, Some(at_ms), growth);
        self.set.push(field);
        DONE
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.deleted.is_empty()
    }

    /// Logs them and tells of them, and notes when the first field expires.
    fn settle(&self, cx: &mut Cx<'_>, key: Key<'_>, at_ms: u64) {
        if !self.set.is_empty() {
            let (at, count) = (at_ms.to_string(), self.set.len().to_string());
            let mut record: Vec<&[u8]> = vec![b"HPEXPIREAT", key.bytes, at.as_bytes(), b"FIELDS", count.as_bytes()];
            record.extend(&self.set);
            cx.keys.log_instead(&record);
            cx.keys.note_fields(key);
            cx.keys.say(key, Class::HASH, "hexpire");
        }
        if !self.deleted.is_empty() {
            let mut record: Vec<&[u8]> = vec![b"HDEL", key.bytes];
            record.extend(&self.deleted);
            cx.keys.log_instead(&record);
            cx.keys.say(key, Class::HASH, "hdel");
        }
    }
}

fn show_codes(cx: &mut Cx<'_>, codes: &[i64]) {
    cx.out.array(codes.len());
    codes.iter().for_each(|code| cx.out.int(*code));
}

fn expire(cx: &mut Cx<'_>, args: Args<'_>, unit: Unit, command: &'static str) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    cx.keys.collection::<Hash>(key)?;
    let now_ms = cx.now.wall_ms;
    let at_ms = unit.at_ms(args.get(2), now_ms, command)?;
    let condition = Condition::read(args.get(3));
    let from = if condition.is_some() { 4 } else { 3 };
    let fields = fields(args.from(from), "ERR Parameter `numFields` should be greater than 0")?;
    let condition = condition.unwrap_or(Condition::Always);
    let mut effects = Effects::default();
    let codes = cx.keys.change(key, |hash: &mut Hash, growth| {
        let code = |field| match hash.view().get(field) {
            None => NO_FIELD,
            Some(_) if !condition.is_met(hash.view().expire_at_ms(field), at_ms) => NOT_MET,
            Some(_) => effects.expire(hash, field, at_ms, now_ms, growth),
        };
        (fields.iter().map(code).collect::<Vec<_>>(), !effects.is_empty())
    })?;
    effects.settle(cx, key, at_ms);
    show_codes(cx, &codes.unwrap_or_else(|| vec![NO_FIELD; fields.len()]));
    Ok(())
}

/// `HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field …]`
pub(super) const HEXPIRE: Spec = Spec {
    name: "HEXPIRE",
    family: Family::Hash,
    since: "7.4.0",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(RW_UPDATE)],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::emptied),
    summary: "Lets fields expire in so many seconds.",
    reply: "array of integers: 1 when it was set, 0 when a condition forbade it, 2 when that is now, -2 without such a field",
    run: hexpire,
    ..Spec::ROW
};
fn hexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire(cx, args, Unit { seconds: true, absolute: false }, "hexpire")
}

/// `HPEXPIRE key ms [NX | XX | GT | LT] FIELDS numfields field [field …]`
pub(super) const HPEXPIRE: Spec =
    Spec { name: "HPEXPIRE", summary: "Lets fields expire in so many milliseconds.", run: hpexpire, ..HEXPIRE };
fn hpexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire(cx, args, Unit { seconds: false, absolute: false }, "hpexpire")
}

/// `HEXPIREAT key unix-seconds [NX | XX | GT | LT] FIELDS numfields field [field …]`
pub(super) const HEXPIREAT: Spec =
    Spec { name: "HEXPIREAT", summary: "Lets fields expire at a time, in seconds.", run: hexpireat, ..HEXPIRE };
fn hexpireat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire(cx, args, Unit { seconds: true, absolute: true }, "hexpireat")
}

/// `HPEXPIREAT key unix-ms [NX | XX | GT | LT] FIELDS numfields field [field …]`
pub(super) const HPEXPIREAT: Spec =
    Spec { name: "HPEXPIREAT", summary: "Lets fields expire at a time, in milliseconds.", run: hpexpireat, ..HEXPIRE };
fn hpexpireat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire(cx, args, Unit { seconds: false, absolute: true }, "hpexpireat")
}

/// Answers about the expiry of each field.
fn tell(cx: &mut Cx<'_>, args: Args<'_>, of: impl Fn(u64, u64) -> u64) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let now_ms = cx.now.wall_ms;
    let hash = cx.keys.collection::<Hash>(key)?;
    let fields = fields(args.from(2), NO_COUNT)?;
    let code = |field| match hash {
        Some(hash) if hash.get(field).is_some() => {
            hash.expire_at_ms(field).map_or(NO_EXPIRY, |at_ms| of(at_ms, now_ms) as i64)
        }
        _ => NO_FIELD,
    };
    cx.out.array(fields.len());
    fields.iter().for_each(|field| cx.out.int(code(field)));
    Ok(())
}

/// `HTTL key FIELDS numfields field [field …]`
pub(super) const HTTL: Spec = Spec {
    name: "HTTL",
    family: Family::Hash,
    since: "7.4.0",
    arity: Arity::AtLeast(5),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Seconds until fields expire.",
    reply: "array of integers: -1 without an expiry, -2 without such a field",
    run: httl,
    ..Spec::ROW
};
fn httl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms).div_ceil(1000))
}

/// `HPTTL key FIELDS numfields field [field …]`
pub(super) const HPTTL: Spec = Spec { name: "HPTTL", summary: "Milliseconds until fields expire.", run: hpttl, ..HTTL };
fn hpttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(cx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms))
}

/// `HEXPIRETIME key FIELDS numfields field [field …]`
pub(super) const HEXPIRETIME: Spec =
    Spec { name: "HEXPIRETIME", tips: &[], summary: "When fields expire, in unix seconds.", run: hexpiretime, ..HTTL };
fn hexpiretime(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(cx, args, |at_ms, _| at_ms.div_ceil(1000))
}

/// `HPEXPIRETIME key FIELDS numfields field [field …]`
pub(super) const HPEXPIRETIME: Spec = Spec {
    name: "HPEXPIRETIME",
    summary: "When fields expire, in unix milliseconds.",
    run: hpexpiretime,
    ..HEXPIRETIME
};
fn hpexpiretime(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    tell(cx, args, |at_ms, _| at_ms)
}

/// `HPERSIST key FIELDS numfields field [field …]`
pub(super) const HPERSIST: Spec = Spec {
    name: "HPERSIST",
    family: Family::Hash,
    since: "7.4.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(RW_UPDATE)],
    ttl: Ttl::Inherited(1),
    event: Event::ByName,
    summary: "Takes the expiry of fields.",
    reply: "array of integers: 1 when it had one, -1 when not, -2 without such a field",
    run: hpersist,
    ..Spec::ROW
};
fn hpersist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    cx.keys.collection::<Hash>(key)?;
    let fields = fields(args.from(2), NO_COUNT)?;
    let codes = cx.keys.change(key, |hash: &mut Hash, growth| {
        let code = |field| match (hash.view().get(field), hash.view().expire_at_ms(field)) {
            (None, _) => NO_FIELD,
            (Some(_), None) => NO_EXPIRY,
            (Some(_), Some(_)) => {
                hash.set_expiry(field, None, growth);
                DONE
            }
        };
        let codes: Vec<i64> = fields.iter().map(code).collect();
        let changed = codes.contains(&DONE);
        (codes, changed)
    })?;
    show_codes(cx, &codes.unwrap_or_else(|| vec![NO_FIELD; fields.len()]));
    Ok(())
}

#[cfg(test)]
mod tests;
