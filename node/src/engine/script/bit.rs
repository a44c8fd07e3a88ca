//! The table `bit`: Lua BitOp. Numbers as 32 bits, signed in the end.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::library::{Problem, Raised, Words, function};

/// Adding this leaves a number's 32 lowest bits at the low end of a double, rounded to the nearest.
const ROUNDS: f64 = 6_755_399_441_055_744.0;

fn bits(words: Words<'_>, at: usize) -> Result<i32, Problem> {
    words.number(at).map(|number| (number + ROUNDS).to_bits() as u32 as i32)
}

fn one(value: i32) -> MultiValue {
    MultiValue::from_iter([Value::Number(value.into())])
}

type Fold = fn(i32, i32) -> i32;
type Shift = fn(i32, u32) -> i32;
type Single = fn(i32) -> i32;

/// The table.
pub(super) fn library(lua: &Lua, raised: &Rc<Raised>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let folds: [(&str, Fold); 3] = [("band", |a, b| a & b), ("bor", |a, b| a | b), ("bxor", |a, b| a ^ b)];
    for (name, of) in folds {
        let run = move |_: &Lua, words: Words<'_>| {
            let first = bits(words, 1)?;
            let all = (2..=words.len()).try_fold(first, |folded, at| Ok::<_, Problem>(of(folded, bits(words, at)?)));
            all.map(one)
        };
        table.raw_set(name, function(lua, raised, run)?)?;
    }
    let shifts: [(&str, Shift); 5] = [
        ("lshift", |a, n| a.wrapping_shl(n)),
        ("rshift", |a, n| (a as u32).wrapping_shr(n) as i32),
        ("arshift", |a, n| a.wrapping_shr(n)),
        ("rol", i32::rotate_left),
        ("ror", i32::rotate_right),
    ];
    for (name, of) in shifts {
        let run = move |_: &Lua, words: Words<'_>| Ok(one(of(bits(words, 1)?, bits(words, 2)? as u32 & 31)));
        table.raw_set(name, function(lua, raised, run)?)?;
    }
    let singles: [(&str, Single); 3] = [("tobit", |a| a), ("bnot", |a| !a), ("bswap", i32::swap_bytes)];
    for (name, of) in singles {
        table.raw_set(name, function(lua, raised, move |_, words| Ok(one(of(bits(words, 1)?))))?)?;
    }
    table.raw_set(
        "tohex",
        function(lua, raised, |lua, words| {
            Ok(MultiValue::from_iter([Value::String(lua.create_string(hex(words)?)?)]))
        })?,
    )?;
    Ok(table)
}

fn hex(words: Words<'_>) -> Result<String, Problem> {
    let value = bits(words, 1)? as u32;
    let digits = if words.len() < 2 { 8 } else { bits(words, 2)? };
    let (places, upper) = (digits.unsigned_abs().min(8), digits < 0);
    let nibble = |at: u32| char::from_digit(value >> (4 * at) & 15, 16).unwrap_or('0');
    let text: String = (0..places).rev().map(nibble).collect();
    Ok(if upper { text.to_uppercase() } else { text })
}
