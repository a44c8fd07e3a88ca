//! The section "Not built yet" of `docs/fidelity.md`: what it lists is refused, and says so.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use larder_node::commands::{REFUSED, Refused, Why};
use larder_tests::larder::{Larder, command, run};
use larder_tests::wire::{Request, Resp};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ask(larder: &Larder, method: &str, target: &str, body: &str) -> (u16, String) {
    let request = Request::new(method, target, body).bearer("larder-dev-token");
    let answer = request.send(HERE, larder.http()).unwrap();
    (answer.status, answer.body)
}

/// What `larder check` says to a configuration it refuses.
fn complaint(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("larder.toml");
    std::fs::write(&file, config).unwrap();
    let ended = run(&mut command(&["check", "--config", file.to_str().unwrap()]));
    assert_eq!(ended.code, Some(1), "{config}: {ended:?}");
    ended.err
}

#[test]
fn what_a_start_or_a_word_cannot_do_is_refused_by_name() {
    for (words, named) in [
        (&["up", "--memcached", "0"][..], "--memcached"),
        (&["up", "--node-ports", "7000-7010"], "--node-ports"),
        (&["up", "--data-dir", "d"], "--data-dir"),
        (&["sim", "compare"], "sim compare"),
        (&["sim", "live"], "sim live"),
        (&["sim", "convert"], "sim convert"),
    ] {
        let ended = run(&mut command(words));
        let said = ended.err.contains(named) && ended.err.contains("not built yet");
        assert!(ended.code == Some(2) && said, "{words:?}: {ended:?}");
    }
}

#[test]
fn what_a_configuration_cannot_ask_for_is_refused_by_name() {
    let cache = "[[cache]]\nname = \"c\"\n";
    for (config, named) in [
        (format!("{cache}engine = \"memcached\""), "cache[0].engine"),
        (format!("{cache}backend = \"process\""), "cache[0].backend"),
        (format!("{cache}remote = {{ url = \"rediss://h:1\" }}"), "rediss://"),
        (format!("{cache}[http]\nsource = {{ header = \"Forwarded\", trusted = [\"10.0.0.0/8\"] }}"), "Forwarded"),
        (format!("{cache}[node]\nsource = \"proxy-v2\""), "node.source"),
        (format!("{cache}eviction = \"allkeys-lru\""), "cache[0].eviction"),
    ] {
        let said = complaint(&config);
        assert!(said.contains(named), "{config}: {said}");
    }
}

#[test]
fn what_a_client_cannot_do_is_refused_by_name() {
    let larder = Larder::up();
    for (method, target) in [
        ("GET", "/subscribe/c"),
        ("POST", "/subscribe/c"),
        ("GET", "/psubscribe/c*"),
        ("GET", "/monitor"),
        ("POST", "/v1/caches/default/batch"),
        ("GET", "/v1/caches/default/keys?prefix=a"),
    ] {
        let (status, body) = ask(&larder, method, target, "");
        assert!(status == 501 && body.contains("not built yet"), "{target}: {status} {body}");
    }
    for (name, words) in [("BLPOP", r#","a",0"#), ("MULTI", ""), ("WATCH", r#","a""#), ("CLIENT ID", "")] {
        let line = name.replace(' ', r#"",""#);
        let (status, body) = ask(&larder, "POST", "/", &format!("[\"{line}\"{words}]"));
        let named = body.contains(&format!("not available: '{name}'"));
        assert!(status == 400 && named, "{name}: {status} {body}");
    }
    let mut redis = Resp::connect(HERE, larder.resp("default")).unwrap();
    // HTTP is about database 0, whatever RESP clients select.
    assert_eq!(redis.ask(&["SELECT", "1"]).unwrap(), "OK");
    assert_eq!(redis.ask(&["SET", "elsewhere", "1"]).unwrap(), "OK");
    for words in [r#"["SELECT","1"]"#, r#"["MOVE","k","1"]"#, r#"["COPY","k","k","DB","1"]"#, r#"["SWAPDB","0","1"]"#] {
        let (status, body) = ask(&larder, "POST", "/", words);
        assert!(status == 400 && body.contains("DB index is out of range"), "{words}: {status} {body}");
    }
    let (_, body) = ask(&larder, "POST", "/", r#"["GET","elsewhere"]"#);
    assert_eq!(body, r#"{"result":null}"#);
    for Refused { name, why } in REFUSED {
        let reply = redis.ask(&name.split('|').collect::<Vec<_>>()).unwrap();
        let says = reply.ends_with(why.text()) || *why == Why::Cluster && reply.contains("cluster support disabled");
        assert!(reply.starts_with("-ERR") && says, "{name}: {reply}");
    }
}

#[test]
fn credentials_of_what_is_not_built_are_refused_by_name() {
    let larder = Larder::up();
    let scope = "ASIAEXAMPLE/20260101/us-east-1/elasticache/aws4_request";
    let signed = Request::new("POST", "/", "[\"PING\"]")
        .with("x-amz-date", "20260101T000000Z")
        .with("x-amz-security-token", "t")
        .with(
            "authorization",
            &format!("AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host;x-amz-date,Signature=0"),
        );
    // {"alg":"RS256"}.{}.x
    let oidc = Request::new("POST", "/", "[\"PING\"]").bearer("eyJhbGciOiJSUzI1NiJ9.e30.eA");
    for request in [signed, oidc] {
        let answer = request.send(HERE, larder.http()).unwrap();
        assert!(answer.status == 401 && answer.body.contains("not built yet"), "{answer:?}");
    }
}
