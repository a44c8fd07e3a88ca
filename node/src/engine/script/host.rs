//! What the prelude builds from: the functions of the host, and the libraries to be wrapped.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{LightUserData, Lua, MultiValue, Table, Value};

use super::library::{Kind, Problem, Raised, Words, function, said, wrong};
use super::watch::Watch;
use super::{bit, cjson, cmsgpack, sha_of, strings, structs};

/// The names of the chunks: what is around scripts, and what they and functions come from.
pub(super) const PRELUDE: &str = "@prelude";
pub(super) const SCRIPT: &str = "@user_script";
pub(super) const FUNCTION: &str = "@user_function";

/// The table.
pub(super) fn host(
    lua: &Lua,
    watch: &Rc<Watch>,
    raised: &Rc<Raised>,
    cjson: &cjson::Main,
    random: &Rc<Random>,
) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.raw_set("null", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    // An address nothing is at: what only the prelude has.
    host.raw_set("secret", Value::LightUserData(LightUserData(std::ptr::dangling_mut::<u8>().cast())))?;
    let ended = watch.clone();
    host.raw_set("ended", lua.create_function(move |_, ()| Ok(ended.ended().is_some()))?)?;
    let why = watch.clone();
    host.raw_set("why", lua.create_function(move |_, ()| Ok(why.ended().unwrap_or("ERR the script was ended")))?)?;
    let looked = watch.clone();
    let look = move |_: &Lua, ()| looked.look_behind().map_or(Ok(()), |why| Err(mlua::Error::runtime(why)));
    host.raw_set("look", lua.create_function(look)?)?;
    let collect = |lua: &Lua, _: Words<'_>| {
        lua.gc_collect()?;
        Ok(MultiValue::from_iter([Value::Number(0.0)]))
    };
    host.raw_set("collect", function(lua, raised, collect)?)?;
    host.raw_set("chunk_bytes_max", super::lua::CHUNK_BYTES_MAX)?;
    let seen = raised.clone();
    let raised_last = move |lua: &Lua, ()| {
        let (text, kind) = seen.take();
        if text.is_empty() {
            return Ok((lua.create_string("not enough memory")?, false, None));
        }
        // The last is a field of the table, and absent elsewhere.
        Ok((lua.create_string(text)?, kind != Kind::Text, (kind == Kind::OfCall).then_some(true)))
    };
    host.raw_set("raised", lua.create_function(raised_last)?)?;
    host.raw_set("where", lua.create_function(|lua, ()| Ok(place(lua)))?)?;
    strings::put(lua, raised, &host, watch)?;
    host.raw_set("cjson", cjson::library(lua, raised, cjson)?)?;
    host.raw_set("bit", bit::library(lua, raised)?)?;
    host.raw_set("cmsgpack", cmsgpack::library(lua, raised)?)?;
    host.raw_set("struct", structs::library(lua, raised)?)?;
    put_random(lua, raised, &host, random)?;
    put_redis(lua, raised, &host, watch)?;
    Ok(host)
}

/// Bytes of one line that `redis.log` writes, as in redis.
const LINE_BYTES_MAX: usize = 1024;
/// What it counts for.
const LINE_INSTRUCTIONS: u64 = 1_000;

/// What of `redis.*` asks nothing of the engine.
fn put_redis(lua: &Lua, raised: &Rc<Raised>, host: &Table, watch: &Rc<Watch>) -> mlua::Result<()> {
    let bare = |text: &str| Problem::Bare(text.as_bytes().to_vec());
    let sha1hex = move |lua: &Lua, words: Words<'_>| {
        if words.len() != 1 {
            return Err(bare("ERR wrong number of arguments"));
        }
        // What is no text is none.
        let sha = words.text(1).map_or_else(|_| sha_of(b""), |text| sha_of(&text.as_bytes()));
        Ok(MultiValue::from_iter([Value::String(lua.create_string(sha)?)]))
    };
    host.raw_set("sha1hex", function(lua, raised, sha1hex)?)?;
    let counted = watch.clone();
    let log = move |_: &Lua, words: Words<'_>| {
        if words.len() < 2 {
            return Err(bare("ERR redis.log() requires two arguments or more."));
        }
        if !matches!(words.get(1), Some(Value::Number(_) | Value::Integer(_))) {
            return Err(bare("ERR First argument must be a number (log level)."));
        }
        let level = words.integer(1)?;
        if !(0..4).contains(&level) {
            return Err(bare("ERR Invalid debug level."));
        }
        counted.spend(LINE_INSTRUCTIONS);
        let mut line = Vec::new();
        for text in (2..=words.len()).filter_map(|at| words.text(at).ok()) {
            let separator: &[u8] = if line.is_empty() { b"" } else { b" " };
            line.extend(separator.iter().chain(&*text.as_bytes()).take(LINE_BYTES_MAX - line.len()));
        }
        let script = String::from_utf8_lossy(&line);
        match level {
            0 | 1 => tracing::debug!(%script),
            2 => tracing::info!(%script),
            _ => tracing::warn!(%script),
        }
        Ok(MultiValue::new())
    };
    host.raw_set("log", function(lua, raised, log)?)?;
    let set_repl = move |_: &Lua, words: Words<'_>| {
        if words.len() != 1 {
            return Err(bare("ERR redis.set_repl() requires two arguments."));
        }
        if !(0..4).contains(&words.integer(1).unwrap_or(0)) {
            return Err(bare("ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."));
        }
        Ok(MultiValue::new())
    };
    host.raw_set("set_repl", function(lua, raised, set_repl)?)
}

/// The state of `math.random`.
#[derive(Default)]
pub(super) struct Random {
    state: Cell<u64>,
    /// A script chose its seed.
    is_chosen: Cell<bool>,
}

impl Random {
    /// A seed that nobody knows, at the start and after a script chose its own.
    pub(super) fn reseed(&self) {
        self.state.set(rand::random());
        self.is_chosen.set(false);
    }

    fn seed(&self, seed: u32) {
        self.state.set(u64::from(seed) << 16 | 0x330E);
        self.is_chosen.set(true);
    }

    /// The next number of 0 to 1.
    fn next(&self) -> f64 {
        const MASK: u64 = (1 << 48) - 1;
        let state = self.state.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        self.state.set(state);
        let number = (state >> 17) as u32;
        f64::from(number % 0x7fff_ffff) / f64::from(0x7fff_ffff_u32)
    }

    pub(super) fn reset(&self) {
        if self.is_chosen.get() {
            self.reseed();
        }
    }
}

/// Redis's generator, `lrand48`: after `math.randomseed` a script gets the numbers that it gets there.
fn put_random(lua: &Lua, raised: &Rc<Raised>, host: &Table, random: &Rc<Random>) -> mlua::Result<()> {
    let state = random.clone();
    let number = move |_: &Lua, words: Words<'_>| {
        let random = state.next();
        let one = |number: f64| Ok(MultiValue::from_iter([Value::Number(number)]));
        let (least, most) = match words.len() {
            0 => return one(random),
            1 => (1, words.integer(1)? as i32),
            2 => (words.integer(1)? as i32, words.integer(2)? as i32),
            _ => return said("wrong number of arguments"),
        };
        if least > most {
            return wrong(words.len(), "interval is empty");
        }
        let places = i64::from(most) - i64::from(least) + 1;
        one((random * places as f64).floor() + f64::from(least))
    };
    host.raw_set("random", function(lua, raised, number)?)?;
    let state = random.clone();
    let seed = move |_: &Lua, words: Words<'_>| {
        state.seed(words.integer(1)? as u32);
        Ok(MultiValue::new())
    };
    host.raw_set("randomseed", function(lua, raised, seed)?)
}

/// The longest text of a loaded chunk that is shown as its name.
const SOURCE_BYTES_MAX: usize = 1024;

/// The innermost line of the script itself.
fn place(lua: &Lua) -> (Option<String>, Option<i64>) {
    for level in 1..64 {
        let here = lua.inspect_stack(level, |debug| {
            (debug.source().source.map(|source| source.into_owned()), debug.current_line())
        });
        match here {
            // What a script loads itself is called by its text.
            Some((Some(source), Some(line))) if source != PRELUDE && source.len() <= SOURCE_BYTES_MAX => {
                return (Some(source), i64::try_from(line).ok());
            }
            Some(_) => {}
            None => break,
        }
    }
    (None, None)
}
