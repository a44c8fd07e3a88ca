//! The written pages against the tree: generated ones are current, and what the others name is there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use larder_tests::docs::{PAGES, differences};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The pages people write, by their path from the root.
const WRITTEN: &[&str] =
    &["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/request-life.md", "docs/fidelity.md"];

/// Source files below our crates, by their path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let crates = ["cli", "cloud", "gateway", "iam-policies", "node", "sim", "tests", "xtask"];
    let mut folders: Vec<PathBuf> = crates.iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 100, "{} files", found.len());
    found
}

/// What stands between backticks in prose, code blocks left out.
fn quoted(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn generated_pages_say_what_the_code_says() {
    assert!(PAGES.len() >= 3);
    assert_eq!(differences(root()), Vec::<&str>::new(), "run `cargo xtask docs`");
}

#[test]
fn links_lead_somewhere() {
    for page in WRITTEN {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let folder = root().join(page).parent().unwrap().to_owned();
        let links: Vec<&str> = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
        for link in links.iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{page} links to {link}, which is not there");
        }
    }
}

#[test]
fn named_files_and_folders_are_there() {
    let sources = sources();
    for page in WRITTEN {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for name in quoted(&text) {
            let is_path = name.ends_with(".rs") || name.ends_with('/') && !name.starts_with('/');
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            if is_path && plain {
                let there =
                    root().join(name).exists() || sources.iter().any(|(path, _)| path.ends_with(&format!("/{name}")));
                assert!(there, "{page} names {name}, which is not there");
            }
        }
    }
}

/// `Type::function`, `Type::Variant` or `module::function`: the second half stands in a file that is about the first.
#[test]
fn named_functions_are_there() {
    let sources = sources();
    let mut seen = BTreeSet::new();
    for page in WRITTEN {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for name in quoted(&text) {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":_".contains(&byte));
            let Some((owner, member)) = name.split_once("::").filter(|_| plain) else { continue };
            let about = sources.iter().filter(|(path, text)| is_about(path, text, owner));
            let kind = if member.starts_with(|first: char| first.is_uppercase()) { "    " } else { "fn " };
            let mut members = about.map(|(_, text)| stands(text, &format!("{kind}{member}")));
            assert!(members.any(|there| there), "{page} names {name}, which is not there");
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() >= 20, "the pages name only {seen:?}");
}

/// Whether a file is a module's, or defines a type or adds to it.
fn is_about(path: &str, text: &str, owner: &str) -> bool {
    let is_module = path.ends_with(&format!("/{owner}.rs")) || path.contains(&format!("/{owner}/"));
    let kinds = ["impl ", "impl<'_> ", "> ", "enum ", "trait "];
    is_module || kinds.iter().any(|kind| stands(text, &format!("{kind}{owner}")))
}

/// Whether the words stand in the text, with the last one ending there.
fn stands(text: &str, words: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    text.match_indices(words).any(|(at, _)| ends(&text[at + words.len()..]))
}
