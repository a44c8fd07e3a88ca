//! Who the node is compared with, and by what.

use super::judge::{self, Verdict};
use super::model;
use super::wire::{Wire, request};
use crate::transcript::play::Request;
use crate::transcript::server::Server;

/// A run's other side, what is sent, and how replies are compared.
pub struct Plan {
    /// What the other side is called in what is printed.
    pub oracle: &'static str,
    /// What is sent: the text of the forms.
    pub forms: &'static str,
    /// The same of requests whose effect is over in a moment, which are sent before a pause and not compared.
    pub moments: &'static str,
    /// Requests between two comparisons of everything, after which both are emptied and get other thresholds.
    pub chunk: u64,
    /// Whether it is redis, which knows transactions, scripts, databases, payloads, encodings and listings too.
    pub is_redis: bool,
    /// Asks what a key holds: the words before it.
    pub probe: &'static str,
    /// Compares its reply to a request, which may be EXEC and answer others, with the node's.
    pub judge: fn(&Request, &[Request], &[u8], &[u8]) -> Verdict,
    /// What shows all that a key of a type holds: `{}` is the key.
    pub contents: &'static [(&'static str, &'static [&'static str])],
}

/// Debian's redis-server.
pub const REDIS: Plan = Plan {
    oracle: "redis",
    forms: include_str!("../../differential/commands.txt"),
    moments: "",
    chunk: 50_000,
    is_redis: true,
    probe: "OBJECT ENCODING",
    judge: judge::judge,
    contents: &[
        ("string", &["GET {}"]),
        ("list", &["LRANGE {} 0 -1"]),
        ("hash", &["HGETALL {}"]),
        ("set", &["SMEMBERS {}"]),
        ("zset", &["ZRANGE {} 0 -1 WITHSCORES"]),
        ("stream", &["XINFO STREAM {} FULL COUNT 0"]),
    ],
};

/// The model of what redis 7.0 lacks.
pub const MODEL: Plan = Plan {
    oracle: "model",
    forms: include_str!("../../differential/newer.txt"),
    moments: include_str!("../../differential/moments.txt"),
    // A stream stays in one block of entries, which trims of its kind mind and the model does not.
    chunk: 3_000,
    is_redis: false,
    probe: "TYPE",
    judge: judge::newer,
    contents: &[
        ("string", &["GET {}"]),
        ("hash", &["HGETALL {}", "HLEN {}"]),
        ("zset", &["ZRANGE {} 0 -1 WITHSCORES"]),
        ("stream", &["XRANGE {} - +", "XLEN {}", "XPENDING {} group0", "XPENDING {} group1 - + 10000"]),
        ("ReJSON-RL", &["JSON.GET {}"]),
    ],
};

/// The other side of a run, for as long as it runs.
pub(super) struct Oracle {
    _server: Option<Server>,
    pub(super) wire: Wire,
}

impl Plan {
    /// Starts the other side, and connects to it.
    pub(super) fn oracle(&self, protocol: u8) -> Oracle {
        if !self.is_redis {
            return Oracle { _server: None, wire: Wire::over(model::connect(), protocol) };
        }
        let server = Server::redis(false);
        let wire = Wire::open(server.address(), protocol);
        Oracle { _server: Some(server), wire }
    }

    /// What shows all that a key holds, whose type TYPE says.
    pub(super) fn contents(&self, kind: &[u8], key: &[u8]) -> Vec<Request> {
        let kind = kind.strip_prefix(b"+").unwrap_or(kind).trim_ascii();
        let found = self.contents.iter().find(|(name, _)| name.as_bytes() == kind);
        let lines = found.map_or(&["EXISTS {}"][..], |(_, lines)| lines);
        let word = |word: Vec<u8>| if word == b"{}" { key.to_vec() } else { word };
        lines.iter().map(|line| request(line).into_iter().map(word).collect()).collect()
    }

    /// Asks what a key holds.
    pub(super) fn ask_of(&self, key: &[u8]) -> Request {
        [request(self.probe), vec![key.to_vec()]].concat()
    }
}
