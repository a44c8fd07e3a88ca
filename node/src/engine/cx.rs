//! What a command's function gets.

use std::sync::atomic::Ordering;

use super::Engine;
use super::acl_log::What;
use crate::db::{Key, Keyspace};
use crate::error::CommandError;
use crate::metrics::{Cells, Count};
use crate::resp::Out;
use crate::session::{Replies, Session, Stalled};
use crate::time::Now;

/// Everything one command may touch: the client's session, the partitions of its keys (locked), the time, and where the
/// reply goes.
pub struct Cx<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) session: &'a mut Session,
    pub(crate) keys: Keyspace<'a>,
    pub(crate) out: &'a mut Out,
    pub(crate) now: Now,
    pub(crate) cells: &'a Cells,
    pub(crate) outcome: Outcome,
    /// The command runs inside EXEC or a replay: it must not wait.
    pub(crate) nested: bool,
    /// It runs inside a script.
    pub(crate) scripted: bool,
    /// Memory was short and no key could be evicted when the command began, or the script or EXEC around it.
    pub(crate) out_of_memory: bool,
    /// The error it fails with is one that a call of its script answered, and was counted then.
    pub(crate) is_counted: bool,
    /// Commands and bytes of the EXEC that it runs in.
    pub(crate) executing: Option<(usize, usize)>,
    /// What is no reply, for a client that wants no replies: [`Cx::push`].
    pub(super) aside: Option<Box<Out>>,
}

/// What a command asks of the connection, besides its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing.
    Done,
    /// To be closed after the reply.
    Close,
    /// To wait for its inbox, or until this monotonic time in microseconds.
    Blocked(Option<u64>),
    /// To be asked again: a partition was held too long, and nothing ran.
    Busy,
}

/// Most first words of errors that are counted: a script may make up its own.
const ERROR_NAMES_MAX: usize = 128;
const ERROR_NAME_BYTES_MAX: usize = 30;

impl Engine {
    /// Counts an error, whoever it is answered to.
    #[cold]
    pub(super) fn count_error(&self, cells: &Cells, error: &CommandError) {
        let count = match error {
            CommandError::NoPermission(_) => Count::Denied,
            CommandError::WrongPass => Count::AuthFailures,
            CommandError::Throttled(_) => Count::Throttled,
            _ => Count::Errors,
        };
        cells.add(count, 1);
        if count != Count::Errors {
            cells.add(Count::Errors, 1);
        }
        self.note_error(&error.bytes());
    }

    /// Counts an error reply by its first word, which redis looks for in 31 bytes: what has none is `ERR`.
    #[cold]
    fn note_error(&self, text: &[u8]) {
        let space = text.iter().take(ERROR_NAME_BYTES_MAX + 1).position(|byte| *byte == b' ');
        let word = String::from_utf8_lossy(space.map_or(b"ERR", |space| &text[..space]));
        let mut errors = self.errors.lock();
        let room = errors.len() < ERROR_NAMES_MAX;
        if let Some(count) = errors.get_mut(&*word) {
            *count += 1;
        } else if room {
            errors.insert(word.into(), 1);
        }
    }
}

impl<'a> Cx<'a> {
    pub(crate) fn new(engine: &'a Engine, session: &'a mut Session, now: Now, out: &'a mut Out) -> Self {
        let cells = engine.metrics.of(session.worker);
        let mut keys = Keyspace::new(&engine.db, &engine.log, cells, session.database, now.wall_ms);
        if session.touches_not {
            keys.touch_not(true);
        }
        Self {
            engine,
            session,
            keys,
            out,
            now,
            cells,
            outcome: Outcome::Done,
            nested: false,
            scripted: false,
            out_of_memory: false,
            is_counted: false,
            executing: None,
            aside: None,
        }
    }

    /// A key of the command, with its hash.
    #[inline]
    pub(crate) fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.keys.key(bytes)
    }

    /// Chooses the database that this command, and those after it, are about.
    pub(crate) fn select(&mut self, database: u8) {
        self.keys.database = database;
        self.session.database = database;
        self.session.record.state.database.store(database, Ordering::Relaxed);
    }

    /// The database of this number, if there is one. HTTP knows only the first.
    pub(crate) fn database(&self, number: i64) -> Option<u8> {
        let databases = if self.session.is_detached() { 1 } else { self.engine.db.databases() };
        u8::try_from(number).ok().filter(|number| usize::from(*number) < databases)
    }

    /// Writes an error reply and counts it.
    #[cold]
    pub(crate) fn fail(&mut self, error: &CommandError) {
        if !std::mem::take(&mut self.is_counted) {
            self.count(error);
        }
        self.out.error(error.bytes());
    }

    /// Writes what is no reply: a client that wants none is sent it all the same, once it is known what is left out.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Self)) {
        if self.session.replies == Replies::All {
            return write(self);
        }
        let mut aside = self.aside.take().unwrap_or_else(|| Box::new(Out::new(self.out.protocol())));
        std::mem::swap(self.out, &mut aside);
        write(self);
        std::mem::swap(self.out, &mut aside);
        self.aside = Some(aside);
    }

    /// Counts an error, whoever it is answered to.
    #[cold]
    pub(super) fn count(&self, error: &CommandError) {
        self.engine.count_error(self.cells, error);
    }

    /// Whether the command comes from a log: what it says was decided already, and the clock stands still.
    pub(crate) fn replays(&self) -> bool {
        self.session.kind == crate::session::Kind::Replay
    }

    /// Enters a refusal into the ACL log.
    #[cold]
    pub(crate) fn note_refusal(&self, what: What) {
        self.session.note(self.executing);
        let client = crate::commands::describe_client(&self.session.record, self.now, self.out.len());
        self.engine.acl_log.note(what, client.trim_end().to_owned(), self.now);
    }

    /// Makes the client wait for so long before its `OK` and everything it asks after.
    pub(crate) fn stall(&mut self, us: u64) {
        let until_us = self.now.mono_us.saturating_add(us);
        self.session.stalled = Some(Stalled { until_us });
        self.outcome = Outcome::Blocked(Some(until_us));
    }

    pub(crate) fn take_outcome(&mut self) -> Outcome {
        std::mem::replace(&mut self.outcome, Outcome::Done)
    }
}
