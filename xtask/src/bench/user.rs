//! What it costs to be limited: a user with `~app:*` and one who may everything.

use super::Bench;
use super::case::{self, Case};
use super::load::{self, Login};
use super::server::Server;
use super::table::{Aim, Bound, Section, cpu_of};
use super::workload::{self, Workload};
use anyhow::Result;

const PIPELINE: u64 = 64;
/// The most that a limited user may cost relative to one who may everything.
const MOST: f64 = 1.1;

const FULL: Login = ("full", "full-password");
const USERS: [(&str, Login); 2] = [("user ~*", FULL), ("user ~app:*", ("app", "app-password"))];

const CONFIG: &str = r#"
[[cache]]
name = "default"
listen = "127.0.0.1:0"

[[user]]
name = "full"
passwords = ["full-password"]
access_string = "on ~* &* +@all"
caches = ["default"]

[[user]]
name = "app"
passwords = ["app-password"]
access_string = "on ~app:* +@all"
caches = ["default"]
"#;

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    // One each, so that neither finds the memory that the other's load left behind.
    let nodes = [Server::node_with(bench, CONFIG)?, Server::node_with(bench, CONFIG)?];
    let mut workloads = all();
    workloads.retain(|workload| bench.plan.wants("user", &what(workload)));
    let mut cases = Vec::new();
    for workload in &workloads {
        cases.extend(nodes.iter().zip(USERS).map(|(server, (who, login))| Case {
            what: what(workload),
            server,
            who,
            words: load::words(bench, workload, Some(login), PIPELINE),
            prepare: Some((workload, Some(FULL))),
        }));
    }
    let rows = case::rounds(bench, &cases, bench.plan.turns, || Ok(()))?;
    let mut aims = Vec::new();
    for workload in &workloads {
        let what = what(workload);
        let [full, limited] = USERS.map(|(who, _)| cpu_of(&rows, &what, who));
        let what = format!("CPU per {what}, user ~app:* / user ~*");
        aims.push(Aim { what, measured: limited? / full?, bound: Some(Bound::Most(MOST)) });
    }
    let about = "The loads of the tables above on a node of each user's own, who logs in; all keys begin with `app:`."
        .to_owned();
    Ok(Section { title: "RESP: a limited user", about, rows, aims })
}

/// All of them.
pub(super) fn rows() -> Vec<String> {
    all().iter().map(what).collect()
}

fn all() -> Vec<Workload> {
    workload::strings().into_iter().chain(workload::others()).collect()
}

fn what(workload: &Workload) -> String {
    format!("{}, pipeline {PIPELINE}", workload.name)
}
