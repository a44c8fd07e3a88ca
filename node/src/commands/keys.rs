//! Key extraction: interprets the key specs of the command table.
//!
//! Permits, locks, transactions and `COMMAND GETKEYS` ask here; nobody guesses `args[1]`. Total: whatever the
//! arguments are, it names positions that exist or says it cannot tell.

use super::{Begin, Find, KeyFlags, KeySpec, Spec};
use crate::resp::Args;

/// The arguments do not say where the keys are; the caller must refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownKeys;

/// Calls `visit` with the position and flags of every key, in the order of the specs.
///
/// # Errors
/// [`UnknownKeys`] when a spec does not fit the arguments; keys found before that were visited.
#[inline]
pub fn each(spec: &Spec, args: Args<'_>, visit: &mut dyn FnMut(usize, KeyFlags)) -> Result<(), UnknownKeys> {
    spec.keys.iter().try_for_each(|one| each_of(one, args, visit))
}

fn each_of(spec: &KeySpec, args: Args<'_>, visit: &mut dyn FnMut(usize, KeyFlags)) -> Result<(), UnknownKeys> {
    if spec.flags.has(KeyFlags::NOT_KEY) {
        return Ok(());
    }
    let Some(first) = begin(spec.begin, args) else { return Ok(()) };
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => (first, range_end(first, last, limit, args.len())?, step),
        Find::KeyNum { number, first: offset, step } => key_num(first, number, offset, step, args)?,
    };
    if last >= args.len() || step == 0 {
        return Err(UnknownKeys);
    }
    let flags = spec.flags_of.map_or(spec.flags, |flags_of| flags_of(args));
    (first..=last).step_by(usize::from(step)).for_each(|position| visit(position, flags));
    Ok(())
}

/// `None`: the keyword is not there, so these keys are not either.
fn begin(begin: Begin, args: Args<'_>) -> Option<usize> {
    match begin {
        Begin::Index(index) => Some(usize::from(index)),
        Begin::Unknown(search) => search(args),
        Begin::Option(keyword, from, search) => search(args).or_else(|| keyword_at(keyword, from, args)),
        Begin::Keyword(keyword, from) => keyword_at(keyword, from, args),
    }
}

/// What follows the keyword.
fn keyword_at(keyword: &str, from: i16, args: Args<'_>) -> Option<usize> {
    let is_it = |position: &usize| args.get(*position).eq_ignore_ascii_case(keyword.as_bytes());
    let start = usize::from(from.unsigned_abs());
    let found = if from >= 0 {
        (start..args.len()).find(is_it)
    } else {
        (1..=args.len().checked_sub(start)?).rev().find(is_it)
    };
    found.map(|position| position + 1)
}

fn range_end(first: usize, last: i16, limit: u16, count: usize) -> Result<usize, UnknownKeys> {
    if let Ok(offset) = usize::try_from(last) {
        return Ok(first + offset);
    }
    let rest = count.checked_sub(first).ok_or(UnknownKeys)?;
    if last == -1 && limit > 1 {
        return (first + rest / usize::from(limit)).checked_sub(1).ok_or(UnknownKeys);
    }
    if rest == 0 && last == -1 {
        // None, where some may follow (PFMERGE of one key).
        return first.checked_sub(1).ok_or(UnknownKeys);
    }
    count.checked_sub(usize::from(last.unsigned_abs())).filter(|end| *end >= first).ok_or(UnknownKeys)
}

fn key_num(
    begin: usize,
    number: u16,
    offset: u16,
    step: u16,
    args: Args<'_>,
) -> Result<(usize, usize, u16), UnknownKeys> {
    let text = args.try_get(begin + usize::from(number)).ok_or(UnknownKeys)?;
    let count: usize = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(UnknownKeys)?;
    if count == 0 {
        // None: a range that ends before it begins. A command that wants one refuses this itself, having touched nothing.
        return Ok((1, 0, step));
    }
    if count > args.len() {
        return Err(UnknownKeys);
    }
    let first = begin + usize::from(offset);
    Ok((first, first + (count - 1) * usize::from(step), step))
}

/// `COMMAND INFO`'s first key, last key and step: what clients without key specs use.
pub fn legacy_range(spec: &Spec) -> (i64, i64, i64) {
    let mut all: Option<(i64, i64, i64)> = None;
    for one in spec.keys {
        let (Begin::Index(first), Find::Range { last, step, .. }) = (one.begin, one.find) else { continue };
        let first = i64::from(first);
        let last = if last >= 0 { first + i64::from(last) } else { i64::from(last) };
        all = Some(match all {
            None => (first, last, i64::from(step)),
            // A last key counted from the end lies behind every other.
            Some((lowest, highest, step)) => (lowest.min(first), (highest as u64).max(last as u64) as i64, step),
        });
    }
    all.unwrap_or((0, 0, 0))
}
