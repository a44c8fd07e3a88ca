//! Keys of any type: their existence, expiry and names, and the keyspace as a whole.

use larder_iam_policies::access::Actions;

use super::events::{self, Class, Event};
use super::parse::{int, is};
use super::{Acl, Arity, Beyond, Family, Flags, KeyFlags, KeySpec, Locks, Spec, Stated, Ttl};
use crate::db::{Change, Key};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const READ: Acl = Acl::KEYSPACE.or(Acl::READ);
const WRITE: Acl = Acl::KEYSPACE.or(Acl::WRITE);
const UPDATES: KeyFlags = KeyFlags::RW.or(KeyFlags::UPDATE);
const REMOVES: KeyFlags = KeyFlags::RM.or(KeyFlags::DELETE);
const SUM_OVER_SHARDS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// `DEL key [key …]`
pub(super) const DEL: Spec = Spec {
    name: "DEL",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE,
    acl: WRITE.or(Acl::SLOW),
    tips: SUM_OVER_SHARDS,
    keys: &[KeySpec::at(1).to(-1, 1).doing(REMOVES)],
    summary: "Removes the keys.",
    reply: "integer: how many there were",
    run: del,
    ..Spec::ROW
};
fn del(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut removed = 0;
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        removed += i64::from(cx.keys.delete(key));
    }
    cx.out.int(removed);
    Ok(())
}

/// `UNLINK key [key …]`: as DEL.
pub(super) const UNLINK: Spec = Spec {
    name: "UNLINK",
    since: "4.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    tips: SUM_OVER_SHARDS,
    keys: &[KeySpec::at(1).to(-1, 1).doing(REMOVES)],
    summary: "Removes the keys.",
    reply: "integer: how many there were",
    run: del,
    ..Spec::ROW
};

/// `EXISTS key [key …]`
pub(super) const EXISTS: Spec = Spec {
    name: "EXISTS",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    tips: SUM_OVER_SHARDS,
    keys: &[KeySpec::at(1).to(-1, 1).doing(KeyFlags::RO)],
    summary: "How many of the keys exist; a key named twice counts twice.",
    reply: "integer",
    run: exists,
    ..Spec::ROW
};
fn exists(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut found = 0;
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        found += i64::from(cx.keys.look(key).is_some());
    }
    cx.out.int(found);
    Ok(())
}

/// `TOUCH key [key …]`
pub(super) const TOUCH: Spec =
    Spec { name: "TOUCH", since: "3.2.1", summary: "Uses the keys, as reading them would.", run: touch, ..EXISTS };
fn touch(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut found = 0;
    // Even of a client that said CLIENT NO-TOUCH.
    cx.keys.touch_not(false);
    for bytes in args.iter().skip(1) {
        let key = cx.key(bytes);
        found += i64::from(cx.keys.read(key).is_some());
    }
    cx.keys.touch_not(cx.session.touches_not);
    cx.out.int(found);
    Ok(())
}

/// `TYPE key`
pub(super) const TYPE: Spec = Spec {
    name: "TYPE",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "The type of the value at the key.",
    reply: "simple string: string, list, hash, set, zset, stream, ReJSON-RL or none",
    run: type_of,
    ..Spec::ROW
};
fn type_of(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let kind = cx.keys.look(key).map_or("none", |entry| entry.kind().name());
    cx.out.simple(kind);
    Ok(())
}

macro_rules! expire {
    ($(#[$doc:meta])* $row:ident $name:literal $since:literal $run:ident $ttl:ident $summary:literal) => {
        $(#[$doc])*
        pub(super) const $row: Spec = Spec {
            name: $name,
            since: $since,
            arity: Arity::AtLeast(3),
            flags: Flags::WRITE.or(Flags::FAST),
            acl: WRITE.or(Acl::FAST),
            keys: &[KeySpec::at(1).doing(UPDATES)],
            ttl: Ttl::Of($ttl),
            event: Event::Is(Class::GENERIC, "expire"),
            summary: $summary,
            reply: "integer: 1 when the expiry was set, 0 when there is no such key or a condition forbade it",
            run: $run,
            ..Spec::ROW
        };
    };
}

expire! {
    /// `EXPIRE key s [NX | XX | GT | LT]`
    EXPIRE "EXPIRE" "1.0.0" expire expire_ttl "Lets the key expire in so many seconds."
}
fn expire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire_with(cx, args, "expire", 1000, cx.now.wall_ms)
}
fn expire_ttl(args: Args<'_>, _: u64) -> Stated {
    stated(args, 1000, 0)
}

expire! {
    /// `PEXPIRE key ms [NX | XX | GT | LT]`
    PEXPIRE "PEXPIRE" "2.6.0" pexpire pexpire_ttl "Lets the key expire in so many milliseconds."
}
fn pexpire(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire_with(cx, args, "pexpire", 1, cx.now.wall_ms)
}
fn pexpire_ttl(args: Args<'_>, _: u64) -> Stated {
    stated(args, 1, 0)
}

expire! {
    /// `EXPIREAT key s [NX | XX | GT | LT]`
    EXPIREAT "EXPIREAT" "1.2.0" expireat expireat_ttl "Lets the key expire at a time, in seconds since 1970."
}
fn expireat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire_with(cx, args, "expireat", 1000, 0)
}
fn expireat_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    stated(args, 1000, wall_ms)
}

expire! {
    /// `PEXPIREAT key ms [NX | XX | GT | LT]`: what the effect log makes of every EXPIRE.
    PEXPIREAT "PEXPIREAT" "2.6.0" pexpireat pexpireat_ttl "Lets the key expire at this unix time in milliseconds."
}
fn pexpireat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    expire_with(cx, args, "pexpireat", 1, 0)
}
fn pexpireat_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    stated(args, 1, wall_ms)
}

/// What the option would leave: GT may keep a longer TTL, LT a shorter one; either way the stated one is what the command
/// asks for, and it is what is judged. A time in the past removes the key.
fn stated(args: Args<'_>, unit_ms: i64, base_ms: u64) -> Stated {
    let ms = parse_i64(args.get(2)).and_then(|given| given.checked_mul(unit_ms));
    match ms.map(|ms| ms.saturating_sub(i64::try_from(base_ms).unwrap_or(i64::MAX))) {
        Some(ttl_ms) if ttl_ms > 0 => Stated::Ms(ttl_ms.unsigned_abs()),
        _ => Stated::Absent,
    }
}

/// EXPIRE's conditions on the present expiry.
#[derive(Default)]
struct Conditions {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in args.iter() {
            match option {
                option if is(option, "NX") => conditions.absent = true,
                option if is(option, "XX") => conditions.present = true,
                option if is(option, "GT") => conditions.greater = true,
                option if is(option, "LT") => conditions.less = true,
                option => {
                    let shown = super::shown(option, usize::MAX);
                    return Err(CommandError::Quoted([b"ERR Unsupported option ", shown].concat()));
                }
            }
        }
        let Self { absent, present, greater, less } = conditions;
        if absent && (present || greater || less) {
            return Err(CommandError::Text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if greater && less {
            return Err(CommandError::Text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    fn allow(&self, now: Option<u64>, wanted: i64) -> bool {
        let now = now.map(|at_ms| i64::try_from(at_ms).unwrap_or(i64::MAX));
        !(self.absent && now.is_some()
            || self.present && now.is_none()
            || self.greater && now.is_none_or(|now| wanted <= now)
            || self.less && now.is_some_and(|now| wanted >= now))
    }
}

fn expire_with(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    command: &'static str,
    unit_ms: i64,
    base_ms: u64,
) -> Result<(), CommandError> {
    let conditions = Conditions::read(args.from(3))?;
    let given = int(args.get(2))?;
    let base_ms = i64::try_from(base_ms).unwrap_or(i64::MAX);
    let ms = given.checked_mul(unit_ms).filter(|ms| *ms <= i64::MAX - base_ms);
    let at_ms = ms.map(|ms| ms.saturating_add(base_ms)).ok_or(CommandError::InvalidExpire(command))?;
    let key = cx.key(args.get(1));
    let allowed = cx.keys.find(key).is_some_and(|entry| conditions.allow(entry.expire_at_ms(), at_ms));
    if !allowed {
        cx.out.int(0);
        return Ok(());
    }
    match u64::try_from(at_ms) {
        Ok(at_ms) if at_ms > cx.now.wall_ms => expire_at(cx, key, at_ms),
        _ => expire_now(cx, key),
    }
    cx.out.int(1);
    Ok(())
}

/// Sets the expiry of a key that exists; logged as an absolute time.
pub(super) fn expire_at(cx: &mut Cx<'_>, key: Key<'_>, at_ms: u64) {
    cx.keys.edit(key, |entry| {
        if let Some(mut entry) = entry {
            entry.set_expiry(Some(at_ms));
        }
    });
    cx.keys.changed(key, Change::Value);
    let at = at_ms.to_string();
    cx.keys.log_instead(&[b"PEXPIREAT", key.bytes, at.as_bytes()]);
}

/// Removes a key whose new expiry has passed already; logged as a removal.
pub(super) fn expire_now(cx: &mut Cx<'_>, key: Key<'_>) {
    cx.keys.delete(key);
    cx.keys.log_instead(&[b"DEL", key.bytes]);
}

/// `TTL key`
pub(super) const TTL: Spec = Spec {
    name: "TTL",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "Seconds the key has to live.",
    reply: "integer: rounded seconds; -1 without an expiry, -2 without such a key",
    run: ttl,
    ..Spec::ROW
};
fn ttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let left = remaining_ms(cx, args);
    cx.out.int(if left < 0 { left } else { (left + 500) / 1000 });
    Ok(())
}

/// `PTTL key`
pub(super) const PTTL: Spec = Spec {
    name: "PTTL",
    since: "2.6.0",
    summary: "Milliseconds the key has to live.",
    reply: "integer: milliseconds; -1 without an expiry, -2 without such a key",
    run: pttl,
    ..TTL
};
fn pttl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let left = remaining_ms(cx, args);
    cx.out.int(left);
    Ok(())
}

fn remaining_ms(cx: &mut Cx<'_>, args: Args<'_>) -> i64 {
    let key = cx.key(args.get(1));
    let now_ms = cx.now.wall_ms;
    match cx.keys.look(key).map(|entry| entry.expire_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => i64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or(i64::MAX),
    }
}

/// `EXPIRETIME key`
pub(super) const EXPIRETIME: Spec = Spec {
    name: "EXPIRETIME",
    since: "7.0.0",
    tips: &[],
    summary: "When the key expires, in seconds since 1970.",
    reply: "integer: rounded seconds; -1 without an expiry, -2 without such a key",
    run: expiretime,
    ..TTL
};
fn expiretime(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let at = expires_at_ms(cx, args);
    cx.out.int(if at < 0 { at } else { at.saturating_add(500) / 1000 });
    Ok(())
}

/// `PEXPIRETIME key`
pub(super) const PEXPIRETIME: Spec = Spec {
    name: "PEXPIRETIME",
    summary: "When the key expires, in milliseconds since 1970.",
    reply: "integer: milliseconds; -1 without an expiry, -2 without such a key",
    run: pexpiretime,
    ..EXPIRETIME
};
fn pexpiretime(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let at = expires_at_ms(cx, args);
    cx.out.int(at);
    Ok(())
}

fn expires_at_ms(cx: &mut Cx<'_>, args: Args<'_>) -> i64 {
    let key = cx.key(args.get(1));
    match cx.keys.look(key).map(|entry| entry.expire_at_ms()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => i64::try_from(at_ms).unwrap_or(i64::MAX),
    }
}

/// `PERSIST key`
pub(super) const PERSIST: Spec = Spec {
    name: "PERSIST",
    since: "2.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(UPDATES)],
    summary: "Takes the key's expiry away.",
    reply: "integer: 1 when it had one",
    run: persist,
    ..Spec::ROW
};
fn persist(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let had = persist_key(cx, key).is_some();
    cx.out.int(had.into());
    Ok(())
}

/// Takes a key's expiry away; `None` when it had none.
pub(super) fn persist_key(cx: &mut Cx<'_>, key: Key<'_>) -> Option<()> {
    cx.keys.find(key)?.expire_at_ms()?;
    cx.keys.edit(key, |entry| {
        if let Some(mut entry) = entry {
            entry.set_expiry(None);
        }
    });
    cx.keys.changed(key, Change::Value);
    cx.keys.log_instead(&[b"PERSIST", key.bytes]);
    Some(())
}

/// `RENAME key newkey`
pub(super) const RENAME: Spec = Spec {
    name: "RENAME",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE,
    acl: WRITE.or(Acl::SLOW),
    keys: &[
        KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).doing(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::renamed),
    summary: "Moves a value to another key, over what is there.",
    reply: "OK",
    run: rename,
    ..Spec::ROW
};
fn rename(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if !cx.keys.use_key(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes != to.bytes {
        cx.keys.relocate(from, cx.keys.database, to);
    }
    cx.out.ok();
    Ok(())
}

/// `RENAMENX key newkey`
pub(super) const RENAMENX: Spec = Spec {
    name: "RENAMENX",
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[
        KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).doing(KeyFlags::OW.or(KeyFlags::INSERT)),
    ],
    summary: "Moves a value to another key, unless that exists.",
    reply: "integer: 1 when it was moved, 0 when not",
    run: renamenx,
    ..RENAME
};
fn renamenx(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if !cx.keys.use_key(from) {
        return Err(CommandError::NoSuchKey);
    }
    let free = from.bytes != to.bytes && !cx.keys.use_key(to);
    if free {
        cx.keys.relocate(from, cx.keys.database, to);
    }
    cx.out.int(free.into());
    Ok(())
}

/// `DBSIZE`
pub(super) const DBSIZE: Spec = Spec {
    name: "DBSIZE",
    family: Family::Server,
    arity: Arity::Exactly(1),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    beyond: Beyond::Cache(Actions::LIST),
    locks: Locks::Walks,
    summary: "How many keys the database holds.",
    reply: "integer",
    run: dbsize,
    ..Spec::ROW
};
fn dbsize(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let partitions = cx.engine.db.partitions();
    let keys: usize = (0..partitions).map(|at| cx.keys.visit(at, |shard| shard.table.len())).sum();
    cx.out.int(keys as i64);
    Ok(())
}

/// `FLUSHDB [ASYNC | SYNC]`
pub(super) const FLUSHDB: Spec = Spec {
    name: "FLUSHDB",
    family: Family::Server,
    arity: Arity::AtLeast(1),
    flags: Flags::WRITE,
    acl: WRITE.or(Acl::SLOW).or(Acl::DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    beyond: Beyond::Cache(Actions::ADMIN),
    locks: Locks::All,
    summary: "Removes every key of the database.",
    reply: "OK",
    run: flushdb,
    ..Spec::ROW
};
fn flushdb(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    flush_options(args)?;
    cx.keys.clear();
    cx.engine.tracking.flushed();
    cx.keys.log_instead(&[b"FLUSHDB"]);
    cx.out.ok();
    Ok(())
}

/// `FLUSHALL [ASYNC | SYNC]`
pub(super) const FLUSHALL: Spec =
    Spec { name: "FLUSHALL", summary: "Removes every key of all databases.", run: flushall, ..FLUSHDB };
fn flushall(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    flush_options(args)?;
    cx.keys.clear_all();
    cx.engine.tracking.flushed();
    cx.keys.log_instead(&[b"FLUSHALL"]);
    cx.out.ok();
    Ok(())
}

fn flush_options(args: Args<'_>) -> Result<(), CommandError> {
    let option_ok = args.try_get(1).is_none_or(|option| is(option, "SYNC") || is(option, "ASYNC"));
    if args.len() > 2 || !option_ok {
        return Err(CommandError::Syntax);
    }
    Ok(())
}
