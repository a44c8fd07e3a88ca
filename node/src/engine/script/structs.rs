//! The table `struct`: numbers and text as C structs, by the rules of Roberto Ierusalimschy's lua_struct.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::library::{Outcome, Problem, Raised, Words, function, room, said, wrong};

/// Most bytes of an integer.
const INT_BYTES_MAX: usize = 32;
/// As many values as a call can have.
const RESULTS_MAX: usize = 7_900;

/// The table.
pub(super) fn library(lua: &Lua, raised: &Rc<Raised>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", function(lua, raised, pack)?)?;
    table.raw_set("unpack", function(lua, raised, unpack)?)?;
    table.raw_set("size", function(lua, raised, size)?)?;
    Ok(table)
}

/// A format being read: one option after another, as far as a NUL.
struct Format<'a> {
    rest: &'a [u8],
    is_big: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        Self { rest: &text[..end], is_big: false, align: 1 }
    }

    /// The next option, its size, and how many bytes align it at `at`.
    fn next(&mut self, at: usize) -> Result<Option<(u8, usize, usize)>, Problem> {
        let Some((option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => match self.number(4)? {
                size if size > INT_BYTES_MAX => {
                    return said(format!("integral size {size} is larger than limit of {INT_BYTES_MAX}"));
                }
                size => size,
            },
            _ => 0,
        };
        let step = size.min(self.align);
        let padding = match *option {
            b'c' => 0,
            _ if size == 0 => 0,
            // An integer of 3 bytes is aligned to nothing that is a power of 2: the arithmetic is C's.
            _ => step.wrapping_sub(at & step.wrapping_sub(1)) & step.wrapping_sub(1),
        };
        Ok(Some((*option, size, padding)))
    }

    fn number(&mut self, otherwise: usize) -> Result<usize, Problem> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(otherwise);
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let number = std::str::from_utf8(number).ok().and_then(|text| text.parse::<i32>().ok());
        number.map_or_else(|| said("integral size overflow"), |number| Ok(number as usize))
    }

    /// An option that stands for no bytes.
    fn control(&mut self, option: u8) -> Result<(), Problem> {
        match option {
            b' ' => {}
            b'>' => self.is_big = true,
            b'<' => self.is_big = false,
            b'!' => match self.number(8)? {
                align if align.is_power_of_two() => self.align = align,
                align => return said(format!("alignment {align} is not a power of 2")),
            },
            other => {
                return wrong(1, &format!("invalid format option '{}'", char::from(other)));
            }
        }
        Ok(())
    }

    /// An integer of so many bytes.
    fn put(&self, value: u64, bytes: usize, out: &mut Vec<u8>) {
        let byte = |at: usize| if at < 8 { (value >> (8 * at)) as u8 } else { 0 };
        if self.is_big { out.extend((0..bytes).rev().map(byte)) } else { out.extend((0..bytes).map(byte)) }
    }

    fn integer(&self, bytes: &[u8], is_signed: bool) -> f64 {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = if self.is_big { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        if !is_signed {
            return value as f64;
        }
        let mask = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
        (if value & mask != 0 { value | mask } else { value }) as i64 as f64
    }
}

/// A double as C makes a 64-bit integer of it: what does not fit is the lowest, or 0.
fn c_integer(value: f64) -> u64 {
    const TOP: f64 = 9_223_372_036_854_775_808.0;
    if value.is_nan() || value < -TOP {
        1 << 63
    } else if value < TOP {
        value as i64 as u64
    } else if value < 2.0 * TOP {
        value as u64
    } else {
        0
    }
}

fn pack(lua: &Lua, words: Words<'_>) -> Outcome {
    let text = words.text(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut out: Vec<u8> = Vec::new();
    let mut at = 2;
    while let Some((option, size, padding)) = format.next(out.len())? {
        room(out.len(), padding.saturating_add(if option == b'c' { 0 } else { size }))?;
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                format.put(c_integer(number(words, at)?), size, &mut out);
                at += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                format.put(u64::from((number(words, at)? as f32).to_bits()), 4, &mut out);
                at += 1;
            }
            b'd' => {
                format.put(number(words, at)?.to_bits(), 8, &mut out);
                at += 1;
            }
            b'c' | b's' => {
                let value = if words.len() + 1 == at { return missing(at, "string") } else { words.text(at)? };
                let value = value.as_bytes();
                at += 1;
                let size = if size == 0 { value.len() } else { size };
                let Some(part) = value.get(..size) else { return wrong(at, "string too short") };
                room(out.len(), size)?;
                out.extend_from_slice(part);
                if option == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
    }
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?)]))
}

/// The first argument that is not there is nil to the C library.
fn missing<T>(at: usize, wanted: &str) -> Result<T, Problem> {
    wrong(at, &format!("{wanted} expected, got nil"))
}

fn number(words: Words<'_>, at: usize) -> Result<f64, Problem> {
    if words.len() + 1 == at { missing(at, "number") } else { words.number(at) }
}

fn unpack(lua: &Lua, words: Words<'_>) -> Outcome {
    let (text, data) = (words.text(1)?, words.text(2)?);
    let (text, data) = (text.as_bytes(), data.as_bytes());
    // As C has it, where a negative one is far behind the end.
    let Some(mut at) = (words.integer_or(3, 1)? as usize).checked_sub(1) else {
        return wrong(3, "offset must be 1 or greater");
    };
    let mut format = Format::new(&text);
    let mut results = MultiValue::new();
    while let Some((option, mut size, padding)) = format.next(at)? {
        at = at.saturating_add(padding);
        let mut part = bytes(&data, at, size)?;
        if results.len() >= RESULTS_MAX {
            return said("stack overflow (too many results)");
        }
        match option {
            b'b' | b'h' | b'l' | b'i' => results.push_back(Value::Number(format.integer(part, true))),
            b'B' | b'H' | b'L' | b'T' | b'I' => results.push_back(Value::Number(format.integer(part, false))),
            b'x' => {}
            b'f' => {
                let value = format.integer(part, false) as u32;
                results.push_back(Value::Number(f32::from_bits(value).into()));
            }
            b'd' => {
                let mut bytes: [u8; 8] = part.try_into().unwrap_or_default();
                if format.is_big {
                    bytes.reverse();
                }
                results.push_back(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let previous = results.pop_back().map(|value| lua.coerce_number(value)).transpose()?.flatten();
                    let Some(previous) = previous else { return said("format 'c0' needs a previous size") };
                    size = usize::try_from(c_integer(previous)).unwrap_or(usize::MAX);
                    part = bytes(&data, at, size)?;
                }
                results.push_back(Value::String(lua.create_string(part)?));
            }
            b's' => {
                let rest = data.get(at..).unwrap_or_default();
                let Some(end) = memchr::memchr(0, rest) else { return said("unfinished string in data") };
                results.push_back(Value::String(lua.create_string(&rest[..end])?));
                size = end + 1;
            }
            other => format.control(other)?,
        }
        at = at.saturating_add(size);
    }
    results.push_back(Value::Number(at.wrapping_add(1) as i64 as f64));
    Ok(results)
}

fn bytes(data: &[u8], at: usize, size: usize) -> Result<&[u8], Problem> {
    let part = at.checked_add(size).and_then(|end| data.get(at..end));
    part.map_or_else(|| wrong(2, "data string too short"), Ok)
}

fn size(_: &Lua, words: Words<'_>) -> Outcome {
    let text = words.text(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut at = 0_usize;
    while let Some((option, size, padding)) = format.next(at)? {
        at = at.saturating_add(padding);
        match option {
            b's' => return wrong(1, "option 's' has no fixed size"),
            b'c' if size == 0 => return wrong(1, "option 'c0' has no fixed size"),
            other if other.is_ascii_alphanumeric() => {}
            other => format.control(other)?,
        }
        at = at.saturating_add(size);
    }
    Ok(MultiValue::from_iter([Value::Number(at as f64)]))
}
