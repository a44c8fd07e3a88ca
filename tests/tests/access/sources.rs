//! Where a caller's address comes from: exactly one place per listener, and nobody else is believed.

use std::io::{BufReader, Write};
use std::net::IpAddr;

use larder_tests::larder::Larder;
use larder_tests::wire::{HOME, Request, connect, read_answer};

use super::get;

/// One cache for 192.0.2.0/24, reached through what `source` says.
fn behind(source: &str) -> Larder {
    let config = format!(
        r#"
[http]
source = {source}
[[cache]]
name = "default"
security_groups = ["office"]
[[security_group]]
id = "office"
ingress = [{{ cidr = "192.0.2.0/24" }}, {{ cidr = "2001:db8::/32" }}]
[[principal]]
name = "root"
[[token]]
secret = "root-token"
principal = "root"
"#
    );
    Larder::start(&["up"], Some(&config))
}

fn ask() -> Request {
    get("/exists/k").bearer("root-token")
}

#[test]
fn a_header_is_read_through_trusted_proxies_only() {
    let larder = behind(r#"{ header = "X-Forwarded-For", trusted = ["127.0.0.1/32", "10.0.0.0/8"] }"#);
    let status = |from: IpAddr, header: Option<&str>| {
        let request = header.map_or_else(ask, |value| ask().with("x-forwarded-for", value));
        request.send(from, larder.http()).map(|answer| answer.status).unwrap()
    };
    for (header, wanted) in [
        (Some("192.0.2.7"), 200),
        (Some("192.0.2.7, 10.0.0.1"), 200),
        (Some("203.0.113.1, 192.0.2.7"), 200),
        (Some("[2001:db8::1]:4711, 10.9.9.9"), 200),
        (Some("::ffff:192.0.2.7"), 200),
        (Some("192.0.2.7, 203.0.113.1"), 403),
        (Some("192.0.2.7, unknown"), 403),
        (Some("192.0.2.7, 203.0.113.1, 10.0.0.1"), 403),
        (Some(""), 403),
        (None, 403),
    ] {
        assert_eq!(status(HOME, header), wanted, "{header:?}");
    }
    // Whoever is no proxy speaks for itself alone.
    let stranger: IpAddr = "127.0.0.2".parse().unwrap();
    assert_eq!(status(stranger, Some("192.0.2.7")), 403);
}

/// A PROXY protocol version 2 header: command and protocol, family, then addresses and extensions.
fn proxy(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

#[test]
fn a_proxy_header_comes_before_the_first_byte() {
    let larder = behind("\"proxy-v2\"");
    let answer = |header: &[u8]| {
        let mut stream = connect(HOME, larder.http()).unwrap();
        // A listener that refuses the header closes, and then the rest cannot be written.
        let _ = stream.write_all(&[header, &ask().bytes(larder.http())].concat());
        read_answer(&mut BufReader::new(&stream), false).map(|answer| answer.status)
    };
    let v4 = |ip: [u8; 4]| proxy(1, 0x11, &[&ip[..], &[127, 0, 0, 1], &[0x12, 0x34, 0, 80]].concat());
    assert_eq!(answer(&v4([192, 0, 2, 7])).unwrap(), 200);
    assert_eq!(answer(&v4([203, 0, 113, 7])).unwrap(), 403);
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(answer(&proxy(1, 0x21, &v6)).unwrap(), 200);
    assert!(answer(b"").is_err(), "a connection without the header is served");
    assert!(answer(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n").is_err(), "version 1 is served");
    let mut newer = v4([192, 0, 2, 7]);
    newer[12] = 0x31;
    assert!(answer(&newer).is_err(), "version 3 is served");
    assert!(answer(&proxy(1, 0x11, &[192, 0, 2, 7])).is_err(), "addresses that are cut short are served");
}
