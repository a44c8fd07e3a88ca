//! Reading, writing and removing fields together with their expiry.

use super::{Effects, NO_COUNT, RW_UPDATE, Unit, WRITE, fields};
use crate::commands::events::{self, Class, Event};
use crate::commands::parse::{int, is};
use crate::commands::strings::copy;
use crate::commands::{Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::{Hash, HashRef};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const ONE_OF_GETEX: &str = "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified";
const ONE_OF_SETEX: &str = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";

/// The unit that an option's name says.
fn unit(option: &[u8]) -> Option<Unit> {
    let known = [("EX", (true, false)), ("PX", (false, false)), ("EXAT", (true, true)), ("PXAT", (false, true))];
    let found = known.iter().find(|(name, _)| is(option, name));
    found.map(|(_, (seconds, absolute))| Unit { seconds: *seconds, absolute: *absolute })
}

/// The value of a field, copied.
fn value(hash: HashRef<'_>, field: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    copy(hash.get(field)?, &mut text);
    Some(text)
}

/// Writes values; those of a hash that is not there are null.
fn show_values(cx: &mut Cx<'_>, values: Option<Vec<Option<Vec<u8>>>>, fields: Args<'_>) {
    cx.out.array(fields.len());
    for value in values.unwrap_or_else(|| vec![None; fields.len()]) {
        match value {
            Some(value) => cx.out.bulk(value),
            None => cx.out.null(),
        }
    }
}

/// `HGETDEL key FIELDS numfields field [field …]`
pub(in crate::commands) const HGETDEL: Spec = Spec {
    name: "HGETDEL",
    family: Family::Hash,
    since: "8.0.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    event: Event::Is(Class::HASH, "hdel"),
    summary: "The values of fields, which it removes; the key with the last.",
    reply: "array of bulk strings, null for absent fields",
    run: hgetdel,
    ..Spec::ROW
};
fn hgetdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    cx.keys.collection::<Hash>(key)?;
    let fields = fields(args.from(2), NO_COUNT)?;
    let values = cx.keys.change(key, |hash: &mut Hash, _| {
        // One by one: a field that is said twice is gone the second time.
        let one = |field| {
            let value = value(hash.view(), field);
            hash.remove(field);
            value
        };
        let values: Vec<_> = fields.iter().map(one).collect();
        let changed = values.iter().any(Option::is_some);
        (values, changed)
    })?;
    if values.iter().flatten().any(Option::is_some) {
        let mut record: Vec<&[u8]> = vec![b"HDEL", key.bytes];
        record.extend(fields.iter());
        cx.keys.log_instead(&record);
    }
    show_values(cx, values, fields);
    Ok(())
}

/// What HGETEX does to the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Persist,
    ExpireAt(u64),
}

impl Then {
    /// Reads the option, if there is one, and how many arguments it is.
    fn read(args: Args<'_>, now_ms: u64) -> Result<(Self, usize), CommandError> {
        let then = match args.get(0) {
            option if is(option, "PERSIST") => (Self::Persist, 1),
            option => match unit(option) {
                Some(unit) => (Self::ExpireAt(unit.at_ms(args.get(1), now_ms, "hgetex")?), 2),
                None => return Ok((Self::Nothing, 0)),
            },
        };
        match args.try_get(then.1) {
            Some(more) if is(more, "PERSIST") || unit(more).is_some() => Err(CommandError::Text(ONE_OF_GETEX)),
            _ => Ok(then),
        }
    }
}

/// `HGETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] FIELDS numfields field [field …]`
pub(in crate::commands) const HGETEX: Spec = Spec {
    name: "HGETEX",
    family: Family::Hash,
    since: "8.0.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1)
        .doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))
        .noting("RW and UPDATE because it changes the TTL")],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::emptied),
    summary: "The values of fields, whose expiry it changes.",
    reply: "array of bulk strings, null for absent fields",
    run: hgetex,
    ..Spec::ROW
};
fn hgetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now.wall_ms;
    let (then, words) = Then::read(args.from(2), now_ms)?;
    let fields = fields(args.from(2 + words), NO_COUNT)?;
    let key = cx.key(args.get(1));
    let (mut effects, mut persisted) = (Effects::default(), false);
    let values = cx.keys.change(key, |hash: &mut Hash, growth| {
        // One by one: a field that is said twice may be gone the second time.
        let one = |field| {
            let value = value(hash.view(), field);
            match then {
                Then::ExpireAt(at_ms) if value.is_some() => {
                    effects.expire(hash, field, at_ms, now_ms, growth);
                }
                Then::Persist if hash.view().expire_at_ms(field).is_some() => {
                    hash.set_expiry(field, None, growth);
                    persisted = true;
                }
                _ => {}
            }
            value
        };
        let values: Vec<_> = fields.iter().map(one).collect();
        (values, persisted || !effects.is_empty())
    })?;
    match then {
        Then::ExpireAt(at_ms) => effects.settle(cx, key, at_ms),
        // PERSIST is logged as it came.
        _ if persisted => cx.keys.say(key, Class::HASH, "hpersist"),
        _ => {}
    }
    show_values(cx, values, fields);
    Ok(())
}

/// Which fields have to be there for HSETEX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Present {
    None,
    All,
}

/// What HSETEX was asked.
#[derive(Debug, Clone, Copy)]
struct Setting<'a> {
    present: Option<Present>,
    keeps: bool,
    at_ms: Option<u64>,
    /// Fields and values in turn.
    pairs: Args<'a>,
}

impl<'a> Setting<'a> {
    fn read(args: Args<'a>, now_ms: u64) -> Result<Self, CommandError> {
        let mut setting = Self { present: None, keeps: false, at_ms: None, pairs: args };
        let mut at = 2;
        while let Some(option) = args.try_get(at) {
            if is(option, "FIELDS") {
                setting.pairs = pairs(args, at)?;
                return Ok(setting);
            }
            at += setting.option(option, args.try_get(at + 1), now_ms)?;
        }
        Err(CommandError::Arity("hsetex".into()))
    }

    /// Reads one option; how many arguments it is.
    fn option(&mut self, option: &[u8], value: Option<&[u8]>, now_ms: u64) -> Result<usize, CommandError> {
        let unit = unit(option);
        if let Some(present) = [("FNX", Present::None), ("FXX", Present::All)].iter().find(|(name, _)| is(option, name))
        {
            if self.present.replace(present.1).is_some() {
                return Err(CommandError::Text("ERR Only one of FXX or FNX arguments can be specified"));
            }
            return Ok(1);
        }
        if unit.is_none() && !is(option, "KEEPTTL") {
            return Err(CommandError::Quoted(
                [b"ERR unknown argument: ", crate::commands::shown(option, 128)].concat(),
            ));
        }
        if self.keeps || self.at_ms.is_some() {
            return Err(CommandError::Text(ONE_OF_SETEX));
        }
        match unit {
            None => self.keeps = true,
            Some(unit) => {
                let text = value.ok_or(CommandError::Text("ERR missing expire time"))?;
                self.at_ms = Some(unit.at_ms(text, now_ms, "hsetex")?);
            }
        }
        Ok(if unit.is_some() { 2 } else { 1 })
    }

    fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        self.pairs.iter().step_by(2)
    }

    fn is_forbidden(&self, hash: HashRef<'_>) -> bool {
        match self.present {
            None => false,
            Some(Present::None) => self.fields().any(|field| hash.get(field).is_some()),
            Some(Present::All) => self.fields().any(|field| hash.get(field).is_none()),
        }
    }

    /// Logs it with an absolute time and no condition, which was met.
    fn log(&self, cx: &mut Cx<'_>, key: &[u8]) {
        let (at, count) = (self.at_ms.unwrap_or(0).to_string(), (self.pairs.len() / 2).to_string());
        let mut record: Vec<&[u8]> = vec![b"HSETEX", key];
        if self.at_ms.is_some() {
            record.extend([&b"PXAT"[..], at.as_bytes()]);
        }
        if self.keeps {
            record.push(b"KEEPTTL");
        }
        record.extend([&b"FIELDS"[..], count.as_bytes()]);
        record.extend(self.pairs.iter());
        cx.keys.log_instead(&record);
    }
}

/// The fields and values behind `FIELDS` at an argument.
fn pairs(args: Args<'_>, at: usize) -> Result<Args<'_>, CommandError> {
    let pairs = args.from(at + 2);
    if pairs.len() < 2 {
        return Err(CommandError::Arity("hsetex".into()));
    }
    let count = int(args.get(at + 1)).ok().and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Text("ERR invalid number of fields"))?;
    if count.checked_mul(2) == Some(pairs.len()) { Ok(pairs) } else { Err(CommandError::Arity("hsetex".into())) }
}

/// `HSETEX key [FNX | FXX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] FIELDS numfields field value [field value …]`
pub(in crate::commands) const HSETEX: Spec = Spec {
    name: "HSETEX",
    family: Family::Hash,
    since: "8.0.0",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE,
    keys: &[KeySpec::at(1).doing(RW_UPDATE)],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.iter().skip(5).map(|value| value.len() as u64).max(),
    event: Event::Is(Class::HASH, "hset"),
    summary: "Gives fields values and an expiry.",
    reply: "integer: 1 when they were set, 0 when FNX or FXX forbade it",
    run: hsetex,
    ..Spec::ROW
};
fn hsetex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = cx.now.wall_ms;
    let setting = Setting::read(args, now_ms)?;
    let key = cx.key(args.get(1));
    let is_past = setting.at_ms.is_some_and(|at_ms| at_ms <= now_ms);
    let done = cx.keys.change_or_new(key, |hash: &mut Hash, growth| {
        if setting.is_forbidden(hash.view()) {
            return (false, false);
        }
        let values = setting.pairs.iter().skip(1).step_by(2);
        for (field, value) in setting.fields().zip(values) {
            if is_past {
                hash.remove(field);
            } else if setting.keeps {
                hash.set_keeping(field, value, growth);
            } else {
                hash.set(field, value, growth);
                hash.set_expiry(field, setting.at_ms, growth);
            }
        }
        (true, true)
    })?;
    if done && is_past {
        let mut record: Vec<&[u8]> = vec![b"HDEL", key.bytes];
        record.extend(setting.fields());
        cx.keys.log_instead(&record);
        if cx.keys.find(key).is_some() {
            cx.keys.say(key, Class::HASH, "hdel");
        }
    } else if done {
        setting.log(cx, key.bytes);
        cx.keys.note_fields(key);
        if setting.at_ms.is_some() {
            cx.keys.say(key, Class::HASH, "hexpire");
        }
    }
    cx.out.int(done.into());
    Ok(())
}
