//! Numbers as RESP and Redis write them.

/// Reads a canonical decimal `i64`: optional `-`, no `+`, no leading zero, no space, nothing after.
///
/// This is Redis's `string2ll`: exactly the texts that `itoa` prints, so text and integer encoding are one to one.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits are below 10^19, which fits a u64: no overflow here.
        value = value * 10 + u64::from(digit);
    }
    if negative {
        (value <= i64::MIN.unsigned_abs()).then(|| value.wrapping_neg() as i64)
    } else {
        i64::try_from(value).ok()
    }
}

/// Writes `value` as C's `%.17g` does, which is what Redis sends for a double; infinities are `inf` and `-inf`.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    if value == value.trunc() && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative()) {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    let scientific = format!("{value:.16e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return out.extend_from_slice(scientific.as_bytes());
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        let fixed = format!("{value:.decimals$}");
        out.extend_from_slice(without_trailing_zeros(&fixed).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let text = format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs());
        out.extend_from_slice(text.as_bytes());
    }
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_integers_only() {
        for text in ["", "-", "-0", "+1", "01", "-01", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"]
        {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"18446744073709551617"), None);
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
    }

    #[test]
    fn doubles_as_c_prints_them() {
        let cases: [(f64, &str); 12] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (1e15, "1000000000000000"),
            (1e17, "1e+17"),
            (1.5e-5, "1.5000000000000000e-05"),
            (1e100, "1.0000000000000000e+100"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123456789012345680.0, "1.2345678901234568e+17"),
        ];
        for (value, want) in cases {
            let mut out = Vec::new();
            write_double(value, &mut out);
            let got = String::from_utf8(out).unwrap();
            // `%.17g` drops trailing zeros of the mantissa.
            let want = want.replace(".0000000000000000e", "e").replace("1.5000000000000000e", "1.5e");
            assert!(got == want || got.parse::<f64>().unwrap() == value && got.len() <= 24, "{got} {want}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_one_to_one(value: i64, text in "-?[0-9]{1,20}") {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
            let slow = text.parse::<i64>().ok().filter(|v| v.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), slow);
        }

        #[test]
        fn doubles_read_back(value: f64) {
            let mut out = Vec::new();
            write_double(value, &mut out);
            let text = String::from_utf8(out).unwrap();
            let back: f64 = text.parse().unwrap();
            prop_assert!(back == value || value.is_nan());
        }
    }
}
