//! What clients may make the node hold for them beside the data: replies they do not read, requests they do not finish,
//! and all of that together.
//!
//! Redis's `client-output-buffer-limit`, `client-query-buffer-limit` and `maxmemory-clients`. A connection looks at its own
//! hard limits where what it holds changes; soft limits and the sum are looked at by whoever sweeps.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Redis's kinds of clients whose replies are bounded each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Who asks and is answered.
    Normal,
    /// A replica: there are none yet.
    Replica,
    /// Who listens to channels.
    Pubsub,
}

impl Class {
    const NAMES: [&str; 3] = ["normal", "slave", "pubsub"];

    fn read(name: &str) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let name = if name == "replica" { "slave" } else { &name };
        Self::NAMES.iter().position(|each| *each == name)
    }
}

/// How many bytes of replies may wait for one client; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// More are never held: the client is cut.
    pub hard_bytes: u64,
    /// More are held for `soft_s` seconds on end, and no longer.
    pub soft_bytes: u64,
    /// Seconds.
    pub soft_s: u64,
}

/// The limits of each [`Class`].
pub type OutputLimits = [OutputLimit; 3];

/// What a cache starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferLimits {
    /// Of unread replies.
    pub output: OutputLimits,
    /// Of all clients together: bytes, 0 for no limit; below 0, percent of `maxmemory`.
    pub clients: i64,
}

impl Default for BufferLimits {
    fn default() -> Self {
        let limit = |hard_bytes, soft_bytes, soft_s| OutputLimit { hard_bytes, soft_bytes, soft_s };
        let output = [OutputLimit::default(), limit(256 << 20, 64 << 20, 60), limit(32 << 20, 8 << 20, 60)];
        Self { output, clients: 0 }
    }
}

/// Limits as redis writes them: `class hard soft seconds …`. Classes that are not named keep what `limits` says.
///
/// # Errors
/// What is wrong, in redis's words.
pub fn read_output(text: &str, limits: OutputLimits) -> Result<OutputLimits, &'static str> {
    let (words, mut limits) = (text.split(' ').collect::<Vec<_>>(), limits);
    if text.is_empty() {
        return Ok(limits);
    }
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.");
    }
    for four in words.chunks_exact(4) {
        let [class, hard, soft, seconds] = four else { continue };
        let class = Class::read(class).ok_or("Invalid client class specified in buffer limit configuration.")?;
        let bytes = |text: &str| size(text).map(i64::unsigned_abs);
        let seconds = seconds.parse::<u32>().ok().map(u64::from);
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_s)) = (bytes(hard), bytes(soft), seconds) else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        };
        if let Some(limit) = limits.get_mut(class) {
            *limit = OutputLimit { hard_bytes, soft_bytes, soft_s };
        }
    }
    Ok(limits)
}

/// Limits as [`read_output`] takes them.
pub(crate) fn show_output(limits: &OutputLimits) -> String {
    let mut text = String::new();
    for (name, OutputLimit { hard_bytes, soft_bytes, soft_s }) in Class::NAMES.iter().zip(limits) {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{space}{name} {hard_bytes} {soft_bytes} {soft_s}");
    }
    text
}

/// A limit of all clients: bytes, or percent of `maxmemory`, as [`BufferLimits::clients`] holds it.
///
/// # Errors
/// What is wrong, in redis's words.
pub fn read_clients(text: &str) -> Result<i64, &'static str> {
    let wrong = "argument must be a memory or percent value";
    match text.strip_suffix('%') {
        None => size(text).ok_or(wrong),
        Some(percent) if !percent.is_empty() && percent.bytes().all(|byte| byte.is_ascii_digit()) => {
            let percent = percent.parse::<i64>().ok().filter(|percent| *percent <= 100);
            percent.map(|percent| -percent).ok_or("percentage argument must be less or equal to 100")
        }
        Some(_) => Err(wrong),
    }
}

/// A limit as [`read_clients`] takes it.
pub(crate) fn show_clients(limit: i64) -> String {
    if limit < 0 { format!("{}%", -limit) } else { limit.to_string() }
}

/// A number of bytes with redis's units: `1kb` is 1024, `1k` is 1000.
pub(crate) fn size(text: &str) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// Why a client is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More replies waited for it than may.
    Output,
    /// A request of it was too long.
    Query,
    /// All clients together held too much, and it most.
    Evicted,
}

/// The limits in force, and how often they were met.
#[derive(Debug)]
pub(crate) struct Buffers {
    output: [[AtomicU64; 3]; 3],
    clients: AtomicI64,
    query_bytes_max: AtomicU64,
    /// CONFIG SET spoke: what a listener is opened with does not count any more.
    is_set: AtomicBool,
    /// Bytes of messages that may wait for a client whose class has no limit, and who did not ask for channels.
    unasked_bytes_max: u64,
    cuts: [AtomicU64; 3],
}

/// Redis's `client-query-buffer-limit`.
const QUERY_BYTES_MAX: u64 = 1 << 30;

impl Buffers {
    pub(crate) fn new(unasked_bytes_max: usize) -> Self {
        let buffers = Self {
            output: Default::default(),
            clients: AtomicI64::new(0),
            query_bytes_max: AtomicU64::new(QUERY_BYTES_MAX),
            is_set: AtomicBool::new(false),
            unasked_bytes_max: unasked_bytes_max as u64,
            cuts: Default::default(),
        };
        buffers.opened_with(&BufferLimits::default());
        buffers
    }

    /// A listener is opened with these limits.
    pub(crate) fn opened_with(&self, limits: &BufferLimits) {
        if !self.is_set.load(Ordering::Relaxed) {
            self.store_output(&limits.output);
            self.clients.store(limits.clients, Ordering::Relaxed);
        }
    }

    fn store_output(&self, limits: &OutputLimits) {
        for (cells, limit) in self.output.iter().zip(limits) {
            let values = [limit.hard_bytes, limit.soft_bytes, limit.soft_s];
            cells.iter().zip(values).for_each(|(cell, value)| cell.store(value, Ordering::Relaxed));
        }
    }

    pub(crate) fn set_output(&self, limits: &OutputLimits) {
        self.is_set.store(true, Ordering::Relaxed);
        self.store_output(limits);
    }

    pub(crate) fn output(&self) -> OutputLimits {
        [Class::Normal, Class::Replica, Class::Pubsub].map(|class| self.output_of(class))
    }

    pub(crate) fn output_of(&self, class: Class) -> OutputLimit {
        let cells = &self.output[class as usize];
        let [hard_bytes, soft_bytes, soft_s] = [0, 1, 2].map(|at: usize| cells[at].load(Ordering::Relaxed));
        OutputLimit { hard_bytes, soft_bytes, soft_s }
    }

    /// Whether so many bytes are more than a client of this class may let wait.
    pub(crate) fn is_over(&self, class: Class, bytes: u64) -> bool {
        let hard = self.output[class as usize][0].load(Ordering::Relaxed);
        hard > 0 && bytes > hard
    }

    /// The same for a client that others tell what it did not ask for by name: that is bounded in any case.
    pub(crate) fn is_over_unasked(&self, class: Class, bytes: u64) -> bool {
        self.is_over(class, bytes) || class == Class::Normal && bytes > self.unasked_bytes_max
    }

    /// `maxmemory-clients`, as [`BufferLimits::clients`].
    pub(crate) fn clients(&self) -> i64 {
        self.clients.load(Ordering::Relaxed)
    }

    pub(crate) fn set_clients(&self, limit: i64) {
        self.is_set.store(true, Ordering::Relaxed);
        self.clients.store(limit, Ordering::Relaxed);
    }

    /// `client-query-buffer-limit`: bytes.
    pub(crate) fn query_bytes_max(&self) -> u64 {
        self.query_bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_query_bytes_max(&self, bytes: u64) {
        self.query_bytes_max.store(bytes, Ordering::Relaxed);
    }

    #[cold]
    pub(crate) fn count(&self, cut: Cut) {
        self.cuts[cut as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many clients were cut for this.
    pub(crate) fn cuts(&self, cut: Cut) -> u64 {
        self.cuts[cut as usize].load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        self.cuts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_limits_read_as_redis_reads_them() {
        let start = BufferLimits::default().output;
        let shown = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(show_output(&start), shown);
        assert_eq!(read_output(shown, [OutputLimit::default(); 3]), Ok(start));
        let read = |text| read_output(text, start).map(|limits| show_output(&limits));
        assert_eq!(read(""), Ok(shown.to_owned()));
        let both = "normal 4 5 6 slave 1 2 3 pubsub 33554432 8388608 60";
        assert_eq!(read("REPLICA 1 2 3 normal 4 5 6"), Ok(both.to_owned()));
        for count in ["normal 1 2", "normal  0 0 0", " normal 0 0 0", "normal"] {
            assert_eq!(read(count), Err("Wrong number of arguments in buffer limit configuration."), "{count}");
        }
        for number in ["normal x 0 0", "normal -1 0 0", "normal 0 0 -1", "normal 1.5mb 0 0", "normal 0 0 1kb"] {
            assert!(read(number).is_err_and(|error| error.starts_with("Error in hard")), "{number}");
        }
        assert!(read("master 0 0 0").is_err_and(|error| error.starts_with("Invalid client class")));
    }

    #[test]
    fn the_limit_of_all_clients_is_bytes_or_percent() {
        for (text, want) in [("0", 0), ("100mb", 100 << 20), ("5%", -5), ("0%", 0), ("100%", -100)] {
            assert_eq!(read_clients(text), Ok(want), "{text}");
        }
        assert_eq!((show_clients(-5), show_clients(7)), ("5%".to_owned(), "7".to_owned()));
        assert!(read_clients("101%").is_err_and(|error| error.starts_with("percentage")));
        for text in ["", "%", "1%%", " 5%", "-5", "-5%", "x", "+5%"] {
            assert_eq!(read_clients(text), Err("argument must be a memory or percent value"), "{text}");
        }
    }
}
