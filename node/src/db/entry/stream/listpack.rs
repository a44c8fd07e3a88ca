//! How many bytes redis's listpack would take for the same entries.
//!
//! A block ends where redis's node would: what `XTRIM ~` removes is whole nodes, and its answer says how many entries
//! that were. (listpack.c: an element is its encoding, its bytes, and its length once more to walk backwards.)

use crate::resp::{Args, parse_i64};

/// The head and the end mark of a listpack.
const EMPTY: usize = 7;

/// What a node takes before its first entry: two counts, the fields' names, and what ends them.
pub(super) fn head(pairs: Args<'_>) -> usize {
    let names: usize = pairs.iter().step_by(2).map(string).sum();
    // A count of entries is below 128 as nodes are limited to 100.
    EMPTY + int(1) + int(0) + int((pairs.len() / 2) as i64) + names + int(0)
}

/// What an entry takes, that is so far from the node's first one.
pub(super) fn entry(ms: u64, seq: u64, pairs: Args<'_>, same_fields: bool) -> usize {
    let fields = pairs.len() / 2;
    let ids = int(0) + int(ms as i64) + int(seq as i64);
    if same_fields {
        ids + pairs.iter().skip(1).step_by(2).map(string).sum::<usize>() + int(fields as i64 + 3)
    } else {
        ids + int(fields as i64) + pairs.iter().map(string).sum::<usize>() + int(2 * fields as i64 + 4)
    }
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
