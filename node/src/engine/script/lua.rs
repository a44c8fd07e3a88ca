//! The Lua states: one per worker thread, a sandbox that nothing a script does outlasts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState};
use scoped_tls_hkt::scoped_thread_local;

use super::convert::{percent_g, plain, to_lua, to_reply};
use super::functions::{self, Library};
use super::host::{self, Random, host};
use super::library::Raised;
use super::watch::Watch;
use super::{Engine, Program, Script, Sha, cjson, direct};
use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs, Reply};

/// How many instructions pass between two looks at the limits. One can take tens of milliseconds.
const LOOK_EVERY: u32 = 500;
/// What a call counts for.
const CALL_INSTRUCTIONS: u64 = 200;
/// Memory of one worker's Lua state.
const MEMORY_BYTES_MAX: usize = 128 << 20;
/// What the engine itself makes of a reply of up to so many bytes is not held to that: each step of it would have to expect
/// to fail, which costs more than the step. At most some megabytes more than the limit are taken so.
const SMALL_BYTES: usize = 64 << 10;
/// Above this the state is swept after a script, and above twice what the last sweep left.
const MEMORY_SWEEP_BYTES: usize = 16 << 20;
/// What compiled scripts and the variables of libraries may hold beyond a sweep. Above it all are given up, to be made again:
/// nobody's may leave the others' scripts without memory.
const MEMORY_KEPT_BYTES_MAX: usize = 32 << 20;
/// Compiled scripts one worker keeps; above it all are compiled again.
const COMPILED_MAX: usize = 1_000;
/// Bytes of one script or library: what is compiled in a sixth of a second.
pub(super) const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Libraries one worker keeps; above it all are loaded again.
const LIBRARIES_MAX: usize = 1_000;
/// How long the code of a library may run while it is loaded, as in redis.
const LOAD_MAX: Duration = Duration::from_millis(500);

struct State {
    lua: Lua,
    run: Function,
    load_library: Function,
    call_function: Function,
    /// The globals of scripts.
    scope: Table,
    /// What they find behind those: KEYS and ARGV among it.
    known: Table,
    compiled: HashMap<Sha, Function, foldhash::fast::RandomState>,
    /// By the numbers of libraries: functions by their names.
    libraries: HashMap<u64, HashMap<String, Function>>,
    watch: Rc<Watch>,
    /// Bytes that the last sweep left.
    swept: usize,
    /// Bytes of it that were told to engines, by their figures: a state serves all engines of its thread.
    told: Vec<(Arc<AtomicI64>, i64)>,
    cjson: cjson::Main,
    random: Rc<Random>,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

scoped_thread_local! {
    /// The script that runs on this thread: `redis.call` is made once for all scripts, and finds its own here.
    static RUNNING: for<'a> Running<'a>
}

#[derive(Clone, Copy)]
struct Running<'a> {
    script: &'a dyn Calls,
    watch: &'a Watch,
}

/// A call's reply, and how many bytes it had.
pub(super) type Called = (Reply, usize);

/// What a running script asks for.
trait Calls {
    /// A command.
    fn call(&self, args: Args<'_>) -> Called;
    /// Something about itself.
    fn ask(&self, lua: &Lua, words: MultiValue) -> Result<Value, Vec<u8>>;
}

impl Calls for RefCell<&mut Script<'_, '_>> {
    fn call(&self, args: Args<'_>) -> Called {
        self.borrow_mut().call(args)
    }

    fn ask(&self, lua: &Lua, words: MultiValue) -> Result<Value, Vec<u8>> {
        asked(lua, &mut self.borrow_mut(), words)
    }
}

/// Does what `bytes` bytes are made of, without a limit where they are few.
fn unlimited<R>(lua: &Lua, bytes: usize, run: impl FnOnce() -> mlua::Result<R>) -> mlua::Result<R> {
    if bytes > SMALL_BYTES {
        return run();
    }
    lua.set_memory_limit(0)?;
    let done = run();
    lua.set_memory_limit(MEMORY_BYTES_MAX)?;
    done
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
        state.sweep();
        state.weigh(script.cx.engine);
        answered
    })
}

/// Tells an engine what this thread's state holds since it was told last.
pub(super) fn weigh(engine: &Engine) {
    STATE.with(|state| {
        if let Some(state) = state.borrow_mut().as_mut() {
            state.weigh(engine);
        }
    });
}

/// Whether a script can be compiled.
pub(super) fn check(sha: &Sha, body: &[u8]) -> Result<(), CommandError> {
    with_state(|state| {
        let checked = state.compile(sha, body).map(|_| ());
        state.sweep();
        checked
    })
    .map_err(CommandError::Quoted)
}

/// Runs the code of the library with this number; the functions it registers.
pub(super) fn load(id: u64, code: &[u8]) -> Result<Vec<functions::Function>, CommandError> {
    with_state(|state| {
        let loaded = state.load(id, code);
        state.sweep();
        loaded
    })
    .map_err(CommandError::Quoted)
}

impl State {
    /// Tells an engine what the state took since it was weighed last. What it gave back was first this engine's, then
    /// others'.
    fn weigh(&mut self, engine: &Engine) {
        self.told.retain(|(figure, _)| Arc::strong_count(figure) > 1);
        let mut more = self.lua.used_memory() as i64 - self.told.iter().map(|(_, bytes)| bytes).sum::<i64>();
        let own = self.told.iter().position(|(figure, _)| Arc::ptr_eq(figure, engine.lua_bytes()));
        let own = own.unwrap_or_else(|| {
            self.told.push((engine.lua_bytes().clone(), 0));
            self.told.len() - 1
        });
        self.told.swap(0, own);
        for (figure, bytes) in &mut self.told {
            let change = more.max(-*bytes);
            figure.fetch_add(change, Ordering::Relaxed);
            *bytes += change;
            more -= change;
        }
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
        let raised = Rc::new(Raised::new(&watch));
        let host = host(&lua, &watch, &raised, &cjson, &random)?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(host::PRELUDE).set_mode(ChunkMode::Text);
        watch.begin_loading(Duration::from_secs(60));
        let (run, load_library, call_function) = prelude.call::<(Function, Function, Function)>(&host)?;
        let (run, call_function) = (direct::runner(&lua, &run)?, direct::runner(&lua, &call_function)?);
        for redis in ["of_scripts", "of_functions"] {
            put_calls(&lua, &watch, &raised, &host.raw_get(redis)?)?;
        }
        watch.end();
        let (scope, known) = (host.raw_get("scope")?, host.raw_get("known")?);
        Ok(State {
            lua,
            scope,
            known,
            run,
            load_library,
            call_function,
            compiled: HashMap::default(),
            libraries: HashMap::new(),
            watch,
            swept: 0,
            told: Vec::new(),
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
        let runner = match program {
            Program::Script { .. } => &self.run,
            Program::Function { .. } => &self.call_function,
        };
        let done = self.call(script, runner, &function, keys, argv);
        let ended = self.watch.end();
        self.cjson.reset();
        self.random.reset();
        script.ends_as_call = matches!(&done, Ok((_, value)) if is_of_call(value));
        match done {
            // It reads, and makes nothing but the names it asks tables for.
            Ok((true, value @ Value::Table(_))) => unlimited(&self.lua, 0, || Ok(to_reply(&value, script.protocol)))
                .map_err(|error| error.to_string().into()),
            Ok((true, value)) => Ok(to_reply(&value, script.protocol)),
            Ok((false, problem)) => Err(told(&problem, program.name())),
            Err(error) => {
                let why = ended.map_or_else(|| format!("ERR {error}"), str::to_owned);
                Err([why.as_bytes(), b" script: ", program.name()].concat())
            }
        }
    }

    /// Gives back what scripts left behind, where that is much.
    fn sweep(&mut self) {
        if self.lua.used_memory() <= MEMORY_SWEEP_BYTES.max(self.swept * 2).min(MEMORY_BYTES_MAX / 2) {
            return;
        }
        // The last script's, which would be kept.
        for name in ["KEYS", "ARGV"] {
            let _ = self.known.raw_set(name, Value::Nil);
        }
        let _ = self.lua.gc_collect();
        if self.lua.used_memory() > MEMORY_KEPT_BYTES_MAX {
            self.compiled.clear();
            self.libraries.clear();
            let _ = self.lua.gc_collect();
        }
        self.swept = self.lua.used_memory();
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
        function.set_environment(self.scope.clone()).map_err(|error| format!("ERR {error}"))?;
        self.compiled.insert(*sha, function.clone());
        Ok(function)
    }

    fn chunk(&self, body: &[u8], name: &str) -> Result<Function, String> {
        if body.len() > CHUNK_BYTES_MAX {
            return Err(format!("it has {} bytes, of at most {CHUNK_BYTES_MAX}", body.len()));
        }
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
        self.watch.begin_loading(LOAD_MAX);
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
        runner: &Function,
        function: &Function,
        keys: Args<'_>,
        argv: Args<'_>,
    ) -> mlua::Result<(bool, Value)> {
        script.foresee_entry();
        let script = RefCell::new(script);
        let running = Running { script: &script, watch: &self.watch };
        RUNNING.set(running, || direct::run(runner, function, keys, argv))
    }
}

/// Puts `call` and `pcall` into `redis`.
fn put_calls(lua: &Lua, watch: &Rc<Watch>, raised: &Rc<Raised>, redis: &Table) -> mlua::Result<()> {
    let raises = raised.clone();
    let call = move |lua: &Lua, words: MultiValue| match called(&words)? {
        Err(text) => Err(raises.table(text.into())),
        Ok((Reply::Error(text), _)) => Err(raises.of_call(text)),
        // A number takes no memory.
        Ok((reply @ Reply::Int(_), _)) => to_lua(lua, &reply),
        Ok((reply, bytes)) => unlimited(lua, bytes, || to_lua(lua, &reply)),
    };
    redis.raw_set("call", direct::in_front_of(lua, &lua.create_function(call)?)?)?;
    let (counted, raises) = (watch.clone(), raised.clone());
    let pcall = move |lua: &Lua, words: MultiValue| {
        match words.front() {
            // Only the prelude has light userdata that is not null.
            Some(Value::LightUserData(what)) if !what.0.is_null() => {
                counted.spend(CALL_INSTRUCTIONS);
                running(|running| running.script.ask(lua, words))?.map_err(|text| raises.table(text))
            }
            _ => {
                let called = called(&words)?;
                let is_call = called.is_ok();
                let (reply, bytes) = called.unwrap_or_else(|text| (Reply::Error(text.into()), 0));
                unlimited(lua, bytes, || {
                    let value = to_lua(lua, &reply)?;
                    if let (true, Reply::Error(_), Value::Table(table)) = (is_call, &reply, &value) {
                        table.raw_set(OF_CALL, true)?;
                    }
                    Ok(value)
                })
            }
        }
    };
    redis.raw_set("pcall", direct::in_front_of(lua, &lua.create_function(pcall)?)?)
}

/// What a call answers, which may have been made by [`direct`].
///
/// # Errors
/// The words are none of a command: nothing was called.
fn called(words: &MultiValue) -> mlua::Result<Result<Called, &'static str>> {
    if let Some(called) = direct::answered() {
        return Ok(Ok(called));
    }
    match arguments(words) {
        Ok(args) => call_running(args.as_args()).map(Ok).ok_or_else(no_script_runs),
        Err(why) => {
            running(|running| running.watch.spend(CALL_INSTRUCTIONS))?;
            Ok(Err(why))
        }
    }
}

/// Makes a call of the script that runs on this thread, if one does.
pub(super) fn call_running(args: Args<'_>) -> Option<Called> {
    let call = |running: Running<'_>| {
        running.watch.spend(CALL_INSTRUCTIONS);
        running.script.call(args)
    };
    RUNNING.is_set().then(|| RUNNING.with(call))
}

/// In an error's table: it is a call's, and was counted when the call answered it. Redis's name.
const OF_CALL: &str = "ignore_error_stats_update";

fn is_of_call(value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    matches!(table.raw_get::<Value>(OF_CALL), Ok(Value::Boolean(true)))
}

/// Asks the script that runs on this thread.
fn running<R>(ask: impl FnOnce(Running<'_>) -> R) -> mlua::Result<R> {
    if !RUNNING.is_set() {
        return Err(no_script_runs());
    }
    Ok(RUNNING.with(ask))
}

fn no_script_runs() -> mlua::Error {
    mlua::Error::runtime("no script runs")
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
    let mut args = OwnedArgs::with_capacity(words.len());
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
