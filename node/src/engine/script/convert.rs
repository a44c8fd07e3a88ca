//! Between RESP and Lua, as redis converts: what a call answers, and what a script returns.

use mlua::{Lua, Table, Value};

use crate::resp::{Out, Reply};

/// Most levels of tables that a script may return.
const DEPTH_MAX: usize = 128;

/// A call's reply as a value of the script. Errors are tables with `err`; the caller decides whether to raise them.
pub(super) fn to_lua(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let bytes = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    let tagged = |name: &str, value: Value| -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    Ok(match reply {
        Reply::Simple(text) => tagged("ok", bytes(text)?)?,
        Reply::Error(text) => tagged("err", bytes(text)?)?,
        Reply::Int(value) => Value::Number(*value as f64),
        Reply::Bulk(value) => bytes(value)?,
        Reply::NullBulk | Reply::NullArray => Value::Boolean(false),
        Reply::Null => Value::Nil,
        Reply::Bool(value) => Value::Boolean(*value),
        Reply::Double(value) => tagged("double", Value::Number(*value))?,
        Reply::BigNumber(text) => tagged("big_number", bytes(text)?)?,
        Reply::Verbatim(format, text) => {
            let table = lua.create_table()?;
            table.raw_set("format", bytes(format)?)?;
            table.raw_set("string", bytes(text)?)?;
            tagged("verbatim_string", Value::Table(table))?
        }
        Reply::Array(items) | Reply::Push(items) => Value::Table(list(lua, items)?),
        Reply::Set(items) => {
            let set = lua.create_table()?;
            for item in items {
                set.raw_set(to_lua(lua, item)?, true)?;
            }
            tagged("set", Value::Table(set))?
        }
        Reply::Map(pairs) => {
            let map = lua.create_table()?;
            for (name, value) in pairs {
                map.raw_set(to_lua(lua, name)?, to_lua(lua, value)?)?;
            }
            tagged("map", Value::Table(map))?
        }
        Reply::Attributed(_, reply) => to_lua(lua, reply)?,
    })
}

fn list(lua: &Lua, items: &[Reply]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(items.len(), 0)?;
    for (at, item) in items.iter().enumerate() {
        table.raw_set(at + 1, to_lua(lua, item)?)?;
    }
    Ok(table)
}

/// What a script returns as a reply: numbers lose their fraction, a list ends at its first nil. Before `redis.setresp(3)`
/// `true` is 1 and `false` is null.
pub(super) fn to_reply(value: &Value, protocol: u8) -> Reply {
    let mut making = Making { left: REPLY_MAX, protocol };
    let reply = reply(value, 0, &mut making);
    if making.left == 0 { Reply::Error(b"ERR the reply of the script is too large".to_vec()) } else { reply }
}

/// What a reply may take: its bytes, and some for each element. A table can hold one other many times.
const REPLY_MAX: usize = 512 << 20;
const ELEMENT: usize = 256;

/// A reply that is made of a script's value.
struct Making {
    /// What it may take yet.
    left: usize,
    /// That of `redis.setresp`.
    protocol: u8,
}

fn reply(value: &Value, depth: usize, making: &mut Making) -> Reply {
    let bytes = if let Value::String(text) = value { text.as_bytes().len() } else { 0 };
    making.left = making.left.saturating_sub(bytes + ELEMENT);
    if making.left == 0 {
        return Reply::Null;
    }
    match value {
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Integer(value) => Reply::Int(*value),
        Value::Number(value) => Reply::Int(truncated(*value)),
        Value::Boolean(value) if making.protocol == 3 => Reply::Bool(*value),
        Value::Boolean(true) => Reply::Int(1),
        Value::Table(table) => table_reply(table, depth, making),
        _ => Reply::Null,
    }
}

/// A number without its fraction; what no integer holds is the least one, as x86-64 says when redis asks it.
fn truncated(value: f64) -> i64 {
    // 2 to the 63rd is the first above.
    if (i64::MIN as f64..-(i64::MIN as f64)).contains(&value) { value as i64 } else { i64::MIN }
}

fn table_reply(table: &Table, depth: usize, making: &mut Making) -> Reply {
    let text = |name: &str| match table.raw_get::<Value>(name) {
        Ok(Value::String(text)) => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    if depth > DEPTH_MAX {
        return Reply::Error(b"ERR reached lua stack limit".to_vec());
    }
    if let Some(error) = text("err") {
        return Reply::Error(error);
    }
    if let Some(status) = text("ok") {
        return Reply::Simple(status);
    }
    match table.raw_get::<Value>("double") {
        Ok(Value::Number(value)) => return Reply::Double(value),
        Ok(Value::Integer(value)) => return Reply::Double(value as f64),
        _ => {}
    }
    if let Ok(Value::Table(map)) = table.raw_get::<Value>("map") {
        let mut pairs = Vec::new();
        for (name, value) in map.pairs::<Value, Value>().filter_map(Result::ok) {
            pairs.push((reply(&name, depth + 1, making), reply(&value, depth + 1, making)));
        }
        return Reply::Map(pairs);
    }
    if let Ok(Value::Table(set)) = table.raw_get::<Value>("set") {
        let members = set.pairs::<Value, Value>().filter_map(Result::ok);
        return Reply::Set(members.map(|(member, _)| reply(&member, depth + 1, making)).collect());
    }
    if let Some(number) = text("big_number") {
        // What is no number is no such reply of RESP3.
        let digits = number.strip_prefix(b"-").unwrap_or(&number);
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        return if is_number { Reply::BigNumber(number) } else { Reply::Bulk(number) };
    }
    if let Ok(Value::Table(verbatim)) = table.raw_get::<Value>("verbatim_string")
        && let (Ok(Value::String(format)), Ok(Value::String(text))) =
            (verbatim.raw_get::<Value>("format"), verbatim.raw_get::<Value>("string"))
    {
        let format = format.as_bytes();
        let letter = |at: usize| format.get(at).copied().unwrap_or(b' ');
        return Reply::Verbatim([letter(0), letter(1), letter(2)], text.as_bytes().to_vec());
    }
    let mut items = Vec::new();
    while let Ok(value) = table.raw_get::<Value>(items.len() + 1) {
        if value.is_nil() || making.left == 0 {
            break;
        }
        items.push(reply(&value, depth + 1, making));
    }
    Reply::Array(items)
}

/// A value as text, where an error has one.
pub(super) fn plain(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Number(value) => percent_g(*value, 14).into_bytes(),
        Value::Integer(value) => value.to_string().into_bytes(),
        Value::Error(error) => error.to_string().into_bytes(),
        other => other.type_name().as_bytes().to_vec(),
    }
}

/// Writes a reply in the connection's own protocol.
pub(super) fn write(reply: &Reply, out: &mut Out) {
    let resp3 = out.protocol() == 3;
    match reply {
        Reply::Simple(text) => out.simple(&String::from_utf8_lossy(text).replace(['\r', '\n'], " ")),
        Reply::Error(text) => {
            out.error(text.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect::<Vec<_>>())
        }
        Reply::Int(value) => out.int(*value),
        Reply::Bulk(text) => out.bulk(text),
        Reply::Null | Reply::NullBulk => out.null(),
        Reply::NullArray => out.null_array(),
        Reply::Bool(value) => out.bool(*value),
        Reply::Double(value) => out.double(*value),
        Reply::BigNumber(text) => out.big_number(&String::from_utf8_lossy(text).replace(['\r', '\n'], " ")),
        Reply::Verbatim(format, text) => out.verbatim(*format, text),
        Reply::Array(items) | Reply::Push(items) => {
            out.array(items.len());
            items.iter().for_each(|item| write(item, out));
        }
        Reply::Set(items) => {
            out.set(items.len());
            items.iter().for_each(|item| write(item, out));
        }
        Reply::Map(pairs) if resp3 => {
            out.map(pairs.len());
            pairs.iter().for_each(|(name, value)| {
                write(name, out);
                write(value, out);
            });
        }
        Reply::Map(pairs) => {
            out.array(pairs.len() * 2);
            pairs.iter().for_each(|(name, value)| {
                write(name, out);
                write(value, out);
            });
        }
        Reply::Attributed(_, reply) => write(reply, out),
    }
}

/// C's `%.{digits}g`.
pub(crate) fn percent_g(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nan".to_owned() } else { format!("{}inf", if value < 0.0 { "-" } else { "" }) };
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..digits as i32).contains(&exponent) {
        let places = (digits as i32 - 1 - exponent).max(0) as usize;
        return trim(&format!("{value:.places$}"));
    }
    format!("{}e{}{:02}", trim(mantissa), if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::percent_g;

    #[test]
    fn numbers_as_c_writes_them() {
        for (value, digits, text) in [
            (1.0, 14, "1"),
            (-0.5, 14, "-0.5"),
            (0.1, 17, "0.10000000000000001"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (1e14, 14, "1e+14"),
            (1e15, 17, "1000000000000000"),
            (1e-5, 14, "1e-05"),
            (0.0001, 14, "0.0001"),
            (12_345.678, 14, "12345.678"),
            (f64::INFINITY, 17, "inf"),
        ] {
            assert_eq!(percent_g(value, digits), text);
        }
    }
}
