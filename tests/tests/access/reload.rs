//! Rules that change by SIGHUP bite on connections that stay open, whatever is behind the gateway.

use larder_tests::larder::{Larder, wait_for};
use larder_tests::wire::{HOME, Request, Resp, connect};

use super::sign::signed;
use super::{TENANT, World, embedded_config, get, larder_token, post};

/// The configuration of the gateway, with the tenant's tag changed: it moves to another's keys.
fn moved(config: &str) -> String {
    let moved = config.replace("tags = { tenant = \"tenant-a\" }", "tags = { tenant = \"tenant-b\" }");
    assert_ne!(moved, config);
    moved
}

fn every_change(world: &World) {
    let (gateway, ..) = &world.running;
    let config = std::fs::read_to_string(gateway.folder().join("larder.toml")).unwrap();
    let http = connect(HOME, world.http).unwrap();
    let ask = |request: Request, status: u16| {
        let answer = signed(&TENANT, request, world.http).send_on(&http, world.http).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    };
    let own = || post("/", r#"["SET","tenant-a:1","v"]"#);
    let theirs = || Request::new("PUT", "/v1/caches/default/keys/tenant-b:1", "v");
    ask(own(), 200);
    ask(theirs(), 403);
    gateway.reload(&moved(&config));
    ask(own(), 403);
    ask(theirs(), 204);
    gateway.reload(&config.replace("AKIATENANTA", "AKIAROTATED"));
    ask(own(), 401);
    gateway.reload(&config);
    ask(own(), 200);
    ask(theirs(), 403);
}

#[test]
fn a_change_bites_on_open_http_connections_of_an_embedded_cache() {
    every_change(&World::embedded());
}

#[test]
fn a_change_bites_on_open_http_connections_in_front_of_a_node() {
    every_change(&World::node());
}

#[test]
fn a_change_bites_on_open_http_connections_in_front_of_redis() {
    every_change(&World::redis());
}

fn login(larder: &Larder, words: &[&str]) -> Resp {
    let mut resp = Resp::connect(HOME, larder.resp("default")).unwrap();
    assert_eq!(resp.ask(words).unwrap(), "OK");
    resp
}

const OWN: &str = "on ~tenant-a:* +@all -@dangerous";
const PARTED: &str = "on ~tenant-b:* +@all -@dangerous";

/// Everything that speaks RESP: one process, and a node.
fn speakers(config: &str) -> impl Iterator<Item = Larder> {
    [&["up"][..], &["node", "--cache", "default"]].into_iter().map(|words| Larder::start(words, Some(config)))
}

#[test]
fn a_change_bites_on_open_resp_connections() {
    let config = embedded_config();
    for larder in speakers(&config) {
        let mut tenant = login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
        let mut by_token = login(&larder, &["AUTH", "tenant-token"]);
        for resp in [&mut tenant, &mut by_token] {
            assert_eq!(resp.ask(&["SET", "tenant-a:1", "v"]).unwrap(), "OK");
            assert!(resp.ask(&["GET", "tenant-b:1"]).unwrap().starts_with("-NOPERM"));
        }
        larder.reload(&moved(&config).replace(OWN, PARTED));
        for resp in [&mut tenant, &mut by_token] {
            assert!(resp.ask(&["GET", "tenant-a:1"]).unwrap().starts_with("-NOPERM"));
            assert_eq!(resp.ask(&["GET", "tenant-b:1"]).unwrap(), "(nil)");
        }
        larder.reload(&config);
        assert_eq!(tenant.ask(&["GET", "tenant-a:1"]).unwrap(), "v");
    }
}

/// An allowlist that closes drops whom it no longer lets in, at the next command; the rest stay.
#[test]
fn a_caller_whose_network_is_no_longer_let_in_is_dropped() {
    let config = embedded_config();
    let narrowed = config.replace("127.0.0.1/32", "127.0.0.2/32");
    for larder in speakers(&config) {
        let mut tenant = login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
        larder.reload(&narrowed);
        assert!(tenant.ask(&["PING"]).is_err(), "it is still served");
        assert!(Resp::connect(HOME, larder.resp("default")).and_then(|mut it| it.ask(&["PING"])).is_err());
        larder.reload(&config);
        login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
    }
}

#[test]
fn what_was_queued_before_a_change_is_judged_when_it_runs() {
    let config = embedded_config();
    let larder = Larder::start(&["up"], Some(&config));
    let mut tenant = login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
    let mut watcher = login(&larder, &["AUTH", "gateway", "gateway-password"]);
    assert_eq!(tenant.ask(&["MULTI"]).unwrap(), "OK");
    assert_eq!(tenant.ask(&["SET", "tenant-a:queued", "v"]).unwrap(), "QUEUED");
    larder.reload(&config.replace(OWN, PARTED));
    let exec = tenant.ask(&["EXEC"]).unwrap();
    assert!(exec.contains("NOPERM"), "{exec}");
    assert_eq!(watcher.ask(&["EXISTS", "tenant-a:queued"]).unwrap(), ":0");
    larder.reload(&config);
    assert_eq!(tenant.ask(&["SET", "tenant-a:queued", "v"]).unwrap(), "OK");
}

#[test]
fn a_blocked_client_is_judged_again_when_it_is_served() {
    let config = embedded_config();
    let larder = Larder::start(&["up"], Some(&config));
    let mut tenant = login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
    let mut watcher = login(&larder, &["AUTH", "gateway", "gateway-password"]);
    tenant.send(&["BLPOP", "tenant-a:list", "0"]).unwrap();
    wait_for(|| watcher.ask(&["INFO", "clients"]).unwrap().contains("blocked_clients:1").then_some(()));
    larder.reload(&config.replace(OWN, PARTED));
    assert_eq!(watcher.ask(&["RPUSH", "tenant-a:list", "secret"]).unwrap(), ":1");
    let reply = tenant.reply().unwrap();
    assert!(reply.starts_with("-NOPERM"), "{reply}");
    assert_eq!(watcher.ask(&["LLEN", "tenant-a:list"]).unwrap(), ":1", "nobody took it");
}

/// A login that is no longer good ends, with an error or with its connection.
fn ends(resp: &mut Resp) -> bool {
    resp.ask(&["GET", "tenant-a:1"]).map_or(true, |reply| reply.starts_with("-NOAUTH"))
}

#[test]
fn a_login_ends_with_its_token() {
    let config = embedded_config();
    let larder = Larder::start(&["up"], Some(&config));
    let token = larder_token(&["--id", "t-1"]);
    let mut by_token = login(&larder, &["AUTH", &token]);
    assert_eq!(by_token.ask(&["GET", "tenant-a:1"]).unwrap(), "(nil)");
    assert!(by_token.ask(&["GET", "tenant-b:1"]).unwrap().starts_with("-NOPERM"));
    larder.reload(&format!("revoked_tokens = [\"t-1\"]\n{config}"));
    assert!(ends(&mut by_token), "it was revoked");
    let refused = Resp::connect(HOME, larder.resp("default")).unwrap().ask(&["AUTH", &token]).unwrap();
    assert!(refused.starts_with("-WRONGPASS"), "{refused}");
    let brief = larder_token(&["--ttl", "2s"]);
    let mut by_brief = login(&larder, &["AUTH", &brief]);
    assert_eq!(by_brief.ask(&["GET", "tenant-a:1"]).unwrap(), "(nil)");
    wait_for(|| ends(&mut by_brief).then_some(()));
    let late = get("/get/tenant-a:1").bearer(&brief).send(HOME, larder.http()).unwrap();
    assert_eq!(late.status, 401, "{late:?}");
}

#[test]
fn a_login_ends_with_its_user() {
    let config = embedded_config();
    let larder = Larder::start(&["up"], Some(&config));
    let mut tenant = login(&larder, &["AUTH", "tenant-a", "tenant-password"]);
    assert_eq!(tenant.ask(&["GET", "tenant-a:1"]).unwrap(), "(nil)");
    larder.reload(&config.replace("name = \"tenant-a\"\npasswords", "name = \"somebody\"\npasswords"));
    assert!(ends(&mut tenant));
}
