//! The fuzz body of RESTORE payloads.

use super::{Limits, dump, longest, opened, restore, sealed};
use crate::db::entry::stream::Id;
use crate::db::entry::{Entry, Growth, ObjectRef, Stream, Value};
use crate::db::table::KeyHash;

/// Most bytes that compressed strings of one input may become.
const LIMITS: Limits = Limits { unpacked_bytes_max: 1 << 20 };

/// Reads `data` as a payload's body, under a right footer: a value comes of it or an error, memory stays in proportion,
/// and a value survives its own dump.
///
/// # Panics
/// A finding.
pub fn fuzz_restore(data: &[u8]) {
    let _ = opened(data);
    let payload = sealed(data.to_vec());
    let growth = Growth::new(KeyHash::new(7));
    let restored = restore(&payload, b"key", None, &growth, LIMITS);
    let longest = longest(&payload, LIMITS);
    let Ok(entry) = restored else { return };
    let bytes = heap_bytes(&entry);
    assert!(bytes <= 64 * data.len() + 4 * LIMITS.unpacked_bytes_max, "{} bytes became {bytes}", data.len());
    assert!(longest.is_ok(), "what can be restored can be measured");
    let again = dump(entry.value());
    let copy = restore(&again, b"key", None, &growth, Limits { unpacked_bytes_max: 0 });
    let copy = copy.unwrap_or_else(|bad| panic!("its own dump is refused: {bad:?}"));
    assert_eq!(elements(copy.value()), elements(entry.value()), "its own dump is another value");
    assert_eq!(copy.kind(), entry.kind());
}

fn heap_bytes(entry: &Entry) -> usize {
    match entry.value() {
        Value::Int(_) => 0,
        Value::Bytes(bytes) => bytes.len(),
        Value::Shared(bytes) => bytes.len(),
        Value::Object(_) => entry.heap_bytes(),
    }
}

/// The elements as text: in order where there is one, sorted where there is none.
pub(crate) fn elements(value: Value<'_>) -> Vec<String> {
    let mut all = Vec::new();
    match value {
        Value::Object(ObjectRef::List(list)) => {
            return list.iter().map(|item| item.escape_ascii().to_string()).collect();
        }
        Value::Object(ObjectRef::Hash(hash)) => {
            all.extend(hash.iter().map(|(field, value)| match hash.expire_at_ms(field) {
                None => format!("{} {value:?}", field.escape_ascii()),
                Some(at_ms) => format!("{} {value:?} until {at_ms}", field.escape_ascii()),
            }));
        }
        Value::Object(ObjectRef::Set(set)) => {
            all.extend(set.iter().map(|member| member.with(|member| member.escape_ascii().to_string())));
        }
        Value::Object(ObjectRef::SortedSet(set)) => {
            // Zeros of both signs are one score, and only a big set keeps them apart.
            set.visit(0, set.len(), false, &mut |member, score| {
                all.push(format!("{} {:?}", member.escape_ascii(), score + 0.0));
            });
        }
        Value::Object(ObjectRef::Stream(stream)) => return parts(stream),
        value => all.push(format!("{value:?}")),
    }
    all.sort();
    all
}

/// Everything of a stream, block by block, deleted entries included.
fn parts(stream: &Stream) -> Vec<String> {
    let entries = stream.entries();
    let ids = [entries.first_id(), entries.last_id(), entries.max_deleted_id()];
    let mut all = vec![format!("{} entries of {}, {ids:?}", entries.len(), entries.added())];
    for block in entries.all_blocks() {
        all.push(format!("{} {:?}", block.first(), block.counts()));
        for (item, deleted) in block.entries() {
            let pairs: Vec<String> =
                item.pairs().map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii())).collect();
            all.push(format!("{} {deleted} {} {pairs:?}", item.id, item.has_block_fields()));
        }
    }
    for (name, group) in stream.groups() {
        all.push(format!("group {} {} {:?}", name.escape_ascii(), group.last_id, group.entries_read));
        for (number, name) in group.consumers() {
            let seen_ms = group.consumer(number).map(|consumer| consumer.seen_ms);
            all.push(format!("consumer {} {seen_ms:?}", name.escape_ascii()));
            let pending = group.pending_of(number, Id::MIN);
            all.extend(pending.map(|(id, it)| format!("{id} {} {}", it.delivered_ms, it.deliveries)));
        }
    }
    all
}
