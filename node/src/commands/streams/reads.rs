//! Reading what is new in streams: XREAD, and XREADGROUP for a group.

use crate::commands::events::{self, Event};
use std::collections::BTreeSet;

use super::groups::no_such_group;
use super::{READ, RO_ACCESS, WRITE, ids, say_created, write_entries, write_entry};
use crate::commands::parse::{int, is};
use crate::commands::{
    Acl, Arity, Begin, Effect, Family, Find, Flags, KeySpec, Serve, Spec, Stated, Ttl, refused_over_http,
};
use crate::db::Key;
use crate::db::entry::stream::{Entries, Group, Id, Pending};
use crate::db::entry::{Kind, Stream};
use crate::engine::{Cx, block};
use crate::error::CommandError;
use crate::resp::{Args, Out, OwnedArgs};
use crate::session;

/// The keys are the first half of what follows `STREAMS`.
const fn streams(from: i16) -> KeySpec {
    KeySpec {
        begin: Begin::Option("STREAMS", from, streams_at),
        find: Find::Range { last: -1, step: 1, limit: 2 },
        ..KeySpec::at(0).doing(RO_ACCESS)
    }
}

fn streams_at(args: Args<'_>) -> Option<usize> {
    Options::read(args).ok().map(|options| options.streams_at)
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key …] id [id …]`
pub(in crate::commands) const XREAD: Spec = Spec {
    name: "XREAD",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: READ.or(Acl::SLOW).or(Acl::BLOCKING),
    keys: &[streams(1)],
    summary: "The entries behind an id, of each stream that has any.",
    reply: "map of keys to arrays of entries (RESP2: array of pairs); null when there is none",
    serve: Some(SERVE),
    run: xread,
    ..Spec::ROW
};
fn xread(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::read_or_refuse(args, no_waiting(cx, args))?;
    let mut wanted = Vec::with_capacity(options.keys.len());
    for (key, from) in options.keys.iter().zip(options.ids.iter()) {
        let key = cx.key(key);
        let stream = cx.keys.collection::<Stream>(key)?;
        let from = match from {
            b"$" => stream.map_or(Id::MIN, |stream| stream.entries().last_id()),
            b">" => {
                return Err(CommandError::Text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                ));
            }
            from => ids::id(from)?,
        };
        wanted.push((key, from));
    }
    let mut replies = Replies::new(cx.out);
    for (key, from) in &wanted {
        match cx.keys.collection::<Stream>(*key)? {
            Some(stream) if stream.entries().has_behind(*from) => replies.add(*key, stream, *from, options.count),
            _ => {}
        }
    }
    if replies.write(cx.out) {
        return Ok(());
    }
    let Some(block_ms) = options.block_ms else {
        cx.out.null_array();
        return Ok(());
    };
    // `$` is the last entry there is now.
    let ids: Vec<_> = wanted.iter().map(|(_, from)| from.text()).collect();
    let count = blocked_count(&options).to_string();
    let mut request: Vec<&[u8]> = vec![args.get(0), b"COUNT", count.as_bytes(), b"STREAMS"];
    request.extend(options.keys.iter());
    request.extend(ids.iter().map(AsRef::as_ref));
    wait(cx, OwnedArgs::from_slices(request).as_args(), SERVE, &options, block_ms);
    Ok(())
}

/// How many entries a client that waited gets of a stream at most, unless it said: it does not want all there are.
fn blocked_count(options: &Options<'_>) -> usize {
    if options.count == usize::MAX { 1000 } else { options.count }
}

const SERVE: Serve = Serve { kind: Kind::Stream, alone, take: take_blocked, ..Serve::WAITING };
const SERVE_GROUP: Serve =
    Serve { take: take_blocked_for_group, gone: Some("UNBLOCKED the stream key no longer exists"), ..SERVE };

/// Waits at the keys, at each once.
fn wait(cx: &mut Cx<'_>, request: Args<'_>, serve: Serve, options: &Options<'_>, block_ms: u64) {
    let keys: BTreeSet<&[u8]> = options.keys.iter().collect();
    block(cx, request, serve, keys.into_iter(), Some(block_ms).filter(|ms| *ms > 0));
}

fn alone(request: Args<'_>, key: &[u8]) -> OwnedArgs {
    match Options::read(request).ok().and_then(|options| options.group) {
        None => OwnedArgs::from_slices([request.get(0), b"STREAMS", key, b"0-0"]),
        Some((group, consumer)) => {
            OwnedArgs::from_slices([request.get(0), b"GROUP", group, consumer, b"STREAMS", key, b">"])
        }
    }
}

fn take_blocked(cx: &mut Cx<'_>, key: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    let options = Options::read(request)?;
    let at = options.keys.iter().position(|bytes| bytes == key.bytes).ok_or(CommandError::Syntax)?;
    let from = ids::id(options.ids.get(at))?;
    let mut replies = Replies::new(cx.out);
    match cx.keys.collection::<Stream>(key)? {
        // What came may be gone already: then there is nothing in the answer, but there is an answer.
        Some(stream) if stream.entries().last_id() > from => replies.add(key, stream, from, options.count),
        _ => return Ok(None),
    }
    replies.write(cx.out);
    Ok(Some(Effect::new()))
}

/// What who cannot wait at all is told for asking to.
fn no_waiting(cx: &Cx<'_>, args: Args<'_>) -> Option<CommandError> {
    if cx.scripted {
        let why = b" command is not allowed with BLOCK option from scripts";
        return Some(CommandError::Quoted([b"ERR ", args.get(0), why].concat()));
    }
    let over_http = cx.session.kind == session::Kind::Detached;
    let spec = if is(args.get(0), "XREADGROUP") { &XREADGROUP } else { &XREAD };
    over_http.then(|| refused_over_http(spec, "would hold the HTTP request open with BLOCK; poll without it"))
}

/// What is answered of each stream, and of how many.
struct Replies {
    out: Out,
    count: usize,
}

impl Replies {
    fn new(out: &Out) -> Self {
        Self { out: Out::new(out.protocol()), count: 0 }
    }

    /// Begins the answer of one more stream: its entries follow.
    fn of(&mut self, key: Key<'_>) -> &mut Out {
        self.count += 1;
        if self.out.protocol() == 2 {
            self.out.array(2);
        }
        self.out.bulk(key.bytes);
        &mut self.out
    }

    /// Answers the entries of a stream behind an id.
    fn add(&mut self, key: Key<'_>, stream: &Stream, from: Id, count: usize) {
        let entries = from.next().into_iter().flat_map(|from| stream.entries().range(from, Id::MAX));
        write_entries(self.of(key), entries.take(count));
    }

    /// Writes the answer; false when there is none.
    fn write(mut self, out: &mut Out) -> bool {
        if self.count == 0 {
            return false;
        }
        if out.protocol() == 2 {
            out.array(self.count);
        } else {
            out.map(self.count);
        }
        out.append(&mut self.out);
        true
    }
}

/// What XREAD and XREADGROUP are asked for.
struct Options<'a> {
    /// XREADGROUP's group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    count: usize,
    block_ms: Option<u64>,
    /// Where the first key is.
    streams_at: usize,
    keys: Args<'a>,
    ids: Args<'a>,
}

impl<'a> Options<'a> {
    fn read(args: Args<'a>) -> Result<Self, CommandError> {
        Self::read_or_refuse(args, None)
    }

    /// As [`Options::read`]; what BLOCK is refused with, if it is.
    fn read_or_refuse(args: Args<'a>, no_waiting: Option<CommandError>) -> Result<Self, CommandError> {
        let for_group = is(args.get(0), "XREADGROUP");
        let (mut group, mut no_ack, mut count, mut block_ms) = (None, false, usize::MAX, None);
        let mut at = 1;
        loop {
            let option = args.try_get(at).ok_or(CommandError::Syntax)?;
            let more = args.len() - at - 1;
            if is(option, "BLOCK") && more > 0 {
                if let Some(why) = no_waiting {
                    return Err(why);
                }
                block_ms = Some(milliseconds(args.get(at + 1))?);
                at += 2;
            } else if is(option, "COUNT") && more > 0 {
                count = usize::try_from(int(args.get(at + 1))?).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
                at += 2;
            } else if is(option, "STREAMS") && more > 0 {
                break;
            } else if is(option, "GROUP") && more > 1 {
                if !for_group {
                    return Err(only_for_groups("GROUP"));
                }
                group = Some((args.get(at + 1), args.get(at + 2)));
                at += 3;
            } else if is(option, "NOACK") {
                if !for_group {
                    return Err(only_for_groups("NOACK"));
                }
                no_ack = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let streams_at = at + 1;
        let named = args.from(streams_at);
        if !named.len().is_multiple_of(2) {
            // Of XREADGROUP too.
            return Err(CommandError::Text(
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            ));
        }
        if for_group && group.is_none() {
            return Err(CommandError::Text("ERR Missing GROUP option for XREADGROUP"));
        }
        let (keys, ids) = (named.up_to(named.len() / 2), named.from(named.len() / 2));
        Ok(Self { group, no_ack, count, block_ms, streams_at, keys, ids })
    }
}

fn only_for_groups(option: &str) -> CommandError {
    CommandError::Said(format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."))
}

/// How long to wait; 0 is for ever.
fn milliseconds(text: &[u8]) -> Result<u64, CommandError> {
    let ms = int(text).map_err(|_| CommandError::Text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(ms).map_err(|_| CommandError::Text("ERR timeout is negative"))
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key …] id [id …]`
pub(in crate::commands) const XREADGROUP: Spec = Spec {
    name: "XREADGROUP",
    arity: Arity::AtLeast(7),
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: WRITE.or(Acl::SLOW).or(Acl::BLOCKING),
    keys: &[streams(4)],
    ttl: Ttl::Of(|args, _| streams_at(args).map_or(Stated::Absent, Stated::Inherits)),
    event: Event::All(events::untold),
    looks: true,
    summary: "The entries nobody of the group was given yet, or those its consumer has not acknowledged.",
    serve: Some(SERVE_GROUP),
    run: xreadgroup,
    ..XREAD
};
fn xreadgroup(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::read_or_refuse(args, no_waiting(cx, args))?;
    let (group, consumer) = options.group.unwrap_or_default();
    let mut wanted = Vec::with_capacity(options.keys.len());
    for (key, from) in options.keys.iter().zip(options.ids.iter()) {
        let key = cx.key(key);
        if cx.keys.collection::<Stream>(key)?.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_such_group(key.bytes, group, " in XREADGROUP with GROUP option"));
        }
        let from = match from {
            b"$" => return Err(CommandError::Text(MEANINGLESS)),
            b">" => None,
            // To redis, the highest id and `>` are one.
            from => Some(ids::id(from)?).filter(|from| *from != Id::MAX),
        };
        wanted.push((key, from));
    }
    let mut replies = Replies::new(cx.out);
    for (key, from) in wanted {
        let reading = Reading { key, group, consumer, no_ack: options.no_ack, count: options.count };
        match from {
            None => {
                reading.news(cx, &mut replies, |group, entries| entries.has_behind(group.last_id))?;
            }
            Some(from) => reading.history(cx, &mut replies, from)?,
        }
    }
    if replies.write(cx.out) {
        return Ok(());
    }
    match options.block_ms {
        Some(block_ms) => wait(cx, args, SERVE_GROUP, &options, block_ms),
        None => cx.out.null_array(),
    }
    Ok(())
}
const MEANINGLESS: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                           consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                           return an empty result set.";

fn take_blocked_for_group(cx: &mut Cx<'_>, key: Key<'_>, request: Args<'_>) -> Result<Option<Effect>, CommandError> {
    const NO_GROUP: CommandError =
        CommandError::Text("NOGROUP the consumer group this client was blocked on no longer exists");
    let options = Options::read(request)?;
    let (group, consumer) = options.group.unwrap_or_default();
    let stream = cx.keys.collection::<Stream>(key)?.ok_or(NO_GROUP)?;
    let last_id = stream.group(group).ok_or(NO_GROUP)?.last_id;
    if stream.entries().last_id() <= last_id {
        return Ok(None);
    }
    let count = blocked_count(&options);
    let mut replies = Replies::new(cx.out);
    Reading { key, group, consumer, no_ack: options.no_ack, count }.news(cx, &mut replies, |_, _| true)?;
    replies.write(cx.out);
    // What it changed is in the log already.
    Ok(Some(Effect::new()))
}

/// What a consumer reads of one stream.
struct Reading<'a> {
    key: Key<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
    count: usize,
}

impl Reading<'_> {
    /// Delivers what nobody of the group was given yet, if `there_is` anything.
    fn news(
        &self,
        cx: &mut Cx<'_>,
        replies: &mut Replies,
        there_is: fn(&Group, &Entries) -> bool,
    ) -> Result<(), CommandError> {
        let now_ms = cx.now.wall_ms;
        let (mut delivered, mut created, mut read) = (Vec::new(), false, None);
        cx.keys.change(self.key, |stream: &mut Stream, _| {
            stream.with_group(self.group, |group, entries| {
                let Some(from) = group.last_id.next().filter(|_| there_is(group, entries)) else { return };
                // A consumer is made only to have something.
                let (number, is_new) = group.see(self.consumer, now_ms);
                created = is_new;
                let items = entries.range(from, Id::MAX).take(self.count).inspect(|item| {
                    group.advance(item.id, entries);
                    if !self.no_ack {
                        let pending = Pending { consumer: number, delivered_ms: now_ms, deliveries: 1 };
                        group.set_pending(item.id, pending);
                        delivered.push(item.id);
                    }
                });
                write_entries(replies.of(self.key), items);
                read = Some((group.last_id, group.entries_read));
            });
            ((), false)
        })?;
        say_created(cx, self.key, created);
        if created && (self.no_ack || delivered.is_empty()) {
            cx.keys.log_also(&[b"XGROUP", b"CREATECONSUMER", self.key.bytes, self.group, self.consumer]);
        }
        if let Some((last_id, entries_read)) = read
            && cx.keys.is_logging()
        {
            self.whose().log(cx, &delivered, now_ms, 1);
            self.whose().log_last(cx, last_id, entries_read);
        }
        Ok(())
    }

    /// Shows what the consumer was given behind an id and has not acknowledged; which counts as one more delivery.
    fn history(&self, cx: &mut Cx<'_>, replies: &mut Replies, from: Id) -> Result<(), CommandError> {
        let now_ms = cx.now.wall_ms;
        let (mut delivered, mut created) = (Vec::new(), false);
        cx.keys.change(self.key, |stream: &mut Stream, _| {
            stream.with_group(self.group, |group, entries| {
                let (number, is_new) = group.see(self.consumer, now_ms);
                created = is_new;
                let pending = from.next().into_iter().flat_map(|from| group.pending_of(number, from));
                let pending: Vec<_> = pending.take(self.count).collect();
                let out = replies.of(self.key);
                out.array(pending.len());
                for (id, was) in pending {
                    match entries.get(id) {
                        None => {
                            out.array(2);
                            out.bulk(id.text());
                            out.null_array();
                        }
                        Some(item) => {
                            write_entry(out, item);
                            let deliveries = was.deliveries.wrapping_add(1);
                            group.set_pending(id, Pending { delivered_ms: now_ms, deliveries, ..was });
                            delivered.push((id, deliveries));
                        }
                    }
                }
            });
            ((), false)
        })?;
        say_created(cx, self.key, created);
        if created {
            cx.keys.log_also(&[b"XGROUP", b"CREATECONSUMER", self.key.bytes, self.group, self.consumer]);
        }
        if cx.keys.is_logging() {
            for same in delivered.chunk_by(|one, other| one.1 == other.1) {
                let ids: Vec<Id> = same.iter().map(|(id, _)| *id).collect();
                self.whose().log(cx, &ids, now_ms, same.first().map_or(1, |(_, deliveries)| *deliveries));
            }
        }
        Ok(())
    }

    fn whose(&self) -> Claimed<'_> {
        Claimed { key: self.key.bytes, group: self.group, consumer: self.consumer }
    }
}

/// Whose entries become, for the log.
pub(super) struct Claimed<'a> {
    pub(super) key: &'a [u8],
    pub(super) group: &'a [u8],
    pub(super) consumer: &'a [u8],
}

impl Claimed<'_> {
    /// Logs that these entries are pending for the consumer, delivered so often and then the last time.
    pub(super) fn log(&self, cx: &mut Cx<'_>, delivered: &[Id], delivered_ms: u64, deliveries: u64) {
        if delivered.is_empty() || !cx.keys.is_logging() {
            return;
        }
        let ids: Vec<_> = delivered.iter().map(|id| id.text()).collect();
        let (time, count) = (delivered_ms.to_string(), (deliveries as i64).to_string());
        let mut record: Vec<&[u8]> = vec![b"XCLAIM", self.key, self.group, self.consumer, b"0"];
        record.extend(ids.iter().map(AsRef::as_ref));
        record.extend([&b"TIME"[..], time.as_bytes(), b"RETRYCOUNT", count.as_bytes(), b"FORCE", b"JUSTID"]);
        cx.keys.log_also(&record);
    }

    /// Logs what the group was given last.
    pub(super) fn log_last(&self, cx: &mut Cx<'_>, last_id: Id, entries_read: Option<u64>) {
        let read = entries_read.map_or_else(|| "-1".to_owned(), |read| (read as i64).to_string());
        let id = last_id.text();
        let (id, read) = (id.as_ref(), read.as_bytes());
        cx.keys.log_also(&[b"XGROUP", b"SETID", self.key, self.group, id, b"ENTRIESREAD", read]);
    }
}
