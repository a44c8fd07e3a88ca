//! Sorted sets, for ZRANK's and ZREVRANK's WITHSCORE.

use std::collections::BTreeMap;

use larder_node::resp::Reply;

use super::{ARITY, Held, Model, SYNTAX, Said, WRONG_TYPE, bulk, int, is};

pub(super) type SortedSet = BTreeMap<Vec<u8>, f64>;

impl Model {
    pub(super) fn run_sorted_set(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        Some(match (name, words) {
            ("ZADD", [key, pairs @ ..]) if pairs.len() >= 2 => self.zadd(key, pairs),
            ("ZREM", [key, members @ ..]) if !members.is_empty() => self
                .change_set(key, |set| Ok(int(members.iter().filter(|member| set.remove(**member).is_some()).count()))),
            ("ZRANGE", [key, b"0", b"-1", word]) if is(word, "WITHSCORES") => self.set_at(key).map(|set| {
                let pairs = ordered(&set).into_iter().map(|(score, member)| [bulk(member), Reply::Double(score)]);
                Reply::Array(match self.protocol {
                    3 => pairs.map(|pair| Reply::Array(pair.to_vec())).collect(),
                    _ => pairs.flatten().collect(),
                })
            }),
            ("ZRANK" | "ZREVRANK", [key, member]) => self.rank(key, member, name == "ZREVRANK", false),
            ("ZRANK" | "ZREVRANK", [key, member, option]) => match is(option, "WITHSCORE") {
                true => self.rank(key, member, name == "ZREVRANK", true),
                false => Err(SYNTAX),
            },
            ("ZADD" | "ZREM" | "ZRANK" | "ZREVRANK", _) => Err(ARITY),
            ("ZRANGE", _) => Err(SYNTAX),
            _ => return None,
        })
    }

    fn set_at(&self, key: &[u8]) -> Result<SortedSet, &'static str> {
        match self.keys.get(key).map(|key| &key.held) {
            None => Ok(SortedSet::new()),
            Some(Held::SortedSet(set)) => Ok(set.clone()),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn change_set(&mut self, key: &[u8], change: impl FnOnce(&mut SortedSet) -> Said) -> Said {
        let mut set = self.set_at(key)?;
        let said = change(&mut set)?;
        match self.keys.get_mut(key) {
            Some(key) => key.held = Held::SortedSet(set),
            None => self.put(key, Held::SortedSet(set)),
        }
        Ok(said)
    }

    fn zadd(&mut self, key: &[u8], pairs: &[&[u8]]) -> Said {
        if pairs.len() % 2 == 1 {
            return Err(SYNTAX);
        }
        let pairs: Vec<(f64, &[u8])> =
            pairs.chunks(2).map(|pair| Ok((score(pair[0])?, pair[1]))).collect::<Result<_, &str>>()?;
        self.change_set(key, |set| {
            Ok(int(pairs.iter().filter(|(score, member)| set.insert(member.to_vec(), *score).is_none()).count()))
        })
    }

    fn rank(&self, key: &[u8], member: &[u8], is_from_the_end: bool, with_score: bool) -> Said {
        let set = self.set_at(key)?;
        let mut order = ordered(&set);
        if is_from_the_end {
            order.reverse();
        }
        let found = order.iter().enumerate().find(|(_, (_, one))| *one == member);
        Ok(match (found, with_score) {
            (None, true) => Reply::NullArray,
            (None, false) => Reply::Null,
            (Some((rank, _)), false) => int(rank),
            (Some((rank, (score, _))), true) => Reply::Array(vec![int(rank), Reply::Double(*score)]),
        })
    }
}

/// Numbers as they are sent here, and no others.
fn score(text: &[u8]) -> Result<f64, &'static str> {
    const NO_FLOAT: &str = "ERR value is not a valid float";
    let text = std::str::from_utf8(text).map_err(|_| NO_FLOAT)?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).map_err(|_| NO_FLOAT)?.into(),
        None => text.parse::<f64>().map_err(|_| NO_FLOAT)?,
    };
    // What is too large for a number is none, unless it says that it is infinite.
    let is_number = number.is_finite() || (number.is_infinite() && text.contains("inf"));
    if is_number { Ok(number) } else { Err(NO_FLOAT) }
}

fn ordered(set: &SortedSet) -> Vec<(f64, &[u8])> {
    let mut all: Vec<(f64, &[u8])> = set.iter().map(|(member, score)| (*score, member.as_slice())).collect();
    all.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("no score is a NaN").then(a.1.cmp(b.1)));
    all
}
