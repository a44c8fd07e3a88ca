//! Elements that go from one list to another, or from the first list that has any.

use super::{End, TAKES, WRITE, take};
use crate::commands::events::{self, Class, Event, Told};
use crate::commands::parse::{Popping, is, timeout_ms};
use crate::commands::{Acl, Arity, Effect, Family, Flags, Http, KeyFlags, KeySpec, Serve, Spec, Ttl};
use crate::db::entry::{Kind, List};
use crate::db::{Key, Touch};
use crate::engine::{Cx, take_or_block};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs};

/// `LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>`
pub(in crate::commands) const LMOVE: Spec = Spec {
    name: "LMOVE",
    family: Family::List,
    since: "6.2.0",
    arity: Arity::Exactly(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(TAKES), KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(2),
    event: Event::All(moved_between),
    summary: "Moves an element from an end of one list to an end of another, or of the same.",
    reply: "bulk string: the element; null when the source is absent",
    run: lmove,
    ..Spec::ROW
};
fn lmove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (End::read(args.get(3))?, End::read(args.get(4))?);
    move_element(cx, args, from, to)
}

fn moved_between(args: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    let end = |at: usize, left: &'static str, right: &'static str| if is(args.get(at), "LEFT") { left } else { right };
    events::moved(args, (end(3, "lpop", "rpop"), end(4, "lpush", "rpush")), touches, all);
}

fn moved_round(args: Args<'_>, touches: &[Touch], all: &mut Vec<Told>) {
    events::moved(args, ("rpop", "lpush"), touches, all);
}

/// `RPOPLPUSH source destination`
pub(in crate::commands) const RPOPLPUSH: Spec = Spec {
    name: "RPOPLPUSH",
    since: "1.2.0",
    arity: Arity::Exactly(3),
    event: Event::All(moved_round),
    summary: "Moves the last element of one list before the first of another.",
    run: rpoplpush,
    ..LMOVE
};
fn rpoplpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    move_element(cx, args, End::Right, End::Left)
}

fn move_element(cx: &mut Cx<'_>, args: Args<'_>, from: End, to: End) -> Result<(), CommandError> {
    let (source, destination) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if cx.keys.collection::<List>(source)?.is_none() {
        cx.out.null();
        return Ok(());
    }
    cx.keys.collection::<List>(destination)?;
    if source.bytes == destination.bytes {
        // In one change: a list of one element must not be gone in between.
        let out = &mut *cx.out;
        cx.keys.change(source, |list: &mut List, growth| {
            let element = from.pop(list, <[u8]>::to_vec).unwrap_or_default();
            out.bulk(&element);
            to.push(list, &element, growth);
            ((), true)
        })?;
        return Ok(());
    }
    let element = cx.keys.change(source, |list: &mut List, _| (from.pop(list, <[u8]>::to_vec), true))?;
    let element = element.flatten().unwrap_or_default();
    cx.keys.change_or_new(destination, |list: &mut List, growth| {
        to.push(list, &element, growth);
        ((), true)
    })?;
    cx.out.bulk(element);
    Ok(())
}

/// `BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout`
pub(in crate::commands) const BLMOVE: Spec = Spec {
    name: "BLMOVE",
    arity: Arity::Exactly(6),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::NOSCRIPT).or(Flags::BLOCKING),
    acl: WRITE.or(Acl::SLOW).or(Acl::BLOCKING),
    http: Http::Refused("would hold the HTTP request open; poll with LMOVE"),
    serve: Some(SERVE_MOVE),
    summary: "Moves an element from an end of one list to an end of another, or of the same, or waits for one.",
    reply: "bulk string: the element; null when the time is up",
    run: blmove,
    ..LMOVE
};
fn blmove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    End::read(args.get(3)).and(End::read(args.get(4)))?;
    move_or_block(cx, args, SERVE_MOVE)
}

/// `BRPOPLPUSH source destination timeout`
pub(in crate::commands) const BRPOPLPUSH: Spec = Spec {
    name: "BRPOPLPUSH",
    since: "2.2.0",
    arity: Arity::Exactly(4),
    http: Http::Refused("would hold the HTTP request open; poll with RPOPLPUSH"),
    serve: Some(SERVE_RPOPLPUSH),
    event: Event::All(moved_round),
    summary: "Moves the last element of one list before the first of another, or waits for one.",
    run: brpoplpush,
    ..BLMOVE
};
fn brpoplpush(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    move_or_block(cx, args, SERVE_RPOPLPUSH)
}

const SERVE_MOVE: Serve = Serve { kind: Kind::List, beside: Some(2), take: take_moving, ..Serve::WAITING };
const SERVE_RPOPLPUSH: Serve = Serve { take: take_rpoplpush, ..SERVE_MOVE };

/// Runs `NAME source destination … timeout`.
fn move_or_block(cx: &mut Cx<'_>, args: Args<'_>, serve: Serve) -> Result<(), CommandError> {
    let timeout_ms = timeout_ms(args.get(args.len() - 1))?;
    let source = cx.key(args.get(1));
    // Where nobody can wait it answers as LMOVE does, and not as if its time were up.
    if cx.nested && cx.keys.find(source).is_none() {
        cx.out.null();
        return Ok(());
    }
    take_or_block(cx, args, serve, args.from(1).up_to(1), timeout_ms)
}

fn take_moving(cx: &mut Cx<'_>, _: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    lmove(cx, request)?;
    let effect = [b"LMOVE", request.get(1), request.get(2), request.get(3), request.get(4)];
    Ok(Some(effect.map(<[u8]>::to_vec).to_vec()))
}

fn take_rpoplpush(cx: &mut Cx<'_>, _: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    rpoplpush(cx, request)?;
    Ok(Some([b"RPOPLPUSH", request.get(1), request.get(2)].map(<[u8]>::to_vec).to_vec()))
}

/// `LMPOP numkeys key [key …] <LEFT | RIGHT> [COUNT count]`
pub(in crate::commands) const LMPOP: Spec = Spec {
    name: "LMPOP",
    family: Family::List,
    since: "7.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::counted_at(1).doing(TAKES)],
    ttl: Ttl::Inherited(2),
    event: Event::By(Class::LIST, |args, _| popped(args, 1)),
    summary: "Takes elements from the first list that has any.",
    reply: "array: the key and an array of elements; null when all are empty",
    run: lmpop,
    ..Spec::ROW
};
fn lmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let asked = Popping::read(args, 1, End::read)?;
    for bytes in asked.keys.iter() {
        let key = cx.key(bytes);
        if cx.keys.collection::<List>(key)?.is_some() {
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
        Ok(End::Right) => "rpop",
        _ => "lpop",
    }
}

/// `BLMPOP timeout numkeys key [key …] <LEFT | RIGHT> [COUNT count]`
pub(in crate::commands) const BLMPOP: Spec = Spec {
    name: "BLMPOP",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW).or(Acl::BLOCKING),
    keys: &[KeySpec::counted_at(2).doing(TAKES)],
    ttl: Ttl::Inherited(3),
    http: Http::Refused("would hold the HTTP request open; poll with LMPOP"),
    serve: Some(SERVE),
    event: Event::By(Class::LIST, |args, _| popped(args, 2)),
    summary: "Takes elements from the first list that has any, or waits for one that has.",
    reply: "array: the key and an array of elements; null when the time is up",
    run: blmpop,
    ..LMPOP
};
fn blmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let timeout_ms = timeout_ms(args.get(1))?;
    let asked = Popping::read(args, 2, End::read)?;
    take_or_block(cx, args, SERVE, asked.keys, timeout_ms)
}

const SERVE: Serve = Serve { kind: Kind::List, alone, take: take_blocked, ..Serve::WAITING };

fn alone(request: Args<'_>, key: &[u8]) -> OwnedArgs {
    OwnedArgs::from_slices([request.get(0), b"0", b"1", key, b"LEFT"])
}

fn take_blocked(cx: &mut Cx<'_>, key: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    Popping::read(request, 2, End::read)?.take(cx, key)
}

impl Popping<'_, End> {
    /// Takes from a list that is there, and writes the reply.
    fn take(&self, cx: &mut Cx<'_>, key: Key<'_>) -> Result<Option<Effect>, CommandError> {
        let taking = cx.keys.collection::<List>(key)?.map_or(0, List::len).min(self.wanted);
        cx.out.array(2);
        cx.out.bulk(key.bytes);
        cx.out.array(taking);
        take(cx, key, self.end, taking)?;
        Ok(Some(vec![self.end.pops().to_vec(), key.bytes.to_vec(), taking.to_string().into_bytes()]))
    }
}
