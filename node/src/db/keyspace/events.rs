//! Key events: what became of keys, for those who listen to it.

use super::{Key, Keyspace};
use crate::commands::Class;
use crate::metrics::Count;

/// What became of one key, for those who listen to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    pub(crate) database: u8,
    pub(crate) key: Box<[u8]>,
    pub(crate) how: How,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It is there and was not.
    Added,
    /// It is there, its time having come before: it expired and was added.
    Renewed,
    /// It holds something else.
    Changed,
    /// It is gone with the last of what it held.
    Emptied,
    /// It was removed.
    Deleted,
    /// Its time came.
    Expired,
    /// It went for want of memory.
    Evicted,
    /// It was looked for and is not there.
    Missed,
    /// What this event says, of this class.
    Said(Class, &'static str),
}

impl How {
    /// Whether its event is the same whichever command it was.
    pub(crate) fn is_told_as_it_is(self) -> bool {
        matches!(self, Self::Expired | Self::Evicted | Self::Missed | Self::Said(..))
    }
}

impl Keyspace<'_> {
    /// Notes what became of a key, for those who listen.
    #[cold]
    pub(crate) fn touch(&mut self, key: &[u8], how: How) {
        let how = match how {
            How::Renewed => {
                self.touch(key, How::Expired);
                How::Added
            }
            how => how,
        };
        self.touches.push(Touch { database: self.database, key: key.into(), how });
    }

    /// Tells those who listen of one more event of a key than its command stands for.
    pub(crate) fn say(&mut self, key: Key<'_>, class: Class, event: &'static str) {
        if self.events.0 != 0 {
            self.touch(key.bytes, How::Said(class, event));
        }
    }

    /// Counts a look for data, and tells those who listen when it was in vain.
    #[inline]
    pub(super) fn looked(&mut self, key: &[u8], is_there: bool) {
        if self.looks {
            self.cells.add(if is_there { Count::Hits } else { Count::Misses }, 1);
        }
        if self.tells_misses() && !is_there {
            self.touch(key, How::Missed);
        }
    }

    #[inline]
    pub(super) fn tells_misses(&self) -> bool {
        self.looks && self.events.has(Class::MISSED)
    }

    /// Whether what follows looks for data to answer it: what looks for it to change it is neither a hit nor a miss.
    #[inline]
    pub(crate) fn count_looks(&mut self, looks: bool) {
        self.looks = looks;
    }
}
