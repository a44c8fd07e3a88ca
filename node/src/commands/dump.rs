//! Values as bytes that another server takes: DUMP and RESTORE.

use super::parse::{int, is};
use super::{Acl, Arity, Flags, KeyFlags, KeySpec, Spec, Stated, Ttl};
use crate::db::entry::EntryRef;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::rdb::{self, Bad};
use crate::resp::{Args, Limits};

/// `DUMP key`
pub(super) const DUMP: Spec = Spec {
    name: "DUMP",
    since: "2.6.0",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The value as bytes that RESTORE takes, without its expiry.",
    reply: "bulk string; null when the key is absent",
    run: dump,
    ..Spec::ROW
};
fn dump(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    match cx.keys.read(key).map(EntryRef::value) {
        Some(value) => {
            let payload = rdb::dump(value);
            cx.out.bulk_shared(payload.into());
        }
        None => cx.out.null(),
    }
    Ok(())
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
pub(super) const RESTORE: Spec = Spec {
    name: "RESTORE",
    since: "2.6.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::SLOW).or(Acl::DANGEROUS),
    keys: &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Of(restore_ttl),
    value_bytes,
    summary: "Makes a key of what DUMP answered.",
    reply: "`OK`",
    run: restore,
    ..Spec::ROW
};
fn restore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::read(args.from(4))?;
    let (key, payload) = (cx.key(args.get(1)), args.get(3));
    if !options.replace && cx.keys.use_key(key) {
        return Err(CommandError::Text("BUSYKEY Target key name already exists."));
    }
    let expire_at_ms = options.expire_at_ms(args.get(2), cx.now.wall_ms)?;
    let growth = &cx.engine.db.growth;
    let entry = rdb::restore(payload, key.bytes, expire_at_ms, growth, limits(&cx.engine.config.limits.resp));
    let entry = entry.map_err(refusal)?;
    if expire_at_ms.is_some_and(|at_ms| at_ms <= cx.now.wall_ms) {
        if cx.keys.delete(key) {
            cx.keys.log_instead(&[b"DEL", key.bytes]);
        }
    } else {
        cx.keys.put(key, entry);
        cx.keys.tell_heat(key, options.idle_s, options.frequency);
        let at = expire_at_ms.unwrap_or_default().to_string();
        cx.keys.log_instead(&[b"RESTORE", key.bytes, at.as_bytes(), payload, b"ABSTTL", b"REPLACE"]);
    }
    cx.out.ok();
    Ok(())
}

/// All compressed strings of a payload together may become as long as one string of a request.
fn limits(limits: &Limits) -> rdb::Limits {
    rdb::Limits { unpacked_bytes_max: limits.bulk_bytes_max }
}

fn refusal(bad: Bad) -> CommandError {
    CommandError::Text(match bad {
        Bad::Footer => "ERR DUMP payload version or checksum are wrong",
        Bad::Format => "ERR Bad data format",
        Bad::Type => "ERR Bad data format: values of this type cannot be restored here",
    })
}

/// What may follow the payload.
#[derive(Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    /// Since when the key was not used, and how often it was; the policy keeps one of them.
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(CommandError::Syntax);
            if is(option, "REPLACE") {
                options.replace = true;
            } else if is(option, "ABSTTL") {
                options.absolute = true;
            } else if is(option, "IDLETIME") && options.frequency.is_none() {
                let idle_s = u64::try_from(int(value()?)?);
                let invalid = CommandError::Text("ERR Invalid IDLETIME value, must be >= 0");
                options.idle_s = Some(idle_s.map_err(|_| invalid)?);
            } else if is(option, "FREQ") && options.idle_s.is_none() {
                let frequency = u8::try_from(int(value()?)?);
                let invalid = CommandError::Text("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.frequency = Some(frequency.map_err(|_| invalid)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// When the key expires, in unix ms, by the TTL given.
    fn expire_at_ms(&self, ttl: &[u8], now_ms: u64) -> Result<Option<u64>, CommandError> {
        let given = u64::try_from(int(ttl)?);
        let given = given.map_err(|_| CommandError::Text("ERR Invalid TTL value, must be >= 0"))?;
        let base = if self.absolute { 0 } else { now_ms };
        Ok(Some(given).filter(|given| *given > 0).map(|given| given.saturating_add(base)))
    }
}

fn restore_ttl(args: Args<'_>, wall_ms: u64) -> Stated {
    let expire_at_ms = Options::read(args.from(4)).and_then(|options| options.expire_at_ms(args.get(2), wall_ms));
    match expire_at_ms {
        Ok(Some(at_ms)) => Stated::Ms(at_ms.saturating_sub(wall_ms)),
        _ => Stated::Absent,
    }
}

/// The longest string the key will hold, which may be longer than the payload. What is no value is told by its length.
fn value_bytes(args: Args<'_>) -> Option<u64> {
    let payload = args.get(3);
    let longest = rdb::longest(payload, limits(&Limits::DEFAULT));
    Some(longest.unwrap_or(payload.len() as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::{Call, resolve};
    use crate::db::entry::{ObjectRef, Value};
    use crate::resp::OwnedArgs;
    use crate::testing::{Client, Clock, dump, engine};
    use crate::time::Now;
    use larder_iam_policies::access::Asks;

    #[test]
    fn the_log_says_when_and_what() {
        let clock = Clock::new();
        let (engine, twin) = (engine(&clock), engine(&clock));
        let log = engine.subscribe_log();
        let mut client = Client::new(&engine, &clock, 0);
        let payload = rdb::dump(Value::Bytes(b"value"));
        let mut restore = |key: &[u8], ttl: &[u8], options: &[&[u8]]| {
            client.words(&[&[b"RESTORE", key, ttl, &payload], options].concat())
        };
        assert_eq!(restore(b"plain", b"0", &[]), "+OK|");
        assert_eq!(restore(b"soon", b"5000", &[b"IDLETIME", b"3"]), "+OK|");
        assert_eq!(restore(b"gone", b"0", &[]), "+OK|");
        assert_eq!(restore(b"gone", b"1", &[b"ABSTTL", b"REPLACE"]), "+OK|");
        assert_eq!(restore(b"never", b"1", &[b"ABSTTL"]), "+OK|");
        let state = dump(&engine, clock.now());
        assert_eq!(state.keys().collect::<Vec<_>>(), [b"plain".as_slice(), b"soon"]);
        let (_, log) = log.read().unwrap();
        clock.pass(1000);
        twin.replay(&log, clock.now()).unwrap();
        assert_eq!(dump(&twin, clock.now()), state);
    }

    #[test]
    fn whoever_waits_for_a_list_is_served() {
        let clock = Clock::new();
        let engine = engine(&clock);
        let (mut client, mut waiter) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
        assert_eq!(waiter.say("BLPOP list 0"), "");
        let list = crate::db::entry::List::from_iter(["a", "b"]);
        let payload = rdb::dump(Value::Object(ObjectRef::List(&list)));
        assert_eq!(client.words(&[&b"RESTORE"[..], b"list", b"0", &payload]), "+OK|");
        assert_eq!(waiter.hear().0, "*2|$4|list|$1|a|");
        assert_eq!(client.say("LRANGE list 0 -1"), "*1|$1|b|");
    }

    #[test]
    fn policies_see_the_ttl_and_the_longest_string() {
        let told = |ttl: &[u8], payload: &[u8], options: &[&[u8]]| {
            let args = OwnedArgs::from_slices([&[&b"RESTORE"[..], b"k", ttl, payload], options].concat());
            let spec = resolve(args.as_args()).unwrap();
            let call = Call::of(spec, args.as_args(), Now { wall_ms: 1000, mono_us: 0 });
            (call.ttl_ms(), call.value_bytes())
        };
        let payload = rdb::dump(Value::Bytes(b"value"));
        assert_eq!(told(b"0", &payload, &[]), (None, Some(5)));
        assert_eq!(told(b"500", &payload, &[]), (Some(500), Some(5)));
        assert_eq!(told(b"1500", &payload, &[b"ABSTTL"]), (Some(500), Some(5)));
        assert_eq!(told(b"0", b"no payload", &[]), (None, Some(10)));
        // Four letters, and a copy of 196 bytes from four back.
        let packed = rdb::sealed(b"\x00\xc3\x08\x40\xc8\x03abcd\xe0\xbb\x03".to_vec());
        assert_eq!(told(b"0", &packed, &[]), (None, Some(200)));
    }
}
