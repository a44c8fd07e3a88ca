//! What was slow: the slow log, and the samples of the latency monitor.
//!
//! The engine reads no clock. Its driver does, before and after each batch, and tells a batch that took at least
//! [`Slow::limit_us`]; for every other one this costs a load and a compare. A request that came alone is a batch of one,
//! so its time is its own. Requests sent without waiting run in batches of up to 32: of a slow one each request is
//! entered, with the time of the whole. Where the slow log's threshold is below 1 ms every request runs as a batch of
//! its own, so that each has its own time. HTTP calls are in neither: `/metrics` has them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::commands::{self, Flags, Spec};
use crate::db::entry::size_class;
use crate::resp::{self, Args, Parsed, Resume};
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

/// The slow log and the latency monitor of one engine.
#[derive(Debug)]
pub(crate) struct Slow {
    /// The lesser of both thresholds; `u64::MAX` when both are off.
    limit_us: AtomicU64,
    slower_than_us: AtomicI64,
    entries_max: AtomicU64,
    latency_ms: AtomicU64,
    log: Mutex<Log>,
    events: Mutex<BTreeMap<&'static str, Event>>,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    next: u64,
}

/// One slow request.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) at_s: u64,
    pub(crate) took_us: u64,
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
            slower_than_us: AtomicI64::new(SLOWER_THAN_US),
            entries_max: AtomicU64::new(ENTRIES_MAX),
            latency_ms: AtomicU64::new(0),
            log: Mutex::default(),
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

    /// `slowlog-log-slower-than`: microseconds, below 0 for never.
    pub(crate) fn slower_than_us(&self) -> i64 {
        self.slower_than_us.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slower_than_us(&self, us: i64) {
        self.slower_than_us.store(us, Ordering::Relaxed);
        self.settle();
    }

    /// `slowlog-max-len`.
    pub(crate) fn entries_max(&self) -> u64 {
        self.entries_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_entries_max(&self, entries: u64) {
        self.entries_max.store(entries, Ordering::Relaxed);
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
        let slow = u64::try_from(self.slower_than_us()).unwrap_or(u64::MAX);
        let latency = Some(self.latency_ms()).filter(|ms| *ms > 0).map_or(u64::MAX, |ms| ms.saturating_mul(1000));
        self.limit_us.store(slow.min(latency), Ordering::Relaxed);
    }

    /// Takes note of the requests in `run`, which took so long together.
    #[cold]
    pub(crate) fn took(&self, session: &Session, run: &[u8], took_us: u64, now: Now) {
        let limits = &session.engine.config.limits.resp;
        let (mut from, mut ranges, mut resume) = (0, Vec::new(), Resume::default());
        loop {
            ranges.clear();
            match resp::parse(run, from, &mut ranges, limits, &mut resume) {
                Ok(Parsed::Complete { end, .. }) => {
                    self.enter(session, Args::new(run, &ranges), took_us, now);
                    from = end;
                }
                Ok(Parsed::Quoted { end, args }) => {
                    self.enter(session, args.as_args(), took_us, now);
                    from = end;
                }
                _ => return,
            }
        }
    }

    /// Takes note of one request.
    pub(crate) fn enter(&self, session: &Session, args: Args<'_>, took_us: u64, now: Now) {
        let Ok(spec) = commands::resolve(args) else { return };
        // What was only queued did not run.
        if session.transaction.is_some() && !spec.flags.has(Flags::UNQUEUED) && spec.name != "MULTI" {
            return;
        }
        let latency_ms = self.latency_ms();
        if latency_ms > 0 && took_us / 1000 >= latency_ms {
            self.sample(if spec.flags.has(Flags::FAST) { "fast-command" } else { "command" }, took_us / 1000, now);
        }
        if u64::try_from(self.slower_than_us()).is_ok_and(|least| took_us >= least) {
            self.log(session, spec, args, took_us, now);
        }
    }

    fn log(&self, session: &Session, spec: &Spec, args: Args<'_>, took_us: u64, now: Now) {
        let address =
            session.record.addresses.as_ref().map_or_else(|| "?:0".to_owned(), |(address, _)| address.to_string());
        let name = session.record.who.lock().name.clone();
        let words = words(spec, args);
        let mut log = self.log.lock();
        let id = log.next;
        log.next += 1;
        log.entries.push_front(Entry { id, at_s: now.wall_ms / 1000, took_us, words, address, name });
        log.entries.truncate(usize::try_from(self.entries_max()).unwrap_or(usize::MAX));
    }

    /// The newest entries, at most so many.
    pub(crate) fn entries(&self, count: usize) -> Vec<Entry> {
        self.log.lock().entries.iter().take(count).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.log.lock().entries.len()
    }

    /// Heap bytes of the entries, about.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let word = |word: &Vec<u8>| size_of::<Vec<u8>>() + size_class(word.capacity());
        let entry = |entry: &Entry| size_of::<Entry>() + 64 + entry.words.iter().map(word).sum::<usize>();
        self.log.lock().entries.iter().map(entry).sum::<usize>() as u64
    }

    /// Forgets all entries; numbers go on.
    pub(crate) fn reset(&self) {
        self.log.lock().entries.clear();
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
    }

    #[test]
    fn the_limit_is_the_lesser_threshold() {
        let slow = Slow::default();
        assert!(slow.limit_us() == 10_000 && !slow.is_fine());
        slow.set_latency_ms(5);
        assert_eq!(slow.limit_us(), 5000);
        slow.set_slower_than_us(0);
        assert!(slow.limit_us() == 0 && slow.is_fine());
        slow.set_slower_than_us(-1);
        slow.set_latency_ms(0);
        assert_eq!(slow.limit_us(), u64::MAX);
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
