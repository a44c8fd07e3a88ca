//! Transcripts: what several connections send, played against redis-server and against the node, and the replies compared.
//!
//! A transcript holds no replies: Debian's redis-server 7.0.15, started afresh for it, is the oracle. Every transcript is
//! played four times, on each server in RESP2 and in RESP3, and the bytes of every reply have to be equal, except those
//! that [`compare`] lists by name. Where the two differ, redis is right.
//!
//! One step a line; `A` is any connection's name, and a connection is opened when it is first named:
//!
//! ```text
//! # a remark
//! access guarded           first line only: nobody is anonymous; users app and reader (`server::USERS`) may log in
//! A> SET k "v\x00"         sends a request, waits for its reply
//! A>> BLPOP k 0            sends a request, waits for nothing; several in a row leave in one write
//! A! "PING\r\n"            sends these bytes as they are
//! A<                       waits for a reply, or a message of a channel
//! A< 3                     waits for three
//! A: closed                waits until the server closes the connection
//! A: open bare             opens it without the HELLO 3 that RESP3 otherwise begins with
//! A: close                 closes it from this side
//! A: shut                  says that nothing more will be sent (half-close)
//! A: until ":0\r\n" EXISTS k       asks until this is the reply, which has to come
//! A: scan MATCH a*         SCAN from 0 back to 0, the keys as a set; other connections leave the keys alone
//! A: scan-amid MATCH a*    the same, while 40 other keys come and go between every two calls
//! A: larder "+OK\r\n" CLIENT SETINFO LIB-NAME x    the node's reply, where redis 7.0.15 has no such command
//! blocked 2                waits until so many clients wait in a blocking command
//! 3| A<                    a step that is for RESP3 alone
//! ```
//!
//! A word is bare or in double quotes; quotes take `\r \n \t \\ \" \xHH`. `"x"*1000` is `x` a thousand times, for bare
//! words too. `{ms+5}` and `{s-5}` are the wall clock with an offset, `{proto}` is 2 or 3.

pub mod compare;
pub mod play;
pub mod script;
pub mod server;

use std::collections::BTreeMap;
use std::fmt;

use compare::Verdict;
use play::{Answer, Got, Player};
use script::Script;
use server::Server;

/// How many replies were compared, and how.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Byte for byte.
    pub exact: usize,
    /// By the rule of this name in [`compare::LOOSE`].
    pub loose: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Replies compared by a rule.
    #[must_use]
    pub fn loosely(&self) -> usize {
        self.loose.values().sum()
    }

    /// Adds what another transcript counted.
    pub fn add(&mut self, other: &Self) {
        self.exact += other.exact;
        other.loose.iter().for_each(|(name, count)| *self.loose.entry(name).or_default() += count);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_name: Vec<String> = self.loose.iter().map(|(name, count)| format!("{name} {count}")).collect();
        write!(f, "{} replies compared exactly, {} loosely", self.exact, self.loosely())?;
        if by_name.is_empty() { Ok(()) } else { write!(f, " ({})", by_name.join(", ")) }
    }
}

/// Plays a transcript on both servers in one protocol and compares.
///
/// # Errors
/// Replies differ: every difference, by line.
///
/// # Panics
/// There is no redis-server, or a server does not start.
pub fn run(script: &Script, protocol: u8) -> Result<Tally, String> {
    let play = |server: Server, ours| Player::new(server.address(), protocol, ours).play(script);
    let redis = play(Server::redis(script.guarded), false);
    let node = play(Server::node(script.guarded), true);
    let mut tally = Tally::default();
    let mut differences = Vec::new();
    for (oracle, ours) in redis.iter().zip(&node) {
        match compare::compare(oracle, ours) {
            Verdict::Exact => tally.exact += 1,
            Verdict::Loose(name) => *tally.loose.entry(name).or_default() += 1,
            Verdict::Different(why) => differences.push(difference(oracle, ours, &why)),
        }
    }
    if redis.len() != node.len() {
        differences.push(format!("redis gave {} replies and the node {}", redis.len(), node.len()));
    }
    if differences.is_empty() { Ok(tally) } else { Err(differences.join("\n")) }
}

fn difference(oracle: &Answer, ours: &Answer, why: &str) -> String {
    let request: Vec<String> = oracle.request.iter().map(|word| shortened(word)).collect();
    let (line, request) = (oracle.line, request.join(" "));
    let from = match (&oracle.got, &ours.got) {
        (Got::Reply(a), Got::Reply(b)) => {
            a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0).saturating_sub(CONTEXT)
        }
        _ => 0,
    };
    let shown = |got: &Got| match got {
        Got::Reply(bytes) if from > 0 => format!("… {}", shortened(&bytes[from..])),
        got => got.to_string(),
    };
    format!("line {line}: {request}\n  {why}\n  redis: {}\n  node:  {}", shown(&oracle.got), shown(&ours.got))
}

/// Bytes shown before the first that differs.
const CONTEXT: usize = 100;

/// Bytes for a person to read, the end of long ones left out.
pub(crate) fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    match bytes.get(..SHOWN) {
        Some(head) if bytes.len() > SHOWN => format!("{} … {} more", head.escape_ascii(), bytes.len() - SHOWN),
        _ => bytes.escape_ascii().to_string(),
    }
}
