//! The parameters: what each is called, what it may be, where it is read and what setting it does.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::buffers::{read_clients, read_output, show_clients, show_output};
use crate::commands::{Classes, Vocabulary};
use crate::db::Policy;
use crate::db::entry::stream::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX};
use crate::engine::{Calls, Engine, Logged, Percentiles};
use crate::server::BACKLOG;

/// One parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Its value as CONFIG GET shows it.
    pub(super) read: fn(&Engine) -> String,
}

/// What a parameter may be set to.
pub(super) enum Kind {
    /// A number within these bounds, inclusive.
    Number {
        least: i64,
        most: i64,
        /// What else forbids this value now.
        refuses: fn(&Engine, i64) -> Option<String>,
        set: fn(&Engine, i64),
    },
    /// At least so many bytes, with redis's units.
    Size(i64, fn(&Engine, i64)),
    /// One of these words, set by its place among them.
    Word(&'static [&'static str], fn(&Engine, i64)),
    /// `yes` or `no`.
    Flag(fn(&Engine, bool)),
    /// Letters that mean a number.
    Letters {
        read: fn(&[u8]) -> Option<i64>,
        /// What is said of other text.
        wrong: &'static str,
        set: fn(&Engine, i64),
    },
    /// Text that is made out as a whole: what setting it does, or what is wrong with it.
    Parsed(fn(&Engine, &str) -> Result<Change, &'static str>),
    /// What it is, for the life of the process.
    Immutable,
    /// What it is, as nothing else is built; the type tells what is no value at all.
    Fixed(Type),
}

/// What a new value does, once nothing can go wrong any more.
pub(super) type Change = Box<dyn FnOnce(&Engine)>;

/// How the values of a fixed parameter look.
pub(super) enum Type {
    Number(i64, i64),
    Memory(i64),
    Flag,
    OneOf(&'static [&'static str]),
    Text,
}

const fn number(
    name: &'static str,
    bounds: (i64, i64),
    read: fn(&Engine) -> String,
    set: fn(&Engine, i64),
) -> Parameter {
    Parameter { name, kind: Kind::Number { least: bounds.0, most: bounds.1, refuses: |_, _| None, set }, read }
}

const fn size(name: &'static str, read: fn(&Engine) -> String, set: fn(&Engine, i64)) -> Parameter {
    Parameter { name, kind: Kind::Size(0, set), read }
}

const fn fixed(name: &'static str, is: Type, read: fn(&Engine) -> String) -> Parameter {
    Parameter { name, kind: Kind::Fixed(is), read }
}

const fn immutable(name: &'static str, read: fn(&Engine) -> String) -> Parameter {
    Parameter { name, kind: Kind::Immutable, read }
}

const ANY: (i64, i64) = (0, i64::MAX);
const INT: (i64, i64) = (0, i32::MAX as i64);
/// Most connections of one listener, as `[node]` bounds them.
const CONNECTIONS_MAX: i64 = 1_000_000;

fn shown(size: &AtomicUsize) -> String {
    size.load(Ordering::Relaxed).to_string()
}

fn store(size: &AtomicUsize, value: i64) {
    size.store(usize::try_from(value).unwrap_or(usize::MAX), Ordering::Relaxed);
}

fn shown32(setting: &AtomicU32) -> String {
    setting.load(Ordering::Relaxed).to_string()
}

fn store32(setting: &AtomicU32, value: i64) {
    setting.store(u32::try_from(value).unwrap_or(u32::MAX), Ordering::Relaxed);
}

fn yes(_: &Engine) -> String {
    "yes".to_owned()
}

fn no(_: &Engine) -> String {
    "no".to_owned()
}

fn zero(_: &Engine) -> String {
    "0".to_owned()
}

fn empty(_: &Engine) -> String {
    String::new()
}

fn hash_entries(engine: &Engine) -> String {
    shown(&engine.db.growth.hash.entries_max)
}

fn set_hash_entries(engine: &Engine, value: i64) {
    store(&engine.db.growth.hash.entries_max, value);
}

fn hash_value(engine: &Engine) -> String {
    shown(&engine.db.growth.hash.value_bytes_max)
}

fn set_hash_value(engine: &Engine, value: i64) {
    store(&engine.db.growth.hash.value_bytes_max, value);
}

fn list_fill(engine: &Engine) -> String {
    engine.db.growth.list.load(Ordering::Relaxed).to_string()
}

fn set_list_fill(engine: &Engine, value: i64) {
    engine.db.growth.list.store(value.clamp(i32::MIN.into(), i32::MAX.into()) as i32, Ordering::Relaxed);
}

fn busy_ms(engine: &Engine) -> String {
    engine.scripts.live.slow_ms().to_string()
}

fn set_busy_ms(engine: &Engine, ms: i64) {
    engine.scripts.live.set_slow_ms(ms.unsigned_abs());
}

fn zset_entries(engine: &Engine) -> String {
    shown(&engine.db.growth.sorted_set.entries_max)
}

fn set_zset_entries(engine: &Engine, value: i64) {
    store(&engine.db.growth.sorted_set.entries_max, value);
}

fn zset_value(engine: &Engine) -> String {
    shown(&engine.db.growth.sorted_set.value_bytes_max)
}

fn set_zset_value(engine: &Engine, value: i64) {
    store(&engine.db.growth.sorted_set.value_bytes_max, value);
}

fn slow_us(engine: &Engine) -> String {
    engine.slow.least(Logged::Slow).to_string()
}

fn set_slow_us(engine: &Engine, us: i64) {
    engine.slow.set_least(Logged::Slow, us);
}

fn slow_entries(engine: &Engine) -> String {
    engine.slow.entries_max(Logged::Slow).to_string()
}

fn set_slow_entries(engine: &Engine, entries: i64) {
    engine.slow.set_entries_max(Logged::Slow, entries.unsigned_abs());
}

/// All parameters; a second name of one is a row of its own.
pub(super) static PARAMETERS: &[Parameter] = &[
    number("slowlog-log-slower-than", (-1, i64::MAX), slow_us, set_slow_us),
    number("slowlog-max-len", ANY, slow_entries, set_slow_entries),
    // Valkey 8.1's.
    number("commandlog-execution-slower-than", (-1, i64::MAX), slow_us, set_slow_us),
    number("commandlog-slow-execution-max-len", ANY, slow_entries, set_slow_entries),
    number(
        "commandlog-request-larger-than",
        (-1, i64::MAX),
        |engine| engine.slow.least(Logged::LargeRequest).to_string(),
        |engine, least| engine.slow.set_least(Logged::LargeRequest, least),
    ),
    number(
        "commandlog-large-request-max-len",
        ANY,
        |engine| engine.slow.entries_max(Logged::LargeRequest).to_string(),
        |engine, entries| engine.slow.set_entries_max(Logged::LargeRequest, entries.unsigned_abs()),
    ),
    number(
        "commandlog-reply-larger-than",
        (-1, i64::MAX),
        |engine| engine.slow.least(Logged::LargeReply).to_string(),
        |engine, least| engine.slow.set_least(Logged::LargeReply, least),
    ),
    number(
        "commandlog-large-reply-max-len",
        ANY,
        |engine| engine.slow.entries_max(Logged::LargeReply).to_string(),
        |engine, entries| engine.slow.set_entries_max(Logged::LargeReply, entries.unsigned_abs()),
    ),
    number(
        "latency-monitor-threshold",
        ANY,
        |engine| engine.slow.latency_ms().to_string(),
        |engine, ms| {
            engine.slow.set_latency_ms(ms.unsigned_abs());
        },
    ),
    Parameter {
        name: "latency-tracking",
        kind: Kind::Flag(|engine, told| engine.percentiles.tell(told)),
        read: |engine| if engine.percentiles.are_told() { yes(engine) } else { no(engine) },
    },
    Parameter {
        name: "latency-tracking-info-percentiles",
        kind: Kind::Parsed(|_, text| {
            let percentiles = Percentiles::read(text)?;
            Ok(Box::new(move |engine| engine.percentiles.set(percentiles)))
        }),
        read: |engine| engine.percentiles.shown(),
    },
    number(
        "tracking-table-max-keys",
        ANY,
        |engine| engine.tracking.keys_max().to_string(),
        |engine, keys| {
            engine.tracking.set_keys_max(keys.unsigned_abs());
        },
    ),
    number(
        "acllog-max-len",
        ANY,
        |engine| engine.acl_log.entries_max().to_string(),
        |engine, entries| {
            engine.acl_log.set_entries_max(entries.unsigned_abs());
        },
    ),
    number("hash-max-listpack-entries", ANY, hash_entries, set_hash_entries),
    number("hash-max-ziplist-entries", ANY, hash_entries, set_hash_entries),
    size("hash-max-listpack-value", hash_value, set_hash_value),
    size("hash-max-ziplist-value", hash_value, set_hash_value),
    number("zset-max-listpack-entries", ANY, zset_entries, set_zset_entries),
    number("zset-max-ziplist-entries", ANY, zset_entries, set_zset_entries),
    size("zset-max-listpack-value", zset_value, set_zset_value),
    size("zset-max-ziplist-value", zset_value, set_zset_value),
    number(
        "set-max-intset-entries",
        ANY,
        |engine| shown(&engine.db.growth.set_ints_max),
        |engine, value| store(&engine.db.growth.set_ints_max, value),
    ),
    number("list-max-listpack-size", (i32::MIN as i64, i32::MAX as i64), list_fill, set_list_fill),
    number("list-max-ziplist-size", (i32::MIN as i64, i32::MAX as i64), list_fill, set_list_fill),
    size(
        "hll-sparse-max-bytes",
        |engine| shown(&engine.db.growth.sparse_bytes_max),
        |engine, bytes| store(&engine.db.growth.sparse_bytes_max, bytes),
    ),
    fixed("stream-node-max-bytes", Type::Memory(0), |_| BLOCK_BYTES_MAX.to_string()),
    fixed("stream-node-max-entries", Type::Number(0, i64::MAX), |_| BLOCK_ENTRIES_MAX.to_string()),
    // Redis 7.2's.
    number(
        "set-max-listpack-entries",
        ANY,
        |engine| shown(&engine.db.growth.set.entries_max),
        |engine, value| store(&engine.db.growth.set.entries_max, value),
    ),
    size(
        "set-max-listpack-value",
        |engine| shown(&engine.db.growth.set.value_bytes_max),
        |engine, value| store(&engine.db.growth.set.value_bytes_max, value),
    ),
    Parameter {
        name: "maxclients",
        kind: Kind::Number {
            least: 1,
            most: u32::MAX as i64,
            refuses: |engine, wanted| {
                if wanted > CONNECTIONS_MAX {
                    return Some(format!(
                        "The operating system is not able to handle the specified number of clients, try with \
                         {CONNECTIONS_MAX}"
                    ));
                }
                (!engine.doors.is_one())
                    .then(|| "each of this cache's listeners has a connections_max of its own".into())
            },
            set: |engine, wanted| engine.doors.set_connections_max(wanted.unsigned_abs()),
        },
        read: |engine| engine.doors.connections_max().to_string(),
    },
    number(
        "timeout",
        INT,
        |engine| engine.doors.idle_timeout_ms().div_ceil(1000).to_string(),
        |engine, seconds| {
            engine.doors.set_idle_timeout_ms(seconds.unsigned_abs() * 1000);
            // Who is silent already has to be timed anew.
            engine.clients.call_all(Calls::LOOK);
        },
    ),
    number(
        "tcp-keepalive",
        INT,
        |engine| engine.doors.keepalive_s().to_string(),
        |engine, seconds| {
            engine.doors.set_keepalive_s(seconds.unsigned_abs());
        },
    ),
    size(
        "maxmemory",
        |engine| engine.db.eviction.limit().to_string(),
        |engine, bytes| engine.db.eviction.set_limit(bytes.unsigned_abs()),
    ),
    Parameter {
        name: "maxmemory-policy",
        kind: Kind::Word(Policy::NAMES, |engine, at| {
            let policy = usize::try_from(at).ok().and_then(|at| Policy::ALL.get(at).copied());
            engine.db.eviction.set_policy(policy.unwrap_or_default());
        }),
        read: |engine| engine.db.eviction.policy().name().to_owned(),
    },
    number(
        "maxmemory-samples",
        (1, i32::MAX as i64),
        |engine| shown32(&engine.db.eviction.samples),
        |engine, value| store32(&engine.db.eviction.samples, value),
    ),
    number(
        "lfu-log-factor",
        INT,
        |engine| shown32(&engine.db.eviction.lfu_log_factor),
        |engine, value| store32(&engine.db.eviction.lfu_log_factor, value),
    ),
    number(
        "lfu-decay-time",
        INT,
        |engine| shown32(&engine.db.eviction.lfu_decay_minutes),
        |engine, value| store32(&engine.db.eviction.lfu_decay_minutes, value),
    ),
    fixed("maxmemory-eviction-tenacity", Type::Number(0, 100), |_| "10".to_owned()),
    number("busy-reply-threshold", ANY, busy_ms, set_busy_ms),
    number("lua-time-limit", ANY, busy_ms, set_busy_ms),
    // Our own; 0 is none.
    number(
        "lua-instruction-limit",
        ANY,
        |engine| engine.scripts.instructions_max.load(Ordering::Relaxed).to_string(),
        |engine, value| engine.scripts.instructions_max.store(value.unsigned_abs(), Ordering::Relaxed),
    ),
    Parameter {
        name: "client-output-buffer-limit",
        kind: Kind::Parsed(|engine, text| {
            let limits = read_output(text, engine.buffers.output())?;
            Ok(Box::new(move |engine| engine.buffers.set_output(&limits)))
        }),
        read: |engine| show_output(&engine.buffers.output()),
    },
    Parameter {
        name: "maxmemory-clients",
        kind: Kind::Parsed(|_, text| {
            let limit = read_clients(text)?;
            Ok(Box::new(move |engine| {
                engine.buffers.set_clients(limit);
                engine.evict_clients();
            }))
        }),
        read: |engine| show_clients(engine.buffers.clients()),
    },
    Parameter {
        name: "client-query-buffer-limit",
        kind: Kind::Size(1 << 20, |engine, bytes| engine.buffers.set_query_bytes_max(bytes.unsigned_abs())),
        read: |engine| engine.buffers.query_bytes_max().to_string(),
    },
    // Our own: one in so many holds of partitions is timed.
    number(
        "lock-hold-sampling",
        (1, u32::MAX as i64),
        |engine| engine.db.holds.every().to_string(),
        |engine, every| engine.db.holds.time_one_in(u32::try_from(every).unwrap_or(u32::MAX)),
    ),
    fixed("proto-max-bulk-len", Type::Memory(1 << 20), |engine| engine.config.limits.resp.bulk_bytes_max.to_string()),
    fixed("appendonly", Type::Flag, no),
    fixed("save", Type::Text, empty),
    Parameter {
        name: "notify-keyspace-events",
        kind: Kind::Letters {
            read: |text| Classes::read(text).map(|classes| i64::from(classes.0)),
            wrong: "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
            set: |engine, classes| engine.set_events(Classes(u32::try_from(classes).unwrap_or_default())),
        },
        read: |engine| engine.events().shown(),
    },
    fixed("activedefrag", Type::Flag, no),
    fixed("lazyfree-lazy-user-del", Type::Flag, yes),
    fixed("lazyfree-lazy-user-flush", Type::Flag, yes),
    fixed("lazyfree-lazy-server-del", Type::Flag, yes),
    fixed("lazyfree-lazy-eviction", Type::Flag, yes),
    fixed("lazyfree-lazy-expire", Type::Flag, yes),
    fixed("list-compress-depth", Type::Number(0, i32::MAX as i64), |_| "0".to_owned()),
    fixed("acl-pubsub-default", Type::OneOf(&["allchannels", "resetchannels"]), |_| "resetchannels".to_owned()),
    immutable("aclfile", empty),
    immutable("databases", |engine| engine.db.databases().to_string()),
    immutable("unixsocket", |engine| {
        engine.doors.unix().map(|unix| unix.path.to_string_lossy().into_owned()).unwrap_or_default()
    }),
    immutable("unixsocketperm", |engine| format!("{:o}", engine.doors.unix().map_or(0, |unix| unix.mode))),
    immutable("cluster-enabled", no),
    // Where the listeners are says the configuration, and who is let in.
    fixed("port", Type::Number(0, u16::MAX as i64), |engine| engine.doors.port(false).to_string()),
    fixed("tls-port", Type::Number(0, u16::MAX as i64), |engine| engine.doors.port(true).to_string()),
    fixed("bind", Type::Text, |engine| engine.doors.bind()),
    fixed("protected-mode", Type::Flag, no),
    immutable("tcp-backlog", |_| BACKLOG.to_string()),
    // Passwords are users', by ACL; there is no master, and no other rhythm.
    Parameter {
        name: "requirepass",
        kind: Kind::Parsed(|engine, password| {
            let default = engine.access.load().user_of(engine.name(), "default", &Vocabulary);
            match password.is_empty() && default.is_some_and(|user| user.enabled && user.nopass) {
                true => Ok(Box::new(|_| {})),
                false => Err("passwords are users' here: ACL SETUSER default resetpass >password, or nopass"),
            }
        }),
        read: empty,
    },
    fixed("masterauth", Type::Text, empty),
    fixed("masteruser", Type::Text, empty),
    fixed("dynamic-hz", Type::Flag, no),
    // What is read is read by workers, and RESTORE always looks deeply.
    immutable("io-threads-do-reads", yes),
    fixed("sanitize-dump-payload", Type::OneOf(&["no", "yes", "clients"]), yes),
    // Nothing that is not there stops writes.
    fixed("stop-writes-on-bgsave-error", Type::Flag, no),
    fixed("min-replicas-to-write", Type::Number(0, i32::MAX as i64), zero),
    fixed("min-slaves-to-write", Type::Number(0, i32::MAX as i64), zero),
    fixed("hz", Type::Number(0, i32::MAX as i64), |_| "10".to_owned()),
    immutable("replicaof", empty),
    immutable("slaveof", empty),
    immutable("daemonize", no),
    immutable("supervised", no),
    immutable("logfile", empty),
    immutable("pidfile", empty),
    immutable("syslog-enabled", no),
    immutable("enable-debug-command", yes),
    immutable("enable-module-command", no),
    immutable("enable-protected-configs", no),
    immutable("io-threads", |engine| engine.config.workers.to_string()),
];
