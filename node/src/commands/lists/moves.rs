//! Elements that go from one list to another, or from the first list that has any.

use super::{End, TAKES, WRITE, take};
use crate::commands::parse::{count_option, numkeys};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::List;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

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
    summary: "Moves an element from an end of one list to an end of another, or of the same.",
    reply: "bulk string: the element; null when the source is absent",
    run: lmove,
    ..Spec::ROW
};
fn lmove(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (End::read(args.get(3))?, End::read(args.get(4))?);
    move_element(cx, args, from, to)
}

/// `RPOPLPUSH source destination`
pub(in crate::commands) const RPOPLPUSH: Spec = Spec {
    name: "RPOPLPUSH",
    since: "1.2.0",
    arity: Arity::Exactly(3),
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
        cx.keys.change(source, |list: &mut List, _| {
            let element = from.pop(list).unwrap_or_default();
            out.bulk(&element);
            to.push(list, &element);
            ((), true)
        })?;
        return Ok(());
    }
    let element = cx.keys.change(source, |list: &mut List, _| (from.pop(list), true))?;
    let element = element.flatten().unwrap_or_default();
    cx.keys.change_or_new(destination, |list: &mut List, _| {
        to.push(list, &element);
        ((), true)
    })?;
    cx.out.bulk(element);
    Ok(())
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
    summary: "Takes elements from the first list that has any.",
    reply: "array: the key and an array of elements; null when all are empty",
    run: lmpop,
    ..Spec::ROW
};
fn lmpop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let numkeys = numkeys(args, 1)?;
    let end = End::read(args.try_get(2 + numkeys).unwrap_or_default())?;
    let wanted = count_option(args.from(3 + numkeys))?;
    for bytes in args.from(2).up_to(numkeys).iter() {
        let key = cx.key(bytes);
        let Some(length) = cx.keys.collection(key)?.map(List::len) else { continue };
        let taking = wanted.min(length);
        cx.out.array(2);
        cx.out.bulk(bytes);
        cx.out.array(taking);
        return take(cx, key, end, taking);
    }
    cx.out.null_array();
    Ok(())
}
