//! The words of `larder` that start nothing: checking, printing, explaining, minting, simulating; and their exit codes.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use larder_tests::larder::{Ended, command, run};
use tempfile::TempDir;

fn larder(words: &[&str]) -> Ended {
    run(&mut command(words))
}

/// A configuration in a folder of its own.
fn written(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("larder.toml");
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn wrong_usage_ends_with_2() {
    for words in [
        &["up", "--colour"][..],
        &["--colour"],
        &["start"],
        &["up", "--http", "nowhere"],
        &["up", "--http", "70000"],
        &["up", "--workers", "many"],
        &["up", "--drain-timeout", "-1"],
        &["up", "--tls-cert", "a.pem"],
        &["up", "--tls-generated", "--tls-cert", "a.pem", "--tls-key", "a.key"],
        &["gateway"],
        &["node"],
        &["node", "--anonymous", "--config", "larder.toml"],
        &["check"],
        &["policy", "explain"],
        &["token", "mint"],
        &["token", "mint", "--key", "k", "--principal", "root", "--policy", "{}"],
        &["sim"],
        &["sim", "guess"],
        &["sim", "compare"],
        &["up", "--memcached", "0"],
        &["up", "--data-dir", "d"],
    ] {
        let ended = larder(words);
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
        assert!(
            ended.out.is_empty() && !ended.err.is_empty() && !ended.err.contains("panicked"),
            "{words:?}: {ended:?}"
        );
    }
    for words in [&["--help"][..], &["up", "--help"], &["sim", "--help"], &["--version"]] {
        let ended = larder(words);
        assert_eq!((ended.code, ended.err.is_empty()), (Some(0), true), "{words:?}: {ended:?}");
    }
}

#[test]
fn a_mistake_ends_with_1_and_one_readable_message() {
    let (folder, bad) = written("[http]\nlisten = \"everywhere\"\n");
    let missing = folder.path().join("missing.toml");
    let missing = missing.to_str().unwrap();
    let (_good_folder, good) = written("[[cache]]\nname = \"default\"\n");
    for (words, named) in [
        (&["up", "--config", missing][..], "missing.toml"),
        (&["check", "--config", missing], "missing.toml"),
        (&["check", "--config", &bad], "http.listen"),
        (&["up", "--config", &bad], "http.listen"),
        (
            &[
                "up",
                "--tls-cert",
                missing,
                "--tls-key",
                missing,
                "--http",
                "0",
                "--resp",
                "0",
                "--aws",
                "0",
                "--admin",
                "0",
            ],
            "missing.toml",
        ),
        (&["gateway", "--config", &good], "embedded"),
        (&["policy", "explain", "--config", &good, "--principal", "nobody", "--", "GET", "k"], "nobody"),
        (&["policy", "explain", "--config", &good, "--principal", "root", "--", "NOSUCHCOMMAND"], "NOSUCHCOMMAND"),
        (&["token", "mint", "--key", "k", "--secret", "s", "--principal", "root", "--policy", missing], "missing.toml"),
        (
            &["token", "mint", "--key", "k", "--secret", "s", "--principal", "root", "--policy", "{\"Statement\":7}"],
            "no token was minted",
        ),
        (&["token", "inspect", "nonsense"], "no token"),
        (&["sim", "run", missing], "missing.toml"),
    ] {
        let ended = larder(words);
        assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
        assert!(ended.err.contains(named) && ended.out.is_empty(), "{words:?}: {ended:?}");
        assert!(!ended.err.contains("panicked") && ended.err.lines().count() <= 2, "{words:?}: {ended:?}");
    }
}

#[test]
fn a_check_lists_every_mistake_at_once() {
    let (_folder, file) = written(
        r#"
account = "12"
workers = 5000
colour = "blue"

[http]
listen = "nowhere"
lisen = "127.0.0.1:1"
on_refuse = "shrug"

[tls]
generated = true
cert = "a.pem"

[[cache]]
name = "a cache"
backend = "process"

[[cache]]
name = "far"
listen = "127.0.0.1:0"
security_groups = ["sg-absent"]
remote = { url = "http://far:1", pasword = "x" }

[[policy]]
name = "p"
document = '{"Statement":{"Effect":"Perhaps","Action":"cache:Read","Resource":"*"}}'

[[policy]]
name = "elsewhere"
file = "absent.json"

[[principal]]
name = "ada"
policies = ["p", "absent-policy"]
access_keys = [{ id = "AKIAADA", secret = "env:ABSENT_SECRET" }]

[[token]]
name = "t"
secret = "s"
principal = "absent-principal"
cache = "absent-cache"

[[user]]
name = "u"
access_string = "on +@absent-category"

[[security_group]]
id = "sg"
ingress = [{ cidr = "10.0.0.0/33" }]
"#,
    );
    let ended = run(command(&["check", "--config", &file]).env("LARDER_NONSENSE", "1"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for mistake in [
        "account: must be twelve digits",
        "workers: 5000 is not a whole number from 0 to 1024",
        "colour: is no setting; here can stand: ",
        "http.listen: \"nowhere\" is not ADDRESS:PORT",
        "http.lisen: is no setting; here can stand: listen, ",
        "http.on_refuse: \"shrug\" is not \"403\" or \"drop\"",
        "tls.generated: ",
        "cache[0].name: must be letters, digits and hyphens",
        "cache[0].backend: \"process\" is not built yet",
        "cache[1].listen: is of embedded caches only",
        "cache[1].security_groups: no security group is named \"sg-absent\"",
        "cache[1].remote.url: ",
        "cache[1].remote.pasword: is no setting",
        "policy[0].document: ",
        "policy[1].file: cannot read ",
        "principal[0].policies: no policy is named \"absent-policy\"",
        "principal[0].access_keys[0].secret: the environment has no variable ABSENT_SECRET",
        "token[0].principal: no principal is named \"absent-principal\"",
        "token[0].cache: no cache is named \"absent-cache\"",
        "user[0].access_string: ",
        "security_group[0].ingress[0].cidr: ",
        "LARDER_NONSENSE: is no setting",
    ] {
        let found = ended.err.lines().filter(|line| line.starts_with(&format!("  {mistake}"))).count();
        assert_eq!(found, 1, "{mistake:?} in:\n{}", ended.err);
    }
    let listed = ended.err.lines().filter(|line| line.starts_with("  ")).count();
    assert!(ended.err.contains(&format!("{listed} mistakes in the configuration {file}")), "{}", ended.err);
}

/// A configuration with a secret in every place that takes one.
const SECRETIVE: &str = r#"
workers = 2

[http]
hosts = ["cache.example.com"]
source = { header = "X-Forwarded-For", trusted = ["10.0.0.0/8"] }

[[cache]]
name = "default"
listen = "127.0.0.1:0"
security_groups = ["sg"]
tags = { team = "shop" }

[[cache]]
name = "far"
remote = { url = "redis://127.0.0.1:6400", user = "larder", password = "hush-remote" }

[[policy]]
name = "all"
document = '''{
  "Version": "2012-10-17",
  "Statement": { "Effect": "Allow", "Action": "cache:*", "Resource": "*" }
}'''

[[policy]]
name = "by-file"
file = "read.json"

[[principal]]
name = "ada"
policies = ["all", "by-file"]
tags = { tenant = "a" }
access_keys = [{ id = "AKIAADA", secret = "hush-key" }, { id = "AKIATWO", secret = "env:SECOND_SECRET" }]

[[token]]
name = "t"
secret = "hush-token"
principal = "ada"
cache = "default"

[[user]]
name = "u"
passwords = ["hush-password", "file:password.txt"]
access_string = "on ~* +@all"
caches = ["default"]

[[security_group]]
id = "sg"
ingress = [{ cidr = "127.0.0.0/8", ports = "1-65535" }, { prefix_list = "office" }]

[[prefix_list]]
id = "office"
cidrs = ["192.0.2.0/24"]

[[interface]]
address = "127.0.0.5"
groups = ["sg"]
"#;

#[test]
fn the_printed_configuration_is_one_and_holds_no_secret() {
    let (folder, file) = written(SECRETIVE);
    let read = r#"{"Statement":{"Effect":"Allow","Action":"cache:Read","Resource":"*"}}"#;
    std::fs::write(folder.path().join("read.json"), read).unwrap();
    std::fs::write(folder.path().join("password.txt"), "hush-file\n").unwrap();
    let printed = |words: &[&str]| {
        let ended = run(command(words).env("SECOND_SECRET", "hush-env").env("COVERED_SECRET", "covered"));
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
        assert!(!ended.out.contains("hush") && !ended.err.contains("hush"), "a secret is shown: {ended:?}");
        ended.out
    };
    let checked = printed(&["check", "--config", &file]);
    for kept in
        ["env:SECOND_SECRET", "file:password.txt", "AKIAADA", "\"redis://127.0.0.1:6400\"", "192.0.2.0/24", "read.json"]
    {
        assert!(checked.contains(kept), "{kept} is not in {checked}");
    }
    assert_eq!(checked.matches("env:COVERED_SECRET").count(), 5, "four secrets and the line that says so: {checked}");
    // What is printed starts the same: it prints itself.
    let again = folder.path().join("again.toml");
    std::fs::write(&again, &checked).unwrap();
    assert_eq!(printed(&["check", "--config", again.to_str().unwrap()]), checked);
    let up = printed(&["up", "--config", &file, "--http", "127.0.0.1:0", "--print-config"]);
    assert!(up.contains("listen = \"127.0.0.1:0\"") && up.contains("[aws]\nlisten = \"127.0.0.1:4566\""), "{up}");
    std::fs::write(&again, &up).unwrap();
    assert_eq!(printed(&["up", "--config", again.to_str().unwrap(), "--print-config"]), up);
    let by_variable = run(command(&["up", "--print-config"]).env("LARDER_HTTP_LISTEN", "127.0.0.1:9"));
    assert!(by_variable.out.contains("listen = \"127.0.0.1:9\""), "{by_variable:?}");
    let flag_wins = run(command(&["up", "--print-config", "--http", "10"]).env("LARDER_HTTP_LISTEN", "127.0.0.1:9"));
    assert!(flag_wins.out.contains("listen = \"127.0.0.1:10\""), "{flag_wins:?}");
    assert!(!by_variable.out.contains("larder-dev-token"), "{by_variable:?}");
}

const EXPLAINED: &str = r#"
[[cache]]
name = "default"
security_groups = ["sg"]

[[security_group]]
id = "sg"
ingress = [{ cidr = "10.0.0.0/8" }, { cidr = "127.0.0.1/32" }]

[[policy]]
name = "tenant-a"
document = '''{ "Version": "2012-10-17", "Statement": [
  { "Sid": "OwnKeys", "Effect": "Allow", "Action": ["cache:Read", "cache:Write"],
    "Resource": "arn:aws:cache:us-east-1:000000000000:key/default/tenant-a:*" },
  { "Sid": "AnHour", "Effect": "Deny", "Action": "cache:Write", "Resource": "*",
    "Condition": { "NumericGreaterThan": { "cache:TtlMs": "3600000" } } },
  { "Sid": "TlsOnly", "Effect": "Deny", "Action": "*", "Resource": "*",
    "Condition": { "Bool": { "aws:SecureTransport": "false" }, "NotIpAddress": { "aws:SourceIp": "127.0.0.0/8" } } },
  { "Sid": "Endpoint", "Effect": "Allow", "Action": "cache:Read",
    "Resource": "arn:aws:cache:us-east-1:000000000000:key/default/shared:*",
    "Condition": { "StringEquals": { "aws:SourceVpce": "vpce-1" } } } ] }'''

[[principal]]
name = "tenant-a"
policies = ["tenant-a"]

[[user]]
name = "app"
passwords = ["p"]
access_string = "on ~app:* +@read"
caches = ["default"]
"#;

#[test]
fn an_explanation_names_the_statement_that_decided_and_what_was_missing() {
    let (_folder, file) = written(EXPLAINED);
    let explain = |more: &[&str], principal: &str, line: &str| {
        let words = ["policy", "explain", "--config", &file, "--principal", principal];
        let ended = run(command(&words).args(more).arg("--").args(line.split(' ')));
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        ended.out
    };
    let arn = "arn:aws:cache:us-east-1:000000000000:key/default";
    let tenant = |more: &[&str], line: &str| explain(more, "tenant-a", line);
    assert_eq!(
        tenant(&[], "SET tenant-a:1 v EX 60"),
        format!("allowed\n  cache:Write on {arn}/tenant-a:1: allowed by statement OwnKeys of policy tenant-a\n")
    );
    assert_eq!(
        tenant(&[], "SET tenant-a:1 v EX 7200"),
        format!("denied\n  cache:Write on {arn}/tenant-a:1: denied by statement AnHour of policy tenant-a\n")
    );
    assert!(tenant(&[], "GET tenant-b:1").contains(&format!("{arn}/tenant-b:1: no statement allows it")));
    let far = ["--source", "10.1.2.3"];
    assert!(tenant(&far, "GET tenant-a:1").contains("denied by statement TlsOnly"));
    assert!(tenant(&[&far[..], &["--tls"]].concat(), "GET tenant-a:1").starts_with("allowed\n"));
    assert_eq!(
        tenant(&["--source", "192.0.2.1"], "GET tenant-a:1"),
        "denied\n  the security groups of the cache \"default\" do not let that address in\n"
    );
    assert!(tenant(&[], "APPEND tenant-a:1 v").starts_with("allowed\n"));
    assert!(tenant(&["--key-ttl-ms", "7200000"], "APPEND tenant-a:1 v").contains("denied by statement AnHour"));
    let shared = tenant(&[], "GET shared:1");
    assert!(shared.contains("missing: a statement asks for aws:SourceVpce"), "{shared}");
    assert!(explain(&[], "app", "GET app:1").starts_with("allowed\n"));
    assert!(explain(&[], "app", "GET other:1").contains("the access string does not allow one of the keys"));
    assert!(explain(&[], "arn:aws:iam::000000000000:user/tenant-a", "GET tenant-a:1").starts_with("allowed\n"));
}

#[test]
fn a_token_shows_what_it_says() {
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"cache:Read","Resource":"*"}}"#;
    let words =
        ["token", "mint", "--key", "AKIAADA", "--principal", "ada", "--ttl", "15m", "--id", "t-1", "--policy", policy];
    let minted = run(command(&words).env("AWS_SECRET_ACCESS_KEY", "hush"));
    assert_eq!((minted.code, minted.out.lines().count()), (Some(0), 1), "{minted:?}");
    let narrowed = larder(&["token", "mint", "--narrow", minted.out.trim(), "--policy", policy]);
    assert_eq!(narrowed.code, Some(0), "{narrowed:?}");
    let shown = larder(&["token", "inspect", narrowed.out.trim()]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for part in ["AKIAADA", "arn:aws:iam::000000000000:user/ada", "cache/default", "t-1", "parent 1:", "not checked"] {
        assert!(shown.out.contains(part), "{part} is not in {}", shown.out);
    }
    let (_, signature) = minted.out.trim().rsplit_once('.').unwrap();
    assert!(!narrowed.out.contains(signature), "whoever holds the narrowed token could widen it");
    let from_stdin = run(Command::new("sh")
        .args(["-c", "echo \"$0\" | \"$1\" token inspect -", narrowed.out.trim()])
        .arg(larder_tests::larder::binary()));
    assert_eq!(from_stdin, shown);
}

#[test]
fn one_seed_simulates_one_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let scenario = root.join("sim/scenarios/session-store.toml");
    let scenario = scenario.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let simulate = |more: &[&str]| {
        let ended = run(command(&["sim", "run", scenario]).args(more).current_dir(folder.path()));
        assert_eq!((ended.code, ended.err.is_empty()), (Some(0), true), "{ended:?}");
        assert!(!ended.out.is_empty());
        ended.out
    };
    let table = simulate(&[]);
    assert_eq!(simulate(&["--json", "report.json"]), table);
    let json = simulate(&["--json"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("report.json")).unwrap().trim_end(), json.trim_end());
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().is_object());
    assert_ne!(simulate(&["--seed", "77"]), table);
}
