//! The PROXY protocol: what a proxy in front says about the client behind it, before the client's first byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a PROXY protocol header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The caller's address and port; `None` for the proxy's own health checks (`LOCAL`, `UNKNOWN`).
    pub address: Option<SocketAddr>,
    /// Whether the caller spoke TLS to the proxy.
    pub secure: bool,
    /// The AWS VPC endpoint it came through.
    pub vpce: Option<String>,
}

/// Which of the protocol's headers a connection has to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary, with extensions.
    V2,
}

/// Reads the header that a connection has to begin with, and not a byte more; `None` when it is none.
pub async fn receive<S: AsyncRead + Unpin>(stream: &mut S, version: Version) -> Option<Proxied> {
    match version {
        Version::V1 => {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                if line.len() == LINE_BYTES_MAX {
                    return None;
                }
                line.push(stream.read_u8().await.ok()?);
            }
            read_line(&line)
        }
        Version::V2 => {
            let mut head = [0; PROXY_HEAD_BYTES];
            stream.read_exact(&mut head).await.ok()?;
            let mut rest = vec![0; proxy_length(&head)?];
            stream.read_exact(&mut rest).await.ok()?;
            read_proxy(&head, &rest)
        }
    }
}

/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;

/// Reads `PROXY TCP4 source destination source-port destination-port`, or `PROXY UNKNOWN` and whatever follows.
fn read_line(line: &[u8]) -> Option<Proxied> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let nobody = Proxied { address: None, secure: false, vpce: None };
    let mut words = text.split(' ');
    let is_v4 = match (words.next()?, words.next()?) {
        ("PROXY", "UNKNOWN") => return Some(nobody),
        ("PROXY", "TCP4") => true,
        ("PROXY", "TCP6") => false,
        _ => return None,
    };
    let mut ip = || words.next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == is_v4);
    let (source, _) = (ip()?, ip()?);
    let mut port = || {
        let word = words.next()?;
        word.parse::<u16>().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (source_port, _) = (port()?, port()?);
    let address = Some(SocketAddr::new(source.to_canonical(), source_port));
    words.next().is_none().then_some(Proxied { address, ..nobody })
}

/// Longest header of version 2 that is read, the fixed 16 bytes aside.
const PROXY_BYTES_MAX: usize = 1024;
/// Bytes before the addresses: signature, version and command, family, length.
const PROXY_HEAD_BYTES: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The number of bytes that follow the fixed head; `None` when it is no such header or a longer one than we read.
fn proxy_length(head: &[u8; PROXY_HEAD_BYTES]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    (head.starts_with(SIGNATURE) && head[12] >> 4 == 2 && length <= PROXY_BYTES_MAX).then_some(length)
}

/// Reads a whole header: `head` as [`proxy_length`] accepted it and the `rest` it announced.
fn read_proxy(head: &[u8; PROXY_HEAD_BYTES], rest: &[u8]) -> Option<Proxied> {
    let local = match head[12] & 0xF {
        0 => true,
        1 => false,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    let (ip, port, tlvs) = match head[13] {
        0x11 => (Some(IpAddr::from(rest.first_chunk::<4>().map(|b| Ipv4Addr::from(*b))?)), port(8)?, rest.get(12..)?),
        0x21 => {
            let ip = IpAddr::from(rest.first_chunk::<16>().map(|b| Ipv6Addr::from(*b))?).to_canonical();
            (Some(ip), port(32)?, rest.get(36..)?)
        }
        _ if local => (None, 0, &[][..]),
        _ => return None,
    };
    let address = ip.filter(|_| !local).map(|ip| SocketAddr::new(ip, port));
    let mut proxied = Proxied { address, secure: false, vpce: None };
    read_tlvs(tlvs, &mut proxied)?;
    Some(proxied)
}

fn read_tlvs(mut rest: &[u8], proxied: &mut Proxied) -> Option<()> {
    const SSL: u8 = 0x20;
    const AWS: u8 = 0xEA;
    while let [kind, high, low, tail @ ..] = rest {
        let value = tail.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
        rest = &tail[value.len()..];
        match (*kind, value) {
            (SSL, [client, ..]) => proxied.secure = client & 1 == 1,
            // Subtype 1 is the endpoint id (AWS NLB user guide, "Proxy protocol").
            (AWS, [1, id @ ..]) if id.is_ascii() => proxied.vpce = String::from_utf8(id.to_vec()).ok(),
            _ => {}
        }
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Option<Proxied> {
        let mut head = [0; PROXY_HEAD_BYTES];
        head[..12].copy_from_slice(SIGNATURE);
        head[12] = 0x20 | command;
        head[13] = family;
        head[14..].copy_from_slice(&(rest.len() as u16).to_be_bytes());
        assert_eq!(proxy_length(&head), (rest.len() <= PROXY_BYTES_MAX).then_some(rest.len()));
        read_proxy(&head, rest)
    }

    #[test]
    fn proxy_headers_are_read() {
        let mut v4 = vec![192, 0, 2, 1, 127, 0, 0, 1, 0, 80, 0, 80];
        assert_eq!(
            header(1, 0x11, &v4).unwrap(),
            Proxied { address: Some("192.0.2.1:80".parse().unwrap()), secure: false, vpce: None }
        );
        v4.extend_from_slice(b"\xEA\x00\x09\x01vpce-123\x20\x00\x05\x01\0\0\0\0");
        let proxied = header(1, 0x11, &v4).unwrap();
        assert_eq!((proxied.vpce.as_deref(), proxied.secure), (Some("vpce-123"), true));
        assert_eq!(header(0, 0, &[]).unwrap().address, None);
        let mut v6 = Ipv6Addr::LOCALHOST.octets().to_vec();
        v6.resize(36, 0);
        assert_eq!(header(1, 0x21, &v6).unwrap().address, Some((Ipv6Addr::LOCALHOST, 0).into()));
    }

    #[test]
    fn malformed_proxy_headers_are_refused() {
        assert_eq!(header(1, 0x11, &[1, 2, 3]), None);
        assert_eq!(header(1, 0x31, &[0; 216]), None);
        assert_eq!(header(2, 0x11, &[0; 12]), None);
        assert_eq!(
            header(1, 0x11, b"\x7f\0\0\x01\x7f\0\0\x01\0\0\0\0\xEA\0\x09\x01"),
            None,
            "a TLV longer than the header"
        );
        assert_eq!(header(1, 0x11, b"\x7f\0\0\x01\x7f\0\0\x01\0\0\0\0\xEA\0"), None);
        header(1, 0x11, &[0; PROXY_BYTES_MAX]);
        header(1, 0x11, &[0; PROXY_BYTES_MAX + 1]);
        assert_eq!(proxy_length(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let read = |line: &str| read_line(format!("{line}\r\n").as_bytes()).map(|proxied| proxied.address);
        assert_eq!(read("PROXY TCP4 192.0.2.1 127.0.0.1 5000 6379"), Some(Some("192.0.2.1:5000".parse().unwrap())));
        assert_eq!(read("PROXY TCP6 2001:db8::1 ::1 5000 6379"), Some(Some("[2001:db8::1]:5000".parse().unwrap())));
        assert_eq!(read("PROXY UNKNOWN"), Some(None));
        assert_eq!(read("PROXY UNKNOWN whatever it says"), Some(None));
        for line in [
            "PING",
            "PROXY",
            "proxy TCP4 192.0.2.1 127.0.0.1 1 2",
            "PROXY TCP4",
            "PROXY TCP4 192.0.2.1 127.0.0.1 5000",
            "PROXY TCP4 192.0.2.1 127.0.0.1 5000 6379 more",
            "PROXY TCP4 ::1 ::1 5000 6379",
            "PROXY TCP4 x y 5000 6379",
            "PROXY TCP6 192.0.2.1 127.0.0.1 5000 6379",
            "PROXY TCP4 192.0.2.1 127.0.0.1 65536 6379",
            "PROXY TCP4 192.0.2.1 127.0.0.1 +50 6379",
            "PROXY  TCP4 192.0.2.1 127.0.0.1 5000 6379",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn not_a_byte_more_than_the_header_is_read() {
        let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x7f\0\0\x01\0\x50\x18\xebPING".as_slice();
        let address = receive(&mut v2, Version::V2).await.unwrap().address;
        assert_eq!((address, v2), (Some("1.2.3.4:80".parse().unwrap()), b"PING".as_slice()));
        let mut v1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nPING".as_slice();
        assert!(receive(&mut v1, Version::V1).await.is_some());
        assert_eq!(v1, b"PING");
        let long = [b'x'; 200];
        for (mut bytes, version) in
            [(&b"PING\r\n"[..], Version::V2), (&b"PROXY TCP4"[..], Version::V1), (&long[..], Version::V1)]
        {
            assert_eq!(receive(&mut bytes, version).await, None);
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[PROXYTCUNKNOWN46 0-9.:]{0,107}") {
            let _ = read_line(format!("{line}\r\n").as_bytes());
        }


        #[test]
        fn no_header_panics(command in any::<u8>(), family in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut head = [0; PROXY_HEAD_BYTES];
            head[..12].copy_from_slice(SIGNATURE);
            (head[12], head[13]) = (command, family);
            let _ = read_proxy(&head, &rest);
        }
    }
}
