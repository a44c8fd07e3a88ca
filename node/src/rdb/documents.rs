//! JSON documents, as RedisJSON 2 writes them: a module's value of one string, which is JSON.

use super::encode::{length, raw};
use super::read::Reader;
use super::{Bad, Limits};
use crate::db::entry::Json;
use crate::json::{Layout, Text, read as read_json};

/// A module's value, of redis 5.0 and later.
pub(super) const MODULE: u8 = 7;

/// `ReJSON-RL` in six bits a letter, and the version of its form, 3, in ten.
const REDISJSON_3: u64 = id(b"ReJSON-RL", 3);
/// What a part of a module's value is: a string, or the end.
const STRING: u64 = 5;
const END: u64 = 0;

const fn id(name: &[u8; 9], version: u64) -> u64 {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut id, mut at) = (0, 0);
    while at < name.len() {
        let mut letter = 0;
        while LETTERS[letter] != name[at] {
            letter += 1;
        }
        id = id << 6 | letter as u64;
        at += 1;
    }
    id << 10 | version
}

/// Appends a document, its type first.
pub(super) fn write(document: &Json, out: &mut Vec<u8>) {
    // What is held in memory can be written there.
    let mut text = Text::new(usize::MAX);
    let _ = text.write(document.root(), &Layout::default());
    out.push(MODULE);
    length(REDISJSON_3, out);
    length(STRING, out);
    raw(&text.take(), out);
    length(END, out);
}

/// Reads a document behind its type; the length of its text too.
pub(super) fn read(reader: &mut Reader<'_>, limits: Limits) -> Result<(Json, usize), Bad> {
    if reader.length()? != REDISJSON_3 {
        return Err(Bad::Type);
    }
    if reader.length()? != STRING {
        return Err(Bad::Format);
    }
    let text = reader.text()?;
    let read = text.member().with(|text| {
        let node = std::str::from_utf8(text).ok().and_then(|text| read_json(text, limits.unpacked_bytes_max).ok());
        node.map(|node| (Json::new(node), text.len()))
    });
    if reader.length()? == END { read.ok_or(Bad::Format) } else { Err(Bad::Format) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::db::entry::{Growth, Json, ObjectRef, Value};
    use crate::db::table::KeyHash;
    use crate::rdb::{Bad, Limits, dump, restore, sealed};

    #[test]
    fn a_document_survives() {
        let limits = Limits { unpacked_bytes_max: 1 << 20 };
        let growth = Growth::new(KeyHash::new(7));
        for text in [r#"{"a":[1,2.5,null],"b":{"é":"x"}}"#, "12", "[]", "\"text\""] {
            let document = Json::new(crate::json::read(text, 1 << 20).unwrap());
            let payload = dump(Value::Object(ObjectRef::Json(&document)));
            let entry = restore(&payload, b"k", None, &growth, limits).unwrap();
            let again = entry.value().collection::<Json>().unwrap();
            assert_eq!(*again.root(), crate::json::read(text, 1 << 20).unwrap());
        }
        // The id that redis gives the type in a payload: `ReJSON-RL` and 3.
        let document = Json::new(crate::json::read("[]", 100).unwrap());
        let payload = dump(Value::Object(ObjectRef::Json(&document)));
        assert!(payload.starts_with(b"\x07\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x05\x02\x5b\x5d\x00"));
        let other = sealed(b"\x07\x81\0\0\0\0\0\0\0\x03\x05\x02[]\0".to_vec());
        assert_eq!(restore(&other, b"k", None, &growth, limits).err(), Some(Bad::Type));
    }
}
