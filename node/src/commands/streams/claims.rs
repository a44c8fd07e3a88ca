//! Taking over entries that another consumer was given and has not acknowledged: XCLAIM and XAUTOCLAIM.

use super::groups::no_such_group;
use super::reads::Claimed;
use super::{WRITE, ids, say_created, write_entry};
use crate::commands::events::{self, Event};
use crate::commands::parse::{int, is};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::Key;
use crate::db::entry::Stream;
use crate::db::entry::stream::{Entries, Group, Id, Number, Pending};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, Out};

/// Shortest time since an entry's delivery, for it to be taken over: argument 4, below zero as zero.
fn idle_ms_min(args: Args<'_>, invalid: &'static str) -> Result<i64, CommandError> {
    Ok(int(args.get(4)).map_err(|_| CommandError::Text(invalid))?.max(0))
}

/// Whether an entry was left alone so long.
fn is_idle(pending: &Pending, now_ms: u64, idle_ms_min: i64) -> bool {
    idle_ms_min == 0 || now_ms as i64 - pending.delivered_ms as i64 >= idle_ms_min
}

/// What a command changed, for the log.
#[derive(Default)]
struct Effects {
    /// What is pending for the consumer now.
    claimed: Vec<(Id, Pending)>,
    /// What is pending no more as its entry is gone.
    gone: Vec<Id>,
    /// What the group was given last, if that was changed.
    last_id: Option<(Id, Option<u64>)>,
    /// The consumer was made for it.
    created: bool,
}

impl Effects {
    fn log(&self, cx: &mut Cx<'_>, whose: &Claimed<'_>) {
        if !cx.keys.is_logging() {
            return;
        }
        if let Some((id, read)) = self.last_id {
            whose.log_last(cx, id, read);
        }
        if !self.gone.is_empty() {
            let ids: Vec<_> = self.gone.iter().map(|id| id.text()).collect();
            let mut record: Vec<&[u8]> = vec![b"XACK", whose.key, whose.group];
            record.extend(ids.iter().map(AsRef::as_ref));
            cx.keys.log_also(&record);
        }
        for same in self.claimed.chunk_by(|one, other| one.1 == other.1) {
            let ids: Vec<Id> = same.iter().map(|(id, _)| *id).collect();
            if let Some((_, pending)) = same.first() {
                whose.log(cx, &ids, pending.delivered_ms, pending.deliveries);
            }
        }
    }
}

/// `XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-ms] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]`
pub(in crate::commands) const XCLAIM: Spec = Spec {
    name: "XCLAIM",
    family: Family::Stream,
    since: "5.0.0",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    event: Event::All(events::untold),
    looks: true,
    summary: "Makes entries a group was given those of another consumer.",
    reply: "array of the entries taken over, or with JUSTID of their ids",
    run: xclaim,
    ..Spec::ROW
};
fn xclaim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    require_group(cx, key, args.get(2))?;
    let asked = Claiming::read(cx, args)?;
    let (group_name, consumer) = (args.get(2), args.get(3));
    let now_ms = cx.now.wall_ms;
    let mut taken = Out::new(cx.out.protocol());
    let mut effects = Effects::default();
    let mut count = 0;
    cx.keys.change(key, |stream: &mut Stream, _| {
        stream.with_group(group_name, |group, entries| {
            if asked.last_id > group.last_id {
                group.last_id = asked.last_id;
                effects.last_id = Some((group.last_id, group.entries_read));
            }
            // In a replay no time passes: the consumer was seen when it was given the entries.
            let seen_ms = if now_ms == 0 { asked.delivered_ms } else { now_ms };
            let see = |group: &mut Group| group.see(consumer, seen_ms);
            for id in &asked.ids {
                if asked.claim(group, entries, see, *id, now_ms, &mut effects) {
                    count += 1;
                    show(&mut taken, entries, *id, asked.just_id);
                }
            }
        });
        ((), false)
    })?;
    cx.out.array(count);
    cx.out.append(&mut taken);
    say_created(cx, key, effects.created);
    effects.log(cx, &Claimed { key: key.bytes, group: group_name, consumer });
    Ok(())
}

fn require_group(cx: &mut Cx<'_>, key: Key<'_>, group: &[u8]) -> Result<(), CommandError> {
    match cx.keys.collection::<Stream>(key)?.and_then(|stream| stream.group(group)) {
        Some(_) => Ok(()),
        None => Err(no_such_group(key.bytes, group, "")),
    }
}

/// Writes an entry that was taken over, or its id alone.
fn show(out: &mut Out, entries: &Entries, id: Id, just_id: bool) {
    match entries.get(id).filter(|_| !just_id) {
        Some(item) => write_entry(out, item),
        None => out.bulk(id.text()),
    }
}

/// What XCLAIM is asked for.
struct Claiming {
    idle_ms_min: i64,
    ids: Vec<Id>,
    /// When the entries count as delivered, in unix ms.
    delivered_ms: u64,
    /// How often they do; `None` for once more.
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl Claiming {
    fn read(cx: &Cx<'_>, args: Args<'_>) -> Result<Self, CommandError> {
        let idle_ms_min = idle_ms_min(args, "ERR Invalid min-idle-time argument for XCLAIM")?;
        let ids: Vec<Id> = args.iter().skip(5).map_while(|text| ids::id(text).ok()).collect();
        let now_ms = cx.now.wall_ms as i64;
        let mut delivered_ms = None;
        let mut claiming = Self {
            idle_ms_min,
            delivered_ms: 0,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: Id::MIN,
            ids,
        };
        let mut options = args.from(5 + claiming.ids.len()).iter();
        while let Some(option) = options.next() {
            let more = options.len() > 0;
            let mut number = |invalid| int(options.next().unwrap_or_default()).map_err(|_| CommandError::Text(invalid));
            if is(option, "FORCE") {
                claiming.force = true;
            } else if is(option, "JUSTID") {
                claiming.just_id = true;
            } else if is(option, "IDLE") && more {
                let idle_ms = number("ERR Invalid IDLE option argument for XCLAIM")?;
                delivered_ms = Some(now_ms.wrapping_sub(idle_ms));
            } else if is(option, "TIME") && more {
                delivered_ms = Some(number("ERR Invalid TIME option argument for XCLAIM")?);
            } else if is(option, "RETRYCOUNT") && more {
                let count = number("ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                claiming.deliveries = u64::try_from(count).ok();
            } else if is(option, "LASTID") && more {
                claiming.last_id = ids::id(options.next().unwrap_or_default())?;
            } else {
                let option = crate::commands::shown(option, usize::MAX);
                return Err(CommandError::Quoted([b"ERR Unrecognized XCLAIM option '", option, b"'"].concat()));
            }
        }
        // A moment that cannot be is now. A replay has no now: its moments were checked.
        let possible = |at: &i64| *at >= 0 && (cx.replays() || *at <= now_ms);
        claiming.delivered_ms = delivered_ms.filter(possible).unwrap_or(now_ms) as u64;
        Ok(claiming)
    }

    /// Takes one entry over, if it may be; whether it did.
    fn claim(
        &self,
        group: &mut Group,
        entries: &Entries,
        see: impl FnOnce(&mut Group) -> (Number, bool),
        id: Id,
        now_ms: u64,
        effects: &mut Effects,
    ) -> bool {
        let pending = group.pending_at(id);
        if entries.get(id).is_none() {
            if group.acknowledge(id) {
                effects.gone.push(id);
            }
            return false;
        }
        let deliveries = match pending {
            Some(pending) if is_idle(&pending, now_ms, self.idle_ms_min) => pending.deliveries,
            None if self.force => 1,
            _ => return false,
        };
        let more = u64::from(!self.just_id);
        let deliveries = self.deliveries.unwrap_or_else(|| deliveries.wrapping_add(more));
        // A consumer is made only to have something.
        let (consumer, created) = see(group);
        effects.created |= created;
        let pending = Pending { consumer, delivered_ms: self.delivered_ms, deliveries };
        group.set_pending(id, pending);
        effects.claimed.push((id, pending));
        true
    }
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub(in crate::commands) const XAUTOCLAIM: Spec = Spec {
    name: "XAUTOCLAIM",
    since: "6.2.0",
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    event: Event::All(events::untold),
    summary: "Makes entries a group was given long ago those of another consumer.",
    reply: "array: the id to go on from, 0-0 at the end; the entries taken over, or with JUSTID their ids; the ids of those \
            that are gone",
    run: xautoclaim,
    ..XCLAIM
};
fn xautoclaim(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let idle_ms_min = idle_ms_min(args, "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let from = ids::lower(args.get(5))?;
    let (count, just_id) = scan_options(args.from(6))?;
    let key = cx.key(args.get(1));
    require_group(cx, key, args.get(2))?;
    let now_ms = cx.now.wall_ms;
    let mut effects = Effects::default();
    let next = cx.keys.change(key, |stream: &mut Stream, _| {
        let next = stream.with_group(args.get(2), |group, entries| {
            let (found, next) = scan(group, from, count, |id, pending| {
                entries.get(id).is_none() || is_idle(pending, now_ms, idle_ms_min)
            });
            for (id, was) in found {
                if entries.get(id).is_none() {
                    group.acknowledge(id);
                    effects.gone.push(id);
                    continue;
                }
                let deliveries = was.deliveries.wrapping_add(u64::from(!just_id));
                let (consumer, created) = group.see(args.get(3), now_ms);
                effects.created |= created;
                let pending = Pending { consumer, delivered_ms: now_ms, deliveries };
                group.set_pending(id, pending);
                effects.claimed.push((id, pending));
            }
            next
        });
        (next, false)
    })?;
    cx.out.array(3);
    cx.out.bulk(next.flatten().flatten().unwrap_or(Id::MIN).text());
    cx.out.array(effects.claimed.len());
    if let Some(stream) = cx.keys.collection::<Stream>(key)? {
        effects.claimed.iter().for_each(|(id, _)| show(cx.out, stream.entries(), *id, just_id));
    }
    cx.out.array(effects.gone.len());
    effects.gone.iter().for_each(|id| cx.out.bulk(id.text()));
    say_created(cx, key, effects.created);
    effects.log(cx, &Claimed { key: key.bytes, group: args.get(2), consumer: args.get(3) });
    Ok(())
}

/// Reads XAUTOCLAIM's options: how many at most, and whether ids alone are wanted.
fn scan_options(options: Args<'_>) -> Result<(usize, bool), CommandError> {
    /// Redis's: as many ids as fit its memory.
    const COUNT_MAX: i64 = i64::MAX / 16;
    let (mut count, mut just_id) = (100, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is(option, "JUSTID") {
            just_id = true;
        } else if is(option, "COUNT")
            && let Some(value) = options.next()
        {
            let given = int(value).ok().filter(|count| (1..=COUNT_MAX).contains(count));
            count = given.ok_or(CommandError::Text("ERR COUNT must be > 0"))? as usize;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((count, just_id))
}

/// At most `count` of the pending entries from an id on that are wanted, among ten times as many looked at; and where to
/// go on.
fn scan(
    group: &Group,
    from: Id,
    count: usize,
    wanted: impl Fn(Id, &Pending) -> bool,
) -> (Vec<(Id, Pending)>, Option<Id>) {
    let mut found = Vec::new();
    let mut pending = group.pending(from);
    for _ in 0..count.saturating_mul(10) {
        if found.len() == count {
            break;
        }
        let Some((id, one)) = pending.next() else { return (found, None) };
        if wanted(id, &one) {
            found.push((id, one));
        }
    }
    (found, pending.next().map(|(id, _)| id))
}
