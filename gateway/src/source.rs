//! Where a request comes from, when one header of trusted proxies says so. PROXY protocol headers are [`larder_node::proxy`]'s.

use std::net::IpAddr;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
}
