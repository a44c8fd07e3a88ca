//! Every limit of a connection, on each of its sides.

use larder_node::Limits;
use larder_node::server::ConnectionLimits;
use larder_tests::node::{Client, Node, Setup};

use super::until;

fn with_limits(change: impl FnOnce(&mut Limits)) -> Node {
    let mut setup = Setup::default();
    change(&mut setup.config.limits);
    Node::start(setup)
}

fn with_connection_limits(limits: ConnectionLimits) -> Node {
    Node::start(Setup { limits, ..Setup::default() })
}

#[test]
fn as_many_connections_as_are_allowed_and_not_one_more() {
    let node = with_connection_limits(ConnectionLimits { connections_max: 3, ..ConnectionLimits::default() });
    let mut inside: Vec<Client> = (0..3).map(|_| node.connect()).collect();
    inside.iter_mut().for_each(|client| assert_eq!(client.say("PING"), "+PONG|"));
    let mut fourth = node.connect();
    assert_eq!(fourth.reply(), "-ERR max number of clients reached|");
    assert!(fourth.next().is_none());
    assert_eq!((node.stats().connections, node.stats().turned_away), (3, 1));
    assert!(inside[0].say("INFO stats").contains("|rejected_connections:1|"));
    assert!(inside[0].say("INFO clients").contains("|maxclients:3|"));
    drop(inside.pop());
    // It has to be seen to have left first.
    let started = std::time::Instant::now();
    let mut next = loop {
        let mut next = node.connect();
        next.send("PING\r\n");
        if next.reply() == "+PONG|" {
            break next;
        }
        assert!(started.elapsed().as_secs() < 30, "nobody is let in again");
    };
    assert_eq!(next.say("PING"), "+PONG|");
}

#[test]
fn a_silent_client_is_closed_and_one_that_listens_or_waits_is_not() {
    let node = with_connection_limits(ConnectionLimits { idle_timeout_ms: 1000, ..ConnectionLimits::default() });
    let (mut silent, mut half, mut listening, mut waiting) =
        (node.connect(), node.connect(), node.connect(), node.connect());
    listening.say("SUBSCRIBE c");
    waiting.send("BLPOP l 0\r\n");
    silent.say("PING");
    half.send("GET half");
    // Both are closed, and nothing is said to them.
    assert!(silent.next().is_none() && half.next().is_none());
    let mut honest = node.connect();
    assert_eq!(honest.say("PUBLISH c still"), ":1|");
    assert!(listening.reply().ends_with("|still|"));
    honest.say("RPUSH l served");
    assert_eq!(waiting.reply(), "*2|$1|l|$6|served|");
    // Once it waits no more it may be closed like any other.
    assert!(waiting.next().is_none());
}

#[test]
fn nobody_is_closed_for_silence_by_default() {
    assert_eq!(ConnectionLimits::default().idle_timeout_ms, 0);
    let limits = |idle_timeout_ms| ConnectionLimits { idle_timeout_ms, ..ConnectionLimits::default() };
    let (patient, impatient) = (with_connection_limits(limits(0)), with_connection_limits(limits(50)));
    let (mut spared, mut closed) = (patient.connect(), impatient.connect());
    assert_eq!(spared.say("PING"), "+PONG|");
    assert!(closed.next().is_none());
    assert_eq!(spared.say("PING"), "+PONG|");
}

#[test]
fn a_transaction_queues_so_many_commands() {
    let node = with_limits(|limits| limits.queued_commands_max = 3);
    let mut client = node.connect();
    client.say("MULTI");
    (0..3).for_each(|_| assert_eq!(client.say("INCR n"), "+QUEUED|"));
    assert_eq!(client.say("EXEC"), "*3|:1|:2|:3|");
    client.say("MULTI");
    (0..3).for_each(|_| assert_eq!(client.say("INCR n"), "+QUEUED|"));
    assert!(client.say("INCR n").starts_with("-ERR transaction is over its limits of 3 commands"));
    assert_eq!(client.say("EXEC"), "-EXECABORT Transaction discarded because of previous errors.|");
    assert_eq!(client.say("GET n"), "$1|3|");
}

#[test]
fn a_transaction_queues_so_many_bytes() {
    // `SET k` and a value: 4 bytes and the value, and 8 for each of 3 arguments.
    let node = with_limits(|limits| limits.queued_bytes_max = 2 * (4 + 100 + 24));
    let mut client = node.connect();
    let (fits, too_long) = ("v".repeat(100), "v".repeat(101));
    client.say("MULTI");
    (0..2).for_each(|_| assert_eq!(client.say(&format!("SET k {fits}")), "+QUEUED|"));
    assert_eq!(client.say("EXEC"), "*2|+OK|+OK|");
    client.say("MULTI");
    assert_eq!(client.say(&format!("SET k {fits}")), "+QUEUED|");
    assert!(client.say(&format!("SET k {too_long}")).starts_with("-ERR transaction is over its limits"));
    assert!(client.say("EXEC").starts_with("-EXECABORT"));
}

#[test]
fn a_connection_watches_so_many_keys() {
    let node = with_limits(|limits| limits.watched_keys_max = 3);
    let mut client = node.connect();
    assert_eq!(client.say("WATCH a b c"), "+OK|");
    assert_eq!(client.say("WATCH d"), "-ERR a connection may watch 3 keys at most|");
    assert_eq!(client.say("UNWATCH"), "+OK|");
    assert_eq!(client.say("WATCH a b c d"), "-ERR a connection may watch 3 keys at most|");
    assert_eq!(client.say("WATCH a b"), "+OK|");
    assert_eq!(client.say("WATCH c"), "+OK|");
}

#[test]
fn a_connection_listens_to_so_many_channels() {
    let node = with_limits(|limits| limits.channels_max = 3);
    let mut client = node.connect();
    client.say("SUBSCRIBE a b c");
    assert_eq!(
        (client.reply(), client.reply()),
        ("*3|$9|subscribe|$1|b|:2|".into(), "*3|$9|subscribe|$1|c|:3|".into())
    );
    assert_eq!(client.say("SUBSCRIBE d"), "-ERR a connection may listen to 3 channels at most|");
    assert_eq!(client.say("UNSUBSCRIBE a"), "*3|$11|unsubscribe|$1|a|:2|");
    assert_eq!(client.say("SUBSCRIBE d"), "*3|$9|subscribe|$1|d|:3|");
    assert_eq!(client.say("SUBSCRIBE d"), "*3|$9|subscribe|$1|d|:3|");
}

#[test]
fn the_channels_of_a_connection_have_names_of_so_many_bytes() {
    let node = with_limits(|limits| limits.channel_bytes_max = 1024);
    let mut client = node.connect();
    let name = "n".repeat(1024);
    assert_eq!(client.say(&format!("SUBSCRIBE {name}")), format!("*3|$9|subscribe|$1024|{name}|:1|"));
    let refused = "-ERR a connection may listen to channels whose names have 1024 bytes at most|";
    assert_eq!(client.say("SUBSCRIBE c"), refused);
    assert_eq!(client.say("PSUBSCRIBE c"), refused);
    assert_eq!(client.say("UNSUBSCRIBE"), format!("*3|$11|unsubscribe|$1024|{name}|:0|"));
    assert_eq!(client.say("SUBSCRIBE c"), "*3|$9|subscribe|$1|c|:1|");
}

#[test]
fn names_have_so_many_bytes() {
    let node = with_limits(|limits| limits.name_bytes_max = 8);
    let mut client = node.connect();
    for line in ["CLIENT SETNAME", "CLIENT SETINFO LIB-NAME", "CLIENT SETINFO LIB-VER", "HELLO 2 SETNAME"] {
        let (fits, too_long) = (client.say(&format!("{line} 12345678")), client.say(&format!("{line} 123456789")));
        assert!(!fits.starts_with('-'), "{line}: {fits}");
        assert!(too_long.contains(" may have 8 bytes at most|"), "{line}: {too_long}");
    }
    assert_eq!(client.say("CLIENT GETNAME"), "$8|12345678|");
}

#[test]
fn before_the_login_requests_are_small() {
    let node = Node::start(Setup { anonymous: false, users: vec![("app", "pw", "~* &* +@all")], ..Setup::default() });
    let frame = |count: usize, length: usize| {
        let mut frame = format!("*{count}\r\n");
        (0..count).for_each(|_| frame.push_str(&format!("${length}\r\n{}\r\n", "x".repeat(length))));
        frame
    };
    for (count, length, fits) in [(10, 16_384, true), (11, 1, false), (1, 16_385, false)] {
        let mut client = node.connect();
        client.send(frame(count, length));
        let reply = client.reply();
        assert_eq!(reply.contains("Protocol error: unauthenticated"), !fits, "{count} of {length}: {reply}");
        assert_eq!(client.say_if_open("AUTH app pw").is_some(), fits, "{count} of {length}");
    }
    let mut client = node.connect();
    assert_eq!(client.say("AUTH app pw"), "+OK|");
    client.send(frame(11, 20_000));
    assert!(client.reply().starts_with("-ERR unknown command"));
}

#[test]
fn strings_grow_to_the_longest_bulk_and_no_further() {
    let node = with_limits(|limits| limits.resp.bulk_bytes_max = 1000);
    let mut client = node.connect();
    let half = "x".repeat(500);
    assert_eq!(client.say(&format!("APPEND k {half}")), ":500|");
    assert_eq!(client.say(&format!("APPEND k {half}")), ":1000|");
    assert_eq!(client.say("APPEND k y"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)|");
    assert_eq!(client.say("APPEND k \"\""), ":1000|");
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n{}\r\n", "z".repeat(1000)));
    assert_eq!(client.reply(), "+OK|");
    client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1001\r\n");
    assert_eq!(client.reply(), "-ERR Protocol error: invalid bulk length|");
    until(&mut node.connect(), "STRLEN k", ":1000|");
}

#[test]
fn maxclients_and_timeout_change_while_the_node_runs() {
    let node = Node::start(Setup::default());
    let (mut admin, mut second) = (node.connect(), node.connect());
    assert_eq!((admin.say("CONFIG SET maxclients 2"), second.say("PING")), ("+OK|".into(), "+PONG|".into()));
    assert_eq!(node.connect().reply(), "-ERR max number of clients reached|");
    assert_eq!(admin.say("CONFIG SET maxclients 3"), "+OK|");
    let mut third = node.connect();
    assert_eq!(third.say("PING"), "+PONG|");
    assert_eq!(admin.say("CONFIG SET timeout 1"), "+OK|");
    // Both were silent before the setting came, and are closed for it all the same.
    assert!(second.next().is_none() && third.next().is_none());
}

/// The keep-alive timer of the node's end of a connection, in hundredths of a second; none when it has none.
#[cfg(target_os = "linux")]
fn keepalive_timer(client: &Client) -> Option<u64> {
    let port = |address: std::io::Result<std::net::SocketAddr>| format!(":{:04X}", address.unwrap().port());
    let (local, remote) = (port(client.stream.peer_addr()), port(client.stream.local_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut timers = lines.filter(|fields| fields[1].ends_with(&local) && fields[2].ends_with(&remote));
    let timer =
        timers.next().and_then(|fields| fields[5].split_once(':').map(|(kind, left)| (kind == "02", left.to_owned())));
    let (is_keepalive, left) = timer.unwrap_or_else(|| panic!("no connection to {local} from {remote} in {table}"));
    is_keepalive.then(|| u64::from_str_radix(&left, 16).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn peers_that_are_silent_are_asked_whether_they_are_there() {
    let node = Node::start(Setup::default());
    let mut admin = node.connect();
    for (setting, want) in [("300", 20_000..=30_000), ("1000", 90_000..=100_000)] {
        assert_eq!(admin.say(&format!("CONFIG SET tcp-keepalive {setting}")), "+OK|");
        let mut client = node.connect();
        assert_eq!(client.say("PING"), "+PONG|");
        let timer = keepalive_timer(&client);
        assert!(timer.is_some_and(|left| want.contains(&left)), "{setting}: {timer:?}");
    }
    assert_eq!(admin.say("CONFIG SET tcp-keepalive 0"), "+OK|");
    let mut client = node.connect();
    assert_eq!((client.say("PING"), keepalive_timer(&client)), ("+PONG|".into(), None));
}
