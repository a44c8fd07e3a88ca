//! The command table: what every command is called, takes, touches, needs and does.
//!
//! One row per command, written in its family's file under `commands/` as one block: the row, the function
//! that runs it, its tests. Everything else reads the table: dispatch, arity, key extraction ([`keys`]), IAM
//! actions, ACL categories, `COMMAND INFO`, the HTTP surface and the documentation. What a command needs that
//! the table cannot say becomes a column, never an `if` on its name somewhere else.

pub mod keys;

mod acl;
mod bitfields;
mod bitmaps;
mod call;
mod client;
mod client_filters;
mod clients;
mod common_subsequence;
mod config;
mod connection;
mod databases;
mod dump;
mod events;
mod floats;
mod functions;
mod geo;
mod hash_expiry;
mod hashes;
mod help;
mod hyper_log_logs;
mod index;
mod introspection;
mod json;
mod keyspace;
mod listing;
mod lists;
mod memory;
mod monitor;
mod objects;
mod parse;
mod pubsub;
mod reference;
mod refused;
mod replicas;
mod scans;
mod scripting;
mod server;
mod sets;
mod shards;
mod slowlog;
mod sort;
mod sorted_sets;
mod spec;
mod streams;
mod strings;
mod substrings;
mod tracking;
mod transactions;

pub use call::Call;
pub(crate) use call::Observed;
pub(crate) use client::describe as describe_client;
pub use events::{Class, Event, Told};
pub(crate) use events::{Classes, told, told_gone};
pub(crate) use listing::may_be_shown;
pub use reference::reference;
pub use refused::{REFUSED, Refused, Why};
pub(crate) use scripting::declares_no_writes;
pub(crate) use spec::Shape;
pub use spec::{
    Acl, Arity, Begin, Beyond, Effect, Family, Find, Flags, Http, KeyFlags, KeySpec, Locks, Run, Serve, Spec, Stated,
    Ttl,
};
pub(crate) use strings::{CONTENT_TYPE, copy as copy_string};
pub(crate) use transactions::{discard, unwatch};

use larder_iam_policies::access::Denied;

use crate::engine::Reason;
use crate::error::CommandError;
use crate::resp::Args;

macro_rules! table {
    ($($family:ident :: $name:ident),+ $(,)?) => {
        const COUNT: usize = [$(stringify!($name)),+].len();
        static SPECS: [Spec; COUNT] = spec::numbered([$($family::$name),+]);
    };
}

// A container's subcommands follow it; `find` answers only top-level names.
table! {
    connection::PING, connection::ECHO, connection::HELLO, connection::AUTH, connection::SELECT,
    connection::QUIT, connection::RESET,
    client::CLIENT, client::CLIENT_ID, client::CLIENT_SETNAME, client::CLIENT_GETNAME, client::CLIENT_SETINFO,
    client::CLIENT_INFO, client::CLIENT_LIST, client::CLIENT_REPLY, client::CLIENT_NO_EVICT, client::CLIENT_NO_TOUCH,
    client::CLIENT_CAPA, tracking::CLIENT_GETREDIR,
    tracking::CLIENT_TRACKING, tracking::CLIENT_TRACKINGINFO, tracking::CLIENT_CACHING, client::CLIENT_HELP,
    clients::CLIENT_KILL, clients::CLIENT_PAUSE, clients::CLIENT_UNPAUSE, clients::CLIENT_UNBLOCK,
    introspection::COMMAND, introspection::COMMAND_COUNT, introspection::COMMAND_INFO,
    introspection::COMMAND_GETKEYS, introspection::COMMAND_GETKEYSANDFLAGS, introspection::COMMAND_LIST,
    introspection::COMMAND_DOCS, introspection::COMMAND_HELP, introspection::INFO,
    server::TIME, server::DEBUG, server::LOLWUT, replicas::WAIT, replicas::WAITAOF, replicas::ROLE,
    acl::ACL, acl::ACL_WHOAMI, acl::ACL_CAT, acl::ACL_GENPASS, acl::ACL_USERS, acl::ACL_LIST, acl::ACL_GETUSER,
    acl::ACL_SETUSER, acl::ACL_DELUSER, acl::ACL_DRYRUN, acl::ACL_LOG, acl::ACL_LOAD, acl::ACL_SAVE, acl::ACL_HELP,
    config::CONFIG, config::CONFIG_GET, config::CONFIG_SET, config::CONFIG_RESETSTAT, config::CONFIG_REWRITE,
    config::CONFIG_HELP,
    monitor::MONITOR, slowlog::SLOWLOG, slowlog::SLOWLOG_GET, slowlog::SLOWLOG_LEN, slowlog::SLOWLOG_RESET, slowlog::SLOWLOG_HELP,
    slowlog::COMMANDLOG, slowlog::COMMANDLOG_GET, slowlog::COMMANDLOG_LEN, slowlog::COMMANDLOG_RESET, slowlog::COMMANDLOG_HELP,
    memory::MEMORY, memory::MEMORY_USAGE, memory::MEMORY_STATS, memory::MEMORY_DOCTOR, memory::MEMORY_MALLOC_STATS,
    memory::MEMORY_PURGE, memory::MEMORY_HELP,
    slowlog::LATENCY_HISTOGRAM, slowlog::LATENCY_DOCTOR, slowlog::LATENCY_GRAPH,
    slowlog::LATENCY, slowlog::LATENCY_LATEST, slowlog::LATENCY_HISTORY, slowlog::LATENCY_RESET, slowlog::LATENCY_HELP,
    strings::SET, strings::GET, strings::GETDEL, strings::GETEX, strings::MGET, strings::MSET,
    strings::INCR, strings::DECR, strings::INCRBY, strings::DECRBY, strings::APPEND, strings::STRLEN, floats::INCRBYFLOAT,
    substrings::SETNX, substrings::MSETNX, substrings::SETEX, substrings::PSETEX, substrings::GETSET, substrings::GETRANGE,
    substrings::SUBSTR, substrings::SETRANGE,
    bitmaps::SETBIT, bitmaps::GETBIT, bitmaps::BITCOUNT, bitmaps::BITPOS, bitmaps::BITOP,
    bitfields::BITFIELD, bitfields::BITFIELD_RO, common_subsequence::LCS,
    hyper_log_logs::PFADD, hyper_log_logs::PFCOUNT, hyper_log_logs::PFMERGE,
    keyspace::DEL, keyspace::UNLINK, keyspace::EXISTS, keyspace::TYPE, keyspace::EXPIRE, keyspace::PEXPIRE,
    keyspace::EXPIREAT, keyspace::PEXPIREAT, keyspace::EXPIRETIME, keyspace::PEXPIRETIME, keyspace::RENAMENX, keyspace::TOUCH,
    keyspace::TTL, keyspace::PTTL, keyspace::PERSIST, keyspace::RENAME, keyspace::DBSIZE,
    listing::SCAN, listing::KEYS, listing::RANDOMKEY, objects::OBJECT, objects::OBJECT_ENCODING, objects::OBJECT_REFCOUNT,
    objects::OBJECT_IDLETIME, objects::OBJECT_FREQ, objects::OBJECT_HELP,
    objects::COPY, databases::MOVE, databases::SWAPDB, dump::DUMP, dump::RESTORE, keyspace::FLUSHDB, keyspace::FLUSHALL,
    sort::SORT, sort::SORT_RO,
    lists::LPUSH, lists::RPUSH, lists::LPOP, lists::RPOP, lists::LLEN, lists::LRANGE,
    lists::LPUSHX, lists::RPUSHX, lists::LINDEX, lists::LSET, lists::LINSERT, lists::LREM, lists::LTRIM, lists::LPOS,
    lists::LMOVE, lists::RPOPLPUSH, lists::LMPOP, lists::BRPOP, lists::BLMPOP, lists::BLPOP,
    lists::BLMOVE, lists::BRPOPLPUSH,
    hashes::HSET, hashes::HMSET, hashes::HSETNX, hashes::HGET, hashes::HMGET, hashes::HGETALL, hashes::HKEYS,
    hashes::HVALS, hashes::HDEL, hashes::HLEN, hashes::HEXISTS, hashes::HSTRLEN, hashes::HINCRBY, floats::HINCRBYFLOAT, hashes::HSCAN,
    hashes::HRANDFIELD,
    hash_expiry::HEXPIRE, hash_expiry::HPEXPIRE, hash_expiry::HEXPIREAT, hash_expiry::HPEXPIREAT, hash_expiry::HTTL,
    hash_expiry::HPTTL, hash_expiry::HEXPIRETIME, hash_expiry::HPEXPIRETIME, hash_expiry::HPERSIST, hash_expiry::HGETEX,
    hash_expiry::HSETEX, hash_expiry::HGETDEL,
    sets::SADD, sets::SREM, sets::SISMEMBER, sets::SMISMEMBER, sets::SCARD, sets::SMEMBERS, sets::SRANDMEMBER,
    sets::SPOP, sets::SMOVE, sets::SINTER, sets::SINTERCARD, sets::SINTERSTORE, sets::SUNION, sets::SUNIONSTORE,
    sets::SDIFF, sets::SDIFFSTORE, sets::SSCAN,
    sorted_sets::ZADD, sorted_sets::ZINCRBY, sorted_sets::ZREM, sorted_sets::ZCARD, sorted_sets::ZSCORE,
    sorted_sets::ZMSCORE, sorted_sets::ZRANK, sorted_sets::ZREVRANK, sorted_sets::ZCOUNT, sorted_sets::ZLEXCOUNT,
    sorted_sets::ZRANGE, sorted_sets::ZREVRANGE, sorted_sets::ZRANGEBYSCORE, sorted_sets::ZREVRANGEBYSCORE,
    sorted_sets::ZRANGEBYLEX, sorted_sets::ZREVRANGEBYLEX, sorted_sets::ZRANGESTORE, sorted_sets::ZREMRANGEBYRANK,
    sorted_sets::ZREMRANGEBYSCORE, sorted_sets::ZREMRANGEBYLEX, sorted_sets::ZPOPMIN, sorted_sets::ZPOPMAX,
    sorted_sets::ZMPOP, sorted_sets::ZRANDMEMBER, sorted_sets::ZSCAN, sorted_sets::ZUNION, sorted_sets::ZINTER,
    sorted_sets::ZDIFF, sorted_sets::ZINTERCARD, sorted_sets::ZUNIONSTORE, sorted_sets::ZINTERSTORE,
    sorted_sets::ZDIFFSTORE, sorted_sets::BZPOPMIN, sorted_sets::BZPOPMAX, sorted_sets::BZMPOP,
    streams::XADD, streams::XLEN, streams::XRANGE, streams::XREVRANGE, streams::XDEL, streams::XDELEX, streams::XACKDEL,
    streams::XTRIM, streams::XSETID,
    streams::XREAD, streams::XREADGROUP, streams::XGROUP, streams::XGROUP_CREATE, streams::XGROUP_SETID, streams::XGROUP_DESTROY,
    streams::XGROUP_CREATECONSUMER, streams::XGROUP_DELCONSUMER, streams::XGROUP_HELP, streams::XACK, streams::XPENDING,
    streams::XCLAIM, streams::XAUTOCLAIM, streams::XINFO, streams::XINFO_STREAM, streams::XINFO_GROUPS, streams::XINFO_CONSUMERS,
    streams::XINFO_HELP,
    json::JSON_SET, json::JSON_GET, json::JSON_MGET, json::JSON_MSET, json::JSON_MERGE, json::JSON_DEL, json::JSON_FORGET,
    json::JSON_CLEAR, json::JSON_TYPE, json::JSON_RESP, json::JSON_NUMINCRBY, json::JSON_NUMMULTBY, json::JSON_TOGGLE,
    json::JSON_STRAPPEND, json::JSON_STRLEN, json::JSON_ARRAPPEND, json::JSON_ARRINDEX, json::JSON_ARRINSERT,
    json::JSON_ARRLEN, json::JSON_ARRPOP, json::JSON_ARRTRIM, json::JSON_OBJKEYS, json::JSON_OBJLEN,
    json::JSON_DEBUG, json::JSON_DEBUG_MEMORY, json::JSON_DEBUG_HELP,
    geo::GEOADD, geo::GEOPOS, geo::GEOHASH, geo::GEODIST, geo::GEORADIUS, geo::GEORADIUS_RO, geo::GEORADIUSBYMEMBER,
    geo::GEORADIUSBYMEMBER_RO, geo::GEOSEARCH, geo::GEOSEARCHSTORE,
    scripting::EVAL, scripting::EVAL_RO, scripting::EVALSHA, scripting::EVALSHA_RO,
    scripting::SCRIPT, scripting::SCRIPT_LOAD, scripting::SCRIPT_EXISTS, scripting::SCRIPT_SHOW, scripting::SCRIPT_FLUSH, scripting::SCRIPT_KILL,
    scripting::SCRIPT_DEBUG, scripting::SCRIPT_HELP,
    functions::FCALL, functions::FCALL_RO, functions::FUNCTION, functions::FUNCTION_LOAD, functions::FUNCTION_DELETE,
    functions::FUNCTION_FLUSH, functions::FUNCTION_LIST, functions::FUNCTION_STATS, functions::FUNCTION_DUMP,
    functions::FUNCTION_RESTORE, functions::FUNCTION_KILL, functions::FUNCTION_HELP,
    pubsub::PUBLISH, pubsub::SUBSCRIBE, pubsub::UNSUBSCRIBE, pubsub::PSUBSCRIBE, pubsub::PUNSUBSCRIBE,
    pubsub::PUBSUB, pubsub::PUBSUB_CHANNELS, pubsub::PUBSUB_NUMSUB, pubsub::PUBSUB_NUMPAT,
    shards::SSUBSCRIBE, shards::SUNSUBSCRIBE, shards::SPUBLISH,
    shards::PUBSUB_SHARDCHANNELS, shards::PUBSUB_SHARDNUMSUB, pubsub::PUBSUB_HELP,
    transactions::MULTI, transactions::EXEC, transactions::DISCARD, transactions::WATCH, transactions::UNWATCH,
}

static INDEX: index::Index = index::Index::build(&SPECS);

/// Every row, subcommands included; a row's [`Spec::bit`] is its place here.
pub fn table() -> &'static [Spec] {
    &SPECS
}

/// The row of a top-level command, by its name in any case.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    INDEX.find(&SPECS, name)
}

/// The row a request means, its subcommand resolved, its arity checked.
///
/// # Errors
/// [`CommandError::Unknown`] for a name or subcommand that is not in the table, unless it is one of [`REFUSED`], whose
/// error says why; [`CommandError::Arity`].
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Spec, CommandError> {
    let spec = named(args)?;
    if spec.arity.admits(args.len()) { Ok(spec) } else { Err(spec.arity_error()) }
}

/// The row a request names, with however many arguments.
#[inline]
pub(crate) fn named(args: Args<'_>) -> Result<&'static Spec, CommandError> {
    let Some(spec) = args.try_get(0).and_then(find) else {
        return Err(refused::refusal(args).unwrap_or_else(|| unknown(args)));
    };
    if spec.is_container() { subcommand(spec, args) } else { Ok(spec) }
}

#[cold]
fn subcommand(container: &'static Spec, args: Args<'_>) -> Result<&'static Spec, CommandError> {
    let Some(name) = args.try_get(1) else { return Ok(container) };
    match subcommands(container).find(|sub| sub.subname().as_bytes().eq_ignore_ascii_case(name)) {
        Some(sub) => Ok(sub),
        None if let Some(refusal) = refused::refusal(args) => Err(refusal),
        None => {
            let hint = format!("'. Try {} HELP.", container.name);
            Err(CommandError::Unknown([b"ERR unknown subcommand '", shown(name, 128), hint.as_bytes()].concat()))
        }
    }
}

/// The rows of a container's subcommands.
pub fn subcommands(container: &'static Spec) -> impl Iterator<Item = &'static Spec> {
    SPECS.iter().filter(move |spec| spec.container().is_some_and(|name| name == container.name))
}

#[cold]
fn unknown(args: Args<'_>) -> CommandError {
    let mut given = Vec::new();
    for arg in args.iter().skip(1) {
        if given.len() >= 128 {
            break;
        }
        let room = 128 - given.len();
        given.extend_from_slice(&[b"'", shown(arg, room), b"' "].concat());
    }
    let name = shown(args.try_get(0).unwrap_or_default(), 128);
    CommandError::Unknown([b"ERR unknown command '", name, b"', with args beginning with: ", &given].concat())
}

/// At most `bytes_max` bytes of what a client sent, up to the first NUL as redis prints it, for an error text.
pub(crate) fn shown(bytes: &[u8], bytes_max: usize) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end.min(bytes_max)]
}

/// What a denied caller is told: redis 7.0's texts, which say nothing about the policy.
#[cold]
pub(crate) fn no_permission(call: &Call<'_>, denied: &Denied) -> CommandError {
    let key = "this user has no permissions to access one of the keys used as arguments";
    let channel = "this user has no permissions to access one of the channels used as arguments";
    match Reason::of(call, denied) {
        None => CommandError::NoAuth,
        Some(Reason::Key) => CommandError::NoPermission(key.into()),
        Some(Reason::Channel) => CommandError::NoPermission(channel.into()),
        Some(Reason::Command | Reason::Auth) => CommandError::NoPermission(
            format!("this user has no permissions to run the '{}' command", call.spec().name.to_ascii_lowercase())
                .into(),
        ),
    }
}

/// What a script is told whose caller may not do what it asks for.
pub(crate) fn not_permitted_in_script(error: CommandError) -> CommandError {
    let CommandError::NoPermission(text) = &error else { return error };
    CommandError::Text(match text {
        text if text.contains("keys") => {
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments"
        }
        text if text.contains("channels") => {
            "ERR The user executing the script can't publish to the channel mentioned in the command"
        }
        _ => "ERR The user executing the script can't run this command or subcommand",
    })
}

/// What EXEC answers for a command that was allowed when it was queued and is no longer.
pub(crate) fn no_longer_permitted(error: &CommandError) -> CommandError {
    let text = error.text();
    let reason = match &*text {
        text if text.contains("keys") => "no permission to touch the specified keys",
        text if text.contains("channels") => {
            "no permission to access one of the channels used as arguments to the command"
        }
        _ => "no permission to execute the command or subcommand",
    };
    CommandError::NoPermission(
        format!(
            "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no \
             longer allowed for the following reason: {reason}"
        )
        .into(),
    )
}

/// What an HTTP client is told that asks for a command its dialect cannot carry.
pub(crate) fn refused_over_http(spec: &Spec, why: &str) -> CommandError {
    CommandError::Said(format!("ERR {} is not available over HTTP: it {why}", spec.name.replace('|', " ")))
}

/// The table's names and categories, for whoever reads access strings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vocabulary;

impl larder_iam_policies::access::Commands for Vocabulary {
    fn bit(&self, name: &str) -> Option<u16> {
        SPECS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)).map(Spec::bit)
    }

    fn name(&self, bit: u16) -> Option<&'static str> {
        SPECS.get(usize::from(bit)).map(|spec| spec.name)
    }

    fn categories(&self) -> &'static [&'static str] {
        Acl::ALL_NAMES
    }

    fn category(&self, name: &str) -> Option<Box<[u16]>> {
        if name.eq_ignore_ascii_case("all") {
            return Some(SPECS.iter().map(Spec::bit).collect());
        }
        let category = Acl::named(name)?;
        Some(SPECS.iter().filter(|spec| spec.acl.has(category)).map(Spec::bit).collect())
    }

    fn subcommands(&self, name: &str) -> Box<[u16]> {
        let of = |spec: &&Spec| spec.container().is_some_and(|container| container.eq_ignore_ascii_case(name));
        SPECS.iter().filter(of).map(Spec::bit).collect()
    }

    fn refuses(&self, name: &str) -> bool {
        REFUSED.iter().any(|refused| refused.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resp::OwnedArgs;
    use crate::time::Now;
    use larder_iam_policies::access::{Asks, Commands, Need};

    fn call(line: &str) -> (OwnedArgs, Result<&'static Spec, CommandError>) {
        let args = OwnedArgs::from_slices(line.split(' '));
        let spec = resolve(args.as_args());
        (args, spec)
    }

    fn needs(line: &str) -> Vec<String> {
        let (args, spec) = call(line);
        let call = Call::of(spec.unwrap(), args.as_args(), Now { wall_ms: 1000, mono_us: 0 });
        let mut needs = Vec::new();
        call.needs(&mut |need| {
            needs.push(
                match need {
                    Need::Key(key, actions) | Need::Channel(key, actions) => {
                        format!("{}:{}", String::from_utf8_lossy(key), actions.names().collect::<Vec<_>>().join("+"))
                    }
                    Need::Look(key) => format!("{}:Read", String::from_utf8_lossy(key)),
                    Need::Cache(actions) => format!("the cache:{}", actions.names().collect::<Vec<_>>().join("+")),
                    other => format!("{other:?}"),
                }
                .replace("cache:", ""),
            );
        });
        needs
    }

    #[test]
    fn names_are_unique_and_found_in_any_case() {
        for (at, spec) in SPECS.iter().enumerate() {
            assert_eq!(usize::from(spec.bit()), at);
            assert_eq!(SPECS.iter().filter(|other| other.name == spec.name).count(), 1, "{}", spec.name);
            if spec.container().is_none() {
                for name in [spec.name.to_owned(), spec.name.to_lowercase()] {
                    assert_eq!(find(name.as_bytes()).unwrap().name, spec.name);
                }
                assert!(find(format!("{}QX", spec.name).as_bytes()).is_none());
            }
        }
        for name in [
            &b""[..],
            b"G",
            b"G\x05T",
            b"GET\0",
            b"subscribf",
            b"unsubscribed",
            b"eval\x7fro",
            b"EVALSHA\x7fRO",
            b"\xff\xff",
        ] {
            assert!(find(name).is_none(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_row_is_documented_and_agrees_with_its_keys() {
        for spec in &SPECS {
            assert!(!spec.summary.is_empty() && !spec.reply.is_empty(), "{}", spec.name);
            assert!(spec.is_read() as u8 + spec.is_write() as u8 <= 1, "{}", spec.name);
            assert_eq!(spec.acl.has(Acl::WRITE), spec.is_write(), "{}", spec.name);
            assert_ne!(spec.acl.has(Acl::FAST), spec.acl.has(Acl::SLOW), "{}", spec.name);
            assert_eq!(spec.flags.has(Flags::FAST), spec.acl.has(Acl::FAST), "{}", spec.name);
            // With as few arguments as it takes, every key is there. "1" is also a number of keys.
            let fewest = usize::try_from(spec.arity.number().unsigned_abs()).unwrap();
            let with_a_key = fewest + usize::from(spec.flags.has(Flags::NO_MANDATORY_KEYS));
            let mut words = vec!["1"; with_a_key];
            if let [KeySpec { begin: Begin::Option(keyword, from, _) | Begin::Keyword(keyword, from), .. }] = spec.keys
            {
                words[usize::try_from(*from).unwrap()] = keyword;
            }
            let args = OwnedArgs::from_slices(words);
            let mut keys = 0;
            keys::each(spec, args.as_args(), &mut |_, _| keys += 1).unwrap();
            assert_eq!(keys > 0, spec.has_keys(), "{}", spec.name);
        }
    }

    #[test]
    fn a_request_needs_what_its_key_flags_imply() {
        assert_eq!(needs("GET k"), ["k:Read"]);
        assert_eq!(needs("SET k v"), ["k:Write"]);
        assert_eq!(needs("SET k v ex 5 get"), ["k:Read+Write"]);
        assert_eq!(needs("MGET a b"), ["a:Read", "b:Read"]);
        assert_eq!(needs("MSET a 1 b 2"), ["a:Write", "b:Write"]);
        assert_eq!(needs("DEL a"), ["a:Write"]);
        assert_eq!(needs("RENAME a b"), ["a:Read+Write", "b:Write"]);
        assert_eq!(needs("INCR a"), ["a:Read+Write"]);
        assert_eq!(needs("SINTERSTORE d a b"), ["d:Write", "a:Read", "b:Read"]);
        assert_eq!(needs("SUNIONSTORE d a b"), ["d:Write", "a:Read", "b:Read"]);
        assert_eq!(needs("SINTERCARD 2 a b LIMIT 1"), ["a:Read", "b:Read"]);
        assert_eq!(needs("SINTERCARD 3 a b"), ["Unknown"]);
        assert_eq!(needs("HGET h f"), ["h:Read"]);
        assert_eq!(needs("BLPOP a b 0"), ["a:Read+Write", "b:Read+Write"]);
        assert_eq!(needs("XREAD COUNT 1 STREAMS a b 0 0"), ["a:Read", "b:Read"]);
        assert_eq!(needs("XREADGROUP GROUP STREAMS STREAMS COUNT 1 STREAMS a >"), ["a:Read"]);
        assert_eq!(needs("XADD a * f v"), ["a:Write"]);
        assert_eq!(needs("PUBLISH c m"), ["c:Publish"]);
        assert_eq!(needs("SUBSCRIBE c d"), ["c:Subscribe", "d:Subscribe"]);
        assert_eq!(needs("SCAN 0"), ["the List"]);
        assert_eq!(needs("FLUSHALL"), ["the Admin"]);
        assert!(needs("PING").is_empty());
    }

    #[test]
    fn the_ttl_is_the_one_the_key_will_have() {
        let ttl = |line: &str, observed: Option<u64>| {
            let (args, spec) = call(line);
            let call = Call::of(spec.unwrap(), args.as_args(), Now { wall_ms: 1000, mono_us: 0 });
            call.with_observed_ttl(observed).ttl_ms()
        };
        assert_eq!(ttl("SET k v", Some(9000)), None);
        assert_eq!(ttl("SET k v EX 5", None), Some(5000));
        assert_eq!(ttl("SET k v PXAT 1500", None), Some(500));
        assert_eq!(ttl("SET k v KEEPTTL", Some(9000)), Some(8000));
        assert_eq!(ttl("SET k v KEEPTTL", None), None);
        assert_eq!(ttl("INCR k", Some(9000)), Some(8000));
        assert_eq!(ttl("EXPIRE k 7", None), Some(7000));
        assert_eq!(ttl("EXPIRE k -7", None), None);
        assert_eq!(ttl("PEXPIREAT k 1700", None), Some(700));
        assert_eq!(ttl("PERSIST k", Some(9000)), None);
        assert_eq!(ttl("GETEX k", Some(9000)), Some(8000));
        assert_eq!(ttl("GET k", Some(9000)), None);
    }

    #[test]
    fn unknown_names_are_answered_as_redis_does() {
        let text = |line: &str| call(line).1.unwrap_err().text().into_owned();
        assert_eq!(text("foo a b"), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
        assert_eq!(text("client foo"), "ERR unknown subcommand 'foo'. Try CLIENT HELP.");
        assert_eq!(text("get"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(text("client id x"), "ERR wrong number of arguments for 'client|id' command");
        let long = format!("foo {} b", "a".repeat(200));
        assert_eq!(text(&long), format!("ERR unknown command 'foo', with args beginning with: '{}' ", "a".repeat(128)));
    }

    #[test]
    fn access_strings_find_their_words() {
        assert_eq!(Vocabulary.bit("get"), Some(strings_bit("GET")));
        assert_eq!(Vocabulary.bit("client|id"), Some(strings_bit("CLIENT|ID")));
        assert!(Vocabulary.category("read").unwrap().contains(&strings_bit("GET")));
        assert!(Vocabulary.category("stream").unwrap().contains(&strings_bit("XADD")));
        assert!(Vocabulary.category("nonsense").is_none());
        assert_eq!(Vocabulary.subcommands("command").len(), 7);
    }

    fn strings_bit(name: &str) -> u16 {
        SPECS.iter().position(|spec| spec.name == name).unwrap() as u16
    }

    #[test]
    fn the_page_has_a_row_for_every_command() {
        let page = reference();
        assert!(
            SPECS
                .iter()
                .filter(|s| !s.is_container())
                .all(|s| page.contains(&format!("`{}`", s.name.replace('|', " "))))
        );
    }

    proptest::proptest! {
        #[test]
        fn key_extraction_names_only_what_is_there(words in proptest::collection::vec("[a-z0-9-]{0,3}", 1..9), row in 0..COUNT) {
            let args = OwnedArgs::from_slices(&words);
            let _ = keys::each(&SPECS[row], args.as_args(), &mut |position, _| {
                assert!(position > 0 && position < words.len());
            });
        }
    }
}
