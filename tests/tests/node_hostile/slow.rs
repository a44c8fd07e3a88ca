//! Clients that send or read slowly, or not at all.

use std::io::Write;

use larder_node::server::ConnectionLimits;
use larder_node::{Class, OutputLimit};
use larder_tests::node::{Client, Node, Setup};

use super::{info, one_worker, until, until_info};

#[test]
fn a_request_may_come_byte_by_byte() {
    let node = one_worker();
    let (mut slow, mut honest) = (node.connect(), node.connect());
    let request =
        b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$12\r\nbyte by byte\r\nGET \"slow\"\r\n*2\r\n$6\r\nSTRLEN\r\n$4\r\nslow\r\n";
    for byte in request {
        slow.send([*byte]);
        assert_eq!(honest.say("PING"), "+PONG|");
    }
    assert_eq!((slow.reply(), slow.reply(), slow.reply()), ("+OK|".into(), "$12|byte by byte|".into(), ":12|".into()));
}

#[test]
fn a_large_value_in_small_pieces_is_read_once() {
    let node = one_worker();
    let mut slow = node.connect();
    let value = vec![b'v'; 32 << 20];
    slow.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()));
    // Were each piece to begin the request anew, this would not end.
    value.chunks(1 << 10).for_each(|piece| slow.send(piece));
    slow.send("\r\n");
    assert_eq!(slow.reply(), "+OK|");
    assert_eq!(slow.say("STRLEN k"), format!(":{}|", value.len()));
    assert_eq!(slow.say("GET k").len(), value.len() + "$33554432||".len());
}

#[test]
fn a_hundred_thousand_requests_in_one_breath() {
    let node = one_worker();
    let mut honest = node.connect();
    let mut client = node.connect();
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for n in 0..100_000 {
            match n % 4 {
                0 => bytes.extend_from_slice(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"),
                1 => bytes.extend_from_slice(b"GET n\r\n"),
                2 => bytes.extend_from_slice(b"*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\nx\r\n"),
                _ => bytes.extend_from_slice(b"NOSUCH\r\n"),
            }
        }
        writer.write_all(&bytes).unwrap();
    });
    for n in 1..=25_000 {
        let counted = n.to_string();
        assert_eq!(client.reply(), format!(":{counted}|"));
        assert_eq!(client.reply(), format!("${}|{counted}|", counted.len()));
        assert_eq!(client.reply(), format!(":{counted}|"));
        assert!(client.reply().starts_with("-ERR unknown command"));
    }
    sender.join().unwrap();
    assert_eq!(honest.say("GET n"), "$5|25000|");
}

/// A node that lets so many bytes of replies wait, with a value of 256 KiB at `k`.
fn with_value(output_bytes_max: usize) -> (Node, Client) {
    let limits = ConnectionLimits { output_bytes_max, ..ConnectionLimits::default() };
    let node = Node::start(Setup { workers: 1, limits, ..Setup::default() });
    let mut honest = node.connect();
    let value = "v".repeat(256 << 10);
    honest.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len()));
    assert_eq!(honest.reply(), "+OK|");
    (node, honest)
}

#[test]
fn who_stops_sending_still_gets_every_reply() {
    // Few replies wait, or many.
    for output_bytes_max in [64 << 10, 32 << 20] {
        let (node, mut honest) = with_value(output_bytes_max);
        let mut half = node.connect();
        half.send("GET k\r\n".repeat(512) + "GET half of a requ");
        half.shut();
        until(&mut honest, "PING", "+PONG|");
        for n in 0..512 {
            assert_eq!(half.reply().len(), (256 << 10) + "$262144||".len(), "reply {n} of {output_bytes_max}");
        }
        assert!(half.next().is_none());
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off() {
    let mut setup = Setup { workers: 1, ..Setup::default() };
    setup.limits.output_bytes_max = 64 << 10;
    setup.limits.buffers.output[Class::Pubsub as usize] = OutputLimit { hard_bytes: 1 << 20, ..OutputLimit::default() };
    let node = Node::start(setup);
    let (mut deaf, mut good, mut publisher) = (node.connect(), node.connect(), node.connect());
    deaf.say("SUBSCRIBE c");
    assert_eq!(good.say("SUBSCRIBE c"), "*3|$9|subscribe|$1|c|:1|");
    let message = "m".repeat(50_000);
    let mut sent = 0;
    // Until one of the two is gone. The other reads along, so it must not be the one.
    while publisher.say(&format!("PUBLISH c {message}")) == ":2|" {
        assert!(good.reply().ends_with(&format!("{message}|")));
        sent += 1;
        assert!(sent < 10_000, "500 MB are waiting for a client that does not read");
    }
    assert!(good.reply().ends_with(&format!("{message}|")));
    assert_eq!(publisher.say("PUBLISH c last"), ":1|");
    assert!(good.reply().ends_with("|last|"));
    // What had left for it before is whole messages, and then the end.
    let mut heard = 0;
    while let Some(reply) = deaf.next() {
        assert!(reply.ends_with(&format!("{message}|")));
        heard += 1;
    }
    assert!(heard <= sent);
}

#[test]
fn a_burst_that_fits_the_inbox_reaches_a_slow_subscriber() {
    let mut setup = Setup { workers: 1, ..Setup::default() };
    setup.limits.output_bytes_max = 64 << 10;
    setup.limits.buffers.output[Class::Pubsub as usize] = OutputLimit { hard_bytes: 8 << 20, ..OutputLimit::default() };
    let node = Node::start(setup);
    let (mut slow, mut publisher) = (node.connect(), node.connect());
    slow.say("SUBSCRIBE c");
    let message = "m".repeat(10_000);
    publisher.send(format!("PUBLISH c {message}\r\n").repeat(600));
    (0..600).for_each(|_| assert_eq!(publisher.reply(), ":1|"));
    for n in 0..600 {
        assert!(slow.reply().ends_with(&format!("{message}|")), "message {n}");
    }
    until(&mut publisher, "PUBLISH c last", ":1|");
    assert!(slow.reply().ends_with("|last|"));
}

#[test]
fn while_workers_are_held_ping_is_answered_and_the_rest_waits() {
    let node = one_worker();
    node.connect().say("SET k v");
    assert_eq!(node.connect().say("CONFIG SET busy-reply-threshold 10"), "+OK|");
    let (entered, wait) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    node.workers().spawn_on(0, move |_| async move {
        entered.send(()).unwrap();
        held.recv().unwrap_or(());
    });
    wait.recv().unwrap();
    while node.workers().choose().is_some() {
        std::thread::yield_now();
    }
    let mut client = node.connect();
    assert_eq!(client.say("PING"), "+PONG|");
    assert_eq!(client.say("PING hello"), "$5|hello|");
    // It waits until the worker has been held for the threshold.
    assert!(client.say("GET k").starts_with("-BUSY"));
    assert!(client.say("SET k \"quoted\"").starts_with("-BUSY"));
    client.send("GET");
    let mut broken = node.connect();
    broken.send("PING\r\n*1\r\n!\r\n");
    assert_eq!(broken.reply(), "+PONG|");
    assert_eq!(broken.reply(), "-ERR Protocol error: expected '$', got '!'|");
    assert!(broken.next().is_none());
    assert_eq!(node.stats().busy, 2);
    drop(release);
    while node.workers().choose().is_none() {
        std::thread::yield_now();
    }
    // The half request is finished on the worker.
    assert_eq!(client.say(" k"), "$1|v|");
}

#[test]
fn who_does_not_read_its_replies_is_cut_at_the_limit_of_its_class() {
    let (node, mut honest) = with_value(32 << 20);
    honest.send("CONFIG SET client-output-buffer-limit \"normal 1mb 0 0\"\r\n");
    assert_eq!(honest.reply(), "+OK|");
    let mut deaf = node.connect();
    // More than sockets hold, and then more than may wait.
    deaf.send("GET k\r\n".repeat(100));
    until_info(&mut honest, "client_output_buffer_limit_disconnections", "1");
    // Whole replies at most, and then the end.
    let mut heard = 0;
    while deaf.next().is_some() {
        heard += 1;
    }
    assert!(heard < 100, "{heard}");
    assert_eq!(info(&mut honest, "connected_clients"), "1");
    assert_eq!(honest.say("PING"), "+PONG|");
}

#[test]
fn a_request_without_end_is_cut_at_its_limit() {
    let node = one_worker();
    let mut honest = node.connect();
    assert_eq!(honest.say("CONFIG SET client-query-buffer-limit 1mb"), "+OK|");
    let mut endless = node.connect();
    endless.send(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 4 << 20));
    // The server may be gone while the last of it is sent.
    let value = vec![b'v'; 64 << 10];
    while endless.stream.write_all(&value).is_ok() {}
    assert!(endless.next().is_none());
    assert_eq!(info(&mut honest, "client_query_buffer_limit_disconnections"), "1");
}

#[test]
fn clients_that_hold_too_much_together_lose_the_largest() {
    let node = one_worker();
    let (mut honest, mut large, mut kept) = (node.connect(), node.connect(), node.connect());
    let queue = |client: &mut Client, bytes: usize| {
        assert_eq!(client.say("MULTI"), "+OK|");
        client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${bytes}\r\n{}\r\n", "v".repeat(bytes)));
        assert_eq!(client.reply(), "+QUEUED|");
    };
    assert_eq!(kept.say("CLIENT NO-EVICT ON"), "+OK|");
    queue(&mut kept, 200_000);
    assert_eq!(honest.say("CONFIG SET maxmemory-clients 300kb"), "+OK|");
    queue(&mut large, 120_000);
    until_info(&mut honest, "evicted_clients", "1");
    assert!(large.next().is_none());
    assert_eq!(kept.say("EXEC"), "*1|+OK|");
    assert_eq!(honest.say("PING"), "+PONG|");
}
