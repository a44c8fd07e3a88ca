//! What was slow: the slow log, and the samples of the latency monitor.
//!
//! The engine reads no clock. Its driver does, before and after each batch, and tells a batch that took at least
//! [`Slow::limit_us`]; for every other one this costs a load and a compare. A request that came alone is a batch of one,
//! so its time is its own. Requests sent without waiting run in batches of up to 32: of a slow one each request is
//! entered, with the time of the whole. Where the slow log's threshold is below 1 ms every request runs as a batch of
//! its own, so that each has its own time. HTTP calls are in neither: `/metrics` has them.
//!
//! Of EXEC, which is one request, the slow log has the commands it ran, as in redis: they are timed where they run.
//!
//! Valkey's command log is the slow log and two more of the same kind: of requests, and of replies, that were large. A
//! turn that read or wrote little costs a load and a compare; of any other each request is looked at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::cx::Cx;
use crate::commands::{self, Flags, Spec};
use crate::db::entry::size_class;
use crate::resp::{self, Args, Mark, Out, Parsed, Resume};
use crate::session::Session;
use crate::time::Now;

/// Words of a request that an entry keeps, and bytes of each: redis's.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;
/// Samples the latency monitor keeps of an event: redis's.
const SAMPLES_MAX: usize = 160;
/// Below this threshold each request is timed alone.
const FINE_US: i64 = 1000;
/// Redis's defaults.
const SLOWER_THAN_US: i64 = 10_000;
const ENTRIES_MAX: u64 = 128;
/// Valkey's, of requests and replies.
const LARGER_THAN: i64 = 1 << 20;

/// The slow log and the latency monitor of one engine.
#[derive(Debug)]
pub(crate) struct Slow {
    /// The lesser of both thresholds; `u64::MAX` when both are off.
    limit_us: AtomicU64,
    /// From how many bytes on a driver tells of a turn; `u64::MAX` for never.
    large_bytes: AtomicU64,
    /// By [`What`]: from which measure on a request is entered, below 0 for never; how many entries are kept; they.
    least: [AtomicI64; 3],
    entries_max: [AtomicU64; 3],
    logs: [Mutex<Log>; 3],
    latency_ms: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Event>>,
}

/// What a log's entries have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// They took long: microseconds.
    Slow,
    /// The request was large: bytes.
    LargeRequest,
    /// The reply was: bytes.
    LargeReply,
}

impl What {
    /// As COMMANDLOG calls them.
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("slow", Self::Slow), ("large-request", Self::LargeRequest), ("large-reply", Self::LargeReply)];
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    next: u64,
}

/// One request that was slow or large.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) at_s: u64,
    /// Microseconds, or bytes.
    pub(crate) measure: u64,
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) name: Vec<u8>,
}

/// What the latency monitor knows of one event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    /// Unix seconds and milliseconds taken, the oldest first; the worst of each second.
    pub(crate) samples: VecDeque<(u64, u64)>,
    pub(crate) worst_ms: u64,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            limit_us: AtomicU64::new(SLOWER_THAN_US as u64),
            large_bytes: AtomicU64::new(LARGER_THAN as u64),
            least: [SLOWER_THAN_US, LARGER_THAN, LARGER_THAN].map(AtomicI64::new),
            entries_max: [ENTRIES_MAX; 3].map(AtomicU64::new),
            logs: Default::default(),
            latency_ms: AtomicU64::new(0),
            events: Mutex::default(),
        }
    }
}

impl Slow {
    /// From how many microseconds on a driver tells of a batch.
    #[inline]
    pub(crate) fn limit_us(&self) -> u64 {
        self.limit_us.load(Ordering::Relaxed)
    }

    /// Whether every request is to be a batch of its own.
    #[inline]
    pub(crate) fn is_fine(&self) -> bool {
        self.limit_us() < FINE_US as u64
    }

    /// From how many bytes of requests or replies on a driver tells of a turn.
    #[inline]
    pub(crate) fn large_bytes(&self) -> u64 {
        self.large_bytes.load(Ordering::Relaxed)
    }

    /// `slowlog-log-slower-than` and its like: microseconds or bytes, below 0 for never.
    pub(crate) fn least(&self, what: What) -> i64 {
        self.least[what as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set_least(&self, what: What, least: i64) {
        self.least[what as usize].store(least, Ordering::Relaxed);
        self.settle();
    }

    /// `slowlog-max-len` and its like.
    pub(crate) fn entries_max(&self, what: What) -> u64 {
        self.entries_max[what as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set_entries_max(&self, what: What, entries: u64) {
        self.entries_max[what as usize].store(entries, Ordering::Relaxed);
    }

    fn is_entered(&self, what: What, measure: u64) -> bool {
        u64::try_from(self.least(what)).is_ok_and(|least| measure >= least)
    }

    /// `latency-monitor-threshold`: milliseconds, 0 for never.
    pub(crate) fn latency_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_latency_ms(&self, ms: u64) {
        self.latency_ms.store(ms, Ordering::Relaxed);
        self.settle();
    }

    fn settle(&self) {
        let least = |what| u64::try_from(self.least(what)).unwrap_or(u64::MAX);
        let slow = least(What::Slow);
        let latency = Some(self.latency_ms()).filter(|ms| *ms > 0).map_or(u64::MAX, |ms| ms.saturating_mul(1000));
        self.limit_us.store(slow.min(latency), Ordering::Relaxed);
        let large = least(What::LargeRequest).min(least(What::LargeReply));
        self.large_bytes.store(large, Ordering::Relaxed);
    }

    /// Takes note of the requests in `run`, which took so long together. What an EXEC among them ran was timed there.
    #[cold]
    pub(crate) fn took(&self, session: &Session, run: &[u8], took_us: u64, now: Now) {
        let took_us = took_us.saturating_sub(session.executed_us);
        if took_us >= self.limit_us() {
            each(session, run, |args, _| self.enter(session, args, took_us, now));
        }
    }

    /// Begins to time the commands of a transaction, unless nothing is slow.
    #[inline]
    pub(super) fn laps(&self) -> Option<Laps> {
        (self.limit_us() < u64::MAX).then(|| {
            let now = Instant::now();
            Laps { first: now, last: now }
        })
    }

    /// Takes note of what was large: the requests in `run`, and what `out` holds behind `before`, their replies. None of it
    /// is copied: it is large.
    #[cold]
    pub(crate) fn was_large(&self, session: &Session, run: &[u8], out: &Out, before: Mark, now: Now) {
        let mut requests = 0;
        each(session, run, |args, bytes| {
            requests += 1;
            if self.is_entered(What::LargeRequest, bytes as u64) {
                self.enter_large(session, What::LargeRequest, args, bytes, now);
            }
        });
        let written = out.len_since(before);
        if !self.is_entered(What::LargeReply, written as u64) {
            return;
        }
        let replies = if requests == 1 { vec![written] } else { out.reply_lengths(before) };
        // Where a request had no reply, or several, they cannot be told apart.
        if replies.len() != requests {
            return;
        }
        let mut replies = replies.into_iter();
        each(session, run, |args, _| {
            if let Some(bytes) = replies.next().filter(|bytes| self.is_entered(What::LargeReply, *bytes as u64)) {
                self.enter_large(session, What::LargeReply, args, bytes, now);
            }
        });
    }

    fn enter_large(&self, session: &Session, what: What, args: Args<'_>, bytes: usize, now: Now) {
        if let Ok(spec) = commands::resolve(args) {
            self.log(session, what, spec, args, bytes as u64, now);
        }
    }

    /// Takes note of one request.
    pub(crate) fn enter(&self, session: &Session, args: Args<'_>, took_us: u64, now: Now) {
        let Ok(spec) = commands::resolve(args) else { return };
        // What was only queued did not run.
        if session.transaction.is_some() && !spec.flags.has(Flags::UNQUEUED) {
            return;
        }
        let latency_ms = self.latency_ms();
        if latency_ms > 0 && took_us / 1000 >= latency_ms {
            self.sample(if spec.flags.has(Flags::FAST) { "fast-command" } else { "command" }, took_us / 1000, now);
        }
        if self.is_entered(What::Slow, took_us) && !spec.flags.has(Flags::SKIP_SLOWLOG) {
            self.log(session, What::Slow, spec, args, took_us, now);
        }
    }

    fn log(&self, session: &Session, what: What, spec: &Spec, args: Args<'_>, measure: u64, now: Now) {
        let address =
            session.record.addresses.as_ref().map_or_else(|| "?:0".to_owned(), |(address, _)| address.to_string());
        let name = session.record.who.lock().name.clone();
        let words = words(spec, args);
        let mut log = self.logs[what as usize].lock();
        let id = log.next;
        log.next += 1;
        log.entries.push_front(Entry { id, at_s: now.wall_ms / 1000, measure, words, address, name });
        log.entries.truncate(usize::try_from(self.entries_max(what)).unwrap_or(usize::MAX));
    }

    /// The newest entries, at most so many.
    pub(crate) fn entries(&self, what: What, count: usize) -> Vec<Entry> {
        self.logs[what as usize].lock().entries.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self, what: What) -> usize {
        self.logs[what as usize].lock().entries.len()
    }

    /// Heap bytes of the entries, about.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let word = |word: &Vec<u8>| size_of::<Vec<u8>>() + size_class(word.capacity());
        let entry = |entry: &Entry| size_of::<Entry>() + 64 + entry.words.iter().map(word).sum::<usize>();
        self.logs.iter().map(|log| log.lock().entries.iter().map(entry).sum::<usize>()).sum::<usize>() as u64
    }

    /// Forgets all entries; numbers go on.
    pub(crate) fn reset(&self, what: What) {
        self.logs[what as usize].lock().entries.clear();
    }

    fn sample(&self, event: &'static str, ms: u64, now: Now) {
        let mut events = self.events.lock();
        let event = events.entry(event).or_default();
        event.worst_ms = event.worst_ms.max(ms);
        let at_s = now.wall_ms / 1000;
        match event.samples.back_mut() {
            Some((last_s, worst)) if *last_s == at_s => *worst = ms.max(*worst),
            _ => event.samples.push_back((at_s, ms)),
        }
        if event.samples.len() > SAMPLES_MAX {
            event.samples.pop_front();
        }
    }

    /// Every event that was slow, and its samples.
    pub(crate) fn events(&self) -> Vec<(&'static str, Event)> {
        self.events.lock().iter().map(|(name, event)| (*name, event.clone())).collect()
    }

    /// Forgets the events of these names, or all; how many there were.
    pub(crate) fn forget(&self, names: Option<&[&[u8]]>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| names.is_some_and(|names| !names.contains(&name.as_bytes())));
        before - events.len()
    }
}

/// When a transaction began, and when its last command ended.
pub(super) struct Laps {
    first: Instant,
    last: Instant,
}

impl Laps {
    /// A command ended.
    #[inline]
    pub(super) fn lap(&mut self, cx: &Cx<'_>, args: Args<'_>) {
        let began = std::mem::replace(&mut self.last, Instant::now());
        note(cx, args, us(began, self.last));
    }

    /// All of it did, and this request ran it.
    pub(super) fn end(self, cx: &mut Cx<'_>, args: Args<'_>) {
        let took_us = us(self.first, self.last);
        cx.session.executed_us += took_us;
        note(cx, args, took_us);
    }
}

fn us(from: Instant, to: Instant) -> u64 {
    to.duration_since(from).as_micros() as u64
}

#[inline]
fn note(cx: &Cx<'_>, args: Args<'_>, took_us: u64) {
    if took_us >= cx.engine.slow.limit_us() {
        cx.engine.slow.enter(cx.session, args, took_us, cx.now);
    }
}

/// Each request of `run`, and its length in bytes.
fn each(session: &Session, run: &[u8], mut visit: impl FnMut(Args<'_>, usize)) {
    let limits = &session.engine.config.limits.resp;
    let (mut from, mut ranges, mut resume) = (0, Vec::new(), Resume::default());
    loop {
        ranges.clear();
        match resp::parse(run, from, &mut ranges, limits, &mut resume) {
            Ok(Parsed::Complete { end, .. }) => {
                visit(Args::new(run, &ranges), end - from);
                from = end;
            }
            Ok(Parsed::Quoted { end, args }) => {
                visit(args.as_args(), end - from);
                from = end;
            }
            _ => return,
        }
    }
}

/// A request as an entry keeps it: trimmed as redis does, secrets left out.
fn words(spec: &Spec, args: Args<'_>) -> Vec<Vec<u8>> {
    let secrets = (spec.secrets)(args);
    let kept = if args.len() > WORDS_MAX { WORDS_MAX - 1 } else { args.len() };
    let mut words: Vec<Vec<u8>> = args
        .iter()
        .take(kept)
        .enumerate()
        .map(|(at, word)| match word.get(WORD_BYTES_MAX..) {
            _ if secrets.contains(&at) => b"(redacted)".to_vec(),
            Some(rest) if !rest.is_empty() => {
                [&word[..WORD_BYTES_MAX], format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
            }
            _ => word.to_vec(),
        })
        .collect();
    if kept < args.len() {
        words.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn shown(line: &[&str]) -> Vec<String> {
        let args = OwnedArgs::from_slices(line);
        let spec = commands::resolve(args.as_args()).unwrap_or(&commands::table()[0]);
        words(spec, args.as_args()).iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn requests_are_trimmed_as_redis_does() {
        let long = "x".repeat(130);
        assert_eq!(shown(&["ECHO", &long]), ["ECHO".to_owned(), "x".repeat(128) + "... (2 more bytes)"]);
        assert_eq!(shown(&["ECHO", &"x".repeat(128)])[1], "x".repeat(128));
        let keys: Vec<&str> = std::iter::once("DEL").chain(std::iter::repeat_n("k", 32)).collect();
        assert_eq!(shown(&keys).len(), 32);
        assert_eq!(shown(&keys)[31], "... (2 more arguments)");
        assert_eq!(shown(&keys[..32])[31], "k");
    }

    #[test]
    fn passwords_are_left_out() {
        assert_eq!(shown(&["AUTH", "u", "p"]), ["AUTH", "(redacted)", "(redacted)"]);
        let hello = ["HELLO", "3", "AUTH", "u", "p", "SETNAME", "n"];
        assert_eq!(shown(&hello), ["HELLO", "3", "AUTH", "(redacted)", "(redacted)", "SETNAME", "n"]);
        assert_eq!(shown(&["HELLO", "3"]), ["HELLO", "3"]);
        assert_eq!(shown(&["HELLO", "3", "SETNAME", "n"]), ["HELLO", "3", "SETNAME", "n"]);
    }

    #[test]
    fn passwords_are_left_out_wherever_a_name_or_a_mistake_puts_them() {
        let said = |line: &str| shown(&line.split(' ').collect::<Vec<_>>()).join(" ").replace("(redacted)", "-");
        assert_eq!(said("HELLO 3 SETNAME auth AUTH u p"), "HELLO 3 SETNAME auth AUTH - -");
        assert_eq!(said("HELLO 3 SETNAME auth"), "HELLO 3 SETNAME auth");
        assert_eq!(said("HELLO 3 AUTH u p AUTH u p"), "HELLO 3 AUTH - - - - -");
        assert_eq!(said("HELLO 3 AUTH SETNAME p"), "HELLO 3 AUTH - -");
        // Refused.
        assert_eq!(said("HELLO 3 AUTH p"), "HELLO 3 AUTH -");
        assert_eq!(said("HELLO 3 WORD AUTH u p"), "HELLO 3 WORD - - -");
        assert_eq!(said("HELLO AUTH u p"), "HELLO AUTH - -");
    }

    #[test]
    fn the_limit_is_the_lesser_threshold() {
        let slow = Slow::default();
        assert!(slow.limit_us() == 10_000 && !slow.is_fine());
        slow.set_latency_ms(5);
        assert_eq!(slow.limit_us(), 5000);
        slow.set_least(What::Slow, 0);
        assert!(slow.limit_us() == 0 && slow.is_fine());
        slow.set_least(What::Slow, -1);
        slow.set_latency_ms(0);
        assert_eq!(slow.limit_us(), u64::MAX);
        assert_eq!(slow.large_bytes(), 1 << 20);
        slow.set_least(What::LargeReply, 10);
        assert_eq!(slow.large_bytes(), 10);
        slow.set_least(What::LargeReply, -1);
        slow.set_least(What::LargeRequest, -1);
        assert_eq!(slow.large_bytes(), u64::MAX);
    }

    #[test]
    fn what_exec_took_is_not_the_time_of_its_batch() {
        let clock = crate::testing::Clock::new();
        let engine = crate::testing::engine(&clock);
        let mut client = crate::testing::Client::new(&engine, &clock, 0);
        for (executed_us, want) in [(15_000, 0), (5_000, 2)] {
            client.session.executed_us = executed_us;
            engine.slow.took(&client.session, b"MULTI\r\nSET k 1\r\nEXEC\r\n", 20_000, clock.now());
            assert_eq!(engine.slow.len(What::Slow), want);
        }
        client.say("CONFIG SET slowlog-log-slower-than 0");
        client.say("MULTI");
        client.say("ECHO 1");
        engine.slow.reset(What::Slow);
        client.say("EXEC");
        assert_eq!(engine.slow.entries(What::Slow, 9)[0].words, ["ECHO", "1"].map(Vec::from));
    }

    #[test]
    fn samples_keep_the_worst_of_a_second() {
        let slow = Slow::default();
        for (ms, at) in [(5, 1000), (9, 1500), (3, 2000)] {
            slow.sample("command", ms, Now { wall_ms: at, mono_us: 0 });
        }
        let (_, event) = slow.events().remove(0);
        assert_eq!((event.samples, event.worst_ms), (VecDeque::from([(1, 9), (2, 3)]), 9));
        assert_eq!((slow.forget(Some(&[b"other"])), slow.forget(Some(&[b"command"])), slow.forget(None)), (0, 1, 0));
    }
}
