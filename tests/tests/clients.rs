//! Client libraries that people use, unchanged, against a running `larder up`. The scripts are in `tests/clients/`; they
//! print failures only. `cargo xtask test` installs the libraries under the target folder.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use larder_tests::larder::{Larder, target};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A part of the installed clients, which a fresh checkout has not.
fn installed(path: &str) -> PathBuf {
    let found = target(path);
    assert!(found.exists(), "{} is missing: run `cargo xtask test`, which installs the clients", found.display());
    found
}

fn node() -> Command {
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed("node/node_modules"));
    node
}

fn python() -> Command {
    Command::new(installed("py/bin/python"))
}

/// Runs a script to its end; what it prints are failures.
fn run(mut command: Command, script_name: &str, arguments: &[&str]) {
    let out = command.arg(script(script_name)).args(arguments).output();
    let out = out.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(out.status.success() && said.is_empty(), "{script_name} ended with {}:\n{said}", out.status);
}

#[test]
fn upstash_redis() {
    let larder = Larder::up();
    run(node(), "upstash.cjs", &[&format!("http://{}", larder.http()), "larder-dev-token"]);
}

#[test]
fn ioredis() {
    let resp = Larder::up();
    let address = resp.resp("default");
    run(node(), "ioredis.cjs", &[&address.ip().to_string(), &address.port().to_string()]);
}

#[test]
fn redis_py() {
    let larder = Larder::up();
    let address = larder.resp("default");
    run(python(), "redis_py.py", &[&address.ip().to_string(), &address.port().to_string()]);
}

/// Runs a script that is told where RESP is spoken.
fn run_over_resp(command: Command, script_name: &str) {
    let larder = Larder::up();
    let address = larder.resp("default");
    run(command, script_name, &[&address.ip().to_string(), &address.port().to_string()]);
}

#[test]
fn redis_py_with_asyncio() {
    run_over_resp(python(), "redis_py_async.py");
}

#[test]
fn a_rate_limiter_in_lua() {
    run_over_resp(node(), "rate_limiter.cjs");
}

#[test]
fn sessions_of_a_web_server() {
    run_over_resp(node(), "sessions.cjs");
}

#[test]
fn a_job_queue() {
    run_over_resp(node(), "bullmq.cjs");
}

#[test]
fn job_queues_of_python() {
    run_over_resp(python(), "job_queues.py");
}

#[test]
fn the_signer_of_botocore() {
    let larder = Larder::up();
    run(python(), "sigv4.py", &[&larder.http().to_string(), "test", "test"]);
}

/// What curl prints: the body, and behind it a line with the status and the HTTP version.
fn curl(arguments: &[&str]) -> String {
    let out = Command::new("curl").args(["-sS", "-w", "\n%{http_code} HTTP/%{http_version}"]).args(arguments).output();
    let out = out.expect("curl is missing: `cargo xtask test` installs it");
    assert!(out.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

const SIGNED: [&str; 4] = ["--aws-sigv4", "aws:amz:us-east-1:elasticache", "--user", "test:test"];

#[test]
fn curl_signs_by_itself() {
    let larder = Larder::up();
    let url = |path: &str| format!("http://{}{path}", larder.http());
    let signed = |arguments: &[&str]| curl(&[&SIGNED, arguments].concat());
    let set = signed(&[&url("/"), "-d", r#"["SET","greeting","hello"]"#]);
    assert_eq!(set, "{\"result\":\"OK\"}\n200 HTTP/1.1");
    assert_eq!(signed(&[&url("/get/greeting")]), "{\"result\":\"hello\"}\n200 HTTP/1.1");
    let key = url("/v1/caches/default/keys/page");
    assert_eq!(signed(&["-X", "PUT", &key, "--data-binary", "<p>"]), "\n204 HTTP/1.1");
    assert_eq!(signed(&[&key]), "<p>\n200 HTTP/1.1");
    let pipeline = signed(&[&url("/pipeline"), "-d", r#"[["GET","page"],["GET","greeting"]]"#]);
    assert_eq!(pipeline, "[{\"result\":\"<p>\"},{\"result\":\"hello\"}]\n200 HTTP/1.1");
    let wrong = ["--aws-sigv4", "aws:amz:us-east-1:elasticache", "--user", "test:wrong"];
    assert!(curl(&[&wrong[..], &[&url("/get/greeting")]].concat()).ends_with("\n401 HTTP/1.1"));
    let other = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "test:test"];
    assert!(curl(&[&other[..], &[&url("/get/greeting")]].concat()).ends_with("\n401 HTTP/1.1"));
}

#[test]
fn curl_over_tls_with_http_2() {
    let config = r#"
[tls]
generated = true
[[cache]]
name = "default"
[[policy]]
name = "tls"
document = '''{"Statement":{"Effect":"Allow","Action":"cache:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}}'''
[[principal]]
name = "careful"
policies = ["tls"]
access_keys = [{ id = "test", secret = "test" }]
"#;
    let larder = Larder::start(&["up"], Some(config));
    let pinned = larder.folder().join("certificate.pem");
    std::fs::write(&pinned, larder.ready()["certificate_pem"].as_str().unwrap()).unwrap();
    let url = format!("https://{}/", larder.http());
    let set = ["-d", r#"["SET","k","v","EX","60"]"#, &url];
    for trust in [&["--insecure"][..], &["--cacert", pinned.to_str().unwrap()]] {
        for (version, spoken) in [("--http2", "HTTP/2"), ("--http1.1", "HTTP/1.1")] {
            let said = curl(&[&SIGNED, trust, &[version], &set].concat());
            assert_eq!(said, format!("{{\"result\":\"OK\"}}\n200 {spoken}"));
        }
    }
    // A certificate that nobody vouches for is not believed by default.
    let strict = Command::new("curl").args(["-sS", &url]).output().unwrap();
    assert_eq!(strict.status.code(), Some(60), "{strict:?}");
}
