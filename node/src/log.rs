//! The effect log: one ordered record of everything that changed, as exact RESP requests.
//!
//! A record is appended while the partition locks of its command are held, so two commands that touch the same key
//! appear in the order they ran; others commute. That makes the log a valid serial history: replaying it into an empty
//! engine gives the same state. Effects are logged, never questions: a relative TTL becomes `PXAT`, a served BLPOP
//! becomes `LPOP`, an expiry becomes `DEL`, a transaction is one `MULTI … EXEC`. The log begins
//! in database 0, and a `SELECT` says where another begins.
//!
//! Off until someone reads it; then every append copies its bytes under one mutex, a leaf in the lock order: nothing is
//! waited for under it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::resp::{OwnedArgs, encode_request};

/// The log of one engine.
#[derive(Debug)]
pub(crate) struct EffectLog {
    on: AtomicBool,
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes appended since the first reader came.
    end: u64,
    /// The database that the last record was about: a record of another begins with a `SELECT`.
    database: u8,
    readers: Vec<Weak<Shared>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    grown: Notify,
}

#[derive(Debug)]
struct Queue {
    bytes: VecDeque<u8>,
    /// Log offset of the first byte in `bytes`.
    offset: u64,
    lagged: bool,
}

/// A reader fell `log_bytes_max` behind, and bytes it had not read are gone. It has to start again from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

/// Reads the log from where it stood when the reader was made. The log is on while a reader lives.
#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl EffectLog {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { on: AtomicBool::new(false), state: Mutex::default(), bytes_max }
    }

    /// Whether appends are wanted. Changes only under the gate and all partition locks, so a command sees one answer.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Bytes appended since the first reader came.
    pub(crate) fn end(&self) -> u64 {
        self.state.lock().end
    }

    /// Bytes that readers have not read yet, each counted for every reader.
    pub(crate) fn unread_bytes(&self) -> u64 {
        let state = self.state.lock();
        let queued = |reader: &Weak<Shared>| reader.upgrade().map_or(0, |shared| shared.queue.lock().bytes.capacity());
        state.readers.iter().map(queued).sum::<usize>() as u64
    }

    /// Adds a reader, for which the log begins in database 0. The caller holds every partition, so it begins between two
    /// commands.
    pub(crate) fn subscribe(&self) -> LogReader {
        let mut state = self.state.lock();
        state.select(0, self.bytes_max);
        let queue = Queue { bytes: VecDeque::new(), offset: state.end, lagged: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), grown: Notify::new() });
        state.readers.push(Arc::downgrade(&shared));
        self.on.store(true, Ordering::Relaxed);
        LogReader { shared }
    }

    /// Appends one record that begins in one database and leaves off in another. The caller holds the partition locks of
    /// what the record changed.
    pub(crate) fn append(&self, record: &[u8], from: u8, to: u8) {
        let mut state = self.state.lock();
        state.select(from, self.bytes_max);
        state.push(record, self.bytes_max);
        state.database = to;
        if state.readers.is_empty() {
            self.on.store(false, Ordering::Relaxed);
        }
    }
}

impl State {
    fn select(&mut self, database: u8, bytes_max: usize) {
        if self.database != database {
            let mut select = Vec::new();
            write_select(database, &mut select);
            self.push(&select, bytes_max);
            self.database = database;
        }
    }

    fn push(&mut self, record: &[u8], bytes_max: usize) {
        self.end += record.len() as u64;
        self.readers.retain(|reader| reader.upgrade().is_some_and(|shared| shared.push(record, bytes_max)));
    }
}

/// The record that says which database what follows is about.
pub(crate) fn write_select(database: u8, to: &mut Vec<u8>) {
    let database = database.to_string();
    encode_request(OwnedArgs::from_slices(["SELECT", &database]).as_args(), to);
}

impl Shared {
    /// False when the reader will not be served any more.
    fn push(&self, record: &[u8], bytes_max: usize) -> bool {
        let mut queue = self.queue.lock();
        if queue.bytes.len() + record.len() > bytes_max {
            queue.lagged = true;
        } else {
            queue.bytes.extend(record);
        }
        let serve = !queue.lagged;
        drop(queue);
        self.grown.notify_one();
        serve
    }
}

impl LogReader {
    /// Takes all that was appended since the last read, with the log offset of its first byte; whole records only.
    ///
    /// # Errors
    /// [`Lagged`], once everything before the gap was read.
    pub fn read(&self) -> Result<(u64, Vec<u8>), Lagged> {
        let mut queue = self.shared.queue.lock();
        if queue.lagged && queue.bytes.is_empty() {
            return Err(Lagged);
        }
        let offset = queue.offset;
        let bytes = Vec::from(std::mem::take(&mut queue.bytes));
        queue.offset += bytes.len() as u64;
        Ok((offset, bytes))
    }

    /// Waits until there is something to read.
    pub async fn grown(&self) {
        self.shared.grown.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_comes_after_them() {
        let log = EffectLog::new(100);
        assert!(!log.is_on());
        let early = log.subscribe();
        log.append(b"abc", 0, 0);
        let late = log.subscribe();
        log.append(b"de", 0, 0);
        assert_eq!(early.read(), Ok((0, b"abcde".to_vec())));
        assert_eq!(late.read(), Ok((3, b"de".to_vec())));
        assert_eq!(early.read(), Ok((5, Vec::new())));
    }

    #[test]
    fn a_slow_reader_is_told_and_the_log_goes_off() {
        let log = EffectLog::new(4);
        let reader = log.subscribe();
        log.append(b"1234", 0, 0);
        log.append(b"5", 0, 0);
        assert!(!log.is_on());
        assert_eq!(reader.read(), Ok((0, b"1234".to_vec())));
        assert_eq!(reader.read(), Err(Lagged));
    }

    #[test]
    fn the_log_goes_off_when_the_last_reader_is_gone() {
        let log = EffectLog::new(4);
        drop(log.subscribe());
        log.append(b"1", 0, 0);
        assert!(!log.is_on());
    }

    #[test]
    fn a_select_tells_where_another_database_begins() {
        let select = |database| {
            let mut text = Vec::new();
            write_select(database, &mut text);
            text
        };
        let log = EffectLog::new(1000);
        let early = log.subscribe();
        log.append(b"a", 0, 0);
        log.append(b"b", 2, 3);
        log.append(b"c", 3, 3);
        let late = log.subscribe();
        log.append(b"d", 0, 0);
        assert_eq!(early.read().unwrap().1, [&b"a"[..], &select(2), b"bc", &select(0), b"d"].concat());
        assert_eq!(late.read().unwrap().1, b"d");
    }
}
