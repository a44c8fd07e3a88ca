//! Options that are newer than redis 7.0, which the transcripts compare with: replies as Valkey 8 documents them.

use super::*;

fn client(clock: &Clock) -> Client {
    Client::new(&engine(clock), clock, 0)
}

/// A line and its reply, line ends as spaces.
fn says(client: &mut Client, line: &str, want: &str) {
    assert_eq!(client.say(line), want.replace(' ', "|") + "|", "{line}");
}

#[test]
fn a_rank_with_its_score() {
    let clock = Clock::new();
    let mut c = client(&clock);
    says(&mut c, "ZADD z 1 a 2.5 b 3 c", ":3");
    says(&mut c, "ZRANK z b WITHSCORE", "*2 :1 $3 2.5");
    says(&mut c, "ZREVRANK z a withscore", "*2 :2 $1 1");
    says(&mut c, "ZRANK z b", ":1");
    says(&mut c, "ZRANK z x", "$-1");
    says(&mut c, "ZRANK z x WITHSCORE", "*-1");
    says(&mut c, "ZREVRANK none x WITHSCORE", "*-1");
    assert_eq!(c.say("ZRANK z b WITHSCORES"), "-ERR syntax error|");
    assert_eq!(c.say("ZREVRANK z b WITHSCORE x"), "-ERR wrong number of arguments for 'zrevrank' command|");
    assert_eq!(c.say("ZRANK z"), "-ERR wrong number of arguments for 'zrank' command|");
    c.say("HELLO 3");
    says(&mut c, "ZRANK z b WITHSCORE", "*2 :1 ,2.5");
    says(&mut c, "ZRANK z x WITHSCORE", "_");
}

#[test]
fn hscan_without_values() {
    let clock = Clock::new();
    let mut c = client(&clock);
    says(&mut c, "HSET h a 1", ":1");
    says(&mut c, "HSCAN h 0 NOVALUES", "*2 $1 0 *1 $1 a");
    says(&mut c, "HSCAN h 0 COUNT 5 novalues MATCH a*", "*2 $1 0 *1 $1 a");
    says(&mut c, "HSCAN h 0 MATCH NOVALUES", "*2 $1 0 *0");
    says(&mut c, "SADD s a", ":1");
    assert_eq!(c.say("SSCAN s 0 NOVALUES"), "-ERR syntax error|");
    assert_eq!(c.say("SCAN 0 NOVALUES"), "-ERR syntax error|");
}

#[test]
fn set_if_equal() {
    let clock = Clock::new();
    let mut c = client(&clock);
    says(&mut c, "SET k v IFEQ v", "$-1");
    says(&mut c, "EXISTS k", ":0");
    says(&mut c, "SET k 1", "+OK");
    says(&mut c, "SET k w IFEQ 2", "$-1");
    says(&mut c, "SET k w IFEQ 01", "$-1");
    says(&mut c, "SET k w IFEQ 1 EX 10", "+OK");
    says(&mut c, "TTL k", ":10");
    says(&mut c, "SET k x IFEQ z GET", "$1 w");
    says(&mut c, "SET k x GET IFEQ w KEEPTTL", "$1 w");
    says(&mut c, "TTL k", ":10");
    says(&mut c, "GET k", "$1 x");
    says(&mut c, "LPUSH l a", ":1");
    assert!(c.say("SET l x IFEQ a").starts_with("-WRONGTYPE"));
    for bad in ["SET k v IFEQ", "SET k v NX IFEQ x", "SET k v IFEQ x XX", "GETEX k IFEQ x"] {
        assert_eq!(c.say(bad), "-ERR syntax error|", "{bad}");
    }
}

#[test]
fn clients_of_an_age_are_killed() {
    let clock = Clock::new();
    let engine = engine(&clock);
    let mut old = Client::new(&engine, &clock, 0);
    clock.pass(5000);
    let mut young = Client::new(&engine, &clock, 1);
    assert_eq!(young.say("CLIENT KILL MAXAGE 6"), ":0|");
    assert_eq!(young.say("CLIENT KILL MAXAGE 5 SKIPME NO TYPE pubsub"), ":0|");
    assert_eq!(young.say("CLIENT KILL MAXAGE 5"), ":1|");
    assert_eq!(old.hear().1, Next::Close);
    assert_eq!(young.say("CLIENT KILL MAXAGE x"), "-ERR maxage is not an integer or out of range|");
    assert_eq!(young.say("CLIENT KILL MAXAGE 0"), "-ERR maxage should be greater than 0|");
}

#[test]
fn what_a_script_answers_as_an_error_is_counted_as_one() {
    let clock = Clock::new();
    let mut c = client(&clock);
    assert_eq!(c.words(&["EVAL", "return redis.error_reply('MINE no')", "0"]), "-MINE no|");
    c.words(&["EVAL", "redis.pcall('nonsense') return 1", "0"]);
    let info = c.say("INFO errorstats");
    assert!(info.contains("errorstat_MINE:count=1|") && info.contains("errorstat_ERR:count=1|"), "{info}");
    assert!(c.say("INFO commandstats").contains("cmdstat_eval:calls=2,"), "{info}");
}
