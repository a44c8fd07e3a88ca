//! The Lua states: one per worker thread, a sandbox that nothing a script does outlasts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState};

use super::convert::{percent_g, plain, to_lua, to_reply};
use super::functions::{self, Library};
use super::host::{self, Random, host};
use super::library::Raised;
use super::watch::Watch;
use super::{Engine, Program, Script, Sha, cjson};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs, Reply};

/// How many instructions pass between two looks at the limits.
const LOOK_EVERY: u32 = 10_000;
/// What a call counts for.
const CALL_INSTRUCTIONS: u64 = 200;
/// Memory of one worker's Lua state.
const MEMORY_BYTES_MAX: usize = 128 << 20;
/// Above this the state is swept after a script.
const MEMORY_SWEEP_BYTES: usize = 16 << 20;
/// Compiled scripts one worker keeps; above it all are compiled again.
const COMPILED_MAX: usize = 1_000;
/// Libraries one worker keeps; above it all are loaded again.
const LIBRARIES_MAX: usize = 1_000;
/// How long the code of a library may run while it is loaded, as in redis.
const LOAD_MAX: Duration = Duration::from_millis(500);

struct State {
    lua: Lua,
    run: Function,
    load_library: Function,
    call_function: Function,
    compiled: HashMap<Sha, Function>,
    /// By the numbers of libraries: functions by their names.
    libraries: HashMap<u64, HashMap<String, Function>>,
    /// `redis` of scripts, and of functions.
    redis: (Table, Table),
    watch: Rc<Watch>,
    /// Bytes of it that engines know of: a state serves all engines of its thread.
    counted: usize,
    raised: Rc<Raised>,
    cjson: cjson::Main,
    random: Rc<Random>,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

fn with_state<R>(run: impl FnOnce(&mut State) -> Result<R, Vec<u8>>) -> Result<R, Vec<u8>> {
    STATE.with(|state| {
        let mut state = state.borrow_mut();
        if state.is_none() {
            *state = Some(State::new().map_err(|error| format!("ERR no Lua state can be made: {error}"))?);
        }
        state.as_mut().map_or_else(|| Err(b"ERR no Lua state can be made".to_vec()), run)
    })
}

/// Runs a script or a function; its reply, or the text of the error it ended with.
pub(super) fn run(
    script: &mut Script<'_, '_>,
    program: &Program<'_>,
    keys: Args<'_>,
    argv: Args<'_>,
) -> Result<Reply, Vec<u8>> {
    with_state(|state| {
        let answered = state.run(script, program, keys, argv);
        script.cx.engine.lua_grew(state.grown());
        answered
    })
}

/// Tells an engine what this thread's state holds since it was told last.
pub(super) fn weigh(engine: &Engine) {
    STATE.with(|state| {
        if let Some(state) = state.borrow_mut().as_mut() {
            engine.lua_grew(state.grown());
        }
    });
}

/// Whether a script can be compiled.
pub(super) fn check(sha: &Sha, body: &[u8]) -> Result<(), CommandError> {
    with_state(|state| state.compile(sha, body).map(|_| ())).map_err(CommandError::Quoted)
}

/// Runs the code of the library with this number; the functions it registers.
pub(super) fn load(id: u64, code: &[u8]) -> Result<Vec<functions::Function>, CommandError> {
    with_state(|state| state.load(id, code)).map_err(CommandError::Quoted)
}

impl State {
    /// Bytes by which it grew since this was asked last.
    fn grown(&mut self) -> i64 {
        let before = std::mem::replace(&mut self.counted, self.lua.used_memory());
        self.counted as i64 - before as i64
    }

    fn new() -> mlua::Result<State> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        let watch = Rc::new(Watch::default());
        let looked = watch.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(LOOK_EVERY), move |_, _| {
            looked.spend(LOOK_EVERY.into());
            looked.look();
            match looked.ended() {
                Some(why) => Err(mlua::Error::runtime(why)),
                None => Ok(VmState::Continue),
            }
        })?;
        let (cjson, random) = (cjson::Main::new(), Rc::new(Random::default()));
        random.reseed();
        let raised = Rc::new(Raised::default());
        let host = host(&lua, &watch, &raised, &cjson, &random)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("@prelude").set_mode(ChunkMode::Text);
        watch.begin_loading(Instant::now() + Duration::from_secs(60));
        let (run, load_library, call_function) = prelude.call::<(Function, Function, Function)>(&host)?;
        let redis = (host.raw_get("of_scripts")?, host.raw_get("of_functions")?);
        watch.end();
        Ok(State {
            lua,
            run,
            load_library,
            call_function,
            compiled: HashMap::new(),
            libraries: HashMap::new(),
            redis,
            watch,
            counted: 0,
            raised,
            cjson,
            random,
        })
    }

    fn run(
        &mut self,
        script: &mut Script<'_, '_>,
        program: &Program<'_>,
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> Result<Reply, Vec<u8>> {
        let function = match program {
            Program::Script { sha, body } => self.compile(sha, body)?,
            Program::Function { library, name } => self.function(library, name)?,
        };
        let scripts = &script.engine().scripts;
        self.watch.begin(&scripts.live, scripts.instructions_max.load(Ordering::Relaxed));
        let (runner, redis) = match program {
            Program::Script { .. } => (&self.run, &self.redis.0),
            Program::Function { .. } => (&self.call_function, &self.redis.1),
        };
        let done = self.call(script, (runner, redis), &function, keys, argv);
        let ended = self.watch.end();
        self.cjson.reset();
        self.random.reset();
        if self.lua.used_memory() > MEMORY_SWEEP_BYTES {
            // A state that cannot even be swept is made anew by the next script.
            let _ = self.lua.gc_collect();
        }
        match done {
            Ok((true, value)) => Ok(to_reply(&value)),
            Ok((false, problem)) => Err(told(&problem, program.name())),
            Err(error) => {
                let why = ended.map_or_else(|| format!("ERR {error}"), str::to_owned);
                Err([why.as_bytes(), b" script: ", program.name()].concat())
            }
        }
    }

    fn compile(&mut self, sha: &Sha, body: &[u8]) -> Result<Function, Vec<u8>> {
        if let Some(function) = self.compiled.get(sha) {
            return Ok(function.clone());
        }
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.clear();
        }
        let function = self.chunk(body, host::SCRIPT);
        let function = function.map_err(|why| format!("ERR Error compiling script (new function): {why}"))?;
        self.compiled.insert(*sha, function.clone());
        Ok(function)
    }

    fn chunk(&self, body: &[u8], name: &str) -> Result<Function, String> {
        let chunk = self.lua.load(body).set_name(name).set_mode(ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            other => other.to_string(),
        })
    }

    /// A function of a library, whose code is run first when this state has not.
    fn function(&mut self, library: &Library, name: &str) -> Result<Function, Vec<u8>> {
        if !self.libraries.contains_key(&library.id) {
            let body = &library.code[memchr::memchr(b'\n', &library.code).unwrap_or(0)..];
            self.load(library.id, body)?;
        }
        let found = self.libraries.get(&library.id).and_then(|functions| functions.get(name));
        found.cloned().ok_or_else(|| b"ERR Function not found".to_vec())
    }

    fn load(&mut self, id: u64, body: &[u8]) -> Result<Vec<functions::Function>, Vec<u8>> {
        let code = self.chunk(body, host::FUNCTION).map_err(|why| format!("ERR Error compiling function: {why}"))?;
        self.watch.begin_loading(Instant::now() + LOAD_MAX);
        let added = RefCell::new((Vec::new(), HashMap::new()));
        let loaded = self.lua.scope(|scope| {
            let add = |(name, callback, description, flags): (LuaString, Function, Option<LuaString>, Table)| {
                let flags = flags.sequence_values::<LuaString>().map(|flag| Ok(flag?.as_bytes().to_vec()));
                let flags = flags.collect::<mlua::Result<Vec<_>>>()?;
                let description = description.map(|text| text.as_bytes().to_vec());
                let (functions, callbacks) = &mut *added.borrow_mut();
                let name = name.as_bytes();
                let refused = functions::register(functions, &name, description, &flags).err();
                if refused.is_none() {
                    callbacks.insert(String::from_utf8_lossy(&name).into_owned(), callback);
                }
                Ok(refused)
            };
            let add = scope.create_function(move |_, words| add(words))?;
            self.load_library.call::<(bool, Value)>((code, add))
        });
        let ended = self.watch.end();
        let refused = |why: &[u8]| [b"ERR Error registering functions: ", why].concat();
        match loaded {
            Ok((true, _)) => {}
            Ok((false, Value::Table(problem))) => {
                let why = problem.raw_get::<Value>("err").map(|why| plain(&why)).unwrap_or_default();
                return Err(refused(&why));
            }
            Ok((false, problem)) => return Err(refused(&plain(&problem))),
            Err(error) => return Err(refused(ended.map_or_else(|| error.to_string(), str::to_owned).as_bytes())),
        }
        let (functions, callbacks) = added.into_inner();
        if self.libraries.len() >= LIBRARIES_MAX {
            self.libraries.clear();
        }
        self.libraries.insert(id, callbacks);
        Ok(functions)
    }

    /// Runs a function with its keys and arguments: whether it ended well, and its value or problem.
    fn call(
        &self,
        script: &mut Script<'_, '_>,
        (runner, redis): (&Function, &Table),
        function: &Function,
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> mlua::Result<(bool, Value)> {
        let list = |words: Args<'_>| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(words.len(), 0)?;
            for word in words.iter() {
                table.raw_push(self.lua.create_string(word)?)?;
            }
            Ok(table)
        };
        let (keys, argv) = (list(keys)?, list(argv)?);
        let script = RefCell::new(script);
        let (watch, raised) = (&self.watch, &self.raised);
        self.lua.scope(|scope| {
            let call = scope.create_function(|lua, words: MultiValue| {
                watch.spend(CALL_INSTRUCTIONS);
                match called(&mut script.borrow_mut(), &words) {
                    Reply::Error(text) => Err(raised.table(text)),
                    reply => to_lua(lua, &reply),
                }
            })?;
            let pcall = scope.create_function(|lua, words: MultiValue| {
                watch.spend(CALL_INSTRUCTIONS);
                match words.front() {
                    // Only the prelude has light userdata that is not null.
                    Some(Value::LightUserData(what)) if !what.0.is_null() => {
                        asked(lua, &mut script.borrow_mut(), words).map_err(|text| raised.table(text))
                    }
                    _ => to_lua(lua, &called(&mut script.borrow_mut(), &words)),
                }
            })?;
            redis.raw_set("call", call)?;
            redis.raw_set("pcall", pcall)?;
            runner.call((function, keys, argv))
        })
    }
}

fn called(script: &mut Script<'_, '_>, words: &MultiValue) -> Reply {
    match arguments(words) {
        Ok(args) => script.call(args.as_args()),
        Err(text) => Reply::Error(text.into()),
    }
}

/// `redis.setresp` with the protocol of replies, `redis.acl_check_cmd` with a call; the text of an error to be raised.
fn asked(lua: &Lua, script: &mut Script<'_, '_>, mut words: MultiValue) -> Result<Value, Vec<u8>> {
    words.pop_front();
    let asks_protocol = matches!(words.pop_front(), Some(Value::Boolean(true)));
    if !asks_protocol {
        let args = arguments(&words)?;
        let may = script.may(args.as_args());
        return may.map(Value::Boolean).ok_or_else(|| b"ERR Invalid command passed to redis.acl_check_cmd()".to_vec());
    }
    let protocol = words.pop_front().and_then(|value| lua.coerce_number(value).ok().flatten());
    match protocol {
        Some(protocol) if protocol == 2.0 || protocol == 3.0 => {
            script.protocol = protocol as u8;
            Ok(Value::Nil)
        }
        _ => Err(b"ERR RESP version must be 2 or 3.".to_vec()),
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
fn told(problem: &Value, name: &[u8]) -> Vec<u8> {
    let Value::Table(problem) = problem else { return [b"ERR ", &*plain(problem), b" script: ", name].concat() };
    let text =
        |name: &str| problem.raw_get::<Value>(name).ok().filter(|value| !value.is_nil()).map(|value| plain(&value));
    let error = text("err").unwrap_or_else(|| b"ERR unknown error".to_vec());
    match (text("source"), text("line")) {
        (Some(source), Some(line)) => [&*error, b" script: ", name, b", on ", &*source, b":", &*line, b"."].concat(),
        _ => [&*error, b" script: ", name].concat(),
    }
}
