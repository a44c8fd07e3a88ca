//! What a reload changes while a server runs: caches, listeners, certificates; and what it leaves to a restart.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use larder_tests::larder::{Larder, run, wait_for};
use larder_tests::wire::{HOME, Request, Resp, connect};

const ACCESS: &str = "[[principal]]\nname = \"root\"\n[[token]]\nsecret = \"root-token\"\nprincipal = \"root\"\n";

fn command(cache: &str, words: &str) -> Request {
    Request::new("POST", &format!("/caches/{cache}"), words).bearer("root-token")
}

/// An address of this test process alone, so that its port is free: a reload does not tell which port it was given.
fn place(nth: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 64 + nth, high, low.max(1)], 6379))
}

fn resp(to: SocketAddr) -> Resp {
    let mut resp = Resp::connect(HOME, to).unwrap();
    assert_eq!(resp.ask(&["AUTH", "root-token"]).unwrap(), "OK");
    resp
}

#[test]
fn caches_come_and_go_and_the_others_keep_their_data_and_their_callers() {
    let kept = format!("{ACCESS}[[cache]]\nname = \"kept\"\nlisten = \"127.0.0.1:0\"\n");
    let larder = Larder::start(&["up"], Some(&kept));
    let http = connect(HOME, larder.http()).unwrap();
    let ask = |cache: &str, words: &str| {
        let answer = command(cache, words).send_on(&http, larder.http()).unwrap();
        (answer.status, answer.body)
    };
    let mut held = resp(larder.resp("kept"));
    assert_eq!(held.ask(&["SET", "k", "v"]).unwrap(), "OK");
    assert_eq!(ask("added", r#"["GET","k"]"#).0, 404);

    let first = place(0);
    larder.reload(&format!("{kept}[[cache]]\nname = \"added\"\nlisten = \"{first}\"\n"));
    assert_eq!(ask("added", r#"["SET","k","w"]"#), (200, r#"{"result":"OK"}"#.to_owned()));
    let mut added = resp(first);
    assert_eq!(added.ask(&["GET", "k"]).unwrap(), "w");
    assert_eq!(held.ask(&["GET", "k"]).unwrap(), "v");

    // The listener moves, the data stays.
    let moved = place(1);
    larder.reload(&format!("{kept}[[cache]]\nname = \"added\"\nlisten = \"{moved}\"\n"));
    assert_eq!(resp(moved).ask(&["GET", "k"]).unwrap(), "w");
    wait_for(|| TcpStream::connect(first).is_err().then_some(()));

    larder.reload(&kept);
    assert_eq!(ask("added", r#"["GET","k"]"#).0, 404);
    wait_for(|| TcpStream::connect(moved).is_err().then_some(()));
    assert_eq!(held.ask(&["GET", "k"]).unwrap(), "v");
    assert_eq!(ask("kept", r#"["GET","k"]"#), (200, r#"{"result":"v"}"#.to_owned()));
}

#[test]
fn a_listener_that_cannot_be_had_is_told_and_the_rest_is_applied() {
    let config = format!("{ACCESS}[[cache]]\nname = \"default\"\n");
    let larder = Larder::start(&["up"], Some(&config));
    let taken = larder.admin();
    larder.reload(&format!("{config}[[cache]]\nname = \"late\"\nlisten = \"{taken}\"\n"));
    assert!(larder.log().contains(&taken.port().to_string()), "{}", larder.log());
    assert_eq!(command("late", r#"["PING"]"#).send(HOME, larder.http()).unwrap().status, 200);
}

#[test]
fn what_needs_a_restart_is_named_and_left_as_it_was() {
    let config = format!("{ACCESS}[[cache]]\nname = \"default\"\n");
    let larder = Larder::start(&["up"], Some(&config));
    larder.reload(&format!("workers = 1\n{config}[node]\nidle_timeout_ms = 5\n[[cache]]\nname = \"more\"\n"));
    for named in ["workers changed, which needs a restart", "node changed, which needs a restart"] {
        assert!(larder.log().contains(named), "{named} is not in {}", larder.log());
    }
    assert_eq!(command("more", r#"["PING"]"#).send(HOME, larder.http()).unwrap().status, 200);
}

/// Writes a new certificate for this machine and its key; answers the certificate.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.pem()
}

#[test]
fn a_new_certificate_is_shown_after_a_reload_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = format!("{ACCESS}[[cache]]\nname = \"default\"\n");
    let first = certify(folder.path());
    let words = ["up", "--tls-cert", &files("cert.pem"), "--tls-key", &files("key.pem")];
    let larder = Larder::start(&words, Some(&config));
    let trusts = |certificate: &str| {
        let pinned = folder.path().join("pinned.pem");
        std::fs::write(&pinned, certificate).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-H", "authorization: Bearer root-token", "--cacert"]).arg(pinned);
        let ended = run(curl.arg(format!("https://{}/ping", larder.http())));
        // 60: the certificate is not vouched for.
        assert!(ended.code == Some(60) || ended.out == r#"{"result":"PONG"}"#, "{ended:?}");
        ended.code == Some(0)
    };
    assert!(trusts(&first));
    let second = certify(folder.path());
    assert!(!trusts(&second), "it reads files without being asked to");
    larder.reload(&config);
    assert_eq!((trusts(&second), trusts(&first)), (true, false));
    std::fs::write(files("cert.pem"), "no certificate").unwrap();
    larder.reload(&config);
    assert!(trusts(&second), "a broken file took a good certificate away");
    assert!(larder.log().contains("the certificate stays as it was"), "{}", larder.log());
}
