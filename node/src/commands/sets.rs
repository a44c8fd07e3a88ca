//! Sets.

use std::collections::BTreeSet;

use super::events::{Class, Event};
use super::parse::{count, int, is, repeats};
use super::scans::scan;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Entry, Member, Set, SetRef};
use crate::engine::{Cx, Random};
use crate::error::CommandError;
use crate::resp::{Args, Out};

const READ: Acl = Acl::READ.or(Acl::SET);
const WRITE: Acl = Acl::WRITE.or(Acl::SET);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
/// A destination that is replaced, and the sources.
const STORES: &[KeySpec] =
    &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::UPDATE)), KeySpec::at(2).to(-1, 1).doing(RO_ACCESS)];

fn show(out: &mut Out, member: Member<'_>) {
    match member {
        Member::Int(int) => out.bulk_int(int),
        Member::Bytes(bytes) => out.bulk(bytes),
    }
}

fn owned(member: Member<'_>) -> Vec<u8> {
    member.with(<[u8]>::to_vec)
}

/// `SADD key member [member …]`
pub(super) const SADD: Spec = Spec {
    name: "SADD",
    family: Family::Set,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.iter().skip(2).map(|member| member.len() as u64).max(),
    summary: "Adds members.",
    reply: "integer: how many are new",
    run: sadd,
    ..Spec::ROW
};
fn sadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let new = cx.keys.change_or_new(key, |set: &mut Set, growth| {
        let new = args.iter().skip(2).filter(|member| set.add(member, growth)).count();
        (new, new > 0)
    })?;
    cx.out.int(new as i64);
    Ok(())
}

/// `SREM key member [member …]`
pub(super) const SREM: Spec = Spec {
    name: "SREM",
    family: Family::Set,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    summary: "Removes members; the key with the last.",
    reply: "integer: how many were there",
    run: srem,
    ..Spec::ROW
};
fn srem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let removed = cx.keys.change(key, |set: &mut Set, _| {
        let removed = args.iter().skip(2).filter(|member| set.remove(member)).count();
        (removed, removed > 0)
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `SISMEMBER key member`
pub(super) const SISMEMBER: Spec = Spec {
    name: "SISMEMBER",
    family: Family::Set,
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "Whether a member is in the set.",
    reply: "integer: 1 or 0",
    run: sismember,
    ..Spec::ROW
};
fn sismember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let found = cx.keys.collection::<Set>(key)?.is_some_and(|set| set.contains(args.get(2)));
    cx.out.int(found.into());
    Ok(())
}

/// `SMISMEMBER key member [member …]`
pub(super) const SMISMEMBER: Spec = Spec {
    name: "SMISMEMBER",
    since: "6.2.0",
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Whether each of some members is in the set.",
    reply: "array of integers, 1 or 0",
    run: smismember,
    ..SISMEMBER
};
fn smismember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<Set>(key)?;
    cx.out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        cx.out.int(set.is_some_and(|set| set.contains(member)).into());
    }
    Ok(())
}

/// `SCARD key`
pub(super) const SCARD: Spec = Spec {
    name: "SCARD",
    arity: Arity::Exactly(2),
    summary: "How many members.",
    reply: "integer; 0 when the key is absent",
    run: scard,
    ..SISMEMBER
};
fn scard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let len = cx.keys.collection::<Set>(key)?.map_or(0, SetRef::len);
    cx.out.int(len as i64);
    Ok(())
}

/// `SMEMBERS key`
pub(super) const SMEMBERS: Spec = Spec {
    name: "SMEMBERS",
    family: Family::Set,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "All members.",
    reply: "set of bulk strings",
    run: smembers,
    ..Spec::ROW
};
fn smembers(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<Set>(key)?;
    cx.out.set(set.map_or(0, SetRef::len));
    set.into_iter().flat_map(SetRef::iter).for_each(|member| show(cx.out, member));
    Ok(())
}

/// `SRANDMEMBER key [count]`
pub(super) const SRANDMEMBER: Spec = Spec {
    name: "SRANDMEMBER",
    family: Family::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Random members: each once for a count, with repeats for a negative one.",
    reply: "bulk string or null; with a count an array",
    run: srandmember,
    ..Spec::ROW
};
fn srandmember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = match args.len() {
        2 => None,
        3 => Some(int(args.get(2))?),
        _ => return Err(CommandError::Syntax),
    };
    if let Some(wanted) = wanted {
        repeats(wanted)?;
    }
    let key = cx.key(args.get(1));
    let mut random = cx.engine.random();
    let set = cx.keys.collection::<Set>(key)?;
    let Some(wanted) = wanted else {
        match set.and_then(|set| set.random(&mut || random.next())) {
            Some(member) => show(cx.out, member),
            None => cx.out.null(),
        }
        return Ok(());
    };
    let picked: Vec<Member<'_>> = match set {
        None => Vec::new(),
        Some(set) if wanted < 0 => {
            (0..wanted.unsigned_abs()).filter_map(|_| set.random(&mut || random.next())).collect()
        }
        Some(set) => {
            let draw = |random: &mut Random| set.random(&mut || random.next());
            random.pick((wanted as usize, set.len()), || set.iter().collect(), draw, |member| *member)
        }
    };
    cx.out.array(picked.len());
    picked.into_iter().for_each(|member| show(cx.out, member));
    Ok(())
}

/// `SPOP key [count]`
pub(super) const SPOP: Spec = Spec {
    name: "SPOP",
    family: Family::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    summary: "Takes random members out.",
    reply: "bulk string or null; with a count a set",
    run: spop,
    ..Spec::ROW
};
fn spop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = match args.len() {
        2 => None,
        3 => Some(count(args.get(2)).map_err(|_| CommandError::Text("ERR value is out of range, must be positive"))?),
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(args.get(1));
    let mut random = cx.engine.random();
    let taken = cx.keys.change(key, |set: &mut Set, _| {
        let n = wanted.unwrap_or(1).min(set.view().len());
        let taken: Vec<Vec<u8>> = if n == set.view().len() {
            std::mem::take(set).view().iter().map(owned).collect()
        } else {
            (0..n).filter_map(|_| take_one(set, &mut || random.next())).collect()
        };
        let changed = !taken.is_empty();
        (taken, changed)
    })?;
    let taken = taken.unwrap_or_default();
    if !taken.is_empty() {
        // What was chosen is the effect, not that something was to be chosen.
        let mut record: Vec<&[u8]> = vec![b"SREM", key.bytes];
        record.extend(taken.iter().map(Vec::as_slice));
        cx.keys.log_instead(&record);
    }
    match (wanted, taken.first()) {
        (None, Some(member)) => cx.out.bulk(member),
        (None, None) => cx.out.null(),
        (Some(_), _) => {
            cx.out.set(taken.len());
            taken.iter().for_each(|member| cx.out.bulk(member));
        }
    }
    Ok(())
}

fn take_one(set: &mut Set, draw: &mut impl FnMut() -> u64) -> Option<Vec<u8>> {
    let member = set.view().random(draw).map(owned)?;
    set.remove(&member);
    Some(member)
}

/// `SMOVE source destination member`
pub(super) const SMOVE: Spec = Spec {
    name: "SMOVE",
    family: Family::Set,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[
        KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    ttl: Ttl::Inherited(2),
    event: Event::By(Class::SET, |args, key| if key == args.get(1) { "srem" } else { "sadd" }),
    summary: "Moves a member from one set to another.",
    reply: "integer: 1 when it was there, 0 when not",
    run: smove,
    ..Spec::ROW
};
fn smove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to, member) = (cx.key(args.get(1)), cx.key(args.get(2)), args.get(3));
    let held = cx.keys.collection::<Set>(from)?.map(|set| set.contains(member));
    // Redis asks the source first: without it, the destination's type does not matter.
    if held.is_some() {
        cx.keys.collection::<Set>(to)?;
    }
    if held != Some(true) {
        cx.out.int(0);
        return Ok(());
    }
    if from.bytes != to.bytes {
        cx.keys.change(from, |set: &mut Set, _| (set.remove(member), true))?;
        cx.keys.change_or_new(to, |set: &mut Set, growth| {
            let new = set.add(member, growth);
            (new, new)
        })?;
    }
    cx.out.int(1);
    Ok(())
}

/// How sets are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    Inter,
    Union,
    Diff,
}

/// The members of several sets put together; absent keys are empty sets.
fn merged(cx: &mut Cx<'_>, keys: Args<'_>, merge: Merge) -> Result<Vec<Vec<u8>>, CommandError> {
    let sets = all(cx, keys)?;
    Ok(match merge {
        Merge::Union => {
            let members = sets.into_iter().flatten().flat_map(SetRef::iter).map(owned);
            members.collect::<BTreeSet<_>>().into_iter().collect()
        }
        Merge::Inter => common(&sets).map(owned).collect(),
        Merge::Diff => {
            let (first, others) = sets.split_first().map_or((None, &[][..]), |(first, others)| (*first, others));
            let is_among_others = |member: &Member<'_>| others.iter().flatten().any(|set| has(*set, *member));
            first.into_iter().flat_map(SetRef::iter).filter(|member| !is_among_others(member)).map(owned).collect()
        }
    })
}

/// The sets at keys; none for a key that is absent. Every key's type is asked before anything else, as redis does.
fn all<'c>(cx: &'c mut Cx<'_>, keys: Args<'_>) -> Result<Vec<Option<SetRef<'c>>>, CommandError> {
    for bytes in keys.iter() {
        let key = cx.key(bytes);
        cx.keys.collection::<Set>(key)?;
    }
    let cx = &*cx;
    keys.iter().map(|bytes| cx.keys.peek_collection::<Set>(cx.key(bytes))).collect()
}

/// The members that are in each of the sets, in the order of the smallest.
fn common<'c>(sets: &[Option<SetRef<'c>>]) -> impl Iterator<Item = Member<'c>> {
    let sizes = sets.iter().map(|set| set.map_or(0, SetRef::len)).enumerate();
    let (smallest, _) = sizes.min_by_key(|(_, len)| *len).unwrap_or_default();
    let is_in_others = move |member: &Member<'_>| {
        sets.iter().enumerate().all(|(at, set)| at == smallest || set.is_some_and(|set| has(set, *member)))
    };
    let members = sets.get(smallest).copied().flatten().into_iter().flat_map(SetRef::iter);
    members.filter(is_in_others)
}

fn has(set: SetRef<'_>, member: Member<'_>) -> bool {
    member.with(|member| set.contains(member))
}

fn show_merged(cx: &mut Cx<'_>, args: Args<'_>, merge: Merge) -> Result<(), CommandError> {
    let members = merged(cx, args.from(1), merge)?;
    cx.out.set(members.len());
    members.iter().for_each(|member| cx.out.bulk(member));
    Ok(())
}

fn store_merged(cx: &mut Cx<'_>, args: Args<'_>, merge: Merge) -> Result<(), CommandError> {
    let keys = args.from(2);
    let members = merged(cx, keys, merge)?;
    let passing = if matches!(merge, Merge::Diff) { passing(cx, keys)? } else { Vec::new() };
    let key = cx.key(args.get(1));
    store(cx, key, &members, &passing);
    cx.out.int(members.len() as i64);
    Ok(())
}

/// What SDIFFSTORE puts into the destination before it takes out what is in other sets: the first set, where redis takes that
/// for less work than to look each of its members up in the others. It shows in how the destination is encoded.
fn passing(cx: &mut Cx<'_>, keys: Args<'_>) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut lens = Vec::new();
    for bytes in keys.iter() {
        let key = cx.key(bytes);
        lens.push(cx.keys.collection_again::<Set>(key)?.map_or(0, SetRef::len));
    }
    let sets = lens.iter().filter(|len| **len > 0).count();
    if lens.first().map_or(0, |first| first.saturating_mul(sets)) / 2 <= lens.iter().sum() {
        return Ok(Vec::new());
    }
    let first = cx.key(keys.get(0));
    Ok(cx.keys.collection_again::<Set>(first)?.into_iter().flat_map(SetRef::iter).map(owned).collect())
}

/// Makes a key hold just these members, whatever it held; `passing` were in it on the way there.
fn store(cx: &mut Cx<'_>, key: Key<'_>, members: &[Vec<u8>], passing: &[Vec<u8>]) {
    if members.is_empty() {
        cx.keys.delete(key);
        return;
    }
    let mut set = Set::new();
    for member in if passing.is_empty() { members } else { passing } {
        set.add(member, &cx.engine.db.growth);
    }
    // All members are among those, and both are in the order of the first set.
    let mut kept = members.iter().peekable();
    for member in passing {
        if kept.next_if_eq(&member).is_none() {
            set.remove(member);
        }
    }
    cx.keys.put(key, Entry::collection(key.bytes, set, None));
}

/// `SINTER key [key …]`
pub(super) const SINTER: Spec = Spec {
    name: "SINTER",
    family: Family::Set,
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).to(-1, 1).doing(RO_ACCESS)],
    summary: "The members that are in every set.",
    reply: "set of bulk strings",
    run: sinter,
    ..Spec::ROW
};
fn sinter(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_merged(cx, args, Merge::Inter)
}

/// `SUNION key [key …]`
pub(super) const SUNION: Spec =
    Spec { name: "SUNION", summary: "The members that are in any of the sets.", run: sunion, ..SINTER };
fn sunion(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_merged(cx, args, Merge::Union)
}

/// `SDIFF key [key …]`
pub(super) const SDIFF: Spec =
    Spec { name: "SDIFF", summary: "The members of the first set that are in no other.", run: sdiff, ..SINTER };
fn sdiff(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_merged(cx, args, Merge::Diff)
}

/// `SINTERSTORE destination key [key …]`
pub(super) const SINTERSTORE: Spec = Spec {
    name: "SINTERSTORE",
    family: Family::Set,
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE)), KeySpec::at(2).to(-1, 1).doing(RO_ACCESS)],
    looks: true,
    summary: "Makes a key the set of members that are in every set.",
    reply: "integer: how many",
    run: sinterstore,
    ..Spec::ROW
};
fn sinterstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Inter)
}

/// `SUNIONSTORE destination key [key …]`
pub(super) const SUNIONSTORE: Spec = Spec {
    name: "SUNIONSTORE",
    keys: STORES,
    looks: true,
    summary: "Makes a key the set of members that are in any of the sets.",
    run: sunionstore,
    ..SINTERSTORE
};
fn sunionstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Union)
}

/// `SDIFFSTORE destination key [key …]`
pub(super) const SDIFFSTORE: Spec = Spec {
    name: "SDIFFSTORE",
    keys: STORES,
    looks: true,
    summary: "Makes a key the set of members of the first set that are in no other.",
    run: sdiffstore,
    ..SINTERSTORE
};
fn sdiffstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Diff)
}

/// `SINTERCARD numkeys key [key …] [LIMIT limit]`
pub(super) const SINTERCARD: Spec = Spec {
    name: "SINTERCARD",
    family: Family::Set,
    since: "7.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::counted_at(1).doing(RO_ACCESS)],
    summary: "How many members are in every set, up to a limit.",
    reply: "integer",
    run: sintercard,
    ..Spec::ROW
};
fn sintercard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let numkeys = int(args.get(1)).ok().filter(|n| *n > 0);
    let numkeys = numkeys.ok_or(CommandError::Text("ERR numkeys should be greater than 0"))? as usize;
    if numkeys > args.len() - 2 {
        return Err(CommandError::Text("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut options = args.from(2 + numkeys).iter();
    while let Some(option) = options.next() {
        match options.next().filter(|_| is(option, "LIMIT")) {
            Some(value) => {
                let given = int(value).ok().filter(|n| *n >= 0);
                limit = given.ok_or(CommandError::Text("ERR LIMIT can't be negative"))? as usize;
            }
            None => return Err(CommandError::Syntax),
        }
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    let keys = args.from(2).up_to(numkeys);
    let count = common(&all(cx, keys)?).take(limit).count();
    cx.out.int(count as i64);
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT n]`
pub(super) const SSCAN: Spec = Spec {
    name: "SSCAN",
    family: Family::Set,
    since: "2.8.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Some of the members, and where to go on.",
    reply: "array: the next cursor, 0 at the end, and an array of members",
    run: sscan,
    ..Spec::ROW
};
fn sscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan::<Set>(cx, args, |set, cursor, page| {
        set.scan(cursor, &mut |member| member.with(|bytes| page.add(bytes, |_| {})))
    })
}
