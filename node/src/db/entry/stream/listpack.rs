//! How many bytes redis's listpack would take for the same entries.
//!
//! A block ends where redis's node would: what `XTRIM ~` removes is whole nodes, and its answer says how many entries
//! that were. (listpack.c: an element is its encoding, its bytes, and its length once more to walk backwards.)

use crate::resp::parse_i64;

/// The head and the end mark of a listpack.
const EMPTY: usize = 7;

/// What a node takes before its first entry: two counts, the fields' names, and what ends them.
pub(super) fn head<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
    let fields = names.len() as i64;
    // A count of entries is below 128 as nodes are limited to 100.
    EMPTY + int(1) + int(0) + int(fields) + names.map(string).sum::<usize>() + int(0)
}

/// What an entry takes, that is so far from the node's first one: its values if its fields are the node's, else each
/// behind its name.
pub(super) fn entry<'a>(
    ms: u64,
    seq: u64,
    strings: impl ExactSizeIterator<Item = &'a [u8]>,
    same_fields: bool,
) -> usize {
    let count = strings.len() as i64;
    let ids = int(0) + int(ms as i64) + int(seq as i64);
    let numbers = if same_fields { int(count + 3) } else { int(count / 2) + int(count + 4) };
    ids + numbers + strings.map(string).sum::<usize>()
}

/// An element that is a number.
fn int(value: i64) -> usize {
    match value {
        0..=127 => 2,
        -4096..=4095 => 3,
        -0x8000..=0x7fff => 4,
        -0x80_0000..=0x7f_ffff => 5,
        -0x8000_0000..=0x7fff_ffff => 6,
        _ => 10,
    }
}

/// An element that is a string; one that is a number is kept as such.
fn string(text: &[u8]) -> usize {
    // The longest number has 20 characters.
    if text.len() <= 20
        && let Some(value) = parse_i64(text)
    {
        return int(value);
    }
    let encoded = text.len()
        + match text.len() {
            0..=63 => 1,
            64..=4095 => 2,
            _ => 5,
        };
    encoded
        + match encoded {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        }
}
