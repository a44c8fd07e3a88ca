//! What clients cannot make the node hold. A program of its own, one test at a time, as it looks at the memory of the whole
//! process.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use larder_node::server::ConnectionLimits;
use larder_tests::node::{Client, Node, Setup};

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one_worker(output_bytes_max: usize) -> Node {
    let limits = ConnectionLimits { output_bytes_max, ..ConnectionLimits::default() };
    Node::start(Setup { workers: 1, limits, ..Setup::default() })
}

/// Memory of this process in RAM.
fn resident_bytes(client: &mut Client) -> u64 {
    let text = client.say("INFO memory");
    text.split('|').find_map(|line| line.strip_prefix("used_memory_rss:")?.parse().ok()).unwrap()
}

#[test]
fn a_claimed_length_reserves_nothing() {
    let _alone = alone();
    let node = one_worker(32 << 20);
    let mut honest = node.connect();
    honest.say("PING");
    let before: u64 = resident_bytes(&mut honest);
    let claims =
        ["*1048576\r\n", "*2\r\n$536870912\r\n", "*1048576\r\n$536870912\r\nx", "*2\r\n$3\r\nGET\r\n$536870912\r\nxyz"];
    let mut clients: Vec<_> = (0..200).map(|_| node.connect()).collect();
    for (client, claim) in clients.iter_mut().zip(claims.iter().cycle()) {
        // One write, which one read takes: once the first request is answered, the claim has been understood.
        client.send(format!("PING\r\n{claim}"));
        assert_eq!(client.reply(), "+PONG|");
    }
    let after: u64 = resident_bytes(&mut honest);
    assert!(after < before + (64 << 20), "200 claims of 512 MB took {} bytes", after - before);
    drop(clients);
    assert_eq!(honest.say("PING"), "+PONG|");
}

#[test]
fn who_does_not_read_is_not_served_and_nobody_else_suffers() {
    let _alone = alone();
    let node = one_worker(64 << 10);
    let mut honest = node.connect();
    // Small enough to be copied into each reply.
    assert_eq!(honest.say(&format!("SET k {}", "v".repeat(8000))), "+OK|");
    let mut deaf = node.connect();
    // 320 MB of replies, for 280 KB of requests and one more that would tell that all had run.
    deaf.send("GET k\r\n".repeat(40_000) + "SET told yes\r\n");
    let before: u64 = resident_bytes(&mut honest);
    for _ in 0..2000 {
        assert_eq!(honest.say("EXISTS told"), ":0|");
    }
    let after: u64 = resident_bytes(&mut honest);
    assert!(after < before + (64 << 20), "unread replies took {} bytes", after - before);
    // Then it reads: everything is there, in order.
    for _ in 0..40_000 {
        assert_eq!(deaf.reply().len(), 8000 + "$8000||".len());
    }
    assert_eq!(deaf.reply(), "+OK|");
    assert_eq!(honest.say("EXISTS told"), ":1|");
}
