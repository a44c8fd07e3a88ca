//! What fills a form's places: keys that mostly exist and mostly hold the right type, values of every size and kind,
//! numbers at their limits.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::{Rng, RngExt};

/// Keys of each type.
pub const KEYS: usize = 10;
/// The types by the letter of their keys, with what OBJECT ENCODING and TYPE may call them.
const TYPES: &[(&str, &[&str])] = &[
    ("s", &["int", "embstr", "raw", "string"]),
    ("n", &["int", "embstr", "raw", "string"]),
    ("f", &["int", "embstr", "raw", "string"]),
    ("b", &["int", "embstr", "raw", "string"]),
    ("l", &["listpack", "quicklist"]),
    ("h", &["listpack", "hashtable", "hash"]),
    ("t", &["intset", "listpack", "hashtable"]),
    ("z", &["listpack", "skiplist", "zset"]),
    ("g", &["listpack", "skiplist"]),
    ("x", &["stream"]),
    // HyperLogLogs, which other commands would break in ways of their own.
    ("p", &["embstr", "raw"]),
    // Lists and sets of plain words, for SORT, which sorts other bytes by the locale.
    ("c", &["listpack", "quicklist"]),
    ("d", &["intset", "listpack", "hashtable"]),
    // Sorted sets of one score, as ranges by name are undefined for others.
    ("y", &["listpack", "skiplist"]),
    // Documents.
    ("j", &["ReJSON-RL"]),
];
/// So many of the first types may be taken for one another.
const MIXED: usize = TYPES.len() - 5;
/// The first of them begin with `$`, the others are legacy ones; some are of what is rarely there.
const JSON_PATHS: &[&str] = &[
    "$", "$.a", "$.b", "$.c", "$.a.b", "$.b.a", "$.*", "$..a", "$..b", "$..*", "$.a[0]", "$.a[-1]", "$.b[0:2]",
    "$.a[*]", "$..[0]", "$['c']", "$.a.*", "$.d", "$.a.d", ".", "a", ".a", ".b", ".c", ".a.b", ".a[0]", "..a", ".*",
    ".d", "b[-1]",
];
const DOLLARS: usize = 19;
const INTS: &[i64] = &[0, 1, -1, 2, 10, 255, 65_535, -129, 1 << 40, i64::MAX, i64::MIN, i64::MAX - 1];

/// What is known of the keys, and the wall clock that absolute times are made from.
#[derive(Debug, Default)]
pub struct World {
    /// By database, what is known of each key.
    pub databases: [BTreeMap<Vec<u8>, Known>; 2],
    /// The database of the connection.
    pub database: usize,
    /// Unix ms.
    pub now_ms: u64,
    /// Names already given in the form being filled, for `{same}`.
    pub same: Vec<u8>,
    /// Entries of streams added so far, for `{id-new}`.
    pub ids: u64,
    /// The same by the key of their form, for `{id-of}`.
    pub entries: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Times to live given so far, for `{ttl-own}`.
    pub times: u64,
}

/// What is known of a key.
#[derive(Debug, Clone)]
pub struct Known {
    /// What redis and the node called its encoding when it was last there.
    pub encodings: [String; 2],
    /// Whether it was there when it was last looked at.
    pub is_there: bool,
}

impl World {
    /// Takes the time that absolute times are made from.
    ///
    /// # Panics
    /// The clock is before 1970.
    pub fn set_clock(&mut self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.now_ms = since_epoch.as_millis() as u64;
    }

    /// Keys of this database that were there when they were last looked at.
    pub fn there(&self) -> impl Iterator<Item = (&Vec<u8>, &Known)> {
        self.databases[self.database].iter().filter(|(_, known)| known.is_there)
    }
}

/// The type that keys of such a name mostly have, when these are two encodings of it.
#[must_use]
pub fn kind(key: &[u8], from: &str, to: &str) -> Option<&'static str> {
    let (letter, encodings) = TYPES.iter().find(|(letter, _)| key.starts_with(letter.as_bytes()))?;
    let kind = match *letter {
        "l" | "c" => "list",
        "h" => "hash",
        "t" | "d" => "set",
        "z" | "g" | "y" => "sorted set",
        _ => "string",
    };
    (encodings.contains(&from) && encodings.contains(&to)).then_some(kind)
}

/// Every key there may be.
pub fn all_keys() -> impl Iterator<Item = Vec<u8>> {
    TYPES.iter().flat_map(|(letter, _)| (0..KEYS).map(move |number| format!("{letter}{number}").into_bytes()))
}

/// Fills a place.
///
/// # Panics
/// There is no such place: the file of forms is wrong.
pub fn fill(place: &str, world: &mut World, random: &mut impl Rng) -> Vec<u8> {
    // `{z!}`: never of another type.
    let (place, is_strict) = place.strip_suffix('!').map_or((place, false), |place| (place, true));
    if let Some((_, encodings)) = TYPES.iter().find(|(letter, _)| *letter == place) {
        let key = key(place, encodings, is_strict || ["c", "d", "p", "y"].contains(&place), world, random);
        world.same.clone_from(&key);
        return key;
    }
    match place {
        "same" => world.same.clone(),
        "db" => world.database.to_string().into_bytes(),
        "other-db" => (1 - world.database).to_string().into_bytes(),
        "k" => {
            let (letter, encodings) = TYPES[random.random_range(0..MIXED)];
            let key = key(letter, encodings, true, world, random);
            world.same.clone_from(&key);
            key
        }
        "v" => value(random),
        "big" => vec![b'a' + random.random_range(0..26u8); random.random_range(60..300)],
        "m" => member(random),
        "sm" => random.random_range(0..30u8).to_string().into_bytes(),
        "field" => format!("field{}", random.random_range(0..20u8)).into_bytes(),
        "int" => int(random).to_string().into_bytes(),
        "delta" => random.random_range(-1000..1000i64).to_string().into_bytes(),
        "float" => float(random),
        "score" => score(random),
        "smin" | "smax" => bound(random),
        "lexmin" | "lexmax" => lex(random),
        "count" => random.random_range(1..12i64).to_string().into_bytes(),
        "scount" => random.random_range(-12..12i64).to_string().into_bytes(),
        "index" => random.random_range(-12..12i64).to_string().into_bytes(),
        "bit" => random.random_range(0..2000u32).to_string().into_bytes(),
        "01" => random.random_range(0..2u8).to_string().into_bytes(),
        "offset" => random.random_range(0..300u32).to_string().into_bytes(),
        "bitsize" => {
            let signed = random.random_bool(0.5);
            let bits = random.random_range(1..if signed { 65u8 } else { 64 });
            format!("{}{bits}", if signed { 'i' } else { 'u' }).into_bytes()
        }
        "bitat" => {
            let hash = if random.random_bool(0.3) { "#" } else { "" };
            format!("{hash}{}", random.random_range(0..60u8)).into_bytes()
        }
        "pattern" => {
            ["*", "?1", "[a-m]*", "*1*", "f*", "\\*", "[^a]*", "field1?"][random.random_range(0..8usize)].into()
        }
        // Multiples of ten seconds, so that two servers a few milliseconds apart agree on which is later.
        "ttl" => (random.random_range(100..100_000u64) * 10).to_string().into_bytes(),
        "ttl-ms" => (random.random_range(100..100_000u64) * 10_000).to_string().into_bytes(),
        // As `ttl`, and never the same again, as two servers a few milliseconds apart may not agree on which is later.
        "ttl-own" => own_time(world).to_string().into_bytes(),
        "ttl-own-ms" => (own_time(world) * 1000).to_string().into_bytes(),
        "at-own" => (world.now_ms / 1000 + own_time(world)).to_string().into_bytes(),
        "at-own-ms" => (world.now_ms + own_time(world) * 1000).to_string().into_bytes(),
        "at" => (world.now_ms / 1000 + random.random_range(100..100_000u64) * 10).to_string().into_bytes(),
        "at-ms" => (world.now_ms + random.random_range(100..100_000u64) * 10_000).to_string().into_bytes(),
        "past" => ["-1", "0", "1", "1000"][random.random_range(0..4usize)].into(),
        "lon" => format!("{:.6}", random.random_range(-10.0..30.0)).into_bytes(),
        "lat" => format!("{:.6}", random.random_range(35.0..60.0)).into_bytes(),
        "radius" => format!("{:.3}", random.random_range(0.0..3000.0)).into_bytes(),
        "id-new" => {
            world.ids += 1;
            let id = format!("{}-{}", world.ids + 60, random.random_range(0..4u8)).into_bytes();
            world.entries.entry(world.same.clone()).or_default().push(id.clone());
            id
        }
        "place" => format!("place{}", random.random_range(0..8u8)).into_bytes(),
        // One of the ids that the key of this form was sent, most of the time.
        "id-of" => {
            let ids = world.entries.get(&world.same).filter(|_| random.random_bool(0.9));
            match ids.filter(|ids| !ids.is_empty()) {
                Some(ids) => ids[random.random_range(0..ids.len())].clone(),
                None => fill("id", world, random),
            }
        }
        "id-last" => world.entries.get(&world.same).and_then(|ids| ids.last()).cloned().unwrap_or_default(),
        "id" => format!("{}-{}", random.random_range(1..60u8), random.random_range(0..4u8)).into_bytes(),
        "group-new" => format!("group{}", random.random_range(2..1000u16)).into_bytes(),
        "group" => format!("group{}", random.random_range(0..2u8)).into_bytes(),
        "json" => json(0, random).into_bytes(),
        "json-object" => {
            format!("{{\"a\":{},\"b\":{},\"c\":{}}}", json(1, random), json(1, random), json(1, random)).into_bytes()
        }
        "json-text" => json_text(random).into_bytes(),
        "dollar" => JSON_PATHS[random.random_range(0..DOLLARS)].into(),
        "path" => JSON_PATHS[random.random_range(0..JSON_PATHS.len())].into(),
        "consumer" => format!("consumer{}", random.random_range(0..3u8)).into_bytes(),
        other => panic!("no such place: {{{other}}}"),
    }
}

/// Seconds: a multiple of ten, another one each time for very long.
fn own_time(world: &mut World) -> u64 {
    world.times += 1;
    (world.times * 7_919 % 99_991 + 100) * 10
}

/// A key of a type: one that exists in it if there is one, most of the time.
fn key(letter: &str, encodings: &[&str], is_strict: bool, world: &World, random: &mut impl Rng) -> Vec<u8> {
    if !is_strict && random.random_bool(0.03) {
        let (letter, _) = TYPES[random.random_range(0..MIXED)];
        return format!("{letter}{}", random.random_range(0..KEYS)).into_bytes();
    }
    let named = || (0..KEYS).map(|number| format!("{letter}{number}").into_bytes());
    let known = &world.databases[world.database];
    let is_good = |found: &Known| found.is_there && encodings.contains(&found.encodings[0].as_str());
    let good = |key: &Vec<u8>| known.get(key).is_some_and(is_good);
    let there: Vec<_> = named().filter(good).collect();
    if !there.is_empty() && random.random_bool(0.85) {
        return there[random.random_range(0..there.len())].clone();
    }
    format!("{letter}{}", random.random_range(0..KEYS)).into_bytes()
}

/// A value of a document, nested less the deeper it is.
fn json(depth: usize, random: &mut impl Rng) -> String {
    let kind = random.random_range(0..if depth > 2 { 6u8 } else { 11 });
    let inner: Vec<String> = match kind {
        6.. => (0..random.random_range(0..4u8)).map(|_| json(depth + 1, random)).collect(),
        _ => Vec::new(),
    };
    match kind {
        0 => "null".into(),
        1 => random.random_bool(0.5).to_string(),
        2 | 3 => random.random_range(-9..99i64).to_string(),
        4 => "0.5".into(),
        5 => json_text(random),
        6..=8 => format!("[{}]", inner.join(",")),
        _ => {
            let named: Vec<String> =
                ["c", "a", "b"].iter().zip(inner).map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", named.join(","))
        }
    }
}

fn json_text(random: &mut impl Rng) -> String {
    format!("\"{}\"", ["", "text", "\u{e9}"][random.random_range(0..3usize)])
}

fn int(random: &mut impl Rng) -> i64 {
    match random.random_range(0..10u8) {
        0 => INTS[random.random_range(0..INTS.len())],
        1 => random.random(),
        _ => random.random_range(-200..200),
    }
}

fn float(random: &mut impl Rng) -> Vec<u8> {
    match random.random_range(0..12u8) {
        0 => b"1e10".to_vec(),
        1 => b"-0.5".to_vec(),
        2 => b"3.0e3".to_vec(),
        3 => int(random).to_string().into_bytes(),
        _ => format!("{:.*}", random.random_range(0..5), random.random_range(-1000.0..1000.0f64)).into_bytes(),
    }
}

fn value(random: &mut impl Rng) -> Vec<u8> {
    match random.random_range(0..12u8) {
        0 => Vec::new(),
        1..=3 => int(random).to_string().into_bytes(),
        4 => float(random),
        5 => (0..random.random_range(1..20)).map(|_| random.random()).collect(),
        6 => vec![b'v'; random.random_range(40..50)],
        7 => vec![b'w'; random.random_range(60..200)],
        _ => member(random),
    }
}

fn member(random: &mut impl Rng) -> Vec<u8> {
    match random.random_range(0..20u8) {
        0 => Vec::new(),
        1 => vec![b'a' + random.random_range(0..26u8); random.random_range(60..90)],
        2..=9 => random.random_range(-20..60i32).to_string().into_bytes(),
        10 => int(random).to_string().into_bytes(),
        11 => vec![random.random(), random.random()],
        _ => vec![b'a' + random.random_range(0..26u8)],
    }
}

fn score(random: &mut impl Rng) -> Vec<u8> {
    match random.random_range(0..20u8) {
        0 => b"inf".to_vec(),
        1 => b"-inf".to_vec(),
        2 => b"1e300".to_vec(),
        3..=6 => format!("{:.3}", random.random_range(-50.0..50.0f64)).into_bytes(),
        _ => random.random_range(-20..60i32).to_string().into_bytes(),
    }
}

fn bound(random: &mut impl Rng) -> Vec<u8> {
    let open: &[u8] = if random.random_bool(0.3) { b"(" } else { b"" };
    let limit: &[u8] = match random.random_range(0..12u8) {
        0 => b"-inf",
        1 => b"+inf",
        _ => return [open, &score(random)].concat(),
    };
    limit.to_vec()
}

fn lex(random: &mut impl Rng) -> Vec<u8> {
    match random.random_range(0..8u8) {
        0 | 1 => b"-".to_vec(),
        2 | 3 => b"+".to_vec(),
        4 => [b"(".to_vec(), member(random)].concat(),
        _ => [b"[".to_vec(), member(random)].concat(),
    }
}
