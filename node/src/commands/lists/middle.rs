//! Elements by their position or value.

use super::{READ, WRITE};
use crate::commands::parse::{int, is, places};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::List;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// A position that may count from the end.
fn place(list: &List, index: i64) -> Option<usize> {
    let index = if index < 0 { index.checked_add(list.len() as i64)? } else { index };
    usize::try_from(index).ok().filter(|at| *at < list.len())
}

/// `LINDEX key index`
pub(in crate::commands) const LINDEX: Spec = Spec {
    name: "LINDEX",
    family: Family::List,
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The element at a position; a negative one counts from the end.",
    reply: "bulk string; null when there is none",
    run: lindex,
    ..Spec::ROW
};
fn lindex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let Some(list) = cx.keys.collection::<List>(key)? else {
        cx.out.null();
        return Ok(());
    };
    let index = int(args.get(2))?;
    match place(list, index).and_then(|at| list.get(at)) {
        Some(element) => cx.out.bulk(element),
        None => cx.out.null(),
    }
    Ok(())
}

/// `LSET key index element`
pub(in crate::commands) const LSET: Spec = Spec {
    name: "LSET",
    family: Family::List,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| args.try_get(3).map(|element| element.len() as u64),
    summary: "Puts an element in the place of another.",
    reply: "OK",
    run: lset,
    ..Spec::ROW
};
fn lset(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    if cx.keys.collection::<List>(key)?.is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let index = int(args.get(2))?;
    let set = cx.keys.change(key, |list: &mut List, growth| {
        let set = place(list, index).is_some_and(|at| list.set(at, args.get(3), growth.fill()));
        (set, set)
    })?;
    if set != Some(true) {
        return Err(CommandError::Text("ERR index out of range"));
    }
    cx.out.ok();
    Ok(())
}

/// `LINSERT key <BEFORE | AFTER> pivot element`
pub(in crate::commands) const LINSERT: Spec = Spec {
    name: "LINSERT",
    since: "2.2.0",
    arity: Arity::Exactly(5),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    value_bytes: |args| args.try_get(4).map(|element| element.len() as u64),
    summary: "Adds an element before or after the first one that is equal to a pivot.",
    reply: "integer: the length after it; -1 when there is no such element, 0 when the key is absent",
    run: linsert,
    ..LSET
};
fn linsert(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let behind = match args.get(2) {
        text if is(text, "BEFORE") => 0,
        text if is(text, "AFTER") => 1,
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(args.get(1));
    let length = cx.keys.change(key, |list: &mut List, growth| {
        let Some(at) = list.iter().position(|each| each == args.get(3)) else { return (-1, false) };
        list.insert(at + behind, args.get(4), growth.fill());
        (list.len() as i64, true)
    })?;
    cx.out.int(length.unwrap_or(0));
    Ok(())
}

/// `LREM key count element`
pub(in crate::commands) const LREM: Spec = Spec {
    name: "LREM",
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    value_bytes: |_| None,
    summary: "Removes elements that are equal to one: the first so many, with a negative count the last, with 0 all.",
    reply: "integer: how many",
    run: lrem,
    ..LSET
};
fn lrem(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = int(args.get(2))?;
    let most = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let key = cx.key(args.get(1));
    let removed = cx.keys.change(key, |list: &mut List, _| {
        let removed = list.remove_equal(args.get(3), most, count < 0);
        (removed, removed > 0)
    })?;
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `LTRIM key start stop`
pub(in crate::commands) const LTRIM: Spec = Spec {
    name: "LTRIM",
    summary: "Keeps the elements from one position to another, and removes the rest.",
    reply: "OK",
    run: ltrim,
    ..LREM
};
fn ltrim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (int(args.get(2))?, int(args.get(3))?);
    let key = cx.key(args.get(1));
    cx.keys.change(key, |list: &mut List, _| {
        let before = list.len();
        let (from, to) = places(start, stop, before);
        list.trim(from, to);
        // As redis, it counts as a change even where nothing goes.
        ((), true)
    })?;
    cx.out.ok();
    Ok(())
}

/// `LPOS key element [RANK rank] [COUNT n] [MAXLEN len]`
pub(in crate::commands) const LPOS: Spec = Spec {
    name: "LPOS",
    since: "6.0.6",
    arity: Arity::AtLeast(3),
    summary: "Where elements are that are equal to one.",
    reply: "integer or null; with COUNT an array of integers",
    run: lpos,
    ..LINDEX
};
fn lpos(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Positions::read(args)?;
    let key = cx.key(args.get(1));
    let list = cx.keys.collection::<List>(key)?;
    let found = list.map(|list| asked.find(list, args.get(2))).unwrap_or_default();
    match asked.count {
        Some(_) => {
            cx.out.array(found.len());
            found.into_iter().for_each(|at| cx.out.int(at));
        }
        None => match found.first() {
            Some(at) => cx.out.int(*at),
            None => cx.out.null(),
        },
    }
    Ok(())
}

/// The options of LPOS.
struct Positions {
    /// The first match is 1, the last -1.
    rank: i64,
    /// Most matches shown; 0 is all.
    count: Option<usize>,
    /// Most elements compared; 0 is all.
    compared_max: usize,
}

impl Positions {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut asked = Self { rank: 1, count: None, compared_max: 0 };
        let mut options = args.from(3).iter();
        while let Some(option) = options.next() {
            let value = options.next();
            let positive = |what| {
                let number = value.map(int).transpose().ok().flatten().and_then(|n| usize::try_from(n).ok());
                number.ok_or(CommandError::Text(what))
            };
            match (option, value) {
                (option, Some(value)) if is(option, "RANK") => asked.rank = rank(value)?,
                (option, Some(_)) if is(option, "COUNT") => {
                    asked.count = Some(positive("ERR COUNT can't be negative")?);
                }
                (option, Some(_)) if is(option, "MAXLEN") => {
                    asked.compared_max = positive("ERR MAXLEN can't be negative")?;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(asked)
    }

    fn find(&self, list: &List, element: &[u8]) -> Vec<i64> {
        let compared = if self.compared_max == 0 { usize::MAX } else { self.compared_max };
        let shown = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        let skipped = usize::try_from(self.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let numbered = list.iter().enumerate();
        let picked = |it: &mut dyn Iterator<Item = (usize, &[u8])>| -> Vec<i64> {
            let equal = it.take(compared).filter(|(_, each)| *each == element);
            equal.skip(skipped).take(shown).map(|(at, _)| at as i64).collect()
        };
        if self.rank < 0 { picked(&mut numbered.rev()) } else { picked(&mut { numbered }) }
    }
}

fn rank(text: &[u8]) -> Result<i64, CommandError> {
    match int(text)? {
        0 => Err(CommandError::Text(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start \
             from the end of the list",
        )),
        i64::MIN => Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}
