//! Clients that ask for much work by few bytes. One worker has them all, so whoever is answered meanwhile had a turn of it.

use larder_tests::node::Client;

use super::{one_worker, until, until_info};

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes()));
    bytes
}

fn ask(client: &mut Client, words: &[&str]) -> String {
    client.send(request(words));
    client.reply()
}

#[test]
fn a_million_subscriptions_end_at_the_limit() {
    let node = one_worker();
    let (mut honest, mut greedy) = (node.connect(), node.connect());
    assert_eq!(honest.say("SET k v"), "+OK|");
    let names: Vec<String> = (0..1_000_000).map(|n| n.to_string()).collect();
    let channels = |from: usize, to: usize| {
        let words: Vec<&str> = std::iter::once("SUBSCRIBE").chain(names[from..to].iter().map(String::as_str)).collect();
        request(&words)
    };
    // At once: all are refused.
    greedy.send(channels(0, 1_000_000));
    assert_eq!(greedy.reply(), "-ERR a connection may listen to 100000 channels at most|");
    assert_eq!(super::info(&mut honest, "pubsub_channels"), "0");
    // One after another, by a client that reads no reply: as many as may be.
    for from in (0..120_000).step_by(1000) {
        greedy.send(channels(from, from + 1000));
        assert_eq!(honest.say("GET k"), "$1|v|");
    }
    until_info(&mut honest, "pubsub_channels", "100000");
    assert_eq!(honest.say("PUBLISH 99999 m"), ":1|");
    assert_eq!(honest.say("PUBLISH 100000 m"), ":0|");
    drop(greedy);
    until_info(&mut honest, "pubsub_channels", "0");
}

#[test]
fn who_walks_all_keys_lets_others_have_their_turn() {
    let node = one_worker();
    let (mut honest, mut greedy) = (node.connect(), node.connect());
    for from in (0..20_000).step_by(10_000) {
        let names: Vec<String> = (from..from + 10_000).map(|n| format!("key:{n}")).collect();
        let words: Vec<&str> =
            std::iter::once("MSET").chain(names.iter().flat_map(|name| [name.as_str(), "v"])).collect();
        assert_eq!(ask(&mut honest, &words), "+OK|");
    }
    greedy.send("KEYS *\r\nKEYS no*match*at*all\r\n".repeat(20) + "SET told yes\r\n");
    for n in 0..3 {
        assert_eq!(honest.say(&format!("GET key:{n}")), "$1|v|");
        assert_eq!(honest.say("EXISTS told"), ":0|", "nobody was answered before all was done");
    }
    drop(greedy);
    assert_eq!(honest.say("PING"), "+PONG|");
}

#[test]
fn a_pattern_takes_as_long_as_it_and_the_name_are_at_most() {
    let node = one_worker();
    let (mut honest, mut greedy) = (node.connect(), node.connect());
    let name = "a".repeat(3000);
    let pattern = "a*".repeat(500) + "b";
    assert_eq!(ask(&mut greedy, &["SET", &name, "v"]), "+OK|");
    assert_eq!(ask(&mut greedy, &["KEYS", &pattern]), "*0|");
    assert_eq!(ask(&mut greedy, &["KEYS", &("*a".repeat(500) + "*b")]), "*0|");
    assert_eq!(ask(&mut greedy, &["KEYS", &("?*".repeat(500) + "[b]")]), "*0|");
    assert_eq!(ask(&mut greedy, &["KEYS", &("a*".repeat(500))]), format!("*1|$3000|{name}|"));
    assert!(ask(&mut greedy, &["CONFIG", "GET", &pattern]).starts_with("*0|"));
    // Whoever publishes pays for the patterns of others.
    assert!(ask(&mut greedy, &["PSUBSCRIBE", &pattern]).contains("psubscribe"));
    assert_eq!(ask(&mut honest, &["PUBLISH", &name, "m"]), ":0|");
    assert_eq!(honest.say("PING"), "+PONG|");
}

#[test]
fn scripts_that_nest_without_end_are_told_so() {
    let node = one_worker();
    let (mut honest, mut greedy) = (node.connect(), node.connect());
    for script in [
        "local function f() return 1 + f() end return f()",
        "local function f() return f() + 1 end return f()",
        "local t = {} for i = 1, 100000 do t = {t} end return cjson.encode(t)",
        "return cjson.decode(string.rep('[', 100000))",
        "return cmsgpack.unpack(string.rep('\\145', 100000))",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "local function f() return pcall(f) and error('x') end return f() + 1",
        "return string.find(string.rep('a', 20000), string.rep('a?', 20000) .. 'b')",
        "return loadstring(string.rep('(', 100000) .. '1' .. string.rep(')', 100000))()",
        "return string.rep('x', 2000000000)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "return redis.call('PING', unpack({}, 1, 1e7))",
    ] {
        let reply = ask(&mut greedy, &["EVAL", script, "0"]);
        assert!(reply.starts_with('-'), "{script}: {reply}");
        assert_eq!(honest.say("PING"), "+PONG|", "{script}");
    }
    assert_eq!(ask(&mut greedy, &["EVAL", "return 7", "0"]), ":7|");
    // As redis, what nests deeper than 16 is packed as nil.
    let packed = "local t = {} for i = 1, 100000 do t = {t} end return #cmsgpack.pack(t)";
    assert_eq!(ask(&mut greedy, &["EVAL", packed, "0"]), ":17|");
    // A reply that nests more than most clients can read: it is the caller's own.
    let mut deep = node.connect();
    deep.send(request(&["EVAL", "local t = {} for i = 1, 100000 do t = {t} end return t", "0"]));
    deep.shut();
    let rest = deep.rest();
    assert!(rest.starts_with(b"*1\r\n"), "{}", rest.get(..200).unwrap_or(&rest).escape_ascii());
    assert_eq!(honest.say("PING"), "+PONG|");
    assert_eq!(node.panics(), 0);
}

#[test]
fn a_script_without_end_is_ended_by_others() {
    let node = larder_tests::node::Node::start(larder_tests::node::Setup { workers: 2, ..Default::default() });
    let (mut greedy, mut honest) = (node.connect(), node.connect());
    let set = ["CONFIG", "SET", "lua-time-limit", "10", "lua-instruction-limit", "0"];
    assert_eq!(ask(&mut honest, &set), "+OK|");
    greedy.send(request(&["EVAL", "while true do end", "0"]));
    // They are on different workers, as connections go to the one with fewer.
    until(&mut honest, "SCRIPT KILL", "+OK|");
    let killed = greedy.reply();
    assert!(killed.starts_with("-ERR Script killed by user with SCRIPT KILL"), "{killed}");
    assert_eq!(honest.say("PING"), "+PONG|");
}
