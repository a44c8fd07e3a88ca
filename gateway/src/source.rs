//! Where a request comes from: the peer, a PROXY protocol header, or one header of trusted proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4 when it is an IPv4 address in IPv6 clothes: rules are written for v4 then.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The caller's address, from the values of the forwarding header in order of arrival.
///
/// The chain is read right to left, the peer first. The first address that is no trusted proxy is the caller. Text
/// that is no address ends the walk at the hop that wrote it: what stands to its left was written by strangers.
pub(crate) fn from_header<'a>(
    peer: IpAddr,
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut caller = canonical(peer);
    for hop in values.rev().flat_map(|value| value.rsplit(|&b| b == b',')) {
        if !is_trusted(&caller) {
            return caller;
        }
        match address(hop) {
            Some(ip) => caller = ip,
            None => return caller,
        }
    }
    caller
}

/// `192.0.2.1`, `2001:db8::1`, each also with a port, the latter in brackets then.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    let ip = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|at| at.ip()))?;
    Some(canonical(ip))
}

/// What a PROXY protocol version 2 header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The caller's address; `None` for the proxy's own health checks (`LOCAL`).
    pub ip: Option<IpAddr>,
    /// Whether the caller spoke TLS to the proxy.
    pub secure: bool,
    /// The AWS VPC endpoint it came through.
    pub vpce: Option<String>,
}

/// Longest header of version 2 that is read, the fixed 16 bytes aside.
pub(crate) const PROXY_BYTES_MAX: usize = 1024;
/// Bytes before the addresses: signature, version and command, family, length.
pub(crate) const PROXY_HEAD_BYTES: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The number of bytes that follow the fixed head; `None` when it is no such header or a longer one than we read.
pub(crate) fn proxy_length(head: &[u8; PROXY_HEAD_BYTES]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    (head.starts_with(SIGNATURE) && head[12] >> 4 == 2 && length <= PROXY_BYTES_MAX).then_some(length)
}

/// Reads a whole header: `head` as [`proxy_length`] accepted it and the `rest` it announced.
pub(crate) fn read_proxy(head: &[u8; PROXY_HEAD_BYTES], rest: &[u8]) -> Option<Proxied> {
    let local = match head[12] & 0xF {
        0 => true,
        1 => false,
        _ => return None,
    };
    let (ip, tlvs) = match head[13] {
        0x11 => (Some(IpAddr::from(rest.first_chunk::<4>().map(|b| Ipv4Addr::from(*b))?)), rest.get(12..)?),
        0x21 => (Some(canonical(IpAddr::from(rest.first_chunk::<16>().map(|b| Ipv6Addr::from(*b))?))), rest.get(36..)?),
        0x00 if local => (None, &[][..]),
        _ if local => (None, &[][..]),
        _ => return None,
    };
    let mut proxied = Proxied { ip: ip.filter(|_| !local), secure: false, vpce: None };
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

    fn caller(peer: &str, values: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        from_header(peer.parse().unwrap(), values.iter().map(|v| v.as_bytes()), &trusted).to_string()
    }

    #[test]
    fn hops_are_read_right_to_left() {
        assert_eq!(caller("192.0.2.1", &["1.1.1.1"]), "192.0.2.1", "an untrusted peer is the caller");
        assert_eq!(caller("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1", "the left one was written by the caller");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6, 1.1.1.1 ,10.0.0.2"]), "1.1.1.1");
        assert_eq!(caller("10.0.0.1", &["6.6.6.6", "1.1.1.1"]), "1.1.1.1", "two headers are one list");
        assert_eq!(caller("::ffff:10.0.0.1", &["::ffff:1.1.1.1"]), "1.1.1.1");
        assert_eq!(caller("10.0.0.1", &["1.1.1.1, nonsense"]), "10.0.0.1");
        assert_eq!(caller("2001:db8::1", &["[2001:db9::1]:80"]), "2001:db9::1");
        assert_eq!(caller("10.0.0.1", &["1.1.1.1:80"]), "1.1.1.1");
        assert_eq!(caller("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all trusted: the farthest");
    }

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
            Proxied { ip: Some("192.0.2.1".parse().unwrap()), secure: false, vpce: None }
        );
        v4.extend_from_slice(b"\xEA\x00\x09\x01vpce-123\x20\x00\x05\x01\0\0\0\0");
        let proxied = header(1, 0x11, &v4).unwrap();
        assert_eq!((proxied.vpce.as_deref(), proxied.secure), (Some("vpce-123"), true));
        assert_eq!(header(0, 0, &[]).unwrap().ip, None);
        let mut v6 = Ipv6Addr::LOCALHOST.octets().to_vec();
        v6.resize(36, 0);
        assert_eq!(header(1, 0x21, &v6).unwrap().ip, Some(Ipv6Addr::LOCALHOST.into()));
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

    proptest! {
        #[test]
        fn no_header_panics(command in any::<u8>(), family in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut head = [0; PROXY_HEAD_BYTES];
            head[..12].copy_from_slice(SIGNATURE);
            (head[12], head[13]) = (command, family);
            let _ = read_proxy(&head, &rest);
        }
    }
}
