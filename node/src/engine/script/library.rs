//! What the libraries that come with redis's Lua have in common: how they read arguments and name what is wrong with them.
//!
//! A function of a library that fails raises what redis's raises: a text that begins with the line it was called in, or a
//! table with `err`. What crosses Lua is an error of the host; whoever catches it gets the value that [`Raised`] keeps.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, Lua, MultiValue, Value};

use super::watch::{HEAVY, Watch};

/// A text that the script is to be shown.
pub(super) type Outcome = Result<MultiValue, Problem>;

/// Why a function of a library has no result.
#[derive(Debug)]
pub(super) enum Problem {
    /// What redis would say, with the line it is said in.
    Said(String),
    /// What is wrong with an argument.
    Argument(usize, String),
    /// What redis says without a line.
    Bare(Vec<u8>),
    /// Lua's own, memory above all.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Problem {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// A problem with a text.
pub(super) fn said<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Said(text.into()))
}

/// The value of the error that was raised last, and what ends a script whose function takes too long.
pub(super) struct Raised {
    watch: Rc<Watch>,
    text: RefCell<Vec<u8>>,
    kind: std::cell::Cell<Kind>,
}

/// What an error is to the script that catches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Text,
    /// A table with `err`.
    Table,
    /// The same, of a call, which has counted it.
    OfCall,
}

impl Raised {
    pub(super) fn new(watch: &Rc<Watch>) -> Self {
        Self { watch: watch.clone(), text: RefCell::default(), kind: std::cell::Cell::default() }
    }

    /// Raises a table with this `err`.
    pub(super) fn table(&self, text: Vec<u8>) -> mlua::Error {
        *self.text.borrow_mut() = text;
        self.kind.set(Kind::Table);
        mlua::Error::runtime("raised")
    }

    /// Raises the error that a call answered.
    pub(super) fn of_call(&self, text: Vec<u8>) -> mlua::Error {
        let error = self.table(text);
        self.kind.set(Kind::OfCall);
        error
    }

    fn text(&self, text: String) -> mlua::Error {
        *self.text.borrow_mut() = text.into_bytes();
        self.kind.set(Kind::Text);
        mlua::Error::runtime("raised")
    }

    /// It, and what it is.
    pub(super) fn take(&self) -> (Vec<u8>, Kind) {
        (std::mem::take(&mut *self.text.borrow_mut()), self.kind.get())
    }
}

/// A function of a library.
pub(super) fn function(
    lua: &Lua,
    raised: &Rc<Raised>,
    run: impl Fn(&Lua, Words<'_>) -> Outcome + 'static,
) -> mlua::Result<Function> {
    function_at(lua, raised, 1, run)
}

/// As [`function`], for one that is called so many levels below the script's own code.
pub(super) fn function_at(
    lua: &Lua,
    raised: &Rc<Raised>,
    level: usize,
    run: impl Fn(&Lua, Words<'_>) -> Outcome + 'static,
) -> mlua::Result<Function> {
    let raised = raised.clone();
    lua.create_function(move |lua, values: MultiValue| {
        let begun = Instant::now();
        let done = run(lua, Words { lua, values: &values });
        if begun.elapsed() >= HEAVY
            && let Some(why) = raised.watch.look_behind()
        {
            return Err(mlua::Error::runtime(why));
        }
        done.map_err(|problem| match problem {
            Problem::Lua(error) => error,
            Problem::Bare(text) => raised.table(text),
            Problem::Said(text) => raised.text(placed(lua, level, &text)),
            Problem::Argument(at, why) => {
                let name = lua.inspect_stack(level - 1, |debug| debug.names().name.map(|name| name.into_owned()));
                let name = name.flatten().unwrap_or_else(|| "?".to_owned());
                raised.text(placed(lua, level, &format!("bad argument #{at} to '{name}' ({why})")))
            }
        })
    })
}

/// A text behind the line that runs at a level, as Lua's `luaL_error` has it.
fn placed(lua: &Lua, level: usize, text: &str) -> String {
    let place = lua.inspect_stack(level, |debug| {
        let source = debug.source().short_src.map(|source| source.into_owned());
        Some(format!("{}:{}: ", source?, debug.current_line()?))
    });
    place.flatten().unwrap_or_default() + text
}

/// The arguments of one call, counted from 1 as in Lua.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    lua: &'a Lua,
    values: &'a MultiValue,
}

impl<'a> Words<'a> {
    pub(super) fn len(self) -> usize {
        self.values.len()
    }

    pub(super) fn get(self, at: usize) -> Option<&'a Value> {
        self.values.get(at.checked_sub(1)?)
    }

    pub(super) fn number(self, at: usize) -> Result<f64, Problem> {
        let value = self.get(at);
        let number = match value {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Integer(number)) => Some(*number as f64),
            Some(value @ Value::String(_)) => self.lua.coerce_number(value.clone())?,
            _ => None,
        };
        number.map_or_else(|| wrong_type(at, "number", value), Ok)
    }

    /// A number as C's `int` or `ptrdiff_t`: without its fraction.
    pub(super) fn integer(self, at: usize) -> Result<i64, Problem> {
        self.number(at).map(|number| number as i64)
    }

    pub(super) fn integer_or(self, at: usize, otherwise: i64) -> Result<i64, Problem> {
        match self.get(at) {
            None | Some(Value::Nil) => Ok(otherwise),
            Some(_) => self.integer(at),
        }
    }

    /// Text, or a number as text.
    pub(super) fn text(self, at: usize) -> Result<mlua::LuaString, Problem> {
        let value = self.get(at);
        let text = match value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Number(_) | Value::Integer(_))) => self.lua.coerce_string(value.clone())?,
            _ => None,
        };
        text.map_or_else(|| wrong_type(at, "string", value), Ok)
    }
}

/// Bytes of one text that a library makes: what Lua's own memory is bounded by.
const MADE_BYTES_MAX: usize = 128 << 20;

/// Refuses to make more than there is room for.
pub(super) fn room(made: usize, more: usize) -> Result<(), Problem> {
    if made.saturating_add(more) > MADE_BYTES_MAX { said("not enough memory") } else { Ok(()) }
}

/// Lua's `luaL_argerror`.
pub(super) fn wrong<T>(at: usize, why: &str) -> Result<T, Problem> {
    Err(Problem::Argument(at, why.to_owned()))
}

fn wrong_type<T>(at: usize, wanted: &str, value: Option<&Value>) -> Result<T, Problem> {
    wrong(at, &format!("{wanted} expected, got {}", value.map_or("no value", type_name)))
}

/// What Lua calls the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "no value",
    }
}
