//! Consumer groups: making and changing them, and acknowledging what they were given.

use super::{READ, RO_ACCESS, WRITE, changed_within, ids};
use crate::commands::events::{self, Event};
use crate::commands::help::{help, misused};
use crate::commands::parse::{int, is};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl, shown};
use crate::db::entry::Stream;
use crate::db::entry::stream::{Group, Id, Number, Pending};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out};

/// `XGROUP subcommand`
pub(in crate::commands) const XGROUP: Spec = Spec {
    name: "XGROUP",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::CONTAINER,
    acl: Acl::SLOW,
    summary: "Makes, changes and removes consumer groups.",
    reply: "as its subcommands",
    ..Spec::ROW
};

/// Texts of errors name things up to the first NUL, as redis prints them.
fn name(bytes: &[u8]) -> &[u8] {
    shown(bytes, usize::MAX)
}

/// No stream at this key, or no such group of it.
pub(super) fn no_such_group(key: &[u8], group: &[u8], hint: &str) -> CommandError {
    let text = [b"NOGROUP No such key '", name(key), b"' or consumer group '", name(group), b"'", hint.as_bytes()];
    CommandError::Quoted(text.concat())
}

/// The stream is there, but not the group.
pub(super) fn no_group_of(key: &[u8], group: &[u8]) -> CommandError {
    let text = [b"NOGROUP No such consumer group '", name(group), b"' for key name '", name(key), b"'"];
    CommandError::Quoted(text.concat())
}

const NO_KEY: CommandError = CommandError::Text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);

/// XGROUP CREATE's and SETID's options.
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    /// Reads them, those of `[MKSTREAM] [ENTRIESREAD n]` that the subcommand has.
    fn read(args: Args<'_>, may_make: bool) -> Result<Self, CommandError> {
        let mut options = Self { make_stream: false, entries_read: None };
        let mut words = args.from(5).iter();
        while let Some(option) = words.next() {
            if may_make && is(option, "MKSTREAM") {
                options.make_stream = true;
            } else if is(option, "ENTRIESREAD")
                && let Some(value) = words.next()
            {
                options.entries_read = match int(value)? {
                    -1 => None,
                    read => Some(
                        u64::try_from(read)
                            .map_err(|_| CommandError::Text("ERR value for ENTRIESREAD must be positive or -1"))?,
                    ),
                };
            } else {
                return Err(misused(&XGROUP, args.get(1)));
            }
        }
        Ok(options)
    }
}

/// `XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]`
pub(in crate::commands) const XGROUP_CREATE: Spec = Spec {
    name: "XGROUP|CREATE",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::INSERT))],
    ttl: Ttl::Inherited(2),
    summary: "Makes a consumer group.",
    reply: "OK",
    run: create,
    ..Spec::ROW
};
fn create(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::read(args, true)?;
    let (key, group) = (cx.key(args.get(2)), args.get(3));
    let stream = cx.keys.collection::<Stream>(key)?;
    if stream.is_none() && !options.make_stream {
        return Err(NO_KEY);
    }
    let last_id = match args.get(4) {
        b"$" => stream.map_or(Id::MIN, |stream| stream.entries().last_id()),
        id => ids::id(id)?,
    };
    if args.len() > 8 {
        return Err(misused(&XGROUP, args.get(1)));
    }
    if stream.is_some_and(|stream| stream.group(group).is_some()) {
        return Err(CommandError::Text("BUSYGROUP Consumer Group name already exists"));
    }
    let is_new = stream.is_none();
    cx.keys.change_or_new(key, |stream: &mut Stream, _| {
        stream.create_group(group, last_id, options.entries_read);
        ((), is_new)
    })?;
    // A new stream is told of by the command's name.
    if is_new {
        cx.keys.changed_within();
    } else {
        changed_within(cx, key, "xgroup-create");
    }
    cx.out.ok();
    if args.get(4) == b"$" && cx.keys.is_logging() {
        // The same on replay, but says what it was.
        let id = last_id.text();
        let record: Vec<&[u8]> =
            args.iter().enumerate().map(|(at, word)| if at == 4 { id.as_ref() } else { word }).collect();
        cx.keys.log_instead(&record);
    }
    Ok(())
}

/// `XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]`
pub(in crate::commands) const XGROUP_SETID: Spec = Spec {
    name: "XGROUP|SETID",
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    summary: "Sets what a group was given last.",
    run: setid,
    ..XGROUP_CREATE
};
fn setid(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::read(args, false)?;
    require_group(cx, args)?;
    let given = match args.get(4) {
        b"$" => None,
        id => Some(ids::id_or_edge(id, 0)?),
    };
    if !matches!(args.len(), 5 | 7) {
        return Err(misused(&XGROUP, args.get(1)));
    }
    on_group(cx, args, |group, last_id| {
        group.last_id = given.unwrap_or(last_id);
        group.entries_read = options.entries_read;
    })?;
    let key = cx.key(args.get(2));
    changed_within(cx, key, "xgroup-setid");
    cx.out.ok();
    Ok(())
}

/// Checks that stream and group are there: arguments 2 and 3.
fn require_group(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(NO_KEY)?;
    match stream.group(args.get(3)) {
        Some(_) => Ok(()),
        None => Err(no_group_of(key.bytes, args.get(3))),
    }
}

/// Changes the group that arguments 2 and 3 name, with the stream's last id at hand.
fn on_group<R>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    act: impl FnOnce(&mut Group, Id) -> R,
) -> Result<Option<R>, CommandError> {
    let key = cx.key(args.get(2));
    let done = cx.keys.change(key, |stream: &mut Stream, _| {
        (stream.with_group(args.get(3), |group, entries| act(group, entries.last_id())), false)
    })?;
    Ok(done.flatten())
}

/// `XGROUP DESTROY key group`
pub(in crate::commands) const XGROUP_DESTROY: Spec = Spec {
    name: "XGROUP|DESTROY",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    summary: "Removes a group.",
    reply: "integer: 1 when it was there, 0 when not",
    run: destroy,
    ..XGROUP_CREATE
};
fn destroy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(2));
    let removed = cx.keys.change(key, |stream: &mut Stream, _| (stream.remove_group(args.get(3)), false))?;
    let removed = removed.ok_or(NO_KEY)?;
    if removed {
        changed_within(cx, key, "xgroup-destroy");
        // Who waits for the group is told that it is gone.
        cx.keys.wake(key);
    }
    cx.out.int(removed.into());
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`
pub(in crate::commands) const XGROUP_CREATECONSUMER: Spec = Spec {
    name: "XGROUP|CREATECONSUMER",
    since: "6.2.0",
    arity: Arity::Exactly(5),
    summary: "Makes a consumer of a group.",
    reply: "integer: 1 when it is new, 0 when not",
    run: createconsumer,
    ..XGROUP_CREATE
};
fn createconsumer(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    require_group(cx, args)?;
    let now_ms = cx.now.wall_ms;
    let created = on_group(cx, args, |group, _| group.create(args.get(4), now_ms))?.unwrap_or(false);
    if created {
        let key = cx.key(args.get(2));
        changed_within(cx, key, "xgroup-createconsumer");
    }
    cx.out.int(created.into());
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`
pub(in crate::commands) const XGROUP_DELCONSUMER: Spec = Spec {
    name: "XGROUP|DELCONSUMER",
    since: "5.0.0",
    flags: Flags::WRITE,
    keys: &[KeySpec::at(2).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    summary: "Removes a consumer with all it has not acknowledged.",
    reply: "integer: how many entries that was",
    run: delconsumer,
    ..XGROUP_CREATECONSUMER
};
fn delconsumer(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    require_group(cx, args)?;
    let removed = on_group(cx, args, |group, _| group.remove(args.get(4)))?.flatten();
    if removed.is_some() {
        let key = cx.key(args.get(2));
        changed_within(cx, key, "xgroup-delconsumer");
    }
    cx.out.int(removed.unwrap_or(0) as i64);
    Ok(())
}

/// `XGROUP HELP`
pub(in crate::commands) const XGROUP_HELP: Spec = Spec {
    name: "XGROUP|HELP",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::Exactly(2),
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Acl::STREAM.or(Acl::SLOW),
    summary: "The subcommands.",
    reply: "array of lines",
    run: |cx, _| {
        help(cx, &XGROUP, HELP);
        Ok(())
    },
    ..Spec::ROW
};
const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];

/// `XACK key group id [id …]`
pub(in crate::commands) const XACK: Spec = Spec {
    name: "XACK",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::untold),
    looks: true,
    summary: "Acknowledges entries that a group was given.",
    reply: "integer: how many were not acknowledged yet",
    run: xack,
    ..Spec::ROW
};
fn xack(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    if cx.keys.collection::<Stream>(key)?.and_then(|stream| stream.group(args.get(2))).is_none() {
        cx.out.int(0);
        return Ok(());
    }
    let acknowledged = args.iter().skip(3).map(ids::id).collect::<Result<Vec<Id>, _>>()?;
    let done = cx.keys.change(key, |stream: &mut Stream, _| {
        let done =
            stream.with_group(args.get(2), |group, _| acknowledged.iter().filter(|id| group.acknowledge(**id)).count());
        (done, false)
    })?;
    let done = done.flatten().unwrap_or(0);
    if done > 0 {
        cx.keys.changed_within();
    }
    cx.out.int(done as i64);
    Ok(())
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub(in crate::commands) const XPENDING: Spec = Spec {
    name: "XPENDING",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "What a group was given and has not acknowledged.",
    reply: "array: how many, first and last id, and how many of each consumer; with a range, an array of arrays: id, \
            consumer, milliseconds since it was delivered, how often it was",
    run: xpending,
    ..Spec::ROW
};
fn xpending(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let range = Range::read(args)?;
    let (now_ms, key) = (cx.now.wall_ms, cx.key(args.get(1)));
    let group = cx.keys.collection::<Stream>(key)?.and_then(|stream| stream.group(args.get(2)));
    let group = group.ok_or_else(|| no_such_group(key.bytes, args.get(2), ""))?;
    match range {
        None => summary(cx.out, group),
        Some(range) => range.write(cx.out, group, now_ms),
    }
    Ok(())
}

fn summary(out: &mut Out, group: &Group) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let Some((first, last)) = group.pending_bounds() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    out.bulk(first.text());
    out.bulk(last.text());
    let pending = |number: Number| group.consumer(number).map_or(0, |consumer| consumer.pending());
    let busy: Vec<_> = group.consumers().filter(|(number, _)| pending(*number) > 0).collect();
    out.array(busy.len());
    for (number, name) in busy {
        out.array(2);
        out.bulk(name);
        out.bulk_int(pending(number) as i64);
    }
}

/// XPENDING's long form.
struct Range<'a> {
    idle_ms_min: i64,
    from: Id,
    to: Id,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    fn read(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        let (mut at, mut idle_ms_min) = (3, 0);
        match args.len() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(CommandError::Syntax),
        }
        if is(args.get(3), "IDLE") {
            idle_ms_min = int(args.get(4))?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at = 5;
        }
        let count = int(args.get(at + 2))?.max(0) as usize;
        let (from, to) = (ids::lower(args.get(at))?, ids::upper(args.get(at + 1))?);
        Ok(Some(Self { idle_ms_min, from, to, count, consumer: args.try_get(at + 3) }))
    }

    fn write(&self, out: &mut Out, group: &Group, now_ms: u64) {
        match self.consumer.map(|name| group.named(name)) {
            None => self.write_all(out, group, now_ms, group.pending(self.from)),
            Some(Some(number)) => self.write_all(out, group, now_ms, group.pending_of(number, self.from)),
            Some(None) => out.array(0),
        }
    }

    fn write_all(&self, out: &mut Out, group: &Group, now_ms: u64, all: impl Iterator<Item = (Id, Pending)>) {
        let idle = |pending: &Pending| now_ms as i64 - pending.delivered_ms as i64;
        let all = all.take_while(|(id, _)| *id <= self.to);
        let shown = all.filter(|(_, pending)| self.idle_ms_min == 0 || idle(pending) >= self.idle_ms_min);
        let shown: Vec<_> = shown.take(self.count).collect();
        out.array(shown.len());
        for (id, pending) in shown {
            out.array(4);
            out.bulk(id.text());
            out.bulk(group.consumer(pending.consumer).map_or(&b""[..], |consumer| consumer.name()));
            out.int(idle(&pending).max(0));
            out.int(pending.deliveries as i64);
        }
    }
}
