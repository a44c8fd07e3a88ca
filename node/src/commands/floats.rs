//! Adding fractions to strings and fields, as redis does: in `long double`.

use super::strings::copy;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::{Hash, Value};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::long_double::{LongDouble, Parsed};
use crate::resp::Args;

const COUNTS: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);

const NOT_FLOAT: CommandError = CommandError::Text("ERR value is not a valid float");

/// The sum of what is there, or 0, and an increment, as text.
fn sum(old: Option<Value<'_>>, increment: &Parsed, not_float: CommandError) -> Result<String, CommandError> {
    const INFINITE: CommandError = CommandError::Text("ERR increment would produce NaN or Infinity");
    let mut text = b"0".to_vec();
    if let Some(old) = old {
        text.clear();
        copy(old, &mut text);
    }
    match (LongDouble::parse(&text).ok_or(not_float)?, increment) {
        (Parsed::Finite(old), Parsed::Finite(increment)) => Ok(old.plus(increment).ok_or(INFINITE)?.text()),
        _ => Err(INFINITE),
    }
}

fn increment(text: &[u8]) -> Result<Parsed, CommandError> {
    LongDouble::parse(text).ok_or(NOT_FLOAT)
}

/// `INCRBYFLOAT key increment`
pub(super) const INCRBYFLOAT: Spec = Spec {
    name: "INCRBYFLOAT",
    family: Family::String,
    since: "2.6.0",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Acl::WRITE.or(Acl::STRING).or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(COUNTS)],
    ttl: Ttl::Inherited(1),
    summary: "Adds a fraction to the number at the key.",
    reply: "bulk string: the number after it",
    run: incrbyfloat,
    ..Spec::ROW
};
fn incrbyfloat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let old = cx.keys.string(key)?;
    let text = sum(old, &increment(args.get(2))?, NOT_FLOAT)?;
    let expire_at_ms = cx.keys.find(key).and_then(|entry| entry.expire_at_ms());
    cx.keys.set_string(key, text.as_bytes(), expire_at_ms);
    cx.keys.log_instead(&[b"SET", key.bytes, text.as_bytes(), b"KEEPTTL"]);
    cx.out.bulk(text);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
pub(super) const HINCRBYFLOAT: Spec = Spec {
    name: "HINCRBYFLOAT",
    family: Family::Hash,
    since: "2.6.0",
    arity: Arity::Exactly(4),
    acl: Acl::WRITE.or(Acl::HASH).or(Acl::FAST),
    summary: "Adds a fraction to the number in a field.",
    run: hincrbyfloat,
    ..INCRBYFLOAT
};
fn hincrbyfloat(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let increment = increment(args.get(3))?;
    if increment == Parsed::Infinite {
        return Err(CommandError::Text("ERR value is NaN or Infinity"));
    }
    let (key, field) = (cx.key(args.get(1)), args.get(2));
    let (text, expires) = cx.keys.change_or_new(key, |hash: &mut Hash, growth| {
        let text = sum(hash.view().get(field), &increment, CommandError::Text("ERR hash value is not a float"));
        if let Ok(text) = &text {
            hash.set_keeping(field, text.as_bytes(), growth);
        }
        let changed = text.is_ok();
        (text.map(|text| (text, hash.view().expire_at_ms(field).is_some())), changed)
    })??;
    if expires {
        cx.keys.log_instead(&[b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", b"1", field, text.as_bytes()]);
    } else {
        cx.keys.log_instead(&[b"HSET", key.bytes, field, text.as_bytes()]);
    }
    cx.out.bulk(text);
    Ok(())
}
