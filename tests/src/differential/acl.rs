//! The differential test of ACL: users made from random rules, what is told of them, and what they may do: asked with ACL
//! DRYRUN, and tried on a connection of theirs.
//!
//! A round makes one user from a few lists of rules and gives it some requests, so what leads to a difference is the round.

use std::collections::BTreeMap;
use std::fmt;

use larder_node::commands::{self, Flags};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::generate::Forms;
use super::judge::{Verdict, judge};
use super::plan::REDIS;
use super::report::Report;
use super::wire::{Wire, encoded, name, request};
use super::words::World;
use super::{around, forms, shown};
use crate::transcript::compare::came_later;
use crate::transcript::play::Request;
use crate::transcript::server::Server;

/// Differences after which a run ends.
const DIFFERENCES_MAX: usize = 20;
/// Requests that a user is asked about, and as many that it sends.
const REQUESTS: usize = 12;
/// The name of the user that is made.
const USER: &str = "u";
const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "all",
];
/// Patterns of the keys of [`super::words`], and of channels.
const PATTERNS: &[&str] =
    &["*", "s*", "[a-m]*", "[n-z]*", "?[0-4]", "h1", "l*", "z?", "*1", "\\s1", "[^s]*", "nothing", "chan*", "channel"];
const JUNK: &[&str] = &[
    "",
    "foo",
    "~",
    "&",
    "+",
    "-",
    "+@",
    "+@nosuch",
    "-@nosuch",
    "+nosuch",
    "-nosuch",
    "%X~a",
    "%R",
    "%~a",
    "%R~",
    "%RWR~a",
    "(",
    ")",
    "()",
    "(on)",
    "(~a",
    "~a)",
    "+config|nosuch",
    "+get|a",
    "-get|a",
    "+nosuch|a",
    "+select|0|1",
    "#abc",
    "!abc",
    "<none",
    ">",
    "~a b",
    "& a",
    "+GET ",
    "resetkey",
    "RESETKEYS",
    "+@READ",
    "ALLKEYS ",
    "sanitize-payload",
    "skip-sanitize-payload",
    "+client|",
    "-select|0",
    "+config|get|x",
];
/// What answers by what the caller may read is accepted as different (a row of fidelity), so nobody sends it.
const FILTERED: &[&str] = &["KEYS", "SCAN", "DBSIZE", "RANDOMKEY"];

/// What a run did.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// How often something was done.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// A request of a round, and what it got.
struct Asked {
    request: Request,
    /// Sent by the user itself.
    by_user: bool,
}

struct Run {
    servers: [Server; 2],
    admins: Vec<Wire>,
    /// The user's own.
    users: Vec<Wire>,
    protocol: u8,
    forms: Forms,
    world: World,
    random: Xoshiro256PlusPlus,
    tally: Tally,
    round: Vec<Asked>,
    /// Whether this round has shown a difference.
    differs: bool,
    differences: Vec<String>,
}

/// Makes `rounds` users, decided by `seed`, in RESP2 or RESP3.
///
/// # Errors
/// The two differ: each difference, with the round that led to it.
///
/// # Panics
/// A server does not start, or goes away.
pub fn run(seed: u64, rounds: u64, protocol: u8) -> Result<Tally, String> {
    let servers = [Server::redis(true), Server::node(true)];
    let admins = servers.each_ref().map(|server| {
        let mut admin = Wire::open(server.address(), 2);
        let hello = admin.ask(&request(&format!("HELLO {protocol} AUTH app app-password")));
        assert_ne!(hello.first(), Some(&b'-'), "the admin logs in");
        admin
    });
    let admins = admins.into();
    let mut run = Run {
        servers,
        admins,
        users: Vec::new(),
        protocol,
        forms: forms(&REDIS),
        world: World::default(),
        random: Xoshiro256PlusPlus::seed_from_u64(seed),
        tally: Tally::default(),
        round: Vec::new(),
        differs: false,
        differences: Vec::new(),
    };
    for round in 0..rounds {
        if run.differences.len() == DIFFERENCES_MAX {
            break;
        }
        run.round(&format!("RESP{protocol}, seed {seed}, round {round}"));
    }
    match run.differences.len() {
        0 => Ok(run.tally),
        count => Err(format!("{count} differences\n\n{}", run.differences.join("\n\n"))),
    }
}

impl Run {
    fn round(&mut self, called: &str) {
        self.world.set_clock();
        self.round.clear();
        self.differs = false;
        // Not compared: it is there in one only where they differed before.
        self.admins.iter_mut().for_each(|admin| drop(admin.ask(&request(&format!("ACL DELUSER {USER}")))));
        for _ in 0..self.random.random_range(1..4u8) {
            let rules = self.rules();
            let reply = self.as_admin([request(&format!("ACL SETUSER {USER}")), rules].concat(), called);
            self.tally.count(if reply.starts_with(b"+") { "rules taken" } else { "rules refused" });
            self.as_admin(request(&format!("ACL GETUSER {USER}")), called);
        }
        self.as_admin(request("ACL LIST"), called);
        for _ in 0..REQUESTS {
            let asked = self.request();
            let reply = self.as_admin([request(&format!("ACL DRYRUN {USER}")), asked].concat(), called);
            self.tally.count(match reply.as_slice() {
                b"+OK\r\n" => "dry runs allowed",
                _ if contains(&reply, b"permissions to run") => "dry runs without the command",
                _ if contains(&reply, b"key") => "dry runs without the key",
                _ if contains(&reply, b"channel") => "dry runs without the channel",
                _ => "dry runs of errors",
            });
        }
        self.try_out(called);
        self.as_admin(request("ACL LOG 3"), called);
        self.as_admin(request("ACL LOG RESET"), called);
    }

    /// Logs in as the user and sends requests.
    fn try_out(&mut self, called: &str) {
        // It may have been set off or left without a password: both are tried.
        if self.random.random_bool(0.8) {
            self.as_admin(request(&format!("ACL SETUSER {USER} on >pass")), called);
        }
        let protocol = self.protocol;
        self.users = self.servers.each_ref().map(|server| Wire::open(server.address(), 2)).into();
        let hello = request(&format!("HELLO {protocol} AUTH {USER} pass"));
        let reply = self.both(hello, true, called);
        let is_nobody = reply.starts_with(b"-");
        self.tally.count(if is_nobody { "logins refused" } else { "logins" });
        for _ in 0..REQUESTS {
            let request = self.request();
            // Without keys it is about the server: asked about, not done.
            let is_done = !super::wire::all_keys(&request).is_empty() || request[0].ends_with(b"PUBLISH");
            // Whoever is nobody is cut off for more words than these.
            if !is_done || (is_nobody && request.len() > 10) {
                continue;
            }
            let reply = self.both(request, true, called);
            self.tally.count(match reply.starts_with(b"-NOPERM") || contains(&reply, b"-NOPERM") {
                true => "requests refused",
                false if reply.starts_with(b"-") => "requests with errors",
                false => "requests done",
            });
        }
    }

    fn as_admin(&mut self, request: Request, called: &str) -> Vec<u8> {
        self.both(request, false, called)
    }

    /// Asks both servers and compares; redis's reply.
    fn both(&mut self, request: Request, by_user: bool, called: &str) -> Vec<u8> {
        let wires = if by_user { &mut self.users } else { &mut self.admins };
        wires.iter_mut().for_each(|wire| wire.send(&encoded(&request)));
        let replies: Vec<Vec<u8>> = wires.iter_mut().map(Wire::reply).collect();
        let [redis, node] = &replies[..] else { return Vec::new() };
        let verdict = judge(&request, &[], redis, node);
        self.round.push(Asked { request, by_user });
        if let (Verdict::Different(why), false) = (verdict, self.differs) {
            // What follows it in this round follows from it.
            self.differs = true;
            self.differences.push(self.explained(called, &why, redis, node));
            eprintln!("{}\n", self.differences.last().map_or("", String::as_str));
        }
        replies.into_iter().next().unwrap_or_default()
    }

    fn explained(&self, called: &str, why: &str, redis: &[u8], node: &[u8]) -> String {
        let from = redis.iter().zip(node).position(|(a, b)| a != b).unwrap_or(0);
        let made = |asked: &&Asked| asked.request.get(1).is_some_and(|word| word == b"SETUSER");
        let last = self.round.last().into_iter();
        let all = self.round.iter().filter(made).chain(last.clone().filter(|asked| !made(asked)));
        let lines: Vec<String> = all
            .map(|asked| format!("{}> {}", if asked.by_user { USER } else { "app" }, shown(&asked.request)))
            .collect();
        format!(
            "{called}\n  {why}\n  redis: {}\n  node:  {}\n  shown by:\n    {}",
            around(redis, from),
            around(node, from),
            lines.join("\n    ")
        )
    }

    /// Rules for one ACL SETUSER.
    fn rules(&mut self) -> Request {
        let mut rules = Vec::new();
        // By chance alone hardly anything would be allowed.
        if self.random.random_bool(0.3) {
            rules.push(self.any(&["+@all", "+@write", "+@read"]).as_bytes().to_vec());
        }
        if self.random.random_bool(0.15) {
            rules.push(self.any(&["~*", "%R~*", "%RW~*"]).as_bytes().to_vec());
        }
        for _ in 0..self.random.random_range(0..7u8) {
            if self.random.random_bool(0.15) {
                self.selector(&mut rules);
            } else {
                rules.push(self.rule().into_bytes());
            }
        }
        if self.random.random_bool(0.06) {
            let at = self.random.random_range(0..=rules.len());
            rules.insert(at, self.any(JUNK).as_bytes().to_vec());
        }
        rules
    }

    /// A selector, as one word or as several.
    fn selector(&mut self, rules: &mut Request) {
        let inner: Vec<String> = (0..self.random.random_range(0..4u8)).map(|_| self.selector_rule()).collect();
        let text = format!("({})", inner.join(" "));
        match self.random.random_bool(0.5) {
            true => rules.push(text.into_bytes()),
            false => rules.extend(text.split(' ').map(|word| word.as_bytes().to_vec())),
        }
    }

    fn rule(&mut self) -> String {
        match self.random.random_range(0..40u8) {
            0 => "off".into(),
            1 | 2 => "on".into(),
            3 => "nopass".into(),
            4 | 5 => format!(">{}", self.any(&["pass", "other", "p:w"])),
            6 => format!("<{}", self.any(&["pass", "other"])),
            7 => format!(
                "{}{}",
                self.any(&["#", "!"]),
                "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1"
            ),
            8 => "resetpass".into(),
            9 => "reset".into(),
            10 => "clearselectors".into(),
            _ => self.selector_rule(),
        }
    }

    /// A rule that selectors may have too.
    fn selector_rule(&mut self) -> String {
        let sign = if self.random.random_bool(0.65) { '+' } else { '-' };
        match self.random.random_range(0..30u8) {
            0..=4 => format!("~{}", self.any(PATTERNS)),
            5..=8 => format!("%{}~{}", self.any(&["R", "W", "RW", "WR", "r"]), self.any(PATTERNS)),
            9 => "allkeys".into(),
            10 => "resetkeys".into(),
            11..=13 => format!("&{}", self.any(PATTERNS)),
            14 => self.any(&["allchannels", "resetchannels"]).into(),
            15 => self.any(&["+@all", "-@all", "allcommands", "nocommands"]).into(),
            16..=21 => format!("{sign}@{}", self.any(CATEGORIES)),
            22 => format!("{sign}select|{}", self.random.random_range(0..3u8)),
            _ => format!("{sign}{}", self.command()),
        }
    }

    /// The name of a command that both have.
    fn command(&mut self) -> String {
        loop {
            let spec = &commands::table()[self.random.random_range(0..commands::table().len())];
            if !came_later(spec) {
                return spec.name.to_ascii_lowercase();
            }
        }
    }

    /// A request that rights decide about.
    fn request(&mut self) -> Request {
        let channel = self.any(&["channel", "chan1", "s1", "nothing", "x"]);
        match self.random.random_range(0..20u8) {
            0 => request(&format!("PUBLISH {channel} m")),
            1 => request(&format!("SPUBLISH {channel} m")),
            2 => request(&format!("{} {channel} s1", self.any(&["SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE"]))),
            3 => request(&format!("PSUBSCRIBE {}", self.any(PATTERNS))),
            4 => request(&format!("SELECT {}", self.random.random_range(0..3u8))),
            5 => request(&format!("OBJECT {} s1", self.any(&["ENCODING", "FREQ", "HELP"]))),
            6 => request(self.any(&[
                "ACL WHOAMI",
                "CLIENT ID",
                "CONFIG GET maxmemory",
                "PING",
                "ECHO s1",
                "INFO",
                "NOSUCH s1",
                "GET",
                "CLIENT",
                "CONFIG NOSUCH",
                "AUTH a",
                "COMMAND COUNT",
                "SCRIPT LOAD x",
                "MULTI",
                "FLUSHALL",
            ])),
            7 => {
                let inner = self.any(&[
                    "return redis.call('get',KEYS[1])",
                    "return redis.pcall('set',KEYS[1],'v')",
                    "return redis.call('acl','whoami')",
                    "return 1",
                ]);
                let key = self.any(&["s1", "h1", "n2", "z3"]);
                vec![b"EVAL".to_vec(), inner.as_bytes().to_vec(), b"1".to_vec(), key.as_bytes().to_vec()]
            }
            _ => loop {
                let Self { forms, world, random, .. } = self;
                let requests = forms.draw(true, world, &mut Report::default(), random);
                // Several belong together; what would not wait inside MULTI waits here.
                if let Ok([request]) = <[Request; 1]>::try_from(requests)
                    && !FILTERED.iter().any(|name| request[0] == name.as_bytes())
                    && !waits(&request)
                {
                    break request;
                }
            },
        }
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }
}

fn waits(request: &Request) -> bool {
    let is_blocking = commands::find(&request[0]).is_some_and(|spec| spec.flags.has(Flags::BLOCKING));
    is_blocking || name(request) == "WAIT"
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
