//! LCS: what two strings have in common, in order.

use super::parse::{int, is};
use super::strings::copy;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// Bytes that redis takes for each cell of its table: its limit, which is ours, counts them.
const CELL_BYTES: usize = 4;

/// The options of LCS.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    len: bool,
    idx: bool,
    lengths: bool,
    least: u64,
}

impl Options {
    fn read(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            match option {
                option if is(option, "IDX") => options.idx = true,
                option if is(option, "LEN") => options.len = true,
                option if is(option, "WITHMATCHLEN") => options.lengths = true,
                option if is(option, "MINMATCHLEN") => {
                    let least = int(args.next().ok_or(CommandError::Syntax)?)?;
                    options.least = u64::try_from(least).unwrap_or(0);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        if options.idx && options.len {
            return Err(CommandError::Text("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// A stretch that both strings have: where it begins in each, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// What the longest common subsequence is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Common {
    text: Vec<u8>,
    /// From the end to the beginning.
    matches: Vec<Match>,
}

/// For each pair of prefixes, whether the way back leads to a shorter `a` rather than a shorter `b`: one bit per cell.
/// Equal last bytes shorten both and need none.
struct Ways {
    bits: Vec<u64>,
    row: usize,
}

impl Ways {
    /// Fills the table row by row, two rows of lengths being kept; the length of the whole.
    fn of(a: &[u8], b: &[u8]) -> (Self, u32) {
        let row = b.len().div_ceil(64);
        let mut bits = vec![0u64; a.len() * row];
        let mut lengths = vec![0u32; b.len() + 1];
        for (a, bits) in a.iter().zip(bits.chunks_mut(row.max(1))) {
            // The length at the left, and the one above the left.
            let (mut left, mut corner) = (0, 0);
            for (j, (b, above)) in b.iter().zip(lengths.iter_mut().skip(1)).enumerate() {
                let way_up = *above > left;
                let here = if a == b { corner + 1 } else { left.max(*above) };
                if let Some(word) = bits.get_mut(j / 64) {
                    *word |= u64::from(way_up) << (j % 64);
                }
                (left, corner, *above) = (here, *above, here);
            }
        }
        (Self { bits, row }, lengths.last().copied().unwrap_or(0))
    }

    /// Whether the way from the prefixes that end before `i` and `j` leads to a shorter `a`.
    fn up(&self, i: usize, j: usize) -> bool {
        self.bits.get(i * self.row + j / 64).is_some_and(|word| word >> (j % 64) & 1 == 1)
    }
}

/// Walks back through the table, taking the way redis takes.
fn common(a: &[u8], b: &[u8]) -> Common {
    let (ways, len) = Ways::of(a, b);
    let mut common = Common { text: Vec::with_capacity(len as usize), matches: Vec::new() };
    let (mut i, mut j) = (a.len(), b.len());
    let mut open: Option<Match> = None;
    while let (Some(up), Some(left)) = (i.checked_sub(1), j.checked_sub(1)) {
        if a.get(up) == b.get(left) {
            common.text.extend(a.get(up));
            open = Some(Match { a: up, b: left, len: open.map_or(0, |open| open.len) + 1 });
            (i, j) = (up, left);
        } else {
            common.matches.extend(open.take());
            if ways.up(up, left) { i = up } else { j = left }
        }
    }
    common.matches.extend(open);
    common.text.reverse();
    common
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`
pub(super) const LCS: Spec = Spec {
    name: "LCS",
    family: Family::String,
    since: "7.0.0",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    acl: Acl::READ.or(Acl::STRING).or(Acl::SLOW),
    keys: &[KeySpec::at(1).to(1, 1).doing(KeyFlags::RO.or(KeyFlags::ACCESS))],
    summary: "The longest common subsequence of two strings; with LEN its length, with IDX where it lies.",
    reply: "bulk string; integer; map of matches and length",
    run: lcs,
    ..Spec::ROW
};
fn lcs(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (a, b) = (text(cx, args.get(1)), text(cx, args.get(2)));
    let (Ok(a), Ok(b)) = (a, b) else {
        return Err(CommandError::Text("ERR The specified keys must contain string values"));
    };
    let options = Options::read(args.from(3))?;
    let cells = (a.len() + 1).saturating_mul(b.len() + 1);
    if cells.saturating_mul(CELL_BYTES) > cx.engine.config.limits.resp.bulk_bytes_max {
        return Err(CommandError::Text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    if options.len {
        cx.out.int(Ways::of(&a, &b).1.into());
        return Ok(());
    }
    let common = common(&a, &b);
    if options.idx {
        show_matches(cx, options, &common);
    } else {
        cx.out.bulk(&common.text);
    }
    Ok(())
}

fn text(cx: &mut Cx<'_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    let key = cx.key(key);
    let mut text = Vec::new();
    if let Some(value) = cx.keys.string(key)? {
        copy(value, &mut text);
    }
    Ok(text)
}

fn show_matches(cx: &mut Cx<'_>, options: Options, common: &Common) {
    let shown = || common.matches.iter().filter(|each| each.len as u64 >= options.least);
    cx.out.map(2);
    cx.out.bulk("matches");
    cx.out.array(shown().count());
    for each in shown() {
        cx.out.array(if options.lengths { 3 } else { 2 });
        for from in [each.a, each.b] {
            cx.out.array(2);
            cx.out.int(from as i64);
            cx.out.int((from + each.len - 1) as i64);
        }
        if options.lengths {
            cx.out.int(each.len as i64);
        }
    }
    cx.out.bulk("len");
    cx.out.int(common.text.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain table of lengths.
    fn length(a: &[u8], b: &[u8]) -> usize {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                table[i + 1][j + 1] = if x == y { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
            }
        }
        table[a.len()][b.len()]
    }

    proptest! {
        #[test]
        fn it_is_common_and_as_long_as_can_be(
            a in proptest::collection::vec(0u8..4, 0..90), b in proptest::collection::vec(0u8..4, 0..150),
        ) {
            let common = common(&a, &b);
            prop_assert_eq!(common.text.len(), length(&a, &b));
            prop_assert_eq!(Ways::of(&a, &b).1 as usize, length(&a, &b));
            let (mut in_a, mut in_b) = (Vec::new(), Vec::new());
            for each in common.matches.iter().rev() {
                in_a.extend_from_slice(&a[each.a..each.a + each.len]);
                in_b.extend_from_slice(&b[each.b..each.b + each.len]);
            }
            prop_assert!(in_a == common.text && in_b == common.text);
        }
    }
}
