//! What "the same" means: the same bytes, except for the replies listed here by name.

mod acl;
mod server;
mod table;

use std::collections::BTreeSet;

use larder_node::commands;
use larder_node::resp::{Limits, Reply, read_reply};

pub use self::server::{OWN_PARAMETERS, info_exceptions};
use self::server::{client_info, client_list, config, hello, info, slow_entries};
pub use self::table::came_later;
use self::table::{command_entries, docs, is_newer_name, subset};
use super::play::{Answer, Got, Request};

/// What comparing two answers gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same bytes.
    Exact,
    /// The same by the rule of this name.
    Loose(&'static str),
    /// Not the same, and why.
    Different(String),
}

/// Compares a reply of ours with redis' by its own rule; an error says what differs.
type Rule = fn(&Reply, &Reply) -> Result<(), String>;

/// Every reply that is not compared byte for byte: what it answers, why not, and the rule instead. A status (`+OK`,
/// `+QUEUED`), an error and a negative integer are always compared byte for byte, whatever they answer; so are the
/// replies to other commands of the same EXEC.
pub const LOOSE: &[(&str, &str, Rule)] = &[
    ("HELLO", "the connection's number differs: same fields, and the same values but for it", hello),
    (
        "INFO",
        "figures differ: same sections, fields and types, but for `info_exceptions`; Commandstats and Errorstats alone: \
         the same counts",
        info,
    ),
    ("CLIENT ID", "numbers of connections differ: an integer", integer),
    ("CLIENT INFO", "addresses, ages and buffers differ: same fields and types, the rest the same", client_info),
    ("CLIENT LIST", "as CLIENT INFO: the same lines by the same rule", client_list),
    ("SLOWLOG GET", "moments and microseconds differ: the same requests of the same names", slow_entries),
    ("LATENCY LATEST", "moments and milliseconds differ: the same events", slow_entries),
    ("LATENCY HISTORY", "moments and milliseconds differ: as many", slow_entries),
    ("LATENCY HISTOGRAM", "microseconds differ, and so what was called: a map", kinds),
    ("LATENCY DOCTOR", "what was slow differs: text", a_text),
    ("LATENCY GRAPH", "what was slow differs: text", a_text),
    ("MEMORY USAGE", "what keys take differs: two positive integers, or the same", remaining),
    ("MEMORY STATS", "figures differ: the same names with values of the same kinds", figures),
    ("MEMORY DOCTOR", "figures differ: text", a_text),
    ("MEMORY MALLOC-STATS", "another allocator: text", a_text),
    (
        "CONFIG GET",
        "redis has more parameters and another order: the same value, but for some, of each of ours",
        config,
    ),
    ("ACL CAT", "redis has more commands: of its commands those that we have", acl::category),
    ("ACL GENPASS", "passwords differ: as long", acl::password),
    ("ACL LIST", "categories are chosen by their size, single commands have no order: the same rights", acl::users),
    ("ACL GETUSER", "as ACL LIST", acl::users),
    ("ACL LOG", "ages and clients differ: the same refusals", acl::log),
    ("COMMAND", "redis has more commands: the same entry for each that we have", command_entries),
    ("COMMAND COUNT", "redis has more commands: an integer", integer),
    ("COMMAND INFO", "containers have more subcommands in redis: the same entry but for those", command_entries),
    ("COMMAND LIST", "redis has more commands and another order: each of ours is among them", subset),
    ("COMMAND DOCS", "redis has more commands, fields and other words: the same since and group of each of ours", docs),
    ("TIME", "time passes: two numbers", shape),
    ("DEBUG HELP", "redis has more subcommands: lines of text", lines),
    ("DEBUG OBJECT", "redis tells of its heap and its clock too: the same encoding", debug_object),
    ("PTTL", "milliseconds pass: two positive integers, or the same", remaining),
    ("SCAN", "cursors and order differ: the same set of keys", keys),
    ("KEYS", "keys have no order: the same keys", members),
    ("HGETALL", "a hash has no order: the same fields with the same values", fields_with_values),
    ("HKEYS", "a hash has no order: the same fields", members),
    ("HVALS", "a hash has no order: the same values", members),
    ("HSCAN", "a hash has no order: the same fields with the same values", page_of_pairs),
    ("HRANDFIELD", "the choice is random: as many, of the same types", shape),
    ("SMEMBERS", "a set has no order: the same members", members),
    ("SINTER", "a set has no order: the same members", members),
    ("SUNION", "a set has no order: the same members", members),
    ("SDIFF", "a set has no order: the same members", members),
    ("SSCAN", "a set has no order: the same members", page),
    ("SRANDMEMBER", "the choice is random: as many, of the same types", shape),
    ("ZSCAN", "the order of a step differs: the same members with the same scores", page_of_pairs),
    ("ZRANDMEMBER", "the choice is random: as many, of the same types", shape),
    ("XPENDING", "time passes: the same but for how long entries were left alone", moments),
    ("XINFO CONSUMERS", "time passes: the same but for how long consumers were idle", moments),
    ("XINFO STREAM", "moments, and the nodes of redis's tree, differ: the same but for those", moments),
    ("SPOP", "the choice is random: as many, of the same types", shape),
];

/// Compares what redis gave with what the node gave.
#[must_use]
pub fn compare(oracle: &Answer, ours: &Answer) -> Verdict {
    match (&oracle.got, &ours.got) {
        _ if oracle.line != ours.line => Verdict::Different("the transcripts parted".into()),
        (Got::Nothing(_), _) | (_, Got::Nothing(_)) => Verdict::Different("given up".into()),
        (Got::Keys(a), Got::Keys(b)) if a == b => Verdict::Loose("SCAN"),
        (Got::Reply(a), Got::Reply(b)) if !oracle.queued.is_empty() => exec(&oracle.queued, a, b),
        (Got::Reply(a), Got::Reply(b)) => replies(&oracle.request, a, b),
        (a, b) if a == b => Verdict::Exact,
        _ => Verdict::Different("not the same".into()),
    }
}

fn replies(request: &[Vec<u8>], oracle: &[u8], ours: &[u8]) -> Verdict {
    let exact = if oracle == ours { Verdict::Exact } else { Verdict::Different("not the same bytes".into()) };
    let Some((name, _, rule)) = rule_of(request) else { return exact };
    let read = |bytes| read_reply(bytes, &Limits::DEFAULT).ok().flatten().map(|(reply, _)| reply);
    let is_plain = |reply: &Reply| match reply {
        // The one status with something in it that differs.
        Reply::Simple(_) => *name != "DEBUG OBJECT",
        reply => matches!(reply, Reply::Error(_) | Reply::Int(..0)),
    };
    match (read(oracle), read(ours)) {
        (Some(a), Some(b)) if !is_plain(&a) && !is_plain(&b) => match rule(&a, &b) {
            Ok(()) => Verdict::Loose(name),
            Err(why) => Verdict::Different(why),
        },
        _ => exact,
    }
}

/// The replies of one EXEC, each by what it answers.
fn exec(queued: &[Request], oracle: &[u8], ours: &[u8]) -> Verdict {
    let (Some(a), Some(b)) = (elements(oracle), elements(ours)) else { return replies(&[], oracle, ours) };
    if a.len() != b.len() || a.len() != queued.len() {
        return replies(&[], oracle, ours);
    }
    let each = queued.iter().zip(a.into_iter().zip(b)).map(|(request, (a, b))| replies(request, a, b));
    each.fold(Verdict::Exact, |all, one| match (all, one) {
        (Verdict::Different(why), _) | (_, Verdict::Different(why)) => Verdict::Different(why),
        (all, Verdict::Exact) => all,
        (_, loose) => loose,
    })
}

/// The bytes of an array's elements.
pub(crate) fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let end = array.strip_prefix(b"*")?.windows(2).position(|two| two == b"\r\n")?;
    let mut rest = &array[end + 3..];
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (_, length) = read_reply(rest, &Limits::DEFAULT).ok()??;
        let (element, tail) = rest.split_at(length);
        elements.push(element);
        rest = tail;
    }
    Some(elements)
}

/// The rule for a request's reply: of its subcommand, or else of its command.
fn rule_of(request: &[Vec<u8>]) -> Option<&'static (&'static str, &'static str, Rule)> {
    let word = |at: usize| request.get(at).map(|word| String::from_utf8_lossy(word).to_ascii_uppercase());
    let name = word(0)?;
    let has_rows = |spec| commands::subcommands(spec).next().is_some();
    // DEBUG has subcommands, but one row.
    let is_container = name == "DEBUG" || commands::find(name.as_bytes()).is_some_and(has_rows);
    let name = match word(1) {
        Some(sub) if is_container => format!("{name} {sub}"),
        _ => name,
    };
    LOOSE.iter().find(|(loose, ..)| *loose == name)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, oracle: T, ours: T) -> Result<(), String> {
    if oracle == ours { Ok(()) } else { Err(format!("{what}: redis {oracle:?}, node {ours:?}")) }
}

fn same_list(what: &str, oracle: &[String], ours: &[String]) -> Result<(), String> {
    let only =
        |a: &[String], b: &[String]| a.iter().filter(|one| !b.contains(one)).cloned().collect::<Vec<_>>().join(" ");
    match oracle == ours {
        true => Ok(()),
        false => Err(format!("{what}: only redis [{}], only node [{}]", only(oracle, ours), only(ours, oracle))),
    }
}

fn integer(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    match (oracle, ours) {
        (Reply::Int(_), Reply::Int(_)) => Ok(()),
        _ => Err("not two integers".into()),
    }
}

fn remaining(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    match (oracle, ours) {
        (Reply::Int(1..), Reply::Int(1..)) => Ok(()),
        _ => same("milliseconds", oracle, ours),
    }
}

fn keys(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let set = |reply: &Reply| match reply {
        Reply::Array(parts) => match &parts[..] {
            [Reply::Bulk(next), Reply::Array(keys)] if next == b"0" => {
                Some(keys.iter().map(shown).collect::<BTreeSet<_>>())
            }
            _ => None,
        },
        _ => None,
    };
    match (set(oracle), set(ours)) {
        (Some(oracle), Some(ours)) => same("keys", oracle, ours),
        _ => Err("a page that is not the last says nothing: use `scan`".into()),
    }
}

/// The elements of a collection without their order: those of a map in pairs. Scalars are compared as they are.
fn unordered(reply: &Reply, paired: bool) -> Option<Vec<String>> {
    let mut elements: Vec<String> = match reply {
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| shown(name) + &shown(value)).collect(),
        Reply::Array(items) if paired => items.chunks(2).map(|pair| pair.iter().map(shown).collect()).collect(),
        Reply::Array(items) | Reply::Set(items) => items.iter().map(shown).collect(),
        _ => return None,
    };
    elements.sort();
    Some(elements)
}

fn members(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    same("elements", unordered(oracle, false), unordered(ours, false))
}

/// As [`members`], where each field stays with its value.
fn fields_with_values(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    same("pairs", unordered(oracle, true), unordered(ours, true))
}

/// The last page of a scan inside a key.
fn page(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    last_page(oracle, ours, members)
}

fn page_of_pairs(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    last_page(oracle, ours, fields_with_values)
}

fn last_page(oracle: &Reply, ours: &Reply, rule: Rule) -> Result<(), String> {
    let last = |reply: &Reply| match reply {
        Reply::Array(parts) => match &parts[..] {
            [Reply::Bulk(next), elements] if next == b"0" => Some(elements.clone()),
            _ => None,
        },
        _ => None,
    };
    match (last(oracle), last(ours)) {
        (Some(oracle), Some(ours)) => rule(&oracle, &ours),
        _ => Err("a page that is not the last says nothing: ask for a COUNT above the length".into()),
    }
}

fn lines(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let first = |reply: &Reply| match reply {
        Reply::Array(lines) if lines.iter().all(|line| matches!(line, Reply::Simple(_))) => lines.first().cloned(),
        _ => None,
    };
    same("first line", first(oracle), first(ours))
}

/// The same kind of reply, whatever is in it.
fn kinds(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))
}

fn a_text(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", text(oracle).map(|(kind, _)| kind), text(ours).map(|(kind, _)| kind))
}

/// A map of names to figures.
fn figures(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let shape = |reply: &Reply| {
        let value = |value: &Reply| match value {
            Reply::Array(_) | Reply::Map(_) => pairs(value).iter().map(|(name, _)| shown(name)).collect(),
            value => format!("{:?}", std::mem::discriminant(value)),
        };
        pairs(reply).iter().map(|(name, it)| shown(name) + &value(it)).collect::<Vec<_>>()
    };
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    same_list("figures", &shape(oracle), &shape(ours))
}

fn debug_object(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    let encoding = |reply: &Reply| match reply {
        Reply::Simple(line) => {
            String::from_utf8_lossy(line).split(' ').find(|field| field.starts_with("encoding:")).map(str::to_owned)
        }
        _ => None,
    };
    same("encoding", encoding(oracle), encoding(ours))
}

fn shape(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    same("kind", std::mem::discriminant(oracle), std::mem::discriminant(ours))?;
    let length = |reply: &Reply| match reply {
        Reply::Array(items) | Reply::Set(items) => items.len(),
        _ => 1,
    };
    same("elements", length(oracle), length(ours))
}

/// The pairs of a map, or of the array that stands for one in RESP2.
fn pairs(reply: &Reply) -> Vec<(Reply, Reply)> {
    match reply {
        Reply::Map(pairs) => pairs.clone(),
        Reply::Array(items) => items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        _ => Vec::new(),
    }
}

/// The text of a bulk or verbatim string, its kind before it.
fn text(reply: &Reply) -> Option<(&'static str, String)> {
    match reply {
        Reply::Bulk(text) => Some(("bulk", String::from_utf8_lossy(text).into_owned())),
        Reply::Verbatim([b't', b'x', b't'], text) => Some(("verbatim", String::from_utf8_lossy(text).into_owned())),
        _ => None,
    }
}

/// What kind of value a field has.
fn kind(value: &str) -> &'static str {
    let number = |text: &str| !text.is_empty() && text.parse::<f64>().is_ok();
    match value {
        value if value.parse::<i64>().is_ok() => "integer",
        value if number(value) => "number",
        value if value.strip_suffix('%').is_some_and(number) => "percentage",
        value if value.strip_suffix(['B', 'K', 'M', 'G', 'T']).is_some_and(number) => "size",
        value if value.contains('=') => "record",
        _ => "text",
    }
}

/// Replies about streams: the same but for moments, times since, and the inner nodes of a tree.
fn moments(oracle: &Reply, ours: &Reply) -> Result<(), String> {
    fn steady_value(name: &Reply, value: &Reply) -> Reply {
        match (name, value) {
            (Reply::Bulk(name), Reply::Int(0..))
                if [&b"idle"[..], b"seen-time", b"radix-tree-nodes"].contains(&&name[..]) =>
            {
                Reply::Int(0)
            }
            _ => steady(value),
        }
    }
    fn steady(reply: &Reply) -> Reply {
        match reply {
            Reply::Map(pairs) => {
                Reply::Map(pairs.iter().map(|(name, value)| (name.clone(), steady_value(name, value))).collect())
            }
            Reply::Array(items) => match &items[..] {
                // An entry that is pending for a consumer.
                [id @ Reply::Bulk(_), name @ Reply::Bulk(_), Reply::Int(0..), count @ Reply::Int(_)] => {
                    Reply::Array(vec![id.clone(), name.clone(), Reply::Int(0), count.clone()])
                }
                // One of a consumer's own.
                [id @ Reply::Bulk(_), Reply::Int(0..), count @ Reply::Int(_)] => {
                    Reply::Array(vec![id.clone(), Reply::Int(0), count.clone()])
                }
                _ => {
                    let before = std::iter::once(&Reply::Null).chain(items);
                    Reply::Array(before.zip(items).map(|(name, value)| steady_value(name, value)).collect())
                }
            },
            other => other.clone(),
        }
    }
    same("streams", shown(&steady(oracle)), shown(&steady(ours)))
}

fn shown(reply: &Reply) -> String {
    let mut bytes = Vec::new();
    reply.write(&mut bytes);
    bytes.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(request: &str, reply: &str) -> Answer {
        let request = request.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        Answer { line: 1, request, queued: Vec::new(), got: Got::Reply(reply.as_bytes().to_vec()) }
    }

    fn verdict(request: &str, oracle: &str, ours: &str) -> Verdict {
        compare(&answer(request, oracle), &answer(request, ours))
    }

    #[test]
    fn only_listed_replies_are_compared_loosely() {
        assert_eq!(verdict("GET k", "$1\r\na\r\n", "$1\r\na\r\n"), Verdict::Exact);
        assert!(matches!(verdict("GET k", "$1\r\na\r\n", "$1\r\nb\r\n"), Verdict::Different(_)));
        assert!(matches!(verdict("TTL k", ":5\r\n", ":6\r\n"), Verdict::Different(_)));
        assert_eq!(verdict("PTTL k", ":5\r\n", ":6\r\n"), Verdict::Loose("PTTL"));
        assert!(matches!(verdict("PTTL k", ":-1\r\n", ":6\r\n"), Verdict::Different(_)));
        assert_eq!(verdict("client id", ":5\r\n", ":6\r\n"), Verdict::Loose("CLIENT ID"));
        assert!(matches!(verdict("CLIENT GETNAME", "$-1\r\n", "_\r\n"), Verdict::Different(_)));
        assert_eq!(verdict("CLIENT ID", "-ERR x\r\n", "-ERR x\r\n"), Verdict::Exact);
        assert!(matches!(verdict("CLIENT ID", "-ERR x\r\n", "-ERR y\r\n"), Verdict::Different(_)));
        assert!(matches!(verdict("CLIENT ID", ":1\r\n", "-ERR y\r\n"), Verdict::Different(_)));
    }

    #[test]
    fn replies_inside_exec_are_compared_each_by_its_own_rule() {
        let queued = [vec![b"PTTL".to_vec(), b"k".to_vec()], vec![b"GET".to_vec(), b"k".to_vec()]];
        let verdict = |oracle: &str, ours: &str| {
            let of = |reply| Answer { queued: queued.to_vec(), ..answer("EXEC", reply) };
            compare(&of(oracle), &of(ours))
        };
        assert_eq!(verdict("*2\r\n:5\r\n$1\r\na\r\n", "*2\r\n:6\r\n$1\r\na\r\n"), Verdict::Loose("PTTL"));
        assert_eq!(verdict("*2\r\n:-1\r\n$1\r\na\r\n", "*2\r\n:-1\r\n$1\r\na\r\n"), Verdict::Exact);
        assert!(matches!(verdict("*2\r\n:5\r\n$1\r\na\r\n", "*2\r\n:6\r\n$1\r\nb\r\n"), Verdict::Different(_)));
        assert!(matches!(verdict("*2\r\n:5\r\n$1\r\na\r\n", "*1\r\n:6\r\n"), Verdict::Different(_)));
        assert!(matches!(verdict("*-1\r\n", "_\r\n"), Verdict::Different(_)));
        assert_eq!(verdict("*-1\r\n", "*-1\r\n"), Verdict::Exact);
    }

    #[test]
    fn hello_may_differ_in_its_number_alone() {
        let hello = |id: &str, proto: &str| format!("%2\r\n$2\r\nid\r\n{id}\r\n$5\r\nproto\r\n{proto}\r\n");
        assert_eq!(verdict("HELLO 3", &hello(":1", ":3"), &hello(":9", ":3")), Verdict::Loose("HELLO"));
        assert!(matches!(verdict("HELLO 3", &hello(":1", ":3"), &hello(":9", ":2")), Verdict::Different(_)));
        assert!(matches!(verdict("HELLO 3", &hello(":1", ":3"), &hello("$1\r\n9", ":3")), Verdict::Different(_)));
    }

    #[test]
    fn info_has_the_same_fields_of_the_same_kinds() {
        let info = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let oracle = info("# Server\r\na:1\r\nb:1.50K\r\ncmdstat_get:calls=1\r\n");
        let same = |text: &str| verdict("INFO", &oracle, &info(text)) == Verdict::Loose("INFO");
        assert!(same("# Server\r\na:2\r\nb:7B\r\nlarder_version:1\r\n"));
        for text in [
            "# Server\r\na:2\r\n",
            "# Server\r\na:2\r\nb:7\r\n",
            "# Server\r\na:2\r\nb:7B\r\nc:1\r\n",
            "a:2\r\nb:7B\r\n",
        ] {
            assert!(!same(text), "{text}");
        }
        let stats = |text: &str| info(&format!("# Commandstats\r\n{text}"));
        let oracle = stats("cmdstat_a:calls=1,usec=2,failed_calls=0\r\ncmdstat_b:calls=2,usec=7,failed_calls=1\r\n");
        let same = |text: &str| verdict("INFO commandstats", &oracle, &stats(text)) == Verdict::Loose("INFO");
        assert!(same("cmdstat_b:calls=2,usec=0,failed_calls=1\r\ncmdstat_a:calls=1,usec=4,failed_calls=0\r\n"));
        assert!(!same("cmdstat_b:calls=2,usec=0,failed_calls=1\r\ncmdstat_a:calls=1,usec=4,failed_calls=1\r\n"));
    }

    #[test]
    fn client_info_keeps_what_is_steady() {
        let info = |text: &str| format!("${}\r\n{text}\n\r\n", text.len() + 1);
        let same = |text: &str| {
            verdict("CLIENT INFO", &info("id=1 name=x age=0"), &info(text)) == Verdict::Loose("CLIENT INFO")
        };
        assert!(same("id=7 name=x age=3"));
        assert!(!same("id=7 name=y age=3") && !same("id=a name=x age=3") && !same("id=7 name=x"));
    }

    #[test]
    fn entries_are_those_of_redis() {
        let entry = |name: &str, arity: &str| format!("*2\r\n${}\r\n{name}\r\n:{arity}\r\n", name.len());
        let theirs = format!("*3\r\n{}{}*-1\r\n", entry("get", "2"), entry("set", "-3"));
        let same = |ours: &str| verdict("COMMAND", &theirs, ours) == Verdict::Loose("COMMAND");
        assert!(same(&format!("*2\r\n{}*-1\r\n", entry("get", "2"))));
        assert!(!same(&format!("*1\r\n{}", entry("get", "3"))));
        assert!(!same(&format!("*1\r\n{}", entry("gat", "2"))));
    }
}
