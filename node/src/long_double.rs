//! Numbers as x86's 80-bit `long double` holds them, which is what redis's INCRBYFLOAT and HINCRBYFLOAT add.
//!
//! 64 bits of mantissa are more than a double's 53, and where they end shows in the replies (100.1 is
//! 100.09999999999999999), so decimal arithmetic or doubles would answer something else. Speed is no aim.

use num_bigint::{BigInt, BigUint, Sign};

/// Longest text read as a number: bytes, as redis.
const TEXT_BYTES_MAX: usize = 5 * 1024;
/// Largest exponents that can matter, of 10 and of 2; texts with as many digits may bring them back into range.
const EXPONENT_MAX: i64 = 5000;
const POWER_MAX: i64 = 20_000;
/// Largest binary exponent of the type.
const BINARY_EXPONENT_MAX: i64 = 16_384;
/// The binary exponent of half the smallest number that is not 0.
const BINARY_EXPONENT_MIN: i64 = -16_445;
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
    /// Reads a number as C's `strtold` does, hexadecimal ones included, with nothing before or after it.
    pub(crate) fn parse(text: &[u8]) -> Option<Parsed> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < TEXT_BYTES_MAX)?;
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
            return Some(Parsed::Infinite);
        }
        let (numerator, denominator) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(digits) => quotient(digits, 16, ['p', 'P'])?,
            None => quotient(digits, 10, ['e', 'E'])?,
        };
        let value = Self::rounded(negative, numerator, denominator);
        (value.mantissa == BigInt::ZERO || value.is_in_range()).then_some(Parsed::Finite(value))
    }

    /// Neither too large nor too small for the type: redis refuses what comes out infinite or 0.
    fn is_in_range(&self) -> bool {
        let mantissa = self.mantissa.magnitude();
        let size = self.exponent.saturating_add_unsigned(mantissa.bits());
        // Half of the smallest number is 0, what is more than half of it is that number.
        let is_half = mantissa.trailing_zeros() == mantissa.bits().checked_sub(1);
        size <= BINARY_EXPONENT_MAX && (size > BINARY_EXPONENT_MIN || size == BINARY_EXPONENT_MIN && !is_half)
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

/// Digits in a base, with a point or without, and a decimal exponent behind one of two letters, as numerator and
/// denominator. The exponent is one of 10, or of 2 where digits are hexadecimal.
fn quotient(text: &str, base: u32, letters: [char; 2]) -> Option<(BigUint, BigUint)> {
    let (number, exponent) = match text.split_once(letters) {
        Some((number, exponent)) => (number, signed(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let digits = BigUint::parse_bytes(digits.as_bytes(), base)?;
    let places = i64::try_from(fraction.len()).ok()?;
    let (power_of, scale, most) = match base {
        16 => (2u32, exponent - 4 * places, POWER_MAX),
        _ => (10, exponent - places, EXPONENT_MAX),
    };
    if digits == BigUint::ZERO {
        return Some((digits, BigUint::from(1u32)));
    }
    // Before any power is taken of it.
    if !(-2 * most..=most).contains(&scale) {
        return None;
    }
    let power = BigUint::from(power_of).pow(u32::try_from(scale.unsigned_abs()).ok()?);
    Some(if scale >= 0 { (digits * power, BigUint::from(1u32)) } else { (digits, power) })
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
            "",
            ".",
            "-",
            "e5",
            "1e",
            "1e+",
            "1x",
            " 1",
            "1 ",
            "0x",
            "0x.",
            "0xg",
            "0x1p",
            "-0x+1",
            "0x1p16384",
            "0x1p-16446",
            "1e4933",
            "1e5000",
            "1e-9999",
            "nan",
            "--1",
            "1.2.3",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(LongDouble::parse(b"-inf"), Some(Parsed::Infinite));
        assert_eq!(LongDouble::parse(b"+Infinity"), Some(Parsed::Infinite));
        assert_eq!(LongDouble::parse(&[b'1'; 6000]), None);
        assert_eq!(number("5.").text(), "5");
        assert_eq!(number("-0X1.8p+1").text(), "-3");
        assert_eq!(number("0x0p99999").text(), "0");
        assert_eq!(number("0x.1").text(), "0.0625");
        assert_eq!(number("3.6e-4951").plus(&number("0x3p-16447")).unwrap().text(), "0");
        assert_eq!(number(".5").text(), "0.5");
        assert_eq!(number("0e99999999999").text(), "0");
        assert_eq!(number("1e4932").plus(&number("1e4932")), None);
    }
}
