//! A run of entries in one buffer.
//!
//! ```text
//! fields: count, names…      those of the first entry, which entries with the same fields leave out
//! entry:  flags, body bytes, [ms and seq from the first id, (count,) strings…]
//! ```
//!
//! Numbers are LEB128, a string is its length and its bytes. A deleted entry is flagged and stays until its block goes.

use super::id::Id;
use super::listpack;
use crate::db::entry::size_class;
use crate::resp::Args;

const DELETED: u8 = 1;
const SAME_FIELDS: u8 = 2;

/// Some entries that follow each other; the first one's id names the block.
#[derive(Debug, Clone)]
pub struct Block {
    pub(super) first: Id,
    /// The id of the last entry, deleted or not.
    pub(super) last: Id,
    /// Entries that are not deleted.
    pub(super) live: u32,
    /// Entries that are.
    pub(super) dead: u32,
    /// See [`listpack`].
    pub(super) listpack_bytes: usize,
    /// Where the first entry is.
    entries_at: u32,
    bytes: Vec<u8>,
}

impl Block {
    /// A block with no entry yet, for one of this id and of fields of these names.
    pub(crate) fn new<'a>(first: Id, names: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Block {
        let mut bytes = Vec::new();
        let size = number_len(names.len() as u64) + names.clone().map(string_len).sum::<usize>();
        bytes.reserve_exact(size_class(size));
        put_number(&mut bytes, names.len() as u64);
        names.clone().for_each(|name| put_string(&mut bytes, name));
        let entries_at = bytes.len() as u32;
        Block { first, last: first, live: 0, dead: 0, listpack_bytes: listpack::head(names), entries_at, bytes }
    }

    /// Heap bytes of the buffer.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        size_class(self.bytes.capacity())
    }

    /// Adds an entry; its id is above all there are.
    pub(super) fn push(&mut self, id: Id, pairs: Args<'_>) {
        if self.has_fields(pairs) {
            self.put(id, true, pairs.iter().skip(1).step_by(2));
        } else {
            self.put(id, false, pairs.iter());
        }
    }

    /// Adds an entry whose id is above all there are: its values where its fields are the block's, else each behind its
    /// name. Where it is, for [`Block::flag`].
    pub(crate) fn put<'a>(
        &mut self,
        id: Id,
        same: bool,
        strings: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> usize {
        let (ms, seq) = (id.ms.wrapping_sub(self.first.ms), id.seq.wrapping_sub(self.first.seq));
        self.listpack_bytes += listpack::entry(ms, seq, strings.clone(), same);
        let seq = zigzag(seq);
        let count = if same { None } else { Some(strings.len() as u64 / 2) };
        let body = number_len(ms)
            + number_len(seq)
            + count.map_or(0, number_len)
            + strings.clone().map(string_len).sum::<usize>();
        self.reserve(1 + number_len(body as u64) + body);
        let at = self.bytes.len();
        let bytes = &mut self.bytes;
        bytes.push(if same { SAME_FIELDS } else { 0 });
        put_number(bytes, body as u64);
        put_number(bytes, ms);
        put_number(bytes, seq);
        if let Some(count) = count {
            put_number(bytes, count);
        }
        strings.for_each(|string| put_string(bytes, string));
        self.live += 1;
        self.last = id;
        at
    }

    /// Makes room by the allocator's steps, a quarter more at a time at least.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            let wanted = size_class(needed.max(self.bytes.capacity() + self.bytes.capacity() / 4));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    /// Gives the room for more entries back.
    pub(crate) fn seal(&mut self) {
        self.bytes.shrink_to(size_class(self.bytes.len()));
    }

    fn fields(&self) -> Reader<'_> {
        Reader { rest: self.bytes.get(..self.entries_at as usize).unwrap_or_default() }
    }

    fn has_fields(&self, pairs: Args<'_>) -> bool {
        let mut fields = self.fields();
        fields.number() == Some(pairs.len() as u64 / 2)
            && pairs.iter().step_by(2).all(|name| fields.string() == Some(name))
    }

    /// The id that names it, of its first entry.
    pub(crate) fn first(&self) -> Id {
        self.first
    }

    /// The id of its last entry, deleted or not.
    pub(crate) fn last(&self) -> Id {
        self.last
    }

    /// How many entries are there, and how many are deleted.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.live, self.dead)
    }

    /// The names of the fields that entries may leave out; how many goes in front.
    pub(crate) fn names(&self) -> (u64, impl Iterator<Item = &[u8]>) {
        let mut fields = self.fields();
        let count = fields.number().unwrap_or(0);
        (count, (0..count).map_while(move |_| fields.string()))
    }

    /// The entries, and whether each is deleted.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Item<'_>, bool)> {
        self.all().map(|one| (one.item, one.deleted))
    }

    /// The entries, deleted ones included.
    fn all(&self) -> All<'_> {
        let mut fields = self.fields();
        let count = fields.number().unwrap_or(0);
        All { block: self, fields, count, at: self.entries_at as usize }
    }

    /// The entries that are not deleted.
    pub(super) fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.all().filter(|one| !one.deleted).map(|one| one.item)
    }

    /// The last entry that is not deleted.
    pub(super) fn last_live(&self) -> Option<Item<'_>> {
        self.iter().last()
    }

    /// Flags entries as deleted, first to last, as `judge` says of each id that is not: whether it goes, or `None` to
    /// end. How many went.
    pub(super) fn delete_each(&mut self, mut judge: impl FnMut(Id) -> Option<bool>) -> u32 {
        let judged = self.all().filter(|one| !one.deleted).map_while(|one| Some((one.at, judge(one.item.id)?)));
        let places: Vec<usize> = judged.filter(|(_, goes)| *goes).map(|(at, _)| at).collect();
        places.iter().for_each(|at| self.flag(*at));
        places.len() as u32
    }

    /// Flags the entry of this id; whether it was there.
    pub(super) fn delete(&mut self, id: Id) -> bool {
        let found = self.all().find(|one| one.item.id >= id).filter(|one| one.item.id == id && !one.deleted);
        let Some(at) = found.map(|one| one.at) else { return false };
        self.flag(at);
        true
    }

    /// Marks the entry at this place as deleted.
    pub(crate) fn flag(&mut self, at: usize) {
        if let Some(flags) = self.bytes.get_mut(at) {
            *flags |= DELETED;
            self.live -= 1;
            self.dead += 1;
        }
    }
}

/// An entry: its id, its fields with their values.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Its id.
    pub id: Id,
    /// How many fields.
    pub len: usize,
    /// The names, when they are the block's.
    names: Option<Reader<'a>>,
    /// The values, each behind its name when `names` has none.
    values: Reader<'a>,
}

impl<'a> Item<'a> {
    /// Whether its fields are its block's.
    pub(crate) fn has_block_fields(self) -> bool {
        self.names.is_some()
    }

    /// The fields with their values, in the order they were given.
    pub fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let Item { len, mut names, mut values, .. } = self;
        (0..len).map_while(move |_| {
            let name = names.as_mut().unwrap_or(&mut values).string()?;
            Some((name, values.string()?))
        })
    }
}

/// A place in a block.
struct Placed<'a> {
    at: usize,
    deleted: bool,
    item: Item<'a>,
}

struct All<'a> {
    block: &'a Block,
    fields: Reader<'a>,
    count: u64,
    at: usize,
}

impl<'a> Iterator for All<'a> {
    type Item = Placed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Placed<'a>> {
        let at = self.at;
        let mut reader = Reader { rest: self.block.bytes.get(at..)? };
        let flags = reader.byte()?;
        let body = reader.string()?;
        self.at = self.block.bytes.len() - reader.rest.len();
        let mut values = Reader { rest: body };
        let (ms, seq) = (values.number()?, unzigzag(values.number()?));
        let first = self.block.first;
        let id = Id { ms: first.ms.wrapping_add(ms), seq: first.seq.wrapping_add(seq) };
        let same = flags & SAME_FIELDS != 0;
        let len = if same { self.count } else { values.number()? } as usize;
        let item = Item { id, len, names: same.then_some(self.fields), values };
        Some(Placed { at, deleted: flags & DELETED != 0, item })
    }
}

/// Reads numbers and strings off the front of a buffer.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(string)
    }
}

#[inline]
fn number_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
fn string_len(string: &[u8]) -> usize {
    number_len(string.len() as u64) + string.len()
}

#[inline]
fn put_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[inline]
fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    put_number(bytes, string.len() as u64);
    bytes.extend_from_slice(string);
}

/// A number near 2^64 counts down from it: makes it small.
fn zigzag(value: u64) -> u64 {
    (value << 1) ^ ((value as i64 >> 63) as u64)
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}
