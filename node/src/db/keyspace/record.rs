//! What a command did, as the effect log is told it.

use super::Keyspace;
use crate::log::write_select;
use crate::resp::{Args, OwnedArgs, encode_request};

impl Keyspace<'_> {
    /// Whether records are asked for: spares making those of [`Keyspace::log_instead`] for nobody.
    #[inline]
    pub(crate) fn is_logging(&self) -> bool {
        self.logging
    }

    /// Begins a command: what changes from here on is its effect.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.changes = 0;
        self.rewritten = false;
    }

    /// Ends a command: if it changed anything, its request is its record, unless it wrote another.
    #[inline]
    pub(crate) fn seal(&mut self, args: Args<'_>) {
        if self.logging && self.changes > 0 && !self.rewritten {
            self.record.add(args, self.database);
        }
    }

    /// Logs this request in place of the command's own.
    pub(crate) fn log_instead(&mut self, request: &[&[u8]]) {
        self.rewritten = true;
        if self.logging {
            self.record.add(OwnedArgs::from_slices(request).as_args(), self.database);
        }
    }

    /// Logs nothing for this command though it changed something another record tells of.
    pub(crate) fn log_nothing(&mut self) {
        self.rewritten = true;
    }

    /// Logs one more request, besides the command's own.
    pub(crate) fn log_also(&mut self, request: &[&[u8]]) {
        if self.logging {
            self.record.add(OwnedArgs::from_slices(request).as_args(), self.database);
        }
    }

    /// Opens a transaction's record; hand the answer to [`Keyspace::end_record`].
    pub(crate) fn begin_record(&mut self) -> Begun {
        let (before, to) = (self.record.bytes.len(), self.record.to);
        self.log_also(&[b"MULTI"]);
        Begun { before, after: self.record.bytes.len(), to }
    }

    /// Closes a transaction's record; one that says nothing is dropped, and what was there before it stays.
    pub(crate) fn end_record(&mut self, begun: Begun) {
        if self.record.bytes.len() == begun.after {
            self.record.bytes.truncate(begun.before);
            self.record.to = begun.to;
        } else if self.logging {
            encode_request(OwnedArgs::from_slices([b"EXEC"]).as_args(), &mut self.record.bytes);
        }
    }
}

/// Where a transaction's record begins: behind which bytes, before which, and the database of what was before it.
pub(crate) struct Begun {
    before: usize,
    after: usize,
    to: u8,
}

/// Requests on their way to the log.
#[derive(Default)]
pub(super) struct Record {
    pub(super) bytes: Vec<u8>,
    /// The database that the first of them is about.
    pub(super) from: u8,
    /// That the last is about.
    pub(super) to: u8,
}

impl Record {
    fn add(&mut self, args: Args<'_>, database: u8) {
        if self.bytes.is_empty() {
            self.from = database;
        } else if self.to != database {
            write_select(database, &mut self.bytes);
        }
        self.to = database;
        encode_request(args, &mut self.bytes);
    }
}
