//! The crates we stand on: licences, bans and sources, read from `deny.toml`.
//!
//! cargo-deny does this and more where it is installed. The three rules that need no advisory database are
//! checked here from cargo's own tree too, so they hold on every machine.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::run::{self, cargo, on_path, root};

/// The one source of crates that are not ours.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct DenyFile {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    /// A name, or `name@<N` for every version below N.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

/// One crate that is built into something of ours.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: String,
}

/// Every crate that breaks a rule of `deny.toml`, one line each.
///
/// # Errors
/// `deny.toml`, the lock file or cargo's tree cannot be read.
pub(crate) fn faults() -> Result<Vec<String>> {
    let text = fs::read_to_string(root().join("deny.toml")).context("reading deny.toml")?;
    let rules: DenyFile = toml::from_str(&text).context("deny.toml")?;
    let text = fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock")?;
    let mut faults: Vec<String> = lock.package.iter().filter_map(source_fault).collect();
    faults.extend(built()?.iter().filter_map(|package| fault(&rules, package)));
    Ok(faults)
}

/// The crates of the lock file that are really built here, with all features on; ours are left out.
fn built() -> Result<BTreeSet<Package>> {
    let tree = ["tree", "--workspace", "--all-features", "--locked", "--edges", "normal,build,dev", "--prefix", "none"];
    let text = run::output(cargo(tree).args(["--format", "{p}\t{l}"]))?;
    Ok(text.lines().filter_map(package).collect())
}

/// Reads `name v1.2.3 [(note)]<TAB>licence`; none for a crate of this tree, whose note is its folder.
fn package(line: &str) -> Option<Package> {
    let (name, license) = line.split_once('\t')?;
    let mut words = name.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    if words.any(|note| note.starts_with("(/")) {
        return None;
    }
    let license = license.trim_end_matches(" (*)");
    Some(Package { name: name.into(), version: version.into(), license: license.into() })
}

fn source_fault(package: &Locked) -> Option<String> {
    let Locked { name, version, source } = package;
    let source = source.as_deref()?;
    let known = source == CRATES_IO;
    (!known).then(|| format!("{name} {version} comes from {source}: only crates.io and this tree are allowed"))
}

fn fault(rules: &DenyFile, package: &Package) -> Option<String> {
    let Package { name, version, license } = package;
    if let Some(ban) = rules.bans.deny.iter().find(|ban| banned(&ban.spec, package)) {
        return Some(format!("{name} {version} is banned: {}", ban.reason));
    }
    if !satisfied(license, &rules.licenses.allow) {
        return Some(format!("{name} {version} has the licence `{license}`, which deny.toml does not allow"));
    }
    None
}

fn banned(spec: &str, package: &Package) -> bool {
    let Some((name, below)) = spec.split_once("@<") else {
        return spec == package.name;
    };
    let major = package.version.split('.').next().and_then(|part| part.parse::<u64>().ok());
    name == package.name && major.zip(below.parse().ok()).is_some_and(|(have, below)| have < below)
}

/// Whether an SPDX expression can be met with the allowed licences alone. An old-style `/` means OR; AND binds
/// tighter than OR; an expression this cannot read is not satisfied.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed).unwrap_or(false) && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all_of(rest, allowed)?;
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        met |= all_of(rest, allowed)?;
    }
    Some(met)
}

fn all_of(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    if *first == "(" {
        let met = any_of(rest, allowed)?;
        let (close, tail) = rest.split_first()?;
        *rest = tail;
        return (*close == ")").then_some(met);
    }
    if let ["WITH", exception, tail @ ..] = *rest {
        *rest = tail;
        return Some(allowed.contains(&format!("{first} WITH {exception}")));
    }
    Some(allowed.contains(*first))
}

/// Runs cargo-deny where it is installed; says plainly what was not checked where it is not.
///
/// # Errors
/// cargo-deny found something.
pub(crate) fn cargo_deny() -> Result<()> {
    if on_path("cargo-deny").is_none() {
        eprintln!(
            "cargo-deny is not installed: security advisories were NOT checked. Licences, bans and sources of \
             deny.toml were checked by tidy."
        );
        return Ok(());
    }
    run::run(&mut cargo(["deny", "--locked", "check", "licenses", "bans", "sources"]))?;
    let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let home = home.or_else(|| Some(std::path::Path::new(&std::env::var_os("HOME")?).join(".cargo")));
    if home.is_some_and(|home| home.join("advisory-dbs").is_dir()) {
        return run::run(&mut cargo(["deny", "--locked", "check", "advisories", "--disable-fetch"]));
    }
    eprintln!("no advisory database is on this machine (`cargo deny fetch`): security advisories were NOT checked");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(expression: &str) -> bool {
        let allowed = ["MIT", "ISC", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        satisfied(expression, &allowed.map(String::from).into())
    }

    #[test]
    fn licence_expressions() {
        for yes in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "GPL-2.0 OR Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(meets(yes), "{yes}");
        }
        for no in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT OR", "(MIT", "MIT)", "MIT ISC", "MIT WITH LLVM-exception", "AND"]
        {
            assert!(!meets(no), "{no}");
        }
    }

    #[test]
    fn reads_cargos_tree() {
        let package = |line| package(line).map(|package| (package.name, package.version, package.license));
        let of = |name: &str, version: &str, license: &str| Some((name.into(), version.into(), license.into()));
        assert_eq!(package("serde v1.0.229\tMIT OR Apache-2.0"), of("serde", "1.0.229", "MIT OR Apache-2.0"));
        assert_eq!(package("serde v1.0.229\tMIT (*)"), of("serde", "1.0.229", "MIT"));
        assert_eq!(package("syn v3.0.10 (proc-macro)\tMIT"), of("syn", "3.0.10", "MIT"));
        assert_eq!(package("larder-node v0.1.0 (/somewhere/node)\tMIT OR Apache-2.0"), None);
        assert_eq!(package("serde feature \"default\""), None);
    }

    #[test]
    fn bans_by_name_and_by_version() {
        let package =
            |name: &str, version: &str| Package { name: name.into(), version: version.into(), license: "MIT".into() };
        assert!(banned("ring", &package("ring", "0.17.14")));
        assert!(!banned("ring", &package("ring-compat", "0.1.0")));
        assert!(banned("http@<1", &package("http", "0.2.12")));
        assert!(!banned("http@<1", &package("http", "1.5.0")));
    }
}
