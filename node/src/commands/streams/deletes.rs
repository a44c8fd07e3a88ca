//! Deleting entries with what groups have pending of them: XDELEX and XACKDEL, of Redis 8.2.

use super::trims::references;
use super::{WRITE, ids};
use crate::commands::events::{Class, Event};
use crate::commands::parse::{int, is};
use crate::commands::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::Stream;
use crate::db::entry::stream::{Id, References};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id …]`
pub(in crate::commands) const XDELEX: Spec = Spec {
    name: "XDELEX",
    family: Family::Stream,
    since: "8.2.0",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.or(Flags::FAST),
    acl: WRITE.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::DELETE))],
    ttl: Ttl::Inherited(1),
    event: Event::Is(Class::STREAM, "xdel"),
    summary: "Removes entries, with or without what groups have pending of them, or those alone that no group needs.",
    reply: "array of integers: 1 when it was deleted, 2 when it is still referenced, -1 when it is not there",
    run: xdelex,
    ..Spec::ROW
};
fn xdelex(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    delete(
        cx,
        args,
        2,
        |_| true,
        |stream, id, references| {
            let deleted = match references {
                References::Acked if stream.is_referenced(id) => return Outcome::told(STILL_REFERENCED),
                _ => stream.entries_mut().delete(id),
            };
            let forgot = references == References::Delete && stream.forget(id);
            Outcome { code: if deleted { DELETED } else { NOT_THERE }, deleted, changed: deleted || forgot }
        },
    )
}

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id …]`
pub(in crate::commands) const XACKDEL: Spec = Spec {
    name: "XACKDEL",
    arity: Arity::AtLeast(6),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::UPDATE).or(KeyFlags::DELETE))],
    summary: "Acknowledges entries that a group was given and removes them, or those alone that no other group needs.",
    reply: "array of integers: 1 when it was acknowledged and deleted, 2 when it is still referenced, -1 when the group does \
            not have it pending",
    run: xackdel,
    ..XDELEX
};
fn xackdel(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let group = args.get(2);
    delete(
        cx,
        args,
        3,
        |stream| stream.group(group).is_some(),
        |stream, id, references| {
            if stream.with_group(group, |group, _| group.acknowledge(id)) != Some(true) {
                return Outcome::told(NOT_THERE);
            }
            match references {
                References::Acked if stream.is_referenced(id) => {
                    return Outcome { code: STILL_REFERENCED, deleted: false, changed: true };
                }
                References::Delete => _ = stream.forget(id),
                _ => {}
            }
            // One that was gone before counts as deleted now.
            Outcome { code: DELETED, deleted: stream.entries_mut().delete(id), changed: true }
        },
    )
}

const NOT_THERE: i64 = -1;
const DELETED: i64 = 1;
const STILL_REFERENCED: i64 = 2;

/// What became of one id.
struct Outcome {
    /// What is answered.
    code: i64,
    /// The entry was there and is not any more.
    deleted: bool,
    /// The stream is another one now.
    changed: bool,
}

impl Outcome {
    /// Nothing became of it.
    fn told(code: i64) -> Self {
        Self { code, deleted: false, changed: false }
    }
}

/// Does `each` to the ids that are named from argument `from` on, if the stream is there and `has` what it takes.
fn delete(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    from: usize,
    has: impl FnOnce(&Stream) -> bool,
    mut each: impl FnMut(&mut Stream, Id, References) -> Outcome,
) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let is_there = cx.keys.collection::<Stream>(key)?.is_some_and(has);
    let (ids, references) = options(args.from(from))?;
    if !is_there {
        cx.out.array(ids.len());
        ids.iter().for_each(|_| cx.out.int(NOT_THERE));
        return Ok(());
    }
    let ids = ids.iter().map(ids::id).collect::<Result<Vec<Id>, _>>()?;
    let outcomes = cx.keys.change(key, |stream: &mut Stream, _| {
        let outcomes: Vec<Outcome> = ids.iter().map(|id| each(stream, *id, references)).collect();
        let deleted = outcomes.iter().any(|outcome| outcome.deleted);
        (outcomes, deleted)
    })?;
    let outcomes = outcomes.unwrap_or_default();
    if outcomes.iter().any(|outcome| outcome.changed) {
        cx.keys.changed_within();
    }
    cx.out.array(outcomes.len());
    outcomes.iter().for_each(|outcome| cx.out.int(outcome.code));
    Ok(())
}

/// Reads `[KEEPREF | DELREF | ACKED] IDS numids id [id …]`, in any order.
fn options(words: Args<'_>) -> Result<(Args<'_>, References), CommandError> {
    const NO_NUMBER: CommandError = CommandError::Text("ERR Number of IDs must be a positive integer");
    const TOO_MANY: CommandError = CommandError::Text("ERR The `numids` parameter must match the number of arguments");
    let (mut named, mut references) = (None, None);
    let mut at = 0;
    while let Some(option) = words.try_get(at) {
        at += 1;
        let said = self::references(option).filter(|_| references.is_none());
        if said.is_some() {
            references = said;
        } else if is(option, "IDS")
            && let Some(count) = words.try_get(at)
        {
            let count = int(count).ok().filter(|count| *count > 0).ok_or(NO_NUMBER)?;
            let rest = words.from(at + 1);
            let count = usize::try_from(count).ok().filter(|count| *count <= rest.len()).ok_or(TOO_MANY)?;
            named = Some(rest.up_to(count));
            at += 1 + count;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let ids = named.ok_or(CommandError::Text("ERR IDS option is required"))?;
    Ok((ids, references.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Client, Clock, engine};

    fn client() -> Client {
        let clock = Clock::new();
        Client::new(&engine(&clock), &clock, 0)
    }

    /// A stream of five entries; group `g` was given 1 to 4 and group `h` 1 to 2, and `g` has acknowledged 1.
    fn with_groups() -> Client {
        let mut c = client();
        (1..=5).for_each(|id| _ = c.say(&format!("XADD s {id} f v")));
        for (group, count) in [("g", 4), ("h", 2)] {
            c.say(&format!("XGROUP CREATE s {group} 0"));
            c.say(&format!("XREADGROUP GROUP {group} alice COUNT {count} STREAMS s >"));
        }
        assert_eq!(c.say("XACK s g 1"), ":1|");
        c
    }

    fn pending(c: &mut Client, group: &str) -> String {
        let all = c.say(&format!("XPENDING s {group} - + 10"));
        let ids: Vec<&str> = all.split('|').filter(|word| word.ends_with("-0")).collect();
        ids.join(" ")
    }

    #[test]
    fn an_entry_goes_with_its_references_or_for_want_of_them() {
        let mut c = with_groups();
        assert_eq!(c.say("XDELEX s ACKED IDS 4 1 2 3 5"), "*4|:2|:2|:2|:2|");
        assert_eq!(c.say("XDELEX s IDS 3 1 9 1"), "*3|:1|:-1|:-1|");
        assert_eq!((pending(&mut c, "g"), pending(&mut c, "h")), ("2-0 3-0 4-0".into(), "1-0 2-0".into()));
        assert_eq!(c.say("XDELEX s DELREF IDS 3 1 2 8"), "*3|:-1|:1|:-1|");
        assert_eq!((pending(&mut c, "g"), pending(&mut c, "h")), ("3-0 4-0".into(), String::new()));
        c.say("XGROUP SETID s h $");
        assert_eq!(c.say("XACK s g 3"), ":1|");
        // What is not there and needed by nobody is not there; what a group was not given yet is needed.
        assert_eq!(c.say("XDELEX s IDS 4 3 4 5 2 ACKED"), "*4|:1|:2|:2|:-1|");
        assert_eq!(c.say("XLEN s"), ":2|");
    }

    #[test]
    fn acknowledged_and_deleted_at_once() {
        let mut c = with_groups();
        assert_eq!(c.say("XACKDEL s g ACKED IDS 3 1 2 3"), "*3|:-1|:2|:2|");
        assert_eq!((pending(&mut c, "g"), pending(&mut c, "h")), ("4-0".into(), "1-0 2-0".into()));
        assert_eq!(c.say("XACKDEL s h IDS 1 1"), "*1|:1|");
        assert_eq!(c.say("XACKDEL s h ACKED IDS 1 2"), "*1|:1|");
        assert_eq!(c.say("XLEN s"), ":3|");
        c.say("XREADGROUP GROUP h bob COUNT 2 STREAMS s >");
        assert_eq!(c.say("XACKDEL s g DELREF IDS 2 4 4"), "*2|:1|:-1|");
        assert_eq!(pending(&mut c, "h"), "3-0");
        // Deleted by others, and acknowledged now.
        c.say("XDEL s 3");
        assert_eq!(c.say("XACKDEL s h ACKED IDS 1 3"), "*1|:1|");
        assert_eq!(c.say("XACKDEL s none IDS 2 x y"), "*2|:-1|:-1|");
        assert_eq!(c.say("XACKDEL none g IDS 1 x"), "*1|:-1|");
    }

    #[test]
    fn a_trim_minds_references() {
        let mut c = with_groups();
        assert_eq!(c.say("XTRIM s MAXLEN 0 ACKED"), ":0|");
        c.say("XACK s h 1 2");
        assert_eq!(c.say("XTRIM s ACKED MAXLEN ~ 0"), ":1|");
        assert_eq!(c.say("XTRIM s MINID = 4 DELREF"), ":2|");
        assert_eq!((pending(&mut c, "g"), pending(&mut c, "h")), ("4-0".into(), String::new()));
        assert_eq!(c.say("XADD s DELREF MAXLEN 1 6 f v"), "$3|6-0|");
        assert_eq!((pending(&mut c, "g"), c.say("XLEN s")), (String::new(), ":1|".into()));
        assert_eq!(c.say("XADD s KEEPREF MAXLEN 0 7 f v"), "$3|7-0|");
        assert_eq!(c.say("XLEN s"), ":0|");
    }

    #[test]
    fn errors() {
        let mut c = client();
        c.say("XADD s 1 f v");
        c.say("SET t x");
        let invalid = "-ERR Invalid stream ID specified as stream command argument|";
        let (syntax, number) = ("-ERR syntax error|", "-ERR Number of IDs must be a positive integer|");
        let mismatch = "-ERR The `numids` parameter must match the number of arguments|";
        for (line, want) in [
            ("XDELEX s IDS 1", "-ERR wrong number of arguments for 'xdelex' command|"),
            ("XACKDEL s g IDS 1", "-ERR wrong number of arguments for 'xackdel' command|"),
            ("XDELEX t IDS 0 x", "-WRONGTYPE Operation against a key holding the wrong kind of value|"),
            ("XDELEX s IDS 0 1", number),
            ("XDELEX s IDS x 1", number),
            ("XDELEX s IDS 2 1", mismatch),
            ("XDELEX s IDS 9223372036854775807 1", mismatch),
            ("XDELEX s KEEPREF ACKED IDS 1 1", syntax),
            ("XDELEX s IDS 1 1 2", syntax),
            ("XDELEX s 1 2 3", syntax),
            ("XDELEX s ACKED 1 2 3", syntax),
            ("XDELEX none IDS 1 1 IDS", syntax),
            ("XDELEX s IDS 2 1 x", invalid),
            ("XTRIM s MAXLEN 1 ACKED DELREF", syntax),
            ("XTRIM s ACKED KEEPREF", syntax),
            ("XADD s ACKED DELREF MAXLEN 1 * f v", invalid),
        ] {
            assert_eq!(c.say(line), want, "{line}");
        }
        assert_eq!(c.say("XLEN s"), ":1|");
        assert_eq!(c.say("xdelex s ids 1 9 ids 1 1 acked"), "*1|:1|");
    }
}
