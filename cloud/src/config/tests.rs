#![allow(clippy::unwrap_used)]
use super::*;
use larder_gateway::config::RawHttp;
use larder_node::server::RawNode;
use std::io;
use std::path::Path;

fn given(file: Option<&str>) -> Given<'_> {
    Given { file, variables: Vec::new(), flags: Vec::new(), resp: None, unix_socket: None, anonymous: false }
}

fn load_given(given: &Given<'_>, mode: &Mode) -> Result<Loaded, Mistakes> {
    let sources = Sources {
        variable: &|name| (name == "SECRET").then(|| "from the environment".to_owned()),
        read: &|path| match path.to_str() {
            Some("/etc/larder/key") => Ok("from a file\n".to_owned()),
            Some("/etc/larder/p.json") => Ok(POLICY.to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        },
        folder: Path::new("/etc/larder"),
    };
    load(given, mode, &sources)
}

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"cache:Read","Resource":"*"}}"#;

fn load_text(text: &str, mode: &Mode) -> Result<Loaded, Mistakes> {
    load_given(&given(Some(text)), mode)
}

fn mistakes(text: &str, mode: &Mode) -> Vec<String> {
    let mistakes = load_text(text, mode).map(|loaded| loaded.printed).unwrap_err();
    mistakes.into_iter().map(|(path, what)| format!("{path}: {what}")).collect()
}

#[test]
fn up_needs_nothing() {
    let loaded = load_given(&given(None), &Mode::Up).unwrap();
    let config = &loaded.config;
    let names: Vec<_> = config.caches.iter().map(|cache| (&*cache.name, cache.listen().map(|at| at.port()))).collect();
    assert_eq!(names, [("default", Some(6379)), ("sessions", None)]);
    assert!(config.development && loaded.notes.is_empty());
    assert_eq!((config.http.listen.port(), config.admin.port(), config.aws.unwrap().port()), (8079, 4567, 4566));
    assert_eq!(config.account, "000000000000");
}

#[test]
fn the_printed_configuration_reads_back_and_covers_secrets() {
    let text = r#"
        [[cache]]
        name = "c"
        remote = { url = "redis://127.0.0.1:1", password = "hunter2", user = "u" }
        tags = { team = "a" }
        [[policy]]
        name = "p"
        file = "p.json"
        [[principal]]
        name = "someone"
        policies = ["p"]
        access_keys = [{ id = "AK", secret = "hunter2" }, { id = "AL", secret = "file:key" }]
        [[user]]
        name = "u"
        passwords = ["hunter2", "env:SECRET"]
        access_string = "on ~* +@all"
        caches = ["c"]
    "#;
    let loaded = load_text(text, &Mode::Gateway).unwrap();
    assert!(!loaded.printed.contains("hunter2") && loaded.printed.contains("env:SECRET"), "{}", loaded.printed);
    let (_, settings) = loaded.printed.split_once('\n').unwrap();
    let again = settings.replace("env:COVERED_SECRET", "env:SECRET");
    assert!(load_text(&again, &Mode::Gateway).unwrap().printed.ends_with(&again));
}

#[test]
fn every_mistake_is_listed_at_once() {
    let text = r#"
        colour = "red"
        workers = "two"
        [http]
        listen = "nowhere"
        lisen = "127.0.0.1:1"
        [[cache]]
        name = "bad name"
        backend = "process"
        [[cache]]
        name = "b"
        maxmemory_bytes = -1
        [[principal]]
        name = "x"
        policies = ["missing"]
        access_keys = [{ id = "A", secret = "env:NOT_THERE" }]
        [[policy]]
        name = "p"
        document = '{"Statement":[{"Effect":"Perhaps","Action":"cache:Fly","Resource":"*"}]}'
        [log]
        level = "loud"
        [[policy]]
        name = "q"
        file = "not-there.json"
    "#;
    let found = mistakes(text, &Mode::Check);
    for expected in [
        "colour: is no setting",
        "workers: ",
        "http.listen: ",
        "http.lisen: is no setting; here can stand: listen, source",
        "cache[0].name: ",
        "cache[0].backend: \"process\" is not built yet",
        "cache[1].maxmemory_bytes: ",
        "principal[0].policies: ",
        "principal[0].access_keys[0].secret: the environment has no variable NOT_THERE",
        "policy[0].document: ",
        "log.level: ",
        "policy[1].file: cannot read /etc/larder/not-there.json",
    ] {
        assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{expected} is not in {found:#?}");
    }
    assert!(mistakes("[http", &Mode::Check)[0].contains("is no TOML"));
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let flag = |path, text: &str| Override { path, text: text.to_owned(), origin: "--flag".to_owned() };
    let variables = vec![
        ("LARDER_HTTP_LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
        ("LARDER_WORKERS".to_owned(), "2".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ];
    let file = "workers = 1\n[http]\nlisten = \"127.0.0.1:1\"\n";
    let mut given = Given { variables, flags: vec![flag("workers", "3")], ..given(Some(file)) };
    let config = load_given(&given, &Mode::Up).unwrap().config;
    assert_eq!((config.workers, config.http.listen.port()), (3, 2));
    given.variables.push(("LARDER_COLOUR".to_owned(), "red".to_owned()));
    given.flags = vec![flag("workers", "many")];
    let found = load_given(&given, &Mode::Up).unwrap_err();
    assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["LARDER_COLOUR", "--flag"]);
}

#[test]
fn modes_want_what_they_cannot_do_without() {
    assert!(mistakes("", &Mode::Gateway)[0].contains("a gateway needs a cache"));
    let embedded = "[[cache]]\nname = \"c\"\n";
    assert!(mistakes(embedded, &Mode::Gateway)[0].contains("is embedded"));
    assert!(mistakes(embedded, &Mode::Node(None))[0].contains("has no `listen`"));
    assert!(mistakes("", &Mode::Node(None))[0].contains("needs an embedded cache"));
    let two = "[[cache]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\n[[cache]]\nname = \"b\"\nlisten = \"127.0.0.1:0\"\n";
    assert!(mistakes(two, &Mode::Node(None))[0].contains("name one of the 2"));
    assert_eq!(load_text(two, &Mode::Node(Some("b".to_owned()))).unwrap().config.caches[0].name, "b");
    assert!(mistakes(two, &Mode::Node(Some("c".to_owned())))[0].contains("no embedded cache is named"));
    load_text("", &Mode::Echo).unwrap();
    load_text(embedded, &Mode::Check).unwrap();
    let given = Given { resp: Some(("127.0.0.1:5".to_owned(), "--listen")), anonymous: true, ..given(None) };
    let node = load_given(&given, &Mode::Node(None)).unwrap().config;
    assert_eq!((node.caches[0].listen().unwrap().port(), node.caches[0].anonymous), (5, true));
}

#[test]
fn strangers_cannot_use_development_credentials() {
    for (section, path) in [("http", "http.listen"), ("admin", "admin.listen"), ("aws", "aws.listen")] {
        let found = mistakes(&format!("[{section}]\nlisten = \"0.0.0.0:1\"\n"), &Mode::Up);
        assert!(found.iter().any(|mistake| mistake.starts_with(path) && mistake.contains("development")), "{found:?}");
    }
    let own = "[http]\nlisten = \"0.0.0.0:1\"\n[[principal]]\nname = \"root\"\naccess_keys = [{ id = \"A\", secret = \"b\" }]\n\
               [[cache]]\nname = \"c\"\n";
    let loaded = load_text(own, &Mode::Up).unwrap();
    assert!(!loaded.config.development && loaded.notes[0].contains("no security group"));
}

#[test]
fn listeners_do_not_meet() {
    let found = mistakes("[http]\nlisten = \"127.0.0.1:4567\"\n", &Mode::Up);
    assert_eq!(found, ["http.listen: 127.0.0.1:4567 is taken by admin.listen"]);
    load_text("[http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n", &Mode::Up).unwrap();
}

#[test]
fn backends_and_their_settings_agree() {
    let cache = |rest: &str| format!("[[cache]]\nname = \"c\"\n{rest}");
    for (rest, what) in [
        ("backend = \"embedded\"\nremote = { url = \"redis://a:1\" }", "has no `remote`"),
        ("backend = \"remote\"", "needs remote"),
        ("listen = \"127.0.0.1:0\"\nremote = { url = \"redis://a:1\" }", "embedded caches only"),
        ("remote = { url = \"http://a:1\" }", "redis://host:port"),
        ("remote = { user = \"u\" }", "redis://host:port"),
        ("data_policy = \"required\"\nanonymous = true", "no anonymous callers"),
        ("kind = \"serverless\"\ndatabases = 16", "has one"),
        ("tls = \"required\"", "add [tls]"),
        ("listen = \"127.0.0.1:0\"\nunix_socket = \"s\"\nunix_socket_mode = \"888\"", "octal"),
        ("unix_socket = \"s\"", "beside a `listen`"),
        ("burst = 4", "requests_per_second"),
        ("engine = \"memcached\"", "\"valkey\" or \"redis\""),
    ] {
        let found = mistakes(&cache(rest), &Mode::Check);
        assert!(found.iter().any(|mistake| mistake.contains(what)), "{rest}: {found:?}");
    }
}

#[test]
fn the_table_says_what_the_crates_say() {
    let of = |section: &str| {
        let mut tree = toml::Table::new();
        tree::fill(&mut tree);
        tree[section].clone()
    };
    let http: RawHttp = of("http").try_into().unwrap();
    assert_eq!(format!("{http:?}"), format!("{:?}", RawHttp::default()));
    let node: RawNode = of("node").try_into().unwrap();
    assert_eq!(node, RawNode::default());
}

#[test]
fn a_start_from_the_sample_is_a_start_from_nothing() {
    let sample = load_text(&sample(), &Mode::Up).unwrap();
    assert_eq!(sample.printed, load_given(&given(None), &Mode::Up).unwrap().printed);
    for setting in settings::SETTINGS {
        assert!(reference().contains(&format!("| `{}` |", setting.path)));
    }
}
