//! JSON documents, as the module RedisJSON writes them: its name and version, then the document's text.

use super::encode::{length, string};
use super::read::Reader;
use super::{Bad, Limits};
use crate::json::{self, Document, Layout};

/// The value of a module that says itself where its parts end.
const MODULE: u8 = 7;
/// A string follows.
const STRING: u64 = 5;
/// The value ends.
const END: u64 = 0;
/// The version of RedisJSON 2's form, which is the text alone.
const VERSION: u64 = 3;
/// Name and version in one number, six bits a character and ten for the version, as redis packs them.
const ID: u64 = packed(b"ReJSON-RL") << 10 | VERSION;

const fn packed(name: &[u8; 9]) -> u64 {
    let (mut id, mut at) = (0, 0);
    while at < name.len() {
        let digit = match name[at] {
            upper @ b'A'..=b'Z' => upper - b'A',
            lower @ b'a'..=b'z' => lower - b'a' + 26,
            figure @ b'0'..=b'9' => figure - b'0' + 52,
            b'-' => 62,
            _ => 63,
        };
        id = id << 6 | digit as u64;
        at += 1;
    }
    id
}

/// Appends a document, its type first.
pub(super) fn write(document: &Document, out: &mut Vec<u8>) {
    out.push(MODULE);
    length(ID, out);
    length(STRING, out);
    let mut text = json::Text::new(usize::MAX);
    // Nothing is longer than no limit.
    let _ = text.write(document.root(), &Layout::default());
    string(&text.take(), out);
    length(END, out);
}

/// Reads what follows the type.
///
/// # Errors
/// [`Bad::Type`] of another module, or another version of it; [`Bad::Format`].
pub(super) fn read(reader: &mut Reader<'_>, limits: Limits) -> Result<Document, Bad> {
    if reader.length()? != ID {
        return Err(Bad::Type);
    }
    if reader.length()? != STRING {
        return Err(Bad::Format);
    }
    let text = reader.text()?;
    let root = text.member().with(|text| {
        let text = std::str::from_utf8(text).map_err(|_| Bad::Format)?;
        json::read(text, limits.unpacked_bytes_max).map_err(|_| Bad::Format)
    })?;
    if reader.length()? != END {
        return Err(Bad::Format);
    }
    Ok(Document::new(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_holds_the_name_and_the_version() {
        assert_eq!(ID & 1023, VERSION);
        let name: Vec<u8> = (0..9).rev().map(|at| (ID >> (10 + 6 * at) & 63) as u8).collect();
        assert_eq!(name, [17, 30, 9, 18, 14, 13, 62, 17, 11]); // R e J S O N - R L
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let limits = Limits { unpacked_bytes_max: 1 << 20 };
        for text in ["null", "[]", r#"{"a":[1,2.5,"x\u0001\u00e9",true,{}],"b":-9223372036854775808}"#, "\"\"", "17"] {
            let document = Document::new(json::read(text, 1 << 20).unwrap());
            let mut bytes = Vec::new();
            write(&document, &mut bytes);
            let mut reader = Reader::new(&bytes, limits);
            assert_eq!(reader.byte(), Ok(MODULE));
            let again = read(&mut reader, limits).unwrap();
            let mut second = Vec::new();
            write(&again, &mut second);
            assert_eq!(bytes, second, "{text}");
            for cut in 1..bytes.len() {
                assert!(read(&mut Reader::new(&bytes[1..cut], limits), limits).is_err(), "{text} cut at {cut}");
            }
        }
    }
}
