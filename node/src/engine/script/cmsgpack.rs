//! The table `cmsgpack`: values as MessagePack, by the rules of lua-cmsgpack 0.4.0.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::library::{Outcome, Problem, Raised, Words, function, room, said, wrong};

/// Tables nested deeper are written as nil.
const PACK_DEPTH_MAX: usize = 16;
/// Levels that are read.
const UNPACK_DEPTH_MAX: usize = 1_000;

/// The table.
pub(super) fn library(lua: &Lua, raised: &Rc<Raised>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", function(lua, raised, pack)?)?;
    table.raw_set("unpack", function(lua, raised, |lua, words| unpack(lua, words, 0, 0))?)?;
    let unpack_one = |lua: &Lua, words: Words<'_>| {
        let offset = words.integer_or(2, 0)?;
        unpack(lua, words, 1, offset)
    };
    table.raw_set("unpack_one", function(lua, raised, unpack_one)?)?;
    let unpack_limit = |lua: &Lua, words: Words<'_>| {
        let limit = words.integer(2)?;
        let offset = words.integer_or(3, 0)?;
        unpack(lua, words, limit, offset)
    };
    table.raw_set("unpack_limit", function(lua, raised, unpack_limit)?)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, words: Words<'_>) -> Outcome {
    if words.len() == 0 {
        return wrong(0, "MessagePack pack needs input.");
    }
    let mut out = Vec::new();
    for at in 1..=words.len() {
        write(words.get(at).unwrap_or(&Value::Nil), &mut out, 0)?;
    }
    Ok(MultiValue::from_iter([Value::String(lua.create_string(out)?)]))
}

fn write(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Problem> {
    room(out.len(), 0)?;
    match value {
        Value::String(text) => write_text(&text.as_bytes(), out),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(value) => write_int(*value, out),
        Value::Number(value) => write_number(*value, out),
        Value::Table(table) if depth < PACK_DEPTH_MAX => write_table(table, out, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend([0xd9, length as u8]),
        length => write_length(length, [0xda, 0xdb], out),
    }
    out.extend_from_slice(text);
}

/// A length in 2 or 4 bytes, each behind its tag.
fn write_length(length: usize, tags: [u8; 2], out: &mut Vec<u8>) {
    match u16::try_from(length) {
        Ok(short) => {
            out.push(tags[0]);
            out.extend(short.to_be_bytes());
        }
        Err(_) => {
            out.push(tags[1]);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

fn write_number(value: f64, out: &mut Vec<u8>) {
    // Beyond 64 bits the conversion stops at the bound, which is another number.
    let int = value as i64;
    if value.is_finite() && int as f64 == value && int != i64::MAX {
        return write_int(int, out);
    }
    let short = value as f32;
    if f64::from(short) == value {
        out.push(0xca);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend([0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend(value.to_be_bytes());
        }
        -32..=-1 => out.push(value as u8),
        -0x80..=-33 => out.extend([0xd0, value as u8]),
        -0x8000..=-0x81 => {
            out.push(0xd1);
            out.extend((value as i16).to_be_bytes());
        }
        -0x8000_0000..=-0x8001 => {
            out.push(0xd2);
            out.extend((value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

fn write_table(table: &Table, out: &mut Vec<u8>, depth: usize) -> Result<(), Problem> {
    let (mut entries, mut last, mut is_list) = (0_usize, 0_f64, true);
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        entries += 1;
        let index = match key {
            Value::Number(index) => index,
            Value::Integer(index) => index as f64,
            _ => 0.0,
        };
        is_list &= index > 0.0 && index == index.floor();
        last = last.max(index);
    }
    if is_list && last == entries as f64 {
        match entries {
            0..=15 => out.push(0x90 | entries as u8),
            _ => write_length(entries, [0xdc, 0xdd], out),
        }
        for index in 1..=entries {
            write(&table.raw_get(index)?, out, depth + 1)?;
        }
        return Ok(());
    }
    match entries {
        0..=15 => out.push(0x80 | entries as u8),
        _ => write_length(entries, [0xde, 0xdf], out),
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(&key, out, depth + 1)?;
        write(&value, out, depth + 1)?;
    }
    Ok(())
}

/// Up to `limit` values from `offset` on; all, and nothing else, when both are 0.
fn unpack(lua: &Lua, words: Words<'_>, limit: i64, offset: i64) -> Outcome {
    let text = words.text(1)?;
    let text = text.as_bytes();
    let all = limit == 0 && offset == 0;
    if limit < 0 || offset < 0 {
        return said(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            text.len()
        ));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)) else {
        return said(format!("Start offset {} greater than input length {}.", offset as i32, text.len()));
    };
    let mut reader = Reader { lua, rest };
    let mut results = MultiValue::new();
    while !reader.rest.is_empty() && (all || (results.len() as i64) < limit) {
        if results.len() >= RESULTS_MAX {
            return said("too many results to unpack");
        }
        results.push_back(reader.value(0)?);
    }
    if !all {
        let next = if reader.rest.is_empty() { -1.0 } else { (text.len() - reader.rest.len()) as f64 };
        results.push_front(Value::Number(next));
    }
    Ok(results)
}

/// As many values as a call can have.
const RESULTS_MAX: usize = 7_900;

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return said("Missing bytes in input.") };
        self.rest = rest;
        Ok(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> Result<u64, Problem> {
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, bytes: usize) -> Result<Value, Problem> {
        let unused = 64 - 8 * bytes as u32;
        Ok(Value::Number(((self.unsigned(bytes)? << unused) as i64 >> unused) as f64))
    }

    fn text(&mut self, length: usize) -> Result<Value, Problem> {
        Ok(Value::String(self.lua.create_string(self.take(length)?)?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Problem> {
        let tag = self.unsigned(1)? as u8;
        Ok(match tag {
            0x00..=0x7f => Value::Number(tag.into()),
            0x80..=0x8f => return self.map(usize::from(tag & 15), depth),
            0x90..=0x9f => return self.list(usize::from(tag & 15), depth),
            0xa0..=0xbf => return self.text(usize::from(tag & 31)),
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f32::from_bits(self.unsigned(4)? as u32).into()),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xce => Value::Number(self.unsigned(1 << (tag - 0xcc))? as f64),
            // As the C library pushes it.
            0xcf => return self.signed(8),
            0xd0..=0xd3 => return self.signed(1 << (tag - 0xd0)),
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (tag - 0xd9))? as usize;
                return self.text(length);
            }
            0xdc | 0xdd => {
                let length = self.unsigned(2 << (tag - 0xdc))? as usize;
                return self.list(length, depth);
            }
            0xde | 0xdf => {
                let length = self.unsigned(2 << (tag - 0xde))? as usize;
                return self.map(length, depth);
            }
            0xe0..=0xff => Value::Number((tag as i8).into()),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return said("Bad data format in input."),
        })
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<Value, Problem> {
        if depth >= UNPACK_DEPTH_MAX {
            return said("stack overflow (in function mp_decode_to_lua_array)");
        }
        let table = self.lua.create_table()?;
        for index in 1..=length {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Problem> {
        if depth >= UNPACK_DEPTH_MAX {
            return said("stack overflow (in function mp_decode_to_lua_hash)");
        }
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err(Problem::Bare(b"ERR table index is nil".to_vec())),
                Value::Number(number) if number.is_nan() => {
                    return Err(Problem::Bare(b"ERR table index is NaN".to_vec()));
                }
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
