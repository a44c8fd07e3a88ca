//! Reading a policy document: everything wrong with it is told at once, and a wrong one is never used.

use std::sync::Arc;

use super::condition::Condition;
use super::template::{Template, arn_segments, check_key_pattern};
use crate::access::Actions;
use crate::json::Tree;
use crate::pattern::Pattern;

/// How many bytes a document may have, as the IAM API caps it.
pub const DOCUMENT_BYTES_MAX: usize = 131_072;
/// How many statements, conditions and list entries together a document may have.
const PARTS_MAX: usize = 4096;

/// A policy document that was read and found right.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) name: Arc<str>,
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) sid: Option<Arc<str>>,
    pub(super) deny: bool,
    /// The actions it speaks of, `NotAction` already turned round.
    pub(super) actions: Actions,
    pub(super) not_resources: bool,
    pub(super) resources: Vec<Resource>,
    pub(super) conditions: Vec<Condition>,
}

/// What a resource entry names, as far as data is concerned.
#[derive(Debug, Clone)]
pub(super) enum Resource {
    /// `*`
    Everything,
    /// Something inside caches.
    Inside { region: Pattern, account: Pattern, kind: Kind, cache: Pattern, rest: Option<Template> },
    /// What one logs in to, and as whom: an ARN of ElastiCache.
    Login { region: Pattern, account: Pattern, rest: Template },
    /// An ARN of another service: no data.
    Elsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Channel,
    Cache,
}

impl Policy {
    /// Reads an identity policy.
    ///
    /// # Errors
    /// Everything that is wrong, each with the place it stands at.
    pub fn parse(name: &str, json: &str) -> Result<Self, Vec<String>> {
        if json.len() > DOCUMENT_BYTES_MAX {
            return Err(vec![format!("the document has {} bytes; {DOCUMENT_BYTES_MAX} at most", json.len())]);
        }
        let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
        if let Some(wrong) = json.chars().find(|c| !allowed(*c)) {
            return Err(vec![format!("the character {wrong:?} may not stand in a policy: U+0020 to U+00FF only")]);
        }
        let tree = Tree::parse(json.as_bytes()).map_err(|why| vec![why])?;
        Self::of_tree(name, &tree)
    }

    /// Reads an identity policy that is part of a larger document, whose bytes are bounded there.
    ///
    /// # Errors
    /// Everything that is wrong, each with the place it stands at.
    pub fn of_tree(name: &str, tree: &Tree) -> Result<Self, Vec<String>> {
        let mut reader = Reader { mistakes: Vec::new(), variables: false, parts: 0 };
        let statements = reader.document(tree);
        if reader.mistakes.is_empty() { Ok(Self { name: name.into(), statements }) } else { Err(reader.mistakes) }
    }

    /// The name it was stored under.
    pub fn name(&self) -> &str {
        &self.name
    }
}

struct Reader {
    mistakes: Vec<String>,
    variables: bool,
    parts: usize,
}

impl Reader {
    fn wrong(&mut self, at: &str, what: impl std::fmt::Display) {
        self.mistakes.push(if at.is_empty() { what.to_string() } else { format!("{at}: {what}") });
    }

    /// Counts a part; false once there are too many.
    fn room(&mut self) -> bool {
        self.parts += 1;
        if self.parts == PARTS_MAX + 1 {
            self.wrong("", format!("more than {PARTS_MAX} statements, conditions and list entries"));
        }
        self.parts <= PARTS_MAX
    }

    fn document(&mut self, tree: &Tree) -> Vec<Statement> {
        let Tree::Object(members) = tree else {
            self.wrong("", "a policy is a JSON object");
            return Vec::new();
        };
        for (name, _) in members {
            if !matches!(name.as_str(), "Version" | "Id" | "Statement") {
                self.wrong("", format!("unknown element {name:?}"));
            }
        }
        if tree.get("Id").is_some() {
            self.wrong("Id", "only resource policies have one");
        }
        match tree.get("Version").map(Tree::as_text) {
            Some(Some("2012-10-17")) => self.variables = true,
            None | Some(Some("2008-10-17")) => {}
            _ => self.wrong("Version", "must be 2012-10-17 or 2008-10-17"),
        }
        let list = match tree.get("Statement") {
            Some(Tree::List(list)) if !list.is_empty() => list.as_slice(),
            Some(single @ Tree::Object(_)) => std::slice::from_ref(single),
            _ => {
                self.wrong("Statement", "must be an object or a list of at least one");
                return Vec::new();
            }
        };
        let mut statements: Vec<Statement> = Vec::new();
        for (index, tree) in list.iter().enumerate() {
            if !self.room() {
                break;
            }
            let statement = self.statement(&format!("Statement[{index}]"), tree);
            if statement.sid.is_some() && statements.iter().any(|other| other.sid == statement.sid) {
                self.wrong(&format!("Statement[{index}].Sid"), "another statement has the same Sid");
            }
            statements.push(statement);
        }
        statements
    }

    fn statement(&mut self, at: &str, tree: &Tree) -> Statement {
        let mut statement = Statement {
            sid: None,
            deny: true,
            actions: Actions::NONE,
            not_resources: false,
            resources: Vec::new(),
            conditions: Vec::new(),
        };
        let Tree::Object(members) = tree else {
            self.wrong(at, "a statement is a JSON object");
            return statement;
        };
        for (name, value) in members {
            let here = format!("{at}.{name}");
            match name.as_str() {
                "Sid" => statement.sid = self.sid(&here, value),
                "Effect" => statement.deny = self.effect(&here, value),
                "Action" => statement.actions = self.actions(&here, value),
                "NotAction" => statement.actions = Actions::ANY.without(self.actions(&here, value)),
                "Resource" => statement.resources = self.resources(&here, value),
                "NotResource" => {
                    statement.not_resources = true;
                    statement.resources = self.resources(&here, value);
                }
                "Condition" => statement.conditions = self.conditions(&here, value),
                "Principal" | "NotPrincipal" => {
                    self.wrong(&here, "an identity policy has no principal: it is attached to one");
                }
                _ => self.wrong(at, format!("unknown element {name:?}")),
            }
        }
        if tree.get("Effect").is_none() {
            self.wrong(at, "Effect is missing: Allow or Deny");
        }
        self.exactly_one(at, tree, "Action", "NotAction");
        self.exactly_one(at, tree, "Resource", "NotResource");
        statement
    }

    fn exactly_one(&mut self, at: &str, tree: &Tree, one: &str, other: &str) {
        if tree.get(one).is_some() == tree.get(other).is_some() {
            self.wrong(at, format!("needs exactly one of {one} and {other}"));
        }
    }

    fn sid(&mut self, at: &str, value: &Tree) -> Option<Arc<str>> {
        match value.as_text() {
            Some(sid) if sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Some(sid.into()),
            _ => {
                self.wrong(at, "must be letters and digits");
                None
            }
        }
    }

    fn effect(&mut self, at: &str, value: &Tree) -> bool {
        match value.as_text() {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => {
                self.wrong(at, "must be Allow or Deny, written just so");
                true
            }
        }
    }

    /// The strings of a scalar or list; what is no string, or an empty list, is wrong.
    fn strings<'t>(&mut self, at: &str, value: &'t Tree) -> Vec<&'t str> {
        let list = match value {
            Tree::List(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        if list.is_empty() {
            self.wrong(at, "the list is empty");
        }
        let mut texts = Vec::new();
        for item in list {
            match item.as_text() {
                Some(_) if !self.room() => break,
                Some(text) => texts.push(text),
                None => self.wrong(at, "must be a string or a list of strings"),
            }
        }
        texts
    }

    fn actions(&mut self, at: &str, value: &Tree) -> Actions {
        let mut actions = Actions::NONE;
        for text in self.strings(at, value) {
            match action(text) {
                Ok(found) => actions = actions.union(found),
                Err(why) => self.wrong(at, why),
            }
        }
        actions
    }

    fn resources(&mut self, at: &str, value: &Tree) -> Vec<Resource> {
        let variables = self.variables;
        let mut resources = Vec::new();
        for text in self.strings(at, value) {
            match resource(text, variables) {
                Ok(found) => resources.push(found),
                Err(why) => self.wrong(at, why),
            }
        }
        resources
    }

    fn conditions(&mut self, at: &str, value: &Tree) -> Vec<Condition> {
        let Tree::Object(operators) = value else {
            self.wrong(at, "must be an object: operator, then key, then values");
            return Vec::new();
        };
        let mut conditions = Vec::new();
        for (operator, keys) in operators {
            let Tree::Object(keys) = keys else {
                self.wrong(at, format!("{operator} must hold an object of condition keys"));
                continue;
            };
            if keys.is_empty() {
                self.wrong(at, format!("{operator} holds no condition key"));
            }
            for (key, values) in keys {
                if !self.room() {
                    return conditions;
                }
                match Condition::parse(operator, key, values, self.variables) {
                    Ok(condition) => conditions.push(condition),
                    Err(why) => self.wrong(at, why),
                }
            }
        }
        conditions
    }
}

/// The actions an action pattern names: none for another service's.
fn action(text: &str) -> Result<Actions, String> {
    if text == "*" {
        return Ok(Actions::ANY);
    }
    let (service, name) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is no action: write service:Name, such as cache:Read"))?;
    let service_ok = !service.is_empty() && service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let name_ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?'));
    if !service_ok || !name_ok {
        return Err(format!("{text:?} is no action: wildcards may stand in the name only"));
    }
    let pattern = Pattern::new(text.to_ascii_lowercase().as_bytes());
    if !service.eq_ignore_ascii_case("cache") {
        return Ok(if pattern.matches(b"elasticache:connect") { Actions::CONNECT } else { Actions::NONE });
    }
    let hits = Actions::NAMES.iter().filter(|(_, name)| pattern.matches(name.to_ascii_lowercase().as_bytes()));
    let actions = hits.fold(Actions::NONE, |all, (action, _)| all.union(*action));
    if actions.is_empty() {
        let names: Vec<_> = Actions::NAMES.iter().map(|(_, name)| *name).collect();
        return Err(format!("{text:?} names no action of cache; there are {}", names.join(", ")));
    }
    Ok(actions)
}

fn resource(text: &str, variables: bool) -> Result<Resource, String> {
    if text == "*" {
        return Ok(Resource::Everything);
    }
    let segments = arn_segments(text);
    let &[arn, partition, service, region, account, rest] = segments.as_slice() else {
        return Err(format!("{text:?} is no ARN: write arn:aws:cache:REGION:ACCOUNT:key/CACHE/KEY, or *"));
    };
    if arn != "arn" || partition.contains(['*', '?']) || service.contains(['*', '?']) {
        return Err(format!("{text:?}: an ARN begins arn:aws:SERVICE, with no wildcard there"));
    }
    if variables && [partition, service, region, account].iter().any(|segment| segment.contains("${")) {
        return Err(format!("{text:?}: variables may stand behind the fifth colon only"));
    }
    let wild = |segment: &str| Pattern::new(segment.as_bytes());
    if service == "elasticache" && partition == "aws" {
        let rest = Template::parse(rest, variables)?;
        return Ok(Resource::Login { region: wild(region), account: wild(account), rest });
    }
    if service != "cache" {
        Template::parse(rest, variables)?;
        // Services are written in lower case: as another service's, a Deny on `Cache` would never match.
        let ours = service.eq_ignore_ascii_case("cache");
        return if ours { Err(format!("{text:?}: the service is cache")) } else { Ok(Resource::Elsewhere) };
    }
    if partition != "aws" {
        return Err(format!("{text:?}: the partition is aws"));
    }
    let (kind, cache, rest) = inside(text, rest, variables)?;
    Ok(Resource::Inside { region: wild(region), account: wild(account), kind, cache, rest })
}

type Inside = (Kind, Pattern, Option<Template>);

/// Reads what stands behind the fifth colon of a cache ARN.
fn inside(text: &str, rest: &str, variables: bool) -> Result<Inside, String> {
    let forms = "key/CACHE/KEY, channel/CACHE/CHANNEL or cache/CACHE";
    let (kind, rest) = rest.split_once('/').ok_or_else(|| format!("{text:?} must end in {forms}"))?;
    let kind = match kind {
        "key" => Kind::Key,
        "channel" => Kind::Channel,
        "cache" => Kind::Cache,
        _ => return Err(format!("{text:?} must end in {forms}")),
    };
    let (cache, key) = match (kind, rest.split_once('/')) {
        (Kind::Cache, None) => (rest, None),
        (Kind::Key | Kind::Channel, Some((cache, key))) => (cache, Some(key)),
        _ => return Err(format!("{text:?} must end in {forms}")),
    };
    let vague = cache.contains(['*', '?']) || cache.contains("${");
    if vague && key.is_some_and(|key| key != "*") {
        return Err(format!(
            "{text:?} has a wildcard in its cache and its key is not exactly `*`: name the cache, or use cache:Name"
        ));
    }
    if cache.is_empty() || cache.contains("${") {
        return Err(format!("{text:?}: name the cache, or write * and use the condition key cache:Name"));
    }
    let template = key.map(|key| {
        check_key_pattern(&without_variables(key, variables)).map_err(|why| format!("{text:?}: {why}"))?;
        Template::parse(key, variables)
    });
    Ok((kind, Pattern::new(cache.as_bytes()), template.transpose()?))
}

/// The text with its variables taken out, which may hold what a key pattern may not.
fn without_variables(text: &str, variables: bool) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${").filter(|_| variables) {
        left.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else { return left };
        rest = &rest[at + end + 1..];
    }
    left.push_str(rest);
    left
}
