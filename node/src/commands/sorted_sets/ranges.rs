//! Parts of sorted sets: by rank, by score, by the members' bytes.

use super::{READ, RO_ACCESS, RW_DELETE, Shower, WRITE, keep};
use crate::commands::parse::{self, int, is, places};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::{SortedSet, SortedSetRef};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// What bounds are compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// Two bounds, lowest first.
enum Range<'a> {
    Rank(i64, i64),
    Score(Bound<f64>, Bound<f64>),
    Lex(Lex<'a>, Lex<'a>),
}

#[derive(Clone, Copy)]
struct Bound<T> {
    at: T,
    excluded: bool,
}

/// A bound of members; the two ends lie beyond every member.
#[derive(Clone, Copy)]
enum Lex<'a> {
    First,
    Last,
    At(Bound<&'a [u8]>),
}

impl<'a> Range<'a> {
    fn read(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        Ok(match by {
            By::Rank => Self::Rank(int(min)?, int(max)?),
            By::Score => {
                const NOT_FLOAT: CommandError = CommandError::Text("ERR min or max is not a float");
                Self::Score(bound(min).ok_or(NOT_FLOAT)?, bound(max).ok_or(NOT_FLOAT)?)
            }
            By::Lex => {
                const INVALID: CommandError = CommandError::Text("ERR min or max not valid string range item");
                Self::Lex(lex(min).ok_or(INVALID)?, lex(max).ok_or(INVALID)?)
            }
        })
    }

    /// The ranks it covers: from the first to before the second. `back` counts ranks from the end.
    fn ranks(&self, set: SortedSetRef<'_>, back: bool) -> (usize, usize) {
        let len = set.len();
        let (from, to) = match *self {
            Self::Rank(start, stop) => {
                let (from, to) = places(start, stop, len);
                if back { (len - to.max(from), len - from) } else { (from, to) }
            }
            Self::Score(min, max) => {
                let before = |bound: Bound<f64>, score| score < bound.at || bound.excluded && score == bound.at;
                let within = |bound: Bound<f64>, score| score < bound.at || !bound.excluded && score == bound.at;
                (set.partition_point(|score, _| before(min, score)), set.partition_point(|score, _| within(max, score)))
            }
            Self::Lex(min, max) => {
                let before = |member: &[u8]| match min {
                    Lex::First => false,
                    Lex::Last => true,
                    Lex::At(bound) => member < bound.at || bound.excluded && member == bound.at,
                };
                let within = |member: &[u8]| match max {
                    Lex::First => false,
                    Lex::Last => true,
                    Lex::At(bound) => member < bound.at || !bound.excluded && member == bound.at,
                };
                (set.partition_point(|_, member| before(member)), set.partition_point(|_, member| within(member)))
            }
        };
        (from.min(to), to)
    }
}

fn bound(text: &[u8]) -> Option<Bound<f64>> {
    let (text, excluded) = match text {
        [b'(', text @ ..] => (text, true),
        text => (text, false),
    };
    Some(Bound { at: parse::bound(text)?, excluded })
}

fn lex(text: &[u8]) -> Option<Lex<'_>> {
    match text {
        b"-" => Some(Lex::First),
        b"+" => Some(Lex::Last),
        [b'(', at @ ..] => Some(Lex::At(Bound { at, excluded: true })),
        [b'[', at @ ..] => Some(Lex::At(Bound { at, excluded: false })),
        _ => None,
    }
}

/// What a command of the ZRANGE family asks for.
struct Asked<'a> {
    range: Range<'a>,
    back: bool,
    /// How many to skip, and how many to show; below zero all.
    limit: Option<(i64, i64)>,
    scores: bool,
}

impl<'a> Asked<'a> {
    /// Reads bounds from the argument `first` on, and options behind them. `by` and `back` are what the command's name says.
    fn read(args: Args<'a>, first: usize, by: Option<By>, back: bool, stores: bool) -> Result<Self, CommandError> {
        let mut asked_by = by;
        let (mut reversed, mut limit, mut scores) = (back, None, false);
        let mut at = first + 2;
        while let Some(option) = args.try_get(at) {
            at += 1;
            match option {
                _ if !stores && is(option, "WITHSCORES") => scores = true,
                _ if is(option, "LIMIT") && args.len() - at >= 2 => {
                    limit = Some((int(args.get(at))?, int(args.get(at + 1))?));
                    at += 2;
                }
                _ if by.is_none() && !reversed && is(option, "REV") => reversed = true,
                _ if asked_by.is_none() && is(option, "BYSCORE") => asked_by = Some(By::Score),
                _ if asked_by.is_none() && is(option, "BYLEX") => asked_by = Some(By::Lex),
                _ => return Err(CommandError::Syntax),
            }
        }
        let by = asked_by.unwrap_or(By::Rank);
        if by == By::Rank && limit.is_some_and(|(_, count)| count != -1) {
            return Err(CommandError::Text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Lex && scores {
            return Err(CommandError::Text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (mut min, mut max) = (args.get(first), args.get(first + 1));
        if reversed && by != By::Rank {
            std::mem::swap(&mut min, &mut max);
        }
        let limit = limit.filter(|_| by != By::Rank);
        Ok(Self { range: Range::read(by, min, max)?, back: reversed, limit, scores })
    }

    /// The ranks to show, its limit applied.
    fn ranks(&self, set: SortedSetRef<'_>) -> (usize, usize) {
        let (from, to) = self.range.ranks(set, self.back);
        let Some((skip, count)) = self.limit else { return (from, to) };
        let Ok(skip) = usize::try_from(skip) else { return (from, from) };
        let left = (to - from).saturating_sub(skip);
        let count = usize::try_from(count).unwrap_or(left).min(left);
        let skip = skip.min(to - from);
        if self.back { (to - skip - count, to - skip) } else { (from + skip, from + skip + count) }
    }
}

fn show(cx: &mut Cx<'_>, args: Args<'_>, by: Option<By>, back: bool) -> Result<(), CommandError> {
    let asked = Asked::read(args, 2, by, back, false)?;
    let key = cx.key(args.get(1));
    let Some(set) = cx.keys.collection::<SortedSet>(key)? else {
        cx.out.array(0);
        return Ok(());
    };
    let (from, to) = asked.ranks(set);
    let mut shower = Shower::new(cx.out, to - from, asked.scores);
    set.visit(from, to, asked.back, &mut |member, score| shower.show(member, score));
    Ok(())
}

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
pub(in crate::commands) const ZRANGE: Spec = Spec {
    name: "ZRANGE",
    family: Family::SortedSet,
    since: "1.2.0",
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The members between two ranks, scores or members, both included.",
    reply: "array of bulk strings; WITHSCORES adds doubles",
    run: zrange,
    ..Spec::ROW
};
fn zrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, None, false)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub(in crate::commands) const ZREVRANGE: Spec = Spec {
    name: "ZREVRANGE",
    summary: "The members between two ranks counted from the highest score.",
    run: zrevrange,
    ..ZRANGE
};
fn zrevrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Some(By::Rank), true)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub(in crate::commands) const ZRANGEBYSCORE: Spec = Spec {
    name: "ZRANGEBYSCORE",
    since: "1.0.5",
    summary: "The members between two scores; `(` before one leaves it out.",
    run: zrangebyscore,
    ..ZRANGE
};
fn zrangebyscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Some(By::Score), false)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub(in crate::commands) const ZREVRANGEBYSCORE: Spec = Spec {
    name: "ZREVRANGEBYSCORE",
    since: "2.2.0",
    summary: "The members between two scores, highest first.",
    run: zrevrangebyscore,
    ..ZRANGE
};
fn zrevrangebyscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Some(By::Score), true)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub(in crate::commands) const ZRANGEBYLEX: Spec = Spec {
    name: "ZRANGEBYLEX",
    since: "2.8.9",
    summary: "The members between two, where all scores are the same.",
    reply: "array of bulk strings",
    run: zrangebylex,
    ..ZRANGE
};
fn zrangebylex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Some(By::Lex), false)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub(in crate::commands) const ZREVRANGEBYLEX: Spec = Spec {
    name: "ZREVRANGEBYLEX",
    summary: "The members between two, last first, where all scores are the same.",
    run: zrevrangebylex,
    ..ZRANGEBYLEX
};
fn zrevrangebylex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Some(By::Lex), true)
}

/// `ZRANGESTORE destination source start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub(in crate::commands) const ZRANGESTORE: Spec = Spec {
    name: "ZRANGESTORE",
    family: Family::SortedSet,
    since: "6.2.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::UPDATE)), KeySpec::at(2).doing(RO_ACCESS)],
    looks: true,
    summary: "Makes a key the part of a sorted set that ZRANGE shows.",
    reply: "integer: how many",
    run: zrangestore,
    ..Spec::ROW
};
fn zrangestore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Asked::read(args, 3, None, false, true)?;
    let source = cx.key(args.get(2));
    let mut members = Vec::new();
    if let Some(set) = cx.keys.collection::<SortedSet>(source)? {
        let (from, to) = asked.ranks(set);
        set.visit(from, to, asked.back, &mut |member, score| members.push((member.to_vec(), score)));
    }
    let key = cx.key(args.get(1));
    // Redis lets it grow in this order, so what was packed first is stored as packed sets store it.
    let mut set = SortedSet::new();
    for (member, score) in &members {
        set.set(member, *score, &cx.engine.db.growth);
    }
    let count = keep(cx, key, set);
    cx.out.int(count as i64);
    Ok(())
}

fn show_count(cx: &mut Cx<'_>, args: Args<'_>, by: By) -> Result<(), CommandError> {
    let range = Range::read(by, args.get(2), args.get(3))?;
    let key = cx.key(args.get(1));
    let (from, to) = cx.keys.collection::<SortedSet>(key)?.map_or((0, 0), |set| range.ranks(set, false));
    cx.out.int((to - from) as i64);
    Ok(())
}

/// `ZCOUNT key min max`
pub(in crate::commands) const ZCOUNT: Spec = Spec {
    name: "ZCOUNT",
    family: Family::SortedSet,
    since: "2.0.0",
    arity: Arity::Exactly(4),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "How many members lie between two scores.",
    reply: "integer",
    run: zcount,
    ..Spec::ROW
};
fn zcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_count(cx, args, By::Score)
}

/// `ZLEXCOUNT key min max`
pub(in crate::commands) const ZLEXCOUNT: Spec = Spec {
    name: "ZLEXCOUNT",
    since: "2.8.9",
    summary: "How many members lie between two, where all scores are the same.",
    run: zlexcount,
    ..ZCOUNT
};
fn zlexcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show_count(cx, args, By::Lex)
}

fn remove(cx: &mut Cx<'_>, args: Args<'_>, by: By) -> Result<(), CommandError> {
    let range = Range::read(by, args.get(2), args.get(3))?;
    let key = cx.key(args.get(1));
    let removed = cx.keys.change(key, |set: &mut SortedSet, _| {
        let (from, to) = range.ranks(set.view(), false);
        set.remove_range(from, to);
        (to - from, to > from)
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`
pub(in crate::commands) const ZREMRANGEBYRANK: Spec = Spec {
    name: "ZREMRANGEBYRANK",
    family: Family::SortedSet,
    since: "2.0.0",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(RW_DELETE)],
    ttl: Ttl::Inherited(1),
    summary: "Removes the members between two ranks.",
    reply: "integer: how many",
    run: zremrangebyrank,
    ..Spec::ROW
};
fn zremrangebyrank(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Rank)
}

/// `ZREMRANGEBYSCORE key min max`
pub(in crate::commands) const ZREMRANGEBYSCORE: Spec = Spec {
    name: "ZREMRANGEBYSCORE",
    since: "1.2.0",
    summary: "Removes the members between two scores.",
    run: zremrangebyscore,
    ..ZREMRANGEBYRANK
};
fn zremrangebyscore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Score)
}

/// `ZREMRANGEBYLEX key min max`
pub(in crate::commands) const ZREMRANGEBYLEX: Spec = Spec {
    name: "ZREMRANGEBYLEX",
    since: "2.8.9",
    summary: "Removes the members between two, where all scores are the same.",
    run: zremrangebylex,
    ..ZREMRANGEBYRANK
};
fn zremrangebylex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Lex)
}
