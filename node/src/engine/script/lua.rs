//! The Lua states: one per worker thread, a sandbox that nothing a script does outlasts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, LightUserData, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::convert::{percent_g, to_lua, to_reply};
use super::{Script, Sha, cjson, sha_of};
use crate::resp::{Args, OwnedArgs, Reply};

/// Instructions one script may run: some seconds. Calls count as well.
const INSTRUCTIONS_MAX: u64 = 400_000_000;
/// How many instructions pass between two looks at the limits.
const LOOK_EVERY: u32 = 10_000;
/// What a call counts for.
const CALL_INSTRUCTIONS: u64 = 1_000;
/// Memory of one worker's Lua state.
const MEMORY_BYTES_MAX: usize = 128 << 20;
/// Above this the state is swept after a script.
const MEMORY_SWEEP_BYTES: usize = 16 << 20;
/// Compiled scripts one worker keeps; above it all are compiled again.
const COMPILED_MAX: usize = 1_000;
const SOURCE: &str = "@user_script";
const KILLED: &str = "ERR Error running script: Script killed by user with SCRIPT KILL...";
const TOO_LONG: &str = "ERR Error running script: it ran for more instructions than a script may";

/// What the limits of a running script are checked by.
#[derive(Default)]
struct Watch {
    left: Cell<u64>,
    ended: Cell<Option<&'static str>>,
    kill: RefCell<Option<Arc<AtomicBool>>>,
    /// The text of the error that a call raised last.
    raised: RefCell<Vec<u8>>,
}

impl Watch {
    fn spend(&self, instructions: u64) {
        let left = self.left.get().saturating_sub(instructions);
        self.left.set(left);
        let killed = self.kill.borrow().as_ref().is_some_and(|kill| kill.load(Ordering::Acquire));
        if killed {
            self.ended.set(Some(KILLED));
        } else if left == 0 {
            self.ended.set(Some(TOO_LONG));
        }
    }
}

struct State {
    lua: Lua,
    host: Table,
    runner: Function,
    compiled: HashMap<Sha, Function>,
    watch: Rc<Watch>,
    /// Bytes of it that engines know of: a state serves all engines of its thread.
    counted: usize,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Runs a script; its reply, or the text of the error it ended with.
pub(super) fn run(script: &mut Script<'_, '_>, body: &[u8], keys: Args<'_>, argv: Args<'_>) -> Result<Reply, String> {
    STATE.with(|state| {
        let mut state = state.borrow_mut();
        if state.is_none() {
            *state = Some(State::new().map_err(|error| format!("ERR no Lua state can be made: {error}"))?);
        }
        match state.as_mut() {
            Some(state) => {
                let before = state.counted;
                let answered = state.run(script, body, keys, argv);
                state.counted = state.lua.used_memory();
                script.engine().lua_grew(state.counted as i64 - before as i64);
                answered
            }
            None => Err("ERR no Lua state can be made".to_owned()),
        }
    })
}

impl State {
    fn new() -> mlua::Result<State> {
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS, LuaOptions::default())?;
        lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        let watch = Rc::new(Watch::default());
        let looked = watch.clone();
        lua.set_hook(HookTriggers::new().every_nth_instruction(LOOK_EVERY), move |_, _| {
            looked.spend(LOOK_EVERY.into());
            match looked.ended.get() {
                Some(why) => Err(mlua::Error::runtime(why)),
                None => Ok(VmState::Continue),
            }
        })?;
        let host = host(&lua, &watch)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("@prelude").set_mode(ChunkMode::Text);
        watch.left.set(u64::MAX);
        let runner = prelude.call::<Function>(host.clone())?;
        Ok(State { lua, host, runner, compiled: HashMap::new(), watch, counted: 0 })
    }

    fn run(
        &mut self,
        script: &mut Script<'_, '_>,
        body: &[u8],
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> Result<Reply, String> {
        let sha = sha_of(body);
        let function = self.compile(&sha, body)?;
        self.watch.left.set(INSTRUCTIONS_MAX);
        self.watch.ended.set(None);
        *self.watch.kill.borrow_mut() = Some(script.engine().scripts.kill.clone());
        let done = self.call(script, &function, keys, argv);
        *self.watch.kill.borrow_mut() = None;
        let ended = self.watch.ended.take();
        if self.lua.used_memory() > MEMORY_SWEEP_BYTES {
            // A state that cannot even be swept is made anew by the next script.
            let _ = self.lua.gc_collect();
        }
        match done {
            Ok((true, value)) => Ok(to_reply(&value, 0)),
            Ok((false, problem)) => Err(told(&problem, &sha)),
            Err(error) => {
                Err(format!("{} script: {}", ended.map_or_else(|| format!("ERR {error}"), str::to_owned), shown(&sha)))
            }
        }
    }

    fn compile(&mut self, sha: &Sha, body: &[u8]) -> Result<Function, String> {
        if let Some(function) = self.compiled.get(sha) {
            return Ok(function.clone());
        }
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.clear();
        }
        let chunk = self.lua.load(body).set_name(SOURCE).set_mode(ChunkMode::Text);
        let function = chunk.into_function().map_err(|error| {
            let text = match error {
                mlua::Error::SyntaxError { message, .. } => message,
                other => other.to_string(),
            };
            format!("ERR Error compiling script (new function): {text}")
        })?;
        self.compiled.insert(*sha, function.clone());
        Ok(function)
    }

    /// Runs a compiled script with its keys and arguments: whether it ended well, and its value or problem.
    fn call(
        &self,
        script: &mut Script<'_, '_>,
        function: &Function,
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> mlua::Result<(bool, Value)> {
        let list = |words: Args<'_>| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(words.len(), 0)?;
            for (at, word) in words.iter().enumerate() {
                table.raw_set(at + 1, self.lua.create_string(word)?)?;
            }
            Ok(table)
        };
        let (keys, argv) = (list(keys)?, list(argv)?);
        let script = RefCell::new(script);
        self.lua.scope(|scope| {
            let ask = |words: &MultiValue| {
                self.watch.spend(CALL_INSTRUCTIONS);
                match arguments(words) {
                    Ok(args) => script.borrow_mut().call(args.as_args()),
                    Err(text) => Reply::Error(text.into()),
                }
            };
            let call = scope.create_function(move |lua, words: MultiValue| match ask(&words) {
                Reply::Error(text) => {
                    *self.watch.raised.borrow_mut() = text;
                    Err(mlua::Error::runtime("a call failed"))
                }
                reply => to_lua(lua, &reply),
            })?;
            let pcall = scope.create_function(move |lua, words: MultiValue| to_lua(lua, &ask(&words)))?;
            let setresp = scope.create_function(|_, protocol: Option<f64>| {
                let protocol = protocol.unwrap_or(0.0);
                if protocol != 2.0 && protocol != 3.0 {
                    *self.watch.raised.borrow_mut() = b"ERR RESP version must be 2 or 3.".to_vec();
                    return Err(mlua::Error::runtime("RESP version must be 2 or 3."));
                }
                script.borrow_mut().protocol = protocol as u8;
                Ok(())
            })?;
            let redis = self.host.raw_get::<Table>("redis")?;
            redis.raw_set("call", call)?;
            redis.raw_set("pcall", pcall)?;
            redis.raw_set("setresp", setresp)?;
            self.runner.call((function, keys, argv))
        })
    }
}

/// The words of `redis.call`: strings, and numbers as redis writes them.
fn arguments(words: &MultiValue) -> Result<OwnedArgs, &'static str> {
    if words.is_empty() {
        return Err("ERR Please specify at least one argument for this redis lib call");
    }
    let mut args = OwnedArgs::default();
    for word in words {
        match word {
            Value::String(text) => args.push(&text.as_bytes()),
            Value::Integer(value) => args.push(value.to_string().as_bytes()),
            Value::Number(value) => args.push(percent_g(*value, 17).as_bytes()),
            _ => return Err("ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(args)
}

/// The error a script ended with, as redis tells it.
fn told(problem: &Value, sha: &Sha) -> String {
    let Value::Table(problem) = problem else { return format!("ERR {} script: {}", plain(problem), shown(sha)) };
    let text =
        |name: &str| problem.raw_get::<Value>(name).ok().filter(|value| !value.is_nil()).map(|value| plain(&value));
    let error = text("err").unwrap_or_else(|| "ERR unknown error".to_owned());
    match (text("source"), text("line")) {
        (Some(source), Some(line)) => format!("{error} script: {}, on {source}:{line}.", shown(sha)),
        _ => format!("{error} script: {}", shown(sha)),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()).into_owned(),
        Value::Number(value) => percent_g(*value, 14),
        Value::Integer(value) => value.to_string(),
        Value::Error(error) => error.to_string(),
        other => other.type_name().to_owned(),
    }
}

fn shown(sha: &Sha) -> &str {
    std::str::from_utf8(sha).unwrap_or_default()
}

/// What the prelude builds from.
fn host(lua: &Lua, watch: &Rc<Watch>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.raw_set("null", Value::LightUserData(LightUserData(std::ptr::null_mut())))?;
    let ended = watch.clone();
    host.raw_set("ended", lua.create_function(move |_, ()| Ok(ended.ended.get().is_some()))?)?;
    host.raw_set("why", "ERR the script was ended: it ran too long, or SCRIPT KILL asked for it")?;
    let raised = watch.clone();
    host.raw_set("raised", lua.create_function(move |lua, ()| lua.create_string(&*raised.raised.borrow()))?)?;
    host.raw_set("where", lua.create_function(|lua, ()| Ok(place(lua)))?)?;
    host.raw_set(
        "sha1hex",
        lua.create_function(|_, text: mlua::LuaString| Ok(shown(&sha_of(&text.as_bytes())).to_owned()))?,
    )?;
    host.raw_set(
        "log",
        lua.create_function(|_, words: MultiValue| {
            let text: Vec<_> = words.iter().skip(1).map(plain).collect();
            tracing::info!(script = text.join(" "));
            Ok(())
        })?,
    )?;
    host.raw_set(
        "encode",
        lua.create_function(|lua, value: Value| match cjson::encoded(&value) {
            Ok(text) => Ok((true, lua.create_string(text)?)),
            Err(why) => Ok((false, lua.create_string(why)?)),
        })?,
    )?;
    host.raw_set(
        "decode",
        lua.create_function(|lua, text: mlua::LuaString| match cjson::decoded(lua, &text.as_bytes()) {
            Ok(value) => Ok((true, value)),
            Err(why) => Ok((false, Value::String(lua.create_string(why)?))),
        })?,
    )?;
    host.raw_set("bit", bit(lua)?)?;
    Ok(host)
}

/// The innermost line of the script itself.
fn place(lua: &Lua) -> (Option<String>, Option<i64>) {
    for level in 1..64 {
        let here = lua.inspect_stack(level, |debug| {
            (debug.source().source.map(|source| source.into_owned()), debug.current_line())
        });
        match here {
            Some((Some(source), Some(line))) if source == SOURCE => return (Some(source), i64::try_from(line).ok()),
            Some(_) => {}
            None => break,
        }
    }
    (None, None)
}

/// The table `bit`: numbers as 32 bits, signed in the end (Lua BitOp).
fn bit(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let bits = |value: f64| -> i32 { value.rem_euclid(4_294_967_296.0) as u64 as u32 as i32 };
    let fold = |name: &str, of: fn(i32, i32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |_, values: mlua::Variadic<f64>| {
            let mut values = values.iter().map(|value| bits(*value));
            let first = values.next().unwrap_or(0);
            Ok(f64::from(values.fold(first, of)))
        })?;
        table.raw_set(name, function)
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    let shift = |name: &str, of: fn(i32, u32) -> i32| -> mlua::Result<()> {
        let function = lua
            .create_function(move |_, (value, by): (f64, f64)| Ok(f64::from(of(bits(value), bits(by) as u32 & 31))))?;
        table.raw_set(name, function)
    };
    shift("lshift", |a, n| ((a as u32) << n) as i32)?;
    shift("rshift", |a, n| ((a as u32) >> n) as i32)?;
    shift("arshift", |a, n| a >> n)?;
    shift("rol", |a, n| a.rotate_left(n))?;
    shift("ror", |a, n| a.rotate_right(n))?;
    let one = |name: &str, of: fn(i32) -> i32| -> mlua::Result<()> {
        table.raw_set(name, lua.create_function(move |_, value: f64| Ok(f64::from(of(bits(value)))))?)
    };
    one("tobit", |a| a)?;
    one("bnot", |a| !a)?;
    one("bswap", i32::swap_bytes)?;
    table.raw_set(
        "tohex",
        lua.create_function(move |_, (value, digits): (f64, Option<f64>)| {
            let digits = digits.unwrap_or(8.0).clamp(-8.0, 8.0) as i32;
            let text = format!("{:08x}", bits(value) as u32);
            let text = text[8 - digits.unsigned_abs() as usize..].to_owned();
            Ok(if digits < 0 { text.to_uppercase() } else { text })
        })?,
    )?;
    Ok(table)
}
