//! Streams: nodes of entries, each a listpack, and the groups that read them.
//!
//! ```text
//! stream    nodes: (id, listpack)…  length  last id  [first id, highest deleted id, entries added]  groups…
//! listpack  entries, deleted ones, fields, their names…, 0, entries…
//! entry     flags, ms and seq from the node's id, [fields, (name, value)… | value…], elements of the entry before this
//! group     name, last id, [entries read], pending: (id, when, how often)…, consumers…
//! consumer  name, when seen, [when active], its pending ids…
//! ```
//!
//! What is in brackets is not in every [`Version`]. Ids of nodes and of what is pending are 16 bytes, highest first.

use std::collections::BTreeMap;

use super::decode::{Form, blob};
use super::encode::{length, raw, string};
use super::read::Reader;
use super::{Bad, listpack};
use crate::db::entry::Member;
use crate::db::entry::Stream;
use crate::db::entry::stream::{Block, Entries, Group, Id, Pending};
use crate::resp::OwnedArgs;

/// The type that is written: redis 7.0's.
const TYPE: u8 = 19;

/// Flags of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Which of the three forms a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// Redis 5.0's, type 15.
    First,
    /// Redis 7.0's, type 19: with what is remembered of entries that are gone.
    Second,
    /// Redis 7.2's, type 21: with when a consumer last was given something, which is not kept here.
    Third,
}

/// Appends a stream, its type first.
pub(super) fn write(stream: &Stream, out: &mut Vec<u8>) {
    out.push(TYPE);
    let entries = stream.entries();
    length(entries.all_blocks().len() as u64, out);
    for block in entries.all_blocks() {
        raw(&id_bytes(block.first()), out);
        raw(&node(block), out);
    }
    length(entries.len() as u64, out);
    for id in [entries.last_id(), entries.first_id(), entries.max_deleted_id()] {
        length(id.ms, out);
        length(id.seq, out);
    }
    length(entries.added(), out);
    length(stream.groups().len() as u64, out);
    stream.groups().for_each(|(name, it)| group(name, it, out));
}

fn id_bytes(id: Id) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

fn node(block: &Block) -> Vec<u8> {
    let mut cells = listpack::Writer::new();
    let ((live, dead), first) = (block.counts(), block.first());
    let (fields, names) = block.names();
    for number in [live.into(), dead.into(), fields as i64] {
        cells.push_int(number);
    }
    names.for_each(|name| cells.push(name));
    cells.push_int(0);
    for (item, deleted) in block.entries() {
        let same = item.has_block_fields();
        cells.push_int(if deleted { DELETED } else { 0 } | if same { SAME_FIELDS } else { 0 });
        cells.push_int(item.id.ms.wrapping_sub(first.ms) as i64);
        cells.push_int(item.id.seq.wrapping_sub(first.seq) as i64);
        let fields = item.len as i64;
        if !same {
            cells.push_int(fields);
        }
        for (name, value) in item.pairs() {
            if !same {
                cells.push(name);
            }
            cells.push(value);
        }
        cells.push_int(elements(fields, same));
    }
    cells.finish()
}

/// How many elements an entry of so many fields is.
fn elements(fields: i64, same: bool) -> i64 {
    if same { fields.wrapping_add(3) } else { fields.wrapping_mul(2).wrapping_add(4) }
}

fn group(name: &[u8], group: &Group, out: &mut Vec<u8>) {
    string(name, out);
    length(group.last_id.ms, out);
    length(group.last_id.seq, out);
    length(group.entries_read.unwrap_or(u64::MAX), out);
    length(group.pending_len() as u64, out);
    for (id, pending) in group.pending(Id::MIN) {
        out.extend_from_slice(&id_bytes(id));
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        length(pending.deliveries, out);
    }
    length(group.consumers().len() as u64, out);
    for (number, name) in group.consumers() {
        let (seen_ms, pending) = group.consumer(number).map_or((0, 0), |it| (it.seen_ms, it.pending()));
        string(name, out);
        out.extend_from_slice(&seen_ms.to_le_bytes());
        length(pending as u64, out);
        group.pending_of(number, Id::MIN).for_each(|(id, _)| out.extend_from_slice(&id_bytes(id)));
    }
}

/// Reads a stream, behind its type.
pub(super) fn read(reader: &mut Reader<'_>, version: Version) -> Result<Stream, Bad> {
    let count = reader.length()?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        blocks.push(read_node(reader)?);
    }
    let len = reader.length()?;
    let last_id = read_id(reader)?;
    let (mut max_deleted_id, mut added) = (Id::MIN, len);
    if version > Version::First {
        // The first id is that of the first entry, which is there.
        read_id(reader)?;
        (max_deleted_id, added) = (read_id(reader)?, reader.length()?);
    }
    let entries = Entries::of_blocks(blocks, last_id, max_deleted_id, added).ok_or(Bad::Format)?;
    if entries.len() as u64 != len {
        return Err(Bad::Format);
    }
    let mut stream = Stream::of(entries);
    let count = reader.length()?;
    (0..count).try_for_each(|_| read_group(reader, version, &mut stream))?;
    Ok(stream)
}

/// An id as two lengths.
fn read_id(reader: &mut Reader<'_>) -> Result<Id, Bad> {
    Ok(Id { ms: reader.length()?, seq: reader.length()? })
}

fn id_of(bytes: [u8; 16]) -> Id {
    let both = u128::from_be_bytes(bytes);
    Id { ms: (both >> 64) as u64, seq: both as u64 }
}

fn read_node(reader: &mut Reader<'_>) -> Result<Block, Bad> {
    let name = reader.blob()?;
    let first = id_of(name.as_ref().try_into().map_err(|_| Bad::Format)?);
    let blob = blob(reader, Form::Listpack)?;
    let mut cells = Cells(listpack::elements(&blob)?);
    let counts = (cells.int()?, cells.int()?);
    let fields = cells.count()?;
    let names = cells.strings(fields)?;
    if cells.int()? != 0 {
        return Err(Bad::Format);
    }
    let mut block = Block::new(first, names.as_args().iter());
    let mut is_first = true;
    while let Some(flags) = cells.0.next() {
        let Member::Int(flags @ 0..=3) = flags? else { return Err(Bad::Format) };
        let (ms, seq) = (cells.int()? as u64, cells.int()? as u64);
        let id = Id { ms: first.ms.wrapping_add(ms), seq: first.seq.wrapping_add(seq) };
        if id < block.last() || id == block.last() && !is_first {
            return Err(Bad::Format);
        }
        is_first = false;
        let same = flags & SAME_FIELDS != 0;
        let fields = if same { fields } else { cells.count()? };
        let strings = cells.strings(if same { fields } else { fields.saturating_mul(2) })?;
        if cells.int()? != elements(fields as i64, same) {
            return Err(Bad::Format);
        }
        let at = block.put(id, same, strings.as_args().iter());
        if flags & DELETED != 0 {
            block.flag(at);
        }
    }
    let (live, dead) = block.counts();
    // A node goes with its last entry, deleted ones counted.
    if is_first || counts != (live.into(), dead.into()) {
        return Err(Bad::Format);
    }
    block.seal();
    Ok(block)
}

/// The elements of a node's listpack.
struct Cells<'a>(listpack::Elements<'a>);

impl Cells<'_> {
    fn int(&mut self) -> Result<i64, Bad> {
        match self.0.next().ok_or(Bad::Format)?? {
            Member::Int(int) => Ok(int),
            Member::Bytes(_) => Err(Bad::Format),
        }
    }

    /// A number of fields: there is one at least.
    fn count(&mut self) -> Result<usize, Bad> {
        usize::try_from(self.int()?).ok().filter(|count| *count > 0).ok_or(Bad::Format)
    }

    /// So many strings, numbers among them.
    fn strings(&mut self, count: usize) -> Result<OwnedArgs, Bad> {
        let mut strings = OwnedArgs::new();
        for _ in 0..count {
            self.0.next().ok_or(Bad::Format)??.with(|string| strings.push(string));
        }
        Ok(strings)
    }
}

fn read_group(reader: &mut Reader<'_>, version: Version, stream: &mut Stream) -> Result<(), Bad> {
    let name = reader.text()?;
    let last_id = read_id(reader)?;
    let entries_read = match version {
        Version::First => stream.entries().added_up_to(last_id),
        _ => Some(reader.length()?).filter(|read| *read != u64::MAX),
    };
    name.member().with(|name| {
        if !stream.create_group(name, last_id, entries_read) {
            return Err(Bad::Format);
        }
        stream.with_group(name, |group, _| read_pending(reader, version, group)).unwrap_or(Err(Bad::Format))
    })
}

/// Reads what a group has pending, and whose it is: each entry is one consumer's.
fn read_pending(reader: &mut Reader<'_>, version: Version, group: &mut Group) -> Result<(), Bad> {
    let mut pending = BTreeMap::new();
    let count = reader.length()?;
    for _ in 0..count {
        let (id, delivered_ms) = (id_of(reader.array()?), u64::from_le_bytes(reader.array()?));
        let twice = pending.insert(id, (delivered_ms, reader.length()?)).is_some();
        if twice {
            return Err(Bad::Format);
        }
    }
    let consumers = reader.length()?;
    for _ in 0..consumers {
        let name = reader.text()?;
        let seen_ms = u64::from_le_bytes(reader.array()?);
        if version >= Version::Third {
            let _active_ms: [u8; 8] = reader.array()?;
        }
        let is_new = name.member().with(|name| group.create(name, seen_ms));
        let number = name.member().with(|name| group.named(name)).filter(|_| is_new).ok_or(Bad::Format)?;
        let count = reader.length()?;
        for _ in 0..count {
            let id = id_of(reader.array()?);
            let (delivered_ms, deliveries) = pending.remove(&id).ok_or(Bad::Format)?;
            group.set_pending(id, Pending { consumer: number, delivered_ms, deliveries });
        }
    }
    if pending.is_empty() { Ok(()) } else { Err(Bad::Format) }
}
