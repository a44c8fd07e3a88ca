//! Every setting of `larder.toml`: one row each. The check of names and kinds, the defaults, the environment, the printed
//! configuration, the sample file and `docs/settings.md` all read this table.

use larder_node::Policy;
use toml::{Table, Value};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Where it stands: `http.listen`, `cache[].name` for one in every `[[cache]]`.
    pub path: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Its default as TOML; empty when there is none.
    pub default: &'static str,
    /// Whether a reload (SIGHUP) applies it; otherwise it is read at the start only.
    pub reloads: bool,
    /// What it does, in a line.
    pub doc: &'static str,
}

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text that is never shown: itself, `env:NAME`, or `file:PATH`.
    Secret,
    /// `true` or `false`.
    Flag,
    /// A whole number, bounds included.
    Number(i64, i64),
    /// A list of texts.
    Texts,
    /// A list of secrets.
    Secrets,
    /// Names of the user's own, each with a text.
    Tags,
}

const fn row(path: &'static str, kind: Kind, default: &'static str, reloads: bool, doc: &'static str) -> Setting {
    Setting { path, kind, default, reloads, doc }
}

/// Longest time a setting may name, in ms: ten minutes.
const TIME_MS_MAX: i64 = 600_000;
const START: bool = false;
const RELOADS: bool = true;

use Kind::{Flag, Number, Secret, Secrets, Tags, Text, Texts, Word};

/// The table, in the order of the printed configuration.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    row("account", Text, "\"000000000000\"", RELOADS, "The account's twelve digits, as ARNs name it."),
    row("region", Text, "\"us-east-1\"", RELOADS, "The region that signatures and ARNs name."),
    row("workers", Number(0, 1024), "0", START, "Worker threads; 0 means one per core."),
    row("drain_timeout_ms", Number(0, TIME_MS_MAX), "10000", START, "How long a stop waits for requests under way."),
    row("revoked_tokens", Texts, "[]", RELOADS, "The `jti` of signed-policy tokens that are no longer good."),
    row("log.level", Word(&["off", "error", "warn", "info", "debug", "trace"]), "\"info\"", START, "The least important event that is logged."),
    row("log.format", Word(&["text", "json"]), "\"text\"", START, "How events are written to standard error."),
    row("http.listen", Text, "\"127.0.0.1:8079\"", START, "Where the HTTP data gateway listens; port 0 takes a free one."),
    row("http.source", Text, "\"peer\"", START, "Where the caller's address comes from: `peer`, `proxy-v2`, or a table with `header` and `trusted`."),
    row("http.source.header", Text, "", START, "The header that proxies append the caller's address to, read right to left."),
    row("http.source.trusted", Texts, "", START, "Networks of the proxies that may be believed."),
    row("http.hosts", Texts, "[]", START, "Names accepted in `Host`, besides loopback addresses, `localhost` and `*.localhost`."),
    row("http.origins", Texts, "[]", START, "Origins whose pages may call; CORS headers are sent to no other."),
    row("http.on_refuse", Word(&["403", "drop"]), "\"403\"", START, "What a caller outside every allowlist meets: an answer, or a closed connection."),
    row("http.token_in_query", Flag, "false", START, "Whether `?_token=` is a credential."),
    row("http.get_writes", Flag, "false", START, "Whether the path form runs commands that write on GET and HEAD."),
    row("http.item_bytes_max", Number(1, 512 << 20), "10000000", START, "Longest request body, in bytes."),
    row("http.connections_max", Number(1, 1_000_000), "10000", START, "Most connections at once."),
    row("http.header_timeout_ms", Number(1, TIME_MS_MAX), "10000", START, "Time to send a whole request head, and for a TLS handshake."),
    row("http.body_timeout_ms", Number(1, TIME_MS_MAX), "30000", START, "Time to send a whole request body."),
    row("http.pipeline_commands_max", Number(1, 100_000), "1000", START, "Most commands in one `/pipeline` or `/multi-exec`."),
    row("http.h2_streams_max", Number(1, 100_000), "256", START, "Most concurrent requests on one HTTP/2 connection."),
    row("aws.listen", Text, "", START, "Where health and metrics pages of `/_larder/` listen (AWS-shaped APIs: not built yet). `larder up`: 127.0.0.1:4566."),
    row("admin.listen", Text, "\"127.0.0.1:4567\"", START, "Where liveness, readiness and Prometheus metrics listen."),
    row("tls.cert", Text, "", RELOADS, "PEM file with the certificate chain of the HTTP gateway and of RESP listeners, leaf first. The file is read again on a reload."),
    row("tls.key", Text, "", RELOADS, "PEM file with the private key. The file is read again on a reload."),
    row("tls.generated", Flag, "false", START, "Make a development certificate for localhost at each start, instead of `cert` and `key`."),
    row("tls.client_ca", Text, "", RELOADS, "PEM file with the authorities whose certificates RESP clients may show; HTTP asks for none. The file is read again on a reload."),
    row("tls.client_required", Flag, "false", START, "Whether RESP clients over TLS have to show a certificate of `client_ca`."),
    row("node.connections_max", Number(1, 1_000_000), "10000", START, "Most connections of one RESP listener at once."),
    row("node.idle_timeout_ms", Number(0, 86_400_000), "0", START, "Silence after which a RESP client is closed; 0 means never."),
    row("node.output_bytes_max", Number(64 << 10, 1 << 30), "33554432", START, "Bytes of unread replies above which a RESP connection's requests wait."),
    row("node.client_output_buffer_limit", Text, "\"normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60\"", START, "Bytes of unread replies above which a client of each class is cut, at once (the first number), or when they have been above the second for so many seconds; 0 means no limit. CONFIG SET changes it."),
    row("node.maxmemory_clients", Text, "\"0\"", START, "What all clients of one cache may hold together before the largest are cut: bytes, or percent of its maxmemory (`5%`); 0 means no limit. CONFIG SET changes it."),
    row("cache[].name", Text, "", RELOADS, "The cache's name: letters, digits and hyphens."),
    row("cache[].engine", Word(&["valkey", "redis"]), "\"valkey\"", RELOADS, "The engine's name, as policies see it (`cache:Engine`)."),
    row("cache[].kind", Word(&["replication-group", "serverless"]), "\"replication-group\"", RELOADS, "What it is in ElastiCache: a serverless cache has database 0 only, and its IAM tokens name their `ResourceType`."),
    row("cache[].backend", Word(&["embedded", "remote", "process"]), "", RELOADS, "Where the cache lives; `remote` when `remote` is given, `embedded` otherwise. `process` is not built yet."),
    row("cache[].listen", Text, "", RELOADS, "Where an embedded cache speaks RESP: ADDRESS:PORT or NAME:PORT; a name is looked up when the configuration is read. Without it, it is reached over HTTP only."),
    row("cache[].tls", Word(&["off", "preferred", "required"]), "", RELOADS, "Whether RESP clients speak TLS, with the certificate of `[tls]`: none do, those that begin with a handshake, or all have to. Without it: `preferred` when there is `[tls]`."),
    row("cache[].source", Word(&["peer", "proxy-v1", "proxy-v2"]), "\"peer\"", RELOADS, "Where the addresses of RESP clients are taken from: the socket, or a PROXY protocol header before everything else; a connection without one is then dropped."),
    row("cache[].unix_socket", Text, "", RELOADS, "The path of a Unix socket beside `listen`, whose clients come from this machine. It is removed at the end; a stale one is replaced."),
    row("cache[].unix_socket_mode", Text, "\"700\"", RELOADS, "The permission bits of the Unix socket, octal."),
    row("cache[].security_groups", Texts, "[]", RELOADS, "The security groups that admit callers; none admits loopback only."),
    row("cache[].anonymous", Flag, "false", RELOADS, "Whether RESP connections need no login, and may then do everything."),
    row("cache[].data_policy", Word(&["optional", "required"]), "\"optional\"", RELOADS, "Whether who logs in by an ElastiCache IAM token needs a `cache:` Allow too, beside the user's access string; a `cache:` Deny binds in any case."),
    row("cache[].tags", Tags, "{}", RELOADS, "Tags, for `aws:ResourceTag/…`."),
    row("cache[].databases", Number(1, 256), "", START, "How many databases RESP clients of an embedded cache may SELECT, redis's `databases`: 16 without it, and 1 of a serverless cache. HTTP is always about database 0."),
    row("cache[].maxmemory_bytes", Number(0, i64::MAX), "0", START, "Most bytes an embedded cache holds, 0 for no limit; above it keys are evicted, or writes are refused."),
    row("cache[].maxmemory_policy", Word(Policy::NAMES), "\"noeviction\"", START, "Which keys are evicted above maxmemory_bytes: redis's policies by their names."),
    row("cache[].requests_per_second", Number(0, u32::MAX as i64), "0", START, "Rate above which calls are throttled; 0 for no limit."),
    row("cache[].burst", Number(0, u32::MAX as i64), "0", START, "Calls that may come at once above the rate; 0 means one second's worth."),
    row("cache[].remote.url", Text, "", RELOADS, "`redis://host:port` of a RESP server elsewhere."),
    row("cache[].remote.user", Text, "", RELOADS, "User of its AUTH."),
    row("cache[].remote.password", Secret, "", RELOADS, "Password of its AUTH."),
    row("cache[].remote.timeout_ms", Number(1, TIME_MS_MAX), "5000", RELOADS, "Time for one reply."),
    row("cache[].remote.pool_max", Number(1, 1000), "8", RELOADS, "Most connections for transactions, per worker."),
    row("policy[].name", Text, "", RELOADS, "The policy's name."),
    row("policy[].document", Text, "", RELOADS, "The IAM policy document, JSON."),
    row("policy[].file", Text, "", RELOADS, "The file that holds the document, relative to this one."),
    row("principal[].name", Text, "", RELOADS, "The IAM user's name; `root` is the account itself and may do everything."),
    row("principal[].policies", Texts, "[]", RELOADS, "The names of its policies."),
    row("principal[].tags", Tags, "{}", RELOADS, "Tags, for `aws:PrincipalTag/…`."),
    row("principal[].access_keys[].id", Text, "", RELOADS, "An access key's id."),
    row("principal[].access_keys[].secret", Secret, "", RELOADS, "Its secret."),
    row("principal[].public_keys[].id", Text, "", RELOADS, "The `kid` of tokens this principal issues with a key pair."),
    row("principal[].public_keys[].ed25519_pem", Text, "", RELOADS, "The Ed25519 public key, PEM."),
    row("token[].name", Text, "", RELOADS, "A static bearer token's name, for logs."),
    row("token[].sha256", Text, "", RELOADS, "The token's SHA-256, 64 hex digits; or `secret`."),
    row("token[].secret", Secret, "", RELOADS, "The token itself; kept hashed."),
    row("token[].principal", Text, "", RELOADS, "The principal it stands for."),
    row("token[].cache", Text, "", RELOADS, "The cache it is bound to; only a token of `root` may have none."),
    row("token[].read_only", Flag, "false", RELOADS, "Whether it may only read."),
    row("user[].name", Text, "", RELOADS, "The name given to AUTH and HELLO."),
    row("user[].passwords", Secrets, "[]", RELOADS, "Its passwords."),
    row("user[].iam", Flag, "false", RELOADS, "Whether it logs in by ElastiCache IAM tokens, over TLS or from this machine, and has no passwords. The signer needs `elasticache:Connect` on the cache and the user."),
    row("user[].access_string", Text, "\"\"", RELOADS, "What it may do: `on ~app:* +@read`."),
    row("user[].caches", Texts, "[]", RELOADS, "The caches it may log in to."),
    row("security_group[].id", Text, "", RELOADS, "A security group's id."),
    row("security_group[].ingress[].cidr", Text, "", RELOADS, "Lets in an address range; or `group`, or `prefix_list`."),
    row("security_group[].ingress[].group", Text, "", RELOADS, "Lets in the interfaces of a security group."),
    row("security_group[].ingress[].prefix_list", Text, "", RELOADS, "Lets in a prefix list."),
    row("security_group[].ingress[].ports", Text, "", RELOADS, "`6379` or `6379-6380`; every port without it."),
    row("prefix_list[].id", Text, "", RELOADS, "A prefix list's id."),
    row("prefix_list[].cidrs", Texts, "[]", RELOADS, "Its ranges."),
    row("interface[].address", Text, "", RELOADS, "The address of a caller's emulated network interface."),
    row("interface[].groups", Texts, "[]", RELOADS, "Its security groups."),
];

impl Setting {
    /// The environment variable that overrides it; settings inside lists have none.
    pub fn variable(&self) -> Option<String> {
        (!self.path.contains('[')).then(|| format!("LARDER_{}", self.path.replace('.', "_").to_ascii_uppercase()))
    }

    /// Its default, where it has one.
    pub fn default_value(&self) -> Option<Value> {
        let table: Table = toml::from_str(&format!("it = {}", self.default)).ok()?;
        table.get("it").cloned()
    }

    /// The value that a flag or an environment variable means.
    ///
    /// # Errors
    /// What it must be.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Text | Word(_) | Secret => Value::from(text),
            Flag => text.parse::<bool>().map(Value::from).unwrap_or_else(|_| Value::from(text)),
            Number(..) => text.parse::<i64>().map(Value::from).unwrap_or_else(|_| Value::from(text)),
            Texts | Secrets => {
                let each = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(each.map(Value::from).collect())
            }
            Tags => return Err("cannot be given here: write it in the file".to_owned()),
        };
        self.kind.check(&value).map(|()| value)
    }
}

impl Kind {
    /// Whether a value is of this kind and within its bounds.
    ///
    /// # Errors
    /// What it must be.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let texts = |list: &Vec<Value>| list.iter().all(Value::is_str);
        let good = match (self, value) {
            (Text | Secret, Value::String(_)) | (Flag, Value::Boolean(_)) => true,
            (Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Number(min, max), Value::Integer(number)) => (min..=max).contains(number),
            (Texts | Secrets, Value::Array(list)) => texts(list),
            (Tags, Value::Table(tags)) => tags.values().all(Value::is_str),
            _ => false,
        };
        if good { Ok(()) } else { Err(format!("{} is not {}", shown(self, value), self.describe())) }
    }

    /// What it holds, for people.
    pub fn describe(self) -> String {
        match self {
            Text => "a text in quotes".to_owned(),
            Secret => "a text in quotes, `env:NAME` or `file:PATH`".to_owned(),
            Word(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            Flag => "true or false".to_owned(),
            Number(min, i64::MAX) => format!("a whole number from {min}"),
            Number(min, max) => format!("a whole number from {min} to {max}"),
            Texts => "a list of texts".to_owned(),
            Secrets => "a list of texts, each itself, `env:NAME` or `file:PATH`".to_owned(),
            Tags => "a table of texts".to_owned(),
        }
    }

    fn is_secret(self) -> bool {
        matches!(self, Secret | Secrets)
    }
}

fn shown(kind: Kind, value: &Value) -> String {
    if kind.is_secret() { format!("this {}", value.type_str()) } else { value.to_string() }
}

/// The row at a path, indices left out.
pub fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// What stands at a name inside a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A table of settings.
    Table,
    /// A list of tables of settings.
    List,
}

/// Whether settings stand below `path`.
pub(super) fn place(path: &str) -> Option<Place> {
    SETTINGS.iter().find_map(|setting| match setting.path.strip_prefix(path)? {
        rest if rest.starts_with("[].") => Some(Place::List),
        rest if rest.starts_with('.') => Some(Place::Table),
        _ => None,
    })
}

/// The names that may stand in the table at `path`, in order.
pub(super) fn names(path: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for setting in SETTINGS {
        let rest = if path.is_empty() { Some(setting.path) } else { below(setting.path, path) };
        let Some(rest) = rest else { continue };
        let name = &rest[..rest.find(['.', '[']).unwrap_or(rest.len())];
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

fn below<'a>(setting: &'a str, path: &str) -> Option<&'a str> {
    setting.strip_prefix(path)?.strip_prefix('.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_in_bounds() {
        let mut paths: Vec<_> = SETTINGS.iter().map(|setting| setting.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), SETTINGS.len());
        for setting in SETTINGS {
            assert!(setting.doc.ends_with('.'), "{}", setting.path);
            if !setting.default.is_empty() {
                setting.kind.check(&setting.default_value().unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn values_are_read_by_their_kind() {
        let read = |path: &str, text: &str| find(path).unwrap().read(text);
        assert_eq!(read("workers", "3"), Ok(Value::from(3)));
        assert!(read("workers", "-1").unwrap_err().contains("from 0 to 1024"));
        assert!(read("workers", "1025").is_err() && read("workers", "1024").is_ok());
        assert!(read("http.get_writes", "yes").unwrap_err().contains("true or false"));
        assert_eq!(read("http.hosts", "a, b"), Ok(Value::Array(vec!["a".into(), "b".into()])));
        assert!(read("log.level", "loud").unwrap_err().contains("\"info\""));
        assert!(!find("token[].secret").unwrap().kind.check(&Value::from(7)).unwrap_err().contains('7'));
    }

    #[test]
    fn places_and_names() {
        assert_eq!((place("cache"), place("http"), place("account")), (Some(Place::List), Some(Place::Table), None));
        assert_eq!(names("log"), ["level", "format"]);
        assert_eq!(names("cache[].remote"), ["url", "user", "password", "timeout_ms", "pool_max"]);
        assert!(names("").contains(&"cache"));
        assert_eq!(find("http.listen").unwrap().variable().unwrap(), "LARDER_HTTP_LISTEN");
        assert_eq!(find("cache[].name").unwrap().variable(), None);
    }
}
