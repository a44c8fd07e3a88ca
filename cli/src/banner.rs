//! What a server says when it is ready: to people, with lines to paste, and to scripts, as a file.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use larder_cloud::Addresses;
use serde_json::json;

use crate::outcome::Failure;

/// What was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Up,
    Gateway,
    GatewayEcho,
    Node,
    NodeEcho,
}

/// The banner.
pub(crate) fn text(kind: Kind, addresses: &Addresses, development: bool, tls: bool) -> String {
    let mut page = String::new();
    let _ = match kind {
        Kind::Up => writeln!(page, "Larder is up. Nothing is kept when it stops.\n"),
        Kind::Gateway => writeln!(page, "The Larder gateway is up.\n"),
        Kind::GatewayEcho => writeln!(page, "The Larder gateway answers everything with a constant (--echo).\n"),
        Kind::Node => writeln!(page, "The Larder node is up. Nothing is kept when it stops.\n"),
        Kind::NodeEcho => writeln!(page, "The Larder node answers everything with a constant (--echo).\n"),
    };
    endpoints(&mut page, addresses, tls);
    if let (Kind::Up, true, Some(http)) = (kind, development, addresses.http) {
        lines(&mut page, addresses, http, tls);
    }
    page.push_str("\nCtrl-C stops it; kill -HUP reads the configuration again.\n");
    page
}

fn endpoints(page: &mut String, addresses: &Addresses, tls: bool) {
    if let Some(http) = addresses.http {
        let names: Vec<_> = addresses.caches.iter().map(|(name, ..)| name.as_str()).collect();
        let caches = if names.is_empty() { String::new() } else { format!("caches: {}", names.join(", ")) };
        let _ = writeln!(page, "  {:<18} {:<32} {caches}", "HTTP gateway", url(http, tls));
    }
    for (name, _, resp) in &addresses.caches {
        if let Some(resp) = resp {
            let _ = writeln!(page, "  {:<18} {:<32} cache: {name}", "Redis protocol", format!("redis://{resp}"));
        }
    }
    let admin = addresses.admin;
    let _ = writeln!(page, "  {:<18} http://{admin}/readyz", "health");
    let _ = writeln!(page, "  {:<18} http://{admin}/metrics", "metrics");
    if let Some(aws) = addresses.aws {
        let _ = writeln!(page, "  {:<18} http://{aws}/_larder/health", "AWS-shaped APIs");
        let _ = writeln!(page, "  {:<18} (not built yet; health and metrics only)", "");
    }
}

fn lines(page: &mut String, addresses: &Addresses, http: SocketAddr, tls: bool) {
    let (url, insecure) = (url(http, tls), if tls { " --insecure" } else { "" });
    let _ = writeln!(
        page,
        "\nDevelopment credentials, good on this machine only: access key `test` with secret `test`,\n\
         bearer token `larder-dev-token`. Lines to paste:\n\n\
         \x20 curl{insecure} {url}/ --aws-sigv4 aws:amz:us-east-1:elasticache --user test:test -d '[\"SET\",\"greeting\",\"hello\"]'\n\
         \x20 curl{insecure} {url}/get/greeting -H 'Authorization: Bearer larder-dev-token'"
    );
    let resp = addresses.caches.iter().find_map(|(_, _, resp)| *resp);
    if let Some(resp) = resp {
        let host = if resp.ip().to_string() == "127.0.0.1" { String::new() } else { format!(" -h {}", resp.ip()) };
        let _ = writeln!(page, "  redis-cli{host} -p {} get greeting", resp.port());
    }
    let _ = writeln!(
        page,
        "\n  import {{ Redis }} from \"@upstash/redis\"\n\
         \x20 const redis = new Redis({{ url: \"{url}\", token: \"larder-dev-token\" }})\n\
         \x20 console.log(await redis.get(\"greeting\"))"
    );
}

fn url(address: SocketAddr, tls: bool) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}

/// Writes the addresses for scripts: whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_ready(
    file: &Path,
    addresses: &Addresses,
    tls: bool,
    certificate_pem: Option<String>,
) -> Result<(), Failure> {
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let caches = addresses
        .caches
        .iter()
        .map(|(name, backend, resp)| json!({ "name": name, "backend": backend, "resp": text(*resp) }));
    let ready = json!({
        "pid": std::process::id(),
        "http": text(addresses.http),
        "aws": text(addresses.aws),
        "admin": addresses.admin.to_string(),
        "tls": tls,
        "certificate_pem": certificate_pem,
        "caches": caches.collect::<Vec<_>>(),
    });
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let written = std::fs::write(&part, format!("{ready}\n")).and_then(|()| std::fs::rename(&part, file));
    written.map_err(|error| Failure::Mistake(format!("cannot write the ready file {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            http: Some("127.0.0.1:8079".parse().unwrap()),
            aws: Some("127.0.0.1:4566".parse().unwrap()),
            admin: "127.0.0.1:4567".parse().unwrap(),
            caches: vec![
                ("default".to_owned(), "embedded", Some("127.0.0.1:6379".parse().unwrap())),
                ("sessions".to_owned(), "embedded", None),
            ],
        }
    }

    #[test]
    fn credentials_are_shown_only_where_they_work() {
        let shown = text(Kind::Up, &addresses(), true, false);
        for part in ["http://127.0.0.1:8079/ --aws-sigv4", "redis-cli -p 6379", "larder-dev-token", "default, sessions"]
        {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(!text(Kind::Up, &addresses(), false, false).contains("larder-dev-token"));
        assert!(text(Kind::Up, &addresses(), true, true).contains("curl --insecure https://"));
    }

    #[test]
    fn a_ready_file_is_whole() {
        let folder = std::env::temp_dir().join(format!("larder-banner-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ready");
        write_ready(&file, &addresses(), false, None).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!((&ready["http"], &ready["caches"][1]["resp"]), (&json!("127.0.0.1:8079"), &json!(null)));
        assert!(write_ready(&folder.join("no/ready"), &addresses(), false, None).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
