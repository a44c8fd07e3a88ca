//! Sorted sets.

mod merges;
mod pops;
mod ranges;

pub(super) use merges::{ZDIFF, ZDIFFSTORE, ZINTER, ZINTERCARD, ZINTERSTORE, ZUNION, ZUNIONSTORE};
pub(super) use pops::{BZMPOP, BZPOPMAX, BZPOPMIN, ZMPOP, ZPOPMAX, ZPOPMIN};
pub(super) use ranges::{
    ZCOUNT, ZLEXCOUNT, ZRANGE, ZRANGEBYLEX, ZRANGEBYSCORE, ZRANGESTORE, ZREMRANGEBYLEX, ZREMRANGEBYRANK,
    ZREMRANGEBYSCORE, ZREVRANGE, ZREVRANGEBYLEX, ZREVRANGEBYSCORE,
};

use super::events::{Class, Event};
use super::parse::{is, picks, score};
use super::scans::scan;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Entry, Growth, SortedSet, SortedSetRef};
use crate::engine::{Cx, Random};
use crate::error::CommandError;
use crate::resp::{Args, Out, write_double};

const READ: Acl = Acl::READ.or(Acl::SORTED_SET);
const WRITE: Acl = Acl::WRITE.or(Acl::SORTED_SET);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const RW_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::DELETE);

/// Writes members with or without their scores: RESP3 pairs them.
struct Shower<'o> {
    out: &'o mut Out,
    scores: bool,
}

impl<'o> Shower<'o> {
    /// Begins an array of `count` members.
    fn new(out: &'o mut Out, count: usize, scores: bool) -> Self {
        let flat = scores && out.protocol() != 3;
        out.array(if flat { count * 2 } else { count });
        Self { out, scores }
    }

    fn show(&mut self, member: &[u8], score: f64) {
        if self.scores && self.out.protocol() == 3 {
            self.out.array(2);
        }
        self.out.bulk(member);
        if self.scores {
            self.out.double(score);
        }
    }
}

/// Makes a key hold just these members, whatever it held; how many they are.
pub(super) fn store(cx: &mut Cx<'_>, key: Key<'_>, members: Vec<(Vec<u8>, f64)>) -> usize {
    let set = SortedSet::of(&members, &cx.engine.db.growth);
    keep(cx, key, set)
}

/// Makes a key hold this set, or nothing where it is empty; how many members there are.
fn keep(cx: &mut Cx<'_>, key: Key<'_>, set: SortedSet) -> usize {
    let count = set.view().len();
    if count == 0 {
        cx.keys.delete(key);
    } else {
        cx.keys.put(key, Entry::collection(key.bytes, set, None));
    }
    count
}

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
struct Adding {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Adding {
    /// Reads the options, and where the scores begin.
    fn read(args: Args<'_>) -> Result<(Self, usize), CommandError> {
        let mut options = Self::default();
        let mut at = 2;
        while let Some(text) = args.try_get(at) {
            let option = match text {
                text if is(text, "NX") => &mut options.nx,
                text if is(text, "XX") => &mut options.xx,
                text if is(text, "GT") => &mut options.gt,
                text if is(text, "LT") => &mut options.lt,
                text if is(text, "CH") => &mut options.ch,
                text if is(text, "INCR") => &mut options.incr,
                _ => break,
            };
            *option = true;
            at += 1;
        }
        let rest = args.len() - at;
        if rest == 0 || !rest.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        options.check(rest / 2)?;
        Ok((options, at))
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        let Self { nx, xx, gt, lt, incr, .. } = self;
        if nx && xx {
            return Err(CommandError::Text("ERR XX and NX options at the same time are not compatible"));
        }
        if nx && (gt || lt) || gt && lt {
            return Err(CommandError::Text("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if incr && pairs > 1 {
            return Err(CommandError::Text("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The score a member gets; `None` leaves it as it is.
    fn decide(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else { return Ok((!self.xx).then_some(given)) };
        if self.nx {
            return Ok(None);
        }
        let new = if self.incr { old + given } else { given };
        if new.is_nan() {
            return Err(CommandError::Text("ERR resulting score is not a number (NaN)"));
        }
        let refused = self.lt && new >= old || self.gt && new <= old;
        Ok((!refused).then_some(new))
    }
}

/// What adding did.
#[derive(Default)]
struct Added {
    new: usize,
    changed: usize,
    /// The score of the last one, if it was not left alone.
    score: Option<f64>,
}

fn add(set: &mut SortedSet, options: Adding, pairs: &[(f64, &[u8])], growth: &Growth) -> Result<Added, CommandError> {
    let mut added = Added::default();
    for (given, member) in pairs {
        let old = set.view().score(member);
        added.score = options.decide(old, *given)?;
        let Some(new) = added.score else { continue };
        if set.set(member, new, growth) {
            added.new += 1;
        } else if old != Some(new) {
            added.changed += 1;
        }
    }
    Ok(added)
}

fn add_all(cx: &mut Cx<'_>, key: &[u8], options: Adding, pairs: &[(f64, &[u8])]) -> Result<Added, CommandError> {
    let key = cx.key(key);
    cx.keys.change_or_new(key, |set: &mut SortedSet, growth| {
        let added = add(set, options, pairs, growth);
        let changed = added.as_ref().is_ok_and(|added| added.new + added.changed > 0);
        (added, changed)
    })?
}

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member …]`
pub(super) const ZADD: Spec = Spec {
    name: "ZADD",
    family: Family::SortedSet,
    since: "1.2.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.iter().skip(2).map(|member| member.len() as u64).max(),
    event: Event::By(Class::SORTED_SET, added),
    summary: "Gives members scores.",
    reply: "integer: how many are new, or with CH changed; with INCR the score, or null",
    run: zadd,
    ..Spec::ROW
};
fn added(args: Args<'_>, _: &[u8]) -> &'static str {
    let is_incr = Adding::read(args).is_ok_and(|(options, _)| options.incr);
    if is_incr { "zincr" } else { "zadd" }
}
pub(super) fn zadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (options, first) = Adding::read(args)?;
    let pairs = (first..args.len()).step_by(2).map(|at| Ok((score(args.get(at))?, args.get(at + 1))));
    let pairs = pairs.collect::<Result<Vec<_>, CommandError>>()?;
    let added = add_all(cx, args.get(1), options, &pairs)?;
    match added.score {
        _ if !options.incr => {
            let changed = if options.ch { added.changed } else { 0 };
            cx.out.int((added.new + changed) as i64);
        }
        Some(score) => cx.out.double(score),
        None => cx.out.null(),
    }
    Ok(())
}

/// `ZINCRBY key increment member`
pub(super) const ZINCRBY: Spec = Spec {
    name: "ZINCRBY",
    arity: Arity::Exactly(4),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    value_bytes: |args| args.try_get(3).map(|member| member.len() as u64),
    event: Event::Is(Class::SORTED_SET, "zincr"),
    summary: "Adds to the score of a member.",
    reply: "double: the score after it",
    run: zincrby,
    ..ZADD
};
fn zincrby(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let given = score(args.get(2))?;
    let options = Adding { incr: true, ..Adding::default() };
    let added = add_all(cx, args.get(1), options, &[(given, args.get(3))])?;
    cx.out.double(added.score.unwrap_or(given));
    Ok(())
}

/// `ZREM key member [member …]`
pub(super) const ZREM: Spec = Spec {
    name: "ZREM",
    family: Family::SortedSet,
    since: "1.2.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(RW_DELETE)],
    ttl: Ttl::Inherited(1),
    summary: "Removes members.",
    reply: "integer: how many were there",
    run: zrem,
    ..Spec::ROW
};
fn zrem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let removed = cx.keys.change(key, |set: &mut SortedSet, _| {
        let removed = args.iter().skip(2).filter(|member| set.remove(member).is_some()).count();
        (removed, removed > 0)
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `ZCARD key`
pub(super) const ZCARD: Spec = Spec {
    name: "ZCARD",
    family: Family::SortedSet,
    since: "1.2.0",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "How many members there are.",
    reply: "integer; 0 when the key is absent",
    run: zcard,
    ..Spec::ROW
};
fn zcard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let count = cx.keys.collection::<SortedSet>(key)?.map_or(0, SortedSetRef::len);
    cx.out.int(count as i64);
    Ok(())
}

/// `ZSCORE key member`
pub(super) const ZSCORE: Spec = Spec {
    name: "ZSCORE",
    arity: Arity::Exactly(3),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The score of a member.",
    reply: "double; null when it is absent",
    run: zscore,
    ..ZCARD
};
fn zscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    match cx.keys.collection::<SortedSet>(key)?.and_then(|set| set.score(args.get(2))) {
        Some(score) => cx.out.double(score),
        None => cx.out.null(),
    }
    Ok(())
}

/// `ZMSCORE key member [member …]`
pub(super) const ZMSCORE: Spec = Spec {
    name: "ZMSCORE",
    since: "6.2.0",
    arity: Arity::AtLeast(3),
    summary: "The scores of members.",
    reply: "array of doubles, null for absent members",
    run: zmscore,
    ..ZSCORE
};
fn zmscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<SortedSet>(key)?;
    cx.out.array(args.len() - 2);
    for member in args.iter().skip(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => cx.out.double(score),
            None => cx.out.null(),
        }
    }
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`: WITHSCORE is redis 7.2's.
pub(super) const ZRANK: Spec = Spec {
    name: "ZRANK",
    since: "2.0.0",
    arity: Arity::AtLeast(3),
    summary: "How many members come before one.",
    reply: "integer; WITHSCORE: array of it and the score; null when it is absent",
    run: zrank,
    ..ZSCORE
};
fn zrank(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_rank(cx, args, false)
}

/// `ZREVRANK key member [WITHSCORE]`
pub(super) const ZREVRANK: Spec =
    Spec { name: "ZREVRANK", summary: "How many members come after one.", run: zrevrank, ..ZRANK };
fn zrevrank(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_rank(cx, args, true)
}

fn show_rank(cx: &mut Cx<'_>, args: Args<'_>, backwards: bool) -> Result<(), CommandError> {
    let with_score = match args.try_get(3) {
        _ if args.len() > 4 => return Err(CommandError::Arity(if backwards { "zrevrank" } else { "zrank" }.into())),
        None => false,
        Some(option) if is(option, "WITHSCORE") => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    let key = cx.key(args.get(1));
    let set = cx.keys.collection::<SortedSet>(key)?;
    let found = set.and_then(|set| Some((set.rank(args.get(2))?, set)));
    match found.map(|(rank, set)| (if backwards { set.len() - 1 - rank } else { rank }, set)) {
        None if with_score => cx.out.null_array(),
        None => cx.out.null(),
        Some((rank, set)) => {
            if with_score {
                cx.out.array(2);
            }
            cx.out.int(rank as i64);
            if let Some(score) = set.score(args.get(2)).filter(|_| with_score) {
                cx.out.double(score);
            }
        }
    }
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT n]`
pub(super) const ZSCAN: Spec = Spec {
    name: "ZSCAN",
    family: Family::SortedSet,
    since: "2.8.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Some of the members with their scores, and where to go on.",
    reply: "array: the next cursor, 0 at the end, and an array of members and scores",
    run: zscan,
    ..Spec::ROW
};
fn zscan(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    scan::<SortedSet>(cx, args, |set, cursor, page| {
        let is_packed = set.is_packed();
        set.scan(cursor, &mut |member, score| {
            page.add(member, |shown| {
                let mut text = Vec::new();
                // Redis shows what it packed: whole numbers are integers there.
                if is_packed && score == score.trunc() && score.abs() < i64::MAX as f64 / 2.0 {
                    text.extend_from_slice(itoa::Buffer::new().format(score as i64).as_bytes());
                } else {
                    write_double(score, &mut text);
                }
                shown.push(text);
            });
        })
    })
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub(super) const ZRANDMEMBER: Spec = Spec {
    name: "ZRANDMEMBER",
    since: "6.2.0",
    arity: Arity::AtLeast(2),
    summary: "Random members: each once for a count, with repeats for a negative one.",
    reply: "bulk string or null; with a count an array",
    run: zrandmember,
    ..ZSCAN
};
fn zrandmember(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some((wanted, scores)) = picks(args, "WITHSCORES")? else { return one_member(cx, args) };
    let key = cx.key(args.get(1));
    let mut generator = cx.engine.random();
    let Some(set) = cx.keys.collection::<SortedSet>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    let ranks: Vec<usize> = if wanted < 0 {
        (0..wanted.unsigned_abs()).map(|_| generator.below(set.len())).collect()
    } else {
        let draw = |generator: &mut Random| Some(generator.below(set.len()));
        generator.pick((wanted as usize, set.len()), || (0..set.len()).collect(), draw, |rank| *rank)
    };
    let mut shower = Shower::new(cx.out, ranks.len(), scores);
    ranks.into_iter().filter_map(|rank| set.at(rank)).for_each(|(member, score)| shower.show(member, score));
    Ok(())
}

fn one_member(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let mut generator = cx.engine.random();
    match cx.keys.collection::<SortedSet>(key)?.and_then(|set| set.random(&mut || generator.next())) {
        Some((member, _)) => cx.out.bulk(member),
        None => cx.out.null(),
    }
    Ok(())
}
