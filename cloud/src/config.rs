//! `larder.toml`, the environment and the flags, composed and checked as one.
//!
//! Raw, then checked: every mistake is told at once, with the place of the setting and the fix. Files and environment
//! are read through [`Sources`]; each crate checks its own part; what two parts must agree on is checked here.

mod checked;
mod pages;
mod raw;
pub mod settings;
mod tree;

#[cfg(test)]
mod tests;

pub use checked::{Backend, CacheConfig, Config, Door, Log};
pub use pages::{reference, sample};
pub use tree::{Override, Sources};

use toml::Table;

/// Mistakes: the place of the setting, what is wrong with it and how to mend it.
pub type Mistakes = Vec<(String, String)>;

/// What is started: it decides which defaults there are and what must be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Everything on this machine, with development defaults for what is not given.
    Up,
    /// The HTTP gateway, in front of backends that exist.
    Gateway,
    /// A listener that answers with a constant: caches and access are not asked.
    Echo,
    /// One cache node, of the cache with this name or of the only embedded one.
    Node(Option<String>),
    /// Nothing: only checked.
    Check,
}

/// Everything a configuration is made of.
pub struct Given<'a> {
    /// The text of `larder.toml`.
    pub file: Option<&'a str>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// What flags say.
    pub flags: Vec<Override>,
    /// A RESP address for the cache `default` (`--resp`) or for the node's cache (`--listen`), and the flag.
    pub resp: Option<(String, &'static str)>,
    /// A Unix socket for the same cache, and the flag.
    pub unix_socket: Option<(String, &'static str)>,
    /// Whether a node started without a file takes anonymous callers.
    pub anonymous: bool,
}

/// A checked configuration and how it prints.
#[derive(Debug)]
pub struct Loaded {
    /// What to start.
    pub config: Config,
    /// The effective configuration as TOML, secrets covered.
    pub printed: String,
    /// What works but may surprise, for people.
    pub notes: Vec<String>,
}

/// Composes and checks a configuration.
///
/// # Errors
/// Every mistake found; never empty.
pub fn load(given: &Given<'_>, mode: &Mode, sources: &Sources<'_>) -> Result<Loaded, Mistakes> {
    let mut mistakes = Mistakes::new();
    let mut tree = match given.file.unwrap_or_default().parse::<Table>() {
        Ok(tree) => tree,
        Err(error) => {
            return Err(vec![("the file".to_owned(), format!("is no TOML: {}", error.to_string().trim_end()))]);
        }
    };
    let variables = tree::overrides(given.variables.iter().cloned(), &mut mistakes);
    variables.iter().chain(&given.flags).for_each(|change| tree::replace(&mut tree, change, &mut mistakes));
    tree::check(&mut tree, &mut mistakes);
    let development = raw::add_defaults(&mut tree, given, mode, &mut mistakes);
    tree::fill(&mut tree);
    let mut printed = tree.clone();
    tree::cover(&mut printed);
    tree::resolve(&mut tree, sources, &mut mistakes);
    tree::read_policies(&mut tree, sources, &mut mistakes);
    let checked =
        raw::deserialize(tree, &mut mistakes).and_then(|raw| checked::check(raw, mode, development, &mut mistakes));
    match checked {
        Some((config, notes)) if mistakes.is_empty() => Ok(Loaded { config, printed: pages::print(&printed), notes }),
        _ => Err(mistakes),
    }
}
