//! Taking the members at an end of a sorted set.

use super::WRITE;
use crate::commands::parse::{count, count_option, is, numkeys};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::SortedSet;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

const TAKES: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

/// `ZPOPMIN key [count]`
pub(in crate::commands) const ZPOPMIN: Spec = Spec {
    name: "ZPOPMIN",
    family: Family::SortedSet,
    since: "5.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(TAKES)],
    ttl: Ttl::Inherited(1),
    summary: "Takes the members with the lowest scores.",
    reply: "array of members and scores",
    run: zpopmin,
    ..Spec::ROW
};
fn zpopmin(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Min)
}

/// `ZPOPMAX key [count]`
pub(in crate::commands) const ZPOPMAX: Spec =
    Spec { name: "ZPOPMAX", summary: "Takes the members with the highest scores.", run: zpopmax, ..ZPOPMIN };
fn zpopmax(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, End::Max)
}

fn pop(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let wanted = args.try_get(2).map(count).transpose()?;
    let key = cx.key(args.get(1));
    let taking = cx.keys.collection(key)?.map_or(0, SortedSet::len).min(wanted.unwrap_or(1));
    let paired = wanted.is_some() && cx.out.protocol() == 3;
    cx.out.array(if paired { taking } else { taking * 2 });
    take(cx, key, end, taking, paired)
}

/// Takes `taking` members, which are there, and writes each with its score.
fn take(cx: &mut Cx<'_>, key: Key<'_>, end: End, taking: usize, paired: bool) -> Result<(), CommandError> {
    let out = &mut *cx.out;
    cx.keys.change(key, |set: &mut SortedSet, _| {
        let len = set.len();
        let (from, to, back) = match end {
            End::Min => (0, taking.min(len), false),
            End::Max => (len - taking.min(len), len, true),
        };
        set.visit(from, to, back, &mut |member, score| {
            if paired {
                out.array(2);
            }
            out.bulk(member);
            out.double(score);
        });
        set.remove_range(from, to);
        ((), to > from)
    })?;
    Ok(())
}

/// `ZMPOP numkeys key [key …] <MIN | MAX> [COUNT count]`
pub(in crate::commands) const ZMPOP: Spec = Spec {
    name: "ZMPOP",
    family: Family::SortedSet,
    since: "7.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::counted_at(1).doing(TAKES)],
    ttl: Ttl::Inherited(2),
    summary: "Takes members from the first sorted set that has any.",
    reply: "array: the key and an array of members with scores; null when all are empty",
    run: zmpop,
    ..Spec::ROW
};
fn zmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (keys, end, wanted) = read_mpop(args, 1)?;
    for bytes in keys.iter() {
        let key = cx.key(bytes);
        let Some(len) = cx.keys.collection(key)?.map(SortedSet::len) else { continue };
        let taking = wanted.min(len);
        cx.out.array(2);
        cx.out.bulk(bytes);
        cx.out.array(taking);
        return take(cx, key, end, taking, true);
    }
    cx.out.null_array();
    Ok(())
}

/// Reads `numkeys key [key …] <MIN | MAX> [COUNT count]` from an argument on.
fn read_mpop(args: Args<'_>, first: usize) -> Result<(Args<'_>, End, usize), CommandError> {
    let numkeys = numkeys(args, first)?;
    let at = first + 1 + numkeys;
    let end = match args.try_get(at) {
        Some(text) if is(text, "MIN") => End::Min,
        Some(text) if is(text, "MAX") => End::Max,
        _ => return Err(CommandError::Syntax),
    };
    Ok((args.from(first + 1).up_to(numkeys), end, count_option(args.from(at + 1))?))
}
