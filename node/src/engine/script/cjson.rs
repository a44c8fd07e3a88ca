//! `cjson`: JSON for scripts, by the rules of Lua CJSON 2.1 as redis has it: an empty table is an object, a table with
//! the keys 1 to n is a list, numbers have 14 digits, `null` is `cjson.null`, text is bytes.

mod decode;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{LightUserData, Lua, MultiValue, Table, Value};

use super::convert::percent_g;
use super::library::{Outcome, Problem, Raised, Words, function, room, said, type_name, wrong};

/// What a script may set; every script begins with redis's defaults.
#[derive(Debug, Clone, Copy)]
struct Settings {
    encode_depth_max: i64,
    decode_depth_max: i64,
    /// A list with holes that has more than so many places for each of its values is sparse; 0 for never.
    sparse_ratio: i64,
    /// But not with this many places or fewer.
    sparse_safe: i64,
    /// A sparse list is written as an object, not refused.
    sparse_converts: bool,
    digits: i64,
    /// What becomes of numbers JSON does not know: 0 refused, 1 written, 2 written as null.
    encode_invalid: i64,
    decode_invalid: bool,
    keep_buffer: bool,
}

const DEFAULT: Settings = Settings {
    encode_depth_max: 1000,
    decode_depth_max: 1000,
    sparse_ratio: 2,
    sparse_safe: 10,
    sparse_converts: false,
    digits: 14,
    encode_invalid: 0,
    decode_invalid: true,
    keep_buffer: true,
};
/// Levels that are written or read, whatever was set: ours are on the thread's stack.
const DEPTH_MAX: i64 = 1_000;

/// The settings of the table `cjson`, for whoever resets them before each script.
#[derive(Clone)]
pub(super) struct Main(Rc<Cell<Settings>>);

impl Main {
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(DEFAULT)))
    }

    pub(super) fn reset(&self) {
        self.0.set(DEFAULT);
    }
}

/// The table; `new` makes another with settings of its own.
pub(super) fn library(lua: &Lua, raised: &Rc<Raised>, main: &Main) -> mlua::Result<Table> {
    let table = bound(lua, raised, &main.0)?;
    let raised = raised.clone();
    table.raw_set("new", lua.create_function(move |lua, ()| bound(lua, &raised, &Main::new().0))?)?;
    Ok(table)
}

fn null() -> Value {
    Value::LightUserData(LightUserData(std::ptr::null_mut()))
}

fn bound(lua: &Lua, raised: &Rc<Raised>, settings: &Rc<Cell<Settings>>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let put = |name: &str, run: fn(&Lua, Words<'_>, &Cell<Settings>) -> Outcome| {
        let settings = settings.clone();
        table.raw_set(name, function(lua, raised, move |lua, words| run(lua, words, &settings))?)
    };
    put("encode", |lua, words, settings| {
        let text = encoded(single(words)?, &settings.get())?;
        Ok(MultiValue::from_iter([Value::String(lua.create_string(text)?)]))
    })?;
    put("decode", |lua, words, settings| {
        single(words)?;
        let text = words.text(1)?;
        Ok(MultiValue::from_iter([decode::decoded(lua, &text.as_bytes(), &settings.get())?]))
    })?;
    put("encode_sparse_array", |_, words, settings| {
        let mut now = settings.get();
        at_most(words, 3)?;
        now.sparse_converts = flag(words, 1, now.sparse_converts)?;
        now.sparse_ratio = int(words, 2, (0, i32::MAX.into()), now.sparse_ratio)?;
        now.sparse_safe = int(words, 3, (0, i32::MAX.into()), now.sparse_safe)?;
        settings.set(now);
        let numbers = [now.sparse_ratio, now.sparse_safe].map(|number| Value::Number(number as f64));
        Ok(std::iter::once(Value::Boolean(now.sparse_converts)).chain(numbers).collect())
    })?;
    put("encode_max_depth", |_, words, settings| {
        let mut now = settings.get();
        now.encode_depth_max = only_int(words, i32::MAX.into(), now.encode_depth_max)?;
        settings.set(now);
        Ok(MultiValue::from_iter([Value::Number(now.encode_depth_max as f64)]))
    })?;
    put("decode_max_depth", |_, words, settings| {
        let mut now = settings.get();
        now.decode_depth_max = only_int(words, i32::MAX.into(), now.decode_depth_max)?;
        settings.set(now);
        Ok(MultiValue::from_iter([Value::Number(now.decode_depth_max as f64)]))
    })?;
    put("encode_number_precision", |_, words, settings| {
        let mut now = settings.get();
        now.digits = only_int(words, 14, now.digits)?;
        settings.set(now);
        Ok(MultiValue::from_iter([Value::Number(now.digits as f64)]))
    })?;
    put("encode_keep_buffer", |_, words, settings| {
        let mut now = settings.get();
        at_most(words, 1)?;
        now.keep_buffer = flag(words, 1, now.keep_buffer)?;
        settings.set(now);
        Ok(MultiValue::from_iter([Value::Boolean(now.keep_buffer)]))
    })?;
    put("decode_invalid_numbers", |_, words, settings| {
        let mut now = settings.get();
        at_most(words, 1)?;
        now.decode_invalid = flag(words, 1, now.decode_invalid)?;
        settings.set(now);
        Ok(MultiValue::from_iter([Value::Boolean(now.decode_invalid)]))
    })?;
    put("encode_invalid_numbers", |lua, words, settings| {
        let mut now = settings.get();
        at_most(words, 1)?;
        now.encode_invalid = option(words, &["off", "on", "null"], now.encode_invalid)?;
        settings.set(now);
        let told = if now.encode_invalid == 2 {
            Value::String(lua.create_string("null")?)
        } else {
            Value::Boolean(now.encode_invalid == 1)
        };
        Ok(MultiValue::from_iter([told]))
    })?;
    table.raw_set("null", null())?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn single(words: Words<'_>) -> Result<&Value, Problem> {
    match words.get(1) {
        Some(value) if words.len() == 1 => Ok(value),
        _ => wrong(1, "expected 1 argument"),
    }
}

fn at_most(words: Words<'_>, count: usize) -> Result<(), Problem> {
    if words.len() > count { wrong(count + 1, "found too many arguments") } else { Ok(()) }
}

fn only_int(words: Words<'_>, most: i64, now: i64) -> Result<i64, Problem> {
    at_most(words, 1)?;
    int(words, 1, (1, most), now)
}

fn int(words: Words<'_>, at: usize, (least, most): (i64, i64), now: i64) -> Result<i64, Problem> {
    let value = words.integer_or(at, now)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    wrong(1, &format!("expected integer between {least} and {most}"))
}

fn flag(words: Words<'_>, at: usize, now: bool) -> Result<bool, Problem> {
    match words.get(at) {
        None | Some(Value::Nil) => Ok(now),
        Some(Value::Boolean(value)) => Ok(*value),
        Some(_) => choice(words, at, &["off", "on"]).map(|at| at == 1),
    }
}

fn option(words: Words<'_>, names: &[&str], now: i64) -> Result<i64, Problem> {
    match words.get(1) {
        None | Some(Value::Nil) => Ok(now),
        Some(Value::Boolean(value)) => Ok((*value).into()),
        Some(_) => choice(words, 1, names).map(|at| at as i64),
    }
}

fn choice(words: Words<'_>, at: usize, names: &[&str]) -> Result<usize, Problem> {
    let text = words.text(at)?;
    let text = text.as_bytes();
    let found = names.iter().position(|name| name.as_bytes() == &*text);
    found.map_or_else(|| wrong(at, &format!("invalid option '{}'", String::from_utf8_lossy(&text))), Ok)
}

fn encoded(value: &Value, settings: &Settings) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    encode(value, &mut out, 0, settings)?;
    Ok(out)
}

/// Recursive, and kept small for that: what is no table is written elsewhere.
fn encode(value: &Value, out: &mut Vec<u8>, depth: i64, settings: &Settings) -> Result<(), Problem> {
    room(out.len(), 0)?;
    match value {
        Value::Table(table) => self::table(table, out, depth + 1, settings),
        value => scalar(value, out, settings),
    }
}

#[inline(never)]
fn scalar(value: &Value, out: &mut Vec<u8>, settings: &Settings) -> Result<(), Problem> {
    match value {
        Value::Nil => out.extend(b"null"),
        Value::LightUserData(LightUserData(pointer)) if pointer.is_null() => out.extend(b"null"),
        Value::Boolean(value) => out.extend(if *value { &b"true"[..] } else { b"false" }),
        Value::Integer(value) => number(*value as f64, out, settings)?,
        Value::Number(value) => number(*value, out, settings)?,
        Value::String(value) => string(&value.as_bytes(), out),
        other => return said(format!("Cannot serialise {}: type not supported", type_name(other))),
    }
    Ok(())
}

fn number(value: f64, out: &mut Vec<u8>, settings: &Settings) -> Result<(), Problem> {
    match settings.encode_invalid {
        _ if value.is_finite() => {}
        0 => return said("Cannot serialise number: must not be NaN or Inf"),
        1 if value.is_nan() => {
            out.extend(b"nan");
            return Ok(());
        }
        1 => {}
        _ => {
            out.extend(b"null");
            return Ok(());
        }
    }
    out.extend(percent_g(value, settings.digits as usize).bytes());
    Ok(())
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'/' => out.extend(b"\\/"),
            8 => out.extend(b"\\b"),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            12 => out.extend(b"\\f"),
            b'\r' => out.extend(b"\\r"),
            0..=0x1f | 0x7f => out.extend(format!("\\u{byte:04x}").bytes()),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

/// How long a table is as a list; `None` when it is none.
fn length(table: &Table, settings: &Settings) -> Result<Option<usize>, Problem> {
    let (mut longest, mut entries) = (0_f64, 0_i64);
    for pair in table.pairs::<Value, Value>() {
        let index = match pair?.0 {
            Value::Integer(index) => index as f64,
            Value::Number(index) => index,
            _ => 0.0,
        };
        if index < 1.0 || index.floor() != index {
            return Ok(None);
        }
        entries += 1;
        longest = longest.max(index);
    }
    // As the C library keeps it, in an int.
    let longest = longest as i32 as i64;
    let Settings { sparse_ratio: ratio, sparse_safe: safe, .. } = *settings;
    if ratio > 0 && longest > entries.saturating_mul(ratio) && longest > safe {
        if !settings.sparse_converts {
            return said("Cannot serialise table: excessively sparse array");
        }
        return Ok(None);
    }
    Ok(usize::try_from(longest).ok().filter(|longest| *longest > 0))
}

fn table(table: &Table, out: &mut Vec<u8>, depth: i64, settings: &Settings) -> Result<(), Problem> {
    if depth > settings.encode_depth_max.min(DEPTH_MAX) {
        return said(format!("Cannot serialise, excessive nesting ({depth})"));
    }
    match length(table, settings)? {
        Some(length) => list(table, length, out, depth, settings),
        None => object(table, out, depth, settings),
    }
}

fn list(table: &Table, length: usize, out: &mut Vec<u8>, depth: i64, settings: &Settings) -> Result<(), Problem> {
    out.push(b'[');
    for index in 1..=length {
        if index > 1 {
            out.push(b',');
        }
        encode(&table.raw_get(index)?, out, depth, settings)?;
    }
    out.push(b']');
    Ok(())
}

fn object(table: &Table, out: &mut Vec<u8>, depth: i64, settings: &Settings) -> Result<(), Problem> {
    out.push(b'{');
    let before = out.len();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if out.len() > before {
            out.push(b',');
        }
        member(&key, out, settings)?;
        encode(&value, out, depth, settings)?;
    }
    out.push(b'}');
    Ok(())
}

#[inline(never)]
fn member(key: &Value, out: &mut Vec<u8>, settings: &Settings) -> Result<(), Problem> {
    match key {
        Value::String(key) => string(&key.as_bytes(), out),
        Value::Integer(_) | Value::Number(_) => {
            out.push(b'"');
            scalar(key, out, settings)?;
            out.push(b'"');
        }
        key => {
            let name = type_name(key);
            return said(format!("Cannot serialise {name}: table key must be a number or string"));
        }
    }
    out.push(b':');
    Ok(())
}
