//! Policy documents: any text read, and what is accepted decided in two ways.

use std::sync::Arc;

use serde_json::Value;

use super::glob;
use crate::access::{Actions, Asks, Need, Source};
use crate::pattern::Pattern;
use crate::policy::{CacheFacts, Compiled, Moment, Policy, Principal, escape_key};

/// A call on one key, channel or cache.
struct Call<'a> {
    about: u8,
    name: &'a [u8],
    actions: Actions,
    ttl_ms: Option<u64>,
}

impl Asks for Call<'_> {
    fn command(&self) -> &str {
        "GET"
    }

    fn command_bit(&self) -> u16 {
        0
    }

    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        each(match self.about {
            0 => Need::Key(self.name, self.actions),
            1 => Need::Channel(self.name, self.actions),
            _ => Need::Cache(self.actions),
        });
    }

    fn ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }

    fn value_bytes(&self) -> Option<u64> {
        None
    }
}

/// Reads `data` as two bytes that choose what is asked, a line with a key, and a policy document. A document is refused
/// with reasons, or compiles and decides; the decision is its explanation's, and, where no condition and no variable
/// stands in it, that of a plain evaluator. The key is also matched as a pattern in two ways.
///
/// # Panics
/// Two opinions disagree.
pub fn fuzz_policy(data: &[u8]) {
    let [choice, about, rest @ ..] = data else { return };
    let line = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    let (name, document) = (&rest[..line], rest.get(line + 1..).unwrap_or_default());
    patterns(name, document);
    let Ok(text) = std::str::from_utf8(document) else { return };
    let policy = match Policy::parse("fuzzed", text) {
        Ok(policy) => policy,
        Err(mistakes) => {
            assert!(
                !mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.is_empty()),
                "refused without a reason"
            );
            return;
        }
    };
    let (_, action) = Actions::NAMES[usize::from(*choice) % Actions::NAMES.len()];
    let (actions, _) = Actions::NAMES[usize::from(*choice) % Actions::NAMES.len()];
    let call = Call { about: about % 3, name, actions, ttl_ms: (about & 4 == 0).then_some(u64::from(*about)) };
    let (principal, cache) = facts();
    let layers = [vec![Arc::new(policy)]];
    let compiled = Compiled::new(&layers, &principal, &cache);
    let source = Source::new([127, 0, 0, 1].into(), about & 8 != 0, 8079);
    let moment = Moment { source: &source, wall_ms: 1_700_000_000_000 };
    let allowed = compiled.decide(&call, moment).is_ok();
    assert_eq!(allowed, compiled.explain(&call, moment).is_allowed(), "the explanation decides otherwise");
    assert!(allowed || !compiled.is_full(), "a full grant denies");
    assert!(!allowed || !compiled.is_empty(), "an empty grant allows");
    if !text.contains("Condition") && !text.contains("${") && !text.contains('\\') {
        let Ok(tree) = serde_json::from_str::<Value>(text) else { unreachable!("the policy was read from it") };
        assert_eq!(allowed, plain(&tree, action, &call), "the plain evaluator decides otherwise");
    }
}

fn facts() -> (Principal, CacheFacts) {
    let principal = Principal {
        arn: "arn:aws:iam::000000000000:user/a".to_owned(),
        name: Some("a".to_owned()),
        kind: "User",
        userid: "a".to_owned(),
        account: "000000000000".to_owned(),
        tags: [("tenant".to_owned(), "t*".to_owned())].into(),
        token_issued_ms: None,
    };
    let cache = CacheFacts {
        name: "default".to_owned(),
        engine: "valkey".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
        tags: Default::default(),
    };
    (principal, cache)
}

fn patterns(pattern: &[u8], text: &[u8]) {
    let (pattern, text) = (&pattern[..pattern.len().min(64)], &text[..text.len().min(256)]);
    assert_eq!(Pattern::new(pattern).matches(text), glob(pattern, text), "patterns disagree");
}

/// Every statement in turn: a Deny that fits decides, else an Allow.
fn plain(tree: &Value, action: &str, call: &Call<'_>) -> bool {
    let statements = match &tree["Statement"] {
        Value::Array(list) => list.iter().collect(),
        single => vec![single],
    };
    let fitting = |effect: &str| {
        statements.iter().any(|statement| statement["Effect"] == effect && fits(statement, action, call))
    };
    !fitting("Deny") && fitting("Allow")
}

fn fits(statement: &Value, action: &str, call: &Call<'_>) -> bool {
    let lower = action.to_ascii_lowercase();
    let named = |text: &str| glob(text.to_ascii_lowercase().as_bytes(), lower.as_bytes());
    let acts = match statement.get("Action") {
        Some(list) => texts(list).any(named),
        None => !texts(&statement["NotAction"]).any(named),
    };
    let targets = match statement.get("Resource") {
        Some(list) => texts(list).any(|text| covers(text, call)),
        None => !texts(&statement["NotResource"]).any(|text| covers(text, call)),
    };
    acts && targets
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    list.iter().filter_map(Value::as_str)
}

fn covers(text: &str, call: &Call<'_>) -> bool {
    if text == "*" {
        return true;
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [_, _, "cache", region, account, rest] = parts[..] else { return false };
    let here = glob(region.as_bytes(), b"us-east-1") && glob(account.as_bytes(), b"000000000000");
    let parts: Vec<&str> = rest.splitn(3, '/').collect();
    let of_cache = |cache: &str| here && glob(cache.as_bytes(), b"default");
    match (parts[..].first(), parts.get(1), parts.get(2), call.about) {
        (Some(&"key"), Some(cache), Some(key), 0) | (Some(&"channel"), Some(cache), Some(key), 1) => {
            of_cache(cache) && glob(key.as_bytes(), &escape_key(call.name))
        }
        (Some(&"cache"), Some(cache), None, 2) => of_cache(cache),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_evaluator_knows_the_cases_of_the_guide() {
        let arn = "arn:aws:cache:us-east-1:000000000000";
        let allow =
            format!(r#"{{"Statement":{{"Effect":"Allow","Action":"cache:R*","Resource":"{arn}:key/default/a?"}}}}"#);
        let tree: Value = serde_json::from_str(&allow).unwrap_or_default();
        let on = |name: &'static [u8]| Call { about: 0, name, actions: Actions::READ, ttl_ms: None };
        assert!(plain(&tree, "cache:Read", &on(b"ab")) && !plain(&tree, "cache:Read", &on(b"abc")));
        assert!(!plain(&tree, "cache:Write", &on(b"ab")));
        for (pattern, text, fits) in [("*", "", true), ("a*c", "abbc", true), ("a*c", "ab", false), ("?", "é", true)] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }
}
