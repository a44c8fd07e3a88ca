//! Values to RDB bytes, in the forms redis 7.0 gives them. Nothing is compressed.

use super::{documents, intset, listpack, streams};
use crate::db::entry::{HashRef, List, Member, ObjectRef, SetRef, SortedSetRef, Value};
use crate::resp::{parse_i64, write_double};

/// Most bytes of a list's node, as redis's `list-max-listpack-size` of -2.
const NODE_BYTES_MAX: usize = 8192;
/// What redis adds to an element when it asks whether a node has room.
const ELEMENT_OVERHEAD: usize = 8;
/// Redis refuses listpacks that are longer.
const LISTPACK_BYTES_MAX: usize = 1 << 30;

/// Appends a value, its type first.
pub(super) fn value(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Int(int) => {
            out.push(0);
            integer(int, out);
        }
        Value::Bytes(bytes) => {
            out.push(0);
            string(bytes, out);
        }
        Value::Shared(bytes) => {
            out.push(0);
            string(bytes, out);
        }
        Value::Object(ObjectRef::List(it)) => list(it, out),
        Value::Object(ObjectRef::Hash(it)) => match it.fields_due_at_ms() {
            None => hash(it, out),
            Some(first_ms) => timed_hash(it, first_ms, out),
        },
        Value::Object(ObjectRef::Set(it)) => set(it, out),
        Value::Object(ObjectRef::SortedSet(it)) => sorted_set(it, out),
        Value::Object(ObjectRef::Stream(it)) => streams::write(it, out),
        Value::Object(ObjectRef::Json(it)) => documents::write(it, out),
    }
}

/// Appends a length, or any number that is mostly small.
pub(super) fn length(length: u64, out: &mut Vec<u8>) {
    match length {
        0..=0x3f => out.push(length as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
        _ => match u32::try_from(length) {
            Ok(length) => {
                out.push(0x80);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&length.to_be_bytes());
            }
        },
    }
}

/// Appends a string, one that is a number as such.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    match parse_i64(bytes) {
        Some(int) => integer(int, out),
        None => raw(bytes, out),
    }
}

/// Appends a string that is no number.
pub(super) fn raw(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn integer(int: i64, out: &mut Vec<u8>) {
    let le = int.to_le_bytes();
    let (kind, bytes) = match int {
        -0x80..=0x7f => (0xc0, 1),
        -0x8000..=0x7fff => (0xc1, 2),
        -0x8000_0000..=0x7fff_ffff => (0xc2, 4),
        _ => return raw(itoa::Buffer::new().format(int).as_bytes(), out),
    };
    out.push(kind);
    out.extend_from_slice(&le[..bytes]);
}

fn list(list: &List, out: &mut Vec<u8>) {
    let mut nodes = vec![listpack::Writer::new()];
    for item in list.iter() {
        match nodes.last_mut() {
            Some(node) if node.is_empty() || node.len() + item.len() + ELEMENT_OVERHEAD <= NODE_BYTES_MAX => {
                node.push(item);
            }
            _ => {
                let mut node = listpack::Writer::new();
                node.push(item);
                nodes.push(node);
            }
        }
    }
    out.push(18);
    length(nodes.len() as u64, out);
    for node in nodes {
        length(2, out);
        raw(&node.finish(), out);
    }
}

fn hash(hash: HashRef<'_>, out: &mut Vec<u8>) {
    if hash.packed_bytes().is_some_and(|bytes| bytes < LISTPACK_BYTES_MAX) {
        let mut writer = listpack::Writer::new();
        for (field, value) in hash.iter() {
            writer.push(field);
            text(value, |value| writer.push(value));
        }
        out.push(16);
        return raw(&writer.finish(), out);
    }
    out.push(4);
    length(hash.len() as u64, out);
    for (field, value) in hash.iter() {
        string(field, out);
        text(value, |value| string(value, out));
    }
}

/// A hash some of whose fields expire, the first at `first_ms`: as redis 7.4 writes it. How long after that one a field
/// expires stands before it, one more than it is; 0 before a field that does not.
fn timed_hash(hash: HashRef<'_>, first_ms: u64, out: &mut Vec<u8>) {
    out.push(24);
    out.extend_from_slice(&first_ms.to_le_bytes());
    length(hash.len() as u64, out);
    for (field, value) in hash.iter() {
        length(hash.expire_at_ms(field).map_or(0, |at_ms| at_ms.saturating_sub(first_ms) + 1), out);
        string(field, out);
        text(value, |value| string(value, out));
    }
}

/// The bytes of a value that is a string.
fn text<R>(value: Value<'_>, show: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Value::Int(int) => show(itoa::Buffer::new().format(int).as_bytes()),
        Value::Bytes(bytes) => show(bytes),
        Value::Shared(bytes) => show(bytes),
        // A hash has no collections in it.
        Value::Object(_) => show(b""),
    }
}

fn set(set: SetRef<'_>, out: &mut Vec<u8>) {
    if set.encoding() == "intset" {
        let ints: Vec<i64> = set.iter().filter_map(int_of).collect();
        let mut blob = Vec::new();
        intset::write(&ints, &mut blob);
        out.push(11);
        return raw(&blob, out);
    }
    // Also the small ones: redis 7.0 has no sets in listpacks.
    out.push(2);
    length(set.len() as u64, out);
    for member in set.iter() {
        member.with(|member| string(member, out));
    }
}

fn int_of(member: Member<'_>) -> Option<i64> {
    match member {
        Member::Int(int) => Some(int),
        Member::Bytes(_) => None,
    }
}

fn sorted_set(set: SortedSetRef<'_>, out: &mut Vec<u8>) {
    if set.packed_bytes().is_some_and(|bytes| bytes < LISTPACK_BYTES_MAX) {
        let mut writer = listpack::Writer::new();
        set.visit(0, set.len(), false, &mut |member, score| {
            writer.push(member);
            push_score(score, &mut writer);
        });
        out.push(17);
        return raw(&writer.finish(), out);
    }
    out.push(5);
    length(set.len() as u64, out);
    // As redis: the highest first, so that a reader inserts at the front.
    set.visit(0, set.len(), true, &mut |member, score| {
        string(member, out);
        out.extend_from_slice(&score.to_le_bytes());
    });
}

fn push_score(score: f64, writer: &mut listpack::Writer) {
    let most = (i64::MAX / 2) as f64;
    if (-most..=most).contains(&score) && score == score.trunc() {
        return writer.push_int(score as i64);
    }
    let mut text = Vec::new();
    write_double(score, &mut text);
    writer.push(&text);
}
