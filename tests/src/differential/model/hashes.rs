//! Hashes, with fields that expire: Redis 7.4 and 8.0.

use std::collections::BTreeMap;

use larder_node::resp::{Reply, parse_i64};

use super::{ARITY, Held, Model, NO_INTEGER, SYNTAX, Said, WRONG_TYPE, bulk, int, is, is_unit, moment};

const NO_FIELDS: &str = "ERR Mandatory argument FIELDS is missing or not at the right position";
/// The latest moment that a field may expire at.
const LATEST: u64 = (1 << 46) - 1;

#[derive(Debug, Clone, Default)]
pub(super) struct Hash {
    /// A value, and when it expires in unix ms.
    pub(super) fields: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
}

impl Hash {
    pub(super) fn let_expire(&mut self, now_ms: u64) {
        self.fields.retain(|_, (_, at_ms)| at_ms.is_none_or(|at_ms| at_ms > now_ms));
    }

    fn value(&self, field: &[u8]) -> Reply {
        self.fields.get(field).map_or(Reply::Null, |(value, _)| bulk(value))
    }

    /// Gives a field an expiry, which it may have reached at once; without one, takes it.
    fn expire(&mut self, field: &[u8], at_ms: Option<u64>, now_ms: u64) {
        if let Some((_, expiry)) = self.fields.get_mut(field) {
            *expiry = at_ms;
        }
        self.let_expire(now_ms);
    }
}

impl Model {
    pub(super) fn run_hash(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        const NAMES: &[(&str, usize)] = &[
            ("HSET", 3),
            ("HGET", 2),
            ("HGETALL", 1),
            ("HLEN", 1),
            ("HDEL", 2),
            ("HINCRBY", 3),
            ("HSCAN", 2),
            ("HEXPIRE", 5),
            ("HPEXPIRE", 5),
            ("HEXPIREAT", 5),
            ("HPEXPIREAT", 5),
            ("HTTL", 4),
            ("HPTTL", 4),
            ("HEXPIRETIME", 4),
            ("HPEXPIRETIME", 4),
            ("HPERSIST", 4),
            ("HGETDEL", 4),
            ("HGETEX", 4),
            ("HSETEX", 5),
        ];
        let (_, least) = NAMES.iter().find(|(one, _)| *one == name)?;
        let [key, rest @ ..] = words else { return Some(Err(ARITY)) };
        if words.len() < *least || ["HGET", "HGETALL", "HLEN", "HINCRBY"].contains(&name) && words.len() > *least {
            return Some(Err(ARITY));
        }
        Some(self.hash(key).and_then(|mut hash| {
            let said = self.on_hash(name, &mut hash, rest)?;
            self.keep_hash(key, hash);
            Ok(said)
        }))
    }

    /// The hash at a key: an empty one where there is none.
    fn hash(&self, key: &[u8]) -> Result<Hash, &'static str> {
        match self.keys.get(key).map(|key| &key.held) {
            None => Ok(Hash::default()),
            Some(Held::Hash(hash)) => Ok(hash.clone()),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn keep_hash(&mut self, key: &[u8], hash: Hash) {
        match self.keys.get_mut(key) {
            Some(key) => key.held = Held::Hash(hash),
            None => self.put(key, Held::Hash(hash)),
        }
    }

    fn on_hash(&self, name: &str, hash: &mut Hash, words: &[&[u8]]) -> Said {
        let now_ms = self.now_ms;
        match name {
            "HGET" => Ok(hash.value(words[0])),
            "HLEN" => Ok(int(hash.fields.len())),
            "HGETALL" => {
                Ok(Reply::Map(hash.fields.iter().map(|(field, (value, _))| (bulk(field), bulk(value))).collect()))
            }
            "HSET" => set(hash, words),
            "HDEL" => Ok(int(words.iter().filter(|field| hash.fields.remove(**field).is_some()).count())),
            "HINCRBY" => increment(hash, words[0], words[1]),
            "HSCAN" => scan(hash, words),
            "HEXPIRE" => expire(hash, words, b"EX", now_ms),
            "HPEXPIRE" => expire(hash, words, b"PX", now_ms),
            "HEXPIREAT" => expire(hash, words, b"EXAT", now_ms),
            "HPEXPIREAT" => expire(hash, words, b"PXAT", now_ms),
            // Seconds that have begun count.
            "HTTL" => tell(hash, words, |at_ms| (at_ms - now_ms).div_ceil(1000)),
            "HPTTL" => tell(hash, words, |at_ms| at_ms - now_ms),
            "HEXPIRETIME" => tell(hash, words, |at_ms| at_ms.div_ceil(1000)),
            "HPEXPIRETIME" => tell(hash, words, |at_ms| at_ms),
            "HPERSIST" => persist(hash, words),
            "HGETDEL" => get_and_delete(hash, words),
            "HGETEX" => get_and_expire(hash, words, now_ms),
            _ => set_and_expire(hash, words, now_ms),
        }
    }
}

/// HSET takes the expiry of what it sets.
fn set(hash: &mut Hash, words: &[&[u8]]) -> Said {
    if words.len() % 2 == 1 {
        return Err(ARITY);
    }
    let mut new = 0;
    for pair in words.chunks(2) {
        new += usize::from(hash.fields.insert(pair[0].to_vec(), (pair[1].to_vec(), None)).is_none());
    }
    Ok(int(new))
}

/// HINCRBY leaves it.
fn increment(hash: &mut Hash, field: &[u8], by: &[u8]) -> Said {
    let by = parse_i64(by).ok_or(NO_INTEGER)?;
    let (value, _) = hash.fields.entry(field.to_vec()).or_insert((b"0".to_vec(), None));
    let sum = parse_i64(value).ok_or("ERR hash value is not an integer")?.checked_add(by);
    let sum = sum.ok_or("ERR increment or decrement would overflow")?;
    *value = sum.to_string().into_bytes();
    Ok(Reply::Int(sum))
}

/// All at once: only a COUNT above the length is asked for.
fn scan(hash: &Hash, words: &[&[u8]]) -> Said {
    let (mut has_values, mut rest) = (true, &words[1..]);
    if words[0].is_empty() || !words[0].iter().all(u8::is_ascii_digit) {
        return Err("ERR invalid cursor");
    }
    while let [word, more @ ..] = rest {
        rest = match more {
            more if is(word, "NOVALUES") => {
                has_values = false;
                more
            }
            [count, more @ ..] if is(word, "COUNT") => {
                let count = parse_i64(count).ok_or(NO_INTEGER)?;
                if count < 1 {
                    return Err(SYNTAX);
                }
                more
            }
            _ => return Err(SYNTAX),
        };
    }
    let both = hash.fields.iter().flat_map(|(field, (value, _))| [(field, true), (value, has_values)]);
    let shown = both.filter(|(_, is_shown)| *is_shown).map(|(text, _)| bulk(text)).collect();
    Ok(Reply::Array(vec![bulk(b"0"), Reply::Array(shown)]))
}

/// What stands behind `FIELDS number`, which has to be that many times `width`.
fn fields<'a>(words: &'a [&'a [u8]], width: usize) -> Result<&'a [&'a [u8]], &'static str> {
    let [word, number, fields @ ..] = words else { return Err(NO_FIELDS) };
    let number = parse_i64(number).and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0);
    match number {
        _ if !is(word, "FIELDS") => Err(NO_FIELDS),
        Some(number) if number.checked_mul(width) == Some(fields.len()) => Ok(fields),
        _ => Err("ERR The `numfields` parameter must match the number of arguments"),
    }
}

/// As [`moment`], of a field.
fn field_moment(unit: &[u8], time: &[u8], now_ms: u64) -> Result<u64, &'static str> {
    moment(unit, time, now_ms).and_then(|at_ms| if at_ms > LATEST { Err("ERR invalid expire time") } else { Ok(at_ms) })
}

fn expire(hash: &mut Hash, words: &[&[u8]], unit: &[u8], now_ms: u64) -> Said {
    let at_ms = field_moment(unit, words[0], now_ms)?;
    let condition = String::from_utf8_lossy(words[1]).to_ascii_uppercase();
    let has_condition = ["NX", "XX", "GT", "LT"].contains(&condition.as_str());
    let fields = fields(&words[if has_condition { 2 } else { 1 }..], 1)?;
    let code = |field: &&[u8]| {
        let Some((_, old)) = hash.fields.get(*field) else { return Reply::Int(-2) };
        let may = match (condition.as_str(), old) {
            ("NX", old) => old.is_none(),
            ("XX", old) => old.is_some(),
            // What never expires does so later than anything.
            ("GT", old) => old.is_some_and(|old| at_ms > old),
            ("LT", old) => old.is_none_or(|old| at_ms < old),
            _ => true,
        };
        if !may {
            return Reply::Int(0);
        }
        hash.expire(field, Some(at_ms), now_ms);
        Reply::Int(if at_ms <= now_ms { 2 } else { 1 })
    };
    Ok(Reply::Array(fields.iter().map(code).collect()))
}

fn tell(hash: &Hash, words: &[&[u8]], of: impl Fn(u64) -> u64) -> Said {
    let code = |field: &&[u8]| match hash.fields.get(*field) {
        None => -2,
        Some((_, None)) => -1,
        Some((_, Some(at_ms))) => of(*at_ms) as i64,
    };
    Ok(Reply::Array(fields(words, 1)?.iter().map(code).map(Reply::Int).collect()))
}

fn persist(hash: &mut Hash, words: &[&[u8]]) -> Said {
    let code = |field: &&[u8]| match hash.fields.get_mut(*field) {
        None => -2,
        Some((_, expiry)) => match expiry.take() {
            None => -1,
            Some(_) => 1,
        },
    };
    Ok(Reply::Array(fields(words, 1)?.iter().map(code).map(Reply::Int).collect()))
}

fn get_and_delete(hash: &mut Hash, words: &[&[u8]]) -> Said {
    let take = |field: &&[u8]| hash.fields.remove(*field).map_or(Reply::Null, |(value, _)| bulk(&value));
    Ok(Reply::Array(fields(words, 1)?.iter().map(take).collect()))
}

fn get_and_expire(hash: &mut Hash, words: &[&[u8]], now_ms: u64) -> Said {
    let (expiry, rest) = match words {
        [word, rest @ ..] if is(word, "PERSIST") => (Some(None), rest),
        [unit, time, rest @ ..] if is_unit(unit) => (Some(Some(field_moment(unit, time, now_ms)?)), rest),
        rest => (None, rest),
    };
    let fields = fields(rest, 1)?;
    let one = |field: &&[u8]| {
        let value = hash.value(field);
        if let Some(at_ms) = expiry {
            hash.expire(field, at_ms, now_ms);
        }
        value
    };
    let values = fields.iter().map(one).collect();
    Ok(Reply::Array(values))
}

fn set_and_expire(hash: &mut Hash, words: &[&[u8]], now_ms: u64) -> Said {
    let (mut wants, mut keeps, mut at_ms, mut rest) = (None, false, None, words);
    let pairs = loop {
        let [word, more @ ..] = rest else { return Err(ARITY) };
        rest = more;
        let has_time = keeps || at_ms.is_some();
        match (*word, rest) {
            (word, _) if is(word, "FIELDS") => break fields(&words[words.len() - rest.len() - 1..], 2)?,
            (word, _) if is(word, "FNX") && wants.is_none() => wants = Some(false),
            (word, _) if is(word, "FXX") && wants.is_none() => wants = Some(true),
            (word, _) if is(word, "KEEPTTL") && !has_time => keeps = true,
            (unit, [time, more @ ..]) if is_unit(unit) && !has_time => {
                at_ms = Some(field_moment(unit, time, now_ms)?);
                rest = more;
            }
            _ => return Err(SYNTAX),
        }
    };
    if wants.is_some_and(|wanted| pairs.chunks(2).any(|pair| hash.fields.contains_key(pair[0]) != wanted)) {
        return Ok(Reply::Int(0));
    }
    for pair in pairs.chunks(2) {
        let kept = hash.fields.get(pair[0]).and_then(|(_, at_ms)| *at_ms).filter(|_| keeps);
        hash.fields.insert(pair[0].to_vec(), (pair[1].to_vec(), at_ms.or(kept)));
    }
    hash.let_expire(now_ms);
    Ok(Reply::Int(1))
}
