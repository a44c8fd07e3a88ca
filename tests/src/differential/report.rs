//! What a run did: per command how often, how often on a key that was there, each option; encodings crossed; and whether
//! that is what a long run must have done.

use std::collections::BTreeMap;
use std::fmt;

/// The length that the numbers below are of.
const LONG: u64 = 5_000_000;
/// Uses of each option in so many requests.
const USES: u64 = 1_000;
/// Share of the calls of a command with keys that succeed on one that is there.
const ON_EXISTING: f64 = 0.5;
/// Times that each encoding becomes each other one that the type has.
const CROSSINGS: u64 = 100;
/// Times of each of the [`Happening`]s.
const HAPPENINGS: u64 = 1_000;

/// Pairs of encodings that keys must cross in both directions: who shows them, the type by the letter of its keys, both.
const ENCODINGS: &[(&str, &str, &str, &str)] = &[
    ("redis", "string", "int", "embstr"),
    ("redis", "string", "int", "raw"),
    ("redis", "string", "embstr", "raw"),
    ("redis", "hash", "listpack", "hashtable"),
    ("redis", "set", "intset", "hashtable"),
    ("redis", "sorted set", "listpack", "skiplist"),
    ("node", "string", "int", "embstr"),
    ("node", "string", "int", "raw"),
    ("node", "string", "embstr", "raw"),
    ("node", "hash", "listpack", "hashtable"),
    ("node", "set", "intset", "listpack"),
    ("node", "set", "intset", "hashtable"),
    ("node", "set", "listpack", "hashtable"),
    ("node", "sorted set", "listpack", "skiplist"),
];

/// What else must happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A key was given a moment to live, and was next touched when that was over.
    Expired,
    /// A transaction ran.
    Executed,
    /// One did not, because a watched key had changed.
    WatchBroken,
    /// One did not, because a request was refused when it was queued.
    Aborted,
    /// One was discarded.
    Discarded,
    /// The connection went to another database.
    Selected,
    /// What was at a key was dumped and restored by the other server.
    Transplanted,
    /// All keys, or all elements of one, were listed step by step.
    Scanned,
}

const ALL: [Happening; 8] = [
    Happening::Expired,
    Happening::Executed,
    Happening::WatchBroken,
    Happening::Aborted,
    Happening::Discarded,
    Happening::Selected,
    Happening::Transplanted,
    Happening::Scanned,
];

/// What was done, by name.
#[derive(Debug, Default)]
pub struct Report {
    commands: BTreeMap<String, Calls>,
    options: BTreeMap<(String, String), u64>,
    /// Who, the type, from, to.
    crossed: BTreeMap<(String, String, String, String), u64>,
    happened: BTreeMap<Happening, u64>,
    /// Replies accepted as different, by the name of the difference.
    accepted: BTreeMap<String, u64>,
    /// Replies compared by a rule rather than byte for byte.
    pub loose: u64,
    /// Requests sent.
    pub requests: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Calls {
    all: u64,
    with_key: u64,
    /// Succeeded, and the first key was there.
    on_existing: u64,
    errors: u64,
}

impl Report {
    /// A request of this command was made from this choice; 0 times says only that there is such a choice.
    pub fn option(&mut self, command: &str, option: &str, times: u64) {
        // Both words exist once per run, so looking first is cheaper than making two strings each time.
        match self.options.get_mut(&(command.to_owned(), option.to_owned())) {
            Some(count) => *count += times,
            None => drop(self.options.insert((command.to_owned(), option.to_owned()), times)),
        }
    }

    /// A reply came. `existed`: whether the first key was there, if there is a key.
    pub fn called(&mut self, command: String, existed: Option<bool>, is_error: bool) {
        let calls = self.commands.entry(command).or_default();
        calls.all += 1;
        calls.with_key += u64::from(existed.is_some());
        calls.on_existing += u64::from(existed == Some(true) && !is_error);
        calls.errors += u64::from(is_error);
    }

    /// A key changed its encoding, `by` the account of redis or of the node.
    pub fn crossed(&mut self, by: &str, kind: &str, from: &str, to: &str) {
        let crossing = (by.to_owned(), kind.to_owned(), from.to_owned(), to.to_owned());
        *self.crossed.entry(crossing).or_default() += 1;
    }

    /// Something happened.
    pub fn happened(&mut self, what: Happening) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// A difference was accepted.
    pub fn accepted(&mut self, name: &str) {
        *self.accepted.entry(name.to_owned()).or_default() += 1;
    }

    /// Adds what another run did.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        fn add<K: Ord>(all: &mut BTreeMap<K, u64>, more: BTreeMap<K, u64>) {
            more.into_iter().for_each(|(key, count)| *all.entry(key).or_default() += count);
        }
        for (name, more) in other.commands {
            let calls = self.commands.entry(name).or_default();
            calls.all += more.all;
            calls.with_key += more.with_key;
            calls.on_existing += more.on_existing;
            calls.errors += more.errors;
        }
        add(&mut self.options, other.options);
        add(&mut self.crossed, other.crossed);
        add(&mut self.happened, other.happened);
        add(&mut self.accepted, other.accepted);
        self.loose += other.loose;
        self.requests += other.requests;
        self
    }

    /// What a run of this length should have done more often. The bounds are for 5 million requests, and scaled.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let uncrossed =
            self.uncrossed(self.scaled(CROSSINGS)).into_iter().map(|crossing| format!("rarely crossed: {crossing}"));
        let count = |what| self.happened.get(what).copied().unwrap_or(0);
        let seldom = ALL.iter().filter(|what| count(what) < self.scaled(HAPPENINGS));
        let seldom = seldom.map(|what| format!("rarely {what:?}: {}", count(what)));
        self.shortcomings_of_requests().into_iter().chain(uncrossed).chain(seldom).collect()
    }

    /// As [`Report::shortcomings`], of requests alone: options, and keys that are there.
    #[must_use]
    pub fn shortcomings_of_requests(&self) -> Vec<String> {
        let rare = self.rare_options(self.scaled(USES)).into_iter().map(|option| format!("rarely used: {option}"));
        let absent = self.rarely_on_existing(ON_EXISTING);
        rare.chain(absent.into_iter().map(|name| format!("mostly on keys that are not there: {name}"))).collect()
    }

    fn scaled(&self, times: u64) -> u64 {
        (times * self.requests).div_ceil(LONG)
    }

    /// Commands that were called on keys, but on fewer existing ones than this share.
    #[must_use]
    pub fn rarely_on_existing(&self, share: f64) -> Vec<String> {
        let rare = |(_, calls): &(&String, &Calls)| {
            calls.with_key >= 200 && (calls.on_existing as f64) < share * calls.with_key as f64
        };
        let shown = |(name, calls): (&String, &Calls)| format!("{name} ({} of {})", calls.on_existing, calls.with_key);
        self.commands.iter().filter(rare).map(shown).collect()
    }

    /// Options drawn fewer times than this.
    #[must_use]
    pub fn rare_options(&self, times: u64) -> Vec<String> {
        let rare = self.options.iter().filter(|(_, count)| **count < times);
        rare.map(|((command, option), count)| format!("{command} {option} ({count})")).collect()
    }

    fn uncrossed(&self, times: u64) -> Vec<String> {
        let both = ENCODINGS.iter().flat_map(|(by, kind, a, b)| [(by, kind, a, b), (by, kind, b, a)]);
        let count = |(by, kind, a, b): &(&&str, &&str, &&str, &&str)| {
            let crossing = ((**by).to_owned(), (**kind).to_owned(), (**a).to_owned(), (**b).to_owned());
            self.crossed.get(&crossing).copied().unwrap_or(0)
        };
        let rare = both.filter(|crossing| count(crossing) < times);
        rare.map(|crossing @ (by, kind, a, b)| format!("{by}: {kind} {a} to {b} ({})", count(&crossing))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| command | calls | succeeded on an existing key | errors | options |\n| --- | --- | --- | --- | --- |"
        )?;
        for (name, calls) in &self.commands {
            let share = match calls.with_key {
                0 => "no key".to_owned(),
                all => format!("{:.0} %", 100.0 * calls.on_existing as f64 / all as f64),
            };
            let of = self.options.iter().filter(|((command, _), _)| command == name);
            let options: Vec<String> = of.map(|((_, option), count)| format!("{option} {count}")).collect();
            writeln!(f, "| {name} | {} | {share} | {} | {} |", calls.all, calls.errors, options.join(", "))?;
        }
        let crossed = self.crossed.iter().map(|((by, kind, a, b), count)| format!("{by}: {kind} {a} to {b} {count}"));
        writeln!(f, "\nencodings crossed: {}", crossed.collect::<Vec<_>>().join(", "))?;
        let happened = self.happened.iter().map(|(what, count)| format!("{what:?} {count}"));
        writeln!(f, "{}", happened.collect::<Vec<_>>().join(", "))?;
        let accepted = self.accepted.iter().map(|(name, count)| format!("{name} {count}"));
        writeln!(f, "accepted differences: {}", accepted.collect::<Vec<_>>().join(", "))?;
        write!(f, "{} requests, {} replies compared by a rule", self.requests, self.loose)
    }
}
