//! What a connection was let in to last: the requests that follow one another on it mostly ask the same.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Access, Admitted, Caller, Grant, NotAdmitted, Source};

/// The last entry of one connection, empty at first.
#[derive(Debug, Default)]
pub struct LastEntry(RefCell<Option<Entry>>);

/// A caller inside a cache, and what it may do there.
#[derive(Debug, Clone)]
struct Entry {
    /// Of the snapshot that decided, or of one before it.
    epoch: u64,
    inside: Admitted,
    grant: Arc<Grant>,
}

impl Entry {
    /// Whether the answer would be the same again. Who calls is compared by what was made when the credential first
    /// proved good, so only callers that are kept with their key are found so.
    fn fits(&self, epoch: u64, caller: &Caller, source: &Source, cache: &str) -> bool {
        let inside = &self.inside.0;
        self.epoch == epoch
            && Arc::ptr_eq(&inside.caller.0, &caller.0)
            && inside.source == *source
            && *inside.cache == *cache
    }
}

impl Access {
    /// Lets a caller into one cache, as [`Access::admit`], and says what it may do there. `epoch` was read before this
    /// snapshot was.
    ///
    /// # Errors
    /// As [`Access::admit`].
    pub fn enter(
        &self,
        last: &LastEntry,
        epoch: u64,
        caller: Caller,
        source: Source,
        cache: &str,
    ) -> Result<(Admitted, Arc<Grant>), NotAdmitted> {
        let mut last = last.0.borrow_mut();
        if let Some(entry) = last.as_ref().filter(|entry| entry.fits(epoch, &caller, &source, cache)) {
            return Ok((entry.inside.clone(), entry.grant.clone()));
        }
        let inside = self.admit(caller, source, cache)?;
        let grant = self.grant(&inside);
        *last = Some(Entry { epoch, inside: inside.clone(), grant: grant.clone() });
        Ok((inside, grant))
    }
}
