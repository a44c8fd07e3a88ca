//! Strings: SET with IFEQ, and the newer bit operations.

use larder_node::resp::Reply;

use super::{ARITY, Held, Key, Model, SYNTAX, Said, WRONG_TYPE, bulk, int, is, is_unit, moment, ok};

impl Model {
    pub(super) fn run_string(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        Some(match (name, words) {
            ("GET", [key]) => self.text(key).map(shown),
            ("SET", [key, value, options @ ..]) => self.set(key, value, options),
            ("BITOP", [operation, to, sources @ ..]) if !sources.is_empty() => self.bitop(operation, to, sources),
            ("GET" | "SET" | "BITOP", _) => Err(ARITY),
            _ => return None,
        })
    }

    fn text(&self, key: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
        match self.keys.get(key).map(|key| &key.held) {
            None => Ok(None),
            Some(Held::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Said {
        let (mut only, mut equal, mut gets, mut keeps, mut at_ms) = (None, None, false, false, None);
        let mut rest = options;
        while let [word, more @ ..] = rest {
            rest = more;
            let has_time = keeps || at_ms.is_some();
            let has_condition = only.is_some() || equal.is_some();
            match *word {
                word if is(word, "GET") => gets = true,
                word if is(word, "NX") && !has_condition || is(word, "NX") && only == Some(false) => only = Some(false),
                word if is(word, "XX") && !has_condition || is(word, "XX") && only == Some(true) => only = Some(true),
                word if is(word, "IFEQ") && !has_condition => {
                    let [wanted, more @ ..] = rest else { return Err(SYNTAX) };
                    (equal, rest) = (Some(*wanted), more);
                }
                word if is(word, "KEEPTTL") && at_ms.is_none() => keeps = true,
                unit if is_unit(unit) && !has_time => {
                    let [time, more @ ..] = rest else { return Err(SYNTAX) };
                    at_ms = Some(moment(unit, time, self.now_ms)?);
                    if time.first() == Some(&b'0') {
                        return Err("ERR invalid expire time");
                    }
                    rest = more;
                }
                _ => return Err(SYNTAX),
            }
        }
        let old = if gets || equal.is_some() { self.text(key)? } else { None };
        let is_there = self.keys.contains_key(key);
        let may =
            only.is_none_or(|wanted| wanted == is_there) && equal.is_none_or(|equal| old.as_deref() == Some(equal));
        if may {
            let kept = self.keys.get(key).and_then(|key| key.at_ms).filter(|_| keeps);
            self.keys.insert(key.to_vec(), Key { held: Held::Text(value.to_vec()), at_ms: at_ms.or(kept) });
        }
        match (gets, may) {
            (true, _) => Ok(shown(old)),
            (false, true) => ok(),
            (false, false) => Ok(Reply::Null),
        }
    }

    /// Bit by bit: in how many of the sources it is, and whether in the first.
    fn bitop(&mut self, operation: &[u8], to: &[u8], sources: &[&[u8]]) -> Said {
        let name = String::from_utf8_lossy(operation).to_ascii_uppercase();
        let sources: Vec<Vec<u8>> =
            sources.iter().map(|key| Ok(self.text(key)?.unwrap_or_default())).collect::<Result<_, &str>>()?;
        let least = if name == "ONE" { 1 } else { 2 };
        if !["DIFF", "DIFF1", "ANDOR", "ONE"].contains(&name.as_str()) || sources.len() < least {
            return Err(SYNTAX);
        }
        let bytes = sources.iter().map(Vec::len).max().unwrap_or(0);
        let mut result = vec![0; bytes];
        for at in 0..bytes * 8 {
            let has = |source: &Vec<u8>| source.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
            let first = has(&sources[0]);
            let others = sources[1..].iter().filter(|source| has(source)).count();
            let is_set = match name.as_str() {
                "DIFF" => first && others == 0,
                "DIFF1" => !first && others > 0,
                "ANDOR" => first && others > 0,
                _ => usize::from(first) + others == 1,
            };
            result[at / 8] |= u8::from(is_set) << (7 - at % 8);
        }
        if bytes == 0 {
            self.keys.remove(to);
        } else {
            self.put(to, Held::Text(result));
        }
        Ok(int(bytes))
    }
}

fn shown(text: Option<Vec<u8>>) -> Reply {
    text.map_or(Reply::Null, |text| bulk(&text))
}
