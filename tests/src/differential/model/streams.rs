//! Streams and their groups: what XDELEX, XACKDEL and the trims of Redis 8.2 do to what a group has pending.

use std::collections::BTreeMap;

use larder_node::resp::{Reply, parse_i64};

use super::{ARITY, Held, Model, NO_INTEGER, SYNTAX, Said, WRONG_TYPE, bulk, int, is, ok};

/// Milliseconds and a number.
type Id = (u64, u64);

const NO_ID: &str = "ERR Invalid stream ID specified as stream command argument";
const NO_GROUP: &str = "NOGROUP No such key or consumer group";

#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    /// Fields and values in turn.
    entries: BTreeMap<Id, Vec<Vec<u8>>>,
    last: Id,
    groups: BTreeMap<Vec<u8>, Group>,
}

#[derive(Debug, Clone, Default)]
struct Group {
    /// The last entry it was given.
    last: Id,
    /// What was given and not acknowledged: to whom and how often.
    pending: BTreeMap<Id, (Vec<u8>, i64)>,
}

/// What becomes of references to an entry that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum References {
    /// They stay.
    Keep,
    /// They go too.
    Delete,
    /// The entry stays if there are any.
    Acked,
}

impl References {
    fn read(word: &[u8]) -> Option<Self> {
        let names = [("KEEPREF", Self::Keep), ("DELREF", Self::Delete), ("ACKED", Self::Acked)];
        names.into_iter().find(|(name, _)| is(word, name)).map(|(_, references)| references)
    }
}

impl Stream {
    /// Whether a group has the entry pending or has still to be given it.
    fn is_referenced(&self, id: Id) -> bool {
        self.groups.values().any(|group| group.last < id || group.pending.contains_key(&id))
    }

    fn forget(&mut self, id: Id) {
        self.groups.values_mut().for_each(|group| _ = group.pending.remove(&id));
    }

    /// Removes from the front, while `goes_on`, what may go.
    fn trim(&mut self, references: References, goes_on: impl Fn(usize, Id) -> bool) -> usize {
        let before = self.entries.len();
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            if !goes_on(self.entries.len(), id) {
                break;
            }
            if references == References::Acked && self.is_referenced(id) {
                continue;
            }
            if references == References::Delete {
                self.forget(id);
            }
            self.entries.remove(&id);
        }
        before - self.entries.len()
    }

    fn shown(&self, id: &Id) -> Reply {
        let entry = self.entries.get(id);
        Reply::Array(vec![
            shown(*id),
            entry.map_or(Reply::NullArray, |words| list(words.iter().map(|word| bulk(word)))),
        ])
    }
}

/// Options of XADD and XTRIM.
#[derive(Debug, Default)]
struct Trim {
    most: Option<usize>,
    from: Option<Id>,
    references: Option<References>,
    only_old: bool,
}

impl Trim {
    /// Reads options until a word is none.
    fn read<'a>(mut words: &'a [&'a [u8]], is_xadd: bool) -> Result<(Self, &'a [&'a [u8]]), &'static str> {
        let mut trim = Self::default();
        while let [word, more @ ..] = words {
            let references = References::read(word).filter(|_| trim.references.is_none());
            let has_threshold = trim.most.is_some() || trim.from.is_some();
            let signed = match more {
                [sign, threshold, ..] if matches!(*sign, b"=" | b"~") => Some((*threshold, 2)),
                [threshold, ..] => Some((*threshold, 1)),
                [] => None,
            };
            words = match signed {
                _ if references.is_some() => {
                    trim.references = references;
                    more
                }
                _ if is_xadd && is(word, "NOMKSTREAM") => {
                    trim.only_old = true;
                    more
                }
                Some((threshold, count)) if is(word, "MAXLEN") && !has_threshold => {
                    let most = parse_i64(threshold).and_then(|most| usize::try_from(most).ok());
                    trim.most = Some(most.ok_or(NO_INTEGER)?);
                    &more[count..]
                }
                Some((threshold, count)) if is(word, "MINID") && !has_threshold => {
                    trim.from = Some(id(threshold)?);
                    &more[count..]
                }
                _ => break,
            };
        }
        Ok((trim, words))
    }

    fn apply(&self, stream: &mut Stream) -> usize {
        let references = self.references.unwrap_or(References::Keep);
        match (self.most, self.from) {
            (Some(most), _) => stream.trim(references, |len, _| len > most),
            (_, Some(from)) => stream.trim(references, |_, id| id < from),
            _ => 0,
        }
    }
}

impl Model {
    pub(super) fn run_stream(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        Some(match (name, words) {
            ("XADD", [key, rest @ ..]) if rest.len() >= 3 => self.xadd(key, rest),
            ("XTRIM", [key, rest @ ..]) if rest.len() >= 2 => self.xtrim(key, rest),
            ("XLEN", [key]) => self.stream(key).map(|stream| int(stream.map_or(0, |stream| stream.entries.len()))),
            ("XRANGE", [key, from, to]) => {
                let (Ok(from), Ok(to)) = (bound(from, 0), bound(to, u64::MAX)) else { return Some(Err(NO_ID)) };
                self.stream(key).map(|stream| match stream.filter(|_| from <= to) {
                    Some(stream) => list(stream.entries.range(from..=to).map(|(id, _)| stream.shown(id))),
                    None => Reply::Array(Vec::new()),
                })
            }
            ("XDEL", [key, ids @ ..]) if !ids.is_empty() => self.with_stream(key, |stream| {
                let Some(stream) = stream else { return Ok(int(0)) };
                let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
                Ok(int(ids.iter().filter(|id| stream.entries.remove(id).is_some()).count()))
            }),
            ("XGROUP", [word, key, group, from, rest @ ..]) if is(word, "CREATE") => {
                self.create_group(key, group, from, rest)
            }
            ("XGROUP", [word, key, group, from]) if is(word, "SETID") => {
                self.with_group(key, group, |stream, group| {
                    let last = position(from, stream.last)?;
                    stream.groups.entry(group.to_vec()).or_default().last = last;
                    ok()
                })
            }
            ("XGROUP", [word, key, group]) if is(word, "DESTROY") => self.with_stream(key, |stream| match stream {
                Some(stream) => Ok(Reply::Int(stream.groups.remove(*group).is_some().into())),
                None => Err("ERR The XGROUP subcommand requires the key to exist"),
            }),
            ("XREADGROUP", [word, group, consumer, rest @ ..]) if is(word, "GROUP") => {
                self.read_group(group, consumer, rest)
            }
            ("XACK", [key, group, ids @ ..]) if !ids.is_empty() => self.with_stream(key, |stream| {
                let Some(group) = stream.and_then(|stream| stream.groups.get_mut(*group)) else { return Ok(int(0)) };
                let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
                Ok(int(ids.iter().filter(|id| group.pending.remove(id).is_some()).count()))
            }),
            ("XPENDING", [key, group]) => {
                self.with_group(key, group, |stream, group| Ok(summary(&stream.groups[group])))
            }
            // What follows the consumer nobody reads.
            ("XPENDING", [key, group, from, to, count, consumer @ ..]) => {
                let (Ok(from), Ok(to), Some(count)) = (bound(from, 0), bound(to, u64::MAX), parse_i64(count)) else {
                    return Some(Err(NO_ID));
                };
                self.with_group(key, group, |stream, group| {
                    let all = stream.groups[group].pending.iter();
                    let wanted = all.filter(|(id, (owner, _))| {
                        from <= **id && **id <= to && consumer.first().is_none_or(|one| owner == one)
                    });
                    let shown = |(id, (owner, times)): (&Id, &(Vec<u8>, i64))| {
                        Reply::Array(vec![self::shown(*id), bulk(owner), int(0), Reply::Int(*times)])
                    };
                    Ok(list(wanted.take(count.max(0) as usize).map(shown)))
                })
            }
            ("XDELEX", [key, rest @ ..]) if rest.len() >= 3 => self.xdelex(key, rest),
            ("XACKDEL", [key, group, rest @ ..]) if rest.len() >= 3 => self.xackdel(key, group, rest),
            ("XADD" | "XTRIM" | "XLEN" | "XRANGE" | "XDEL" | "XGROUP" | "XREADGROUP" | "XACK" | "XPENDING", _)
            | ("XDELEX" | "XACKDEL", _) => Err(ARITY),
            _ => return None,
        })
    }

    fn stream(&self, key: &[u8]) -> Result<Option<&Stream>, &'static str> {
        match self.keys.get(key).map(|key| &key.held) {
            None => Ok(None),
            Some(Held::Stream(stream)) => Ok(Some(stream)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    fn with_stream(&mut self, key: &[u8], act: impl FnOnce(Option<&mut Stream>) -> Said) -> Said {
        match self.keys.get_mut(key).map(|key| &mut key.held) {
            None => act(None),
            Some(Held::Stream(stream)) => act(Some(stream)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// Does something where there is a stream with such a group.
    fn with_group(&mut self, key: &[u8], group: &[u8], act: impl FnOnce(&mut Stream, &[u8]) -> Said) -> Said {
        self.with_stream(key, |stream| match stream.filter(|stream| stream.groups.contains_key(group)) {
            Some(stream) => act(stream, group),
            None => Err(NO_GROUP),
        })
    }

    fn xadd(&mut self, key: &[u8], words: &[&[u8]]) -> Said {
        let (trim, rest) = Trim::read(words, true)?;
        let [new, fields @ ..] = rest else { return Err(ARITY) };
        let new = id(new)?;
        if fields.is_empty() || fields.len() % 2 == 1 {
            return Err(ARITY);
        }
        let last = self.stream(key)?.map(|stream| stream.last);
        if last.is_none() && trim.only_old {
            return Ok(Reply::Null);
        }
        if new <= last.unwrap_or_default() {
            return Err("ERR The ID specified in XADD is equal or smaller than the target stream top item");
        }
        if last.is_none() {
            self.put(key, Held::Stream(Stream::default()));
        }
        self.with_stream(key, |stream| {
            let stream = stream.ok_or(SYNTAX)?;
            stream.entries.insert(new, fields.iter().map(|word| word.to_vec()).collect());
            stream.last = new;
            trim.apply(stream);
            Ok(shown(new))
        })
    }

    fn xtrim(&mut self, key: &[u8], words: &[&[u8]]) -> Said {
        let (trim, rest) = Trim::read(words, false)?;
        if !rest.is_empty() || (trim.most.is_none() && trim.from.is_none()) {
            return Err(SYNTAX);
        }
        self.with_stream(key, |stream| Ok(int(stream.map_or(0, |stream| trim.apply(stream)))))
    }

    fn create_group(&mut self, key: &[u8], group: &[u8], from: &[u8], rest: &[&[u8]]) -> Said {
        let makes = match rest {
            [] => false,
            [word] if is(word, "MKSTREAM") => true,
            _ => return Err(SYNTAX),
        };
        let last = self.stream(key)?.map(|stream| stream.last);
        let last_given = position(from, last.unwrap_or_default())?;
        if last.is_none() {
            if !makes {
                return Err("ERR The XGROUP subcommand requires the key to exist");
            }
            self.put(key, Held::Stream(Stream::default()));
        }
        self.with_stream(key, |stream| {
            let groups = &mut stream.ok_or(SYNTAX)?.groups;
            if groups.contains_key(group) {
                return Err("BUSYGROUP Consumer Group name already exists");
            }
            groups.insert(group.to_vec(), Group { last: last_given, pending: BTreeMap::new() });
            ok()
        })
    }

    fn read_group(&mut self, group: &[u8], consumer: &[u8], words: &[&[u8]]) -> Said {
        let (mut most, mut is_noted, mut rest) = (usize::MAX, true, words);
        let (key, from) = loop {
            rest = match rest {
                [word, key, from] if is(word, "STREAMS") => break (*key, *from),
                [word, count, more @ ..] if is(word, "COUNT") => {
                    let count = usize::try_from(parse_i64(count).ok_or(NO_INTEGER)?).unwrap_or(0);
                    most = if count == 0 { usize::MAX } else { count };
                    more
                }
                [word, more @ ..] if is(word, "NOACK") => {
                    is_noted = false;
                    more
                }
                _ => return Err(SYNTAX),
            };
        };
        let from = if from == b">" { None } else { Some(id(from)?) };
        self.with_group(key, group, |stream, group| {
            let entries = match from {
                None => give(stream, group, consumer, most, is_noted),
                Some(from) => give_again(stream, group, consumer, most, from),
            };
            Ok(match entries {
                // What was given before is told even if there is nothing.
                Reply::Array(none) if none.is_empty() && from.is_none() => Reply::NullArray,
                entries => Reply::Map(vec![(bulk(key), entries)]),
            })
        })
        .map(|said| match said {
            Reply::Map(pairs) if self.protocol == 2 => {
                list(pairs.into_iter().map(|(key, entries)| Reply::Array(vec![key, entries])))
            }
            said => said,
        })
    }

    fn xdelex(&mut self, key: &[u8], words: &[&[u8]]) -> Said {
        let (references, ids) = named(words)?;
        self.with_stream(key, |stream| {
            let Some(stream) = stream else { return Ok(list(ids.iter().map(|_| Reply::Int(-1)))) };
            let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
            let code = |id: &Id| {
                if references == References::Acked && stream.is_referenced(*id) {
                    return Reply::Int(2);
                }
                // References to what is not there any more go too.
                if references == References::Delete {
                    stream.forget(*id);
                }
                Reply::Int(if stream.entries.remove(id).is_some() { 1 } else { -1 })
            };
            Ok(list(ids.iter().map(code)))
        })
    }

    fn xackdel(&mut self, key: &[u8], group: &[u8], words: &[&[u8]]) -> Said {
        let (references, ids) = named(words)?;
        self.with_stream(key, |stream| {
            let Some(stream) = stream.filter(|stream| stream.groups.contains_key(group)) else {
                return Ok(list(ids.iter().map(|_| Reply::Int(-1))));
            };
            let ids = ids.iter().map(|text| id(text)).collect::<Result<Vec<_>, _>>()?;
            let code = |id: &Id| {
                let was_pending = stream.groups.get_mut(group).and_then(|group| group.pending.remove(id)).is_some();
                if !was_pending {
                    return Reply::Int(-1);
                }
                if references == References::Acked && stream.is_referenced(*id) {
                    return Reply::Int(2);
                }
                if references == References::Delete {
                    stream.forget(*id);
                }
                stream.entries.remove(id);
                Reply::Int(1)
            };
            Ok(list(ids.iter().map(code)))
        })
    }
}

/// Gives a consumer what the group was not given yet.
fn give(stream: &mut Stream, group: &[u8], consumer: &[u8], most: usize, is_noted: bool) -> Reply {
    let last = stream.groups[group].last;
    let new: Vec<Id> = stream.entries.keys().copied().filter(|id| *id > last).take(most).collect();
    let entries = list(new.iter().map(|id| stream.shown(id)));
    if let Some(group) = stream.groups.get_mut(group) {
        for id in new {
            group.last = id;
            if is_noted {
                group.pending.insert(id, (consumer.to_vec(), 1));
            }
        }
    }
    entries
}

/// Gives a consumer again what it has pending behind an id.
fn give_again(stream: &mut Stream, group: &[u8], consumer: &[u8], most: usize, from: Id) -> Reply {
    let pending = stream.groups[group].pending.iter();
    let own = pending.filter(|(id, (owner, _))| **id > from && owner == consumer).map(|(id, _)| *id);
    let own: Vec<Id> = own.take(most).collect();
    let entries = list(own.iter().map(|id| stream.shown(id)));
    for id in own.iter().filter(|id| stream.entries.contains_key(id)) {
        if let Some((_, times)) = stream.groups.get_mut(group).and_then(|group| group.pending.get_mut(id)) {
            *times += 1;
        }
    }
    entries
}

fn summary(group: &Group) -> Reply {
    let ends = (group.pending.keys().next(), group.pending.keys().next_back());
    let (Some(first), Some(last)) = ends else {
        return Reply::Array(vec![int(0), Reply::Null, Reply::Null, Reply::NullArray]);
    };
    let mut owners: BTreeMap<&Vec<u8>, usize> = BTreeMap::new();
    group.pending.values().for_each(|(owner, _)| *owners.entry(owner).or_default() += 1);
    let owners = owners.iter().map(|(name, count)| Reply::Array(vec![bulk(name), bulk(count.to_string().as_bytes())]));
    Reply::Array(vec![int(group.pending.len()), shown(*first), shown(*last), list(owners)])
}

/// Reads `[KEEPREF | DELREF | ACKED] IDS number id …`, in any order.
fn named<'a>(mut words: &'a [&'a [u8]]) -> Result<(References, &'a [&'a [u8]]), &'static str> {
    let (mut references, mut ids) = (None, None);
    while let [word, more @ ..] = words {
        words = match more {
            _ if references.is_none() && References::read(word).is_some() => {
                references = References::read(word);
                more
            }
            [number, rest @ ..] if is(word, "IDS") => {
                let number = parse_i64(number).and_then(|number| usize::try_from(number).ok()).ok_or(NO_INTEGER)?;
                if number == 0 || number > rest.len() {
                    return Err(NO_INTEGER);
                }
                ids = Some(&rest[..number]);
                &rest[number..]
            }
            _ => return Err(SYNTAX),
        };
    }
    Ok((references.unwrap_or(References::Keep), ids.ok_or(SYNTAX)?))
}

fn id(text: &[u8]) -> Result<Id, &'static str> {
    bound(text, 0).and_then(|id| if matches!(text, b"-" | b"+") { Err(NO_ID) } else { Ok(id) })
}

/// As [`id`], also the least and the greatest; `seq` where none is said.
fn bound(text: &[u8], seq: u64) -> Result<Id, &'static str> {
    match text {
        b"-" => return Ok((0, 0)),
        b"+" => return Ok((u64::MAX, u64::MAX)),
        _ => {}
    }
    let text = std::str::from_utf8(text).map_err(|_| NO_ID)?;
    // As strtoull reads it.
    let number = |text: &str| text.trim_start_matches(' ').parse::<u64>().map_err(|_| NO_ID);
    match text.split_once('-') {
        Some((ms, seq)) => Ok((number(ms)?, number(seq)?)),
        None => Ok((number(text)?, seq)),
    }
}

/// Where a group begins.
fn position(text: &[u8], last: Id) -> Result<Id, &'static str> {
    if text == b"$" { Ok(last) } else { id(text) }
}

fn shown(id: Id) -> Reply {
    bulk(format!("{}-{}", id.0, id.1).as_bytes())
}

fn list(items: impl Iterator<Item = Reply>) -> Reply {
    Reply::Array(items.collect())
}
