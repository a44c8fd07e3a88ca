//! Where to listen, as people write it.

use std::net::{SocketAddr, ToSocketAddrs};

/// The address that a text means: `127.0.0.1:6379`, `[::1]:6379`, or a name with a port, whose IPv4 address is preferred as
/// in redis's `bind`. A name is looked up now, and may take as long as the system's resolver does.
///
/// # Errors
/// What is wrong with the text, and how it would be right.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let example = "for example \"127.0.0.1:6379\" or \"localhost:6379\"";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("{text:?} is not ADDRESS:PORT, {example}"));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(format!("{text:?} is not ADDRESS:PORT: {port:?} is no port of 0 to 65535; {example}"));
    };
    if host.is_empty() || host == "*" {
        return Err(format!(
            "{text:?} names no address: give 0.0.0.0:{port} or [::]:{port} to listen on all of this machine's"
        ));
    }
    if host.contains(':') {
        return Err(match host.starts_with('[') {
            true => format!("{text:?} is not ADDRESS:PORT: what is in brackets is no IPv6 address"),
            false => format!("{text:?} is not ADDRESS:PORT: an IPv6 address stands in brackets, as in [::1]:{port}"),
        });
    }
    let found = (host, port).to_socket_addrs().map_err(|why| format!("{host:?} is no name of an address: {why}"))?;
    let found: Vec<_> = found.collect();
    let wanted = found.iter().find(|address| address.is_ipv4()).or(found.first());
    wanted.copied().ok_or_else(|| format!("{host:?} is no name of an address"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::listen_address;

    #[test]
    fn names_are_looked_up_and_mistakes_told() {
        for (text, address) in [
            ("127.0.0.1:6379", "127.0.0.1:6379"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:6379", "127.0.0.1:6379"),
            ("LOCALHOST:1", "127.0.0.1:1"),
        ] {
            assert_eq!(listen_address(text).unwrap().to_string(), address);
        }
        for (text, told) in [
            ("nowhere", "is not ADDRESS:PORT, for example"),
            ("", "is not ADDRESS:PORT, for example"),
            ("1.2.3.4", "is not ADDRESS:PORT, for example"),
            ("127.0.0.1:99999", "\"99999\" is no port"),
            ("localhost:", "\"\" is no port"),
            (":5", "give 0.0.0.0:5 or [::]:5"),
            ("*:5", "give 0.0.0.0:5 or [::]:5"),
            ("::1:5", "as in [::1]:5"),
            ("[x]:5", "is no name of an address"),
            ("[:x]:5", "what is in brackets is no IPv6 address"),
            ("a b:5", "is no name of an address"),
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
