//! `cargo xtask tidy`: the rules of this tree that a compiler does not check. Each check is an ordinary test too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use crate::crates;
use crate::run::{output, root};

/// Which of our crates each may use, by folder: cli -> cloud -> gateway -> node -> iam-policies, and sim only
/// signs. Knowledge never travels back along it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("iam-policies", &[]),
    ("node", &["iam-policies"]),
    ("gateway", &["node", "iam-policies"]),
    ("cloud", &["gateway", "node", "iam-policies"]),
    ("sim", &["iam-policies"]),
    ("cli", &["cloud", "gateway", "node", "iam-policies", "sim"]),
    ("tests", &["cli", "cloud", "gateway", "node", "iam-policies", "sim"]),
    ("xtask", &["sim", "iam-policies"]),
];

/// The only modules that may hold unsafe code, each small and with a safe face: a file, or all files of a folder.
const MAY_BE_UNSAFE: &[&str] = &[
    "node/src/allocator.rs",
    "node/src/db/entry.rs",
    "node/src/db/entry/shape.rs",
    "node/src/db/entry/view.rs",
    "node/src/db/table.rs",
    "node/src/db/table/",
    "node/src/engine/script/direct.rs",
    "node/tests/used_memory.rs",
];

/// A source file longer than this is named in the report: a question, not a fault.
const FILE_LINES_ASKED: usize = 600;

/// File names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

/// One tracked text file.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Runs every check, prints the sizes and then the faults.
///
/// # Errors
/// There is a fault, or the tree cannot be read.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let files = tracked()?;
    report_sizes(&files);
    let faults = faults(&files)?;
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    eprintln!("tidy: {} files, no fault", files.len());
    Ok(())
}

fn faults(files: &[File]) -> Result<Vec<String>> {
    let mut faults = manifest_faults(files)?;
    faults.extend(crates::faults()?);
    for file in files {
        faults.extend(text_faults(file));
        if file.is_rust() {
            faults.extend(rust_faults(file));
        }
    }
    Ok(faults)
}

/// Every text file that git tracks or would add.
fn tracked() -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files = Vec::new();
    for path in output(&mut git)?.split('\0').filter(|path| !path.is_empty()) {
        // A file that is deleted but not yet committed is listed and gone; a binary file is not ours to read.
        let Ok(bytes) = fs::read(root().join(path)) else {
            continue;
        };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

fn report_sizes(files: &[File]) {
    let mut by_crate = BTreeMap::<&str, (usize, usize)>::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let folder = file.path.split('/').next().unwrap_or_default();
        let sum = by_crate.entry(folder).or_default();
        sum.0 += 1;
        sum.1 += file.text.lines().count();
    }
    for (folder, (count, lines)) in by_crate {
        eprintln!("{folder:<14}{count:>4} files {lines:>7} lines");
    }
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_ASKED {
            eprintln!("  {} has {lines} lines: is it a table?", file.path);
        }
    }
}

fn manifest_faults(files: &[File]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut members = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let manifest: Table = file.text.parse().with_context(|| file.path.clone())?;
        let folder = Path::new(&file.path).parent().and_then(Path::to_str).unwrap_or_default();
        faults.extend(source_faults(&file.path, &manifest));
        match folder {
            "" => {
                members = strings(&manifest["workspace"]["members"]);
                let extra = manifest.keys().filter(|key| !matches!(key.as_str(), "workspace" | "profile"));
                faults.extend(extra.map(|key| format!("Cargo.toml: [{key}] does not belong in the root manifest")));
            }
            // Wrappers for cargo-fuzz, a workspace of their own.
            "tests/fuzz" => {}
            _ => faults.extend(line_faults(folder, &manifest)),
        }
    }
    let listed = MAY_USE.iter().map(|(folder, _)| *folder);
    for folder in listed.filter(|folder| !members.iter().any(|member| member == folder)) {
        faults.push(format!("Cargo.toml: `{folder}` is not a member of the workspace"));
    }
    Ok(faults)
}

/// The dependency line, and the lints every crate shares.
fn line_faults(folder: &str, manifest: &Table) -> Vec<String> {
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == folder) else {
        return vec![format!(
            "{folder}/Cargo.toml: a crate that the dependency line in xtask/src/tidy.rs does not know"
        )];
    };
    let mut faults = Vec::new();
    for (name, _) in dependencies(manifest) {
        let Some(ours) = name.strip_prefix("larder-") else {
            continue;
        };
        if !may_use.contains(&ours) {
            faults.push(format!("{folder}/Cargo.toml: {folder} may not use {ours} (house line: {may_use:?})"));
        }
    }
    let shared = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if shared.and_then(Value::as_bool) != Some(true) {
        faults.push(format!("{folder}/Cargo.toml: [lints] workspace = true is missing"));
    }
    faults
}

/// Dependencies come from crates.io or from this tree: no git, no other registry, no patch, no path outside.
fn source_faults(path: &str, manifest: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in dependencies(manifest) {
        let Some(table) = value.as_table() else {
            continue;
        };
        for key in ["git", "registry", "registry-index"] {
            if table.contains_key(key) {
                faults.push(format!("{path}: `{name}` has `{key}`: only crates.io and this tree are allowed"));
            }
        }
        let target = table.get("path").and_then(Value::as_str);
        if target.is_some_and(|target| outside(path, target)) {
            faults.push(format!("{path}: `{name}` has a path outside this tree"));
        }
    }
    for key in ["patch", "replace"] {
        if manifest.contains_key(key) {
            faults.push(format!("{path}: [{key}] is not allowed"));
        }
    }
    faults
}

fn outside(manifest: &str, target: &str) -> bool {
    let mut depth = manifest.matches('/').count() as i64;
    target.starts_with('/')
        || target.split('/').any(|part| {
            depth += match part {
                ".." => -1,
                "" | "." => 0,
                _ => 1,
            };
            depth < 0
        })
}

/// Every dependency of a manifest, of any kind and for any target.
fn dependencies(manifest: &Table) -> Vec<(&str, &Value)> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let nested = |name: &str| manifest.get(name).and_then(Value::as_table);
    let targets = nested("target").into_iter().flat_map(Table::values).filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(targets)
        .chain(nested("workspace"))
        .flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|table| table.iter().map(|(name, value)| (package_name(name, value), value)))
        .collect()
}

/// The package behind a dependency, which may be renamed.
fn package_name<'a>(name: &'a str, value: &'a Value) -> &'a str {
    value.get("package").and_then(Value::as_str).unwrap_or(name)
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Words that tie a file to one machine or one mirror. Split here, so that this file does not hold them.
const TIED: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("files.python", "hosted.org"),
    concat!("pypi", ".org/simple"),
    concat!("deb.deb", "ian.org"),
    concat!("static.cra", "tes.io"),
    concat!("index.cra", "tes.io"),
    concat!("--index", "-url"),
    concat!("extra-index", "-url"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

fn text_faults(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for tied in TIED.iter().filter(|tied| line.contains(**tied)) {
            faults.push(format!("{}:{}: `{tied}` ties this file to one machine or mirror", file.path, number + 1));
        }
    }
    if file.path.ends_with("package-lock.json") && file.text.contains(concat!("\"resol", "ved\"")) {
        faults.push(format!(
            "{}: holds download addresses; write it with `npm install --omit-lockfile-registry-resolved`",
            file.path
        ));
    }
    faults
}

fn rust_faults(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    let path = &file.path;
    let name = path.rsplit('/').next().unwrap_or(path);
    if EMPTY_NAMES.contains(&name) {
        faults.push(format!("{path}: name the file after the noun it owns (`noun.rs` beside `noun/`)"));
    }
    let is_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    if is_root && !file.text.starts_with("//!") {
        faults.push(format!("{path}: opens without a `//!` comment on what the crate does and does not know"));
    }
    faults.extend(unsafe_faults(file));
    let ignored = concat!("#[ig", "nore");
    if file.text.contains(ignored) {
        faults.push(format!("{path}: {ignored}]: a known wrong behaviour is asserted as it is, never skipped"));
    }
    faults
}

fn unsafe_faults(file: &File) -> Vec<String> {
    let code = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned();
    let block = |line: &&str| {
        let code = code(line);
        let marks =
            ["{", "fn ", "impl ", "trait ", "extern "].map(|after| format!("{} {after}", concat!("uns", "afe")));
        marks.iter().any(|mark| code.contains(mark.as_str()))
    };
    let blocks = file.text.lines().filter(block).count();
    let allows = file.text.contains(concat!("allow(uns", "afe_code"));
    let listed = |place: &str| file.path == place || (place.ends_with('/') && file.path.starts_with(place));
    if !MAY_BE_UNSAFE.iter().any(|place| listed(place)) {
        let what = "unsafe code outside the files that xtask/src/tidy.rs lists";
        return if blocks > 0 || allows { vec![format!("{}: {what}", file.path)] } else { Vec::new() };
    }
    let notes = file.text.matches("SAFETY").count() + file.text.matches("# Safety").count();
    if notes < blocks {
        return vec![format!("{}: {blocks} unsafe blocks and only {notes} SAFETY notes", file.path)];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy() {
        let faults = faults(&tracked().unwrap()).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    fn of(folder: &str, manifest: &str) -> String {
        let path = format!("{folder}/Cargo.toml");
        let manifest: Table = manifest.parse().unwrap();
        let mut faults = line_faults(folder, &manifest);
        faults.extend(source_faults(&path, &manifest));
        faults.join("\n")
    }

    #[test]
    fn a_dependency_against_the_line_is_found_wherever_it_hides() {
        let lints = "[lints]\nworkspace = true\n";
        assert_eq!(of("node", &format!("{lints}[dependencies]\nlarder-iam-policies.workspace = true")), "");
        for hidden in [
            "[dependencies]\nlarder-gateway.workspace = true",
            "[dev-dependencies]\nlarder-gateway = { path = \"../gateway\" }",
            "[build-dependencies]\nlarder-gateway = { path = \"../gateway\" }",
            "[target.'cfg(unix)'.dependencies]\nlarder-gateway = { path = \"../gateway\" }",
            "[dependencies]\ng = { package = \"larder-gateway\", path = \"../gateway\" }",
        ] {
            let fault = of("node", &format!("{lints}{hidden}"));
            assert!(fault.contains("node may not use gateway"), "{hidden}: {fault}");
        }
        assert!(
            of("sim", &format!("{lints}[dependencies]\nlarder-node.workspace = true")).contains("may not use node")
        );
        assert!(of("node", "").contains("[lints] workspace = true is missing"));
        assert!(of("newcomer", lints).contains("does not know"));
    }

    #[test]
    fn other_sources_are_found() {
        let lints = "[lints]\nworkspace = true\n";
        for (line, word) in [
            ("a = { git = \"https://example.com/a\" }", "`git`"),
            ("a = { version = \"1\", registry = \"mirror\" }", "`registry`"),
            ("a = { path = \"../../elsewhere\" }", "outside"),
            ("a = { path = \"/opt/a\" }", "outside"),
        ] {
            let fault = of("node", &format!("{lints}[dependencies]\n{line}"));
            assert!(fault.contains(word), "{line}: {fault}");
        }
        assert!(of("node", &format!("{lints}[patch.crates-io]\na = {{ path = \"../a\" }}")).contains("[patch]"));
    }

    fn rust(path: &str, text: &str) -> String {
        rust_faults(&File { path: path.into(), text: text.into() }).join("\n")
    }

    #[test]
    fn the_shape_of_rust_files() {
        assert_eq!(rust("node/src/lib.rs", "//! What.\n"), "");
        assert!(rust("node/src/lib.rs", "use x;\n").contains("//!"));
        assert!(rust("node/src/db/mod.rs", "").contains("noun"));
        let block = concat!("fn f() { uns", "afe { g() } }\n");
        assert!(rust("node/src/slot.rs", block).contains("outside the files"));
        assert_eq!(rust("node/src/slot.rs", concat!("// uns", "afe { g() }\n")), "");
        assert!(rust("node/src/db/table.rs", block).contains("SAFETY notes"));
        assert_eq!(rust("node/src/db/table.rs", &format!("// SAFETY: g is total.\n{block}")), "");
    }

    #[test]
    fn a_file_tied_to_a_machine_is_found() {
        let text = concat!("see /wo", "rk/main\n");
        let file = File { path: "README.md".into(), text: text.into() };
        assert_eq!(text_faults(&file).len(), 1);
    }
}
