//! Taking the members at an end of a sorted set.

use super::WRITE;
use crate::commands::events::{Class, Event};
use crate::commands::lists::{alone_with_timeout, blocking_pop};
use crate::commands::parse::{Popping, count, is, timeout_ms};
use crate::commands::{Acl, Arity, Effect, Family, Flags, Http, KeyFlags, KeySpec, Serve, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::{Kind, SortedSet, SortedSetRef};
use crate::engine::{Cx, take_or_block};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs};

const TAKES: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// An end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    /// Reads `MIN` or `MAX`.
    fn read(text: &[u8]) -> Result<End, CommandError> {
        match text {
            text if is(text, "MIN") => Ok(End::Min),
            text if is(text, "MAX") => Ok(End::Max),
            _ => Err(CommandError::Syntax),
        }
    }

    /// The command that takes from it.
    fn pops(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
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
    let taking = cx.keys.collection::<SortedSet>(key)?.map_or(0, SortedSetRef::len).min(wanted.unwrap_or(1));
    let paired = wanted.is_some() && cx.out.protocol() == 3;
    cx.out.array(if paired { taking } else { taking * 2 });
    take(cx, key, end, taking, paired)
}

/// Takes `taking` members, which are there, and writes each with its score.
fn take(cx: &mut Cx<'_>, key: Key<'_>, end: End, taking: usize, paired: bool) -> Result<(), CommandError> {
    let out = &mut *cx.out;
    cx.keys.change(key, |set: &mut SortedSet, _| {
        let len = set.view().len();
        let (from, to, back) = match end {
            End::Min => (0, taking.min(len), false),
            End::Max => (len - taking.min(len), len, true),
        };
        set.view().visit(from, to, back, &mut |member, score| {
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
    event: Event::By(Class::SORTED_SET, |args, _| popped(args, 1)),
    summary: "Takes members from the first sorted set that has any.",
    reply: "array: the key and an array of members with scores; null when all are empty",
    run: zmpop,
    ..Spec::ROW
};
fn zmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Popping::read(args, 1, End::read)?;
    for bytes in asked.keys.iter() {
        let key = cx.key(bytes);
        if cx.keys.collection::<SortedSet>(key)?.is_some() {
            asked.take(cx, key)?;
            return Ok(());
        }
    }
    cx.out.null_array();
    Ok(())
}

/// The event of a pop whose keys are counted at argument `at`.
fn popped(args: Args<'_>, at: usize) -> &'static str {
    match Popping::read(args, at, End::read).map(|asked| asked.end) {
        Ok(End::Max) => "zpopmax",
        _ => "zpopmin",
    }
}

/// `BZMPOP timeout numkeys key [key …] <MIN | MAX> [COUNT count]`
pub(in crate::commands) const BZMPOP: Spec = Spec {
    name: "BZMPOP",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW).or(Acl::BLOCKING),
    keys: &[KeySpec::counted_at(2).doing(TAKES)],
    ttl: Ttl::Inherited(3),
    http: Http::Refused("would hold the HTTP request open; poll with ZMPOP"),
    serve: Some(SERVE_MANY),
    event: Event::By(Class::SORTED_SET, |args, _| popped(args, 2)),
    summary: "Takes members from the first sorted set that has any, or waits for one that has.",
    reply: "array: the key and an array of members with scores; null when the time is up",
    run: bzmpop,
    ..ZMPOP
};
fn bzmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let timeout_ms = timeout_ms(args.get(1))?;
    let asked = Popping::read(args, 2, End::read)?;
    take_or_block(cx, args, SERVE_MANY, asked.keys, timeout_ms)
}

/// `BZPOPMIN key [key …] timeout`
pub(in crate::commands) const BZPOPMIN: Spec = Spec {
    name: "BZPOPMIN",
    family: Family::SortedSet,
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::NOSCRIPT).or(Flags::BLOCKING).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST).or(Acl::BLOCKING),
    keys: &[KeySpec::at(1).to(-2, 1).doing(TAKES)],
    ttl: Ttl::Inherited(1),
    http: Http::Refused("would hold the HTTP request open; poll with ZPOPMIN"),
    serve: Some(SERVE_MIN),
    event: Event::Is(Class::SORTED_SET, "zpopmin"),
    summary: "Takes the member with the lowest score of the first sorted set that has one, or waits for one.",
    reply: "array: the key, the member and its score; null when the time is up",
    run: bzpopmin,
    ..Spec::ROW
};
fn bzpopmin(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, SERVE_MIN)
}

/// `BZPOPMAX key [key …] timeout`
pub(in crate::commands) const BZPOPMAX: Spec = Spec {
    name: "BZPOPMAX",
    http: Http::Refused("would hold the HTTP request open; poll with ZPOPMAX"),
    serve: Some(SERVE_MAX),
    event: Event::Is(Class::SORTED_SET, "zpopmax"),
    summary: "Takes the member with the highest score of the first sorted set that has one, or waits for one.",
    run: bzpopmax,
    ..BZPOPMIN
};
fn bzpopmax(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    blocking_pop(cx, args, SERVE_MAX)
}

const SERVE_MIN: Serve = Serve { kind: Kind::SortedSet, alone: alone_with_timeout, take: take_min, ..Serve::WAITING };
const SERVE_MAX: Serve = Serve { take: take_max, ..SERVE_MIN };
const SERVE_MANY: Serve = Serve { alone: alone_counted, take: take_blocked, ..SERVE_MIN };

fn alone_counted(request: Args<'_>, key: &[u8]) -> OwnedArgs {
    OwnedArgs::from_slices([request.get(0), b"0", b"1", key, b"MIN"])
}

fn take_min(cx: &mut Cx<'_>, key: Key<'_>, _: Args<'_>) -> Result<Option<Effect>, CommandError> {
    take_one(cx, key, End::Min)
}

fn take_max(cx: &mut Cx<'_>, key: Key<'_>, _: Args<'_>) -> Result<Option<Effect>, CommandError> {
    take_one(cx, key, End::Max)
}

fn take_one(cx: &mut Cx<'_>, key: Key<'_>, end: End) -> Result<Option<Effect>, CommandError> {
    cx.out.array(3);
    cx.out.bulk(key.bytes);
    take(cx, key, end, 1, false)?;
    Ok(Some(vec![end.pops().to_vec(), key.bytes.to_vec()]))
}

fn take_blocked(cx: &mut Cx<'_>, key: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    Popping::read(request, 2, End::read)?.take(cx, key)
}

impl Popping<'_, End> {
    /// Takes from a sorted set that is there, and writes the reply.
    fn take(&self, cx: &mut Cx<'_>, key: Key<'_>) -> Result<Option<Effect>, CommandError> {
        let taking = cx.keys.collection::<SortedSet>(key)?.map_or(0, SortedSetRef::len).min(self.wanted);
        cx.out.array(2);
        cx.out.bulk(key.bytes);
        cx.out.array(taking);
        take(cx, key, self.end, taking, true)?;
        Ok(Some(vec![self.end.pops().to_vec(), key.bytes.to_vec(), taking.to_string().into_bytes()]))
    }
}
