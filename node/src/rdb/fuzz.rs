//! The fuzz body of RESTORE payloads.

use super::{Limits, dump, longest, opened, restore, sealed};
use crate::db::entry::{Entry, Growth, Object, Value};
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
    let again = dump(entry.value()).unwrap_or_else(|bad| panic!("it cannot be dumped: {bad:?}"));
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
        Value::Object(object) => object.heap_bytes(),
    }
}

/// The elements as text: in order where there is one, sorted where there is none.
pub(crate) fn elements(value: Value<'_>) -> Vec<String> {
    let mut all = Vec::new();
    match value {
        Value::Object(Object::List(list)) => return list.iter().map(|item| item.escape_ascii().to_string()).collect(),
        Value::Object(Object::Hash(hash)) => {
            all.extend(hash.iter().map(|(field, value)| format!("{} {value:?}", field.escape_ascii())));
        }
        Value::Object(Object::Set(set)) => {
            all.extend(set.iter().map(|member| member.with(|member| member.escape_ascii().to_string())));
        }
        Value::Object(Object::SortedSet(set)) => {
            // Zeros of both signs are one score, and only a big set keeps them apart.
            set.visit(0, set.len(), false, &mut |member, score| {
                all.push(format!("{} {:?}", member.escape_ascii(), score + 0.0));
            });
        }
        value => all.push(format!("{value:?}")),
    }
    all.sort();
    all
}
