//! What a value is made of, and copies of it.

use super::connection::database;
use super::events::{self, Event};
use super::help::help;
use super::parse::is;
use super::strings::{copy as copy_text, length};
use super::{Acl, Arity, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::{Entry, EntryRef, Growth, Hash, ObjectRef, Set, SortedSet, Value};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// The longest string redis keeps beside its object.
const EMBEDDED_BYTES_MAX: usize = 44;

/// `OBJECT subcommand`
pub(super) const OBJECT: Spec = Spec {
    name: "OBJECT",
    since: "2.2.3",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "What the value at a key is made of.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// `OBJECT ENCODING key`
pub(super) const OBJECT_ENCODING: Spec = Spec {
    name: "OBJECT|ENCODING",
    since: "2.2.3",
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    acl: Acl::KEYSPACE.or(Acl::READ).or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(2).doing(KeyFlags::RO)],
    summary: "How the value is kept, by redis's names.",
    reply: "bulk string; null when the key is absent",
    run: encoding,
    ..Spec::ROW
};
fn encoding(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    match cx.keys.find(key).map(EntryRef::value) {
        Some(value) => cx.out.bulk(encoding_of(value)),
        None => cx.out.null(),
    }
    Ok(())
}

/// How a value is kept, by redis's names.
pub(super) fn encoding_of(value: Value<'_>) -> &'static str {
    match value {
        Value::Object(object) => object.encoding(),
        Value::Int(_) => "int",
        value if length(value) <= EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    }
}

/// `OBJECT REFCOUNT key`
pub(super) const OBJECT_REFCOUNT: Spec = Spec {
    name: "OBJECT|REFCOUNT",
    summary: "How many places share the value: always one.",
    reply: "integer; null when the key is absent",
    run: refcount,
    ..OBJECT_ENCODING
};
fn refcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    match cx.keys.find(key) {
        Some(_) => cx.out.int(1),
        None => cx.out.null(),
    }
    Ok(())
}

/// `OBJECT IDLETIME key`
pub(super) const OBJECT_IDLETIME: Spec = Spec {
    name: "OBJECT|IDLETIME",
    summary: "Seconds since the key was used last; not known under an LFU policy.",
    reply: "integer; null when the key is absent",
    run: idletime,
    ..OBJECT_ENCODING
};
fn idletime(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    match cx.keys.heat(key) {
        None => cx.out.null(),
        Some((_, warmth)) if warmth.is_lfu() => return Err(CommandError::Text(IDLE_UNKNOWN)),
        Some((heat, warmth)) => cx.out.int(warmth.idle_s(heat) as i64),
    }
    Ok(())
}
const IDLE_UNKNOWN: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
                            switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// `OBJECT FREQ key`
pub(super) const OBJECT_FREQ: Spec = Spec {
    name: "OBJECT|FREQ",
    since: "4.0.0",
    summary: "How often the key is used, on a logarithmic scale to 255; known under an LFU policy only.",
    reply: "integer; null when the key is absent",
    run: freq,
    ..OBJECT_ENCODING
};
fn freq(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    match cx.keys.heat(key) {
        None => cx.out.null(),
        Some((_, warmth)) if !warmth.is_lfu() => return Err(CommandError::Text(FREQ_UNKNOWN)),
        Some((heat, warmth)) => cx.out.int(warmth.counter(heat).into()),
    }
    Ok(())
}
const FREQ_UNKNOWN: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                            when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// `OBJECT HELP`
pub(super) const OBJECT_HELP: Spec = Spec {
    name: "OBJECT|HELP",
    since: "6.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::KEYSPACE.or(Acl::SLOW),
    summary: "The subcommands.",
    reply: "array of lines",
    run: object_help,
    ..Spec::ROW
};
fn object_help(cx: &mut Cx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    help(cx, &OBJECT, OBJECT_LINES);
    Ok(())
}
const OBJECT_LINES: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

/// `COPY source destination [DB n] [REPLACE]`
pub(super) const COPY: Spec = Spec {
    name: "COPY",
    since: "6.2.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::KEYSPACE.or(Acl::WRITE).or(Acl::SLOW),
    keys: &[
        KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::at(2).doing(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::copied),
    looks: true,
    summary: "Copies a value with its expiry to another key, or into another database.",
    reply: "integer: 1 when it was copied, 0 when not",
    run: copy,
    ..Spec::ROW
};
fn copy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut replace, mut target) = (false, cx.keys.database);
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        match option {
            _ if is(option, "REPLACE") => replace = true,
            _ if is(option, "DB") => target = database(cx, options.next().ok_or(CommandError::Syntax)?)?,
            _ => return Err(CommandError::Syntax),
        }
    }
    let (from, to) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if from.bytes == to.bytes && target == cx.keys.database {
        return Err(CommandError::Text("ERR source and destination objects are the same"));
    }
    let growth = &cx.engine.db.growth;
    let copied = cx.keys.read(from).map(|entry| copy_of(entry, to.bytes, growth));
    match copied.filter(|_| replace || !cx.keys.within(target, |keys| keys.use_key(to))) {
        Some(entry) => {
            cx.keys.within(target, |keys| {
                keys.put(to, entry);
                // Another key than the one it replaces.
                keys.tell_heat(to, None, None);
            });
            cx.out.int(1);
        }
        None => cx.out.int(0),
    }
    Ok(())
}

/// The same value, expiry and attribute under another key.
fn copy_of(entry: EntryRef<'_>, key: &[u8], growth: &Growth) -> Entry {
    let expire_at_ms = entry.expire_at_ms();
    let copy = match entry.value() {
        Value::Object(ObjectRef::List(list)) => Entry::collection(key, list.clone(), expire_at_ms),
        Value::Object(ObjectRef::Hash(hash)) => {
            let mut copy = Hash::alike(hash, growth);
            let mut text = Vec::new();
            for (field, value) in hash.iter() {
                text.clear();
                copy_text(value, &mut text);
                copy.set(field, &text, growth);
                copy.set_expiry(field, hash.expire_at_ms(field), growth);
            }
            Entry::collection(key, copy, expire_at_ms)
        }
        Value::Object(ObjectRef::Set(set)) => {
            let mut copy = Set::alike(set, growth);
            for member in set.iter() {
                member.with(|member| copy.add(member, growth));
            }
            Entry::collection(key, copy, expire_at_ms)
        }
        Value::Object(ObjectRef::SortedSet(set)) => {
            let mut copy = SortedSet::alike(set, growth);
            set.visit(0, set.len(), false, &mut |member, score| {
                copy.set(member, score, growth);
            });
            Entry::collection(key, copy, expire_at_ms)
        }
        Value::Object(ObjectRef::Stream(stream)) => Entry::collection(key, stream.clone(), expire_at_ms),
        Value::Object(ObjectRef::Json(document)) => Entry::collection(key, document.clone(), expire_at_ms),
        Value::Shared(bytes) => Entry::shared(key, bytes.clone(), expire_at_ms),
        Value::Int(value) => Entry::int(key, value, expire_at_ms),
        Value::Bytes(bytes) => Entry::string(key, bytes, expire_at_ms),
    };
    // An attribute that was short enough once is so again.
    copy.with_attribute(entry.attribute()).unwrap_or_else(|unchanged| unchanged)
}
