//! What HTTP itself forbids, sent byte by byte: each is answered, ends its own connection, and harms no other.
#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Read, Write};

use larder_tests::larder::Larder;
use larder_tests::wire::{HOME, Request, connect, read_answer};

/// Sends these bytes, and answers the status and whether the connection ended; 0 when it ended without an answer.
fn sent(larder: &Larder, bytes: &[u8]) -> (u16, bool) {
    let mut stream = connect(HOME, larder.http()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reader = BufReader::new(&stream);
    let status = read_answer(&mut reader, false).map_or(0, |answer| answer.status);
    // It has ended already where it should.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let ended = reader.read(&mut [0; 1]).map_or(true, |n| n == 0);
    (status, ended)
}

#[test]
fn what_cannot_be_framed_is_answered_and_ends_its_connection() {
    let larder = Larder::up();
    let head =
        |rest: &str| format!("POST / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer larder-dev-token\r\n{rest}");
    let many: String = (0..150).map(|n| format!("x-{n}: a\r\n")).collect();
    for (name, bytes, status) in [
        ("two lengths", head("content-length: 4\r\ncontent-length: 5\r\n\r\nabcde"), 400),
        ("a length below zero", head("content-length: -4\r\n\r\nabcd"), 400),
        ("length and chunks", head("content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nX"), 400),
        ("chunks and something", head("transfer-encoding: gzip, chunked, x\r\n\r\n"), 400),
        ("a folded header", head("x: a\r\n b\r\n\r\n"), 400),
        ("a head without end", head(&format!("x: {}\r\n\r\n", "a".repeat(40_000))), 431),
        ("too many headers", head(&format!("{many}\r\n")), 431),
        ("a path without end", format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000)), 431),
        ("another version", "GET / HTTP/3.0\r\nhost: localhost\r\n\r\n".to_owned(), 400),
        ("another protocol", "*1\r\n$4\r\nPING\r\n".to_owned(), 400),
        ("a NUL in a header", head("x: a\0b\r\n\r\n"), 400),
    ] {
        assert_eq!(sent(&larder, bytes.as_bytes()), (status, true), "{name}");
    }
    let answer = Request::new("POST", "/", r#"["PING"]"#).bearer("larder-dev-token").send(HOME, larder.http()).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"result":"PONG"}"#));
}

#[test]
fn a_request_needs_one_host_and_may_come_in_pieces() {
    let larder = Larder::up();
    let get = |headers: &str| format!("GET /get/a HTTP/1.1\r\n{headers}authorization: Bearer larder-dev-token\r\n\r\n");
    for (headers, status) in [
        ("", 400),
        ("host: localhost\r\nhost: localhost\r\n", 400),
        ("host: evil.example\r\n", 421),
        ("host: LOCALHOST:1\r\n", 200),
        ("host: x.localhost\r\n", 200),
        ("host: [::1]\r\n", 200),
    ] {
        assert_eq!(sent(&larder, get(headers).as_bytes()).0, status, "{headers}");
    }
    let mut stream = connect(HOME, larder.http()).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in get("host: localhost\r\n").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut BufReader::new(&stream), false).unwrap().status, 200);
    let three = get("host: localhost\r\n").repeat(3);
    stream.write_all(three.as_bytes()).unwrap();
    let mut reader = BufReader::new(&stream);
    for _ in 0..3 {
        assert_eq!(read_answer(&mut reader, false).unwrap().status, 200, "pipelined");
    }
}
