//! What a run did: per command how often, how often on a key that was there, each option; encodings crossed.

use std::collections::BTreeMap;
use std::fmt;

/// What was done, by name.
#[derive(Debug, Default)]
pub struct Report {
    commands: BTreeMap<String, Calls>,
    options: BTreeMap<(String, String), u64>,
    crossed: BTreeMap<(String, String), u64>,
    /// Keys that were waited for to expire.
    pub expired: u64,
    /// Transactions that ran.
    pub transactions: u64,
    /// Replies compared by a rule rather than byte for byte.
    pub loose: u64,
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
    /// A request was made from a choice that begins with this word.
    pub fn option(&mut self, command: &[u8], option: &str) {
        let command = String::from_utf8_lossy(command).into_owned();
        *self.options.entry((command, option.to_owned())).or_default() += 1;
    }

    /// A reply came. `existed`: whether the first key was there, if there is a key.
    pub fn called(&mut self, command: &[u8], existed: Option<bool>, is_error: bool) {
        let calls = self.commands.entry(String::from_utf8_lossy(command).to_ascii_uppercase()).or_default();
        calls.all += 1;
        calls.with_key += u64::from(existed.is_some());
        calls.on_existing += u64::from(existed == Some(true) && !is_error);
        calls.errors += u64::from(is_error);
    }

    /// A key changed its encoding.
    pub fn crossed(&mut self, from: &str, to: &str) {
        *self.crossed.entry((from.to_owned(), to.to_owned())).or_default() += 1;
    }

    /// Commands that were called on keys, but on fewer existing ones than this share.
    #[must_use]
    pub fn rarely_on_existing(&self, share: f64) -> Vec<String> {
        let rare = |(_, calls): &(&String, &Calls)| {
            calls.with_key >= 200 && (calls.on_existing as f64) < share * calls.with_key as f64
        };
        self.commands.iter().filter(rare).map(|(name, _)| name.clone()).collect()
    }

    /// Options drawn fewer times than this.
    #[must_use]
    pub fn rare_options(&self, times: u64) -> Vec<String> {
        let rare = self.options.iter().filter(|(_, count)| **count < times);
        rare.map(|((command, option), count)| format!("{command} {option} ({count})")).collect()
    }

    /// Commands that were called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.commands.keys().map(String::as_str)
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
        let crossed: Vec<String> =
            self.crossed.iter().map(|((from, to), count)| format!("{from} to {to} {count}")).collect();
        writeln!(f, "\nencodings crossed: {}", crossed.join(", "))?;
        write!(
            f,
            "{} keys waited for to expire, {} transactions, {} replies compared by a rule",
            self.expired, self.transactions, self.loose
        )
    }
}
