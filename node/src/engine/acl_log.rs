//! ACL LOG: who was refused what lately. Refusals that differ in nothing but their moment are one entry.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use larder_iam_policies::access::Denied;
use parking_lot::Mutex;

use crate::commands::{Beyond, Call};
use crate::db::entry::size_class;
use crate::time::Now;

/// How old an entry may be that a like one is added to: redis's.
const GROUPING_MS: u64 = 60_000;
/// How many entries are looked at for a like one: redis's.
const GROUPING: usize = 10;
/// Redis's default of acllog-max-len.
const ENTRIES_MAX: u64 = 128;
/// Bytes kept of a name or key, which may be as large as a request.
const OBJECT_BYTES_MAX: usize = 1024;

/// The log of one engine.
#[derive(Debug)]
pub(crate) struct AclLog {
    entries: Mutex<VecDeque<Entry>>,
    entries_max: AtomicU64,
}

/// One kind of refusal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) count: u64,
    pub(crate) what: What,
    pub(crate) at_ms: u64,
    /// The client, as CLIENT LIST shows it.
    pub(crate) client: String,
}

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct What {
    pub(crate) reason: Reason,
    pub(crate) context: Context,
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Command,
    Key,
    Channel,
    Auth,
}

/// Where it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Toplevel,
    Multi,
    Lua,
}

impl Reason {
    /// Why a call was denied, in redis's terms; none when the caller is nobody any more.
    pub(crate) fn of(call: &Call<'_>, denied: &Denied) -> Option<Self> {
        let channels = matches!(call.spec().beyond, Beyond::Publish | Beyond::Subscribe | Beyond::Patterns);
        Some(match denied {
            Denied::Key => Self::Key,
            Denied::Channel => Self::Channel,
            Denied::Explicit(_) | Denied::Implicit if call.spec().has_keys() => Self::Key,
            Denied::Explicit(_) | Denied::Implicit if channels => Self::Channel,
            Denied::Expired | Denied::Revoked => return None,
            _ => Self::Command,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

impl Context {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Toplevel => "toplevel",
            Self::Multi => "multi",
            Self::Lua => "lua",
        }
    }
}

impl Default for AclLog {
    fn default() -> Self {
        Self { entries: Mutex::default(), entries_max: AtomicU64::new(ENTRIES_MAX) }
    }
}

impl AclLog {
    /// `acllog-max-len`: a lower one holds from the next entry on, as in redis.
    pub(crate) fn entries_max(&self) -> u64 {
        self.entries_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_entries_max(&self, entries: u64) {
        self.entries_max.store(entries, Ordering::Relaxed);
    }

    fn trim(&self, entries: &mut VecDeque<Entry>) {
        entries.truncate(usize::try_from(self.entries_max()).unwrap_or(usize::MAX));
    }

    /// Takes note of a refusal.
    #[cold]
    pub(crate) fn note(&self, mut what: What, client: String, now: Now) {
        for text in [&mut what.object, &mut what.user] {
            text.truncate(OBJECT_BYTES_MAX);
            text.shrink_to_fit();
        }
        let mut entries = self.entries.lock();
        let is_like = |entry: &Entry| entry.what == what && now.wall_ms.saturating_sub(entry.at_ms) <= GROUPING_MS;
        let like = entries.iter().take(GROUPING).position(is_like);
        let before = like.and_then(|at| entries.remove(at)).map_or(0, |entry| entry.count);
        entries.push_front(Entry { count: before + 1, what, at_ms: now.wall_ms, client });
        self.trim(&mut entries);
    }

    /// The newest entries, at most so many.
    pub(crate) fn entries(&self, count: usize) -> Vec<Entry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    pub(crate) fn reset(&self) {
        *self.entries.lock() = VecDeque::new();
    }

    /// Heap bytes of the entries.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let entries = self.entries.lock();
        let texts = |Entry { what, client, .. }: &Entry| {
            [what.object.capacity(), what.user.capacity(), client.capacity()].map(size_class).iter().sum::<usize>()
        };
        (entries.capacity() * size_of::<Entry>() + entries.iter().map(texts).sum::<usize>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: u64) -> Now {
        Now { wall_ms, mono_us: wall_ms * 1000 }
    }

    fn what(object: &str) -> What {
        let (reason, context) = (Reason::Key, Context::Toplevel);
        What { reason, context, object: object.into(), user: b"u".to_vec() }
    }

    fn shown(log: &AclLog) -> String {
        log.entries(9)
            .iter()
            .map(|each| format!("{}{} ", String::from_utf8_lossy(&each.what.object), each.count))
            .collect()
    }

    #[test]
    fn like_refusals_within_a_minute_are_one_entry() {
        let log = AclLog::default();
        for (object, ms) in [("a", 0), ("b", 10), ("a", 20), ("a", 60_020), ("a", 120_021)] {
            log.note(what(object), String::new(), at(ms));
        }
        assert_eq!(shown(&log), "a1 a3 b1 ");
        log.note(What { context: Context::Lua, ..what("a") }, String::new(), at(120_021));
        assert_eq!(shown(&log), "a1 a1 a3 b1 ");
    }

    #[test]
    fn the_log_is_bounded() {
        let log = AclLog::default();
        (0..200).for_each(|number| log.note(what(&number.to_string()), String::new(), at(0)));
        assert_eq!(log.entries(usize::MAX).len(), 128);
        log.note(what(&"x".repeat(5000)), String::new(), at(0));
        assert!(log.entries(1).iter().all(|entry| entry.what.object.len() == OBJECT_BYTES_MAX));
        log.set_entries_max(2);
        log.note(what("b"), String::new(), at(0));
        assert_eq!(log.entries(usize::MAX).len(), 2);
        log.reset();
        assert!(log.entries(usize::MAX).is_empty());
        log.set_entries_max(0);
        log.note(what("a"), String::new(), at(0));
        assert!(log.entries(usize::MAX).is_empty());
    }

    #[test]
    fn what_it_holds_is_counted() {
        let log = AclLog::default();
        assert_eq!(log.heap_bytes(), 0);
        (0..100).for_each(|number| log.note(what(&format!("{number:x<50000}")), "client".repeat(50), at(0)));
        let (least, most) = (100 * (OBJECT_BYTES_MAX + 300), 100 * (2 * OBJECT_BYTES_MAX));
        assert!((least..most).contains(&(log.heap_bytes() as usize)), "{}", log.heap_bytes());
        log.reset();
        assert_eq!(log.heap_bytes(), 0);
    }
}
