//! `cjson`: JSON for scripts, with the rules of Lua CJSON at its defaults: an empty table is an object, a table with the
//! keys 1 to n is a list, numbers have 14 digits, `null` is `cjson.null`.

use mlua::{LightUserData, Lua, Table, Value};
use serde_json::{Map, Number, Value as Json};

use super::convert::percent_g;

/// Most levels, as Lua CJSON has it.
const DEPTH_MAX: usize = 1000;
/// Holes that a list may have beyond its elements before it is no list: `encode_sparse_array`'s safe number.
const SPARSE_MAX: usize = 10;

/// The JSON of a value.
///
/// # Errors
/// Why it has none.
pub(super) fn encoded(value: &Value) -> Result<String, String> {
    let mut text = String::new();
    encode(value, &mut text, 0).map(|()| text)
}

/// The value of a JSON text.
///
/// # Errors
/// Where it is none.
pub(super) fn decoded(lua: &Lua, text: &[u8]) -> Result<Value, String> {
    let tree = serde_json::from_slice::<Json>(text).map_err(|error| format!("Expected valid JSON: {error}"))?;
    decode(lua, &tree).map_err(|error| error.to_string())
}

fn encode(value: &Value, text: &mut String, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("Cannot serialise, excessive depth ({depth})"));
    }
    match value {
        Value::Nil => text.push_str("null"),
        Value::LightUserData(LightUserData(pointer)) if pointer.is_null() => text.push_str("null"),
        Value::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => text.push_str(&value.to_string()),
        Value::Number(value) => text.push_str(&number(*value)?),
        Value::String(value) => string(&value.as_bytes(), text),
        Value::Table(table) => return self::table(table, text, depth),
        other => return Err(format!("Cannot serialise {}: type not supported", other.type_name())),
    }
    Ok(())
}

/// 14 digits: what a number with so many has left of its rounding errors.
fn number(value: f64) -> Result<String, String> {
    if value.is_finite() {
        Ok(percent_g(value, 14))
    } else {
        Err("Cannot serialise number: must not be NaN or Inf".to_owned())
    }
}

fn string(bytes: &[u8], text: &mut String) {
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for each in chunk.valid().chars() {
            match each {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '/' => text.push_str("\\/"),
                '\u{8}' => text.push_str("\\b"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\u{c}' => text.push_str("\\f"),
                '\r' => text.push_str("\\r"),
                '\0'..='\u{1f}' | '\u{7f}' => text.push_str(&format!("\\u{:04x}", u32::from(each))),
                other => text.push(other),
            }
        }
        // JSON is text: a byte that is none is shown as the replacement character.
        if !chunk.invalid().is_empty() {
            text.push('\u{fffd}');
        }
    }
    text.push('"');
}

fn table(table: &Table, text: &mut String, depth: usize) -> Result<(), String> {
    let said = |error: mlua::Error| error.to_string();
    let mut length = 0;
    let mut entries = 0;
    let mut is_list = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair.map_err(said)?;
        entries += 1;
        let index = match key {
            Value::Integer(index) if index > 0 => Some(index as usize),
            Value::Number(index) if index >= 1.0 && index == index.trunc() => Some(index as usize),
            _ => None,
        };
        match index {
            Some(index) => length = length.max(index),
            None => is_list = false,
        }
    }
    if is_list && entries > 0 {
        if length > SPARSE_MAX && length > entries * 2 {
            return Err("Cannot serialise table: excessively sparse array".to_owned());
        }
        text.push('[');
        for index in 1..=length {
            if index > 1 {
                text.push(',');
            }
            encode(&table.raw_get(index).map_err(said)?, text, depth + 1)?;
        }
        text.push(']');
        return Ok(());
    }
    text.push('{');
    let mut first = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(said)?;
        if !std::mem::take(&mut first) {
            text.push(',');
        }
        match key {
            Value::String(key) => string(&key.as_bytes(), text),
            Value::Integer(key) => text.push_str(&format!("\"{key}\"")),
            Value::Number(key) => text.push_str(&format!("\"{}\"", number(key)?)),
            _ => return Err("Cannot serialise table: table key must be a number or string".to_owned()),
        }
        text.push(':');
        encode(&value, text, depth + 1)?;
    }
    text.push('}');
    Ok(())
}

fn decode(lua: &Lua, tree: &Json) -> mlua::Result<Value> {
    Ok(match tree {
        Json::Null => Value::LightUserData(LightUserData(std::ptr::null_mut())),
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(value) => Value::Number(as_f64(value)),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (at, item) in items.iter().enumerate() {
                table.raw_set(at + 1, decode(lua, item)?)?;
            }
            Value::Table(table)
        }
        Json::Object(members) => Value::Table(object(lua, members)?),
    })
}

fn object(lua: &Lua, members: &Map<String, Json>) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, members.len())?;
    for (name, value) in members {
        table.raw_set(name.as_str(), decode(lua, value)?)?;
    }
    Ok(table)
}

fn as_f64(number: &Number) -> f64 {
    number.as_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_fourteen_digits() {
        for (value, text) in [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333"),
            (1e14, "1e+14"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (1e-5, "1e-05"),
            (12_345.678, "12345.678"),
        ] {
            assert_eq!(number(value).as_deref(), Ok(text));
        }
        assert!(number(f64::NAN).is_err());
    }
}
