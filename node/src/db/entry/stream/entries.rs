//! The entries of a stream: blocks in the order of their ids, and what is remembered of entries that went.

use std::collections::VecDeque;

use super::block::{Block, Item};
use super::id::Id;
use crate::db::entry::size_class;
use crate::resp::Args;

/// Most entries of a block, deleted ones included: redis's `stream-node-max-entries`.
pub(crate) const BLOCK_ENTRIES_MAX: u32 = 100;

/// Where a block ends that has so many bytes by redis's count: its `stream-node-max-bytes`.
pub(crate) const BLOCK_BYTES_MAX: usize = 4096;

/// Most bytes of an entry's fields and values: redis's limit of a listpack.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Which id an entry is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One by the clock, in unix ms.
    Now(u64),
    /// One of this millisecond.
    Of(u64),
    /// This one.
    This(Id),
}

/// Why an entry was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The last possible id is taken.
    Exhausted,
    /// The id is not above the last one.
    NotAbove,
    /// No id of this millisecond is left.
    Full,
    /// The fields and values are too long.
    TooLarge,
}

/// Up to where a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many entries stay, the last ones.
    Most(u64),
    /// Those from this id on stay.
    From(Id),
}

/// How a stream is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// What stays.
    pub keep: Keep,
    /// Whole blocks go only.
    pub roughly: bool,
    /// At most so many entries go; 0 is no limit.
    pub limit: u64,
}

/// Entries in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    blocks: VecDeque<Block>,
    len: usize,
    first_id: Id,
    last_id: Id,
    max_deleted_id: Id,
    added: u64,
    /// Heap bytes of the blocks.
    block_bytes: usize,
}

impl Entries {
    /// Entries in blocks that are there already, with what is remembered of others. `None` where ids do not ascend from
    /// block to block and to the last that was given.
    pub(crate) fn of_blocks(blocks: Vec<Block>, last_id: Id, max_deleted_id: Id, added: u64) -> Option<Entries> {
        let ascend = blocks.is_sorted_by(|one, next| one.last < next.first);
        if !ascend || blocks.last().is_some_and(|block| block.last > last_id) {
            return None;
        }
        let len = blocks.iter().map(|block| block.live as usize).sum();
        let block_bytes = blocks.iter().map(Block::heap_bytes).sum();
        let mut entries =
            Entries { blocks: blocks.into(), len, first_id: Id::MIN, last_id, max_deleted_id, added, block_bytes };
        entries.find_first();
        Some(entries)
    }

    /// The blocks, first to last.
    pub(crate) fn all_blocks(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks.iter()
    }

    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Heap bytes behind it.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<Block>();
        self.block_bytes + if blocks == 0 { 0 } else { size_class(blocks) }
    }

    /// Whether what is counted on the way is what there is.
    #[cfg(test)]
    pub(super) fn is_counted(&self) -> bool {
        let live: usize = self.blocks.iter().map(|block| block.live as usize).sum();
        let bytes: usize = self.blocks.iter().map(Block::heap_bytes).sum();
        live == self.len && bytes == self.block_bytes
    }

    /// How many blocks they are in.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The id of the first entry, 0-0 when there is none.
    pub fn first_id(&self) -> Id {
        self.first_id
    }

    /// The last id that was given, whether its entry is still there or not.
    pub fn last_id(&self) -> Id {
        self.last_id
    }

    /// The highest id of those deleted one by one.
    pub fn max_deleted_id(&self) -> Id {
        self.max_deleted_id
    }

    /// How many entries were ever added.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// The id that an entry would get.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn next_id(&self, wanted: Wanted) -> Result<Id, Refused> {
        let last = self.last_id;
        if last == Id::MAX {
            return Err(Refused::Exhausted);
        }
        let id = match wanted {
            Wanted::Now(now_ms) if now_ms > last.ms => Id { ms: now_ms, seq: 0 },
            Wanted::Now(_) => last.next().ok_or(Refused::Exhausted)?,
            Wanted::Of(ms) if ms == last.ms => Id { ms, seq: last.seq.checked_add(1).ok_or(Refused::Full)? },
            Wanted::Of(ms) => Id { ms, seq: 0 },
            Wanted::This(id) => id,
        };
        if id > last { Ok(id) } else { Err(Refused::NotAbove) }
    }

    /// Adds an entry of these fields, each with its value behind it; its id.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn add(&mut self, wanted: Wanted, pairs: Args<'_>) -> Result<Id, Refused> {
        let id = self.next_id(wanted)?;
        let bytes = pairs.bytes();
        if bytes > ENTRY_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let mut before = 0;
        match self.blocks.back_mut() {
            Some(last)
                if last.listpack_bytes + bytes < BLOCK_BYTES_MAX && last.live + last.dead < BLOCK_ENTRIES_MAX =>
            {
                before = last.heap_bytes();
                last.push(id, pairs);
            }
            full => {
                if let Some(full) = full {
                    before = full.heap_bytes();
                    full.seal();
                    self.block_bytes += full.heap_bytes();
                }
                let mut block = Block::new(id, pairs.iter().step_by(2));
                block.push(id, pairs);
                self.blocks.push_back(block);
            }
        }
        self.block_bytes += self.blocks.back().map_or(0, Block::heap_bytes);
        self.block_bytes -= before;
        self.len += 1;
        self.added = self.added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(id)
    }

    /// The entries from one id to another, both included.
    pub fn range(&self, from: Id, to: Id) -> impl Iterator<Item = Item<'_>> {
        // The block before the first that begins behind `from` may hold it.
        let start = self.blocks.partition_point(|block| block.first <= from).saturating_sub(1);
        let items = self.blocks.range(start..).flat_map(Block::iter);
        items.skip_while(move |item| item.id < from).take_while(move |item| item.id <= to)
    }

    /// As [`Entries::range`], last to first.
    pub fn range_back(&self, from: Id, to: Id) -> impl Iterator<Item = Item<'_>> {
        let end = self.blocks.partition_point(|block| block.first <= to);
        let items = self.blocks.range(..end).rev().flat_map(|block| {
            let items: Vec<Item<'_>> = block.iter().collect();
            items.into_iter().rev()
        });
        items.skip_while(move |item| item.id > to).take_while(move |item| item.id >= from)
    }

    /// The entry of this id.
    pub fn get(&self, id: Id) -> Option<Item<'_>> {
        self.range(id, id).next()
    }

    /// Whether there is an entry behind this id.
    pub fn has_behind(&self, id: Id) -> bool {
        id < self.last_id && id.next().is_some_and(|next| self.range(next, Id::MAX).next().is_some())
    }

    /// The id of the last entry that is there.
    pub fn last_entry_id(&self) -> Option<Id> {
        self.blocks.iter().rev().find_map(Block::last_live).map(|item| item.id)
    }

    /// Deletes the entry of this id; whether it was there.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some(at) = self.blocks.partition_point(|block| block.first <= id).checked_sub(1) else { return false };
        let Some(block) = self.blocks.get_mut(at) else { return false };
        if !block.delete(id) {
            return false;
        }
        if block.live == 0 {
            self.remove_blocks(at, 1);
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id || self.len == 0 {
            self.find_first();
        }
        true
    }

    /// Removes entries from the front; how many.
    pub fn trim(&mut self, trim: Trim) -> u64 {
        let (whole, mut gone) = self.whole_blocks(trim);
        let len = self.len as u64 - gone;
        let mut partly = 0;
        let block = self
            .blocks
            .get_mut(whole)
            .filter(|block| !trim.roughly && (trim.limit == 0 || gone + u64::from(block.live) <= trim.limit));
        if let Some(block) = block {
            partly = match trim.keep {
                Keep::Most(most) => {
                    let mut over = len.saturating_sub(most);
                    block.delete_each(|_| {
                        over = over.checked_sub(1)?;
                        Some(true)
                    })
                }
                Keep::From(from) => block.delete_each(|id| (id < from).then_some(true)),
            };
        }
        gone += u64::from(partly);
        // Redis drops a node that holds deleted entries only even so, and tells nobody: a replay could not know.
        if gone == 0 {
            return 0;
        }
        self.remove_blocks(0, whole);
        self.len -= gone as usize;
        self.find_first();
        gone
    }

    /// As [`Entries::trim`], of those entries alone that `may_go` says may go; how many went, and the last of them. As in
    /// redis, a rough trim is exact then, but for its limit; and where it would end within a block, it ends with that
    /// block, though more entries behind it might go.
    pub fn trim_some(&mut self, trim: Trim, mut may_go: impl FnMut(Id) -> bool) -> (u64, Option<Id>) {
        let (mut at, mut gone, mut last) = (0, 0, None);
        while let Some(block) = self.blocks.get_mut(at) {
            let (mut len, live) = (self.len as u64 - gone, u64::from(block.live));
            let whole = match trim.keep {
                Keep::Most(most) if len <= most => break,
                Keep::Most(most) => len - live >= most,
                Keep::From(from) => block.last < from,
            };
            if trim.limit > 0 && gone + live > trim.limit {
                break;
            }
            let deleted = block.delete_each(|id| {
                let goes_on = match trim.keep {
                    Keep::Most(most) => len > most,
                    Keep::From(from) => id < from,
                };
                let goes = goes_on && may_go(id);
                if goes {
                    len -= 1;
                    last = Some(id);
                }
                goes_on.then_some(goes)
            });
            gone += u64::from(deleted);
            // One that was empty before stays: a replay does not come by.
            if block.live == 0 && deleted > 0 {
                self.remove_blocks(at, 1);
            } else {
                at += 1;
            }
            if !whole {
                break;
            }
        }
        if gone > 0 {
            self.len -= gone as usize;
            self.find_first();
        }
        (gone, last)
    }

    /// How many blocks go as a whole, and how many entries with them.
    fn whole_blocks(&self, trim: Trim) -> (usize, u64) {
        let (mut whole, mut gone) = (0, 0);
        for block in &self.blocks {
            let (len, live) = (self.len as u64 - gone, u64::from(block.live));
            let goes = match trim.keep {
                Keep::Most(most) => len > most && len - live >= most,
                Keep::From(from) => block.last < from,
            };
            if !goes || trim.limit > 0 && gone + live > trim.limit {
                break;
            }
            whole += 1;
            gone += live;
        }
        (whole, gone)
    }

    fn remove_blocks(&mut self, at: usize, count: usize) {
        let gone: usize = self.blocks.drain(at..at + count).map(|block| block.heap_bytes()).sum();
        self.block_bytes -= gone;
        if self.blocks.len() < self.blocks.capacity() / 4 {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
    }

    fn find_first(&mut self) {
        let first = self.range(Id::MIN, Id::MAX).next().map(|item| item.id);
        self.first_id = first.unwrap_or(Id::MIN);
    }

    /// What an exact trim must say to leave what is here now.
    pub fn exactly(&self, trim: Trim) -> Keep {
        match trim.keep {
            Keep::Most(_) => Keep::Most(self.len as u64),
            Keep::From(_) => Keep::From(self.blocks.front().map_or(Id::MAX, |block| block.first)),
        }
    }

    /// XSETID: what is remembered of entries that are no more.
    pub fn set_last(&mut self, last_id: Id, added: Option<u64>, max_deleted_id: Option<Id>) {
        self.last_id = last_id;
        self.added = added.unwrap_or(self.added);
        self.max_deleted_id = max_deleted_id.unwrap_or(self.max_deleted_id);
    }

    /// Whether an entry was deleted at this id or behind it.
    pub(super) fn is_broken_from(&self, id: Id) -> bool {
        self.len > 0 && self.is_broken() && id <= self.max_deleted_id
    }

    /// Whether an entry was deleted behind the first one, so that counting cannot tell which one is the how manieth.
    fn is_broken(&self) -> bool {
        self.max_deleted_id != Id::MIN && self.max_deleted_id >= self.first_id
    }

    /// How many entries were ever added up to this id, where that can be told.
    pub(crate) fn added_up_to(&self, id: Id) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id || id == self.last_id {
            return Some(self.added);
        }
        if id > self.last_id {
            return None;
        }
        let before = self.added.wrapping_sub(self.len as u64);
        match id.cmp(&self.first_id) {
            _ if self.is_broken() => None,
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}
