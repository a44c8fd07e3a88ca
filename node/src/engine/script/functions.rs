//! Libraries of functions: what FUNCTION LOAD keeps and FCALL runs.
//!
//! The code and the names are the engine's; each worker's Lua state runs a library's code for itself when it is first asked
//! for one of its functions. What a library keeps in local variables is therefore a worker's own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::db::entry::size_class;
use crate::error::CommandError;
use crate::resp::unquote;

/// Bytes of code, in all.
const CODE_BYTES_MAX: usize = 64 << 20;
/// Functions, in all.
const FUNCTIONS_MAX: usize = 100_000;
const NAME: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// What a script or a function declares about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Declared(u8);

impl Declared {
    pub(crate) const NO_WRITES: Self = Self(1);
    pub(crate) const ALLOW_OOM: Self = Self(2);
    /// Their names, in redis's order.
    const NAMES: [&'static str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the flag of this name; false when there is none.
    pub(crate) fn add(&mut self, name: &[u8]) -> bool {
        let bit = Self::NAMES.iter().position(|known| known.as_bytes() == name);
        self.0 |= bit.map_or(0, |bit| 1 << bit);
        bit.is_some()
    }

    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| name)
    }
}

/// One function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) declared: Declared,
}

impl Function {
    /// Its name in lower case, under which it is found.
    fn place(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// One library.
#[derive(Debug)]
pub(crate) struct Library {
    /// Its number; a library of the same name loaded later has another.
    pub(super) id: u64,
    pub(crate) name: String,
    /// All of it, the first line included.
    pub(crate) code: Arc<[u8]>,
    pub(crate) functions: Vec<Function>,
}

/// All libraries at one moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Libraries {
    pub(crate) all: BTreeMap<String, Arc<Library>>,
    code_bytes: usize,
    /// By names in lower case: the library and which of its functions.
    functions: HashMap<String, (Arc<Library>, usize)>,
}

impl Libraries {
    pub(crate) fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Heap bytes of code, names and descriptions, about.
    pub(crate) fn heap_bytes(&self) -> u64 {
        let function = |function: &Function| {
            // Its name is in the map besides.
            2 * size_class(function.name.len()) + function.description.as_ref().map_or(0, |text| size_class(text.len()))
        };
        let library = |library: &Arc<Library>| {
            // A count of references is before the code.
            let texts = size_class(library.code.len() + 16) + 2 * size_class(library.name.len());
            let places = size_class(library.functions.capacity() * size_of::<Function>());
            texts + places + library.functions.iter().map(function).sum::<usize>()
        };
        let map = self.functions.capacity() * size_of::<(String, (Arc<Library>, usize))>();
        (map + self.all.values().map(library).sum::<usize>()) as u64
    }

    /// A function, in any case of its letters.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&Arc<Library>, &Function)> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let (library, at) = self.functions.get(&name)?;
        Some((library, library.functions.get(*at)?))
    }

    /// Adds a library, or puts it in the place of the one of its name. After an error they are not to be used.
    fn add(&mut self, library: Arc<Library>, replace: bool) -> Result<(), CommandError> {
        if self.all.contains_key(&library.name) && !replace {
            return Err(exists(&library.name));
        }
        self.remove(&library.name);
        if let Some(function) = library.functions.iter().find(|each| self.functions.contains_key(&each.place())) {
            return Err(CommandError::Said(format!("ERR Function {} already exists", function.name)));
        }
        let places = library.functions.iter().enumerate().map(|(at, each)| (each.place(), (library.clone(), at)));
        self.functions.extend(places);
        self.code_bytes += library.code.len();
        self.all.insert(library.name.clone(), library);
        if self.code_bytes > CODE_BYTES_MAX || self.functions() > FUNCTIONS_MAX {
            return Err(CommandError::Said(format!(
                "ERR the libraries are over their limits of {CODE_BYTES_MAX} bytes and {FUNCTIONS_MAX} functions"
            )));
        }
        Ok(())
    }

    /// Takes a library out; whether there was one.
    fn remove(&mut self, name: &str) -> bool {
        let Some(library) = self.all.remove(name) else { return false };
        self.code_bytes -= library.code.len();
        library.functions.iter().for_each(|each| drop(self.functions.remove(&each.place())));
        true
    }
}

fn exists(name: &str) -> CommandError {
    CommandError::Said(format!("ERR Library '{name}' already exists"))
}

/// The libraries of one engine. Who changes them holds the gate.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    now: ArcSwap<Libraries>,
}

/// The number of the next library of the process: a worker's Lua state has those of all engines.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Functions {
    pub(crate) fn now(&self) -> Arc<Libraries> {
        self.now.load_full()
    }

    /// Reads, runs and keeps a library; its name.
    pub(crate) fn load(&self, code: &[u8], replace: bool) -> Result<String, CommandError> {
        let before = self.now();
        let library =
            read(code, |name| if before.all.contains_key(name) && !replace { Err(exists(name)) } else { Ok(()) })?;
        let name = library.name.clone();
        let mut libraries = Libraries::clone(&before);
        libraries.add(library, replace)?;
        self.now.store(Arc::new(libraries));
        Ok(name)
    }

    /// Forgets a library; whether there was one.
    pub(crate) fn delete(&self, name: &[u8]) -> bool {
        let mut libraries = Libraries::clone(&self.now());
        let found = std::str::from_utf8(name).is_ok_and(|name| libraries.remove(name));
        if found {
            self.now.store(Arc::new(libraries));
        }
        found
    }

    pub(crate) fn flush(&self) {
        self.now.store(Arc::default());
    }

    /// Takes in all of these libraries, or none.
    pub(crate) fn restore(&self, codes: &[Vec<u8>], how: Restore) -> Result<(), CommandError> {
        let mut libraries = if how == Restore::Flush { Libraries::default() } else { Libraries::clone(&self.now()) };
        let replace = how == Restore::Replace;
        for code in codes {
            let there = |name: &str| CommandError::Said(format!("ERR Library {name} already exists"));
            let may = |name: &str| if libraries.all.contains_key(name) && !replace { Err(there(name)) } else { Ok(()) };
            let library = read(code, may)?;
            libraries.add(library, replace)?;
        }
        self.now.store(Arc::new(libraries));
        Ok(())
    }
}

/// Reads the code of a library and runs it once to learn its functions.
fn read(code: &[u8], may: impl Fn(&str) -> Result<(), CommandError>) -> Result<Arc<Library>, CommandError> {
    let (name, body) = header(code)?;
    may(&name)?;
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let functions = super::lua::load(id, body)?;
    if functions.is_empty() {
        return Err(CommandError::Text("ERR No functions registered"));
    }
    Ok(Arc::new(Library { id, name, code: code.into(), functions }))
}

/// FUNCTION RESTORE's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restore {
    /// Only what is restored is left.
    Flush,
    /// A library that there is already is refused.
    Append,
    /// It is replaced.
    Replace,
}

/// What the first line of a library says, and its body from the end of that line on.
fn header(code: &[u8]) -> Result<(String, &[u8]), CommandError> {
    if !code.starts_with(b"#!") {
        return Err(CommandError::Text("ERR Missing library metadata"));
    }
    let invalid = CommandError::Text("ERR Invalid library metadata");
    let Some(end) = memchr::memchr(b'\n', code) else { return Err(invalid) };
    let (line, body) = code.split_at(end);
    let Some(words) = unquote(line) else { return Err(invalid) };
    let words = words.as_args();
    let mut name = None;
    for word in words.iter().skip(1) {
        let value = word.get(..5).filter(|start| start.eq_ignore_ascii_case(b"name=")).map(|_| &word[5..]);
        let Some(value) = value else {
            return Err(CommandError::Quoted([b"ERR Invalid metadata value given: ", word].concat()));
        };
        if name.replace(value).is_some() {
            return Err(CommandError::Text("ERR Invalid metadata value, name argument was given multiple times"));
        }
    }
    let Some(name) = name else { return Err(CommandError::Text("ERR Library name was not given")) };
    let Some(name) = valid_name(name) else { return Err(CommandError::Said(format!("ERR {NAME}"))) };
    let engine = words.try_get(0).and_then(|word| word.get(2..)).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::Quoted([b"ERR Engine '", engine, b"' not found"].concat()));
    }
    Ok((name.to_owned(), body))
}

fn valid_name(name: &[u8]) -> Option<&str> {
    let is_valid = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    std::str::from_utf8(name).ok().filter(|_| is_valid)
}

/// Adds a function to those a library registers.
///
/// # Errors
/// What redis says of it.
pub(super) fn register(
    functions: &mut Vec<Function>,
    name: &[u8],
    description: Option<Vec<u8>>,
    flags: &[Vec<u8>],
) -> Result<(), &'static str> {
    let mut declared = Declared::default();
    if !flags.iter().all(|flag| declared.add(flag)) {
        return Err("unknown flag given");
    }
    let Some(name) = valid_name(name) else { return Err(NAME) };
    if functions.iter().any(|function| function.name.eq_ignore_ascii_case(name)) {
        return Err("Function already exists in the library");
    }
    functions.push(Function { name: name.to_owned(), description, declared });
    Ok(())
}

/// What the first line of a script declares, if it is `#!lua …`; and the script behind it.
///
/// # Errors
/// What redis says of a first line that is no such one.
pub(crate) fn shebang(body: &[u8]) -> Result<(Option<Declared>, &[u8]), CommandError> {
    if !body.starts_with(b"#!") {
        return Ok((None, body));
    }
    let Some(end) = memchr::memchr(b'\n', body) else {
        return Err(CommandError::Text("ERR Invalid script shebang"));
    };
    let (line, rest) = body.split_at(end);
    let words = unquote(line).ok_or(CommandError::Text("ERR Invalid engine in script shebang"))?;
    let words = words.as_args();
    let engine = words.try_get(0).unwrap_or_default();
    if engine != b"#!lua" {
        return Err(CommandError::Quoted([b"ERR Unexpected engine in script shebang: ", engine].concat()));
    }
    let mut declared = Declared::default();
    for word in words.iter().skip(1) {
        let Some(flags) = word.strip_prefix(b"flags=") else {
            return Err(CommandError::Quoted([b"ERR Unknown lua shebang option: ", word].concat()));
        };
        for flag in flags.split(|byte| *byte == b',').filter(|_| !flags.is_empty()) {
            if !declared.add(flag) {
                return Err(CommandError::Quoted([b"ERR Unexpected flag in script shebang: ", flag].concat()));
            }
        }
    }
    Ok((Some(declared), rest))
}
