//! Scanning what is inside a key: HSCAN, SSCAN and ZSCAN.

use super::parse::{ScanOptions, cursor};
use crate::db::entry::{Collection, Kind};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::Args;

/// What a step of a scan shows: bulk strings, in the order of the reply.
pub(super) struct Page<'o> {
    options: &'o ScanOptions<'o>,
    shown: Vec<Vec<u8>>,
    seen: usize,
}

impl Page<'_> {
    /// Counts a name, and shows it with what `with` adds, unless only names are wanted, if it fits the pattern.
    pub(super) fn add(&mut self, name: &[u8], with: impl FnOnce(&mut Vec<Vec<u8>>)) {
        self.seen += 1;
        if self.options.admits(name) {
            self.shown.push(name.to_vec());
            if !self.options.no_values {
                with(&mut self.shown);
            }
        }
    }
}

/// Runs `NAME key cursor [MATCH pattern] [COUNT n]`; `step` does one step from a cursor and answers the next.
pub(super) fn scan<C: Collection>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    step: impl Fn(C::View<'_>, u64, &mut Page<'_>) -> u64,
) -> Result<(), CommandError> {
    let mut next = cursor(args.get(2))?;
    let key = cx.key(args.get(1));
    let Some(collection) = cx.keys.collection::<C>(key)? else {
        // As redis: what is scanned is looked at before the options are.
        cx.out.array(2);
        cx.out.bulk("0");
        cx.out.array(0);
        return Ok(());
    };
    let options = ScanOptions::of_collection(args.from(3), matches!(C::KIND, Kind::Hash))?;
    let mut page = Page { options: &options, shown: Vec::new(), seen: 0 };
    // As redis: so many steps at most, whatever they find.
    for _ in 0..options.count.saturating_mul(10) {
        next = step(collection, next, &mut page);
        if next == 0 || page.seen >= options.count {
            break;
        }
    }
    cx.out.array(2);
    cx.out.bulk(itoa::Buffer::new().format(next));
    cx.out.array(page.shown.len());
    page.shown.iter().for_each(|text| cx.out.bulk(text));
    Ok(())
}
