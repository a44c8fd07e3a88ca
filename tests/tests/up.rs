//! The life of a server: what it says when it is ready, whose port it wants, how it is watched and how it stops.
#![allow(clippy::unwrap_used)]

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use larder_tests::larder::{Ended, Larder, command, run, target, wait_for};
use larder_tests::wire::{Answer, HOME, Request, Resp, connect, read_answer};

fn get(to: SocketAddr, target: &str) -> Answer {
    Request::new("GET", target, "").send(HOME, to).unwrap()
}

/// The lines of a banner that begin with a program, as a person would paste them.
fn lines_to_paste(banner: &str) -> Vec<&str> {
    let pasted = |line: &&str| line.starts_with("curl ") || line.starts_with("redis-cli ");
    banner.lines().map(str::trim_start).filter(pasted).collect()
}

fn paste(line: &str) -> String {
    let ended = run(Command::new("sh").args(["-c", line]).stdin(Stdio::null()));
    assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    ended.out.trim_end().to_owned()
}

#[test]
fn every_line_of_the_banner_does_what_it_promises() {
    let larder = Larder::up();
    let banner = larder.banner();
    let lines = lines_to_paste(&banner);
    let said: Vec<_> = lines.iter().map(|line| paste(line)).collect();
    assert_eq!(said, [r#"{"result":"OK"}"#, r#"{"result":"hello"}"#, "hello"], "{banner}");
    for address in [format!("redis://{}", larder.resp("default")), format!("http://{}", larder.http())] {
        assert!(banner.contains(&address), "{address} is not in {banner}");
    }
    let pages = banner.split_whitespace().filter(|word| word.ends_with("/readyz") || word.contains("/_larder/"));
    let pages: Vec<_> = pages.chain(banner.split_whitespace().filter(|word| word.ends_with("/metrics"))).collect();
    assert_eq!(pages.len(), 3, "{banner}");
    for page in pages {
        let (address, path) = page.strip_prefix("http://").unwrap().split_once('/').unwrap();
        assert_eq!(get(address.parse().unwrap(), &format!("/{path}")).status, 200, "{page}");
    }
}

#[test]
fn the_banner_of_https_works_too() {
    let larder = Larder::start(&["up", "--tls-generated", "--resp", "0"], None);
    let said: Vec<_> = lines_to_paste(&larder.banner()).iter().map(|line| paste(line)).collect();
    assert_eq!(said, [r#"{"result":"OK"}"#, r#"{"result":"hello"}"#, "hello"], "{}", larder.banner());
}

#[test]
fn the_script_of_the_banner_runs() {
    let larder = Larder::up();
    let banner = larder.banner();
    let set = lines_to_paste(&banner)[0];
    paste(set);
    let script = ["import ", "const redis", "console.log"].map(|start| {
        let found = banner.lines().map(str::trim_start).find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in {banner}"))
    });
    let modules = target("node");
    assert!(modules.exists(), "{} is missing: run `cargo xtask test`, which installs it", modules.display());
    let mut node = Command::new("node");
    let ended = run(node.args(["--input-type=module", "-e", &script.join("\n")]).current_dir(modules));
    assert_eq!((ended.code, ended.out.trim_end()), (Some(0), "hello"), "{ended:?}");
}

#[test]
fn http_wants_a_credential_even_where_resp_wants_none() {
    let larder = Larder::up();
    assert_eq!(Resp::connect(HOME, larder.resp("default")).unwrap().ask(&["SET", "k", "v"]).unwrap(), "OK");
    for request in [get(larder.http(), "/get/k"), get(larder.http(), "/v1/caches/default/keys/k")] {
        assert_eq!(request.status, 401, "{request:?}");
        assert!(request.body.contains("WRONGPASS"), "{request:?}");
    }
    let bearer = Request::new("GET", "/get/k", "").bearer("larder-dev-token");
    assert_eq!(bearer.send(HOME, larder.http()).unwrap().body, r#"{"result":"v"}"#);
}

#[test]
fn without_a_word_it_is_up() {
    let larder = Larder::start(&["--resp", "0", "--http", "0", "--aws", "0"], None);
    assert!(larder.banner().contains("Larder is up"), "{}", larder.banner());
    assert_eq!(get(larder.admin(), "/readyz").status, 200);
}

#[test]
fn the_ready_file_tells_where_everything_is_while_it_runs() {
    let mut larder = Larder::up();
    let ready = larder.ready().clone();
    assert_eq!(ready["pid"], larder.pid());
    assert_eq!((&ready["tls"], &ready["certificate_pem"]), (&false.into(), &serde_json::Value::Null));
    let names: Vec<_> = ready["caches"].as_array().unwrap().iter().map(|cache| &cache["name"]).collect();
    assert_eq!(names, ["default", "sessions"]);
    for address in [larder.http(), larder.aws(), larder.admin(), larder.resp("default")] {
        assert!(address.port() != 0 && TcpStream::connect(address).is_ok(), "{address}");
    }
    larder.signal("TERM");
    assert_eq!(larder.wait().code(), Some(0));
    assert!(!larder.folder().join("ready").exists(), "the file outlives the server");
}

#[test]
fn an_old_ready_file_does_not_outlive_a_start_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    std::fs::write(&file, "{}").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = taken.local_addr().unwrap().to_string();
    let mut up = command(&["up", "--admin", "0", "--aws", "0", "--resp", "0", "--http", &http, "--ready-file"]);
    assert_eq!(run(up.arg(&file)).code, Some(1));
    assert!(!file.exists(), "somebody would believe it");
}

/// One message of one line for people, and no trace of a crash.
fn assert_one_line(ended: &Ended) {
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert!(ended.err.starts_with("larder: ") && ended.out.is_empty(), "{ended:?}");
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (taken.local_addr().unwrap().to_string(), taken.local_addr().unwrap().port().to_string());
    let gateway = tempfile::tempdir().unwrap();
    let config = gateway.path().join("larder.toml");
    std::fs::write(&config, "[[cache]]\nname = \"default\"\nremote = { url = \"redis://127.0.0.1:1\" }\n").unwrap();
    let config = config.to_str().unwrap();
    for (words, flags) in [
        (&["up"][..], &["--http", "--aws", "--admin", "--resp"][..]),
        (&["gateway", "--config", config], &["--http", "--admin"]),
        (&["node", "--anonymous"], &["--listen", "--admin"]),
    ] {
        for flag in flags {
            let addresses = flags.iter().flat_map(|each| [*each, if each == flag { &*address } else { "0" }]);
            let ended = run(command(words).args(addresses));
            assert_eq!(ended.code, Some(1), "{words:?} {flag}: {ended:?}");
            assert_one_line(&ended);
            assert!(ended.err.contains(&port) && ended.err.contains(flag), "{words:?} {flag}: {ended:?}");
        }
    }
}

#[test]
fn development_credentials_are_for_this_machine_only() {
    for (flag, setting) in
        [("--http", "http.listen"), ("--aws", "aws.listen"), ("--admin", "admin.listen"), ("--resp", "cache[0].listen")]
    {
        let flags = ["--http", "--aws", "--admin", "--resp"];
        let addresses = flags.iter().flat_map(|each| [*each, if *each == flag { "0.0.0.0:0" } else { "0" }]);
        let ended = run(command(&["up"]).args(addresses));
        assert_eq!(ended.code, Some(1), "{flag}: {ended:?}");
        assert!(ended.err.contains(setting) && ended.err.contains("development credentials"), "{flag}: {ended:?}");
    }
}

#[test]
fn health_and_metrics_are_told_on_their_own_listener() {
    let larder = Larder::up();
    let (admin, aws) = (larder.admin(), larder.aws());
    let request = Request::new("GET", "/get/x", "").bearer("larder-dev-token");
    assert_eq!(request.send(HOME, larder.http()).unwrap().status, 200);
    assert_eq!(get(larder.http(), "/get/x").status, 401);
    for (to, path, body) in
        [(admin, "/livez", "live\n"), (admin, "/readyz", "ready\n"), (aws, "/_larder/health", "ready\n")]
    {
        let answer = get(to, path);
        assert_eq!((answer.status, &*answer.body), (200, body), "{path}");
    }
    for (to, path) in [(admin, "/metrics"), (aws, "/_larder/metrics")] {
        let page = get(to, path);
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{page:?}");
        assert!(page.body.ends_with("# EOF\n"), "{}", page.body);
        assert!(sum(&page.body, "larder_cache_commands_total", "command=\"GET\"") == 1, "{}", page.body);
    }
    for (to, method, path, status) in [
        (admin, "GET", "/", 404),
        (admin, "GET", "/_larder/health", 404),
        (admin, "POST", "/readyz", 405),
        (aws, "GET", "/_larder/else", 404),
        (aws, "GET", "/_larder/console", 501),
        (aws, "POST", "/", 501),
        (aws, "DELETE", "/_larder/metrics", 405),
    ] {
        assert_eq!(Request::new(method, path, "").send(HOME, to).unwrap().status, status, "{method} {path}");
    }
    for to in [admin, aws] {
        let with = |name: &str, value: &str| {
            let path = if to == admin { "/metrics" } else { "/_larder/metrics" };
            Request::new("GET", path, "").with(name, value).send(HOME, to).unwrap().status
        };
        assert_eq!(with("host", "rebound.example"), 421);
        assert_eq!(with("origin", "https://evil.example"), 403);
        assert_eq!(with("sec-fetch-site", "cross-site"), 403);
    }
}

/// The sum of the series of a name that carry a label.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let series = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_node_and_a_gateway_are_watched_the_same_way() {
    let node = Larder::start(&["node", "--anonymous", "--listen", "0"], None);
    let config = format!("[[cache]]\nname = \"default\"\nremote = {{ url = \"redis://{}\" }}\n", node.resp("default"));
    let gateway = Larder::start(&["gateway"], Some(&config));
    for larder in [&node, &gateway] {
        assert_eq!((get(larder.admin(), "/readyz").status, get(larder.admin(), "/livez").status), (200, 200));
        assert!(get(larder.admin(), "/metrics").body.ends_with("# EOF\n"));
    }
    assert!(gateway.ready()["aws"].is_null() && node.ready()["http"].is_null());
}

#[test]
fn metrics_on_a_network_address_are_for_administrators() {
    let config = r#"
[http]
listen = "127.0.0.1:0"
[[cache]]
name = "default"
[[principal]]
name = "root"
[[token]]
secret = "administrator"
principal = "root"
[[policy]]
name = "read"
document = '{"Statement":{"Effect":"Allow","Action":"cache:Read","Resource":"*"}}'
[[principal]]
name = "reader"
policies = ["read"]
[[token]]
secret = "reader"
principal = "reader"
cache = "default"
"#;
    let larder = Larder::start(&["up", "--admin", "0.0.0.0:0"], Some(config));
    let admin = SocketAddr::new(HOME, larder.admin().port());
    let metrics = Request::new("GET", "/metrics", "");
    let status = |request: &Request| request.send(HOME, admin).unwrap().status;
    assert_eq!(status(&metrics), 401);
    assert_eq!(status(&metrics.clone().bearer("reader")), 401);
    assert_eq!(status(&metrics.clone().bearer("administrator")), 200);
    let health = get(admin, "/readyz");
    assert_eq!((health.status, &*health.body), (200, "ready\n"));
}

/// A PUT whose head has been taken and whose body is awaited.
fn under_way(larder: &Larder) -> TcpStream {
    let mut stream = connect(HOME, larder.http()).unwrap();
    let put = Request::new("PUT", "/v1/caches/default/keys/drained", "");
    let put = put.bearer("larder-dev-token").with("content-length", "5").with("expect", "100-continue");
    stream.write_all(&put.bytes(larder.http())).unwrap();
    // The answer to Expect says that the request is being served: nothing of it is left in the kernel.
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_stop_answers_what_is_under_way_and_waits_for_nobody_else() {
    let mut larder = Larder::start(&["up", "--resp", "0", "--drain-timeout", "600"], None);
    let mut request = under_way(&larder);
    let mut resp = Resp::connect(HOME, larder.resp("default")).unwrap();
    assert_eq!(resp.ask(&["PING"]).unwrap(), "PONG");
    let mut blocked = Resp::connect(HOME, larder.resp("default")).unwrap();
    blocked.send(&["BLPOP", "nothing", "0"]).unwrap();
    wait_for(|| resp.ask(&["INFO", "clients"]).unwrap().contains("blocked_clients:1").then_some(()));
    let idle = connect(HOME, larder.http()).unwrap();
    let ping = Request::new("POST", "/", r#"["PING"]"#).bearer("larder-dev-token");
    assert_eq!(ping.send_on(&idle, larder.http()).unwrap().status, 200);
    larder.signal("TERM");
    wait_for(|| TcpStream::connect(larder.http()).is_err().then_some(()));
    assert!(larder.is_running(), "it stopped with a request under way");
    request.write_all(b"value").unwrap();
    let answer = read_answer(&mut BufReader::new(&request), false).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (204, Some("close")), "{answer:?}");
    assert_eq!(larder.wait().code(), Some(0), "{}", larder.log());
}

#[test]
fn a_stop_cuts_what_takes_longer_than_the_drain_timeout() {
    let mut larder = Larder::start(&["up", "--resp", "0", "--drain-timeout", "0.05"], None);
    let _request = under_way(&larder);
    larder.signal("INT");
    assert_eq!(larder.wait().code(), Some(0));
    assert!(larder.log().contains("cut"), "{}", larder.log());
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut larder = Larder::start(&["up", "--resp", "0", "--drain-timeout", "600"], None);
    let _request = under_way(&larder);
    larder.signal("TERM");
    wait_for(|| TcpStream::connect(larder.http()).is_err().then_some(()));
    larder.signal("TERM");
    assert_eq!(larder.wait().code(), Some(3), "{}", larder.log());
}

#[test]
fn a_backend_that_is_away_is_told_as_such() {
    let config = "[[cache]]\nname = \"default\"\nremote = { url = \"redis://127.0.0.1:1\", timeout_ms = 2000 }\n\
                  [[principal]]\nname = \"root\"\n[[token]]\nsecret = \"t\"\nprincipal = \"root\"\n";
    let larder = Larder::start(&["gateway"], Some(config));
    let answer = Request::new("GET", "/get/x", "").bearer("t").send(HOME, larder.http()).unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.starts_with(r#"{"error":"ERR "#), "{answer:?}");
    let answer = Request::new("GET", "/v1/caches/default/keys/x", "").bearer("t").send(HOME, larder.http()).unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("application/problem+json")), "{answer:?}");
}
