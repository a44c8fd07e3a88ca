//! The pages of `docs/` that are written from the code's own tables.

use std::path::Path;

/// One generated page.
pub struct Page {
    /// Where it is, from the root of the tree.
    pub path: &'static str,
    /// What it says now.
    pub text: fn() -> String,
}

/// Every generated page.
pub const PAGES: &[Page] = &[
    Page { path: "docs/commands.md", text: larder_node::commands::reference },
    Page { path: "docs/settings.md", text: larder_cloud::config::reference },
    Page { path: "docs/larder.sample.toml", text: larder_cloud::config::sample },
];

/// The pages under `root` that are missing or differ from what the code says.
#[must_use]
pub fn differences(root: &Path) -> Vec<&'static str> {
    let stale = |page: &&Page| std::fs::read_to_string(root.join(page.path)).ok() != Some((page.text)());
    PAGES.iter().filter(stale).map(|page| page.path).collect()
}
