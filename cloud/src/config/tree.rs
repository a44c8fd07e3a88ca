//! The configuration as a tree of TOML: names and kinds checked, overrides put in, secrets looked up, defaults filled.

use std::io;
use std::path::Path;

use toml::{Table, Value};

use super::Mistakes;
use super::settings::{self, Kind, Place, SETTINGS, Setting};

/// Where files and variables are looked up; the composing process owns both.
pub struct Sources<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The folder that relative paths start from.
    pub folder: &'a Path,
}

/// A value given outside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The setting it replaces.
    pub path: &'static str,
    /// Its text.
    pub text: String,
    /// What gave it: `--http`, `LARDER_HTTP_LISTEN`.
    pub origin: String,
}

/// The overrides among environment variables, and a mistake for each `LARDER_…` name that is none.
pub(super) fn overrides(
    variables: impl IntoIterator<Item = (String, String)>,
    mistakes: &mut Mistakes,
) -> Vec<Override> {
    let mut found = Vec::new();
    for (name, text) in variables.into_iter().filter(|(name, _)| name.starts_with("LARDER_")) {
        match SETTINGS.iter().find(|setting| setting.variable().as_deref() == Some(&name)) {
            Some(setting) => found.push(Override { path: setting.path, text, origin: name }),
            None => mistakes.push((
                name,
                "is no setting; the variable of `http.listen` is LARDER_HTTP_LISTEN, and so on".to_owned(),
            )),
        }
    }
    found
}

/// Puts a value in the place of the file's.
pub(super) fn replace(tree: &mut Table, change: &Override, mistakes: &mut Mistakes) {
    let Some(setting) = settings::find(change.path) else { return };
    match setting.read(&change.text) {
        Ok(value) => put(tree, change.path, value),
        Err(why) => mistakes.push((change.origin.clone(), why)),
    }
}

fn put(tree: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((name, rest)) => {
            let below = tree.entry(name).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                put(below, rest, value);
            }
        }
    }
}

/// Checks names and kinds everywhere. What is wrong is told and taken out, so that the rest can still be checked.
pub(super) fn check(tree: &mut Table, mistakes: &mut Mistakes) {
    check_table(tree, "", "", mistakes);
}

/// `path` names the row, with `[]` for lists; `shown` names the place, with indices.
fn check_table(tree: &mut Table, path: &str, shown: &str, mistakes: &mut Mistakes) {
    let join = |to: &str, name: &str| if to.is_empty() { name.to_owned() } else { format!("{to}.{name}") };
    tree.retain(|name, value| {
        let (path, shown) = (join(path, name), join(shown, name));
        let wrong = |what: String, mistakes: &mut Mistakes| {
            mistakes.push((shown.clone(), what));
            false
        };
        match (settings::find(&path), settings::place(&path), value) {
            (_, Some(Place::Table), Value::Table(below)) => {
                check_table(below, &path, &shown, mistakes);
                true
            }
            (None, Some(Place::List), Value::Array(list)) => check_list(list, &path, &shown, mistakes),
            (Some(setting), _, value) => match setting.kind.check(value) {
                Ok(()) => true,
                Err(why) => wrong(why, mistakes),
            },
            (None, Some(Place::Table), _) => wrong("must be a table".to_owned(), mistakes),
            (None, Some(Place::List), _) => wrong(format!("must be a list of tables: [[{shown}]]"), mistakes),
            (None, None, _) => {
                let (above, _) = path.rsplit_once('.').unwrap_or(("", &path));
                wrong(format!("is no setting; here can stand: {}", settings::names(above).join(", ")), mistakes)
            }
        }
    });
}

fn check_list(list: &mut [Value], path: &str, shown: &str, mistakes: &mut Mistakes) -> bool {
    for (index, value) in list.iter_mut().enumerate() {
        let shown = format!("{shown}[{index}]");
        match value {
            Value::Table(below) => check_table(below, &format!("{path}[]"), &shown, mistakes),
            _ => {
                mistakes.push((shown, "must be a table".to_owned()));
                *value = Value::Table(Table::new());
            }
        }
    }
    true
}

/// Calls `each` with every setting that the checked tree holds, its place, and its value.
fn walk(tree: &mut Table, each: &mut dyn FnMut(&Setting, &str, &mut Value)) {
    fn table(tree: &mut Table, path: &str, shown: &str, each: &mut dyn FnMut(&Setting, &str, &mut Value)) {
        for (name, value) in tree.iter_mut() {
            let join = |to: &str| if to.is_empty() { name.clone() } else { format!("{to}.{name}") };
            let (path, shown) = (join(path), join(shown));
            match (settings::find(&path), value) {
                (None, Value::Array(list)) => {
                    let tables = list.iter_mut().enumerate();
                    tables.for_each(|(index, value)| {
                        if let Value::Table(below) = value {
                            table(below, &format!("{path}[]"), &format!("{shown}[{index}]"), each);
                        }
                    });
                }
                (setting, Value::Table(below)) if setting.is_none_or(|setting| setting.kind != Kind::Tags) => {
                    table(below, &path, &shown, each);
                }
                (Some(setting), value) => each(setting, &shown, value),
                (None, _) => {}
            }
        }
    }
    table(tree, "", "", each);
}

/// Replaces every `env:NAME` and `file:PATH` of the secrets by what it means.
pub(super) fn resolve(tree: &mut Table, sources: &Sources<'_>, mistakes: &mut Mistakes) {
    walk(tree, &mut |setting, shown, value| {
        let mut look_up = |text: &mut String, shown: &str| match secret(text, sources) {
            Ok(found) => *text = found,
            Err(why) => mistakes.push((shown.to_owned(), why)),
        };
        match (setting.kind, value) {
            (Kind::Secret, Value::String(text)) => look_up(text, shown),
            (Kind::Secrets, Value::Array(list)) => {
                for (index, value) in list.iter_mut().enumerate() {
                    if let Value::String(text) = value {
                        look_up(text, &format!("{shown}[{index}]"));
                    }
                }
            }
            _ => {}
        }
    });
}

fn secret(text: &str, sources: &Sources<'_>) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("env:") {
        return (sources.variable)(name).ok_or_else(|| format!("the environment has no variable {name}"));
    }
    let Some(path) = text.strip_prefix("file:") else { return Ok(text.to_owned()) };
    read(path, sources).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads every `policy[].file` into its `document`.
pub(super) fn read_policies(tree: &mut Table, sources: &Sources<'_>, mistakes: &mut Mistakes) {
    let Some(Value::Array(policies)) = tree.get_mut("policy") else { return };
    for (index, policy) in policies.iter_mut().enumerate() {
        let Value::Table(policy) = policy else { continue };
        let Some(Value::String(file)) = policy.get("file").cloned() else { continue };
        let shown = format!("policy[{index}].file");
        if policy.contains_key("document") {
            mistakes.push((shown, "give either `document` or `file`, not both".to_owned()));
            continue;
        }
        match read(&file, sources) {
            Ok(text) => drop(policy.insert("document".to_owned(), Value::String(text))),
            Err(why) => {
                mistakes.push((shown, why));
                // Told once: the missing document is not a second mistake.
                let nothing = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
                policy.insert("document".to_owned(), Value::from(nothing));
            }
        }
    }
}

fn read(path: &str, sources: &Sources<'_>) -> Result<String, String> {
    let path = sources.folder.join(path);
    (sources.read)(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Puts in the default of every setting whose table is there, and of every table outside lists that has defaults.
pub(super) fn fill(tree: &mut Table) {
    fn table(tree: &mut Table, path: &str) {
        for name in settings::names(path) {
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match settings::place(&full) {
                Some(Place::List) => {
                    let Some(Value::Array(list)) = tree.get_mut(name) else { continue };
                    for value in list {
                        if let Value::Table(below) = value {
                            table(below, &format!("{full}[]"));
                        }
                    }
                    continue;
                }
                // A remote, TLS or a header source is there only when it is written.
                Some(Place::Table) if settings::find(&full).is_none() => {
                    let optional = full.contains("[]") || full == "tls";
                    if !optional && !tree.contains_key(name) {
                        tree.insert(name.to_owned(), Value::Table(Table::new()));
                    }
                    if let Some(Value::Table(below)) = tree.get_mut(name) {
                        table(below, &full);
                    }
                    continue;
                }
                _ => {}
            }
            let default = settings::find(&full).and_then(Setting::default_value);
            if let (false, Some(default)) = (tree.contains_key(name), default) {
                tree.insert(name.to_owned(), default);
            }
        }
        // A table that nothing stands in is not there.
        tree.retain(|_, value| !matches!(value, Value::Table(below) if below.is_empty()));
    }
    table(tree, "");
}

/// The tree with its secrets covered: each keeps its reference, and a literal one shows only that it is there.
pub(super) fn cover(tree: &mut Table) {
    const COVERED: &str = "env:COVERED_SECRET";
    let cover = |text: &mut String| {
        if !text.starts_with("env:") && !text.starts_with("file:") {
            COVERED.clone_into(text);
        }
    };
    walk(tree, &mut |setting, _, value| match (setting.kind, value) {
        (Kind::Secret, Value::String(text)) => cover(text),
        (Kind::Secrets, Value::Array(list)) => {
            for value in list {
                if let Value::String(text) = value {
                    cover(text);
                }
            }
        }
        _ => {}
    });
}
