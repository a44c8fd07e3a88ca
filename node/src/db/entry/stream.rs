//! The stream type: entries in the order of their ids, and the groups that read them.

mod block;
mod entries;
mod group;
mod id;
mod listpack;
#[cfg(test)]
mod tests;

pub use block::{Block, Item};
pub(crate) use entries::{BLOCK_BYTES_MAX, BLOCK_ENTRIES_MAX};
pub use entries::{Entries, Keep, Refused, Trim, Wanted};
pub use group::{Consumer, Group, Number, Pending};
pub use id::Id;

use super::size_class;
use std::collections::BTreeMap;

/// What a group takes beside its name and what is in it.
const GROUP_BYTES: usize = 320;

/// What becomes of an entry's place among what groups have pending when it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// It stays.
    #[default]
    Keep,
    /// It goes too, in every group.
    Delete,
    /// There must be none: an entry that a group has pending, or was not given yet, is not deleted.
    Acked,
}

/// A stream. It may be empty: its last id and its groups outlive its entries. Behind a pointer, so that other types of
/// collection do not pay for its size.
#[derive(Debug, Clone, Default)]
pub struct Stream(Box<Parts>);

#[derive(Debug, Clone, Default)]
struct Parts {
    entries: Entries,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Heap bytes of the groups.
    group_bytes: usize,
}

impl Stream {
    /// A stream of these entries, with no group.
    pub(crate) fn of(entries: Entries) -> Stream {
        Stream(Box::new(Parts { entries, ..Parts::default() }))
    }

    /// How many entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes behind it; those of groups are estimated.
    pub fn heap_bytes(&self) -> usize {
        size_class(size_of::<Parts>()) + self.0.entries.heap_bytes() + self.0.group_bytes
    }

    /// `stream`: redis has no other.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Its entries.
    #[inline]
    pub fn entries(&self) -> &Entries {
        &self.0.entries
    }

    /// Its entries, to be changed.
    #[inline]
    pub fn entries_mut(&mut self) -> &mut Entries {
        &mut self.0.entries
    }

    /// Its groups, by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.0.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(name)
    }

    /// Changes a group, with the entries at hand.
    pub fn with_group<R>(&mut self, name: &[u8], act: impl FnOnce(&mut Group, &Entries) -> R) -> Option<R> {
        let Parts { entries, groups, group_bytes } = &mut *self.0;
        let group = groups.get_mut(name)?;
        *group_bytes -= group.heap_bytes();
        let result = act(group, entries);
        *group_bytes += group.heap_bytes();
        Some(result)
    }

    /// Makes a group that has read up to an id; false when there is one of this name.
    pub fn create_group(&mut self, name: &[u8], last_id: Id, entries_read: Option<u64>) -> bool {
        if self.0.groups.contains_key(name) {
            return false;
        }
        let group = Group::new(last_id, entries_read);
        self.0.group_bytes += GROUP_BYTES + size_class(name.len()) + group.heap_bytes();
        self.0.groups.insert(name.into(), group);
        true
    }

    /// Removes a group; whether it was there.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let Some(group) = self.0.groups.remove(name) else { return false };
        self.0.group_bytes -= GROUP_BYTES + size_class(name.len()) + group.heap_bytes();
        true
    }

    /// Whether a group has the entry of this id pending, or was not given it yet. The entry need not be there.
    pub fn is_referenced(&self, id: Id) -> bool {
        is_referenced(&self.0.groups, id)
    }

    /// Makes every group forget the entry of this id; whether any had it pending.
    pub fn forget(&mut self, id: Id) -> bool {
        let Parts { groups, group_bytes, .. } = &mut *self.0;
        forget(groups, group_bytes, id)
    }

    /// Removes entries from the front; how many, and which one last where `references` are not kept.
    pub fn trim(&mut self, trim: Trim, references: References) -> (u64, Option<Id>) {
        let Parts { entries, groups, group_bytes } = &mut *self.0;
        match references {
            References::Keep => (entries.trim(trim), None),
            References::Acked => entries.trim_some(trim, |id| !is_referenced(groups, id)),
            References::Delete => entries.trim_some(trim, |id| {
                forget(groups, group_bytes, id);
                true
            }),
        }
    }
}

fn is_referenced(groups: &BTreeMap<Box<[u8]>, Group>, id: Id) -> bool {
    groups.values().any(|group| group.last_id < id || group.pending_at(id).is_some())
}

fn forget(groups: &mut BTreeMap<Box<[u8]>, Group>, group_bytes: &mut usize, id: Id) -> bool {
    let mut any = false;
    for group in groups.values_mut().filter(|group| group.pending_at(id).is_some()) {
        *group_bytes -= group.heap_bytes();
        any |= group.acknowledge(id);
        *group_bytes += group.heap_bytes();
    }
    any
}
