//! From a command's name to its row.

use super::Spec;

/// Command names to rows: one multiplication, one probe, no string compare up to 8 letters.
pub(super) struct Index {
    rows: [u16; Self::SIZE],
    words: [u64; Self::SIZE],
    multiplier: u64,
}

impl Index {
    /// So many places that a multiplier is found soon, for as many commands as redis has.
    const SIZE: usize = 1 << Self::BITS;
    const BITS: u32 = 13;
    const NONE: u16 = u16::MAX;

    /// Searches a multiplier under which no two names share a place.
    pub(super) const fn build(specs: &[Spec]) -> Self {
        let mut multiplier: u64 = 0x9E37_79B9_7F4A_7C15;
        loop {
            if let Some(index) = Self::try_build(specs, multiplier) {
                return index;
            }
            multiplier = multiplier.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F) | 1;
        }
    }

    const fn try_build(specs: &[Spec], multiplier: u64) -> Option<Self> {
        let mut index = Self { rows: [Self::NONE; Self::SIZE], words: [0; Self::SIZE], multiplier };
        let mut at = 0;
        while at < specs.len() {
            let name = specs[at].name.as_bytes();
            if is_top_level(name) {
                let word = word(name);
                let place = place(word, multiplier);
                if index.rows[place] != Self::NONE {
                    return None;
                }
                index.rows[place] = at as u16;
                index.words[place] = word;
            }
            at += 1;
        }
        Some(index)
    }

    #[inline]
    pub(super) fn find<'s>(&self, specs: &'s [Spec], name: &[u8]) -> Option<&'s Spec> {
        if name.is_empty() {
            return None;
        }
        let word = word(name);
        let place = place(word, self.multiplier);
        if self.words[place] != word {
            return None;
        }
        let spec = specs.get(usize::from(self.rows[place]))?;
        // Up to 8 letters the word says it all.
        let said = name.len() <= 8 && !spec.has_marks;
        let same = spec.name.len() == name.len() && (said || name.eq_ignore_ascii_case(spec.name.as_bytes()));
        same.then_some(spec)
    }
}

const fn is_top_level(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if name[at] == b'|' {
            return false;
        }
        let is_mark = matches!(name[at], b'_' | b'.');
        assert!(name[at].is_ascii_uppercase() || is_mark, "top-level names are letters, underscores and dots");
        at += 1;
    }
    true
}

#[inline]
const fn place(word: u64, multiplier: u64) -> usize {
    (word.wrapping_mul(multiplier) >> (u64::BITS - Index::BITS)) as usize
}

/// Up to 8 letters as one integer with the case bit cleared; of a longer name, its two ends mixed. Clearing bit 5 maps exactly the
/// two cases of a letter onto an upper-case letter, so no other byte can pass for one. DEL can pass for an underscore, and
/// another for a dot: names that have one are compared.
#[inline]
const fn word(name: &[u8]) -> u64 {
    let raw = match name {
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        [a, b, c, d, e, f, g, h, ..] => {
            let [.., i, j, k, l, m, n, o, p] = name else { return 0 };
            let first = u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            first ^ u64::from_le_bytes([*i, *j, *k, *l, *m, *n, *o, *p]).rotate_left(32)
        }
        [a, b, c, d, rest @ ..] => {
            let low = u32::from_le_bytes([*a, *b, *c, *d]) as u64;
            let high = match rest {
                [e, f, g] => u32::from_le_bytes([*e, *f, *g, 0]),
                [e, f] => u32::from_le_bytes([*e, *f, 0, 0]),
                [e] => *e as u32,
                _ => 0,
            } as u64;
            low | high << 32
        }
        [a, b, c] => u32::from_le_bytes([*a, *b, *c, 0]) as u64,
        [a, b] => u32::from_le_bytes([*a, *b, 0, 0]) as u64,
        [a] => *a as u64,
        [] => 0,
    };
    raw & !0x2020_2020_2020_2020
}
