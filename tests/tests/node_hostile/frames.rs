//! Bytes that are no requests, or too much of one.

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::one_worker;

/// Requests that a mutation may still leave half right.
const SEEDS: [&[u8]; 10] = [
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n",
    b"SET k \"quoted \\x41 value\"\r\nGET 'k'\r\nPING\r\n",
    b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$4\r\n0.01\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nRESET\r\n",
    b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n",
    b"*4\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$3\r\n*[a\r\n",
    b"*3\r\n$7\r\nCOMMAND\r\n$7\r\nGETKEYS\r\n$3\r\nGET\r\n*2\r\n$6\r\nCLIENT\r\n$4\r\nINFO\r\n",
    b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$0\r\n\r\n$1\r\nb\r\n$2\r\n\r\n\r\n",
];

/// A few requests with a few bytes changed, cut or repeated.
fn garbled(random: &mut impl Rng) -> Vec<u8> {
    let seeds = random.random_range(1..5);
    let mut bytes: Vec<u8> = (0..seeds).flat_map(|_| SEEDS[random.random_range(0..SEEDS.len())].to_vec()).collect();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..5_u32) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] = b"*$\r\n0919-:+\"'\\ "[random.random_range(0..14)],
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, b"0123456789"[random.random_range(0..10)]),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'*');
        }
    }
    bytes
}

#[test]
fn garbled_requests_end_their_connection_at_worst() {
    let node = one_worker();
    let mut honest = node.connect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(20);
    for round in 0..3000 {
        let bytes = garbled(&mut random);
        let mut client = node.connect();
        client.send(&bytes);
        client.shut();
        // Replies to what was whole, then the end: a hang would show here.
        let replies = client.rest();
        assert!(
            replies.is_empty() || b"+-:$*%~>=_".contains(&replies[0]),
            "round {round}: {:?}",
            bytes.escape_ascii().to_string()
        );
        assert_eq!(honest.say("PING"), "+PONG|", "round {round}: {:?}", bytes.escape_ascii().to_string());
    }
    super::until(&mut honest, "SUBSCRIBE x", "*3|$9|subscribe|$1|x|:1|");
    assert_eq!((node.panics(), node.stats().connections), (0, 1));
}

#[test]
fn lengths_that_no_request_has_are_refused() {
    let node = one_worker();
    for (frame, error) in [
        ("*1048577\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*9223372036854775807\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        ("*1\r\n$-2\r\n", "invalid bulk length"),
        ("*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
    ] {
        let mut client = node.connect();
        client.send(frame);
        assert_eq!(client.reply(), format!("-ERR Protocol error: {error}|"), "{frame}");
        assert!(client.next().is_none(), "{frame}");
    }
}

#[test]
fn http_is_closed_without_a_word() {
    let node = one_worker();
    let mut honest = node.connect();
    honest.say("SET k v");
    for request in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:6379\r\n\r\n",
        "GET /a HTTP/1.0\r\n\r\n",
        "get / http/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\nFLUSHALL\r\n\r\n",
        "POST /\r\nFLUSHALL\r\n",
        "PUT / HTTP/1.1\r\n\r\nFLUSHALL\r\n",
        "DELETE /k HTTP/1.1\r\n\r\nFLUSHALL\r\n",
        "PATCH / HTTP/1.1\r\n\r\nFLUSHALL\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT host:1 HTTP/1.1\r\n\r\n",
        "TRACE / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "Host: 127.0.0.1\r\nFLUSHALL\r\n",
        "host: x\r\n",
    ] {
        let mut client = node.connect();
        client.send(request);
        assert!(client.rest().is_empty(), "{request}");
    }
    assert_eq!(honest.say("GET k"), "$1|v|");
    // A command that only looks like a verb is a command.
    let mut client = node.connect();
    assert_eq!(client.say("GET HTTP/1.1"), "$-1|");
    assert_eq!(client.say("GET a b"), "-ERR wrong number of arguments for 'get' command|");
}
