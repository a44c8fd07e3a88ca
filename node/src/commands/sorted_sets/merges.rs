//! Sorted sets made of several: unions, intersections, differences. Plain sets count as members with score 1.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{READ, RO_ACCESS, Shower, WRITE, store};
use crate::commands::parse::{int, is, score};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec};
use crate::db::entry::{EntryRef, ObjectRef, SetRef, SortedSetRef, Value};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Merge {
    Union,
    Inter,
    Diff,
}

/// How the scores of one member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Opposite infinities sum to nothing, as in redis.
            Self::Sum => number(a + b),
            Self::Min => a.min(b),
            Self::Max => a.max(b),
        }
    }
}

/// A score that is NaN counts as 0.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set or a sorted set, read.
enum Source<'a> {
    Set(SetRef<'a>),
    Sorted(SortedSetRef<'a>),
}

/// Members looked at between two looks at whether to go on.
const STRIDE: usize = 64;

impl<'a> Source<'a> {
    /// What is at a key that was read already.
    fn at(cx: &'a Cx<'_>, key: &[u8]) -> Result<Option<Self>, CommandError> {
        match cx.keys.peek(cx.key(key)).map(EntryRef::value) {
            None => Ok(None),
            Some(Value::Object(ObjectRef::Set(set))) => Ok(Some(Source::Set(set))),
            Some(Value::Object(ObjectRef::SortedSet(set))) => Ok(Some(Source::Sorted(set))),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Set(set) => set.len(),
            Self::Sorted(set) => set.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Set(set) => set.contains(member).then_some(1.0),
            Self::Sorted(set) => set.score(member),
        }
    }

    fn each(&self, mut visit: impl FnMut(&[u8], f64)) {
        self.each_while(&mut |member, score| {
            visit(member, score);
            true
        });
    }

    /// Visits the members until `visit` has had enough.
    fn each_while(&self, visit: &mut impl FnMut(&[u8], f64) -> bool) {
        match self {
            Self::Set(set) => _ = set.iter().all(|member| member.with(|member| visit(member, 1.0))),
            Self::Sorted(set) => {
                let mut goes_on = true;
                for from in (0..set.len()).step_by(STRIDE) {
                    let to = set.len().min(from + STRIDE);
                    set.visit(from, to, false, &mut |member, score| goes_on = goes_on && visit(member, score));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
    }
}

/// One of the keys merged: how large it is, and what its scores are multiplied with.
struct Input<'a> {
    key: &'a [u8],
    len: usize,
    weight: f64,
}

impl Input<'_> {
    fn weighed(&self, score: f64) -> f64 {
        number(score * self.weight)
    }
}

/// What a merge asks for.
struct Asked<'a> {
    inputs: Vec<Input<'a>>,
    aggregate: Aggregate,
    scores: bool,
    /// Most members counted; 0 is all.
    limit: usize,
}

/// Which options a command of the family takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Shows,
    Stores,
    Counts,
}

impl<'a> Asked<'a> {
    /// Reads `numkeys key [key …]` from the argument `first` on, and options behind them.
    fn read(cx: &mut Cx<'_>, args: Args<'a>, first: usize, merge: Merge, form: Form) -> Result<Self, CommandError> {
        let numkeys = int(args.get(first))?;
        if numkeys < 1 {
            let name = String::from_utf8_lossy(args.get(0)).to_ascii_lowercase();
            return Err(CommandError::Said(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let numkeys = usize::try_from(numkeys).ok().filter(|n| *n < args.len() - first);
        let numkeys = numkeys.ok_or(CommandError::Syntax)?;
        let mut asked =
            Self { inputs: Vec::with_capacity(numkeys), aggregate: Aggregate::Sum, scores: false, limit: 0 };
        for key in args.from(first + 1).up_to(numkeys).iter() {
            // Counted once, however often it is looked at.
            let _ = cx.keys.read(cx.key(key));
            let len = Source::at(cx, key)?.map_or(0, |source| source.len());
            asked.inputs.push(Input { key, len, weight: 1.0 });
        }
        asked.read_options(args.from(first + 1 + numkeys), merge, form)?;
        if merge != Merge::Diff {
            // As redis: smallest first, which decides the order of floating point sums.
            asked.inputs.sort_by_key(|input| input.len);
        }
        Ok(asked)
    }

    fn read_options(&mut self, options: Args<'_>, merge: Merge, form: Form) -> Result<(), CommandError> {
        let mut at = 0;
        while let Some(option) = options.try_get(at) {
            let left = options.len() - at - 1;
            let weighs = merge != Merge::Diff && form != Form::Counts;
            match option {
                _ if weighs && is(option, "WEIGHTS") && left >= self.inputs.len() => {
                    for (input, text) in self.inputs.iter_mut().zip(options.from(at + 1).iter()) {
                        input.weight =
                            score(text).map_err(|_| CommandError::Text("ERR weight value is not a float"))?;
                    }
                    at += self.inputs.len();
                }
                _ if weighs && is(option, "AGGREGATE") && left >= 1 => {
                    self.aggregate = match options.get(at + 1) {
                        text if is(text, "SUM") => Aggregate::Sum,
                        text if is(text, "MIN") => Aggregate::Min,
                        text if is(text, "MAX") => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    at += 1;
                }
                _ if form == Form::Shows && is(option, "WITHSCORES") => self.scores = true,
                _ if form == Form::Counts && is(option, "LIMIT") && left >= 1 => {
                    let limit = int(options.get(at + 1)).ok().and_then(|limit| usize::try_from(limit).ok());
                    self.limit = limit.ok_or(CommandError::Text("ERR LIMIT can't be negative"))?;
                    at += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        Ok(())
    }

    /// The members of the merge, in no order.
    fn merged(&self, cx: &Cx<'_>, merge: Merge) -> Result<Vec<(Vec<u8>, f64)>, CommandError> {
        match merge {
            Merge::Union => self.union(cx),
            Merge::Inter => {
                let mut members = Vec::new();
                self.common(cx, |member, score| {
                    members.push((member.to_vec(), score));
                    true
                })?;
                Ok(members)
            }
            Merge::Diff => self.diff(cx),
        }
    }

    fn union(&self, cx: &Cx<'_>) -> Result<Vec<(Vec<u8>, f64)>, CommandError> {
        let mut members: HashMap<Vec<u8>, f64, foldhash::fast::RandomState> = HashMap::default();
        for input in &self.inputs {
            let Some(source) = Source::at(cx, input.key)? else { continue };
            source.each(|member, score| {
                let score = input.weighed(score);
                match members.get_mut(member) {
                    Some(sum) => *sum = self.aggregate.of(*sum, score),
                    None => drop(members.insert(member.to_vec(), score)),
                }
            });
        }
        Ok(members.into_iter().collect())
    }

    /// Visits the members that are in all inputs, until `visit` has had enough.
    fn common(&self, cx: &Cx<'_>, mut visit: impl FnMut(&[u8], f64) -> bool) -> Result<(), CommandError> {
        let mut sources = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let Some(source) = Source::at(cx, input.key)? else { return Ok(()) };
            sources.push((input, source));
        }
        let Some(((input, first), others)) = sources.split_first() else { return Ok(()) };
        first.each_while(&mut |member, score| {
            let sum = others.iter().try_fold(input.weighed(score), |sum, (input, other)| {
                Some(self.aggregate.of(sum, input.weighed(other.score(member)?)))
            });
            sum.is_none_or(|sum| visit(member, sum))
        });
        Ok(())
    }

    fn diff(&self, cx: &Cx<'_>) -> Result<Vec<(Vec<u8>, f64)>, CommandError> {
        let sources = self.inputs.iter().map(|input| Source::at(cx, input.key)).collect::<Result<Vec<_>, _>>()?;
        let mut members = Vec::new();
        if let Some((Some(first), others)) = sources.split_first() {
            first.each(|member, score| {
                if others.iter().flatten().all(|other| other.score(member).is_none()) {
                    members.push((member.to_vec(), score));
                }
            });
        }
        Ok(members)
    }
}

fn show(cx: &mut Cx<'_>, args: Args<'_>, merge: Merge) -> Result<(), CommandError> {
    let asked = Asked::read(cx, args, 1, merge, Form::Shows)?;
    let mut members = asked.merged(cx, merge)?;
    // No score is NaN, and -0 is 0.
    members.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(|| a.0.cmp(&b.0)));
    let mut shower = Shower::new(cx.out, members.len(), asked.scores);
    members.iter().for_each(|(member, score)| shower.show(member, *score));
    Ok(())
}

fn store_merged(cx: &mut Cx<'_>, args: Args<'_>, merge: Merge) -> Result<(), CommandError> {
    let asked = Asked::read(cx, args, 2, merge, Form::Stores)?;
    let members = asked.merged(cx, merge)?;
    let key = cx.key(args.get(1));
    let count = store(cx, key, members);
    cx.out.int(count as i64);
    Ok(())
}

/// `ZUNION numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]`
pub(in crate::commands) const ZUNION: Spec = Spec {
    name: "ZUNION",
    family: Family::SortedSet,
    since: "6.2.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::counted_at(1).doing(RO_ACCESS)],
    summary: "The members of any of the sorted sets, their scores aggregated.",
    reply: "array of bulk strings; WITHSCORES adds doubles",
    run: zunion,
    ..Spec::ROW
};
fn zunion(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Merge::Union)
}

/// `ZINTER numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]`
pub(in crate::commands) const ZINTER: Spec = Spec {
    name: "ZINTER",
    summary: "The members of every sorted set, their scores aggregated.",
    run: zinter,
    ..ZUNION
};
fn zinter(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Merge::Inter)
}

/// `ZDIFF numkeys key [key …] [WITHSCORES]`
pub(in crate::commands) const ZDIFF: Spec =
    Spec { name: "ZDIFF", summary: "The members of the first sorted set that are in no other.", run: zdiff, ..ZUNION };
fn zdiff(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    show(cx, args, Merge::Diff)
}

/// `ZINTERCARD numkeys key [key …] [LIMIT limit]`
pub(in crate::commands) const ZINTERCARD: Spec = Spec {
    name: "ZINTERCARD",
    since: "7.0.0",
    summary: "How many members are in every sorted set, up to a limit.",
    reply: "integer",
    run: zintercard,
    ..ZUNION
};
fn zintercard(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Asked::read(cx, args, 1, Merge::Inter, Form::Counts)?;
    let mut count = 0;
    asked.common(cx, |_, _| {
        count += 1;
        count != asked.limit
    })?;
    cx.out.int(count as i64);
    Ok(())
}

/// `ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE <SUM | MIN | MAX>]`
pub(in crate::commands) const ZUNIONSTORE: Spec = Spec {
    name: "ZUNIONSTORE",
    family: Family::SortedSet,
    since: "2.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::OW.or(KeyFlags::UPDATE)), KeySpec::counted_at(2).doing(RO_ACCESS)],
    looks: true,
    summary: "Makes a key the union of sorted sets.",
    reply: "integer: how many",
    run: zunionstore,
    ..Spec::ROW
};
fn zunionstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Union)
}

/// `ZINTERSTORE destination numkeys key [key …] [WEIGHTS weight [weight …]] [AGGREGATE <SUM | MIN | MAX>]`
pub(in crate::commands) const ZINTERSTORE: Spec = Spec {
    name: "ZINTERSTORE",
    looks: true,
    summary: "Makes a key the intersection of sorted sets.",
    run: zinterstore,
    ..ZUNIONSTORE
};
fn zinterstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Inter)
}

/// `ZDIFFSTORE destination numkeys key [key …]`
pub(in crate::commands) const ZDIFFSTORE: Spec = Spec {
    name: "ZDIFFSTORE",
    since: "6.2.0",
    looks: true,
    summary: "Makes a key the difference of the first sorted set and the others.",
    run: zdiffstore,
    ..ZUNIONSTORE
};
fn zdiffstore(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_merged(cx, args, Merge::Diff)
}
