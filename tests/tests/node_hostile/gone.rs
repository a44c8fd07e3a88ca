//! Clients that leave without a word, and a server that does.

use std::time::Duration;

use larder_tests::node::Node;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use socket2::SockRef;

use super::{info, one_worker, until};

/// What a client is in the middle of when it goes.
const AMID: [&str; 9] = [
    "SET k v\r\n",
    "GET half of",
    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nsome",
    "MULTI\r\nSET k 1\r\nRPUSH l a\r\n",
    "WATCH a b c\r\nMULTI\r\n",
    "BLPOP gone1 gone2 0\r\n",
    "BLPOP gone1 0\r\nGET k\r\nPING\r\n",
    "SUBSCRIBE c1 c2\r\n",
    "HELLO 3\r\nSUBSCRIBE c1\r\nWATCH a\r\nBLPOP gone2 0\r\n",
];

#[test]
fn who_goes_leaves_nothing_behind() {
    let node = one_worker();
    let mut honest = node.connect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
    let mut open = Vec::new();
    for _ in 0..3000 {
        let mut client = node.connect();
        client.send(AMID[random.random_range(0..AMID.len())]);
        // Some are closed, some are reset.
        if random.random_bool(0.5) {
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        open.push(client);
        if open.len() > 20 {
            drop(open.swap_remove(random.random_range(0..open.len())));
        }
    }
    drop(open);
    // Connections are taken in order: once this one is, all were.
    assert_eq!(node.connect().say("PING"), "+PONG|");
    let started = std::time::Instant::now();
    while node.stats().connections > 1 {
        assert!(started.elapsed().as_secs() < 30, "{:?}", node.stats());
    }
    for (field, want) in [("connected_clients", "1"), ("blocked_clients", "0"), ("pubsub_channels", "0")] {
        assert_eq!(info(&mut honest, field), want, "{field}");
    }
    // Nobody waits there any more, so what is pushed stays.
    assert_eq!(honest.say("RPUSH gone1 a"), ":1|");
    assert_eq!(honest.say("RPUSH gone2 a"), ":1|");
    assert_eq!((honest.say("LLEN gone1"), honest.say("LLEN gone2")), (":1|".into(), ":1|".into()));
    assert_eq!(honest.say("PUBLISH c1 x"), ":0|");
    assert_eq!(node.panics(), 0);
}

#[test]
fn a_drain_answers_what_was_sent() {
    let node = one_worker();
    let (mut busy, mut idle, mut half, mut waiting, mut listening) =
        (node.connect(), node.connect(), node.connect(), node.connect(), node.connect());
    assert_eq!(idle.say("SET k v"), "+OK|");
    half.say("PING");
    half.send("GET half");
    waiting.say("PING");
    waiting.send("BLPOP nothing 0\r\n");
    listening.say("SUBSCRIBE c");
    until(&mut idle, "EXISTS nothing", ":0|");
    while info(&mut idle, "blocked_clients") != "1" {}
    busy.send("INCR n\r\n".repeat(20_000));
    // Its first reply: the rest has been sent, and much of it read.
    assert_eq!(busy.reply(), ":1|");
    let asked = std::thread::scope(|scope| {
        let draining = scope.spawn(|| node.drain(Duration::from_secs(20)));
        let mut last = 1;
        while let Some(reply) = busy.next() {
            last += 1;
            assert_eq!(reply, format!(":{last}|"));
        }
        for client in [&mut idle, &mut half, &mut waiting, &mut listening] {
            assert!(client.next().is_none());
        }
        assert_eq!(draining.join().unwrap(), 0, "nobody had to be cut");
        last
    });
    // Whatever was run was answered, and whatever was answered was run.
    let mut session = None;
    assert_eq!(counter(&node, &mut session), asked);
    assert!(std::net::TcpStream::connect(node.address()).is_err(), "a drained listener is closed");
}

/// The value of `n`, asked of the engine, as no socket is left.
fn counter(node: &Node, out: &mut Option<Vec<u8>>) -> u64 {
    use larder_node::resp::Out;
    let peer = larder_node::Peer {
        source: larder_iam_policies::access::Source::new([127, 0, 0, 1].into(), false, node.address().port()),
        address: node.address().into(),
        local: node.address().into(),
    };
    let now = node.workers().clock().now();
    let mut session = node.engine().open(peer, 0, now).unwrap();
    let mut replies = Out::new(2);
    node.engine().exec_batch(&mut session, b"GET n\r\n", now, &mut replies);
    let bytes = out.insert(replies.take());
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split("\r\n").nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_drain_cuts_who_does_not_read() {
    let node = one_worker();
    let (mut deaf, mut honest) = (node.connect(), node.connect());
    honest.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n{}\r\n", "v".repeat(1_000_000)));
    honest.reply();
    deaf.send("GET k\r\n".repeat(1000));
    deaf.reply();
    drop(honest);
    assert_eq!(node.drain(Duration::from_millis(100)), 1);
    // What it had been sent before is whole replies up to some point, and then the end.
    let rest = deaf.rest();
    assert!(rest.len() < 999 * 1_000_011);
}
