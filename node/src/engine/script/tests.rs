#![allow(clippy::unwrap_used)]
use crate::testing::{Client, Clock, engine, guarded};

fn eval(client: &mut Client, script: &str) -> String {
    client.words(&["EVAL", script, "0"])
}

#[test]
fn an_endless_script_is_ended_and_catches_nothing() {
    let clock = Clock::new();
    let engine = engine(&clock);
    engine.scripts.instructions_max.store(5_000_000, std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::new(&engine, &clock, 0);
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do end end while true do xpcall(f, function() return 1 end) end",
        "while true do pcall(redis.call, 'get', 'x') end",
        "while true do redis.pcall({}) end",
        "while true do pcall(redis.call) end",
        "local f = coroutine.wrap(function() while true do end end) while true do pcall(f) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "return string.find(string.rep('a', 5000), '.-.-.-.-.-b')",
        "return string.gsub(string.rep('a', 5000), '.-.-.-.-.-b', '')",
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.starts_with("-ERR") && reply.contains("script"), "{script}: {reply}");
        assert_eq!(eval(&mut client, "return 1"), ":1|", "the next script runs");
    }
}

#[test]
fn memory_is_bounded_and_depth_too() {
    // The stack that workers have: a test's own is a quarter of it.
    let test = std::thread::Builder::new().stack_size(8 << 20).spawn(memory_and_depth).unwrap();
    test.join().unwrap();
}

fn memory_and_depth() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    for script in [
        "local t = {} while true do t[#t + 1] = string.rep('x', 1000000) .. #t end",
        "return string.rep('x', 1000000000)",
        "local function f() return f() + 1 end return f()",
        "local t = {} for i = 1, 1000 do t = {t} end return t",
        "local t = {} t[1] = t return t",
        "local t = {} t[1] = t return cjson.encode(t)",
        "return cjson.decode(string.rep('[', 2000))",
        "return cmsgpack.unpack(string.rep('\\145', 5000))",
        "local t = {1} for i = 1, 100 do t = {t, t} end return t",
        "local s = string.rep('x', 1000000) local t = {} for i = 1, 1000 do t[i] = s end return cmsgpack.pack(t)",
        "return (string.gsub(string.rep('x', 100000), 'x', string.rep('y', 10000)))",
        "return struct.pack('c2000000000', 'x')",
        "return string.match(string.rep('a', 1000), string.rep('(a?)', 31) .. string.rep('a?', 1000))",
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.contains("ERR"), "{script}: {}", &reply[..reply.len().min(200)]);
        assert_eq!(eval(&mut client, "return 1"), ":1|", "the next script runs");
    }
}

/// What is kept between scripts is kept for all: one client's must not be all there is.
#[test]
fn nobody_takes_the_memory_of_all_scripts() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let needs_half = "return #string.rep('y', 60 * 1024 * 1024)";
    for n in 0..150 {
        let hoard = format!("local constant = '{n:04}{}' return #constant", "x".repeat(1 << 20));
        assert_eq!(eval(&mut client, &hoard), ":1048580|", "the script number {n}");
    }
    assert_eq!(eval(&mut client, needs_half), ":62914560|");
    let hoard = "#!lua name=hoard\nlocal t = {} for i = 1, 4e6 do t[i] = i end\n\
        redis.register_function('hoarded', function() return #t end)";
    assert_eq!(client.words(&["FUNCTION", "LOAD", hoard]), "$5|hoard|");
    assert_eq!(eval(&mut client, needs_half), ":62914560|");
    assert_eq!(client.say("FCALL hoarded 0"), ":4000000|");
    assert_eq!(eval(&mut client, needs_half), ":62914560|");
    let bomb = "#!lua name=bomb\nlocal t = {} for i = 1, 1e9 do t[i] = {} end";
    assert!(client.words(&["FUNCTION", "LOAD", bomb]).starts_with("-ERR Error registering functions"));
    let broken = format!("return #'{}", "x".repeat(40 << 20));
    assert!(eval(&mut client, &broken).starts_with("-ERR Error compiling script"));
    assert_eq!(eval(&mut client, needs_half), ":62914560|");
}

#[test]
fn nothing_a_script_does_outlasts_it() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    for script in [
        "string.format = nil",
        "redis.call = nil",
        "cjson.encode = nil",
        "math.floor = function() return 7 end",
        "_G.x = 1",
        "x = 1",
        "setmetatable(_G, {})",
        "setmetatable(string, {})",
        "getmetatable('').__index = {}",
        "loadstring('y = 1')()",
        "table.insert(_G, 1)",
        "rawset(_G, 'x', 1)",
        "rawset(string, 'x', 1)",
        "setmetatable(redis, {})",
        "getmetatable('').__index.x = 1",
        "load(function() return nil end)() y = 1",
        "for _, f in pairs({pairs(string)}) do if type(f) == 'table' then f.format = nil end end",
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.starts_with('-'), "{script}: {reply}");
    }
    for absent in ["io", "os.execute", "os.getenv", "require", "dofile", "loadfile", "debug", "setfenv", "newproxy"] {
        let reply = eval(&mut client, &format!("return tostring({absent})"));
        assert!(reply.contains("nonexistent") || reply.contains("nil"), "{absent}: {reply}");
    }
    assert!(eval(&mut client, "return loadstring('\\27Lua')()").starts_with('-'), "compiled chunks");
    let text =
        "local n = 0 return load(function() n = n + 1 if n == 1 then return string.dump(function() end) end end)()";
    assert!(eval(&mut client, text).starts_with('-'), "compiled chunks, in parts");
    assert_eq!(eval(&mut client, "cjson.encode_max_depth(1) return cjson.encode({{1}})").chars().next(), Some('-'));
    assert_eq!(eval(&mut client, "return cjson.encode({{1}})"), "$5|[[1]]|", "settings end with their script");
    eval(&mut client, "math.randomseed(1)");
    let first = eval(&mut client, "return tostring(math.random())");
    eval(&mut client, "math.randomseed(1)");
    assert_ne!(eval(&mut client, "return tostring(math.random())"), first, "nor does a seed outlast its script");
    assert!(eval(&mut client, "return loadstring(string.dump(function() return 1 end))()").starts_with('-'));
    assert_eq!(eval(&mut client, "KEYS[1] = 'x' return string.format('%d', math.floor(2.5))"), "$1|2|");
    assert_eq!(eval(&mut client, "return #KEYS"), ":0|");
}

#[test]
fn a_script_has_its_callers_rights_and_no_more() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = Client::new(&engine, &clock, 0);
    assert_eq!(root.say("AUTH root-token"), "+OK|");
    root.say("SET b:1 secret");
    let mut app = Client::new(&engine, &clock, 0);
    assert_eq!(app.say("AUTH app app-password"), "+OK|");
    assert_eq!(eval(&mut app, "return redis.call('set','a:1','v')"), "+OK|");
    for script in ["return redis.call('get','b:1')", "return redis.pcall('mget','a:1','b:1')"] {
        let reply = eval(&mut app, script);
        assert!(
            reply.starts_with("-ERR The user executing the script can't access at least one of the keys"),
            "{reply}"
        );
    }
    assert_eq!(app.words(&["EVAL", "return 1", "1", "b:1"]).split(' ').next(), Some("-NOPERM"));
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    assert!(root.words(&["SCRIPT", "LOAD", "return 2"]).starts_with("$40|"));
    assert!(eval(&mut root, "return (").starts_with("-ERR Error compiling script"));
    assert_eq!(
        root.say("SCRIPT EXISTS 728acb63e2aaef0ee859ece5db586bff5d800d1e"),
        "*1|:0|",
        "what is no script is not kept"
    );
    assert_eq!(eval(&mut root, "return 1"), ":1|");
    assert!(app.say(&format!("EVALSHA {sha} 0")).starts_with("-NOSCRIPT"), "another's script");
    assert_eq!(root.say(&format!("EVALSHA {sha} 0")), ":1|");
}

#[test]
fn the_log_tells_what_a_script_did_and_not_the_script() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let log = engine.subscribe_log();
    eval(
        &mut client,
        "redis.call('set','a',1) redis.call('get','a') redis.call('incr','b') return redis.call('spop','none')",
    );
    let text = String::from_utf8(log.read().unwrap().1).unwrap();
    for part in ["MULTI", "\r\nset\r\n", "\r\nincr\r\n", "EXEC"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("EVAL") && !text.contains("get"), "{text}");
    eval(&mut client, "return redis.call('get','a')");
    assert!(log.read().unwrap().1.is_empty(), "a script that only reads is no effect");
}

#[test]
fn undeclared_keys_anywhere_are_reached_while_others_work() {
    let clock = Clock::new();
    let engine = engine(&clock);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (engine, clock) = (&engine, &clock);
            scope.spawn(move || {
                let mut client = Client::new(engine, clock, worker);
                for n in 0..200 {
                    let script =
                        format!("for i=1,20 do redis.call('incrby','k'..((i*{})%97),1) end return 1", n + worker);
                    assert_eq!(eval(&mut client, &script), ":1|");
                    client.say("MSET x 1 y 2 z 3");
                    client.say("DEL x y z");
                }
            });
        }
    });
    let mut client = Client::new(&engine, &clock, 0);
    let sum = "local s = 0 for i=0,96 do s = s + (redis.call('get','k'..i) or 0) end return s";
    assert_eq!(eval(&mut client, sum), ":8000|");
}

#[test]
fn a_flood_of_scripts_costs_its_own_principals() {
    let scripts = super::Scripts::default();
    let keep = |who: &str, body: &[u8]| scripts.keep(who, super::sha_of(body), body);
    keep("app", b"return 'app'");
    (0..=super::SCRIPTS_MAX).for_each(|n| keep("flood", format!("return {n}").as_bytes()));
    assert!(scripts.known("app", b"return 'app'").is_some() && scripts.kept() < super::SCRIPTS_MAX);
    let large = super::SCRIPT_BYTES_MAX / 3;
    (0..4).for_each(|n| keep("other", &vec![b'0' + n; large]));
    assert!(scripts.known("app", b"return 'app'").is_some());
    assert!(scripts.kept_bytes() < 2 * super::SCRIPT_BYTES_MAX as u64, "{}", scripts.kept_bytes());
    scripts.forget_all();
    assert_eq!((scripts.kept(), scripts.kept_bytes()), (0, 0));
}

#[test]
fn a_script_has_a_length() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let long = format!("return 1 --{}", "x".repeat(4 << 20));
    for reply in [eval(&mut client, &long), client.words(&["SCRIPT", "LOAD", &long])] {
        assert_eq!(reply, "-ERR Error compiling script (new function): it has 4194315 bytes, of at most 4194304|");
    }
    assert_eq!(eval(&mut client, &long[..1 << 20]), ":1|");
}

#[test]
fn libraries_are_counted_and_weighed() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    let figure = |client: &mut Client, name: &str| -> u64 {
        let text = client.say("INFO memory");
        let line = text.split('|').find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap().to_owned();
        line.parse().unwrap()
    };
    let before = engine.usage().functions;
    let code = format!("#!lua name=l\nredis.register_function('f', function() end) --{}", "x".repeat(100_000));
    assert_eq!(client.words(&["FUNCTION", "LOAD", &code]), "$1|l|");
    assert_eq!((figure(&mut client, "number_of_libraries"), figure(&mut client, "number_of_functions")), (1, 1));
    assert!(figure(&mut client, "used_memory_functions") > before + 100_000);
    assert!(figure(&mut client, "used_memory_scripts") > before + 100_000);
    assert_eq!(client.say("FUNCTION FLUSH"), "+OK|");
    assert_eq!((figure(&mut client, "number_of_functions"), engine.usage().functions), (0, 0));
}

/// A worker's Lua state serves all its engines.
#[test]
fn engines_of_one_thread_have_their_own_libraries_and_memory() {
    let clock = Clock::new();
    let engines = [engine(&clock), engine(&clock)];
    let mut clients = engines.each_ref().map(|engine| Client::new(engine, &clock, 0));
    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        let code = format!("#!lua name={name}\nredis.register_function('f', function() return '{name}' end)");
        assert_eq!(client.words(&["FUNCTION", "LOAD", &code]), format!("$3|{name}|"));
    }
    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        assert_eq!(client.say("FCALL f 0"), format!("$3|{name}|"));
    }
    let [one, two] = &mut clients;
    for _ in 0..5 {
        assert_eq!(eval(one, "local t = {} for i = 1, 100000 do t[i] = 'x' .. i end return #t"), ":100000|");
        let grown = engines[0].usage().lua;
        assert_eq!(eval(two, "return collectgarbage()"), ":0|");
        let (left, other) = (engines[0].usage().lua, engines[1].usage().lua);
        assert!(left < grown && left + other < 2 << 20, "{grown} {left} {other}");
    }
}

#[test]
fn what_takes_long_by_itself_is_ended_too() {
    let clock = Clock::new();
    let engine = engine(&clock);
    engine.scripts.instructions_max.store(5_000_000, std::sync::atomic::Ordering::Relaxed);
    let mut client = Client::new(&engine, &clock, 0);
    for script in [
        "local s = string.rep('x', 30000000) while true do redis.sha1hex(s) end",
        "local s = string.rep('x', 30000000) while true do local t = s:upper() end",
        "local s = string.rep('x', 30000000) while true do local t = s .. 'y' end",
        "local t = {} for i = 1, 200000 do t[i] = {i} end while true do collectgarbage() end",
        "local s = 'return 1' .. string.rep(' ', 4000000) while true do loadstring(s) end",
        "local t = {} for i = 1, 200000 do t[i] = i end while true do table.sort(t) end",
        "local t = {} for i = 1, 200000 do t[i] = i end while true do cmsgpack.pack(t) end",
        "while true do redis.log(redis.LOG_DEBUG, 'x') end",
        "return string.find(string.rep('a', 100000), '[' .. string.rep('b', 100000) .. ']')",
    ] {
        let reply = eval(&mut client, script);
        assert!(reply.starts_with("-ERR") && reply.contains("script"), "{script}: {reply}");
        assert_eq!(eval(&mut client, "return 1"), ":1|", "the next script runs");
    }
}

#[test]
fn arguments_of_one_script_leave_room_for_the_next() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.words(&["EVAL", "return #ARGV[1]", "0", &"x".repeat(100 << 20)]), ":104857600|");
    for _ in 0..30 {
        assert_eq!(eval(&mut client, "local t = {} for i = 1, 100000 do t[i] = {} end return #t"), ":100000|");
    }
    assert!(engine.usage().lua < 64 << 20, "{}", engine.usage().lua);
}
