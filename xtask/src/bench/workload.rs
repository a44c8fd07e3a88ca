//! What clients do, as data: a command over and over, on data that is laid out afresh before each round.

/// One command under load. Holes in braces: see `larder-load`. Keys begin with `app:`, so that a user limited to those can
/// send it too.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Commands and how many times each, on an empty cache. `{n}` counts them.
    pub(super) prepare: Vec<(String, u64)>,
    pub(super) command: String,
    pub(super) keys: u64,
    /// Most operations of a round, where what was laid out is used up.
    pub(super) operations: Option<u64>,
}

impl Workload {
    fn new(name: &'static str, keys: u64, command: &str) -> Self {
        Self { name, prepare: Vec::new(), command: command.to_owned(), keys, operations: None }
    }

    fn on(self, command: &str, times: u64) -> Self {
        Self { prepare: vec![(command.to_owned(), times)], ..self }
    }

    fn at_most(self, operations: u64) -> Self {
        Self { operations: Some(operations), ..self }
    }
}

/// GET or SET of 64 bytes, over more keys than the processor's caches hold.
pub(super) fn strings() -> [Workload; 2] {
    [Workload::new("GET", 1_000_000, "GET app:{key}"), Workload::new("SET", 1_000_000, "SET app:{key} {x64}")]
        .map(|workload| workload.on("SET app:{n} {x64}", 1_000_000))
}

/// The other commands a cache lives on, with values of 64 bytes.
pub(super) fn others() -> Vec<Workload> {
    let ten = |part: &str| [part; 10].join(" ");
    let numbered = |part: &str, count: usize| {
        (0..count).map(|n| part.replace("{i}", &format!("{n:012}"))).collect::<Vec<_>>().join(" ")
    };
    let lists = format!("RPUSH app:{{n%10000}} {}", numbered("{x64}", 100));
    let hashes = format!("HSET app:{{n}} {}", numbered("field:{i} {x64}", 10));
    vec![
        Workload::new("INCR", 200_000, "INCR app:{key}").on("SET app:{n} 10", 200_000),
        Workload::new("LPUSH", 10_000, "LPUSH app:{key} {x64}"),
        Workload::new("LPOP", 10_000, "LPOP app:{n%10000}").on(&lists, 10_000).at_most(1_000_000),
        Workload::new("SADD", 10_000, "SADD app:{key} member:{key}"),
        Workload::new("HSET", 50_000, "HSET app:{key} field:{key%10} {x64}").on(&hashes, 50_000),
        Workload::new("HGET", 50_000, "HGET app:{key} field:{key%10}").on(&hashes, 50_000),
        Workload::new("ZADD", 10_000, "ZADD app:{key} {key} member:{key%100}"),
        Workload::new("ZRANGEBYSCORE 10", 100_000, "ZRANGEBYSCORE app:{key%200} {key} +inf LIMIT 0 10")
            .on("ZADD app:{n%200} {n} member:{n}", 200_000),
        Workload::new("LRANGE 100", 10_000, "LRANGE app:{key} 0 99").on(&lists, 10_000),
        Workload::new("MGET 10", 1_000_000, &format!("MGET {}", ten("app:{key}"))).on("SET app:{n} {x64}", 1_000_000),
        Workload::new("MSET 10", 1_000_000, &format!("MSET {}", ten("app:{key} {x64}")))
            .on("SET app:{n} {x64}", 1_000_000),
        Workload::new("XADD", 1_000, "XADD app:{key} * field {x64}"),
        Workload::new("EVAL", 200_000, "EVAL return(redis.call('INCR',KEYS[1])) 1 app:{key}")
            .on("SET app:{n} 10", 200_000),
    ]
}
