//! The common way into a script and out to its calls, without a reference of mlua's for each value that goes there.
//!
//! Strings are read where Lua's stack has them, and written there; what is not that simple is left to the safe function that
//! stands behind `redis.call`. Of an EVAL of a counter that took a fifth of the instructions (callgrind).
//!
//! **Rule**: an error of Lua jumps over the frames between where it is raised and `pcall`. Where a function that may raise
//! one is called, nothing lives that has to be dropped.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::transmute;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mlua::{Function, Lua, Value, ffi};

use super::lua::{Called, call_running};
use crate::resp::{Args, OwnedArgs, Reply};

/// What the room for the words of calls may hold on to between two of them.
const ROOM_BYTES: usize = 16 << 10;

thread_local! {
    /// What a call answered that the safe function is to make values of.
    static ANSWERED: Cell<Option<std::thread::Result<Called>>> = const { Cell::new(None) };
    /// Keys and arguments of what is about to be run.
    static LENT: Cell<Option<(Args<'static>, Args<'static>)>> = const { Cell::new(None) };
    static ROOM: RefCell<OwnedArgs> = RefCell::default();
}

/// A runner of the prelude that finds its lists of keys and of arguments itself: see [`run`].
pub(super) fn runner(lua: &Lua, runner: &Function) -> mlua::Result<Function> {
    // SAFETY: the closure takes the one value that was pushed, and leaves a function.
    unsafe { lua.exec_raw(runner, |state| ffi::lua_pushcclosure(state, begin, 1)) }
}

/// Calls a [`runner`] with a function, its keys and its arguments: whether it ended well, and its value or problem.
pub(super) fn run(
    runner: &Function,
    function: &Function,
    keys: Args<'_>,
    argv: Args<'_>,
) -> mlua::Result<(bool, Value)> {
    // SAFETY: what is lent is given back before this function ends, while what it borrows from is still there.
    let (keys, argv) =
        unsafe { (transmute::<Args<'_>, Args<'static>>(keys), transmute::<Args<'_>, Args<'static>>(argv)) };
    LENT.set(Some((keys, argv)));
    let _back = GiveBack;
    let done = runner.call(function);
    match ANSWERED.take() {
        // The script caught the error that kept the safe function from it.
        Some(Err(panic)) => resume_unwind(panic),
        _ => done,
    }
}

/// Takes back what is lent to a runner, even when it was not called, and what nobody asked for.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        LENT.set(None);
        ANSWERED.set(None);
    }
}

/// Calls the prelude's runner with a function and the lists that are lent.
///
/// # Safety
/// Lua calls it, as a closure with the runner, with the function.
unsafe extern "C-unwind" fn begin(state: *mut ffi::lua_State) -> c_int {
    let (keys, argv) = LENT.take().unwrap_or((Args::new(&[], &[]), Args::new(&[], &[])));
    // SAFETY: the state is Lua's own, with room for LUA_MINSTACK values more. There is nothing to drop here.
    unsafe {
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        push_list(state, keys);
        push_list(state, argv);
        ffi::lua_call(state, 3, ffi::LUA_MULTRET);
        ffi::lua_gettop(state)
    }
}

/// Pushes a list of strings.
///
/// # Safety
/// `state` is alive, with room for two values; the caller has nothing to drop, as memory may be short.
unsafe fn push_list(state: *mut ffi::lua_State, words: Args<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        ffi::lua_createtable(state, c_int::try_from(words.len()).unwrap_or(0), 0);
        for (at, word) in words.iter().enumerate() {
            ffi::lua_pushlstring(state, word.as_ptr().cast(), word.len());
            ffi::lua_rawseti(state, -2, at as ffi::lua_Integer + 1);
        }
    }
}

/// A function that does what `safe` does, a function of the engine that calls commands and asks [`answered`] first.
pub(super) fn in_front_of(lua: &Lua, safe: &Function) -> mlua::Result<Function> {
    // SAFETY: the closure takes the one value that was pushed, and leaves a function.
    unsafe { lua.exec_raw(safe, |state| ffi::lua_pushcclosure(state, call, 1)) }
}

/// What the call that is under way has answered, if it was made already.
pub(super) fn answered() -> Option<Called> {
    ANSWERED.take().map(|answered| answered.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// `redis.call` and `redis.pcall`.
///
/// # Safety
/// Lua calls it, as a closure with the safe function.
unsafe extern "C-unwind" fn call(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the state is Lua's own, with the arguments on its stack and room for LUA_MINSTACK values more. What
    // `called` made is dropped, or kept for the safe function: here only numbers live.
    unsafe {
        match called(state) {
            Some(Some(number)) => {
                ffi::lua_pushnumber(state, number);
                return 1;
            }
            Some(None) => ffi::lua_settop(state, 0),
            None => {}
        }
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, ffi::lua_gettop(state) - 1, ffi::LUA_MULTRET);
        ffi::lua_gettop(state)
    }
}

/// Makes the call if all of its words are strings: its number, or nothing where another answer is kept for [`answered`].
///
/// # Safety
/// `state` is alive, with the words on its stack. No error is raised.
unsafe fn called(state: *mut ffi::lua_State) -> Option<Option<f64>> {
    // An error may have come between the last one and who was to ask for it.
    ANSWERED.set(None);
    #[cfg(test)]
    if tests::IS_OFF.get() {
        return None;
    }
    let made = ROOM.with_borrow_mut(|room| {
        // SAFETY: the caller's promise.
        let made = unsafe { words(state, room) };
        let made = made.then(|| catch_unwind(AssertUnwindSafe(|| call_running(room.as_args()))));
        room.clear(ROOM_BYTES);
        made
    });
    match made? {
        Ok(Some((Reply::Int(value), _))) => Some(Some(value as f64)),
        Ok(None) => None,
        Ok(Some(answer)) => {
            ANSWERED.set(Some(Ok(answer)));
            Some(None)
        }
        Err(panic) => {
            ANSWERED.set(Some(Err(panic)));
            Some(None)
        }
    }
}

/// Copies the words of a call to `args`, if there are any and all of them are strings; otherwise nothing.
///
/// # Safety
/// `state` is alive, with the words on its stack. No error is raised.
unsafe fn words(state: *mut ffi::lua_State, args: &mut OwnedArgs) -> bool {
    // SAFETY: the caller's promise. A string is not changed by being asked for its text, and stays where it is while the stack
    // has it.
    unsafe {
        let count = ffi::lua_gettop(state);
        if count == 0 || (1..=count).any(|at| ffi::lua_type(state, at) != ffi::LUA_TSTRING) {
            return false;
        }
        for at in 1..=count {
            let mut len = 0;
            let text = ffi::lua_tolstring(state, at, &mut len);
            args.push(std::slice::from_raw_parts(text.cast(), len));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::{Strategy, any};
    use proptest::{prop_assert_eq, prop_oneof, proptest, sample};

    use crate::testing::{Client, Clock, dump, engine};

    thread_local! {
        /// All is left to the safe function.
        pub(super) static IS_OFF: Cell<bool> = const { Cell::new(false) };
    }

    /// A string as Lua reads it.
    fn quoted(bytes: &[u8]) -> String {
        format!("'{}'", bytes.iter().map(|byte| format!("\\{byte:03}")).collect::<String>())
    }

    fn word() -> impl Strategy<Value = String> {
        let keys = sample::select(vec!["'k'", "'h'", "'l'", "'n'", "'big'", "'*'", "'0'", "'-1'", "'3'", "'f'"]);
        let odd =
            sample::select(vec!["nil", "true", "{}", "print", "1", "2.5", "1e300", "-0", "0/0", "function() end"]);
        prop_oneof![
            6 => keys.prop_map(str::to_owned),
            2 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| quoted(&bytes)),
            1 => odd.prop_map(str::to_owned),
        ]
    }

    fn call() -> impl Strategy<Value = String> {
        let names = [
            "SET",
            "GET",
            "INCR",
            "INCRBYFLOAT",
            "MGET",
            "DEL",
            "HSET",
            "HGETALL",
            "HINCRBY",
            "LPUSH",
            "LRANGE",
            "LPOP",
            "PING",
            "ECHO",
            "TYPE",
            "KEYS",
            "EXISTS",
            "EVAL",
            "SUBSCRIBE",
            "NOSUCH",
            "SADD",
            "SMEMBERS",
            "APPEND",
            "CONFIG",
        ];
        let names = sample::select(names.to_vec()).prop_map(|name| format!("'{name}'"));
        let name = prop_oneof![9 => names, 1 => word()];
        let how = sample::select(vec![
            "redis.call(WORDS)",
            "redis.pcall(WORDS)",
            "cjson.encode({pcall(redis.call, WORDS)})",
            "(coroutine.wrap(function(...) return redis.pcall(...) end))(WORDS)",
            "select('#', redis.pcall(WORDS))",
        ]);
        let is_empty = prop_oneof![9 => proptest::strategy::Just(false), 1 => proptest::strategy::Just(true)];
        let words = (name, proptest::collection::vec(word(), 0..5), is_empty);
        (how, words, any::<bool>()).prop_map(|(how, (name, rest, is_empty), resp3)| {
            let words = std::iter::once(name).chain(rest).collect::<Vec<_>>().join(", ");
            let called = match is_empty {
                // A trailing comma is none of Lua's.
                true => how.replace(", WORDS", "").replace("WORDS", ""),
                false => how.replace("WORDS", &words),
            };
            format!("redis.setresp({}) return {called}", if resp3 { 3 } else { 2 })
        })
    }

    proptest! {
        /// The twin leaves each call to the safe function: it says, does and counts the same.
        #[test]
        fn calls_answer_as_the_safe_function_does(scripts in proptest::collection::vec(call(), 1..30)) {
            let clock = Clock::new();
            let engines = [engine(&clock), engine(&clock)];
            let mut clients = engines.each_ref().map(|engine| Client::new(engine, &clock, 0));
            for client in &mut clients {
                for setup in ["SET n 5", "SET f 1.5", "RPUSH l a b c", "HSET h a 1 b 2"] {
                    client.say(setup);
                }
                client.words(&[b"SET".as_slice(), b"big", &vec![b'x'; 40_000]]);
            }
            for script in &scripts {
                let said = [false, true].map(|is_off| {
                    IS_OFF.set(is_off);
                    let said = clients[usize::from(is_off)].words(&["EVAL", script, "0"]);
                    IS_OFF.set(false);
                    said
                });
                prop_assert_eq!(&said[0], &said[1], "{}", script);
            }
            prop_assert_eq!(dump(&engines[0], clock.now()), dump(&engines[1], clock.now()));
            let errors = clients.each_mut().map(|client| client.say("INFO errorstats"));
            prop_assert_eq!(&errors[0], &errors[1]);
        }

        #[test]
        fn keys_and_arguments_are_what_was_sent(
            keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            argv in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let clock = Clock::new();
            let engine = engine(&clock);
            let mut client = Client::new(&engine, &clock, 0);
            let count = keys.len().to_string();
            let mut words = vec![b"EVAL".as_slice(), HEX.as_bytes(), count.as_bytes()];
            words.extend(keys.iter().chain(&argv).map(Vec::as_slice));
            let said = client.words(&words);
            let hex = |word: &Vec<u8>| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ",";
            let all = [&keys, &argv].map(|list| list.iter().map(hex).collect::<String>() + ";").concat();
            prop_assert_eq!(said, format!("${}|{all}|", all.len()));
        }
    }

    /// Answers its keys and arguments in hex.
    const HEX: &str = "local out = {} for _, list in ipairs({KEYS, ARGV}) do for i = 1, #list do \
        out[#out + 1] = list[i]:gsub('.', function(c) return string.format('%02x', c:byte()) end) .. ',' end \
        out[#out + 1] = ';' end return table.concat(out)";

    #[test]
    fn what_has_no_room_leaves_nothing_behind() {
        let clock = Clock::new();
        let engine = engine(&clock);
        let mut client = Client::new(&engine, &clock, 0);
        let large = [b'x', b'y'].map(|byte| vec![byte; 70 << 20]);
        let said = client.words(&[b"EVAL".as_slice(), b"return #ARGV", b"0", &large[0], &large[1]]);
        assert!(said.starts_with("-ERR") && said.contains("memory"), "{said}");
        assert_eq!(client.words(&["EVAL", "return #ARGV", "0"]), ":0|");
        // Where Lua's C stack ends between the call and what makes its answer a value, the next call has its own.
        let deep = "local function f(n) if n == 0 then return redis.call('ECHO', 'lost') end \
            local ok, e = pcall(f, n - 1) if not ok then error(e, 0) end return e end \
            pcall(f, tonumber(ARGV[1])) return redis.call('ECHO', 'own')";
        for depth in 180..200 {
            assert_eq!(client.words(&["EVAL", deep, "0", &depth.to_string()]), "$3|own|", "{depth}");
            assert!(super::ANSWERED.take().is_none());
        }
    }
}
