//! Who may do what, over RESP.

use std::sync::Arc;

use crate::engine::{Engine, Next};
use crate::testing::{Client, Clock, access, guarded};

const NO_KEY: &str = "-NOPERM this user has no permissions to access one of the keys used as arguments|";

fn login(engine: &Arc<Engine>, clock: &Clock, words: &str) -> Client {
    let mut client = Client::new(engine, clock, 0);
    assert_eq!(client.say(&format!("AUTH {words}")), "+OK|");
    client
}

fn root(engine: &Arc<Engine>, clock: &Clock) -> Client {
    login(engine, clock, "root-token")
}

#[test]
fn nobody_does_anything_before_saying_who_they_are() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    for line in ["GET a:1", "PING", "MULTI", "COMMAND COUNT", "SUBSCRIBE a:c", "INFO", "EXEC"] {
        let reply = client.say(line);
        assert!(reply.contains("NOAUTH Authentication required."), "{line}: {reply}");
    }
    assert!(client.say("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    for line in ["AUTH nonsense", "AUTH app nonsense", "AUTH nobody x", "HELLO 3 AUTH app nonsense"] {
        assert_eq!(client.say(line), "-WRONGPASS invalid username-password pair or user is disabled.|", "{line}");
    }
    assert_eq!(client.say("AUTH a b c"), "-ERR syntax error|");
    assert!(client.say("HELLO 3 AUTH app app-password SETNAME me").starts_with("%7|"));
    assert_eq!(client.say("CLIENT GETNAME"), "$2|me|");
    assert_eq!(client.say("RESET"), "+RESET|");
    assert!(client.say("PING").starts_with("-NOAUTH"));
    let (reply, next) = client.bytes(b"*11\r\n");
    assert_eq!((reply.as_str(), next), ("-ERR Protocol error: unauthenticated multibulk length|", Next::Close));
}

#[test]
fn a_user_is_bound_by_its_access_string() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut client = login(&engine, &clock, "reader reader-password");
    assert_eq!(client.say("GET a:1"), "$-1|");
    assert_eq!(client.say("GET b:1"), NO_KEY);
    assert_eq!(client.say("MGET a:1 b:1"), NO_KEY);
    assert_eq!(client.say("SET a:1 x"), "-NOPERM this user has no permissions to run the 'set' command|");
    assert_eq!(client.say("CLIENT ID"), "-NOPERM this user has no permissions to run the 'client|id' command|");
    let mut client = login(&engine, &clock, "app app-password");
    assert_eq!(client.say("SET a:1 x"), "+OK|");
    assert_eq!(client.say("INCR a:n"), ":1|");
    assert_eq!(client.say("RENAME a:1 b:1"), NO_KEY);
    assert_eq!(client.say("PUBLISH a:c x"), ":0|");
    let channel = "-NOPERM this user has no permissions to access one of the channels used as arguments|";
    assert_eq!(client.say("PUBLISH b x"), channel);
    assert_eq!(client.say("SUBSCRIBE a:c b"), channel);
}

#[test]
fn a_denied_command_spoils_its_transaction_and_nothing_runs() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut client = login(&engine, &clock, "app app-password");
    client.say("MULTI");
    assert_eq!(client.say("SET a:1 x"), "+QUEUED|");
    assert_eq!(client.say("SET b:1 x"), NO_KEY);
    assert_eq!(client.say("EXEC"), "-EXECABORT Transaction discarded because of previous errors.|");
    assert_eq!(client.say("EXISTS a:1"), ":0|");
}

#[test]
fn exec_asks_again_by_the_newest_rules() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut client = login(&engine, &clock, "tenant-token");
    client.say("MULTI");
    assert_eq!(client.say("SET a:1 x PX 1000"), "+QUEUED|");
    // A key that has outgrown the policy in the meantime: judged at EXEC, not only when queued.
    assert_eq!(client.say("INCR a:n"), NO_KEY, "a key without a TTL would stay without one");
    client.say("DISCARD");
    let mut root = root(&engine, &clock);
    root.say("SET a:n 1 PX 1000");
    client.say("MULTI");
    assert_eq!(client.say("INCR a:n"), "+QUEUED|");
    assert_eq!(client.say("GET a:n"), "+QUEUED|");
    root.say("PERSIST a:n");
    let replies = client.say("EXEC");
    assert!(replies.starts_with("*2|-NOPERM ACLs rules changed between the moment"), "{replies}");
    assert!(replies.ends_with("$1|1|"), "{replies}");
}

#[test]
fn the_ttl_of_a_write_is_judged_with_the_key_it_meets() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut client = login(&engine, &clock, "tenant-token");
    assert_eq!(client.say("SET a:1 x"), NO_KEY);
    assert_eq!(client.say("SET a:1 x EX 61"), NO_KEY);
    assert_eq!(client.say("SET a:1 5 EX 60"), "+OK|");
    assert_eq!(client.say("INCR a:1"), ":6|");
    assert_eq!(client.say("APPEND a:1 0"), ":2|");
    assert_eq!(client.say("SET a:1 7 KEEPTTL"), "+OK|");
    assert_eq!(client.say("PERSIST a:1"), NO_KEY);
    assert_eq!(client.say("EXPIRE a:1 61"), NO_KEY);
    assert_eq!(client.say("EXPIRE a:1 59"), ":1|");
    assert_eq!(client.say("RENAME a:1 a:2"), "+OK|");
    root.say("SET a:long 1 EX 100");
    assert_eq!(client.say("INCR a:long"), NO_KEY);
    assert_eq!(client.say("RENAME a:long a:2"), NO_KEY);
    assert_eq!(client.say("GET a:long"), "$1|1|");
    assert_eq!(client.say("SET b:1 x EX 5"), NO_KEY);
    assert_eq!(client.say("FLUSHALL"), "-NOPERM this user has no permissions to run the 'flushall' command|");
}

#[test]
fn a_listing_shows_what_the_caller_may_read() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    root.say("MSET a:1 x b:1 x a:2 x c 1");
    let mut client = login(&engine, &clock, "tenant-token");
    let reply = client.say("SCAN 0 COUNT 1000");
    assert!(reply.contains("a:1") && reply.contains("a:2") && !reply.contains("b:1"), "{reply}");
}

#[test]
fn who_waits_is_asked_again_when_served() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut client = login(&engine, &clock, "app app-password");
    assert_eq!(client.say("BLPOP a:l a:m 0"), "");
    root.say("RPUSH a:m 1");
    assert_eq!(client.hear().0, "*2|$3|a:m|$1|1|");
    assert_eq!(client.say("BLPOP a:l a:m 0"), "");
    // Everybody is forgotten but the anonymous principal: the waiter loses, the element stays.
    engine.access().publish(access(true));
    let mut other = Client::new(&engine, &clock, 1);
    assert_eq!(other.say("RPUSH a:m 2"), ":1|");
    assert_eq!(other.say("LLEN a:m"), ":1|");
    assert_eq!(client.hear().1, Next::Close);
}

#[test]
fn a_changed_rule_bites_on_open_connections() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut listener = login(&engine, &clock, "app app-password");
    listener.say("SUBSCRIBE a:c");
    root.say("PUBLISH a:c one");
    assert_eq!(listener.hear().0, "*3|$7|message|$3|a:c|$3|one|");
    root.say("PUBLISH a:c two");
    engine.access().publish(access(true));
    assert_eq!(listener.hear(), (String::new(), Next::Close));
    assert_eq!(root.bytes(b"PING\r\n"), (String::new(), Next::Close));
}

#[test]
fn strangers_to_the_network_are_not_let_in() {
    use larder_iam_policies::access::Source;
    let clock = Clock::new();
    let engine = guarded(&clock);
    let address: std::net::SocketAddr = "10.0.0.1:4000".parse().unwrap();
    let peer = crate::Peer {
        source: Source::new([10, 0, 0, 1].into(), false, 6379),
        address: address.into(),
        local: address.into(),
    };
    assert!(engine.open(peer, 0, clock.now()).is_err());
}

#[test]
fn a_pattern_hears_what_its_listener_may() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut publisher = root(&engine, &clock);
    let mut tenant = login(&engine, &clock, "tenant-token");
    assert!(tenant.say("PSUBSCRIBE a:*").starts_with("-NOPERM"), "patterns need Subscribe on the cache");
    let mut app = login(&engine, &clock, "app app-password");
    assert!(app.say("PSUBSCRIBE a:c*").starts_with("-NOPERM"), "another pattern than the access string's");
    assert_eq!(app.say("PSUBSCRIBE a:*"), "*3|$10|psubscribe|$3|a:*|:1|");
    assert_eq!(publisher.say("PUBLISH a:c one"), ":1|");
    assert_eq!(app.hear().0, "*4|$8|pmessage|$3|a:*|$3|a:c|$3|one|");
}

#[test]
fn only_who_may_administrate_changes_users() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut tenant = login(&engine, &clock, "tenant-token");
    assert_eq!(tenant.say("ACL WHOAMI"), "$6|tenant|");
    for line in ["ACL SETUSER x on", "ACL DELUSER app", "ACL LIST", "ACL USERS", "ACL LOG", "ACL GETUSER app"] {
        assert!(tenant.say(line).starts_with("-NOPERM"), "{line}");
    }
    let mut root = root(&engine, &clock);
    let log = root.say("ACL LOG 1");
    assert!(log.contains("command|") && log.contains("acl|getuser|") && log.contains("tenant|"), "{log}");
    tenant.say("GET b:1");
    assert!(root.say("ACL LOG 1").contains("$3|key|$7|context|$8|toplevel|$6|object|$3|b:1|"));
    assert_eq!(root.say("ACL USERS"), "*4|$3|app|$7|default|$6|reader|$7|watcher|");
}

#[test]
fn a_changed_user_is_judged_anew_and_a_deleted_one_is_cut() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut app = login(&engine, &clock, "app app-password");
    let mut reader = login(&engine, &clock, "reader reader-password");
    assert_eq!(app.say("SET a:1 x"), "+OK|");
    assert_eq!(root.say("ACL SETUSER app -set (+set ~b:*)"), "+OK|");
    assert_eq!(app.say("SET a:1 x"), NO_KEY);
    assert_eq!(app.say("SET b:1 x"), "+OK|");
    assert_eq!(root.say("ACL DELUSER reader"), ":1|");
    assert_eq!(reader.hear().1, Next::Close);
    // Its own deletion is the last it hears.
    assert_eq!(root.say("ACL SETUSER app +acl|deluser"), "+OK|");
    assert_eq!(app.bytes(b"ACL DELUSER app\r\n"), (":1|".to_owned(), Next::Close));
}

#[test]
fn a_listener_that_may_listen_no_more_is_cut_at_once() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut app = login(&engine, &clock, "app app-password");
    app.say("SUBSCRIBE a:c");
    assert_eq!(root.say("ACL SETUSER app -get"), "+OK|");
    assert_eq!(app.hear().1, Next::Read { missing: 0 });
    assert_eq!(root.say("ACL SETUSER app resetchannels &b:*"), "+OK|");
    assert_eq!(app.hear().1, Next::Close);
}

#[test]
fn callers_without_a_login_are_the_user_default() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    assert_eq!(client.say("ACL SETUSER limited on >p ~a +get"), "+OK|");
    assert_eq!(client.say("ACL SETUSER x on >p +@all ~* &*"), "+OK|");
    assert_eq!(client.say("ACL WHOAMI"), "$7|default|");
    let mut limited = Client::new(&engine, &clock, 0);
    assert_eq!(limited.say("AUTH limited p"), "+OK|");
    assert_eq!(limited.say("GET a"), "$-1|");
    assert!(limited.say("GET b").starts_with("-NOPERM"));
    assert_eq!(client.say("ACL SETUSER default -set"), "+OK|");
    assert!(client.say("SET a 1").starts_with("-NOPERM"));
    assert_eq!(client.say("GET a"), "$-1|");
    let mut other = Client::new(&engine, &clock, 1);
    assert_eq!(client.bytes(b"ACL SETUSER default off\r\n"), ("+OK|".to_owned(), Next::Close));
    assert_eq!(other.hear().1, Next::Close);
    let mut late = Client::new(&engine, &clock, 0);
    assert!(late.say("PING").starts_with("-NOAUTH"));
    assert_eq!(late.say("AUTH x p"), "+OK|");
    assert_eq!(late.say("ACL SETUSER default on"), "+OK|");
    assert_eq!(Client::new(&engine, &clock, 0).say("PING"), "+PONG|");
}

#[test]
fn a_tracker_is_told_only_of_keys_it_may_read() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut app = login(&engine, &clock, "app app-password");
    app.say("HELLO 3");
    assert_eq!(app.say("CLIENT TRACKING ON BCAST"), "+OK|");
    root.say("MSET a:1 x b:1 x");
    assert_eq!(app.hear().0, ">2|$10|invalidate|*1|$3|a:1|");
    // Nobody is made to hear of another's keys.
    root.say("CLIENT TRACKING OFF");
    let id = app.session.id();
    assert!(root.say(&format!("CLIENT TRACKING ON REDIRECT {id}")).starts_with("-ERR The client ID you want redirect"));
    assert_eq!(app.say("CLIENT TRACKING OFF"), "+OK|");
    root.say("SET a:1 y");
    assert_eq!(app.hear().0, "");
}

#[test]
fn the_table_of_tracked_keys_is_bounded_and_its_clients_are_told() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("HELLO 3");
    client.say("CONFIG SET tracking-table-max-keys 3");
    client.say("CLIENT TRACKING ON");
    let invalidations = |text: String| text.matches("invalidate").count();
    let told: usize = (0..200).map(|key| invalidations(client.say(&format!("GET key:{key}")))).sum();
    let told = told + invalidations(client.hear().0);
    assert!(told > 0 && told + engine.tracking.keys() == 200, "{told} and {}", engine.tracking.keys());
    // Those that came one to a partition, and with a lower bound, are forgotten by whoever sweeps.
    engine.sweep(0, 1, clock.now(), 1000);
    assert_eq!((engine.tracking.keys(), told + invalidations(client.hear().0)), (3, 197));
    client.say("CONFIG SET tracking-table-max-keys 1");
    engine.sweep(0, 1, clock.now(), 1000);
    assert_eq!((engine.tracking.keys(), invalidations(client.hear().0)), (1, 2));
    drop(client);
    assert_eq!(engine.tracking.clients(), 0);
}

#[test]
fn what_was_told_before_a_request_is_heard_before_its_reply() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let (mut listener, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 1));
    listener.say("HELLO 3");
    listener.say("CLIENT TRACKING ON");
    listener.say("GET k");
    other.say("SET k v");
    assert_eq!(listener.say("PING"), ">2|$10|invalidate|*1|$1|k|+PONG|");
    listener.say("SUBSCRIBE c");
    other.say("PUBLISH c m");
    assert_eq!(listener.say("PING"), ">3|$7|message|$1|c|$1|m|+PONG|");
    assert_eq!(listener.hear().0, "");
    // No reply is wanted, and none of these is one.
    listener.say("CLIENT REPLY OFF");
    other.say("PUBLISH c m");
    assert_eq!(listener.say("PING"), ">3|$7|message|$1|c|$1|m|");
}

#[test]
fn what_was_tracked_is_forgotten_with_everything_and_counted_as_gone() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let (mut one, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 0));
    for client in [&mut one, &mut other] {
        client.say("HELLO 3");
        client.say("CLIENT TRACKING ON");
        (0..500).for_each(|key| drop(client.say(&format!("GET key:{key}"))));
    }
    one.say("SET key:1 v");
    assert_eq!((engine.tracking.keys(), engine.tracking.items()), (499, 998));
    one.say("FLUSHALL");
    assert_eq!((engine.tracking.keys(), engine.tracking.items(), engine.tracking.heap_bytes()), (0, 0, 0));
    one.say("GET key:1");
    assert_eq!((engine.tracking.keys(), engine.tracking.items()), (1, 1));
    other.say("SET key:1 v");
    assert_eq!((engine.tracking.keys(), engine.tracking.heap_bytes()), (0, 0));
}

#[test]
fn a_listener_of_a_shard_channel_is_cut_as_one_of_a_channel() {
    let clock = Clock::new();
    let engine = guarded(&clock);
    let mut root = root(&engine, &clock);
    let mut app = login(&engine, &clock, "app app-password");
    app.say("SSUBSCRIBE a:c");
    assert_eq!(root.say("ACL SETUSER app resetchannels &b:*"), "+OK|");
    assert_eq!(app.hear().1, Next::Close);
}

#[test]
fn a_tracker_of_prefixes_leaves_without_waiting_for_a_partition() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let mut client = Client::new(&engine, &clock, 0);
    client.say("CLIENT TRACKING ON BCAST");
    let partition = engine.db.partition_of(engine.db.hash(b"k"));
    let held = engine.db.lock_gated(&[partition as u16]);
    drop(client);
    drop(held);
    let mut other = Client::new(&engine, &clock, 0);
    other.say("SET k v");
    let watched = |database| engine.db.lock_patiently(partition).shard(partition, database).watched.is_empty();
    assert!(watched(0) && engine.tracking.clients() == 0);
}

#[test]
fn a_tracker_is_told_of_databases_that_are_exchanged() {
    let clock = Clock::new();
    let engine = crate::testing::engine(&clock);
    let (mut client, mut other) = (Client::new(&engine, &clock, 0), Client::new(&engine, &clock, 0));
    client.say("HELLO 3");
    client.say("CLIENT TRACKING ON");
    client.say("GET k");
    assert_eq!(other.say("SWAPDB 0 1"), "+OK|");
    assert_eq!(client.hear().0, ">2|$10|invalidate|_|");
    assert_eq!(engine.tracking.keys(), 0);
}
