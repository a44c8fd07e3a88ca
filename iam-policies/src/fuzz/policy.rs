//! Policy documents: any text read, and what is accepted decided in two ways.

mod plain;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use self::plain::{Plain, Subject, Verdict};
use super::{glob, text_bytes_max};
use crate::access::{Actions, Asks, Denied, Need, Source};
use crate::pattern::Pattern;
use crate::policy::{CacheFacts, Compiled, Explanation, Moment, Policy, Principal};

const WALL_MS: u64 = 1_700_000_000_000;

/// What is asked, chosen by the input.
struct Call<'a> {
    subjects: Vec<Subject<'a>>,
    actions: Actions,
    ttl_ms: Option<u64>,
    ttl_is_unknown: bool,
    value_bytes: Option<u64>,
}

impl Asks for Call<'_> {
    fn command(&self) -> &str {
        "GET"
    }

    fn command_bit(&self) -> u16 {
        0
    }

    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        for subject in &self.subjects {
            each(match *subject {
                Subject::Key(key) => Need::Key(key, self.actions),
                Subject::Channel(channel) => Need::Channel(channel, self.actions),
                Subject::Cache => Need::Cache(self.actions),
            });
        }
    }

    fn ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }

    fn ttl_is_unknown(&self) -> bool {
        self.ttl_is_unknown
    }

    fn value_bytes(&self) -> Option<u64> {
        self.value_bytes
    }
}

/// Reads `data` as two bytes that choose what is asked, a line with keys (apart by blanks, when a bit says so), and a
/// policy document. A document is refused with reasons, or compiles and decides; each need is decided as a plain
/// evaluator decides it, the whole call as its needs say, and a second layer takes away and never gives. The keys are
/// also matched as a pattern in two ways.
///
/// # Panics
/// Two opinions disagree.
pub fn fuzz_policy(data: &[u8]) {
    let [choice, about, rest @ ..] = data else { return };
    let line = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    let (names, document) = (text_bytes_max(&rest[..line], 256), rest.get(line + 1..).unwrap_or_default());
    patterns(names, document);
    let Ok(text) = std::str::from_utf8(document) else { return };
    let policy = match Policy::parse("fuzzed", text) {
        Ok(policy) => Arc::new(policy),
        Err(mistakes) => {
            let reasons = !mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.is_empty());
            assert!(reasons, "refused without a reason");
            return;
        }
    };
    let Ok(tree) = serde_json::from_str::<Value>(text) else { unreachable!("the policy was read from it") };
    let call = call(*choice, *about, names);
    let (principal, cache) = facts(*choice);
    let mut source = Source::new([127, 0, 0, choice & 1].into(), about & 8 != 0, 8079);
    source.vpce = (about & 64 != 0).then(|| "vpce-1".to_owned());
    let moment = Moment { source: &source, wall_ms: WALL_MS };
    let plain = Plain::new(&tree, &values(&call, &principal, &cache, &source));
    let compiled = Compiled::new(&[vec![policy.clone()]], &principal, &cache);
    compare(&compiled, &plain, &call, moment);

    let everything = || Arc::new(Policy::parse("all", ALLOW_ALL).unwrap_or_else(|why| panic!("{why:?}")));
    for layers in [[vec![policy.clone()], vec![policy.clone()]], [vec![everything()], vec![policy.clone()]]] {
        let layered = Compiled::new(&layers, &principal, &cache);
        let (once, twice) = (compiled.decide(&call, moment).is_ok(), layered.decide(&call, moment).is_ok());
        assert_eq!(once, twice, "a layer more gives or takes");
    }
    let nothing = Compiled::new(&[vec![everything()], vec![]], &principal, &cache);
    assert!(nothing.is_empty() && nothing.decide(&call, moment).is_err(), "an empty layer allows");
}

const ALLOW_ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

/// The compiled policy against the plain one, need by need and as a whole.
fn compare(compiled: &Compiled, plain: &Plain<'_>, call: &Call<'_>, moment: Moment<'_>) {
    let told = compiled.explain(call, moment);
    let mut verdicts = Vec::new();
    for subject in &call.subjects {
        verdicts.extend(call.actions.names().map(|action| plain.verdict(action, *subject)));
    }
    let decisions: Vec<Verdict> = told.needs.iter().map(|(_, _, decision)| Verdict::of(decision)).collect();
    assert_eq!(decisions, verdicts, "the plain evaluator decides otherwise");
    let first = |wanted: fn(Verdict) -> bool| verdicts.iter().copied().find(|verdict| wanted(*verdict));
    let decided = match compiled.decide(call, moment) {
        Ok(()) => None,
        Err(Denied::Explicit(_)) => Some(Verdict::Denied),
        Err(_) => Some(Verdict::NotAllowed),
    };
    assert_eq!(decided, first(|verdict| verdict != Verdict::Allowed), "the whole is not what its needs say");
    let denies = compiled.decide_denies(call, moment).is_err();
    assert_eq!(denies, first(|verdict| verdict == Verdict::Denied).is_some(), "a Deny is overlooked, or made up");
    assert!(!denies || compiled.has_denies(), "a Deny out of nothing");
    assert_eq!(told.is_allowed(), decided.is_none(), "the explanation decides otherwise");
    assert!(decided.is_none() || !compiled.is_full(), "a full grant denies");
    assert!(decided.is_some() || !compiled.is_empty(), "an empty grant allows");
    asks_for_the_ttl_it_depends_on(compiled, call, moment, &told);
}

/// What does not ask for the TTL decides the same with any; what does refuses while nobody knows it.
fn asks_for_the_ttl_it_depends_on(compiled: &Compiled, call: &Call<'_>, moment: Moment<'_>, told: &Explanation) {
    let other = |ttl_ms, ttl_is_unknown| {
        let subjects = call.subjects.clone();
        let other = Call { subjects, ttl_ms, ttl_is_unknown, ..*call };
        let explained = compiled.explain(&other, moment);
        assert_eq!(
            explained.is_allowed(),
            compiled.decide(&other, moment).is_ok(),
            "an unknown TTL is explained wrongly"
        );
        explained
    };
    let unknown = other(None, true);
    if compiled.uses_ttl() {
        assert!(!unknown.is_allowed() || compiled.is_full(), "a TTL that is asked for and not known is passed over");
    } else {
        assert_eq!(unknown.is_allowed(), told.is_allowed(), "a TTL counts that nobody asked for");
        let changed = other(call.ttl_ms.is_none().then_some(1), false);
        assert_eq!(changed.needs, told.needs, "a TTL counts that nobody asked for");
    }
}

fn call(choice: u8, about: u8, names: &[u8]) -> Call<'_> {
    let several = about & 16 != 0;
    let parts = names.split(|&byte| several && byte == b' ').take(4);
    let subjects = match about % 3 {
        0 => parts.map(Subject::Key).collect(),
        1 => parts.map(Subject::Channel).collect(),
        _ => vec![Subject::Cache],
    };
    let [mut actions, both] = [0, 3].map(|step| Actions::NAMES[(usize::from(choice) + step) % 7].0);
    if choice & 128 != 0 {
        actions = actions.union(both);
    }
    Call {
        subjects,
        actions,
        ttl_ms: (about & 4 == 0).then_some(u64::from(about)),
        ttl_is_unknown: false,
        value_bytes: (about & 32 == 0).then_some(u64::from(choice)),
    }
}

fn facts(choice: u8) -> (Principal, CacheFacts) {
    let principal = Principal {
        arn: "arn:aws:iam::000000000000:user/a".to_owned(),
        name: (choice & 64 == 0).then(|| "a".to_owned()),
        kind: "User",
        userid: "a".to_owned(),
        account: "000000000000".to_owned(),
        tags: [("tenant".to_owned(), "t*".to_owned())].into(),
        token_issued_ms: (choice & 32 != 0).then_some(WALL_MS - 60_000),
    };
    let cache = CacheFacts {
        name: "default".to_owned(),
        engine: "valkey".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
        tags: [("team".to_owned(), "a:b".to_owned())].into(),
    };
    (principal, cache)
}

/// Every condition key with its values, by its documented name.
fn values<'a>(
    call: &Call<'a>,
    principal: &Principal,
    cache: &CacheFacts,
    source: &Source,
) -> Vec<(&'static str, Vec<Cow<'a, [u8]>>)> {
    let owned = |text: Option<String>| text.map(|text| Cow::Owned(text.into_bytes())).into_iter().collect();
    let one = |text: &str| owned(Some(text.to_owned()));
    let number = |number: Option<u64>| owned(number.map(|number| number.to_string()));
    let keys = call.subjects.iter().filter_map(|subject| match *subject {
        Subject::Key(key) => Some(Cow::Borrowed(key)),
        _ => None,
    });
    vec![
        ("aws:CurrentTime", number(Some(WALL_MS / 1000))),
        ("aws:EpochTime", number(Some(WALL_MS / 1000))),
        ("aws:PrincipalAccount", one(&principal.account)),
        ("aws:PrincipalArn", one(&principal.arn)),
        ("aws:PrincipalTag/tenant", one("t*")),
        ("aws:PrincipalType", one(principal.kind)),
        ("aws:RequestedRegion", one(&cache.region)),
        ("aws:ResourceAccount", one(&cache.account)),
        ("aws:ResourceTag/team", one("a:b")),
        ("aws:SecureTransport", one(if source.secure { "true" } else { "false" })),
        ("aws:SourceIp", owned(source.vpce.is_none().then(|| source.ip.to_string()))),
        ("aws:SourceVpce", owned(source.vpce.clone())),
        ("aws:TokenIssueTime", number(principal.token_issued_ms.map(|ms| ms / 1000))),
        ("aws:userid", one(&principal.userid)),
        ("aws:username", owned(principal.name.clone())),
        ("cache:Command", one("GET")),
        ("cache:Engine", one(&cache.engine)),
        ("cache:Key", keys.collect()),
        ("cache:Name", one(&cache.name)),
        ("cache:TtlMs", number(call.ttl_ms)),
        ("cache:ValueBytes", number(call.value_bytes)),
    ]
}

fn patterns(pattern: &[u8], text: &[u8]) {
    let (pattern, text) = (text_bytes_max(pattern, 64), text_bytes_max(text, 256));
    assert_eq!(Pattern::new(pattern).matches(text), glob(pattern, text), "patterns disagree");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::policy::CONDITION_KEYS;

    #[test]
    fn every_condition_key_has_its_plain_value() {
        let (principal, cache) = facts(32);
        let source = Source::new([127, 0, 0, 1].into(), true, 8079);
        let told = values(&call(0, 0, b"k"), &principal, &cache, &source);
        for key in CONDITION_KEYS {
            assert!(told.iter().any(|(name, _)| name.starts_with(key.name)), "{}", key.name);
        }
    }

    const CONDITIONS: [&str; 11] = [
        r#"{"StringLike":{"aws:PrincipalTag/tenant":"t?"}}"#,
        r#"{"StringEquals":{"cache:Name":["x","default"]},"Bool":{"aws:SecureTransport":"false"}}"#,
        r#"{"StringNotEqualsIfExists":{"aws:username":"A"},"StringEqualsIgnoreCase":{"aws:username":"A"}}"#,
        r#"{"ForAllValues:StringLike":{"cache:Key":["a*","b?"]}}"#,
        r#"{"ForAnyValue:StringNotLike":{"cache:Key":"${aws:PrincipalTag/tenant}"}}"#,
        r#"{"NumericLessThanEquals":{"cache:TtlMs":[3,"1.5"]},"NumericNotEquals":{"cache:ValueBytes":-1}}"#,
        r#"{"DateLessThan":{"aws:CurrentTime":"2023-11-15"},"DateGreaterThan":{"aws:EpochTime":1600000000}}"#,
        r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::ffff:127.0.0.0/104"]}}"#,
        r#"{"NotIpAddress":{"aws:SourceIp":"127.0.0.1"},"Null":{"aws:SourceVpce":true}}"#,
        r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/${aws:username}"}}"#,
        r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:*:iam::*:role/x:y"}}"#,
    ];

    #[test]
    fn two_opinions_agree_on_conditions_that_hold_and_do_not() {
        for condition in CONDITIONS {
            for (choice, about) in
                (0..=255).step_by(32).flat_map(|choice| (0..128).step_by(7).map(move |about| (choice, about)))
            {
                for effect in ["Allow", "Deny"] {
                    let document = format!(
                        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":"*","Resource":"*","Condition":{condition}}},{{"Effect":"Allow","NotAction":"cache:Admin","NotResource":"arn:aws:cache:*:*:key/default/${{aws:username}}*"}}]}}"#
                    );
                    assert!(Policy::parse("p", &document).is_ok(), "{document}");
                    fuzz_policy(&[&[choice, about], &b"a1 bc t*\n"[..], document.as_bytes()].concat());
                }
            }
        }
    }

    /// One statement that is accepted: one of each pair, one to three of everything in a list, a condition or none.
    fn statement() -> impl Strategy<Value = String> {
        let actions =
            ["*", "cache:*", "cache:R*", "CACHE:read", "cache:?rite", "cache:Admin", "s3:Get*", "cache:Subscribe"];
        let cache = "arn:aws:cache:us-east-1:000000000000";
        let resources = [
            "*".to_owned(),
            "arn:aws:cache:*:*:key/*/*".to_owned(),
            "arn:aws:s3:::a*".to_owned(),
            "arn:aws:cache:eu-*:*:key/default/*".to_owned(),
            format!("{cache}:key/default/a*"),
            format!("{cache}:key/default/??"),
            format!("{cache}:key/other/a1"),
            format!("{cache}:key/default/${{aws:PrincipalTag/tenant}}*"),
            format!("{cache}:key/default/${{aws:username, 'b'}}${{*}}?"),
            format!("{cache}:key/default/${{aws:PrincipalTag/none}}*"),
            format!("{cache}:key/default/${{cache:TtlMs}}"),
            format!("{cache}:channel/def*/*"),
            format!("{cache}:channel/default/a%20*"),
            format!("{cache}:cache/d*t"),
        ];
        let list = |words: Vec<String>| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(",");
        let actions = subsequence(actions.map(str::to_owned).to_vec(), 1..4).prop_map(list);
        let resources = subsequence(resources.to_vec(), 1..4).prop_map(list);
        let condition = proptest::option::of(select(CONDITIONS.to_vec()));
        let words = (select(vec!["Allow", "Deny"]), any::<[bool; 2]>(), actions, resources, condition);
        words.prop_map(|(effect, [not_actions, not_resources], actions, resources, condition)| {
            let not = |yes: bool| if yes { "Not" } else { "" };
            let condition = condition.map_or_else(String::new, |condition| format!(",\"Condition\":{condition}"));
            format!(
                r#"{{"Effect":"{effect}","{}Action":[{actions}],"{}Resource":[{resources}]{condition}}}"#,
                not(not_actions),
                not(not_resources)
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn two_opinions_agree_on_whole_documents(
            statements in proptest::collection::vec(statement(), 1..5),
            choice in any::<u8>(),
            about in any::<u8>(),
            names in proptest::collection::vec(select(vec!["a1", "a", "t*", "bb", "a b", "b*x", "é", "%", ""]), 1..4),
            variables in any::<bool>(),
        ) {
            let version = if variables { "2012-10-17" } else { "2008-10-17" };
            let document = format!(r#"{{"Version":"{version}","Statement":[{}]}}"#, statements.join(","));
            if variables {
                prop_assert!(Policy::parse("p", &document).is_ok(), "{}", document);
            }
            fuzz_policy(&[&[choice, about], names.join(" ").as_bytes(), b"\n", document.as_bytes()].concat());
        }
    }
}
