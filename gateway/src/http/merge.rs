//! JSON Merge Patch (RFC 7396) over raw JSON, so numbers and strings that a patch does not touch stay byte for byte.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Deepest object a patch may change.
pub(crate) const DEPTH_MAX: usize = 64;

/// Why a patch was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPatch {
    /// Objects nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Not JSON.
    NotJson,
}

type Members = BTreeMap<String, Box<RawValue>>;

/// `target` with `patch` applied: members of a patch object replace, `null` removes, anything else replaces the whole.
///
/// # Errors
/// [`BadPatch`]; nothing is changed then.
pub(crate) fn merge(target: &RawValue, patch: &RawValue) -> Result<Box<RawValue>, BadPatch> {
    apply(Some(target), patch, 0)
}

fn apply(target: Option<&RawValue>, patch: &RawValue, depth: usize) -> Result<Box<RawValue>, BadPatch> {
    if depth > DEPTH_MAX {
        return Err(BadPatch::TooDeep);
    }
    let Some(changes) = members(patch)? else {
        return Ok(patch.to_owned());
    };
    let mut merged = match target {
        Some(target) => members(target)?.unwrap_or_default(),
        None => Members::new(),
    };
    for (name, change) in changes {
        if change.get() == "null" {
            merged.remove(&name);
        } else {
            let value = apply(merged.get(&name).map(AsRef::as_ref), &change, depth + 1)?;
            merged.insert(name, value);
        }
    }
    serde_json::value::to_raw_value(&merged).map_err(|_| BadPatch::NotJson)
}

/// The members of an object; `None` when `raw` is something else.
fn members(raw: &RawValue) -> Result<Option<Members>, BadPatch> {
    if !raw.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(raw.get()).map(Some).map_err(|_| BadPatch::NotJson)
}

/// Whether brackets in `text`, outside strings, nest at most `depth_max` deep. `text` is valid JSON.
pub(crate) fn is_shallow(text: &str, depth_max: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn merged(target: &str, patch: &str) -> String {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        merge(&raw(target), &raw(patch)).unwrap().get().to_owned()
    }

    /// RFC 7396 appendix A: original, patch, result.
    const CASES: &[(&str, &str, &str)] = &[
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];

    #[test]
    fn rfc_cases_hold() {
        for (target, patch, result) in CASES {
            assert_eq!(merged(target, patch), *result, "{target} + {patch}");
        }
    }

    #[test]
    fn untouched_numbers_keep_their_digits() {
        assert_eq!(
            merged(r#"{"n":12345678901234567890123.10}"#, r#"{"a":1e400}"#),
            r#"{"a":1e400,"n":12345678901234567890123.10}"#
        );
    }

    #[test]
    fn depth_holds_on_each_side() {
        let nested = |depth: usize| {
            serde_json::from_str::<Box<RawValue>>(&format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)))
                .unwrap()
        };
        let empty = serde_json::from_str::<Box<RawValue>>("{}").unwrap();
        assert!(merge(&empty, &nested(DEPTH_MAX)).is_ok());
        assert_eq!(merge(&empty, &nested(DEPTH_MAX + 1)).unwrap_err(), BadPatch::TooDeep);
        assert!(is_shallow(r#"{"a":["}{[[",1]}"#, 2));
        assert!(!is_shallow("[[[]]]", 2));
    }

    /// The slow plain version, on `Value`.
    fn plain(target: Value, patch: Value) -> Value {
        let Value::Object(changes) = patch else { return patch };
        let mut merged = match target {
            Value::Object(members) => members,
            _ => serde_json::Map::new(),
        };
        for (name, change) in changes {
            if change.is_null() {
                merged.remove(&name);
            } else {
                let old = merged.remove(&name).unwrap_or(Value::Null);
                merged.insert(name, plain(old, change));
            }
        }
        Value::Object(merged)
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_version(target in json(), patch in json()) {
            let ours = merged(&target.to_string(), &patch.to_string());
            prop_assert_eq!(serde_json::from_str::<Value>(&ours).unwrap(), plain(target, patch));
        }
    }
}
