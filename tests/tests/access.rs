//! Who may do what, from where: one list of cases against an embedded cache, a `larder node` behind a gateway, and
//! redis-server behind a gateway. Signatures are made by the aws-sigv4 crate: a second opinion on our verifier.
#![allow(clippy::unwrap_used)]

#[path = "access/edges.rs"]
mod edges;
#[path = "access/reload.rs"]
mod reload;
#[path = "access/sign.rs"]
mod sign;
#[path = "access/sources.rs"]
mod sources;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use larder_tests::larder::{Larder, Redis, binary};
use larder_tests::wire::{Answer, HOME, Request, Resp};
use sign::{Sign, presigned, signed};

/// An address that no security group lets in.
const STRANGER: &str = "127.0.0.9";
const ROOT: Sign = Sign::by("AKIAROOT", "root-secret");
const TENANT: Sign = Sign::by("AKIATENANTA", "tenant-secret");
const SHORT: Sign = Sign::by("AKIASHORT", "short-secret");
const TLS_ONLY: Sign = Sign::by("AKIATLS", "tls-secret");
const ELSEWHERE: Sign = Sign::by("AKIAELSE", "else-secret");

/// Who may do what, for every shape. `KEY` stands for the ARN of keys of the cache `default`.
const ACCESS: &str = r#"
[[security_group]]
id = "home"
ingress = [{ cidr = "127.0.0.1/32" }]

[[policy]]
name = "own-keys"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["cache:Read","cache:Write"],"Resource":"KEY/${aws:PrincipalTag/tenant}:*"}]}'''

[[policy]]
name = "an-hour"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cache:*","Resource":"KEY/short:*","Condition":{"NumericLessThanEquals":{"cache:TtlMs":"3600000"}}},
  {"Effect":"Allow","Action":"cache:Read","Resource":"KEY/short:*"}]}'''

[[policy]]
name = "tls-only"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cache:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}'''

[[policy]]
name = "elsewhere"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cache:*","Resource":"*"},
  {"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/24"}}}]}'''

[[principal]]
name = "root"
access_keys = [{ id = "AKIAROOT", secret = "root-secret" }]

[[principal]]
name = "tenant-a"
tags = { tenant = "tenant-a" }
policies = ["own-keys"]
access_keys = [{ id = "AKIATENANTA", secret = "tenant-secret" }]

[[principal]]
name = "short"
policies = ["an-hour"]
access_keys = [{ id = "AKIASHORT", secret = "short-secret" }]

[[principal]]
name = "tls"
policies = ["tls-only"]
access_keys = [{ id = "AKIATLS", secret = "tls-secret" }]

[[principal]]
name = "elsewhere"
policies = ["elsewhere"]
access_keys = [{ id = "AKIAELSE", secret = "else-secret" }]

[[token]]
name = "reader"
secret = "reader-token"
principal = "root"
cache = "default"
read_only = true

[[token]]
name = "tenant"
secret = "tenant-token"
principal = "tenant-a"
cache = "default"
"#;

const USERS: &str = r#"
[[user]]
name = "gateway"
passwords = ["gateway-password"]
access_string = "on ~* &* +@all"
caches = ["default"]

[[user]]
name = "tenant-a"
passwords = ["tenant-password"]
access_string = "on ~tenant-a:* +@all -@dangerous"
caches = ["default"]
"#;

fn access() -> String {
    ACCESS.replace("KEY/", "arn:aws:cache:us-east-1:000000000000:key/default/")
}

/// A gateway, and what is behind it.
struct World {
    http: SocketAddr,
    /// Where the tenant may log in over RESP.
    resp: Option<SocketAddr>,
    /// Processes, in the order of their end.
    running: (Larder, Option<Larder>, Option<Redis>),
}

const EMBEDDED: &str = "[[cache]]\nname = \"default\"\nlisten = \"127.0.0.1:0\"\nsecurity_groups = [\"home\"]\n\
                        [[cache]]\nname = \"other\"\n";

fn embedded_config() -> String {
    format!("{EMBEDDED}{}{USERS}", access())
}

fn remote(url: SocketAddr, login: &str) -> String {
    let other = "[[cache]]\nname = \"other\"\nremote = { url = \"redis://127.0.0.1:1\" }\n";
    format!(
        "[[cache]]\nname = \"default\"\nsecurity_groups = [\"home\"]\nremote = {{ url = \"redis://{url}\"{login} }}\n{other}{}",
        access()
    )
}

impl World {
    fn embedded() -> World {
        let larder = Larder::start(&["up"], Some(&embedded_config()));
        World { http: larder.http(), resp: Some(larder.resp("default")), running: (larder, None, None) }
    }

    fn node() -> World {
        let node = Larder::start(&["node", "--cache", "default"], Some(&embedded_config()));
        let login = ", user = \"gateway\", password = \"gateway-password\"";
        let gateway = Larder::start(&["gateway"], Some(&remote(node.resp("default"), login)));
        World { http: gateway.http(), resp: Some(node.resp("default")), running: (gateway, Some(node), None) }
    }

    fn redis() -> World {
        let redis = Redis::with("requirepass redis-password\n");
        let gateway = Larder::start(&["gateway"], Some(&remote(redis.address(), ", password = \"redis-password\"")));
        World { http: gateway.http(), resp: None, running: (gateway, None, Some(redis)) }
    }

    fn send(&self, request: &Request) -> Answer {
        request.send(HOME, self.http).unwrap()
    }

    /// A command of the command dialect, signed.
    fn command(&self, by: &Sign, words: &str) -> Answer {
        self.send(&signed(by, Request::new("POST", "/", words), self.http))
    }

    fn root(&self, words: &str) -> String {
        let answer = self.command(&ROOT, words);
        assert_eq!(answer.status, 200, "{words}: {answer:?}");
        answer.body
    }

    fn is(&self, request: Request, by: &Sign, status: u16, what: &str) -> Answer {
        let answer = self.send(&signed(by, request.clone(), self.http));
        assert_eq!(answer.status, status, "{what}: {request:?} was answered with {answer:?}");
        assert!(answer.header("x-request-id").is_some(), "{what}: no request id");
        answer
    }
}

fn get(target: &str) -> Request {
    Request::new("GET", target, "")
}

fn post(target: &str, body: &str) -> Request {
    Request::new("POST", target, body)
}

/// Every case, on one world.
fn all(world: &World) {
    world.root(r#"["FLUSHALL"]"#);
    world.root(r#"["MSET","tenant-a:1","mine","tenant-b:1","theirs"]"#);
    signatures(world);
    keys(world);
    mixtures(world);
    conditions(world);
    bearers(world);
    policy_tokens(world);
    network(world);
    browsers(world);
    edges::all(world);
    if let Some(resp) = world.resp {
        redis_protocol(resp);
    }
}

fn signatures(world: &World) {
    let (command, resource) = (post("/", r#"["GET","tenant-a:1"]"#), get("/v1/caches/default/keys/tenant-a:1"));
    for request in [&command, &resource] {
        assert!(world.is(request.clone(), &TENANT, 200, "its own key").body.contains("mine"));
        world.is(request.clone(), &Sign { secret: "wrong", ..TENANT }, 401, "wrong secret");
        world.is(request.clone(), &Sign { id: "AKIANOBODY", ..TENANT }, 401, "unknown key");
        world.is(request.clone(), &Sign { service: "s3", ..TENANT }, 401, "wrong service");
        world.is(request.clone(), &Sign { region: "eu-west-1", ..TENANT }, 401, "wrong region");
        for (skew_s, status) in [(-290, 200), (290, 200), (-310, 401), (310, 401)] {
            world.is(request.clone(), &Sign { skew_s, ..TENANT }, status, "skew");
        }
        assert_eq!(world.send(request).status, 401, "unsigned");
        let url = presigned(&TENANT, request, world.http, Duration::from_secs(60));
        assert_eq!(world.send(&url).status, 200, "pre-signed: {url:?}");
        let late = presigned(&Sign { skew_s: -100, ..TENANT }, request, world.http, Duration::from_secs(60));
        assert_eq!(world.send(&late).status, 401, "pre-signed and expired");
    }
    let mut tampered = signed(&TENANT, command, world.http);
    tampered.body = br#"["GET","tenant-a:2"]"#.to_vec();
    assert_eq!(world.send(&tampered).status, 401, "tampered body");
    let mut moved = signed(&TENANT, resource, world.http);
    moved.target = "/v1/caches/default/keys/tenant-a:2".to_owned();
    assert_eq!(world.send(&moved).status, 401, "another path");
}

fn keys(world: &World) {
    let put = |key: &str| Request::new("PUT", &format!("/v1/caches/default/keys/{key}"), "x");
    world.is(put("tenant-a:put"), &TENANT, 204, "its own key");
    world.is(put("tenant-b:put"), &TENANT, 403, "another's");
    world.is(get("/v1/caches/default/keys/tenant-b:1"), &TENANT, 403, "another's");
    world.is(get("/v1/caches/default/keys/tenant-a%3A1"), &TENANT, 200, "escaped");
    world.is(get("/v1/caches/default/keys/tenant-b%3A1"), &TENANT, 403, "escaped");
    world.is(Request::new("DELETE", "/v1/caches/default/keys/tenant-b:1", ""), &TENANT, 403, "another's");
    world.is(get("/get/tenant-b:1"), &TENANT, 403, "path form");
    world.is(post("/", r#"["GET","tenant-b:1"]"#), &TENANT, 403, "another's");
    world.is(post("/", r#"["RENAME","tenant-a:1","tenant-b:9"]"#), &TENANT, 403, "one of two keys");
    world.is(post("/", r#"["DBSIZE"]"#), &TENANT, 403, "the cache");
    world.is(post("/", r#"["FLUSHALL"]"#), &TENANT, 403, "the cache");
    world.is(get("/v1/caches/other/keys/tenant-a:1"), &TENANT, 403, "another cache");
    world.is(get("/v1/caches/missing/keys/tenant-a:1"), &TENANT, 404, "no such cache");
    assert_eq!(
        world.root(r#"["MGET","tenant-b:1","tenant-b:put","tenant-a:put"]"#),
        r#"{"result":["theirs",null,"x"]}"#
    );
}

fn mixtures(world: &World) {
    world.is(post("/", r#"["MGET","tenant-a:1","tenant-b:1"]"#), &TENANT, 403, "MGET of both");
    world.is(post("/", r#"["MSET","tenant-a:m","1","tenant-b:m","2"]"#), &TENANT, 403, "MSET of both");
    let mixed = r#"[["SET","tenant-a:m","1"],["SET","tenant-b:m","2"],["GET","tenant-a:1"]]"#;
    world.is(post("/multi-exec", mixed), &TENANT, 403, "a transaction of both");
    assert_eq!(world.root(r#"["EXISTS","tenant-a:m","tenant-b:m"]"#), r#"{"result":0}"#, "nothing ran");
    let answer = world.is(post("/pipeline", mixed), &TENANT, 200, "a pipeline of both");
    let entries: Vec<serde_json::Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&entries[0]["result"], &entries[2]["result"]), (&"OK".into(), &"mine".into()), "{answer:?}");
    assert!(entries[1]["error"].as_str().unwrap().starts_with("NOPERM"), "{answer:?}");
    assert_eq!(world.root(r#"["MGET","tenant-a:m","tenant-b:m"]"#), r#"{"result":["1",null]}"#, "the allowed ones ran");
}

fn conditions(world: &World) {
    let is = |words: &str, status: u16| drop(world.is(post("/", words), &SHORT, status, words));
    is(r#"["SET","short:1","v"]"#, 403);
    is(r#"["SET","short:1","v","EX","7200"]"#, 403);
    is(r#"["SET","short:1","v","EX","60"]"#, 200);
    is(r#"["APPEND","short:1","w"]"#, 200);
    is(r#"["PERSIST","short:1"]"#, 403);
    is(r#"["APPEND","short:new","w"]"#, 403);
    is(r#"["GET","short:1"]"#, 200);
    world.root(r#"["SET","short:2","v"]"#);
    is(r#"["APPEND","short:2","w"]"#, 403);
    let keep = r#"[["SET","short:1","v","KEEPTTL"],["SET","short:2","v","KEEPTTL"]]"#;
    let answer = world.is(post("/pipeline", keep), &SHORT, 200, keep);
    assert!(answer.body.starts_with(r#"[{"result":"OK"},{"error":"NOPERM"#), "{answer:?}");
    world.is(post("/multi-exec", keep), &SHORT, 403, keep);
    world.is(post("/", r#"["GET","k"]"#), &TLS_ONLY, 403, "no TLS here");
    world.is(post("/", r#"["GET","k"]"#), &ELSEWHERE, 403, "denied from home");
}

fn bearers(world: &World) {
    let send = |token: &str, request: Request| world.send(&request.bearer(token));
    assert_eq!(send("reader-token", get("/get/tenant-b:1")).body, r#"{"result":"theirs"}"#);
    assert_eq!(send("reader-token", post("/", r#"["SET","k","v"]"#)).status, 403, "read-only");
    assert_eq!(send("reader-token", post("/", r#"["GETDEL","tenant-b:1"]"#)).status, 403, "read-only");
    assert_eq!(send("tenant-token", get("/get/tenant-a:1")).status, 200);
    assert_eq!(send("tenant-token", get("/get/tenant-b:1")).status, 403);
    assert_eq!(send("tenant-token", get("/caches/other/get/tenant-a:1")).status, 400, "bound to another cache");
    assert_eq!(send("nobody's", get("/get/tenant-a:1")).status, 401);
    assert_eq!(world.send(&get("/get/tenant-a:1?_token=tenant-token")).status, 400, "tokens in URLs are off");
    assert_eq!(send("tenant-token", get("/set/tenant-a:get/v")).status, 405, "GET does not write");
}

fn larder(words: &[&str]) -> String {
    let out = Command::new(binary()).args(words).env("AWS_SECRET_ACCESS_KEY", "tenant-secret").output().unwrap();
    assert!(out.status.success(), "larder {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn policy(action: &str, key: &str) -> String {
    let arn = format!("arn:aws:cache:us-east-1:000000000000:key/default/{key}");
    format!(r#"{{"Statement":{{"Effect":"Allow","Action":"{action}","Resource":"{arn}"}}}}"#)
}

fn policy_tokens(world: &World) {
    let mint = ["token", "mint", "--key", "AKIATENANTA", "--principal", "tenant-a", "--policy"];
    let read_all = larder(&[&mint[..], &[&policy("cache:Read", "*")]].concat());
    let is = |token: &str, request: Request, status: u16, what: &str| {
        let answer = world.send(&request.bearer(token));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    };
    is(&read_all, get("/get/tenant-a:1"), 200, "its issuer's right");
    is(&read_all, get("/get/tenant-b:1"), 403, "it cannot widen its issuer's rights");
    is(&read_all, post("/", r#"["SET","tenant-a:1","v"]"#), 403, "it narrows them");
    is(&read_all, get("/caches/other/get/tenant-a:1"), 400, "it is for one cache");
    let narrowed = larder(&["token", "mint", "--narrow", &read_all, "--policy", &policy("cache:*", "tenant-a:m")]);
    is(&narrowed, get("/get/tenant-a:m"), 200, "narrowed");
    is(&narrowed, get("/get/tenant-a:1"), 403, "narrowed");
    is(&narrowed, post("/", r#"["SET","tenant-a:m","v"]"#), 403, "its parent forbids it");
    let wide = larder(&["token", "mint", "--narrow", &narrowed, "--policy", &policy("cache:*", "*")]);
    is(&wide, get("/get/tenant-a:1"), 403, "a child cannot have more than its parent");
    let (head, signature) = read_all.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    is(&format!("{head}.{first}{}", &signature[1..]), get("/get/tenant-a:1"), 401, "another signature");
    is(&narrowed[..narrowed.len() - 2], get("/get/tenant-a:m"), 401, "cut");
    let root =
        [&["token", "mint", "--key", "AKIATENANTA", "--principal", "root", "--policy"][..], &[&policy("cache:*", "*")]];
    is(&larder(&root.concat()), get("/get/tenant-a:1"), 401, "its key is not its issuer's");
}

fn network(world: &World) {
    let stranger: IpAddr = STRANGER.parse().unwrap();
    let request = signed(&ROOT, get("/get/tenant-a:1"), world.http);
    // The gateway has a cache that admits all of loopback, so this is asked per cache, after the signature.
    let answer = request.send(stranger, world.http).unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(!answer.body.contains("mine"));
    if let Some(resp) = world.resp {
        let reply = Resp::connect(stranger, resp).and_then(|mut client| client.ask(&["PING"]));
        assert!(reply.is_err(), "a stranger was answered with {reply:?}");
    }
}

fn browsers(world: &World) {
    let with = |name: &str, value: &str| {
        world.send(&signed(&ROOT, get("/get/tenant-a:1"), world.http).with(name, value)).status
    };
    assert_eq!(with("origin", "https://evil.example"), 403);
    assert_eq!(with("sec-fetch-site", "cross-site"), 403);
    assert_eq!(with("sec-fetch-site", "same-origin"), 200);
    let foreign = get("/get/tenant-a:1").with("host", "evil.example").bearer("reader-token");
    assert_eq!(world.send(&foreign).status, 421);
}

fn redis_protocol(resp: SocketAddr) {
    let mut client = Resp::connect(HOME, resp).unwrap();
    assert!(client.ask(&["GET", "tenant-a:1"]).unwrap().starts_with("-NOAUTH"));
    assert!(client.ask(&["AUTH", "tenant-a", "wrong"]).unwrap().starts_with("-WRONGPASS"));
    assert_eq!(client.ask(&["AUTH", "tenant-a", "tenant-password"]).unwrap(), "OK");
    assert_eq!(client.ask(&["GET", "tenant-a:1"]).unwrap(), "mine");
    for refused in [&["GET", "tenant-b:1"][..], &["MGET", "tenant-a:1", "tenant-b:1"], &["FLUSHALL"]] {
        assert!(client.ask(refused).unwrap().starts_with("-NOPERM"), "{refused:?}");
    }
    assert_eq!(client.ask(&["MULTI"]).unwrap(), "OK");
    assert_eq!(client.ask(&["SET", "tenant-a:resp", "1"]).unwrap(), "QUEUED");
    assert!(client.ask(&["SET", "tenant-b:resp", "1"]).unwrap().starts_with("-NOPERM"));
    assert!(client.ask(&["EXEC"]).unwrap().starts_with("-EXECABORT"));
    assert_eq!(client.ask(&["EXISTS", "tenant-a:resp"]).unwrap(), ":0");
}

#[test]
fn an_embedded_cache() {
    all(&World::embedded());
}

#[test]
fn a_node_behind_a_gateway() {
    all(&World::node());
}

#[test]
fn redis_behind_a_gateway() {
    all(&World::redis());
}

#[test]
fn strangers_are_met_as_configured_before_they_are_read() {
    let only = "[[cache]]\nname = \"default\"\nlisten = \"127.0.0.1:0\"\nsecurity_groups = [\"home\"]\n";
    let stranger: IpAddr = STRANGER.parse().unwrap();
    let larder = Larder::start(&["up"], Some(&format!("{only}{}", access())));
    let answer = get("/").send(stranger, larder.http()).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    let silent = Larder::start(&["up"], Some(&format!("{only}{}[http]\non_refuse = \"drop\"\n", access())));
    assert!(get("/").send(stranger, silent.http()).is_err(), "a stranger was answered");
    assert_eq!(get("/").send(HOME, silent.http()).unwrap().status, 401);
}

#[test]
fn a_changed_rule_bites_on_open_connections_and_drops_none() {
    let config = embedded_config();
    let larder = Larder::start(&["up"], Some(&config));
    let http = larder_tests::wire::connect(HOME, larder.http()).unwrap();
    let mut resp = Resp::connect(HOME, larder.resp("default")).unwrap();
    let ask = |status: u16| {
        let request = signed(&TENANT, get("/get/tenant-a:1"), larder.http());
        assert_eq!(request.send_on(&http, larder.http()).unwrap().status, status);
    };
    assert_eq!(resp.ask(&["AUTH", "tenant-a", "tenant-password"]).unwrap(), "OK");
    assert_eq!(resp.ask(&["SET", "tenant-a:1", "v"]).unwrap(), "OK");
    ask(200);
    let token = larder_token(&["--id", "t-1"]);
    let bearer = |status: u16| {
        let answer = get("/get/tenant-a:1").bearer(&token).send_on(&http, larder.http()).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    };
    bearer(200);
    let narrowed = config.replace("on ~tenant-a:* +@all -@dangerous", "on ~tenant-a:2 +@all");
    larder.reload(&format!(
        "revoked_tokens = [\"t-1\"]\n{}",
        narrowed.replace("PrincipalTag/tenant}:*", "PrincipalTag/tenant}:2")
    ));
    ask(403);
    bearer(401);
    assert!(resp.ask(&["GET", "tenant-a:1"]).unwrap().starts_with("-NOPERM"));
    assert_eq!(resp.ask(&["EXISTS", "tenant-a:2"]).unwrap(), ":0", "the connection lives");
    let before = larder.log().len();
    std::fs::write(larder.folder().join("larder.toml"), "nonsense = 1\n").unwrap();
    larder.signal("HUP");
    larder_tests::larder::wait_for(|| larder.log()[before..].contains("nonsense").then_some(()));
    ask(403);
    larder.reload(&config);
    ask(200);
    bearer(200);
    assert_eq!(resp.ask(&["GET", "tenant-a:1"]).unwrap(), "v", "the data lives");
}

/// A token of the tenant's that may only read.
fn larder_token(more: &[&str]) -> String {
    let policy = policy("cache:Read", "*");
    let words = ["token", "mint", "--key", "AKIATENANTA", "--principal", "tenant-a", "--policy", &policy];
    larder(&[&words, more].concat())
}
