//! Strings as rows of bits, the highest bit of each byte first.

use super::events::{Class, Event};
use super::parse::{int, is};
use super::strings::{copy, length};
use super::substrings::{are_backwards, clipped, edit};
use super::{Acl, Arity, Family, Flags, KeyFlags, KeySpec, Spec, Ttl};
use crate::db::entry::Value;
use crate::engine::Cx;
use crate::error::CommandError;
use crate::resp::{Args, parse_i64};

const READ: Acl = Acl::READ.or(Acl::BITMAP);
const WRITE: Acl = Acl::WRITE.or(Acl::BITMAP);
const RO_ACCESS: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// The offset of a bit: within the longest string there may be.
fn offset(cx: &Cx<'_>, text: &[u8]) -> Result<usize, CommandError> {
    let most = cx.engine.config.limits.resp.bulk_bytes_max;
    let offset = parse_i64(text).and_then(|offset| usize::try_from(offset).ok()).filter(|offset| offset / 8 < most);
    offset.ok_or(CommandError::Text("ERR bit offset is not an integer or out of range"))
}

/// Shows the bytes of the string at a key, those of an absent one being none.
pub(super) fn with_bytes<R>(cx: &mut Cx<'_>, key: &[u8], show: impl FnOnce(&[u8]) -> R) -> Result<R, CommandError> {
    with_any_bytes(cx, key, |bytes| show(bytes.unwrap_or_default()))
}

/// As [`with_bytes`], of a key that may be absent.
pub(super) fn with_any_bytes<R>(
    cx: &mut Cx<'_>,
    key: &[u8],
    show: impl FnOnce(Option<&[u8]>) -> R,
) -> Result<R, CommandError> {
    let key = cx.key(key);
    Ok(match cx.keys.string(key)? {
        None => show(None),
        Some(Value::Bytes(bytes)) => show(Some(bytes)),
        Some(Value::Shared(bytes)) => show(Some(bytes)),
        Some(value) => {
            let mut digits = Vec::new();
            copy(value, &mut digits);
            show(Some(&digits))
        }
    })
}

fn bit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

/// `SETBIT key offset value`
pub(super) const SETBIT: Spec = Spec {
    name: "SETBIT",
    family: Family::Bitmap,
    since: "2.2.0",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(1).doing(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    ttl: Ttl::Inherited(1),
    value_bytes: |args| parse_i64(args.try_get(2)?).and_then(|at| u64::try_from(at / 8 + 1).ok()),
    summary: "Sets a bit; zeros fill a gap.",
    reply: "integer: the bit before it",
    run: setbit,
    ..Spec::ROW
};
fn setbit(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let at = offset(cx, args.get(2))?;
    let on = match parse_i64(args.get(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::Text("ERR bit is not an integer or out of range")),
    };
    let key = cx.key(args.get(1));
    let mut before = false;
    edit(cx, key, at / 8 + 1, |bytes| {
        before = bit(bytes, at);
        let mask = 0x80 >> (at % 8);
        if on {
            bytes[at / 8] |= mask
        } else {
            bytes[at / 8] &= !mask
        }
        before != on
    })?;
    cx.out.int(before.into());
    Ok(())
}

/// `GETBIT key offset`
pub(super) const GETBIT: Spec = Spec {
    name: "GETBIT",
    family: Family::Bitmap,
    since: "2.2.0",
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.or(Flags::FAST),
    acl: READ.or(Acl::FAST),
    keys: &[KeySpec::at(1).doing(RO_ACCESS)],
    summary: "One bit.",
    reply: "integer: 0 behind the end",
    run: getbit,
    ..Spec::ROW
};
fn getbit(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let at = offset(cx, args.get(2))?;
    let on = with_bytes(cx, args.get(1), |bytes| bit(bytes, at))?;
    cx.out.int(on.into());
    Ok(())
}

/// What positions count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn read(text: &[u8]) -> Result<Unit, CommandError> {
        match text {
            text if is(text, "BYTE") => Ok(Unit::Byte),
            text if is(text, "BIT") => Ok(Unit::Bit),
            _ => Err(CommandError::Syntax),
        }
    }

    /// The bits of a range of positions, both included, as first and last.
    fn bits(self, start: i64, end: i64, bytes: usize) -> Option<(usize, usize)> {
        match self {
            Unit::Byte => clipped(start, end, bytes).map(|(from, to)| (from * 8, to * 8 + 7)),
            Unit::Bit => clipped(start, end, bytes * 8),
        }
    }
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub(super) const BITCOUNT: Spec = Spec {
    name: "BITCOUNT",
    since: "2.6.0",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    acl: READ.or(Acl::SLOW),
    summary: "How many bits are set, in all or between two positions.",
    reply: "integer",
    run: bitcount,
    ..GETBIT
};
fn bitcount(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = cx.key(args.get(1));
    let Some(bytes) = cx.keys.string(key)?.map(length) else {
        cx.out.int(0);
        return Ok(());
    };
    let range = match args.len() {
        2 => Unit::Byte.bits(0, -1, bytes),
        4 | 5 => {
            let (start, end) = (int(args.get(2))?, int(args.get(3))?);
            if are_backwards(start, end) {
                // As redis: before it reads the unit.
                cx.out.int(0);
                return Ok(());
            }
            args.try_get(4).map_or(Ok(Unit::Byte), Unit::read)?.bits(start, end, bytes)
        }
        _ => return Err(CommandError::Syntax),
    };
    // The key was counted as read already.
    cx.keys.count_looks(false);
    let count = match range {
        Some((first, last)) => with_bytes(cx, args.get(1), |bytes| count_between(bytes, first, last))?,
        None => 0,
    };
    cx.out.int(count as i64);
    Ok(())
}

fn count_between(bytes: &[u8], first: usize, last: usize) -> u64 {
    let (from, to) = (first / 8, last / 8);
    let all: u64 = bytes[from..=to].iter().map(|byte| u64::from(byte.count_ones())).sum();
    let before = (bytes[from] & !(0xff >> (first % 8))).count_ones();
    let behind = (bytes[to] & (0x7fu32 >> (last % 8)) as u8).count_ones();
    all - u64::from(before) - u64::from(behind)
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
pub(super) const BITPOS: Spec = Spec {
    name: "BITPOS",
    since: "2.8.7",
    arity: Arity::AtLeast(3),
    summary: "Where the first bit is that is set or not.",
    reply: "integer: -1 when there is none",
    run: bitpos,
    ..BITCOUNT
};
fn bitpos(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = match int(args.get(2))? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::Text("ERR The bit argument must be 1 or 0.")),
    };
    let key = cx.key(args.get(1));
    let Some(bytes) = cx.keys.string(key)?.map(length) else {
        cx.out.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let range = match args.len() {
        3 => Unit::Byte.bits(0, -1, bytes),
        4..=6 => {
            let start = int(args.get(3))?;
            let unit = args.try_get(5).map_or(Ok(Unit::Byte), Unit::read)?;
            let end = args.try_get(4).map_or(Ok(-1), int)?;
            unit.bits(start, end, bytes)
        }
        _ => return Err(CommandError::Syntax),
    };
    // The key was counted as read already.
    cx.keys.count_looks(false);
    let found = match range {
        Some((first, last)) => with_bytes(cx, args.get(1), |bytes| find_between(bytes, wanted, first, last))?,
        None => None,
    };
    // A string is followed by zeros without end, unless an end was given.
    let behind = !wanted && args.len() < 5 && range.is_some();
    cx.out.int(found.map_or(if behind { bytes as i64 * 8 } else { -1 }, |at| at as i64));
    Ok(())
}

fn find_between(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    let dull = if wanted { 0 } else { 0xff };
    let mut at = first;
    while at <= last {
        if at.is_multiple_of(8) && bytes[at / 8] == dull {
            at += 8;
            continue;
        }
        if bit(bytes, at) == wanted {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// In the first and in no other.
    Diff,
    /// In another and not in the first.
    Diff1,
    /// In the first and in another.
    AndOr,
    /// In just one.
    One,
}

impl Operation {
    fn read(text: &[u8]) -> Result<Self, CommandError> {
        const NAMES: [(&str, Operation); 8] = [
            ("AND", Operation::And),
            ("OR", Operation::Or),
            ("XOR", Operation::Xor),
            ("NOT", Operation::Not),
            ("DIFF", Operation::Diff),
            ("DIFF1", Operation::Diff1),
            ("ANDOR", Operation::AndOr),
            ("ONE", Operation::One),
        ];
        let found = NAMES.iter().find(|(name, _)| is(text, name));
        found.map(|(_, operation)| *operation).ok_or(CommandError::Syntax)
    }
}

/// Sources put together one after another, so that what is held does not grow with how many they are. One that is shorter
/// than another ends in zeros.
struct Fold {
    operation: Operation,
    /// The first; of AND, OR and XOR what came of it with the others, of ONE the bits that were in any.
    first: Vec<u8>,
    /// The bits that are in any of the others; of ONE those that were in two.
    others: Vec<u8>,
}

impl Fold {
    fn new(operation: Operation, first: &[u8]) -> Self {
        Self { operation, first: first.to_vec(), others: Vec::new() }
    }

    /// Takes in another source.
    fn add(&mut self, source: &[u8]) {
        let Self { operation, first, others } = self;
        let len = first.len().max(source.len());
        first.resize(len, 0);
        match operation {
            Operation::And => {
                first.iter_mut().zip(source).for_each(|(a, b)| *a &= b);
                first.iter_mut().skip(source.len()).for_each(|a| *a = 0);
            }
            Operation::Or => first.iter_mut().zip(source).for_each(|(a, b)| *a |= b),
            Operation::Xor => first.iter_mut().zip(source).for_each(|(a, b)| *a ^= b),
            // It has one source.
            Operation::Not => {}
            Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                others.resize(len, 0);
                others.iter_mut().zip(source).for_each(|(a, b)| *a |= b);
            }
            Operation::One => {
                others.resize(len, 0);
                for ((once, twice), b) in first.iter_mut().zip(others.iter_mut()).zip(source) {
                    *twice |= *once & b;
                    *once |= b;
                }
            }
        }
    }

    fn result(mut self) -> Vec<u8> {
        let first = self.first.iter_mut();
        let of_both: fn(u8, u8) -> u8 = match self.operation {
            Operation::And | Operation::Or | Operation::Xor => return self.first,
            Operation::Not => {
                first.for_each(|a| *a = !*a);
                return self.first;
            }
            Operation::Diff | Operation::One => |a, b| a & !b,
            Operation::Diff1 => |a, b| !a & b,
            Operation::AndOr => |a, b| a & b,
        };
        self.others.resize(first.len(), 0);
        first.zip(&self.others).for_each(|(a, b)| *a = of_both(*a, *b));
        self.first
    }
}

/// `BITOP <AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destination key [key …]`
pub(super) const BITOP: Spec = Spec {
    name: "BITOP",
    family: Family::Bitmap,
    since: "2.6.0",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: WRITE.or(Acl::SLOW),
    keys: &[KeySpec::at(2).doing(KeyFlags::OW.or(KeyFlags::UPDATE)), KeySpec::at(3).to(-1, 1).doing(RO_ACCESS)],
    event: Event::Is(Class::STRING, "set"),
    looks: true,
    summary: "Makes a key the bits of others combined.",
    reply: "integer: the length of the result in bytes",
    run: bitop,
    ..Spec::ROW
};
fn bitop(cx: &mut Cx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let operation = Operation::read(args.get(1))?;
    let sources = args.from(3);
    let name = String::from_utf8_lossy(args.get(1)).to_ascii_uppercase();
    match operation {
        Operation::Not if sources.len() != 1 => {
            return Err(CommandError::Text("ERR BITOP NOT must be called with a single source key."));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if sources.len() < 2 => {
            return Err(CommandError::Said(format!("ERR BITOP {name} must be called with at least two source keys.")));
        }
        _ => {}
    }
    let mut fold = with_bytes(cx, sources.get(0), |bytes| Fold::new(operation, bytes))?;
    for key in sources.iter().skip(1) {
        with_bytes(cx, key, |bytes| fold.add(bytes))?;
    }
    let result = fold.result();
    let key = cx.key(args.get(2));
    if result.is_empty() {
        cx.keys.delete(key);
    } else {
        cx.keys.set_string(key, &result, None);
    }
    cx.out.int(result.len() as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Those that redis 7.0 lacks, so no transcript has them: by what they mean for one bit each.
    #[test]
    fn newer_operations_say_in_which_sources_a_bit_is() {
        let sources = [0b1111_0000u8, 0b1100_1100, 0b1010_1010];
        for bit in 0..8 {
            let is_in: Vec<bool> = sources.iter().map(|source| source >> bit & 1 == 1).collect();
            let count = is_in.iter().filter(|each| **each).count();
            let others = is_in[1..].contains(&true);
            let got = |operation: Operation| {
                let mut fold = Fold::new(operation, &sources[..1]);
                sources[1..].iter().for_each(|source| fold.add(&[*source]));
                fold.result()[0] >> bit & 1 == 1
            };
            assert_eq!(got(Operation::Diff), is_in[0] && !others);
            assert_eq!(got(Operation::Diff1), !is_in[0] && others);
            assert_eq!(got(Operation::AndOr), is_in[0] && others);
            assert_eq!(got(Operation::One), count == 1);
        }
    }

    #[test]
    fn shorter_sources_end_in_zeros() {
        let of = |operation: Operation, sources: [&[u8]; 3]| {
            let mut fold = Fold::new(operation, sources[0]);
            sources[1..].iter().for_each(|source| fold.add(source));
            fold.result()
        };
        for sources in [[&b"\xff\x0f\xf0"[..], b"", b"\x3c\xff"], [b"\x3c\xff", b"\xff\x0f\xf0", b"\xaa"]] {
            let longest = sources.iter().map(|source| source.len()).max().unwrap();
            let padded = sources.map(|source| [source, &vec![0; longest - source.len()]].concat());
            let padded = [&padded[0][..], &padded[1], &padded[2]];
            for operation in [
                Operation::And,
                Operation::Or,
                Operation::Xor,
                Operation::Diff,
                Operation::Diff1,
                Operation::AndOr,
                Operation::One,
            ] {
                assert_eq!(of(operation, sources), of(operation, padded));
            }
        }
        assert_eq!(Fold::new(Operation::Not, b"\x0f").result(), b"\xf0");
    }
}
