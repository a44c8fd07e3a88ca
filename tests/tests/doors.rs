//! How RESP clients come in: by TLS with and without certificates of their own, by a Unix socket, through a proxy.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use larder_tests::larder::{Larder, run, target};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// `larder node` with these lines in its cache and behind it.
fn node(cache: &str, rest: &str) -> Larder {
    let config = format!("[[cache]]\nname = \"default\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n{cache}\n{rest}");
    Larder::start(&["node"], Some(&config))
}

/// The certificate of a running node, as a file.
fn pinned(larder: &Larder) -> PathBuf {
    let file = larder.folder().join("certificate.pem");
    std::fs::write(&file, larder.ready()["certificate_pem"].as_str().unwrap()).unwrap();
    file
}

/// What redis-cli says, both outputs together.
fn redis_cli(address: SocketAddr, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]).args(words);
    let ended = run(&mut command);
    format!("{}{}", ended.out, ended.err).trim().to_owned()
}

/// Sends bytes; what comes back until the server closes or is silent.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    // A listener that refuses the beginning closes, and then the rest cannot be written.
    let _ = stream.write_all(bytes);
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break "closed",
            Ok(n) => said.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break "open",
            Err(_) => break "closed",
        }
    };
    format!("{} {end}", String::from_utf8_lossy(&said).replace("\r\n", "|"))
}

const GENERATED: &str = "[tls]\ngenerated = true";

#[test]
fn redis_py_over_tls_and_over_a_unix_socket() {
    let larder = node("tls = \"required\"\nunix_socket = \"larder.sock\"", GENERATED);
    let (address, certificate) = (larder.resp("default"), pinned(&larder));
    let python = target("py/bin/python");
    assert!(python.exists(), "{} is missing: run `cargo xtask test`, which installs the clients", python.display());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/redis_py_tls.py"));
    command.args([&address.ip().to_string(), &address.port().to_string()]).arg(certificate);
    let ended = run(command.arg(larder.folder().join("larder.sock")));
    assert!(ended.code == Some(0) && ended.out.is_empty() && ended.err.is_empty(), "{ended:?}");
}

#[test]
fn tls_is_offered_required_or_absent() {
    let mode = |word: &str, tls: &str| {
        let larder = node(word, tls);
        let address = larder.resp("default");
        let secure = redis_cli(address, &["--tls", "--insecure", "ping"]);
        (secure == "PONG", redis_cli(address, &["ping"]) == "PONG")
    };
    assert_eq!(mode("", ""), (false, true));
    assert_eq!(mode("", GENERATED), (true, true));
    assert_eq!(mode("tls = \"preferred\"", GENERATED), (true, true));
    assert_eq!(mode("tls = \"required\"", GENERATED), (true, false));
    assert_eq!(mode("tls = \"off\"", GENERATED), (false, true));
    let larder = node("tls = \"required\"", GENERATED);
    let address = larder.resp("default");
    let pinned = pinned(&larder);
    let trusted = redis_cli(address, &["--tls", "--sni", "localhost", "--cacert", pinned.to_str().unwrap(), "ping"]);
    assert_eq!(trusted, "PONG");
    // A record that is no handshake, half a handshake, and nothing at all: none is answered, and none keeps others out.
    for bytes in [&b"PING\r\n"[..], b"\x17\x03\x03\0\x05hello", b"\x16\x03\x01\x02"] {
        let said = raw(address, bytes);
        assert!(!said.contains("PONG"), "{said}");
    }
    assert_eq!(redis_cli(address, &["--tls", "--insecure", "ping"]), "PONG");
}

/// A certificate and its key as PEM files.
fn write_pair(folder: &Path, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) -> (String, String) {
    let path = |kind: &str| folder.join(format!("{name}.{kind}.pem")).to_str().unwrap().to_owned();
    std::fs::write(path("cert"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("cert"), path("key"))
}

/// An authority, and a client's certificate of it.
fn authority(folder: &Path, name: &str) -> (String, (String, String)) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let (ca, _) = write_pair(folder, &format!("{name}-ca"), &params.self_signed(&key).unwrap(), &key);
    let issuer = Issuer::new(params, key);
    let client = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&client, &issuer).unwrap();
    (ca, write_pair(folder, &format!("{name}-client"), &signed, &client))
}

#[test]
fn clients_show_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, ours) = authority(folder.path(), "ours");
    let (_, strange) = authority(folder.path(), "strange");
    for required in [true, false] {
        let tls = format!("{GENERATED}\nclient_ca = {ca:?}\nclient_required = {required}");
        let larder = node("tls = \"required\"", &tls);
        let ping = |pair: Option<&(String, String)>| {
            let mut words = vec!["--tls", "--insecure"];
            words.extend(pair.iter().flat_map(|(cert, key)| ["--cert", cert, "--key", key]));
            words.push("ping");
            redis_cli(larder.resp("default"), &words) == "PONG"
        };
        assert_eq!((ping(Some(&ours)), ping(Some(&strange)), ping(None)), (true, false, !required));
    }
}

#[test]
fn a_reload_takes_the_new_certificate_and_keeps_the_connections() {
    let folder = tempfile::tempdir().unwrap();
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |pair: &rcgen::CertifiedKey<KeyPair>| write_pair(folder.path(), "node", &pair.cert, &pair.signing_key);
    let (first, second) = (pair(), pair());
    let (cert, key) = write(&first);
    let rest = format!("[tls]\ncert = {cert:?}\nkey = {key:?}");
    let larder = node("", &rest);
    let old = folder.path().join("old.pem");
    std::fs::copy(&cert, &old).unwrap();
    let ping = |ca: &str| {
        redis_cli(larder.resp("default"), &["--tls", "--sni", "localhost", "--cacert", ca, "ping"]) == "PONG"
    };
    assert!(ping(old.to_str().unwrap()));
    let mut open = TcpStream::connect(larder.resp("default")).unwrap();
    open.write_all(b"PING\r\n").unwrap();
    write(&second);
    let config = std::fs::read_to_string(larder.folder().join("larder.toml")).unwrap();
    larder.reload(&config);
    assert!(ping(&cert) && !ping(old.to_str().unwrap()));
    open.write_all(b"PING\r\n").unwrap();
    let mut said = [0; 14];
    open.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"+PONG\r\n+PONG\r\n");
}

#[test]
fn a_policy_sees_tls() {
    let rest = r#"
[tls]
generated = true
[[policy]]
name = "tls-only"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cache:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}'''
[[principal]]
name = "careful"
policies = ["tls-only"]
[[token]]
secret = "careful-token"
principal = "careful"
cache = "default"
"#;
    let config = format!("[[cache]]\nname = \"default\"\nlisten = \"127.0.0.1:0\"\n{rest}");
    let larder = Larder::start(&["node"], Some(&config));
    let ask = |tls: &[&str]| {
        redis_cli(
            larder.resp("default"),
            &[tls, &["-a", "careful-token", "--no-auth-warning", "set", "k", "v"]].concat(),
        )
    };
    assert_eq!(ask(&["--tls", "--insecure"]), "OK");
    assert!(ask(&[]).starts_with("NOPERM"), "{}", ask(&[]));
}

#[test]
fn a_unix_socket_is_there_while_the_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let flag = path.to_str().unwrap();
    let ping = |words: &[&str]| {
        let ended = run(Command::new("redis-cli").args(["-s", flag]).args(words));
        format!("{}{}", ended.out, ended.err).trim().to_owned()
    };
    let words = ["node", "--anonymous", "--listen", "0", "--unix-socket", flag];
    let mut larder = Larder::start(&words, None);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(ping(&["ping"]), "PONG");
    assert!(ping(&["client", "info"]).contains(&format!("addr={flag}:0 laddr={flag}:0")));
    assert_eq!(
        ping(&["config", "get", "unixsocket*"]).replace('\n', " "),
        format!("unixsocket {flag} unixsocketperm 700")
    );
    // A second node does not take it away.
    let ended = run(&mut Larder::command(&words, folder.path(), None));
    assert!(ended.code == Some(1) && ended.err.contains("in use"), "{ended:?}");
    assert_eq!(ping(&["ping"]), "PONG");
    larder.signal("TERM");
    assert!(larder.wait().success());
    assert!(!path.exists(), "the socket is left behind");
    // One that was killed leaves it, and the next replaces it.
    drop(Larder::start(&words, None));
    assert!(path.exists());
    let _larder = Larder::start(&words, None);
    assert_eq!(ping(&["ping"]), "PONG");
}

/// A PROXY protocol version 2 header of a TCP4 connection.
fn v2(ip: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let rest = [&ip[..], &[127, 0, 0, 1], &[0x12, 0x34, 0x18, 0xeb], tlvs].concat();
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &rest].concat()
}

#[test]
fn a_proxy_says_who_is_behind_it() {
    let behind = |source: &str| {
        let config = format!(
            r#"
[tls]
generated = true
[[cache]]
name = "default"
listen = "127.0.0.1:0"
source = "{source}"
security_groups = ["office"]
[[security_group]]
id = "office"
ingress = [{{ cidr = "192.0.2.0/24" }}]
[[principal]]
name = "root"
[[token]]
secret = "root-token"
principal = "root"
"#
        );
        Larder::start(&["node"], Some(&config))
    };
    let commands = b"AUTH root-token\r\nCLIENT INFO\r\n";
    let larder = behind("proxy-v2");
    let ask = |header: &[u8]| raw(larder.resp("default"), &[header, commands].concat());
    let said = ask(&v2([192, 0, 2, 7], b""));
    assert!(said.starts_with("+OK|") && said.contains(" addr=192.0.2.7:4660 ") && said.ends_with("open"), "{said}");
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 6379\r\n";
    let mut newer = v2([192, 0, 2, 7], b"");
    newer[12] = 0x31;
    for refused in [&v2([203, 0, 113, 7], b"")[..], b"", v1, &newer, &v2([192, 0, 2, 7], b"\xEA\0\x09\x01")] {
        assert_eq!(ask(refused), " closed", "{refused:?}");
    }
    let larder = behind("proxy-v1");
    let ask = |header: &[u8]| raw(larder.resp("default"), &[header, commands].concat());
    let said = ask(v1);
    assert!(said.starts_with("+OK|") && said.contains(" addr=192.0.2.7:4660 ") && said.ends_with("open"), "{said}");
    let stranger = b"PROXY TCP4 203.0.113.7 127.0.0.1 4660 6379\r\n";
    for refused in [&stranger[..], b"", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY UNKNOWN\r\n", &v2([192, 0, 2, 7], b"")] {
        assert_eq!(ask(refused), " closed", "{refused:?}");
    }
    // Where none was asked for, a header is no request.
    let larder = node("", "");
    assert!(raw(larder.resp("default"), &[v1, &b"PING\r\n"[..]].concat()).starts_with("-ERR unknown command"));
}

/// Who may log in by an IAM token, and a user with a password beside it.
const IAM: &str = r#"
[tls]
generated = true
[[cache]]
name = "default"
listen = "127.0.0.1:0"
[[policy]]
name = "connect"
document = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"elasticache:Connect","Resource":[
  "arn:aws:elasticache:us-east-1:000000000000:replicationgroup:default","arn:aws:elasticache:us-east-1:000000000000:user:iam-app"]}]}'''
[[principal]]
name = "role"
policies = ["connect"]
access_keys = [{ id = "AKIAROLE", secret = "role-secret" }]
[[user]]
name = "iam-app"
iam = true
access_string = "on ~app:* +@all"
caches = ["default"]
[[user]]
name = "password-app"
passwords = ["a-long-password"]
access_string = "on ~app:* +@all"
caches = ["default"]
"#;

#[test]
fn elasticache_iam_logins_as_aws_documents_them() {
    let larder = Larder::start(&["node"], Some(IAM));
    let address = larder.resp("default");
    let mut command = Command::new(target("py/bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/elasticache_iam.py"));
    command.args([&address.ip().to_string(), &address.port().to_string(), "AKIAROLE", "role-secret"]);
    let ended = run(&mut command);
    assert!(ended.code == Some(0) && ended.out.is_empty() && ended.err.is_empty(), "{ended:?}");
}

#[test]
fn a_connection_ends_with_its_credential() {
    let larder = Larder::start(&["up"], None);
    let minted = run(larder_tests::larder::command(&["token", "mint"]).args([
        "--key",
        "test",
        "--secret",
        "test",
        "--principal",
        "root",
        "--cache",
        "default",
        "--ttl",
        "3s",
        "--policy",
        r#"{"Statement":[{"Effect":"Allow","Action":"cache:*","Resource":"*"}]}"#,
    ]));
    let token = minted.out.trim();
    let mut stream = TcpStream::connect(larder.resp("default")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "AUTH {token}\r\nSUBSCRIBE a\r\n").unwrap();
    let mut said = String::new();
    // A silent subscriber is not told anything, and yet it is not kept.
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("+OK\r\n*3\r\n"), "{said}");
}
