//! Reading arguments: numbers and options, with redis' rules and texts.

use crate::error::CommandError;
use crate::glob;
use crate::resp::{Args, parse_i64};

/// A signed 64-bit decimal.
pub(super) fn int(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(CommandError::NotInteger)
}

/// Positions that may count from the end, both included, as a range within `len`.
pub(super) fn places(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(len - 1);
    if start > stop { (0, 0) } else { (start as usize, stop as usize + 1) }
}

/// Reads how many keys an argument announces, where `numkeys` is more than 0 and the keys are there.
fn numkeys(args: Args<'_>, at: usize) -> Result<usize, CommandError> {
    let numkeys = int(args.get(at)).ok().filter(|n| *n > 0);
    let numkeys = numkeys.ok_or(CommandError::Text("ERR numkeys should be greater than 0"))?;
    usize::try_from(numkeys).ok().filter(|n| *n < args.len() - at).ok_or(CommandError::Syntax)
}

/// Reads `[COUNT count]`, all of the options there are; 1 without.
fn count_option(options: Args<'_>) -> Result<usize, CommandError> {
    let mut wanted = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is(option, "COUNT") && wanted.is_none() => {
                let count = int(value).ok().filter(|n| *n > 0);
                wanted = Some(count.ok_or(CommandError::Text("ERR count should be greater than 0"))? as usize);
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(wanted.unwrap_or(1))
}

/// What LMPOP, ZMPOP and their blocking forms ask for; an end is one of a list or of a sorted set.
pub(super) struct Popping<'a, E> {
    pub(super) keys: Args<'a>,
    pub(super) end: E,
    pub(super) wanted: usize,
}

impl<'a, E> Popping<'a, E> {
    /// Reads `numkeys key [key …] <end> [COUNT count]` from the argument `first` on.
    pub(super) fn read(
        args: Args<'a>,
        first: usize,
        end: fn(&[u8]) -> Result<E, CommandError>,
    ) -> Result<Self, CommandError> {
        let numkeys = numkeys(args, first)?;
        let at = first + 1 + numkeys;
        let end = end(args.try_get(at).unwrap_or_default())?;
        Ok(Self { keys: args.from(first + 1).up_to(numkeys), end, wanted: count_option(args.from(at + 1))? })
    }
}

/// A count of zero or more.
pub(super) fn count(text: &[u8]) -> Result<usize, CommandError> {
    match parse_i64(text).map(usize::try_from) {
        Some(Ok(count)) => Ok(count),
        _ => Err(CommandError::NotPositive),
    }
}

/// A cursor as C's `strtoul` reads it, which is how redis does: a sign is taken, a minus counts back from 2^64, nothing
/// at all is 0, and a NUL ends it.
pub(super) fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::Text("ERR invalid cursor");
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // `parse` takes a sign of its own, and this one had its.
    let plain = digits.first().is_some_and(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| digits.parse::<u64>().ok());
    number.map(|number| if negative { number.wrapping_neg() } else { number }).ok_or(INVALID)
}

/// Most random elements with repeats that one command answers: the reply is made at once.
const REPEATS_MAX: u64 = 10_000_000;

/// Checks the count of a random choice; below zero it asks for so many with repeats.
pub(super) fn repeats(wanted: i64) -> Result<(), CommandError> {
    if wanted == i64::MIN {
        return Err(CommandError::Text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    if wanted < 0 && wanted.unsigned_abs() > REPEATS_MAX {
        return Err(CommandError::Text("ERR value is out of range: at most 10000000 elements with repeats"));
    }
    Ok(())
}

/// `[count [option]]` from the second argument on, of what picks at random: how many, and whether the option is there.
/// `None` asks for a single one.
pub(super) fn picks(args: Args<'_>, option: &str) -> Result<Option<(i64, bool)>, CommandError> {
    let Some(wanted) = args.try_get(2) else { return Ok(None) };
    let wanted = int(wanted)?;
    match args.len() {
        3 => {}
        4 if is(args.get(3), option) => {}
        _ => return Err(CommandError::Syntax),
    }
    repeats(wanted)?;
    let with = args.len() == 4;
    // Twice as many elements must be a number.
    if with && wanted.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Text("ERR value is out of range"));
    }
    Ok(Some((wanted, with)))
}

/// The options of the SCAN family.
pub(super) struct ScanOptions<'a> {
    pub(super) pattern: Option<&'a [u8]>,
    pub(super) count: usize,
    pub(super) kind: Option<&'a [u8]>,
    pub(super) no_values: bool,
}

impl Default for ScanOptions<'_> {
    fn default() -> Self {
        Self { pattern: None, count: 10, kind: None, no_values: false }
    }
}

impl<'a> ScanOptions<'a> {
    /// SCAN's: `MATCH`, `COUNT` and `TYPE`.
    pub(super) fn of_keys(args: Args<'a>) -> Result<Self, CommandError> {
        Self::read(args, true, false)
    }

    /// Those of a scan inside a key: `MATCH`, `COUNT`, and for a hash `NOVALUES`.
    pub(super) fn of_collection(args: Args<'a>, of_hash: bool) -> Result<Self, CommandError> {
        Self::read(args, false, of_hash)
    }

    fn read(args: Args<'a>, of_keys: bool, of_hash: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if of_hash && is(option, "NOVALUES") {
                options.no_values = true;
                continue;
            }
            let Some(value) = args.next() else { return Err(CommandError::Syntax) };
            if is(option, "COUNT") {
                options.count = usize::try_from(int(value)?).ok().filter(|n| *n > 0).ok_or(CommandError::Syntax)?;
            } else if is(option, "MATCH") {
                // Only this pattern is no pattern: every other one leaves the empty key out.
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if of_keys && is(option, "TYPE") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// Whether a name fits the pattern.
    pub(super) fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// The timeout of a blocking command, in milliseconds; `None` waits for ever.
pub(super) fn timeout_ms(text: &[u8]) -> Result<Option<u64>, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::Text("ERR timeout is not a float or out of range");
    let seconds = float(text).filter(|seconds| !seconds.is_nan()).ok_or(NOT_FLOAT)?;
    let ms = (seconds * 1000.0).ceil();
    // Redis casts to a signed 64-bit integer first: what does not fit comes out negative.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(CommandError::Text("ERR timeout is negative"));
    }
    Ok((ms > 0.0).then_some(ms as u64))
}

/// A score, or what is added to one: a number that is one, within the range of doubles.
pub(super) fn score(text: &[u8]) -> Result<f64, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::Text("ERR value is not a valid float");
    let value = float(text).filter(|value| !value.is_nan()).ok_or(NOT_FLOAT)?;
    let says_infinite = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'n'));
    // A number too large for a double reads as infinite, one too small as nothing: redis refuses both.
    let mantissa = text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next().unwrap_or_default();
    let vanished = value == 0.0 && mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    if value.is_infinite() && !says_infinite || vanished { Err(NOT_FLOAT) } else { Ok(value) }
}

/// A number as C's `strtod` reads it: blanks may stand before it, nothing at all is 0, a NUL ends it. `None` for what is
/// no number, and NaN.
pub(super) fn bound(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    float(&text[blanks..]).filter(|value| !value.is_nan())
}

/// As [`bound`], but `None` also for what no double holds.
pub(super) fn weight(text: &[u8]) -> Option<f64> {
    let says_infinity = text.iter().any(|byte| byte.eq_ignore_ascii_case(&b'n'));
    bound(text).filter(|value| value.is_finite() || says_infinity)
}

/// A number as C's `strtold` reads it, hexadecimal ones included, with nothing before or after it.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => hex_float(hex).map(|value| sign * value),
        None => text.parse().ok(),
    }
}

/// `1a.8p3` behind its `0x`: the digits in base 16, the exponent in decimal and of 2.
fn hex_float(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let add = |value: f64, digit: char| Some(value * 16.0 + f64::from(digit.to_digit(16)?));
    let mantissa = whole.chars().chain(fraction.chars()).try_fold(0.0, add)?;
    Some(mantissa * f64::from(exponent.saturating_sub(4 * i32::try_from(fraction.len()).ok()?)).exp2())
}

/// Whether `text` is this option, in any case.
pub(super) fn is(text: &[u8], option: &str) -> bool {
    text.eq_ignore_ascii_case(option.as_bytes())
}

/// An expiry as an option gives it: a number in a unit, from now or from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry<'a> {
    pub(super) text: &'a [u8],
    pub(super) seconds: bool,
    pub(super) absolute: bool,
}

impl Expiry<'_> {
    /// In unix ms.
    ///
    /// # Errors
    /// [`CommandError::NotInteger`]; [`CommandError::InvalidExpire`] of `command` for zero, less, or out of range.
    pub(super) fn at_ms(self, now_ms: u64, command: &'static str) -> Result<u64, CommandError> {
        let given = int(self.text)?;
        let invalid = CommandError::InvalidExpire(command);
        if given <= 0 {
            return Err(invalid);
        }
        let ms = if self.seconds { given.checked_mul(1000) } else { Some(given) };
        let base = if self.absolute { 0 } else { now_ms };
        let at = ms.and_then(|ms| ms.checked_add(i64::try_from(base).ok()?));
        at.map(i64::unsigned_abs).ok_or(invalid)
    }
}

/// The options SET and GETEX share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StringOptions<'a> {
    pub(super) only_new: bool,
    pub(super) only_old: bool,
    /// What the key must hold.
    pub(super) only_equal: Option<&'a [u8]>,
    pub(super) get: bool,
    pub(super) keep_ttl: bool,
    pub(super) persist: bool,
    pub(super) expiry: Option<Expiry<'a>>,
}

impl<'a> StringOptions<'a> {
    /// Reads SET's options: `NX | XX | IFEQ value`, `GET`, and one of `EX PX EXAT PXAT KEEPTTL`.
    pub(super) fn of_set(args: impl Iterator<Item = &'a [u8]>) -> Result<Self, CommandError> {
        Self::read(args, true)
    }

    /// Reads GETEX's options: one of `EX PX EXAT PXAT PERSIST`.
    pub(super) fn of_getex(args: impl Iterator<Item = &'a [u8]>) -> Result<Self, CommandError> {
        Self::read(args, false)
    }

    /// Whether an expiry in this unit may follow. The same option twice may: the last one counts.
    fn admits(&self, unit: (bool, bool)) -> bool {
        let same = self.expiry.is_none_or(|before| (before.seconds, before.absolute) == unit);
        same && !self.keep_ttl && !self.persist
    }

    fn read(mut args: impl Iterator<Item = &'a [u8]>, set: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let Some(option) = args.next() {
            if set && is(option, "NX") && !options.only_old && options.only_equal.is_none() {
                options.only_new = true;
            } else if set && is(option, "XX") && !options.only_new && options.only_equal.is_none() {
                options.only_old = true;
            } else if set && is(option, "IFEQ") && !options.only_new && !options.only_old {
                options.only_equal = Some(args.next().ok_or(CommandError::Syntax)?);
            } else if set && is(option, "GET") {
                options.get = true;
            } else if set && is(option, "KEEPTTL") && !options.persist && options.expiry.is_none() {
                options.keep_ttl = true;
            } else if !set && is(option, "PERSIST") && options.expiry.is_none() {
                options.persist = true;
            } else if let Some((seconds, absolute)) = expiry_option(option).filter(|unit| options.admits(*unit)) {
                let text = args.next().ok_or(CommandError::Syntax)?;
                options.expiry = Some(Expiry { text, seconds, absolute });
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// Whether an option's number is in seconds, and whether it counts from 1970.
fn expiry_option(option: &[u8]) -> Option<(bool, bool)> {
    let known = [("EX", (true, false)), ("PX", (false, false)), ("EXAT", (true, true)), ("PXAT", (false, true))];
    known.iter().find(|(name, _)| is(option, name)).map(|(_, unit)| *unit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn timeouts() {
        assert_eq!(timeout_ms(b"0"), Ok(None));
        assert_eq!(timeout_ms(b"0.0001"), Ok(Some(1)));
        assert_eq!(timeout_ms(b"1.5"), Ok(Some(1500)));
        assert_eq!(timeout_ms(b"0x1.8"), Ok(Some(1500)));
        assert_eq!(timeout_ms(b"+0X10p-2"), Ok(Some(4000)));
        assert_eq!(timeout_ms(b"-0x0"), Ok(None));
        assert_eq!(timeout_ms(b"9007199254740992"), Ok(Some(9_007_199_254_740_992_000)));
        for bad in [
            &b"x"[..],
            b"nan",
            b"",
            b"-1",
            b"1e300",
            b"inf",
            b"0x",
            b"0x.",
            b"0xg",
            b"0x1p",
            b"+-1",
            b"-0x1",
            b"0x1p99",
        ] {
            assert!(timeout_ms(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn scores() {
        for (text, want) in [
            (&b""[..], Some(0.0)),
            (b"1.5", Some(1.5)),
            (b" \t\n+1", Some(1.0)),
            (b"-0x10", Some(-16.0)),
            (b"1\0x", Some(1.0)),
            (b"-inf", Some(f64::NEG_INFINITY)),
            (b"Infinity", Some(f64::INFINITY)),
            (b"1e400", None),
            (b"nan", None),
            (b"1 ", None),
            (b"a", None),
            (b" ", None),
            (b"0x", None),
        ] {
            assert_eq!(weight(text), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        let cases: [(&[u8], Option<u64>); 12] = [
            (b"0", Some(0)),
            (b"", Some(0)),
            (b"+7", Some(7)),
            (b"-1", Some(u64::MAX)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"5\0x", Some(5)),
            (b"+-5", None),
            (b"-", None),
            (b" 5", None),
            (b"5 ", None),
            (b"0x5", None),
        ];
        for (text, want) in cases {
            assert_eq!(cursor(text).ok(), want, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn expiries_stay_in_range() {
        let of = |text, seconds, absolute| Expiry { text, seconds, absolute }.at_ms(1000, "set");
        assert_eq!(of(b"5", true, false), Ok(6000));
        assert_eq!(of(b"5", false, true), Ok(5));
        for (text, seconds) in
            [(&b"0"[..], true), (b"-1", false), (b"9223372036854775807", false), (b"9223372036854775807", true)]
        {
            assert_eq!(of(text, seconds, false), Err(CommandError::InvalidExpire("set")));
        }
        assert_eq!(of(b"1.5", true, false), Err(CommandError::NotInteger));
    }

    #[test]
    fn options_exclude_each_other() {
        let read = |text: &'static str| StringOptions::of_set(text.split_whitespace().map(str::as_bytes));
        assert!(read("nx get px 5").unwrap().only_new);
        assert!(read("KEEPTTL XX").unwrap().keep_ttl);
        assert_eq!(read("EX 1 EX 2").unwrap().expiry.unwrap().text, b"2");
        for bad in ["NX XX", "EX 1 PX 1", "EX", "KEEPTTL EX 1", "EX 1 KEEPTTL", "PERSIST", "foo"] {
            assert_eq!(read(bad), Err(CommandError::Syntax), "{bad}");
        }
    }
}
