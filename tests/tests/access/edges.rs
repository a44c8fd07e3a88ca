//! The same list, at its edges: what is signed and then changed, keys of every kind, what a session or a lifetime makes
//! of a right, and callers that try to be somebody else.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use larder_tests::wire::{HOME, Request, Resp};

use super::sign::{Sign, presigned, signed};
use super::{ROOT, SHORT, STRANGER, TENANT, World, get, post};

/// Every case, on one world.
pub(super) fn all(world: &World) {
    changed_on_the_way(world);
    pre_signed_for_one_request(world);
    keys_of_every_kind(world);
    paths(world);
    look_alikes(world);
    transactions(world);
    lifetimes(world);
    sessions(world);
    addresses(world);
    if let Some(resp) = world.resp {
        browsers_at_the_resp_port(resp);
    }
}

fn put(target: &str, body: &str) -> Request {
    Request::new("PUT", target, body)
}

fn changed_on_the_way(world: &World) {
    let sent = |request: Request, change: &dyn Fn(&mut Request), what: &str| {
        let mut request = signed(&ROOT, request, world.http);
        change(&mut request);
        assert_eq!(world.send(&request).status, 401, "{what}: {request:?}");
    };
    let key = "/v1/caches/default/keys/changed";
    sent(put(&format!("{key}?ttl_ms=1000"), "v"), &|it| it.target = format!("{key}?ttl_ms=9000"), "another query");
    sent(put(key, "v"), &|it| it.target = format!("{key}?ttl_ms=1"), "a query more");
    sent(get(key), &|it| it.method = "DELETE".to_owned(), "another method");
    sent(put(key, "v"), &|it| it.body.clear(), "no body");
    let conditional = put(key, "v").with("if-match", "\"a\"");
    sent(
        conditional,
        &|it| {
            it.headers.iter_mut().filter(|(name, _)| name == "if-match").for_each(|(_, value)| *value = "*".to_owned())
        },
        "another signed header",
    );
    sent(get(key), &|it| it.headers.push(("x-amz-meta".to_owned(), "1".to_owned())), "an unsigned x-amz header");
    assert_eq!(world.root(r#"["EXISTS","changed"]"#), r#"{"result":0}"#, "one of them ran");
}

fn pre_signed_for_one_request(world: &World) {
    let url = presigned(&TENANT, &get("/v1/caches/default/keys/tenant-a:1"), world.http, Duration::from_secs(60));
    assert_eq!(world.send(&url).status, 200);
    let changed = |from: &str, to: &str| Request { target: url.target.replace(from, to), ..url.clone() };
    assert_ne!(changed("Expires=60", "Expires=600").target, url.target);
    for other in [
        changed("tenant-a:1", "tenant-a:2"),
        changed("Expires=60", "Expires=600"),
        Request { method: "DELETE".to_owned(), ..url.clone() },
        Request { target: format!("{}&ttl_ms=5", url.target), ..url.clone() },
    ] {
        assert_eq!(world.send(&other).status, 401, "{other:?}");
    }
    let theirs = presigned(&TENANT, &get("/get/tenant-b:1"), world.http, Duration::from_secs(60));
    assert_eq!(world.send(&theirs).status, 403, "a URL has its signer's rights");
    assert_eq!(world.send(&url.bearer("reader-token")).status, 400, "two credentials");
}

fn keys_of_every_kind(world: &World) {
    for key in ["plain", "a%20b", "%C3%A9%E2%82%AC", "a%2Fb", "a%2Bb", "a~b", "%25", "%2E%2E", "a:b@c", "%00"] {
        let target = format!("/v1/caches/default/keys/{key}");
        world.is(put(&target, key), &ROOT, 204, key);
        assert_eq!(world.is(get(&target), &ROOT, 200, key).body, key);
        world.is(Request::new("DELETE", &target, ""), &ROOT, 204, key);
    }
}

fn paths(world: &World) {
    let ping = |target: &str| post(target, r#"["PING"]"#);
    for target in ["/", "/caches/default", "/caches/default/"] {
        world.is(ping(target), &ROOT, 200, target);
    }
    for target in ["//", "/caches//default", "/caches/default//", "/caches/./default", "/caches/other/../default"] {
        world.is(ping(target), &ROOT, 400, target);
    }
    world.is(ping("/caches/other/").with("host", "default.cache.localhost"), &ROOT, 400, "path and Host differ");
    world.is(ping("/").with("host", "default.cache.localhost"), &ROOT, 200, "the Host names the cache");
    world.is(ping("/").with("host", "absent.cache.localhost"), &ROOT, 404, "no such cache");
    let foreign = signed(&ROOT, get("/v1/caches/default/keys/k").with("host", "rebound.example:8079"), world.http);
    assert_eq!(world.send(&foreign).status, 421);
    assert_eq!(world.send(&ping("/").with("authorization", "Basic dGVzdDp0ZXN0")).status, 400, "another scheme");
}

fn look_alikes(world: &World) {
    for key in ["Tenant-a:1", " tenant-a:1", "tenant-a", "x/tenant-a:1", "${aws:PrincipalTag/tenant}:1"] {
        world.is(post("/", &format!(r#"["SET","{key}","v"]"#)), &TENANT, 403, key);
    }
    world.is(post("/", r#"["SET","tenant-a:\n\u0000","v","PX","1"]"#), &TENANT, 200, "a key of its own, however odd");
}

fn transactions(world: &World) {
    // The second command keeps the TTL that the first one leaves: whoever is not limited by it need not know it.
    let own = r#"[["SET","tenant-a:n","1","EX","60"],["INCR","tenant-a:n"],["APPEND","tenant-a:n","0"]]"#;
    let answer = world.is(post("/multi-exec", own), &TENANT, 200, own);
    assert_eq!(answer.body, r#"[{"result":"OK"},{"result":2},{"result":2}]"#);
    let pipelined = r#"[["INCR","tenant-a:n"],["INCR","tenant-b:n"],["INCR","tenant-a:n"]]"#;
    let answer = world.is(post("/pipeline", pipelined), &TENANT, 200, pipelined);
    assert!(answer.body.starts_with(r#"[{"result":21},{"error":"NOPERM"#), "{answer:?}");
    assert!(answer.body.ends_with(r#"{"result":22}]"#), "{answer:?}");
}

fn lifetimes(world: &World) {
    let target = |rest: &str| format!("/v1/caches/default/keys/short:put{rest}");
    world.is(put(&target("?ttl_ms=3600000"), "v"), &SHORT, 204, "an hour");
    world.is(put(&target("?ttl_ms=3600001"), "v"), &SHORT, 403, "more than an hour");
    world.is(put(&target(""), "v"), &SHORT, 403, "for ever");
    world.is(put(&target(""), "v").with("cache-control", "max-age=60"), &SHORT, 204, "a minute");
    let command = |words: &str, status: u16| drop(world.is(post("/", words), &SHORT, status, words));
    command(r#"["EXPIRE","short:put","7200"]"#, 403);
    command(r#"["PEXPIRE","short:put","60000"]"#, 200);
    world.root(r#"["SET","short:long","v","EX","7200"]"#);
    command(r#"["RENAME","short:long","short:put"]"#, 403);
    command(r#"["GETEX","short:put","PERSIST"]"#, 403);
    command(r#"["GETEX","short:put","EX","30"]"#, 200);
    assert_eq!(world.root(r#"["TTL","short:put"]"#), r#"{"result":30}"#);
}

fn sessions(world: &World) {
    let made =
        |prefix: &str| post(&format!("/v1/caches/default/sessions{prefix}"), r#"{"data":{"n":1},"ttl_ms":60000}"#);
    let answer = world.is(made("?prefix=tenant-a:"), &TENANT, 201, "a session of its own");
    world.is(made("?prefix=tenant-b:"), &TENANT, 403, "another's");
    world.is(made(""), &TENANT, 403, "nobody's");
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let session = |prefix: &str| format!("/v1/caches/default/sessions/{}{prefix}", body["id"].as_str().unwrap());
    assert!(world.is(get(&session("?prefix=tenant-a:")), &TENANT, 200, "read").body.contains("\"n\":1"));
    world.is(get(&session("")), &TENANT, 403, "read elsewhere");
    let merged = Request::new("PATCH", &session("?prefix=tenant-a:"), r#"{"m":2}"#);
    world.is(merged, &TENANT, 200, "changed");
    world.is(Request::new("DELETE", &session("?prefix=tenant-a:"), ""), &TENANT, 204, "ended");
}

fn addresses(world: &World) {
    let stranger: IpAddr = STRANGER.parse().unwrap();
    let far = |request: &Request| request.send(stranger, world.http).unwrap().status;
    for claim in [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1"), ("x-real-ip", "127.0.0.1")] {
        assert_eq!(far(&signed(&ROOT, get("/get/k").with(claim.0, claim.1), world.http)), 403, "{claim:?}");
    }
    assert_eq!(far(&get("/get/k").bearer("reader-token")), 403);
    assert_eq!(far(&presigned(&ROOT, &get("/get/k"), world.http, Duration::from_secs(60))), 403);
    assert_eq!(far(&signed(&Sign { secret: "wrong", ..ROOT }, get("/get/k"), world.http)), 401, "nobody is told more");
}

/// A page that makes a browser speak HTTP to the RESP port reaches nothing.
fn browsers_at_the_resp_port(resp: SocketAddr) {
    for head in [
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n",
        "Host: localhost\r\nPING\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n",
    ] {
        let said = Resp::connect(HOME, resp).unwrap().send_and_read_to_end(head.as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&said).contains("PONG"), "{head:?} was answered with {said:?}");
    }
}
