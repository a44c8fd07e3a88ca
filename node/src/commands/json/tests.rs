#![allow(clippy::unwrap_used)]
use crate::testing::{Client, Clock, dump, engine, engine_with};

/// A client whose words may hold blanks.
struct Speaker(Client);

impl Speaker {
    fn new() -> Self {
        let clock = Clock::new();
        Self(Client::new(&engine(&clock), &clock, 0))
    }

    /// Words divided by blanks; `_` stands for a blank within a word.
    fn say(&mut self, line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        self.0.words(&words)
    }

    /// The text of a bulk string.
    fn text(&mut self, line: &str) -> String {
        let said = self.say(line);
        said.split('|').nth(1).unwrap_or(&said).to_owned()
    }

    fn get(&mut self) -> String {
        self.text("JSON.GET d")
    }
}

const DOCUMENT: &str =
    r#"{"a":1,"nested":{"a":2,"b":"text"},"list":[1,2.5,null,"x",{"a":true}],"empty":{},"none":[],"flag":false}"#;

fn speaker(document: &str) -> Speaker {
    let mut it = Speaker::new();
    assert_eq!(it.0.words(&["JSON.SET", "d", "$", document]), "+OK|");
    it
}

#[test]
fn get_shows_what_paths_find() {
    let mut it = speaker(DOCUMENT);
    assert_eq!(it.get(), DOCUMENT);
    let cases = [
        ("$", format!("[{DOCUMENT}]")),
        ("$.a", "[1]".into()),
        ("$..a", "[1,2,true]".into()),
        ("$.list[0]", "[1]".into()),
        ("$.list[-1].a", "[true]".into()),
        ("$.list[1:3]", "[2.5,null]".into()),
        ("$.list[::2]", "[1,null,{\"a\":true}]".into()),
        ("$.list[:-3]", "[1,2.5]".into()),
        ("$.list[0,3]", "[1,\"x\"]".into()),
        ("$['a','flag']", "[1,false]".into()),
        ("$[\"nested\"]['b']", "[\"text\"]".into()),
        ("$.nested.*", "[2,\"text\"]".into()),
        ("$.missing", "[]".into()),
        ("$.list[?(@>1)]", "[2.5]".into()),
        ("$.list[?@.a]", "[{\"a\":true}]".into()),
        ("$.list[?(@.a==true||@=='x')]", "[\"x\",{\"a\":true}]".into()),
        ("$[?(@.b=~'^te')]", "[{\"a\":2,\"b\":\"text\"}]".into()),
        ("$.list[?(@<$.nested.a&&@!=null)]", "[1]".into()),
        ("$.list[?(!(@.a)&&@!=1)]", "[2.5,null,\"x\"]".into()),
        ("a", "1".into()),
        (".nested.b", "\"text\"".into()),
        ("..a", "1".into()),
    ];
    for (path, shown) in cases {
        assert_eq!(it.text(&format!("JSON.GET d {path}")), shown, "{path}");
    }
    assert_eq!(it.say("JSON.GET d .missing"), "-ERR Path '$.missing' does not exist|");
    assert_eq!(it.say("JSON.GET absent $"), "$-1|");
    assert_eq!(it.text("JSON.GET d $.a $.nope"), r#"{"$.a":[1],"$.nope":[]}"#);
    assert_eq!(it.text("JSON.GET d a .nested.a"), r#"{"a":1,".nested.a":2}"#);
    assert_eq!(it.text("JSON.GET d .a $.nested.a"), r#"{".a":[1],"$.nested.a":[2]}"#);
    assert_eq!(
        it.say("JSON.GET d INDENT _ NEWLINE / SPACE - $.nested"),
        "$33|[/ {/  \"a\":-2,/  \"b\":-\"text\"/ }/]|"
    );
    assert_eq!(it.say("JSON.GET d FORMAT EXPAND $"), "-ERR FORMAT argument is not supported on RESP2|");
    for wrong in ["$.", "$[", "$[?(", "$[a]", "$.a b", "$[1:2:0]", "$[?(@.a==)]", "$['a]"] {
        assert!(
            it.say(&format!("JSON.GET d {}", wrong.replace(' ', "_"))).starts_with("-ERR Error occurred"),
            "{wrong}"
        );
    }
}

#[test]
fn set_puts_adds_and_refuses() {
    let mut it = speaker("{}");
    assert_eq!(it.say("JSON.SET e $.a 1"), "-ERR new objects must be created at the root|");
    assert_eq!(it.say("JSON.SET e $ 1 XX"), "$-1|");
    assert_eq!(it.say("JSON.SET d $.a 1 XX"), "$-1|");
    assert_eq!(it.say("JSON.SET d $.a 1 NX"), "+OK|");
    assert_eq!(it.say("JSON.SET d $.a 2 NX"), "$-1|");
    assert_eq!(it.say("JSON.SET d $.a 3 XX"), "+OK|");
    assert_eq!(it.say("JSON.SET d $ 3 NX"), "$-1|");
    assert_eq!(it.say("JSON.SET d b {\"c\":[0]}"), "+OK|");
    assert_eq!(it.say("JSON.SET d $.x.y 1"), "$-1|");
    assert_eq!(it.say("JSON.SET d $.a.y 1"), "$-1|");
    assert_eq!(it.say("JSON.SET d $.*.y 1"), "-Err wrong static path|");
    assert_eq!(it.say("JSON.SET d $.b.c[1] 1"), "-ERR array index out of range|");
    assert_eq!(it.say("JSON.SET d $.b.c[0] 1"), "+OK|");
    assert_eq!(it.get(), r#"{"a":3,"b":{"c":[1]}}"#);
    assert_eq!(it.say("JSON.SET d $.* [] XX"), "+OK|");
    assert_eq!(it.get(), r#"{"a":[],"b":[]}"#);
    assert_eq!(it.say("JSON.SET d $.a {"), "-ERR EOF while parsing an object at line 1 column 1|");
    assert_eq!(it.say("JSON.SET d $.a 1 YY"), "-ERR syntax error|");
    assert_eq!(it.say("JSON.SET d $.a 1 NX XX"), "-ERR syntax error|");
    // What is within another match goes with it.
    assert_eq!(it.0.words(&["JSON.SET", "d", "$", r#"{"a":{"a":1},"b":{"a":2}}"#]), "+OK|");
    assert_eq!(it.say("JSON.SET d $..a 0"), "+OK|");
    assert_eq!(it.get(), r#"{"a":0,"b":{"a":0}}"#);
}

#[test]
fn the_key_keeps_its_ttl() {
    let mut it = speaker("{}");
    assert_eq!(it.say("EXPIRE d 100"), ":1|");
    assert_eq!(it.say("JSON.SET d $ [1]"), "+OK|");
    assert_eq!(it.say("TTL d"), ":100|");
}

#[test]
fn several_keys() {
    let mut it = speaker(r#"{"a":1}"#);
    assert_eq!(it.say("JSON.MSET d $.a 2 e $ {\"a\":3} d $.b 4"), "+OK|");
    assert_eq!(it.get(), r#"{"a":2,"b":4}"#);
    assert_eq!(it.say("JSON.MGET d e f $.a"), "*3|$3|[2]|$3|[3]|$-1|");
    assert_eq!(it.say("JSON.MGET d e .b"), "*2|$1|4|$-1|");
    assert_eq!(it.say("JSON.MSET d $.a 5 new $.a 6"), "-ERR new objects must be created at the root|");
    assert_eq!(it.say("JSON.MSET d $.a 5 d $.*.x 6"), "-Err wrong static path|");
    assert_eq!(it.say("JSON.MSET d $.a 5 d"), "-ERR wrong number of arguments for 'json.mset' command|");
    assert_eq!(it.say("JSON.MSET d $.a [5] d $.a.q 6"), "$-1|");
    assert_eq!(it.get(), r#"{"a":[5],"b":4}"#);
    it.say("SET s text");
    assert_eq!(it.say("JSON.MGET d s $.b"), "*2|$3|[4]|$-1|");
    assert_eq!(it.say("JSON.MSET d $.a 9 s $ 1"), "-ERR Existing key has wrong Redis type|");
    assert_eq!(it.text("JSON.GET d $.a"), "[[5]]");
}

#[test]
fn merges_by_rfc_7396() {
    let mut it = speaker(r#"{"a":{"b":1,"c":2},"d":[1]}"#);
    assert_eq!(it.say("JSON.MERGE d $ {\"a\":{\"b\":null,\"e\":{\"x\":null,\"y\":1}},\"d\":{\"f\":null}}"), "+OK|");
    assert_eq!(it.get(), r#"{"a":{"c":2,"e":{"y":1}},"d":{}}"#);
    assert_eq!(it.say("JSON.MERGE d $.new [null]"), "+OK|");
    assert_eq!(it.say("JSON.MERGE d $.x.y 1"), "$-1|");
    assert_eq!(it.get(), r#"{"a":{"c":2,"e":{"y":1}},"d":{},"new":[null]}"#);
    assert_eq!(it.say("JSON.MERGE n $ {\"a\":null}"), "+OK|");
    assert_eq!(it.text("JSON.GET n"), r#"{"a":null}"#);
    assert_eq!(it.say("JSON.MERGE m $.a 1"), "-ERR new objects must be created at the root|");
}

#[test]
fn del_and_clear() {
    let mut it = speaker(DOCUMENT);
    assert_eq!(it.say("JSON.DEL d $..a"), ":3|");
    assert_eq!(it.say("JSON.DEL d $.list[0,1]"), ":2|");
    assert_eq!(it.text("JSON.GET d list"), r#"[null,"x",{}]"#);
    assert_eq!(it.say("JSON.DEL d $.nested..*"), ":1|");
    assert_eq!(it.say("JSON.FORGET d $.missing"), ":0|");
    assert_eq!(it.say("JSON.DEL d $.*"), ":5|");
    assert_eq!(it.say("EXISTS d"), ":0|");
    assert_eq!(it.say("JSON.DEL d"), ":0|");
    let mut it = speaker(r#"{"n":5,"z":0,"s":"x","a":[1,[2]],"e":[],"o":{"p":1}}"#);
    assert_eq!(it.say("JSON.CLEAR d $.*"), ":3|");
    assert_eq!(it.get(), r#"{"n":0,"z":0,"s":"x","a":[],"e":[],"o":{}}"#);
    assert_eq!(it.say("JSON.CLEAR d"), ":1|");
    assert_eq!(it.get(), "{}");
    assert_eq!(it.say("JSON.CLEAR gone"), "-ERR could not perform this operation on a key that doesn't exist|");
    assert_eq!(it.say("JSON.DEL d ."), ":1|");
    assert_eq!(it.say("EXISTS d"), ":0|");
}

#[test]
fn numbers() {
    let mut it = speaker(r#"{"i":1,"f":1.5,"s":"x","n":{"i":10}}"#);
    assert_eq!(it.text("JSON.NUMINCRBY d $..i 2"), "[3,12]");
    assert_eq!(it.text("JSON.NUMINCRBY d $.* 1"), "[4,2.5,null,null]");
    assert_eq!(it.text("JSON.NUMMULTBY d .i 2"), "8");
    assert_eq!(it.text("JSON.NUMMULTBY d .f 2"), "5.0");
    assert_eq!(it.text("JSON.NUMINCRBY d $['i','i'] 1"), "[9,10]");
    assert_eq!(it.say("JSON.NUMINCRBY d .s 1"), "-ERR Path '$.s' does not exist or does not contains a number|");
    assert_eq!(it.say("JSON.NUMINCRBY d .i x"), "-ERR expected value at line 1 column 1|");
    assert_eq!(it.say("JSON.NUMINCRBY d .i \"1\""), "-ERR bad input number|");
    assert_eq!(it.say("JSON.NUMINCRBY d $..i 9223372036854775800"), "-ERR numeric overflow|");
    assert_eq!(it.text("JSON.GET d $..i"), "[10,12]");
    assert_eq!(it.say("JSON.NUMMULTBY d .f 1e308"), "-ERR result is not a number|");
    assert_eq!(it.say("JSON.NUMINCRBY gone $ 1"), "-ERR could not perform this operation on a key that doesn't exist|");
    let mut it = speaker(r#"{"a":true,"b":1}"#);
    assert_eq!(it.say("JSON.TOGGLE d $.*"), "*2|:0|$-1|");
    assert_eq!(it.text("JSON.TOGGLE d a"), "true");
    assert_eq!(it.say("JSON.TOGGLE d b"), "-ERR Path '$.b' does not exist or not a bool|");
}

#[test]
fn strings() {
    let mut it = speaker(r#"{"a":"é","b":1,"c":{"a":"x"}}"#);
    assert_eq!(it.say("JSON.STRAPPEND d $..a \"yz\""), "*2|:4|:3|");
    assert_eq!(it.say("JSON.STRAPPEND d .a \"!\""), ":5|");
    assert_eq!(it.say("JSON.STRAPPEND d $.* \"\""), "*3|:5|$-1|$-1|");
    assert_eq!(it.say("JSON.STRAPPEND d .b \"\""), "-ERR Path '$.b' does not exist or not a string|");
    assert_eq!(it.say("JSON.STRAPPEND d .a 1"), "-WRONGTYPE wrong type of path value - expected string but found 1|");
    assert_eq!(it.say("JSON.STRLEN d $.*"), "*3|:5|$-1|$-1|");
    assert_eq!(it.say("JSON.STRLEN d a"), ":5|");
    assert_eq!(it.say("JSON.STRLEN d b"), "-WRONGTYPE wrong type of path value - expected string but found integer|");
    assert_eq!(it.say("JSON.STRLEN gone"), "$-1|");
    assert_eq!(it.say("JSON.STRLEN gone $"), "-ERR could not perform this operation on a key that doesn't exist|");
    let mut it = speaker("\"root\"");
    assert_eq!(it.say("JSON.STRAPPEND d \"s\""), ":5|");
    assert_eq!(it.say("JSON.STRLEN d"), ":5|");
}

#[test]
fn arrays() {
    let mut it = speaker(r#"{"a":[1],"n":{"a":[2,[3]]},"s":"x"}"#);
    assert_eq!(it.say("JSON.ARRAPPEND d $..a 4 {}"), "*2|:3|:4|");
    assert_eq!(it.say("JSON.ARRAPPEND d $.* 5"), "*3|:4|$-1|$-1|");
    assert_eq!(it.say("JSON.ARRAPPEND d .a 6"), ":5|");
    assert_eq!(it.say("JSON.ARRAPPEND d .s 6"), "-ERR Path '$.s' does not exist or not an array|");
    assert_eq!(it.text("JSON.GET d $..a"), "[[1,4,{},5,6],[2,[3],4,{}]]");
    assert_eq!(it.say("JSON.ARRINSERT d $..a -1 9"), "*2|:6|:5|");
    assert_eq!(it.say("JSON.ARRINSERT d $..a 6 9"), "-ERR index out of bounds|");
    assert_eq!(it.text("JSON.GET d $..a"), "[[1,4,{},5,9,6],[2,[3],4,9,{}]]");
    assert_eq!(it.say("JSON.ARRINDEX d $..a 4"), "*2|:1|:2|");
    assert_eq!(it.say("JSON.ARRINDEX d $.* {}"), "*3|:2|$-1|$-1|");
    assert_eq!(it.say("JSON.ARRINDEX d .a 4 2"), ":-1|");
    assert_eq!(it.say("JSON.ARRINDEX d .a 4 0 -5"), ":-1|");
    assert_eq!(it.say("JSON.ARRINDEX d .a 6 -1"), ":5|");
    assert_eq!(it.say("JSON.ARRINDEX d .a 1.0"), ":-1|");
    assert_eq!(
        it.say("JSON.ARRINDEX d .s 1"),
        "-WRONGTYPE wrong type of path value - expected array but found string|"
    );
    assert_eq!(it.say("JSON.ARRLEN d $.*"), "*3|:6|$-1|$-1|");
    assert_eq!(it.say("JSON.ARRLEN d .a"), ":6|");
    assert_eq!(it.say("JSON.ARRLEN d .s"), "-ERR Path '$.s' does not exist or not an array|");
    assert_eq!(it.say("JSON.ARRPOP d $.*"), "*3|$1|6|$-1|$-1|");
    assert_eq!(it.say("JSON.ARRPOP d .a 0"), "$1|1|");
    assert_eq!(it.say("JSON.ARRPOP d .a -100"), "$1|4|");
    assert_eq!(it.say("JSON.ARRTRIM d $..a 1 2"), "*2|:2|:2|");
    assert_eq!(it.text("JSON.GET d $..a"), "[[5,9],[[3],4]]");
    assert_eq!(it.say("JSON.ARRTRIM d .a 5 9"), ":0|");
    assert_eq!(it.say("JSON.ARRPOP d .a"), "$-1|");
    assert_eq!(it.say("JSON.ARRTRIM d .a 0 x"), "-ERR Couldn't parse as integer|");
    let mut it = speaker("[[1,2],[3,[4]]]");
    assert_eq!(it.say("JSON.ARRPOP d $..[*]"), "*7|$1|2|$2|[]|$-1|$-1|$-1|$1|4|$-1|");
    assert_eq!(it.get(), "[[1],[3]]");
    assert_eq!(it.say("JSON.ARRPOP d"), "$3|[3]|");
}

#[test]
fn objects_and_types() {
    let mut it = speaker(DOCUMENT);
    assert_eq!(it.say("JSON.OBJKEYS d .nested"), "*2|$1|a|$1|b|");
    assert_eq!(it.say("JSON.OBJKEYS d $.empty"), "*1|*0|");
    assert_eq!(it.say("JSON.OBJKEYS d .a"), "-ERR Path '$.a' does not exist or not an object|");
    assert_eq!(it.say("JSON.OBJKEYS d .x"), "$-1|");
    assert_eq!(it.say("JSON.OBJLEN d"), ":6|");
    assert_eq!(it.say("JSON.OBJLEN d $.*"), "*6|$-1|:2|$-1|:0|$-1|$-1|");
    assert_eq!(it.say("JSON.OBJLEN d .a"), "-WRONGTYPE wrong type of path value - expected object but found integer|");
    assert_eq!(it.say("JSON.OBJLEN gone $"), "-ERR Path '$' does not exist or not an object|");
    assert_eq!(it.say("JSON.TYPE d $.list[*]"), "*5|$7|integer|$6|number|$4|null|$6|string|$6|object|");
    assert_eq!(it.say("JSON.TYPE d .flag"), "$7|boolean|");
    assert_eq!(it.say("JSON.TYPE d .x"), "$-1|");
    assert_eq!(it.say("JSON.TYPE gone $"), "$-1|");
    assert_eq!(it.say("JSON.RESP d .nested"), "*5|+{|$1|a|:2|$1|b|$4|text|");
    assert_eq!(it.say("JSON.RESP d $.list[1:3]"), "*2|$3|2.5|$-1|");
    assert_eq!(it.say("JSON.DEBUG MEMORY d .a"), ":24|");
    assert_eq!(it.say("JSON.DEBUG MEMORY gone"), ":0|");
}

#[test]
fn resp3_has_shapes_of_its_own() {
    let mut it = speaker(r#"{"a":1,"b":[true,null,{"c":2.5}],"s":"x"}"#);
    it.say("HELLO 3");
    assert_eq!(it.say("JSON.TYPE d .a"), "*1|$7|integer|");
    assert_eq!(it.say("JSON.TYPE d $.*"), "*1|*3|$7|integer|$5|array|$6|string|");
    assert_eq!(it.say("JSON.TYPE gone"), "*1|_|");
    assert_eq!(it.say("JSON.NUMINCRBY d .a 1"), "*1|:2|");
    assert_eq!(it.say("JSON.NUMINCRBY d $.* 1.5"), "*3|,3.5|_|_|");
    assert_eq!(it.text("JSON.GET d $.a"), "[3.5]");
    assert_eq!(it.say("JSON.GET d FORMAT EXPAND $.b $.x"), "*2|*1|*3|#t|_|%1|$1|c|,2.5|*0|");
    assert_eq!(
        it.say("JSON.GET d FORMAT EXPAND1 $.*"),
        "*1|*3|,3.5|$22|[true,null,{\"c\":2.5}]|$3|\"x\"|".replace("$22", "$21")
    );
    assert_eq!(it.say("JSON.ARRPOP d FORMAT EXPAND $.b"), "*1|%1|$1|c|,2.5|");
    assert_eq!(it.say("JSON.ARRPOP d FORMAT STRING $.b"), "-ERR wrong reply format|");
}

#[test]
fn other_types_are_told_apart() {
    let mut it = speaker("{}");
    it.say("SET s text");
    for line in ["JSON.GET s", "JSON.SET s $ 1", "JSON.DEL s", "JSON.ARRLEN s $", "JSON.TYPE s", "JSON.MERGE s $ 1"] {
        assert_eq!(it.say(line), "-ERR Existing key has wrong Redis type|", "{line}");
    }
    for line in ["GET d", "APPEND d x", "LPUSH d x", "HGETALL d", "SADD d x", "ZADD d 1 x", "XLEN d", "SETRANGE d 0 x"]
    {
        assert_eq!(it.say(line), "-WRONGTYPE Operation against a key holding the wrong kind of value|", "{line}");
    }
    assert_eq!(it.say("TYPE d"), "+ReJSON-RL|");
    assert_eq!(it.say("OBJECT ENCODING d"), "$3|raw|");
    assert_eq!(it.say("SCAN 0 TYPE rejson-rl COUNT 1000").rsplit_once("*1|").unwrap().1, "$1|d|");
    assert_eq!(it.say("COPY d e"), ":1|");
    assert_eq!(it.say("JSON.SET e $.x 1"), "+OK|");
    assert_eq!(it.get(), "{}");
    assert_eq!(it.say("RENAME e f"), "+OK|");
    assert_eq!(it.text("JSON.GET f"), r#"{"x":1}"#);
    assert_eq!(it.say("SET d x"), "+OK|");
}

#[test]
fn the_log_repeats_what_was_done() {
    let clock = Clock::new();
    let (engine, twin) = (engine(&clock), engine(&clock));
    let log = engine.subscribe_log();
    let mut it = Speaker(Client::new(&engine, &clock, 0));
    for line in [
        "JSON.SET d $ {\"a\":[1,2,3],\"n\":1,\"s\":\"x\",\"t\":true}",
        "JSON.ARRAPPEND d $.a 4 5",
        "JSON.ARRINSERT d $.a 0 0",
        "JSON.NUMINCRBY d $..* 0.1",
        "JSON.NUMMULTBY d .n 3",
        "JSON.STRAPPEND d .s \"y\"",
        "JSON.TOGGLE d .t",
        "JSON.MERGE d $ {\"m\":{\"k\":1}}",
        "JSON.DEL d $.m.k",
        "JSON.CLEAR d $.m",
        "JSON.MSET e $ [] f $ {\"g\":1}",
        "JSON.DEL f $.g",
        "JSON.ARRTRIM d .a 1 4",
        "JSON.ARRPOP d",
        "HELLO 3",
        "JSON.ARRPOP d FORMAT EXPAND $.a 0",
        "EXPIRE e 50",
    ] {
        it.say(line);
    }
    let state = dump(&engine, clock.now());
    assert_eq!(state.len(), 2);
    let (_, log) = log.read().unwrap();
    twin.replay(&log, clock.now()).unwrap();
    assert_eq!(dump(&twin, clock.now()), state);
}

#[test]
fn a_document_ends_somewhere() {
    let clock = Clock::new();
    let engine = engine_with(&clock, |config| config.limits.resp.bulk_bytes_max = 64 << 10);
    let mut it = Speaker(Client::new(&engine, &clock, 0));
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(it.say(&format!("JSON.SET d $ {}", deep(127))), "+OK|");
    assert!(it.say(&format!("JSON.SET d $ {}", deep(128))).starts_with("-ERR recursion limit exceeded"));
    let inner = "[0]".repeat(126);
    assert_eq!(it.say(&format!("JSON.ARRAPPEND d ${inner} []")), "*1|:1|");
    assert_eq!(it.say(&format!("JSON.ARRAPPEND d ${inner}[0] []")), "-ERR recursion limit exceeded|");
    assert_eq!(it.say(&format!("JSON.SET d ${inner}[0] [[]]")), "-ERR recursion limit exceeded|");
    assert_eq!(it.say(&format!("JSON.MERGE d ${inner}[0] {{\"a\":{{}}}}")), "-ERR recursion limit exceeded|");
    // A thousand times a thousand bytes.
    let wide = format!("[{}0]", "0,".repeat(999));
    assert_eq!(it.say(&format!("JSON.SET d $ {wide}")), "+OK|");
    let text = format!("\"{}\"", "x".repeat(1000));
    assert_eq!(it.say(&format!("JSON.SET d $[*] {text}")), "-ERR the document would take more than 65536 bytes|");
    assert!(
        it.say(&format!("JSON.SET d $ [{}0]", "0,".repeat(4000))).starts_with("-ERR the value takes more than 65536")
    );
    // Each match is within the one before: 127 of them are longer than they are.
    assert_eq!(it.say(&format!("JSON.SET d $ {}{}{}", "[".repeat(100), text, "]".repeat(100))), "+OK|");
    assert!(it.say("JSON.GET d $..*").starts_with("-ERR string exceeds maximum allowed size"));
    assert!(it.say("JSON.MGET d $..*").starts_with("-ERR string exceeds maximum allowed size"));
    assert!(it.say(&format!("JSON.GET d $.{}", "a".repeat(20_000))).starts_with("-ERR the path is longer than"));
}

#[test]
fn a_bomb_of_a_path_costs_itself_only() {
    let mut it = Speaker::new();
    let nest = "[".repeat(120) + &"]".repeat(120);
    assert_eq!(it.say(&format!("JSON.SET d $ [{nest},{nest},{nest}]")), "+OK|");
    let bomb = format!("${}", "..*".repeat(5));
    assert_eq!(it.say(&format!("JSON.GET d {bomb}")), "-ERR the path matches more than 1000000 values|");
    assert_eq!(it.say(&format!("JSON.DEL d {bomb}")), "-ERR the path matches more than 1000000 values|");
    let filters = "..[?(@..x!=1&&@..x!=2)]".repeat(4);
    assert!(it.say(&format!("JSON.TYPE d ${filters}")).starts_with("-ERR the path "), "{filters}");
    let nested = format!("$[?{}@.a{}]", "(".repeat(40), ")".repeat(40));
    assert_eq!(it.say(&format!("JSON.TYPE d {nested}")), "-ERR filters of a path nest 32 deep at most|");
    let patterns = "[?(@=~'a')]".repeat(17);
    assert_eq!(it.say(&format!("JSON.TYPE d ${patterns}")), "-ERR a path has 16 regular expressions at most|");
}

/// A path may name one place thousands of times, and a command one path: that is paid for too.
#[test]
fn what_is_asked_for_again_is_paid_for_again() {
    let mut it = Speaker::new();
    let text = "x".repeat(1_000_000);
    let thousand = format!("$[{}0]", "0,".repeat(999));
    assert_eq!(it.say(&format!("JSON.SET d $ [\"{text}\"]")), "+OK|");
    let refused = "-ERR the path looks at more than 4000000 values|";
    assert_eq!(it.say(&format!("JSON.STRAPPEND d {thousand} \"y\"")), refused);
    assert_eq!(it.say("JSON.STRLEN d $[0]"), "*1|:1000000|");
    let elements = format!("[[{}0]]", "0,".repeat(99_999));
    assert_eq!(it.say(&format!("JSON.SET d $ {elements}")), "+OK|");
    for command in ["ARRINSERT d % 0 1", "ARRPOP d % 0", "ARRTRIM d % 1 -1"] {
        assert_eq!(it.say(&format!("JSON.{}", command.replace('%', &thousand))), refused, "{command}");
    }
    assert_eq!(it.say("JSON.ARRLEN d $[0]"), "*1|:100000|");
    assert_eq!(it.say("JSON.ARRPOP d $[0,0] 0"), "*2|$1|0|$1|0|");
    assert_eq!(it.say(&format!("JSON.MGET{} $..x", " d".repeat(1000))), refused);
    let members: Vec<String> = (0..10_000).map(|n| format!("\"m{n}\":{n}")).collect();
    assert_eq!(it.say(&format!("JSON.SET d $ [{{{}}}]", members.join(","))), "+OK|");
    assert_eq!(it.say(&format!("JSON.OBJKEYS d {thousand}")), refused);
    let sets = " d $..m1 1".repeat(1000);
    assert_eq!(it.say(&format!("JSON.MSET{sets}")), refused);
}

#[test]
fn paths_of_one_command_have_a_limit() {
    let mut it = speaker(DOCUMENT);
    let paths = |n: usize| (0..n).map(|n| format!(" $.p{n}")).collect::<String>();
    assert!(it.say(&format!("JSON.GET d{}", paths(256))).starts_with('$'));
    assert_eq!(it.say(&format!("JSON.GET d{}", paths(257))), "-ERR JSON.GET takes 256 paths at most|");
    let patterns = |n: usize| (0..n).map(|n| format!(" $[?(@=~\"{n}\")]")).collect::<String>();
    assert!(it.say(&format!("JSON.GET d{}", patterns(16))).starts_with('$'));
    let refused = "-ERR the paths of a command have 16 regular expressions at most|";
    assert_eq!(it.say(&format!("JSON.GET d{}", patterns(17))), refused);
    let sets: String = (0..17).map(|n| format!(" d $.nested[?(@=~\"t|{n}\")] 1")).collect();
    assert_eq!(it.say(&format!("JSON.MSET{sets}")), refused);
}

/// Places are longer than the values at them where these are deep.
#[test]
fn many_deep_places_are_too_many() {
    let mut it = Speaker::new();
    let (open, close) = ("[".repeat(120), "]".repeat(120));
    assert_eq!(it.say(&format!("JSON.SET d $ {open}{}1{close}", "1,".repeat(300_000))), "+OK|");
    assert_eq!(it.say("JSON.NUMINCRBY d $..* 1"), "-ERR the path looks at more than 4000000 values|");
    assert_eq!(it.text("JSON.TYPE d"), "array");
}
