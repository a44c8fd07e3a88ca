//! The two servers: redis-server as the oracle, and the node.

use std::net::SocketAddr;

use crate::larder::Redis;
use crate::node::{Node, Setup};

/// Who may log in: name, password, and what they may do, in words that redis and an access string share.
pub const USERS: [(&str, &str, &str); 2] = [
    ("app", "app-password", "~* &* +@all"),
    ("reader", "reader-password", "~r:* &r:* -@all +@read +@transaction +publish +subscribe +blpop +ping"),
];
/// The user that is there only where nobody is anonymous, as an anonymous caller may do everything.
const LIMITED: &str = "reader";

/// A server with nothing in it, which runs until it is dropped. `guarded`: nobody is anonymous.
pub enum Server {
    /// The oracle.
    Redis(Redis),
    /// The node, on two workers of this process.
    Node(Node),
}

impl Server {
    /// Starts a redis-server.
    ///
    /// # Panics
    /// There is none on PATH, or it does not start.
    #[must_use]
    pub fn redis(guarded: bool) -> Self {
        Self::Redis(Redis::with(&redis_config(guarded)))
    }

    /// Starts a node.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn node(guarded: bool) -> Self {
        let users = users(guarded).collect();
        Self::Node(Node::start(Setup { anonymous: !guarded, users, ..Setup::default() }))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Redis(redis) => redis.address(),
            Self::Node(node) => node.address(),
        }
    }
}

fn users(guarded: bool) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    USERS.into_iter().filter(move |(name, ..)| guarded || *name != LIMITED)
}

fn redis_config(guarded: bool) -> String {
    let mut lines = String::from("enable-debug-command yes\n");
    for (name, password, rights) in users(guarded) {
        lines.push_str(&format!("user {name} on >{password} resetchannels {rights}\n"));
    }
    if guarded {
        lines.push_str("user default off\n");
    }
    lines
}
