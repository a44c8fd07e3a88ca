//! Strings as rows of small integers of any width, the highest bit first.

use std::ops::ControlFlow;

use super::bitmaps::with_bytes;
use super::events::{Class, Event};
use super::parse::{int, is};
use super::substrings::edit;
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const COUNTS: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// The width of an integer and whether it has a sign: `i1` to `i64`, `u1` to `u63`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn read(text: &[u8]) -> Result<Self, CommandError> {
        const INVALID: CommandError = CommandError::Text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        // Redis reads this as a C string.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let (signed, digits) = match text.split_first() {
            Some((b'i', digits)) => (true, digits),
            Some((b'u', digits)) => (false, digits),
            _ => return Err(INVALID),
        };
        let most = if signed { 64 } else { 63 };
        let bits = parse_i64(digits).filter(|bits| (1..=most).contains(bits)).ok_or(INVALID)?;
        Ok(Self { signed, bits: bits as u32 })
    }

    /// The lowest bits of `raw` as a number.
    fn number(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { ((raw << unused) as i64) >> unused } else { (raw << unused >> unused) as i64 }
    }

    /// What does not fit, and on which side of what does.
    fn exceeds(self, value: i64, by: i64) -> Option<Side> {
        if self.signed { self.exceeds_signed(value, by) } else { self.exceeds_unsigned(value as u64, by) }
    }

    fn highest(self) -> i64 {
        if self.signed { i64::MAX >> (64 - self.bits) } else { ((1u64 << self.bits) - 1) as i64 }
    }

    fn exceeds_unsigned(self, value: u64, by: i64) -> Option<Side> {
        let highest = self.highest() as u64;
        if value > highest {
            return Some(Side::Above);
        }
        // Both are below 2^63, so the sum fits.
        match i128::from(value) + i128::from(by) {
            sum if sum > i128::from(highest) => Some(Side::Above),
            ..0 => Some(Side::Below),
            _ => None,
        }
    }

    /// As redis counts, also where its differences wrap: a far too low number may count as too high.
    fn exceeds_signed(self, value: i64, by: i64) -> Option<Side> {
        let (highest, narrow) = (self.highest(), self.bits != 64);
        let lowest = -highest - 1;
        let (room_above, room_below) = (highest.wrapping_sub(value), lowest.wrapping_sub(value));
        if value > highest || narrow && by > room_above || value >= 0 && by > 0 && by > room_above {
            return Some(Side::Above);
        }
        let below = value < lowest || narrow && by < room_below || value < 0 && by < 0 && by < room_below;
        below.then_some(Side::Below)
    }

    /// The number at the end of what fits.
    fn limit(self, side: Side) -> i64 {
        match side {
            Side::Above => self.highest(),
            Side::Below if self.signed => -self.highest() - 1,
            Side::Below => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// What becomes of a number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn read(text: &[u8]) -> Result<Self, CommandError> {
        match text {
            text if is(text, "WRAP") => Ok(Self::Wrap),
            text if is(text, "SAT") => Ok(Self::Saturate),
            text if is(text, "FAIL") => Ok(Self::Fail),
            _ => Err(CommandError::Text("ERR Invalid OVERFLOW type specified")),
        }
    }

    /// `value + by` made to fit; `None` when it must not be.
    fn fit(self, width: Width, value: i64, by: i64) -> Option<i64> {
        let wrapped = width.number(value.wrapping_add(by) as u64);
        match (width.exceeds(value, by), self) {
            (None, _) | (Some(_), Self::Wrap) => Some(wrapped),
            (Some(side), Self::Saturate) => Some(width.limit(side)),
            (Some(_), Self::Fail) => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// One operation on one integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Op {
    act: Act,
    width: Width,
    at: usize,
}

impl Op {
    /// The byte behind its last bit.
    fn end(&self) -> usize {
        (self.at + self.width.bits as usize - 1) / 8 + 1
    }

    /// Does it; what it answers, `None` for a number that would not fit.
    fn run(&self, bytes: &mut [u8], changed: &mut bool) -> Option<i64> {
        let old = self.width.number(read(bytes, self.at, self.width.bits));
        let (new, shown) = match self.act {
            Act::Get => return Some(old),
            Act::Set(value, overflow) => (overflow.fit(self.width, value, 0)?, old),
            Act::Add(by, overflow) => {
                let new = overflow.fit(self.width, old, by)?;
                (new, new)
            }
        };
        if new != old {
            write(bytes, self.at, self.width.bits, new as u64);
            *changed = true;
        }
        Some(shown)
    }
}

/// The bytes that `bits` bits from `at` on lie in: at most nine.
fn touched(at: usize, bits: u32) -> std::ops::RangeInclusive<usize> {
    at / 8..=(at + bits as usize - 1) / 8
}

/// `bits` bits from `at` on, zeros behind the end.
fn read(bytes: &[u8], at: usize, bits: u32) -> u64 {
    let touched = touched(at, bits);
    let behind = (touched.end() + 1) * 8 - at - bits as usize;
    let all = touched.fold(0u128, |all, at| all << 8 | u128::from(bytes.get(at).copied().unwrap_or(0)));
    (all >> behind) as u64 & u64::MAX >> (64 - bits)
}

/// Writes the lowest `bits` bits of `value` at `at`; what lies behind the end is left out.
fn write(bytes: &mut [u8], at: usize, bits: u32, value: u64) {
    let touched = touched(at, bits);
    let behind = (touched.end() + 1) * 8 - at - bits as usize;
    let mask = u128::from(u64::MAX >> (64 - bits)) << behind;
    let value = u128::from(value) << behind & mask;
    for (shift, at) in touched.rev().enumerate() {
        if let Some(byte) = bytes.get_mut(at) {
            let part = |whole: u128| (whole >> (8 * shift)) as u8;
            *byte = *byte & !part(mask) | part(value);
        }
    }
}

/// Where an integer begins: a bit, or after `#` how many of its width come before it.
fn offset(text: &[u8], width: Width, bytes_max: usize) -> Result<usize, CommandError> {
    let (text, scale) = match text.strip_prefix(b"#") {
        Some(text) => (text, i64::from(width.bits)),
        None => (text, 1),
    };
    let at = parse_i64(text).and_then(|at| usize::try_from(at.wrapping_mul(scale)).ok());
    let at = at.filter(|at| at / 8 < bytes_max);
    at.ok_or(CommandError::Text("ERR bit offset is not an integer or out of range"))
}

/// One word of the request with what belongs to it, as far as its shape goes.
enum Word<'a> {
    Overflow(&'a [u8]),
    Get(&'a [u8], &'a [u8]),
    Set(&'a [u8], &'a [u8], &'a [u8]),
    Add(&'a [u8], &'a [u8], &'a [u8]),
    Unknown,
}

impl<'a> Word<'a> {
    fn writes(&self) -> bool {
        !matches!(self, Self::Get(..) | Self::Overflow(_))
    }

    /// Calls `visit` with each word from argument 2 on, until it breaks or one is not known.
    fn each<R>(args: Args<'a>, mut visit: impl FnMut(Word<'a>) -> ControlFlow<R>) -> Option<R> {
        let mut at = 2;
        while let Some(name) = args.try_get(at) {
            let (word, len) = match (name, args.len() - at - 1) {
                (name, 2..) if is(name, "GET") => (Word::Get(args.get(at + 1), args.get(at + 2)), 3),
                (name, 3..) if is(name, "SET") => (Word::Set(args.get(at + 1), args.get(at + 2), args.get(at + 3)), 4),
                (name, 3..) if is(name, "INCRBY") => {
                    (Word::Add(args.get(at + 1), args.get(at + 2), args.get(at + 3)), 4)
                }
                (name, 1..) if is(name, "OVERFLOW") => (Word::Overflow(args.get(at + 1)), 2),
                _ => (Word::Unknown, args.len()),
            };
            if let ControlFlow::Break(result) = visit(word) {
                return Some(result);
            }
            at += len;
        }
        None
    }
}

fn ops(args: Args<'_>, bytes_max: usize) -> Result<Vec<Op>, CommandError> {
    let (mut ops, mut overflow) = (Vec::new(), Overflow::Wrap);
    let mut read = |word: Word<'_>| {
        let place = |width: &[u8], at: &[u8]| {
            let width = Width::read(width)?;
            Ok::<_, CommandError>((width, offset(at, width, bytes_max)?))
        };
        let (act, (width, at)) = match word {
            Word::Overflow(text) => {
                overflow = Overflow::read(text)?;
                return Ok(());
            }
            Word::Get(width, at) => (Act::Get, place(width, at)?),
            Word::Set(width, at, value) => {
                let place = place(width, at)?;
                (Act::Set(int(value)?, overflow), place)
            }
            Word::Add(width, at, by) => {
                let place = place(width, at)?;
                (Act::Add(int(by)?, overflow), place)
            }
            Word::Unknown => return Err(CommandError::Syntax),
        };
        ops.push(Op { act, width, at });
        Ok(())
    };
    let wrong = Word::each(args, |word| match read(word) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    wrong.map_or(Ok(ops), Err)
}

/// What is done to the key: with nothing but GET it is read.
fn flags(args: Args<'_>) -> KeyFlags {
    let writes = Word::each(args, |word| match word.writes() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    if writes.is_some() { COUNTS } else { RO_ACCESS }
}

/// How long the string becomes at most.
fn value_bytes(args: Args<'_>) -> Option<u64> {
    let ops = ops(args, usize::MAX).ok()?;
    ops.iter().filter(|op| op.act != Act::Get).map(|op| op.end() as u64).max()
}

/// `BITFIELD key [GET type offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET type offset value | INCRBY type offset n>] …`
pub(super) const BITFIELD: Spec = Spec {
    name: "BITFIELD",
    family: Family::Bitmap,
    since: "3.2.0",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Acl::WRITE.or(Acl::BITMAP).or(Acl::SLOW),
    keys: &[KeySpec::at(1)
        .doing(COUNTS.or(KeyFlags::VARIABLE))
        .varying(flags)
        .noting("This command allows both access and modification of the key")],
    ttl: Ttl::Inherited(1),
    value_bytes,
    event: Event::Is(Class::STRING, "setbit"),
    summary: "Reads, sets and adds to integers of any width within a string.",
    reply: "array of integers, one for each GET, SET (the one before it) and INCRBY; null where OVERFLOW FAIL forbade it",
    run: bitfield,
    ..Spec::ROW
};
fn bitfield(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let ops = ops(args, cx.engine.config.limits.resp.bulk_bytes_max)?;
    let least = ops.iter().filter(|op| op.act != Act::Get).map(Op::end).max();
    let Some(least) = least else {
        cx.keys.count_looks(true);
        return show_read(cx, args, &ops);
    };
    let key = cx.key(args.get(1));
    let mut shown = Vec::with_capacity(ops.len());
    edit(cx, key, least, |bytes| {
        let mut changed = false;
        shown.extend(ops.iter().map(|op| op.run(bytes, &mut changed)));
        changed
    })?;
    show(cx, &shown);
    Ok(())
}

fn show_read(cx: &mut Cx<'_>, args: Args<'_>, ops: &[Op]) -> Result<(), CommandError> {
    let number = |bytes: &[u8], op: &Op| Some(op.width.number(read(bytes, op.at, op.width.bits)));
    let shown: Vec<_> = with_bytes(cx, args.get(1), |bytes| ops.iter().map(|op| number(bytes, op)).collect())?;
    show(cx, &shown);
    Ok(())
}

fn show(cx: &mut Cx<'_>, shown: &[Option<i64>]) {
    cx.out.array(shown.len());
    for each in shown {
        match each {
            Some(number) => cx.out.int(*number),
            None => cx.out.null(),
        }
    }
}

/// `BITFIELD_RO key [GET type offset …]`
pub(super) const BITFIELD_RO: Spec = Spec {
    name: "BITFIELD_RO",
    family: Family::Bitmap,
    since: "6.0.0",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Acl::READ.or(Acl::BITMAP).or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "Reads integers of any width within a string.",
    reply: "array of integers",
    run: bitfield_ro,
    ..Spec::ROW
};
fn bitfield_ro(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let ops = ops(args, cx.engine.config.limits.resp.bulk_bytes_max)?;
    if ops.iter().any(|op| op.act != Act::Get) {
        return Err(CommandError::Text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    show_read(cx, args, &ops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against one bit at a time.
        #[test]
        fn what_is_written_is_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..20), at in 0usize..120, bits in 1u32..=64, value: u64) {
            let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
            let before = bytes.clone();
            let plain = (at..at + bits as usize).fold(0, |all, at| all << 1 | u64::from(bit(&before, at)));
            prop_assert_eq!(read(&bytes, at, bits), plain);
            write(&mut bytes, at, bits, value);
            for each in 0..bytes.len() * 8 {
                let want = match each.checked_sub(at) {
                    Some(n) if n < bits as usize => value >> (bits as usize - 1 - n) & 1 == 1,
                    _ => bit(&before, each),
                };
                prop_assert_eq!(bit(&bytes, each), want);
            }
        }

        /// Within its range a number is what it is; saturated it is the nearest, wrapped it differs by whole ranges.
        #[test]
        fn numbers_are_made_to_fit(signed: bool, bits in 1u32..=63, old: u64, by in -10_000i64..10_000) {
            let width = Width { signed, bits };
            let old = width.number(old);
            let (low, high) = (i128::from(width.limit(Side::Below)), i128::from(width.limit(Side::Above)));
            let sum = i128::from(old) + i128::from(by);
            prop_assert_eq!(Overflow::Saturate.fit(width, old, by).map(i128::from), Some(sum.clamp(low, high)));
            prop_assert_eq!(Overflow::Fail.fit(width, old, by).is_some(), (low..=high).contains(&sum));
            let wrapped = i128::from(Overflow::Wrap.fit(width, old, by).unwrap_or_default());
            prop_assert!((low..=high).contains(&wrapped) && (wrapped - sum) % (1i128 << bits) == 0);
        }
    }
}
