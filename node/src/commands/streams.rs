//! Streams: adding, showing and removing entries. Who reads them is in the files below this one.

mod claims;
mod deletes;
mod groups;
mod ids;
mod info;
mod reads;
mod trims;

use std::borrow::Cow;

pub(super) use self::claims::{XAUTOCLAIM, XCLAIM};
pub(super) use self::deletes::{XACKDEL, XDELEX};
pub(super) use self::groups::{
    XACK, XGROUP, XGROUP_CREATE, XGROUP_CREATECONSUMER, XGROUP_DELCONSUMER, XGROUP_DESTROY, XGROUP_HELP, XGROUP_SETID,
    XPENDING,
};
pub(super) use self::info::{XINFO, XINFO_CONSUMERS, XINFO_GROUPS, XINFO_HELP, XINFO_STREAM};
pub(super) use self::reads::{XREAD, XREADGROUP};
use self::trims::{Adding, Trimming};
use super::events::{self, Class, Event};
use super::parse::{int, is};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::Stream;
use crate::db::entry::stream::{Entries, Id, Item, Keep, Refused, Wanted};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out};

const READ: Acl = Acl::READ.or(Acl::STREAM);
const WRITE: Acl = Acl::WRITE.or(Acl::STREAM);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// Notes a change that watchers are not told of, but those who listen to events are.
fn changed_within(cx: &mut Cx<'_>, key: Key<'_>, event: &'static str) {
    cx.keys.changed_within();
    cx.keys.say(key, Class::STREAM, event);
}

/// Tells of a consumer that was made by the way.
fn say_created(cx: &mut Cx<'_>, key: Key<'_>, created: bool) {
    if created {
        cx.keys.say(key, Class::STREAM, "xgroup-createconsumer");
    }
}

/// Writes an entry: its id, and an array of its fields and values.
fn write_entry(out: &mut Out, item: Item<'_>) {
    out.array(2);
    out.bulk(item.id.text());
    out.array(item.len * 2);
    for (field, value) in item.pairs() {
        out.bulk(field);
        out.bulk(value);
    }
}

/// Writes an array of entries.
fn write_entries<'a>(out: &mut Out, items: impl Iterator<Item = Item<'a>>) {
    // How many there are is known when they were written, and goes in front.
    let mut entries = Out::new(out.protocol());
    let count = items.map(|item| write_entry(&mut entries, item)).count();
    out.array(count);
    out.append(&mut entries);
}

/// `XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value …]`
pub(super) const XADD: Spec = Spec {
    name: "XADD",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1)
        .doing(KeyFlags::RW.or(KeyFlags::UPDATE))
        .noting("UPDATE instead of INSERT because of the optional trimming feature")],
    ttl: Ttl::Inherited(1),
    value_bytes: longest_value,
    summary: "Adds an entry.",
    reply: "bulk string: its id; null when there is no stream and none is to be made",
    run: xadd,
    ..Spec::ROW
};
fn xadd(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let adding = Adding::read(args, cx.replays())?;
    let pairs = args.from(adding.fields_at);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Arity("xadd".into()));
    }
    if adding.wanted == Some(Wanted::This(Id::MIN)) {
        return Err(CommandError::Text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let wanted = adding.wanted.unwrap_or(Wanted::Now(cx.now.wall_ms));
    let key = cx.key(args.get(1));
    let trim = adding.trim;
    let add = |stream: &mut Stream| {
        let id = stream.entries_mut().add(wanted, pairs)?;
        Ok::<_, Refused>((id, trim.map(|trim| trim.trim(stream))))
    };
    let added = if adding.only_old {
        cx.keys.change(key, |stream: &mut Stream, _| changed_if_ok(add(stream)))?
    } else {
        Some(cx.keys.change_or_new(key, |stream: &mut Stream, _| changed_if_ok(add(stream)))?)
    };
    let Some(added) = added else {
        cx.out.null();
        return Ok(());
    };
    let (id, trimmed) = added.map_err(refused)?;
    if let Some((gone, _)) = trimmed {
        // As many went perhaps, but there is something new for whoever waits.
        cx.keys.wake(key);
        if gone > 0 {
            cx.keys.say(key, Class::STREAM, "xtrim");
        }
    }
    cx.out.bulk(id.text());
    if cx.keys.is_logging() {
        log_added(cx, args, &adding, id, trimmed.map(|(_, kept)| kept));
    }
    Ok(())
}

/// The longest value among the pairs; of options that do not parse, the longest argument.
fn longest_value(args: Args<'_>) -> Option<u64> {
    let (first, step) = Adding::read(args, true).map_or((3, 1), |adding| (adding.fields_at + 1, 2));
    args.iter().skip(first).step_by(step).map(|value| value.len() as u64).max()
}

fn changed_if_ok<T, E>(result: Result<T, E>) -> (Result<T, E>, bool) {
    let changed = result.is_ok();
    (result, changed)
}

fn refused(why: Refused) -> CommandError {
    CommandError::Text(match why {
        Refused::Exhausted => "ERR The stream has exhausted the last possible ID, unable to add more items",
        Refused::NotAbove => "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        // Redis forgets to say why here, and says this of any reason that it does not know.
        Refused::Full | Refused::TooLarge => "ERR Elements are too large to be stored",
    })
}

/// The effect: the id that was chosen, and an exact trim to what was left.
#[cold]
fn log_added(cx: &mut Cx<'_>, args: Args<'_>, adding: &Adding, id: Id, kept: Option<Keep>) {
    let id = id.text();
    let mut record: Vec<Cow<'_, [u8]>> = args.iter().map(Cow::Borrowed).collect();
    if let Some(place) = record.get_mut(adding.fields_at - 1) {
        *place = Cow::Borrowed(id.as_ref());
    }
    if let (Some(trim), Some(kept)) = (adding.trim, kept) {
        trim.make_exact(&mut record, kept);
    }
    let record: Vec<&[u8]> = record.iter().map(|word| &**word).collect();
    cx.keys.log_instead(&record);
}

/// `XLEN key`
pub(super) const XLEN: Spec = Spec {
    name: "XLEN",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RO)],
    summary: "How many entries.",
    reply: "integer",
    run: xlen,
    ..Spec::ROW
};
fn xlen(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let len = cx.keys.collection::<Stream>(key)?.map_or(0, Stream::len);
    cx.out.int(len as i64);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`
pub(super) const XRANGE: Spec = Spec {
    name: "XRANGE",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "The entries between two ids.",
    reply: "array of entries: id, array of fields and values; null for a count of 0",
    run: xrange,
    ..Spec::ROW
};
fn xrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (ids::lower(args.get(2))?, ids::upper(args.get(3))?);
    show(cx, args, |entries, out, count| write_entries(out, entries.range(from, to).take(count)))
}

/// `XREVRANGE key end start [COUNT count]`
pub(super) const XREVRANGE: Spec =
    Spec { name: "XREVRANGE", summary: "The entries between two ids, last to first.", run: xrevrange, ..XRANGE };
fn xrevrange(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (ids::lower(args.get(3))?, ids::upper(args.get(2))?);
    show(cx, args, |entries, out, count| write_entries(out, entries.range_back(from, to).take(count)))
}

fn show(cx: &mut Cx<'_>, args: Args<'_>, write: impl FnOnce(&Entries, &mut Out, usize)) -> Result<(), CommandError> {
    let mut count = None;
    let mut options = args.from(4).iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is(option, "COUNT") => count = Some(int(value)?.max(0) as usize),
            _ => return Err(CommandError::Syntax),
        }
    }
    let key = cx.key(args.get(1));
    match cx.keys.collection::<Stream>(key)? {
        None => cx.out.array(0),
        Some(_) if count == Some(0) => cx.out.null_array(),
        Some(stream) => write(stream.entries(), cx.out, count.unwrap_or(usize::MAX)),
    }
    Ok(())
}

/// `XDEL key id [id …]`
pub(super) const XDEL: Spec = Spec {
    name: "XDEL",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    summary: "Removes entries.",
    reply: "integer: how many were there",
    run: xdel,
    ..Spec::ROW
};
fn xdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    if cx.keys.collection::<Stream>(key)?.is_none() {
        cx.out.int(0);
        return Ok(());
    }
    let gone = args.iter().skip(2).map(ids::id).collect::<Result<Vec<Id>, _>>()?;
    let deleted = cx.keys.change(key, |stream: &mut Stream, _| {
        let deleted = gone.iter().filter(|id| stream.entries_mut().delete(**id)).count();
        (deleted, deleted > 0)
    })?;
    cx.out.int(deleted.unwrap_or(0) as i64);
    Ok(())
}

/// `XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]`
pub(super) const XTRIM: Spec = Spec {
    name: "XTRIM",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE,
    acl: WRITE.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    summary: "Removes the first entries, down to a length or up to an id.",
    reply: "integer: how many",
    run: xtrim,
    ..XDEL
};
fn xtrim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let trim = Trimming::read(args, cx.replays())?;
    let key = cx.key(args.get(1));
    let gone = cx.keys.change(key, |stream: &mut Stream, _| {
        let (gone, kept) = trim.trim(stream);
        ((gone, kept), gone > 0)
    })?;
    let (gone, kept) = gone.unwrap_or((0, trim.how.keep));
    cx.out.int(gone as i64);
    if gone > 0 && trim.depends_on_blocks() {
        let mut record: Vec<Cow<'_, [u8]>> = args.iter().map(Cow::Borrowed).collect();
        trim.make_exact(&mut record, kept);
        let record: Vec<&[u8]> = record.iter().map(|word| &**word).collect();
        cx.keys.log_instead(&record);
    }
    Ok(())
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID id]`
pub(super) const XSETID: Spec = Spec {
    name: "XSETID",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::untold),
    summary: "Sets what a stream remembers of entries that are gone: for replication.",
    reply: "OK",
    run: xsetid,
    ..Spec::ROW
};
fn xsetid(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let last_id = ids::id(args.get(2))?;
    let (mut added, mut max_deleted_id) = (None, None);
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is(option, "ENTRIESADDED") => {
                let count = u64::try_from(int(value)?);
                added = Some(count.map_err(|_| CommandError::Text("ERR entries_added must be positive"))?);
            }
            Some(value) if is(option, "MAXDELETEDID") => {
                let id = ids::id(value)?;
                if last_id < id {
                    return Err(CommandError::Text(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
                max_deleted_id = Some(id).filter(|id| *id != Id::MIN);
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let key = cx.key(args.get(1));
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(CommandError::NoSuchKey)?;
    may_set_last(stream.entries(), last_id, added)?;
    cx.keys.change(key, |stream: &mut Stream, _| {
        stream.entries_mut().set_last(last_id, added, max_deleted_id);
        ((), false)
    })?;
    changed_within(cx, key, "xsetid");
    cx.out.ok();
    Ok(())
}

fn may_set_last(entries: &Entries, last_id: Id, added: Option<u64>) -> Result<(), CommandError> {
    let why = if entries.last_entry_id().is_some_and(|last| last_id < last) {
        "ERR The ID specified in XSETID is smaller than the target stream top item"
    } else if !entries.is_empty() && added.is_some_and(|added| added < entries.len() as u64) {
        "ERR The entries_added specified in XSETID is smaller than the target stream length"
    } else {
        return Ok(());
    };
    Err(CommandError::Text(why))
}
