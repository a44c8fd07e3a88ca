//! The file as written, part by part, and the development defaults.

use larder_gateway::config::{RawHttp, RawRemote, RawTls};
use larder_iam_policies::config::RawAccess;
use larder_node::server::RawNode;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

use super::{Given, Mistakes, Mode};

/// `larder.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) workers: usize,
    pub(super) drain_timeout_ms: u64,
    pub(super) log: RawLog,
    pub(super) http: RawHttp,
    pub(super) aws: RawAws,
    pub(super) admin: RawAdmin,
    pub(super) tls: Option<RawTls>,
    pub(super) node: RawNode,
    pub(super) cache: Vec<RawCache>,
    /// Everything at the top that is about access.
    #[serde(flatten)]
    pub(super) access: RawAccess,
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: String,
    pub(super) format: String,
}

impl Default for RawLog {
    fn default() -> Self {
        RawLog { level: "info".to_owned(), format: "text".to_owned() }
    }
}

/// `[aws]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAws {
    pub(super) listen: Option<String>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub(super) listen: String,
}

/// `[[cache]]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCache {
    pub(super) name: String,
    pub(super) engine: String,
    pub(super) kind: String,
    pub(super) backend: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) source: String,
    pub(super) unix_socket: Option<String>,
    pub(super) unix_socket_mode: String,
    pub(super) security_groups: Vec<String>,
    pub(super) anonymous: bool,
    pub(super) data_policy: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) databases: Option<usize>,
    pub(super) maxmemory_bytes: u64,
    pub(super) maxmemory_policy: Option<String>,
    pub(super) requests_per_second: u32,
    pub(super) burst: u32,
    pub(super) remote: Option<RawRemote>,
}

/// The tree as typed values. Names, kinds and bounds were checked before, so what fails here is a missing `url`-like
/// part that the types want.
pub(super) fn deserialize(tree: Table, mistakes: &mut Mistakes) -> Option<Raw> {
    match Raw::deserialize(Value::Table(tree)) {
        Ok(raw) => Some(raw),
        Err(error) => {
            mistakes.push(("the configuration".to_owned(), error.to_string().trim_end().to_owned()));
            None
        }
    }
}

/// What `larder up` has when nothing is configured.
const CACHES: &str = r#"
[[cache]]
name = "default"
listen = "127.0.0.1:6379"
anonymous = true

[[cache]]
name = "sessions"
"#;

/// The development credentials of `larder up` (contract section 6).
const CREDENTIALS: &str = r#"
[[principal]]
name = "root"
access_keys = [{ id = "test", secret = "test" }]

[[token]]
name = "development"
secret = "larder-dev-token"
principal = "root"
"#;

/// Puts in what a mode has by itself. Answers whether development credentials are in force.
pub(super) fn add_defaults(tree: &mut Table, given: &Given<'_>, mode: &Mode, mistakes: &mut Mistakes) -> bool {
    let mut development = false;
    match mode {
        Mode::Up => {
            if !tree.contains_key("cache") {
                add(tree, CACHES);
            }
            if ["principal", "token", "user"].iter().all(|section| !tree.contains_key(*section)) {
                add(tree, CREDENTIALS);
                development = true;
            }
            let aws = tree.entry("aws").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(aws) = aws {
                aws.entry("listen").or_insert_with(|| Value::from("127.0.0.1:4566"));
            }
        }
        Mode::Node(name) if given.file.is_none() => add(tree, &node_cache(name.as_deref(), given.anonymous)),
        Mode::Node(_) | Mode::Gateway | Mode::Echo | Mode::Check => {}
    }
    for (setting, flagged) in [("listen", &given.resp), ("unix_socket", &given.unix_socket)] {
        let Some((place, flag)) = flagged else { continue };
        let name = if let Mode::Node(Some(name)) = mode { name.as_str() } else { "default" };
        if !listen_at(tree, mode, name, setting, place) {
            mistakes.push(((*flag).to_owned(), format!("there is no cache {name:?} to listen for")));
        }
    }
    development
}

fn node_cache(name: Option<&str>, anonymous: bool) -> String {
    let name = Value::from(name.unwrap_or("default"));
    format!("[[cache]]\nname = {name}\nlisten = \"127.0.0.1:6379\"\nanonymous = {anonymous}\n")
}

fn add(tree: &mut Table, text: &str) {
    tree.extend(text.parse::<Table>().unwrap_or_default());
}

/// Moves the listener of a cache; a node's only cache whatever its name.
fn listen_at(tree: &mut Table, mode: &Mode, name: &str, setting: &str, place: &str) -> bool {
    let Some(Value::Array(caches)) = tree.get_mut("cache") else { return false };
    let only = matches!(mode, Mode::Node(None)) && caches.len() == 1;
    let named = |cache: &&mut Table| only || cache.get("name").and_then(Value::as_str) == Some(name);
    let mut tables = caches.iter_mut().filter_map(Value::as_table_mut);
    tables.find(named).map(|cache| cache.insert(setting.to_owned(), Value::from(place))).is_some()
}
