//! Numbers as x86's 80-bit `long double` holds them, which is what redis's INCRBYFLOAT and HINCRBYFLOAT add.
//!
//! 64 bits of mantissa are more than a double's 53, and where they end shows in the replies (100.1 is
//! 100.09999999999999999), so decimal arithmetic or doubles would answer something else. Speed is no aim.

use num_bigint::{BigInt, BigUint, Sign};

/// Longest text read as a number: bytes, as redis.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Largest decimal exponent that can matter, and the largest binary one of the type.
const EXPONENT_MAX: i64 = 5000;
const BINARY_EXPONENT_MAX: i64 = 16_384;
/// The smallest binary exponent of a number that is not 0.
const BINARY_EXPONENT_MIN: i64 = -16_444;
const MANTISSA_BITS: u64 = 64;
/// Digits behind the point that are shown.
const DECIMALS: u32 = 17;

/// A finite number: a signed mantissa of at most 64 bits times a power of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LongDouble {
    mantissa: BigInt,
    exponent: i64,
}

/// What a text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    Finite(LongDouble),
    Infinite,
}

impl LongDouble {
    /// Reads a decimal number, with nothing before or after it.
    pub(crate) fn parse(text: &[u8]) -> Option<Parsed> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < TEXT_BYTES_MAX)?;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
            return Some(Parsed::Infinite);
        }
        let (number, exponent) = match digits.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, signed(exponent)?),
            None => (digits, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all: String = [whole, fraction].concat();
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits: BigUint = all.parse().ok()?;
        let scale = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        if digits == BigUint::ZERO {
            return Some(Parsed::Finite(Self { mantissa: BigInt::ZERO, exponent: 0 }));
        }
        // Before any power is taken of it.
        if !(-2 * EXPONENT_MAX..=EXPONENT_MAX).contains(&scale) {
            return None;
        }
        let power = BigUint::from(10u32).pow(u32::try_from(scale.unsigned_abs()).ok()?);
        let value = match scale >= 0 {
            true => Self::rounded(negative, digits * power, BigUint::from(1u32)),
            false => Self::rounded(negative, digits, power),
        };
        // Too large or too small for the type: refused, as redis does.
        let size = value.exponent + i64::try_from(value.mantissa.bits()).ok()?;
        let fits = (BINARY_EXPONENT_MIN..=BINARY_EXPONENT_MAX).contains(&size);
        fits.then_some(Parsed::Finite(value))
    }

    /// The sum, rounded; `None` when it is infinite.
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |it: &Self| it.mantissa.clone() << (it.exponent - exponent).unsigned_abs();
        let (sign, magnitude) = (aligned(self) + aligned(other)).into_parts();
        let sum = match exponent {
            exponent if exponent >= 0 => {
                Self::rounded(sign == Sign::Minus, magnitude << exponent.unsigned_abs(), BigUint::from(1u32))
            }
            exponent => Self::rounded(sign == Sign::Minus, magnitude, BigUint::from(1u32) << exponent.unsigned_abs()),
        };
        let bits = i64::try_from(sum.mantissa.bits()).ok()?;
        (sum.exponent + bits <= BINARY_EXPONENT_MAX).then_some(sum)
    }

    /// A fraction, to 64 bits, halves to even.
    fn rounded(negative: bool, numerator: BigUint, denominator: BigUint) -> Self {
        if numerator == BigUint::ZERO {
            return Self { mantissa: BigInt::ZERO, exponent: 0 };
        }
        // So shifted that the quotient has 64 or 65 bits.
        let shift = MANTISSA_BITS as i64 + 1 + denominator.bits() as i64 - numerator.bits() as i64;
        let (numerator, denominator) = match shift >= 0 {
            true => (numerator << shift.unsigned_abs(), denominator),
            false => (numerator, denominator << shift.unsigned_abs()),
        };
        let mut exponent = -shift;
        let (quotient, rest) = (&numerator / &denominator, &numerator % &denominator);
        let drop = quotient.bits() - MANTISSA_BITS;
        let mut mantissa = &quotient >> drop;
        let dropped = &quotient - (&mantissa << drop);
        let half = BigUint::from(1u32) << drop >> 1u32;
        let above = dropped > half || dropped == half && rest > BigUint::ZERO;
        if above || dropped == half && mantissa.bit(0) {
            mantissa += 1u32;
        }
        exponent += drop as i64;
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        Self { mantissa: BigInt::from_biguint(sign, mantissa), exponent }
    }

    /// As C's `%.17Lf`, without the zeros at the end: no exponent, ever.
    pub(crate) fn text(&self) -> String {
        let (sign, magnitude) = self.mantissa.clone().into_parts();
        let scaled = magnitude * BigUint::from(10u32).pow(DECIMALS);
        let whole = match self.exponent {
            exponent if exponent >= 0 => scaled << exponent.unsigned_abs(),
            exponent => half_even(scaled, exponent.unsigned_abs()),
        };
        let digits = format!("{:0>width$}", whole.to_string(), width = DECIMALS as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DECIMALS as usize);
        let text = format!("{whole}.{fraction}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if sign == Sign::Minus && text != "0" { format!("-{text}") } else { text.to_owned() }
    }
}

/// Divides by a power of two, halves to even.
fn half_even(number: BigUint, bits: u64) -> BigUint {
    let quotient = &number >> bits;
    let rest = number - (&quotient << bits);
    let half = BigUint::from(1u32) << bits >> 1u32;
    let up = rest > half || rest == half && quotient.bit(0);
    if up { quotient + 1u32 } else { quotient }
}

fn signed(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than these are out of every range.
    let number = if digits.len() > 9 { i64::from(i32::MAX) } else { digits.parse().ok()? };
    Some(if text.starts_with('-') { -number } else { number })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn number(text: &str) -> LongDouble {
        match LongDouble::parse(text.as_bytes()) {
            Some(Parsed::Finite(value)) => value,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// Seen on redis-server 7.0.15.
    #[test]
    fn sums_are_those_of_a_long_double() {
        for (a, b, sum) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "0.2", "0.3"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "4e-18", "0"),
            ("-1.5", "1.5", "0"),
            ("-0.25", "0", "-0.25"),
            ("1e20", "1", "100000000000000000000"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "2", "18446744073709551616"),
        ] {
            assert_eq!(number(a).plus(&number(b)).unwrap().text(), sum, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "", ".", "-", "e5", "1e", "1e+", "1x", " 1", "1 ", "0x10", "1e4933", "1e5000", "1e-9999", "nan", "--1",
            "1.2.3",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse(b"-inf"), Some(Parsed::Infinite));
        assert_eq!(LongDouble::parse(b"+Infinity"), Some(Parsed::Infinite));
        assert_eq!(LongDouble::parse(&[b'1'; 6000]), None);
        assert_eq!(number("5.").text(), "5");
        assert_eq!(number(".5").text(), "0.5");
        assert_eq!(number("0e99999999999").text(), "0");
        assert_eq!(number("1e4932").plus(&number("1e4932")), None);
    }
}
