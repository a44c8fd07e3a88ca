//! Documents, decisions and their reasons, by cases of the IAM User Guide and of contract section 7.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::access::{Actions, Asks, Denied, Need, Source};

/// A call told by hand.
struct Told {
    command: &'static str,
    keys: Vec<(Vec<u8>, Actions)>,
    others: Vec<Need<'static>>,
    ttl_ms: Option<u64>,
    ttl_is_unknown: bool,
    value_bytes: Option<u64>,
}

fn on(key: &[u8], actions: Actions) -> Told {
    Told {
        command: "GET",
        keys: vec![(key.to_vec(), actions)],
        others: vec![],
        ttl_ms: None,
        ttl_is_unknown: false,
        value_bytes: None,
    }
}

impl Asks for Told {
    fn command(&self) -> &str {
        self.command
    }
    fn command_bit(&self) -> u16 {
        0
    }
    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        self.keys.iter().for_each(|(key, actions)| each(Need::Key(key, *actions)));
        self.others.iter().for_each(|need| each(*need));
    }
    fn ttl_is_unknown(&self) -> bool {
        self.ttl_is_unknown
    }
    fn ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }
    fn value_bytes(&self) -> Option<u64> {
        self.value_bytes
    }
}

fn alice() -> Principal {
    Principal {
        arn: "arn:aws:iam::000000000000:user/alice".into(),
        name: Some("alice".into()),
        kind: "User",
        userid: "AIDAALICE".into(),
        account: "000000000000".into(),
        tags: [("tenant".to_owned(), "a*".to_owned()), ("team".to_owned(), "x".to_owned())].into(),
        token_issued_ms: None,
    }
}

fn cache() -> CacheFacts {
    CacheFacts {
        name: "default".into(),
        engine: "valkey".into(),
        region: "us-east-1".into(),
        account: "000000000000".into(),
        tags: [("team".to_owned(), "x".to_owned())].into(),
    }
}

fn compiled(statements: &str) -> Compiled {
    let json = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
    let policy = Policy::parse("p", &json).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Compiled::new(&[vec![Arc::new(policy)]], &alice(), &cache())
}

fn decide_from(policy: &Compiled, call: &Told, ip: &str, secure: bool) -> Result<(), Denied> {
    let source = Source::new(ip.parse::<IpAddr>().unwrap(), secure, 8079);
    policy.decide(call, Moment { source: &source, wall_ms: 1_700_000_000_000 })
}

fn decide(policy: &Compiled, call: &Told) -> Result<(), Denied> {
    decide_from(policy, call, "127.0.0.1", false)
}

fn mistakes(json: &str) -> Vec<String> {
    Policy::parse("p", json).err().unwrap_or_default()
}

const ARN: &str = "arn:aws:cache:us-east-1:000000000000";

#[test]
fn a_key_pattern_allows_its_keys_and_no_others() {
    let policy =
        compiled(&format!(r#"{{"Effect":"Allow","Action":["cache:Read"],"Resource":"{ARN}:key/default/a:*"}}"#));
    assert!(!policy.is_full());
    assert_eq!(decide(&policy, &on(b"a:1", Actions::READ)), Ok(()));
    assert_eq!(decide(&policy, &on(b"a:\n\0\xff", Actions::READ)), Ok(()));
    assert_eq!(decide(&policy, &on(b"b:1", Actions::READ)), Err(Denied::Implicit));
    assert_eq!(decide(&policy, &on(b"a:1", Actions::READ.union(Actions::WRITE))), Err(Denied::Implicit));
    let both =
        Told { keys: vec![(b"a:1".to_vec(), Actions::READ), (b"b".to_vec(), Actions::READ)], ..on(b"", Actions::READ) };
    assert_eq!(decide(&policy, &both), Err(Denied::Implicit));
}

#[test]
fn a_deny_wins_and_is_named() {
    let policy = compiled(&format!(
        r#"[{{"Effect":"Allow","Action":"cache:*","Resource":"*"}},
            {{"Sid":"NoSecrets","Effect":"Deny","Action":"*","Resource":"{ARN}:key/default/secret*"}}]"#
    ));
    assert_eq!(decide(&policy, &on(b"a", Actions::WRITE)), Ok(()));
    let Err(Denied::Explicit(statement)) = decide(&policy, &on(b"secret\nx", Actions::READ)) else { panic!() };
    assert_eq!((&*statement.policy, statement.index, statement.sid.as_deref()), ("p", 1, Some("NoSecrets")));
}

#[test]
fn everything_allowed_is_full_and_only_full_runs_the_unknown() {
    assert!(compiled(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#).is_full());
    assert!(compiled(&format!(
        r#"{{"Effect":"Allow","Action":"cache:*","Resource":["{ARN}:key/*/*","{ARN}:channel/default/*","{ARN}:cache/default"]}}"#
    ))
    .is_full());
    let most = compiled(r#"{"Effect":"Allow","Action":["cache:R*","cache:Write"],"Resource":"*"}"#);
    assert!(!most.is_full());
    let unknown = Told { keys: vec![], others: vec![Need::Unknown], ..on(b"", Actions::READ) };
    assert_eq!(decide(&most, &unknown), Err(Denied::Unknown));
    assert!(Compiled::new(&[], &alice(), &cache()).is_empty());
}

#[test]
fn a_ttl_that_nobody_looked_at_matters_only_where_it_is_asked_for() {
    let unseen = Told { ttl_is_unknown: true, ..on(b"5", Actions::WRITE) };
    let plain = compiled(&format!(r#"{{"Effect":"Allow","Action":"cache:Write","Resource":"{ARN}:key/default/5"}}"#));
    assert_eq!((plain.uses_ttl(), decide(&plain, &unseen)), (false, Ok(())));
    for statement in [
        r#""Resource":"*","Condition":{"NumericLessThan":{"cache:TtlMs":"9"}}"#.to_owned(),
        r#""Resource":"*","Condition":{"Null":{"cache:TtlMs":"true"}}"#.to_owned(),
        r#""Resource":"*","Condition":{"StringEquals":{"cache:Command":["GET","${cache:TtlMs, 'GET'}"]}}"#.to_owned(),
        r#""Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":["*:*:*:*:*:*","a:b:c:d:e:${cache:TtlMs}"]}}"#
            .to_owned(),
        format!(r#""Resource":"{ARN}:key/default/${{cache:TtlMs, '5'}}""#),
    ] {
        let asking = compiled(&format!(r#"{{"Effect":"Allow","Action":"cache:Write",{statement}}}"#));
        assert!(asking.uses_ttl(), "{statement}");
        assert_eq!(decide(&asking, &on(b"5", Actions::WRITE)).is_ok(), !statement.contains("LessThan"), "{statement}");
        assert!(decide(&asking, &unseen).is_err(), "{statement}");
    }
}

#[test]
fn a_full_policy_is_explained_as_it_decides() {
    let full = compiled(
        r#"[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericLessThan":{"cache:TtlMs":"9"}}}]"#,
    );
    let unseen = Told { ttl_is_unknown: true, ..on(b"k", Actions::WRITE) };
    let source = Source::new([127, 0, 0, 1].into(), false, 1);
    let told = full.explain(&unseen, Moment { source: &source, wall_ms: 0 });
    assert_eq!((full.is_full(), decide(&full, &unseen), told.is_allowed()), (true, Ok(()), true));
}

#[test]
fn variables_are_filled_in_as_literals() {
    let policy = compiled(&format!(
        r#"{{"Effect":"Allow","Action":"cache:Read","Resource":["{ARN}:key/default/${{aws:PrincipalTag/tenant}}:*","{ARN}:key/default/${{aws:PrincipalTag/none}}z","{ARN}:key/default/${{aws:PrincipalTag/none, 'dflt'}}"]}}"#
    ));
    assert_eq!(decide(&policy, &on(b"a*:1", Actions::READ)), Ok(()));
    assert_eq!(decide(&policy, &on(b"ab:1", Actions::READ)), Err(Denied::Implicit));
    assert_eq!(decide(&policy, &on(b"z", Actions::READ)), Err(Denied::Implicit));
    assert_eq!(decide(&policy, &on(b"dflt", Actions::READ)), Ok(()));
    let old = Policy::parse(
        "p",
        &format!(
            r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"{ARN}:key/default/${{aws:username}}"}}}}"#
        ),
    )
    .unwrap();
    let old = Compiled::new(&[vec![Arc::new(old)]], &alice(), &cache());
    assert_eq!(decide(&old, &on(b"${aws:username}", Actions::READ)), Ok(()));
}

#[test]
fn a_tenant_over_tls_with_a_short_ttl_is_one_statement() {
    let policy = compiled(&format!(
        r#"{{"Effect":"Allow","Action":"cache:Write","Resource":"{ARN}:key/default/*","Condition":{{"Bool":{{"aws:SecureTransport":"true"}},"NumericLessThanEquals":{{"cache:TtlMs":3600000}}}}}}"#
    ));
    assert!(policy.uses_ttl());
    let with = |ttl_ms| Told { ttl_ms, ..on(b"k", Actions::WRITE) };
    assert_eq!(decide_from(&policy, &with(Some(3_600_000)), "127.0.0.1", true), Ok(()));
    assert!(decide_from(&policy, &with(Some(3_600_001)), "127.0.0.1", true).is_err());
    assert!(decide_from(&policy, &with(None), "127.0.0.1", true).is_err());
    assert!(decide_from(&policy, &with(Some(1)), "127.0.0.1", false).is_err());
}

/// One condition on an Allow: whether it lets the call through.
fn allows(condition: &str, call: &Told, ip: &str) -> bool {
    let policy = compiled(&format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#));
    decide_from(&policy, call, ip, false).is_ok()
}

#[test]
fn operators_compare_as_documented() {
    let call = Told { value_bytes: Some(10), ..on(b"k", Actions::READ) };
    for (condition, expected) in [
        (r#"{"StringEquals":{"aws:username":["bob","alice"]}}"#, true),
        (r#"{"StringEquals":{"aws:username":"al*"}}"#, false),
        (r#"{"StringLike":{"AWS:UserName":"al*"}}"#, true),
        (r#"{"StringNotLike":{"aws:username":["b*","a*"]}}"#, false),
        (r#"{"StringEqualsIgnoreCase":{"aws:username":"ALICE"}}"#, true),
        (r#"{"StringNotEquals":{"aws:PrincipalTag/none":"x"}}"#, true),
        (r#"{"StringEquals":{"aws:PrincipalTag/none":"x"}}"#, false),
        (r#"{"StringEqualsIfExists":{"aws:PrincipalTag/none":"x"}}"#, true),
        (r#"{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}"#, true),
        (r#"{"StringNotEquals":{"aws:username":"${aws:PrincipalTag/none}"}}"#, true),
        (r#"{"NumericLessThan":{"cache:ValueBytes":"10"}}"#, false),
        (r#"{"NumericLessThanEquals":{"cache:ValueBytes":["10","9"]}}"#, true),
        (r#"{"NumericNotEquals":{"cache:TtlMs":"1"}}"#, true),
        (r#"{"NumericEquals":{"cache:ValueBytes":10.0}}"#, true),
        (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.0/8"]}}"#, true),
        (r#"{"NotIpAddress":{"aws:SourceIp":"127.0.0.1"}}"#, false),
        (r#"{"Bool":{"aws:SecureTransport":"false"}}"#, true),
        (r#"{"Bool":{"aws:SecureTransport":true}}"#, false),
        (r#"{"Null":{"cache:TtlMs":"true"}}"#, true),
        (r#"{"Null":{"cache:TtlMs":"false"}}"#, false),
        (r#"{"Null":{"cache:Key":"false"}}"#, true),
        (r#"{"ForAllValues:StringLike":{"cache:Key":"k*"}}"#, true),
        (r#"{"ForAnyValue:StringNotEquals":{"cache:Key":"k"}}"#, false),
        (r#"{"StringEquals":{"cache:Command":"GET"},"Bool":{"aws:SecureTransport":"true"}}"#, false),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}"#, true),
        (r#"{"DateGreaterThan":{"aws:EpochTime":1800000000}}"#, false),
        (r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/al*"}}"#, true),
        (r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}"#, false),
        (r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::000000000000:user/alice"}}"#, false),
    ] {
        assert_eq!(allows(condition, &call, "127.0.0.1"), expected, "{condition}");
    }
}

#[test]
fn a_mapped_address_meets_a_v4_rule() {
    assert!(allows(r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, &on(b"k", Actions::READ), "::ffff:10.1.1.1"));
}

#[test]
fn every_layer_must_allow_and_any_may_deny() {
    let parse = |statement: &str| {
        Arc::new(Policy::parse("l", &format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#)).unwrap())
    };
    let all = parse(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    let keys = parse(&format!(r#"{{"Effect":"Allow","Action":"*","Resource":"{ARN}:key/default/t:*"}}"#));
    let narrowed = Compiled::new(&[vec![all.clone()], vec![keys.clone()]], &alice(), &cache());
    assert!(!narrowed.is_full());
    assert_eq!(decide(&narrowed, &on(b"t:1", Actions::READ)), Ok(()));
    assert!(decide(&narrowed, &on(b"u:1", Actions::READ)).is_err());
    let widened = Compiled::new(&[vec![keys], vec![all]], &alice(), &cache());
    assert!(decide(&widened, &on(b"u:1", Actions::READ)).is_err());
}

#[test]
fn not_action_and_not_resource_turn_round() {
    let policy = compiled(&format!(
        r#"[{{"Effect":"Allow","NotAction":"cache:Admin","Resource":"*"}},{{"Effect":"Deny","Action":"cache:Write","NotResource":"{ARN}:key/default/mine:*"}}]"#
    ));
    assert_eq!(decide(&policy, &on(b"x", Actions::READ)), Ok(()));
    assert!(matches!(decide(&policy, &on(b"x", Actions::WRITE)), Err(Denied::Explicit(_))));
    assert_eq!(decide(&policy, &on(b"mine:1", Actions::WRITE)), Ok(()));
    let admin = Told { keys: vec![], others: vec![Need::Cache(Actions::ADMIN)], ..on(b"", Actions::READ) };
    assert_eq!(decide(&policy, &admin), Err(Denied::Implicit));
}

#[test]
fn wrong_documents_are_refused_with_every_mistake() {
    let found = mistakes(
        r#"{"Version":"2013-01-01","Extra":1,"Statement":[
            {"Sid":"a b","Effect":"allow","Action":["cache:Raed","cache","c*:Read"],"NotAction":"*","Resource":[]},
            {"Effect":"Allow","Action":"cache:Read","Resource":"arn:aws:cache:*:*:key/d*/x","Principal":"*","Condition":{"StringIs":{"aws:username":"a"},"StringEquals":{"aws:nope":"a","cache:Key":"k"},"NumericEquals":{"cache:TtlMs":"1e3"},"IpAddress":{"aws:SourceIp":"10"}}}]}"#,
    );
    for part in [
        "Version",
        "Extra",
        "Sid",
        "Allow or Deny",
        "cache:Raed",
        "\"cache\"",
        "c*:Read",
        "exactly one of Action",
        "empty",
        "name the cache",
        "Principal",
        "StringIs",
        "aws:nope",
        "ForAllValues",
        "1e3",
        "\"10\"",
    ] {
        assert!(found.iter().any(|mistake| mistake.contains(part)), "{part} not in {found:#?}");
    }
}

#[test]
fn arns_that_could_never_match_are_refused() {
    for wrong in [
        "key/default/a b",
        "key/default/%2f",
        "key/default/%41",
        "key/default/é",
        "key/*",
        "k*",
        "key/${aws:username}/*",
        "key/d?/a*",
        "cache/a/b",
        "keys/a/b",
        "key//x",
    ] {
        let json = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"*","Resource":"{ARN}:{wrong}"}}}}"#
        );
        assert!(!mistakes(&json).is_empty(), "{wrong}");
    }
    for wrong in ["arn:aws:Cache:*:*:key/default/*", "arn:aws:cache:*:*:*", "arn:aws-cn:cache:*:*:cache/default"] {
        let json = format!(r#"{{"Statement":{{"Effect":"Deny","Action":"*","Resource":"{wrong}"}}}}"#);
        assert!(!mistakes(&json).is_empty(), "{wrong}");
    }
    let right = compiled(&format!(r#"{{"Effect":"Allow","Action":"*","Resource":"{ARN}:key/default/%20%25%FF"}}"#));
    assert_eq!(decide(&right, &on(b" %\xff", Actions::READ)), Ok(()));
}

#[test]
fn sizes_and_shapes_are_bounded() {
    assert!(mistakes(&" ".repeat(DOCUMENT_BYTES_MAX + 1))[0].contains("bytes"));
    let many =
        format!(r#"{{"Statement":{{"Effect":"Allow","Action":[{}"*"],"Resource":"*"}}}}"#, r#""*","#.repeat(5000));
    assert!(mistakes(&many).iter().any(|mistake| mistake.contains("more than")));
    assert!(
        mistakes(r#"{"Statement":{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}}"#)[0]
            .contains("twice")
    );
    assert!(mistakes("{\"a\":\"\u{2028}\"}")[0].contains("U+00FF"));
}

#[test]
fn an_explanation_names_statements_and_what_is_missing() {
    let policy = compiled(&format!(
        r#"{{"Sid":"Short","Effect":"Allow","Action":"cache:Write","Resource":"{ARN}:key/default/*","Condition":{{"NumericLessThan":{{"cache:TtlMs":5}}}}}}"#
    ));
    let source = Source::new([127, 0, 0, 1].into(), false, 1);
    let told = policy.explain(&on(b"a b", Actions::WRITE), Moment { source: &source, wall_ms: 0 });
    assert!(!told.is_allowed());
    assert_eq!(told.missing, ["cache:TtlMs"]);
    assert_eq!(told.needs[0].1, format!("{ARN}:key/default/a%20b"));
    let told =
        policy.explain(&Told { ttl_ms: Some(1), ..on(b"a", Actions::WRITE) }, Moment { source: &source, wall_ms: 0 });
    assert!(told.is_allowed() && told.needs[0].2.to_string().contains("Short"));
}

proptest! {
    #[test]
    fn reading_never_panics(text in "[\\[\\]{}\":,a-zA-Z0-9*$ ]{0,60}") {
        let _ = Policy::parse("p", &text);
    }

    #[test]
    fn the_mapping_into_arns_is_one_to_one(a in proptest::collection::vec(any::<u8>(), 0..6), b in proptest::collection::vec(any::<u8>(), 0..6)) {
        prop_assert_eq!(escape_key(&a) == escape_key(&b), a == b);
    }
}
