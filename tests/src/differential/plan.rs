//! Who the node is compared with, and by what.

use super::judge::{self, Verdict};
use super::model;
use super::wire::{Wire, request};
use crate::larder::Fakeredis;
use crate::transcript::play::Request;
use crate::transcript::server::Server;

/// A run's other side, what is sent, and how replies are compared.
pub struct Plan {
    /// What the other side is called in what is printed.
    pub oracle: &'static str,
    /// What is sent: the text of the forms.
    pub forms: &'static str,
    /// Requests between two comparisons of everything, after which both are emptied and get other thresholds.
    pub chunk: u64,
    /// Who it is.
    pub side: Side,
    /// Asks what a key holds: the words before it.
    pub probe: &'static str,
    /// Compares its reply to a request, which may be EXEC and answer others, with the node's.
    pub judge: fn(&Request, &[Request], &[u8], &[u8]) -> Verdict,
    /// What shows all that a key of a type holds: `{}` is the key.
    pub contents: &'static [(&'static str, &'static [&'static str])],
}

/// Who the node is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// redis-server, which knows transactions, scripts, databases, payloads, encodings and listings too.
    Redis,
    /// The model.
    Model,
    /// fakeredis.
    Fakeredis,
}

/// Debian's redis-server.
pub const REDIS: Plan = Plan {
    oracle: "redis",
    forms: include_str!("../../differential/commands.txt"),
    chunk: 50_000,
    side: Side::Redis,
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
    // A stream stays in one block of entries, which trims of its kind mind and the model does not.
    chunk: 3_000,
    side: Side::Model,
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

/// fakeredis, which is another's reading of the same: slower, so asked less, and of what it is known to answer as it is
/// documented.
pub const FAKEREDIS: Plan = Plan {
    oracle: "fakeredis",
    forms: include_str!("../../differential/fakeredis.txt"),
    side: Side::Fakeredis,
    judge: judge::fakeredis,
    contents: &[
        ("hash", &["HGETALL {}", "HLEN {}"]),
        ("zset", &["ZRANGE {} 0 -1 WITHSCORES"]),
        ("stream", &["XRANGE {} - +", "XLEN {}", "XPENDING {} group0 - + 10000", "XPENDING {} group1 - + 10000"]),
    ],
    ..MODEL
};

/// The other side of a run, for as long as it runs.
pub(super) struct Oracle {
    _server: Kept,
    pub(super) wire: Wire,
}

/// What ends when it is dropped.
enum Kept {
    Nothing,
    Redis(#[expect(dead_code, reason = "it is there to be dropped")] Server),
    Fakeredis(#[expect(dead_code, reason = "it is there to be dropped")] Fakeredis),
}

impl Plan {
    /// Starts the other side, and connects to it.
    pub(super) fn oracle(&self, protocol: u8) -> Oracle {
        match self.side {
            Side::Redis => {
                let server = Server::redis(false);
                Oracle { wire: Wire::open(server.address(), protocol), _server: Kept::Redis(server) }
            }
            Side::Model => Oracle { wire: Wire::over(model::connect(), protocol), _server: Kept::Nothing },
            Side::Fakeredis => {
                let server = Fakeredis::start();
                Oracle { wire: Wire::open(server.address(), protocol), _server: Kept::Fakeredis(server) }
            }
        }
    }

    /// Whether it is redis.
    #[must_use]
    pub fn is_redis(&self) -> bool {
        self.side == Side::Redis
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
