//! JSON text to values, token by token, with Lua CJSON's errors.

use mlua::{Lua, Value};

use super::super::library::{Problem, said};
use super::{DEPTH_MAX, Settings, null};

/// The value of a JSON text.
pub(super) fn decoded(lua: &Lua, text: &[u8], settings: &Settings) -> Result<Value, Problem> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return said("JSON parser does not support UTF-16 or UTF-32");
    }
    let mut parser = Parser { lua, text, at: 0, settings };
    let token = parser.next();
    let value = parser.value(token, 0)?;
    let token = parser.next();
    match token.kind {
        Kind::End => Ok(value),
        _ => token.unexpected("the end"),
    }
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

struct Token {
    kind: Kind,
    /// Where it begins, from 0.
    at: usize,
}

impl Token {
    fn unexpected<T>(&self, wanted: &str) -> Result<T, Problem> {
        let found = match &self.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::Text(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(why) => why,
        };
        said(format!("Expected {wanted} but found {found} at character {}", self.at + 1))
    }
}

struct Parser<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    settings: &'a Settings,
}

impl Parser<'_> {
    /// The byte at a place; a NUL behind the end, as in C.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Kind::ObjectBegin,
            b'}' => Kind::ObjectEnd,
            b'[' => Kind::ArrayBegin,
            b']' => Kind::ArrayEnd,
            b':' => Kind::Colon,
            b',' => Kind::Comma,
            0 => return Token { kind: Kind::End, at },
            _ => {
                let kind = self.longer();
                let at = if matches!(kind, Kind::Error(_)) { self.at } else { at };
                return Token { kind, at };
            }
        };
        self.at += 1;
        Token { kind: single, at }
    }

    fn longer(&mut self) -> Kind {
        let words: [(&[u8], Kind); 3] =
            [(b"true", Kind::Boolean(true)), (b"false", Kind::Boolean(false)), (b"null", Kind::Null)];
        let first = self.byte(self.at);
        match first {
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.settings.decode_invalid && self.is_invalid_number() {
                    return Kind::Error("invalid number");
                }
                return self.number();
            }
            _ => {}
        }
        for (word, kind) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return kind;
            }
        }
        let may_begin_number = matches!(first, b'+' | b'i' | b'I' | b'n' | b'N');
        if may_begin_number && self.settings.decode_invalid && self.is_invalid_number() {
            return self.number();
        }
        Kind::Error("invalid token")
    }

    /// Whether what `strtod` would read here is no number of JSON.
    fn is_invalid_number(&self) -> bool {
        let mut at = self.at;
        if self.byte(at) == b'+' {
            return true;
        }
        if self.byte(at) == b'-' {
            at += 1;
        }
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            byte if byte <= b'9' => false,
            _ => {
                let word = self.text.get(at..at + 3).unwrap_or_default();
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Kind {
        match strtod(self.rest()) {
            Some((number, length)) => {
                self.at += length;
                Kind::Number(number)
            }
            None => Kind::Error("invalid number"),
        }
    }

    fn string(&mut self) -> Kind {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.byte(self.at) {
                b'"' => break,
                0 => return Kind::Error("unexpected end of string"),
                b'\\' => {
                    let byte = match self.byte(self.at + 1) {
                        b'b' => 8,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 12,
                        b'r' => b'\r',
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'u' => {
                            let Some((letter, length)) = self.escape() else {
                                return Kind::Error("invalid unicode escape code");
                            };
                            text.extend(letter.encode_utf8(&mut [0; 4]).bytes());
                            self.at += length;
                            continue;
                        }
                        _ => return Kind::Error("invalid escape code"),
                    };
                    text.push(byte);
                    self.at += 2;
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Kind::Text(text)
    }

    /// The letter of `\uXXXX`, of two of them where it takes a pair, and how long that is.
    fn escape(&self) -> Option<(char, usize)> {
        let first = self.hex(self.at + 2)?;
        if first & 0xf800 != 0xd800 {
            return Some((char::from_u32(first)?, 6));
        }
        if first & 0x400 != 0 || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
            return None;
        }
        let second = self.hex(self.at + 8).filter(|second| second & 0xfc00 == 0xdc00)?;
        Some((char::from_u32(((first & 0x3ff) << 10 | second & 0x3ff) + 0x1_0000)?, 12))
    }

    fn hex(&self, at: usize) -> Option<u32> {
        (at..at + 4).try_fold(0, |code, at| Some(code << 4 | char::from(self.byte(at)).to_digit(16)?))
    }

    fn value(&mut self, token: Token, depth: i64) -> Result<Value, Problem> {
        Ok(match token.kind {
            Kind::Text(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => null(),
            Kind::ObjectBegin => return self.object(depth + 1),
            Kind::ArrayBegin => return self.array(depth + 1),
            _ => return token.unexpected("value"),
        })
    }

    fn descend(&self, depth: i64) -> Result<(), Problem> {
        if depth <= self.settings.decode_depth_max.min(DEPTH_MAX) {
            return Ok(());
        }
        said(format!("Found too many nested data structures ({depth}) at character {}", self.at))
    }

    fn object(&mut self, depth: i64) -> Result<Value, Problem> {
        self.descend(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Kind::Text(key) = token.kind else { return token.unexpected("object key string") };
            let key = self.lua.create_string(key)?;
            token = self.next();
            if !matches!(token.kind, Kind::Colon) {
                return token.unexpected("colon");
            }
            token = self.next();
            table.raw_set(key, self.value(token, depth)?)?;
            token = self.next();
            match token.kind {
                Kind::ObjectEnd => return Ok(Value::Table(table)),
                Kind::Comma => token = self.next(),
                _ => return token.unexpected("comma or object end"),
            }
        }
    }

    fn array(&mut self, depth: i64) -> Result<Value, Problem> {
        self.descend(depth)?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            table.raw_set(index, self.value(token, depth)?)?;
            token = self.next();
            match token.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.next(),
                _ => return token.unexpected("comma or array end"),
            }
        }
        Ok(Value::Table(table))
    }
}

/// The number that C's `strtod` reads at the start, and how long it is: decimal, hexadecimal, infinity or NaN.
fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let rest = text.get(sign..)?;
    let starts = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let (value, length) = if starts(b"infinity") {
        (f64::INFINITY, 8)
    } else if starts(b"inf") {
        (f64::INFINITY, 3)
    } else if starts(b"nan") {
        (f64::NAN, 3 + payload(rest.get(3..).unwrap_or_default()))
    } else if starts(b"0x") && hex_digits(rest.get(2..)?) {
        hexadecimal(rest.get(2..)?).map(|(value, length)| (value, length + 2))?
    } else {
        decimal(rest)?
    };
    Some((if negative { -value } else { value }, sign + length))
}

/// `nan(letters)`.
fn payload(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let letters = text.iter().skip(1).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if text.get(letters + 1) == Some(&b')') { letters + 2 } else { 0 }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = digits(text);
    let mut length = whole;
    if text.get(whole) == Some(&b'.') {
        let fraction = digits(text.get(whole + 1..).unwrap_or_default());
        if whole + fraction == 0 {
            return None;
        }
        length = whole + 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    length += exponent(text.get(length..).unwrap_or_default(), b"eE");
    let value = std::str::from_utf8(text.get(..length)?).ok()?;
    Some((value.parse().ok()?, length))
}

/// How long an exponent is, if there is one.
fn exponent(text: &[u8], letters: &[u8]) -> usize {
    if !text.first().is_some_and(|first| letters.contains(first)) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'-' | b'+')));
    match digits(text.get(1 + sign..).unwrap_or_default()) {
        0 => 0,
        digits => 1 + sign + digits,
    }
}

fn hex_digits(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_hexdigit)
        || text.first() == Some(&b'.') && text.get(1).is_some_and(u8::is_ascii_hexdigit)
}

fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut scale, mut at, mut is_fraction) = (0_f64, 0_i32, 0, false);
    while let Some(byte) = text.get(at) {
        match char::from(*byte).to_digit(16) {
            Some(digit) => {
                value = value * 16.0 + f64::from(digit);
                scale = scale.saturating_sub(if is_fraction { 4 } else { 0 });
            }
            None if *byte == b'.' && !is_fraction => is_fraction = true,
            None => break,
        }
        at += 1;
    }
    let length = exponent(text.get(at..).unwrap_or_default(), b"pP");
    if length > 0 {
        let power = std::str::from_utf8(text.get(at + 1..at + length)?).ok()?;
        let power = power.parse::<i32>().unwrap_or(if power.starts_with('-') { -10_000 } else { 10_000 });
        scale = scale.saturating_add(power);
    }
    Some((value * 2_f64.powi(scale), at + length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::strtod;

    #[test]
    fn numbers_as_c_reads_them() {
        for (text, value, length) in [
            ("1", 1.0, 1),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.", 1.0, 2),
            (".5", 0.5, 2),
            ("0x1F", 31.0, 4),
            ("0x.8p1", 1.0, 6),
            ("0x", 0.0, 1),
            ("inf", f64::INFINITY, 3),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("01", 1.0, 2),
        ] {
            assert_eq!(strtod(text.as_bytes()), Some((value, length)), "{text}");
        }
        assert!(strtod(b"nan(1)").is_some_and(|(value, length)| value.is_nan() && length == 6));
        assert!([&b"-"[..], b".", b"", b"x"].iter().all(|text| strtod(text).is_none()));
    }
}
