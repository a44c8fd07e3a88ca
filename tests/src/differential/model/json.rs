//! The commands of documents, as RedisJSON 2 has them.

use larder_node::resp::{Reply, parse_i64};

use super::documents::{Layout, Node, Path, Place, Tail, outermost};
use super::{ARITY, Held, Model, NO_INTEGER, SYNTAX, Said, bulk, int, is, ok};

const NO_KEY: &str = "ERR could not perform this operation on a key that doesn't exist";
const WRONG_KEY: &str = "ERR Existing key has wrong Redis type";
const NOWHERE: &str = "ERR Path does not exist";
const NOT_AT_THE_ROOT: &str = "ERR new objects must be created at the root";

impl Model {
    pub(super) fn run_json(&mut self, name: &str, words: &[&[u8]]) -> Option<Said> {
        let name = name.strip_prefix("JSON.")?;
        Some(match (name, words) {
            ("SET", [key, path, value]) => self.json_set(key, path, value, None),
            ("SET", [key, path, value, word]) if is(word, "NX") => self.json_set(key, path, value, Some(false)),
            ("SET", [key, path, value, word]) if is(word, "XX") => self.json_set(key, path, value, Some(true)),
            ("SET", _) => Err(SYNTAX),
            ("MSET", triples) if !triples.is_empty() && triples.len() % 3 == 0 => self.json_mset(triples),
            ("MERGE", [key, path, value]) => self.json_merge(key, path, value),
            ("DEL" | "FORGET", [key]) => self.json_del(key, b"."),
            ("DEL" | "FORGET", [key, path]) => self.json_del(key, path),
            ("GET", [key, paths @ ..]) => self.json_get(key, paths),
            ("MGET", [keys @ .., path]) if !keys.is_empty() => Path::read(path).map(|_| {
                let text = |key: &&[u8]| self.json_get(key, &[*path]).unwrap_or(Reply::Null);
                Reply::Array(keys.iter().map(text).collect())
            }),
            ("CLEAR", [key]) => self.json_clear(key, b"."),
            ("CLEAR", [key, path]) => self.json_clear(key, path),
            ("TYPE" | "RESP" | "STRLEN" | "ARRLEN" | "OBJLEN" | "OBJKEYS", [key]) => self.json_look(name, key, b"."),
            ("TYPE" | "RESP" | "STRLEN" | "ARRLEN" | "OBJLEN" | "OBJKEYS", [key, path]) => {
                self.json_look(name, key, path)
            }
            ("ARRINDEX", [key, path, value, range @ ..]) if range.len() < 3 => {
                self.json_arrindex(key, path, value, range)
            }
            ("NUMINCRBY" | "NUMMULTBY", [key, path, by]) => self.json_calculate(name, key, path, by),
            ("STRAPPEND", [key, value]) => self.json_strappend(key, b".", value),
            ("STRAPPEND", [key, path, value]) => self.json_strappend(key, path, value),
            ("TOGGLE", [key, path]) => self.json_toggle(key, path),
            ("ARRAPPEND", [key, path, values @ ..]) if !values.is_empty() => {
                self.json_arrinsert(key, path, None, values)
            }
            ("ARRINSERT", [key, path, index, values @ ..]) if !values.is_empty() => {
                self.json_arrinsert(key, path, Some(index), values)
            }
            ("ARRPOP", [key]) => self.json_arrpop(key, b".", b"-1"),
            ("ARRPOP", [key, path]) => self.json_arrpop(key, path, b"-1"),
            ("ARRPOP", [key, path, index]) => self.json_arrpop(key, path, index),
            ("ARRTRIM", [key, path, from, to]) => self.json_arrtrim(key, path, from, to),
            _ => Err(ARITY),
        })
    }

    fn document(&self, key: &[u8]) -> Result<Option<Node>, &'static str> {
        match self.keys.get(key).map(|key| &key.held) {
            None => Ok(None),
            Some(Held::Json(root)) => Ok(Some(root.clone())),
            Some(_) => Err(WRONG_KEY),
        }
    }

    /// Keeps a document in place of the one that was there; the key expires when it did.
    fn keep(&mut self, key: &[u8], root: Node) {
        match self.keys.get_mut(key) {
            Some(key) => key.held = Held::Json(root),
            None => self.put(key, Held::Json(root)),
        }
    }

    /// `wants`: whether something has to be there already.
    fn json_set(&mut self, key: &[u8], path: &[u8], value: &[u8], wants: Option<bool>) -> Said {
        let (path, value) = (Path::read(path)?, Node::read(value)?);
        let Some(mut root) = self.document(key)? else {
            if wants == Some(true) {
                return Ok(Reply::Null);
            }
            if !path.is_root() {
                return Err(NOT_AT_THE_ROOT);
            }
            self.keep(key, value);
            return ok();
        };
        let done = set(&mut root, &path, &value, wants)?;
        self.keep(key, root);
        if done { ok() } else { Ok(Reply::Null) }
    }

    /// Nothing is done where one of them is refused as things are before.
    fn json_mset(&mut self, triples: &[&[u8]]) -> Said {
        for triple in triples.chunks(3) {
            let (path, value) = (Path::read(triple[1])?, Node::read(triple[2])?);
            match self.document(triple[0])? {
                Some(mut root) => _ = set(&mut root, &path, &value, None)?,
                None if path.is_root() => {}
                None => return Err(NOT_AT_THE_ROOT),
            }
        }
        let mut all = true;
        for triple in triples.chunks(3) {
            let said = self.json_set(triple[0], triple[1], triple[2], None);
            all &= said.is_ok_and(|said| said != Reply::Null);
        }
        if all { ok() } else { Ok(Reply::Null) }
    }

    fn json_merge(&mut self, key: &[u8], path: &[u8], value: &[u8]) -> Said {
        let patch = Node::read(value)?;
        let Some(mut root) = self.document(key)? else { return self.json_set(key, path, value, None) };
        let mut places = Path::read(path)?.find(&root);
        if places.is_empty() {
            return self.json_set(key, path, value, None);
        }
        // What is merged into the outer ones may take the inner ones away.
        places.sort();
        places.iter().rev().for_each(|place| root.at_mut(place).merge(&patch));
        self.keep(key, root);
        ok()
    }

    fn json_del(&mut self, key: &[u8], path: &[u8]) -> Said {
        let path = Path::read(path)?;
        let Some(mut root) = self.document(key)? else { return Ok(int(0)) };
        let places = outermost(path.find(&root));
        places.iter().rev().for_each(|place| root.remove(place));
        let is_empty = matches!(root, Node::Array(_) | Node::Object(_)) && root.children().is_empty();
        if path.is_root() || (is_empty && !places.is_empty()) {
            self.keys.remove(key);
        } else {
            self.keep(key, root);
        }
        Ok(int(places.len()))
    }

    fn json_get(&self, key: &[u8], words: &[&[u8]]) -> Said {
        let (mut layout, mut paths) = (Layout::default(), words);
        while let [option, value, rest @ ..] = paths {
            let value = std::str::from_utf8(value).map_err(|_| SYNTAX)?;
            match *option {
                option if is(option, "INDENT") => layout.indent = value,
                option if is(option, "NEWLINE") => layout.newline = value,
                option if is(option, "SPACE") => layout.space = value,
                _ => break,
            }
            paths = rest;
        }
        let mut wanted: Vec<(String, Path)> = Vec::new();
        let root_alone: &[&[u8]] = &[b"."];
        for text in if paths.is_empty() { root_alone } else { paths } {
            let name = String::from_utf8_lossy(text).into_owned();
            wanted.retain(|(one, _)| *one != name);
            wanted.push((name, Path::read(text)?));
        }
        let Some(root) = self.document(key)? else { return Ok(Reply::Null) };
        let is_legacy = wanted.iter().all(|(_, path)| path.is_legacy);
        let mut texts = Vec::new();
        for (name, path) in &wanted {
            let places = path.find(&root);
            let found: Vec<&Node> = places.iter().map(|place| root.at(place)).collect();
            texts.push((
                name,
                match found.first() {
                    None if is_legacy => return Err(NOWHERE),
                    Some(first) if is_legacy => layout.text(first, 0),
                    _ => layout.array(found.into_iter(), 0),
                },
            ));
        }
        if let [(_, text)] = &texts[..] {
            return Ok(bulk(text.as_bytes()));
        }
        let named: Vec<String> = texts.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
        Ok(bulk(format!("{{{}}}", named.join(",")).as_bytes()))
    }

    fn json_clear(&mut self, key: &[u8], path: &[u8]) -> Said {
        let path = Path::read(path)?;
        let mut root = self.document(key)?.ok_or(NO_KEY)?;
        let is_full = |node: &Node| !node.children().is_empty() || node.number().is_some_and(|number| number != 0.0);
        let places = path.find(&root).into_iter().filter(|place| is_full(root.at(place))).collect();
        let places = outermost(places);
        for place in &places {
            let node = root.at_mut(place);
            *node = match node {
                Node::Array(_) => Node::Array(Vec::new()),
                Node::Object(_) => Node::Object(Vec::new()),
                _ => Node::Int(0),
            };
        }
        self.keep(key, root);
        Ok(int(places.len()))
    }

    /// Commands that show one thing of each match.
    fn json_look(&self, name: &str, key: &[u8], path: &[u8]) -> Said {
        let path = Path::read(path)?;
        let wrapped = |reply: Reply| match self.protocol {
            3 if name == "TYPE" => Reply::Array(vec![reply]),
            _ => reply,
        };
        let Some(root) = self.document(key)? else {
            let is_refused = !path.is_legacy && !matches!(name, "TYPE" | "RESP");
            return if is_refused { Err(NO_KEY) } else { Ok(wrapped(Reply::Null)) };
        };
        let shown = |node: &Node| match (name, node) {
            ("TYPE", node) => Some(bulk(node.kind().as_bytes())),
            ("RESP", node) => Some(told(node)),
            ("STRLEN", Node::Text(text)) => Some(int(text.len())),
            ("ARRLEN", Node::Array(elements)) => Some(int(elements.len())),
            ("OBJLEN", Node::Object(members)) => Some(int(members.len())),
            ("OBJKEYS", Node::Object(members)) => {
                Some(Reply::Array(members.iter().map(|(name, _)| bulk(name.as_bytes())).collect()))
            }
            _ => None,
        };
        let found: Vec<Option<Reply>> = path.find(&root).iter().map(|place| shown(root.at(place))).collect();
        if !path.is_legacy {
            return Ok(wrapped(Reply::Array(found.into_iter().map(|reply| reply.unwrap_or(Reply::Null)).collect())));
        }
        match found.into_iter().next() {
            None if matches!(name, "TYPE" | "OBJLEN" | "OBJKEYS") => Ok(wrapped(Reply::Null)),
            None => Err(NOWHERE),
            Some(reply) => reply.map(wrapped).ok_or("WRONGTYPE wrong type of path value"),
        }
    }

    fn json_arrindex(&self, key: &[u8], path: &[u8], value: &[u8], range: &[&[u8]]) -> Said {
        let (path, value) = (Path::read(path)?, Node::read(value)?);
        let number = |at: usize| range.get(at).map_or(Ok(0), |text| parse_i64(text).ok_or(NO_INTEGER));
        let (start, stop) = (number(0)?, number(1)?);
        let root = self.document(key)?.ok_or(NOWHERE)?;
        let index = |node: &Node| match node {
            Node::Array(elements) => {
                let len = elements.len();
                let from = within(start, len);
                let to = match stop {
                    0 => len as i64,
                    stop if stop < 0 => stop + len as i64,
                    stop => stop.min(len as i64),
                };
                let found = (from..to.max(0) as usize).find(|at| elements[*at] == value);
                Some(Reply::Int(found.map_or(-1, |at| at as i64)))
            }
            _ => None,
        };
        let found: Vec<Option<Reply>> = path.find(&root).iter().map(|place| index(root.at(place))).collect();
        if path.is_legacy {
            return found.into_iter().next().flatten().ok_or(NOWHERE);
        }
        Ok(Reply::Array(found.into_iter().map(|reply| reply.unwrap_or(Reply::Null)).collect()))
    }

    /// Changes each match that `is` what the command works on, those that are farther behind and within first.
    fn json_change(
        &mut self,
        key: &[u8],
        path: &Path,
        is: impl Fn(&Node) -> bool,
        mut act: impl FnMut(&mut Node) -> Reply,
    ) -> Result<Vec<Option<Reply>>, &'static str> {
        let mut root = self.document(key)?.ok_or(NO_KEY)?;
        let places = path.find(&root);
        let mut order: Vec<usize> = (0..places.len()).filter(|at| is(root.at(&places[*at]))).collect();
        if path.is_legacy && order.is_empty() {
            return Err(NOWHERE);
        }
        order.sort_by(|a, b| places[*b].cmp(&places[*a]));
        let mut replies = vec![None; places.len()];
        for at in order {
            replies[at] = Some(act(root.at_mut(&places[at])));
        }
        self.keep(key, root);
        Ok(replies)
    }

    fn json_strappend(&mut self, key: &[u8], path: &[u8], value: &[u8]) -> Said {
        let path = Path::read(path)?;
        let Node::Text(more) = Node::read(value)? else { return Err("WRONGTYPE wrong type of path value") };
        let append = |node: &mut Node| {
            let Node::Text(text) = node else { return Reply::Null };
            text.push_str(&more);
            int(text.len())
        };
        self.json_change(key, &path, |node| matches!(node, Node::Text(_)), append).map(|replies| all(&path, replies))
    }

    fn json_toggle(&mut self, key: &[u8], path: &[u8]) -> Said {
        let path = Path::read(path)?;
        let is_legacy = path.is_legacy;
        let toggle = |node: &mut Node| {
            let Node::Bool(value) = node else { return Reply::Null };
            *value = !*value;
            if is_legacy { bulk(value.to_string().as_bytes()) } else { Reply::Int((*value).into()) }
        };
        self.json_change(key, &path, |node| matches!(node, Node::Bool(_)), toggle).map(|replies| all(&path, replies))
    }

    /// Behind the last element where there is no index.
    fn json_arrinsert(&mut self, key: &[u8], path: &[u8], index: Option<&[u8]>, values: &[&[u8]]) -> Said {
        let path = Path::read(path)?;
        let index = index.map(|text| parse_i64(text).ok_or(NO_INTEGER)).transpose()?;
        let values = values.iter().map(|text| Node::read(text)).collect::<Result<Vec<_>, _>>()?;
        let position = |len: usize| match index {
            None => Some(len),
            Some(index) if index < 0 => usize::try_from(index + len as i64).ok(),
            Some(index) => usize::try_from(index).ok().filter(|at| *at <= len),
        };
        if let Some(root) = self.document(key)? {
            let places = path.find(&root);
            let arrays = places.iter().filter(|place| matches!(root.at(place), Node::Array(_)));
            if arrays.clone().any(|place| position(root.at(place).children().len()).is_none()) {
                return Err("ERR index out of bounds");
            }
        }
        let insert = |node: &mut Node| {
            let Node::Array(elements) = node else { return Reply::Null };
            let at = position(elements.len()).unwrap_or(0);
            elements.splice(at..at, values.iter().cloned());
            int(elements.len())
        };
        self.json_change(key, &path, |node| matches!(node, Node::Array(_)), insert).map(|replies| all(&path, replies))
    }

    fn json_arrpop(&mut self, key: &[u8], path: &[u8], index: &[u8]) -> Said {
        let path = Path::read(path)?;
        let index = parse_i64(index).unwrap_or(-1);
        let pop = |node: &mut Node| match node {
            Node::Array(elements) if !elements.is_empty() => {
                bulk(elements.remove(within(index, elements.len())).to_string().as_bytes())
            }
            _ => Reply::Null,
        };
        self.json_change(key, &path, |node| matches!(node, Node::Array(_)), pop).map(|replies| all(&path, replies))
    }

    fn json_arrtrim(&mut self, key: &[u8], path: &[u8], from: &[u8], to: &[u8]) -> Said {
        let path = Path::read(path)?;
        let (from, to) = (parse_i64(from).ok_or(NO_INTEGER)?, parse_i64(to).ok_or(NO_INTEGER)?);
        let trim = |node: &mut Node| {
            let Node::Array(elements) = node else { return Reply::Null };
            let len = elements.len();
            let (first, last) = (within(from, len), within(to, len));
            *elements = match len == 0 || from >= len as i64 || first > last {
                true => Vec::new(),
                false => elements[first..=last].to_vec(),
            };
            int(elements.len())
        };
        self.json_change(key, &path, |node| matches!(node, Node::Array(_)), trim).map(|replies| all(&path, replies))
    }

    /// All numbers or none.
    fn json_calculate(&mut self, name: &str, key: &[u8], path: &[u8], by: &[u8]) -> Said {
        let (path, by) = (Path::read(path)?, Node::read(by)?);
        by.number().ok_or("ERR bad input number")?;
        let mut root = self.document(key)?.ok_or(NO_KEY)?;
        let mut results = Vec::new();
        for place in path.find(&root) {
            let node = root.at_mut(&place);
            results.push(match node.number() {
                None => Node::Null,
                Some(_) => {
                    *node = calculated(name == "NUMINCRBY", node, &by)?;
                    node.clone()
                }
            });
        }
        if path.is_legacy && results.iter().all(|node| *node == Node::Null) {
            return Err(NOWHERE);
        }
        self.keep(key, root);
        Ok(match results.iter().rev().find(|node| **node != Node::Null) {
            _ if self.protocol == 3 => Reply::Array(results.iter().map(told).collect()),
            Some(last) if path.is_legacy => bulk(last.to_string().as_bytes()),
            _ => bulk(Layout::default().array(results.iter(), 0).as_bytes()),
        })
    }
}

/// Sets a value in a document; whether that was done.
fn set(root: &mut Node, path: &Path, value: &Node, wants: Option<bool>) -> Result<bool, &'static str> {
    if path.is_root() {
        if wants != Some(false) {
            *root = value.clone();
        }
        return Ok(wants != Some(false));
    }
    let places = path.find(root);
    if !places.is_empty() && wants != Some(false) {
        outermost(places).iter().for_each(|place| *root.at_mut(place) = value.clone());
        return Ok(true);
    }
    if wants == Some(true) {
        return Ok(false);
    }
    let name = match path.tail() {
        Some(Tail::Name(name)) => name,
        Some(Tail::Index) if !places.is_empty() => return Ok(false),
        Some(Tail::Index) => return Err("ERR array index out of range"),
        None => return Err("Err wrong static path"),
    };
    let mut done = false;
    let parents: Vec<Place> = path.parent().find(root);
    for parent in parents {
        if let Node::Object(members) = root.at_mut(&parent)
            && members.iter().all(|(one, _)| *one != name)
        {
            members.push((name.clone(), value.clone()));
            done = true;
        }
    }
    Ok(done)
}

fn calculated(adds: bool, node: &Node, by: &Node) -> Result<Node, &'static str> {
    if let (Node::Int(a), Node::Int(b)) = (node, by) {
        let result = if adds { a.checked_add(*b) } else { a.checked_mul(*b) };
        return result.map(Node::Int).ok_or("ERR numeric overflow");
    }
    let (a, b) = (node.number().unwrap_or(0.0), by.number().unwrap_or(0.0));
    let result = if adds { a + b } else { a * b };
    if result.is_finite() { Ok(Node::Float(result)) } else { Err("ERR result is not a number") }
}

/// The element that a position means: the first or the last where there is none.
fn within(index: i64, len: usize) -> usize {
    let at = if index < 0 { index.saturating_add(len as i64) } else { index };
    at.clamp(0, (len as i64 - 1).max(0)) as usize
}

/// A reply per match, or the last one where the path is a legacy one.
fn all(path: &Path, replies: Vec<Option<Reply>>) -> Reply {
    if path.is_legacy {
        return replies.into_iter().flatten().rev().find(|reply| *reply != Reply::Null).unwrap_or(Reply::Null);
    }
    Reply::Array(replies.into_iter().map(|reply| reply.unwrap_or(Reply::Null)).collect())
}

/// A value as a reply.
fn told(node: &Node) -> Reply {
    let word = |word: &str| Reply::Simple(word.into());
    match node {
        Node::Null => Reply::Null,
        Node::Bool(value) => word(&value.to_string()),
        Node::Int(value) => Reply::Int(*value),
        Node::Float(value) => Reply::Double(*value),
        Node::Text(text) => bulk(text.as_bytes()),
        Node::Array(elements) => Reply::Array([word("[")].into_iter().chain(elements.iter().map(told)).collect()),
        Node::Object(members) => {
            let pairs = members.iter().flat_map(|(name, member)| [bulk(name.as_bytes()), told(member)]);
            Reply::Array([word("{")].into_iter().chain(pairs).collect())
        }
    }
}
