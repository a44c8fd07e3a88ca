//! Writes the generated pages, or with `--check` says which differ from what the code says. `cargo xtask docs` runs it.

use std::path::Path;
use std::process::ExitCode;

use larder_tests::docs::{PAGES, differences};

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let stale = differences(&root);
    if std::env::args().any(|argument| argument == "--check") {
        for path in &stale {
            eprintln!("{path} is not what the code says: run `cargo xtask docs`");
        }
        return if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    for page in PAGES.iter().filter(|page| stale.contains(&page.path)) {
        if let Err(error) = std::fs::write(root.join(page.path), (page.text)()) {
            eprintln!("{}: {error}", page.path);
            return ExitCode::FAILURE;
        }
        println!("{} written", page.path);
    }
    ExitCode::SUCCESS
}
