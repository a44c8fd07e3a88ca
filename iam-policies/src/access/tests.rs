//! The whole chain, over a configuration.

use super::*;
use crate::config::{
    RawAccess, RawAccessKey, RawCacheAccess, RawPolicy, RawPrincipal, RawSecurityGroup, RawToken, RawUser,
};
use crate::jwt::{self, MintKey};
use crate::sigv4::{SignedRequest, Signer, presign};

/// 2015-08-30T12:36:00Z
const NOW_MS: u64 = 1_440_938_160_000;
const TENANT: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["cache:Read","cache:Write"],"Resource":"arn:aws:cache:us-east-1:000000000000:key/default/${aws:PrincipalTag/tenant}:*"}}"#;

struct Few;
impl Commands for Few {
    fn bit(&self, name: &str) -> Option<u16> {
        ["get", "set"].iter().position(|each| name.eq_ignore_ascii_case(each)).map(|at| at as u16)
    }
    fn name(&self, bit: u16) -> Option<&'static str> {
        ["GET", "SET"].get(usize::from(bit)).copied()
    }
    fn categories(&self) -> &'static [&'static str] {
        &["read"]
    }
    fn category(&self, name: &str) -> Option<Box<[u16]>> {
        match name {
            "all" => Some([0, 1].into()),
            "read" => Some([0].into()),
            _ => None,
        }
    }
    fn subcommands(&self, _: &str) -> Box<[u16]> {
        [].into()
    }
}

#[derive(Debug)]
struct Get<'a>(&'a [u8], Actions);
impl Asks for Get<'_> {
    fn command(&self) -> &str {
        "GET"
    }
    fn command_bit(&self) -> u16 {
        u16::from(self.1.contains(Actions::WRITE))
    }
    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        each(Need::Key(self.0, self.1));
    }
    fn ttl_ms(&self) -> Option<u64> {
        None
    }
    fn value_bytes(&self) -> Option<u64> {
        None
    }
}

fn raw() -> RawAccess {
    let principal = |name: &str, policies: &[&str], key: &str| RawPrincipal {
        name: name.into(),
        policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        tags: [("Tenant".to_owned(), "a".to_owned())].into(),
        access_keys: vec![RawAccessKey { id: key.into(), secret: format!("{key}-secret") }],
        public_keys: vec![],
    };
    let token = |name: &str, who: &str, cache: Option<&str>, read_only| RawToken {
        name: name.into(),
        secret: Some(format!("{name}-token")),
        principal: who.into(),
        cache: cache.map(Into::into),
        read_only,
        ..Default::default()
    };
    RawAccess {
        account: "000000000000".into(),
        region: "us-east-1".into(),
        policy: vec![RawPolicy { name: "tenant".into(), document: Some(TENANT.into()), file: None }],
        principal: vec![principal("root", &[], "AKROOT"), principal("alice", &["tenant"], "AKALICE")],
        token: vec![
            token("admin", "root", None, false),
            token("alice", "alice", Some("default"), false),
            token("ro", "alice", Some("default"), true),
        ],
        user: vec![RawUser {
            name: "app".into(),
            passwords: vec!["pw".into()],
            access_string: "on ~a:* +@read".into(),
            iam: false,
            caches: vec!["default".into()],
        }],
        security_group: vec![RawSecurityGroup { id: "sg-none".into(), ingress: vec![] }],
        revoked_tokens: vec!["gone".into()],
        ..Default::default()
    }
}

fn caches() -> Vec<RawCacheAccess> {
    let cache = |name: &str, groups: &[&str]| RawCacheAccess {
        name: name.into(),
        engine: "valkey".into(),
        security_groups: groups.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    };
    vec![cache("default", &[]), cache("shut", &["sg-none"])]
}

fn access_of(raw: &RawAccess, caches: &[RawCacheAccess]) -> Access {
    let mut mistakes = Vec::new();
    raw.check(caches, &Few, &mut mistakes).unwrap_or_else(|| panic!("{mistakes:?}"))
}

fn access() -> Access {
    access_of(&raw(), &caches())
}

fn here() -> Source {
    Source::new([127, 0, 0, 1].into(), false, 8079)
}

fn enter(access: &Access, evidence: &Evidence<'_>) -> Result<Admitted, String> {
    let caller = access.authenticate(evidence, NOW_MS).map_err(|error| error.code.to_owned())?;
    access.admit(caller, here(), "default").map_err(|refusal| format!("{refusal:?}"))
}

fn may(access: &Access, evidence: &Evidence<'_>, key: &str, actions: Actions) -> Result<(), String> {
    let inside = enter(access, evidence)?;
    access
        .authorize(&inside, Get(key.as_bytes(), actions), NOW_MS)
        .map(drop)
        .map_err(|(_, denied)| format!("{denied:?}"))
}

#[test]
fn a_signed_request_is_its_keys_principal() {
    let access = access();
    let sign = |id: &'static str, secret: &str| {
        let signer = Signer { access_key_id: id, region: "us-east-1", service: SERVICE, timestamp: "20150830T123600Z" };
        presign("GET", "h", "/get/a:1", "", secret.as_bytes(), signer, 60).unwrap()
    };
    let go = |query: &str, key: &str| {
        let headers = [("host", &b"h"[..])];
        let request = SignedRequest { method: "GET", path: "/get/a:1", query, headers: &headers, body: b"" };
        may(&access, &Evidence::Signed(request), key, Actions::READ)
    };
    let good = sign("AKALICE", "AKALICE-secret");
    assert_eq!(go(&good, "a:1"), Ok(()));
    assert_eq!(go(&good, "b:1"), Err("Implicit".into()));
    assert_eq!(go(&sign("AKALICE", "other"), "a:1"), Err("SignatureDoesNotMatch".into()));
    assert_eq!(go(&sign("AKNOBODY", "other"), "a:1"), Err("InvalidClientTokenId".into()));
    assert_eq!(go(&sign("AKROOT", "AKROOT-secret"), "b:1"), Ok(()));
}

#[test]
fn static_tokens_are_bound_and_may_be_read_only() {
    let access = access();
    assert_eq!(may(&access, &Evidence::Bearer("alice-token"), "a:1", Actions::WRITE), Ok(()));
    assert_eq!(may(&access, &Evidence::Bearer("ro-token"), "a:1", Actions::READ), Ok(()));
    assert_eq!(may(&access, &Evidence::Bearer("ro-token"), "a:1", Actions::WRITE), Err("ReadOnly".into()));
    assert_eq!(may(&access, &Evidence::Bearer("nope"), "a:1", Actions::READ), Err("InvalidClientTokenId".into()));
    let caller = access.authenticate(&Evidence::Bearer("alice-token"), NOW_MS).unwrap();
    assert_eq!(caller.bound_cache(), Some("default"));
    let mut open = caches();
    open[1].security_groups.clear();
    let access = access_of(&raw(), &open);
    let caller = access.authenticate(&Evidence::Bearer("alice-token"), NOW_MS).unwrap();
    assert_eq!(access.admit(caller, here(), "shut").unwrap_err(), NotAdmitted::OtherCache);
}

#[test]
fn networks_are_asked_at_accept_and_per_cache() {
    let access = access();
    let far = [10, 0, 0, 1].into();
    assert!(access.admits_any(&["shut", "default"], [127, 0, 0, 1].into(), 1));
    assert!(!access.admits_any(&["shut", "default"], far, 1));
    assert!(!access.admits_any(&["shut", "none"], [127, 0, 0, 1].into(), 1));
    let caller = access.authenticate(&Evidence::Bearer("admin-token"), NOW_MS).unwrap();
    assert_eq!(access.admit(caller.clone(), Source::new(far, false, 1), "default").unwrap_err(), NotAdmitted::Network);
    assert_eq!(access.admit(caller.clone(), here(), "shut").unwrap_err(), NotAdmitted::Network);
    assert_eq!(access.admit(caller, here(), "none").unwrap_err(), NotAdmitted::UnknownCache);
}

#[test]
fn users_are_judged_by_their_access_string() {
    let access = access();
    let login = |user, password| Evidence::Password { cache: "default", user, password };
    let app = login(Some(&b"app"[..]), &b"pw"[..]);
    assert_eq!(may(&access, &app, "a:1", Actions::READ), Ok(()));
    assert_eq!(may(&access, &app, "b:1", Actions::READ), Err("Key".into()));
    assert_eq!(may(&access, &app, "a:1", Actions::WRITE), Err("Command".into()));
    assert!(enter(&access, &login(Some(b"app"), b"no")).is_err());
    assert!(enter(&access, &login(Some(b"nobody"), b"pw")).is_err());
    assert_eq!(may(&access, &login(None, b"alice-token"), "a:1", Actions::READ), Ok(()));
    assert_eq!(may(&access, &login(Some(b"alice"), b"alice-token"), "a:1", Actions::READ), Ok(()));
    assert!(enter(&access, &login(Some(b"bob"), b"alice-token")).is_err());
}

#[test]
fn nobody_gets_in_unless_the_cache_says_so() {
    assert_eq!(enter(&access(), &Evidence::Anonymous).unwrap_err(), "MissingAuthenticationToken");
    let mut open = caches();
    open[1].anonymous = true;
    let mut only_root = raw();
    only_root.principal.truncate(1);
    only_root.token.truncate(1);
    let access = access_of(&only_root, &open);
    assert_eq!(enter(&access, &Evidence::Anonymous).unwrap_err(), "Anonymous");
    open[0].anonymous = true;
    let access = access_of(&RawAccess { user: vec![], ..only_root }, &open);
    assert_eq!(may(&access, &Evidence::Anonymous, "any", Actions::WRITE), Ok(()));
}

#[test]
fn an_anonymous_cache_on_which_somebody_is_limited_is_refused() {
    let mut open = caches();
    open[0].anonymous = true;
    let mut mistakes = Vec::new();
    assert!(raw().check(&open, &Few, &mut mistakes).is_none());
    assert!(mistakes.iter().any(|(_, what)| what.contains("user/alice")), "{mistakes:?}");
}

fn minted(policy: &str, id: &str) -> String {
    let claims = jwt::Claims {
        issuer: "arn:aws:iam::000000000000:user/alice",
        audience: "arn:aws:cache:us-east-1:000000000000:cache/default",
        policy,
        issued_at_s: NOW_MS / 1000,
        expires_at_s: NOW_MS / 1000 + 60,
        id: Some(id),
    };
    jwt::mint("AKALICE", &MintKey::Secret(b"AKALICE-secret"), &claims).unwrap()
}

const ALL: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
const READ: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"cache:Read","Resource":"*"}}"#;

#[test]
fn a_policy_token_narrows_and_cannot_widen() {
    let access = access();
    let wide = minted(ALL, "1");
    assert_eq!(may(&access, &Evidence::Bearer(&wide), "a:1", Actions::WRITE), Ok(()));
    assert_eq!(may(&access, &Evidence::Bearer(&wide), "b:1", Actions::READ), Err("Implicit".into()));
    let read = minted(READ, "2");
    assert_eq!(may(&access, &Evidence::Bearer(&read), "a:1", Actions::READ), Ok(()));
    assert_eq!(may(&access, &Evidence::Bearer(&read), "a:1", Actions::WRITE), Err("Implicit".into()));
    let child = jwt::narrow(&read, ALL, NOW_MS / 1000, NOW_MS / 1000 + 30, None).unwrap();
    assert_eq!(may(&access, &Evidence::Bearer(&child), "a:1", Actions::WRITE), Err("Implicit".into()));
    assert_eq!(
        may(&access, &Evidence::Bearer(&minted(ALL, "gone")), "a:1", Actions::READ),
        Err("InvalidIdentityToken".into())
    );
    let inside = enter(&access, &Evidence::Bearer(&child)).unwrap();
    let late = access.authorize(&inside, Get(b"a:1", Actions::READ), NOW_MS + 30_000).unwrap_err().1;
    assert_eq!(late, Denied::Expired);
}

#[test]
fn the_default_user_needs_no_password_where_anybody_may_come() {
    let login = |user, password| Evidence::Password { cache: "default", user, password };
    let open = |raw: &RawAccess| {
        let mut caches = caches();
        caches[0].anonymous = true;
        access_of(raw, &caches)
    };
    let (account, region) = ("000000000000".into(), "us-east-1".into());
    let everybody = RawAccess { account, region, security_group: raw().security_group, ..Default::default() };
    let default = login(Some(&b"default"[..]), &b"anything"[..]);
    let inside = enter(&open(&everybody), &default).unwrap();
    assert_eq!(inside.caller().name(), "anonymous");
    assert!(enter(&open(&everybody), &login(None, b"anything")).is_err());
    assert!(enter(&open(&everybody), &login(Some(b"other"), b"anything")).is_err());
    // Not where nobody is anonymous, and not instead of a user of that name.
    assert!(enter(&access_of(&everybody, &caches()), &default).is_err());
    let user = RawUser {
        name: "default".into(),
        passwords: vec!["pw".into()],
        access_string: "on ~* &* +@all".into(),
        iam: false,
        caches: vec!["default".into()],
    };
    let named = RawAccess { user: vec![user], ..everybody };
    assert!(enter(&open(&named), &default).is_err());
    assert_eq!(enter(&open(&named), &login(None, b"pw")).unwrap().caller().name(), "default");
}

#[test]
fn a_new_snapshot_ends_what_is_gone_from_it() {
    let live = LiveAccess::new(access());
    let inside = enter(&live.load(), &Evidence::Bearer(&minted(ALL, "1"))).unwrap();
    let app =
        enter(&live.load(), &Evidence::Password { cache: "default", user: Some(b"app"), password: b"pw" }).unwrap();
    let epoch = live.epoch();
    let mut without = raw();
    without.principal.truncate(1);
    without.token.truncate(1);
    without.user.clear();
    live.publish(access_of(&without, &caches()));
    assert_ne!(live.epoch(), epoch);
    let access = live.load();
    assert!(access.authorize(&inside, Get(b"a:1", Actions::READ), NOW_MS).is_err());
    assert_eq!(access.admit(inside.caller().clone(), here(), "default").unwrap_err(), NotAdmitted::Revoked);
    assert_eq!(access.admit(app.caller().clone(), here(), "default").unwrap_err(), NotAdmitted::Revoked);
}

#[test]
fn a_connections_last_entry_is_for_its_caller_source_cache_and_snapshot_alone() {
    let live = LiveAccess::new(access());
    let signed = |access: &Access, id: &str| {
        let signer = Signer { access_key_id: id, region: "us-east-1", service: SERVICE, timestamp: "20150830T123600Z" };
        let query = presign("GET", "h", "/", "", format!("{id}-secret").as_bytes(), signer, 60).unwrap();
        let headers = [("host", &b"h"[..])];
        let request = SignedRequest { method: "GET", path: "/", query: &query, headers: &headers, body: b"" };
        access.authenticate(&Evidence::Signed(request), NOW_MS).unwrap()
    };
    let (last, epoch, access) = (LastEntry::default(), live.epoch(), live.load());
    let enter = |caller: &Caller, source: Source, cache: &str| -> Result<Admitted, NotAdmitted> {
        let (inside, grant) = access.enter(&last, epoch, caller.clone(), source, cache)?;
        assert_eq!((inside.cache(), inside.caller().name()), (cache, caller.name()));
        assert_eq!(grant.is_full(), caller.name() == "root");
        Ok(inside)
    };
    let (alice, root) = (signed(&access, "AKALICE"), signed(&access, "AKROOT"));
    let first = enter(&alice, here(), "default").unwrap();
    let again = enter(&signed(&access, "AKALICE"), here(), "default").unwrap();
    assert!(Arc::ptr_eq(&first.0, &again.0), "the same is not asked again");
    enter(&root, here(), "default").unwrap();
    enter(&alice, here(), "default").unwrap();
    let refused = enter(&alice, Source::new([192, 0, 2, 1].into(), false, 8079), "default");
    assert_eq!(refused.unwrap_err(), NotAdmitted::Network);
    assert_eq!(enter(&alice, here(), "shut").unwrap_err(), NotAdmitted::Network);
    enter(&alice, here(), "default").unwrap();
    let mut without = raw();
    without.principal.truncate(1);
    without.token.truncate(1);
    live.publish(access_of(&without, &caches()));
    let entered = live.load().enter(&last, live.epoch(), alice, here(), "default");
    assert_eq!(entered.unwrap_err(), NotAdmitted::Revoked);
}

#[test]
fn administrators_are_those_who_may_do_everything_everywhere() {
    let access = access();
    let who = |token| access.authenticate(&Evidence::Bearer(token), NOW_MS).unwrap();
    assert!(access.is_administrator(&who("admin-token")));
    assert!(!access.is_administrator(&who("alice-token")));
}

#[test]
fn an_explanation_follows_the_road() {
    let access = access();
    let told = access.explain("alice", "default", &Get(b"a:1", Actions::READ), &here(), NOW_MS).unwrap();
    assert!(told.is_allowed(), "{told:?}");
    assert!(
        !access
            .explain("arn:aws:iam::000000000000:user/alice", "default", &Get(b"b", Actions::READ), &here(), NOW_MS)
            .unwrap()
            .is_allowed()
    );
    assert!(matches!(
        access.explain("app", "default", &Get(b"b", Actions::READ), &here(), NOW_MS),
        Ok(Explained::AccessString(Err(Denied::Key)))
    ));
    assert!(matches!(
        access.explain("root", "shut", &Get(b"b", Actions::READ), &here(), NOW_MS),
        Ok(Explained::Network)
    ));
    assert!(access.explain("nobody", "default", &Get(b"b", Actions::READ), &here(), NOW_MS).is_err());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut wrong = raw();
    wrong.account = "12".into();
    wrong.policy[0].document = Some(r#"{"Statement":{"Effect":"Allow","Action":"cache:Nope","Resource":"*"}}"#.into());
    wrong.principal[1].policies.push("none".into());
    wrong.token[1].cache = None;
    wrong.token[2].secret = None;
    wrong.user[0].access_string = "on +nope".into();
    wrong.user[0].caches.push("none".into());
    let mut caches = caches();
    caches[1].security_groups.push("sg-x".into());
    caches[1].name = "a b".into();
    let mut mistakes = Vec::new();
    assert!(wrong.check(&caches, &Few, &mut mistakes).is_none());
    for path in [
        "account",
        "policy[0].document",
        "principal[1].policies",
        "token[1].cache",
        "token[2]",
        "user[0].access_string",
        "user[0].caches",
        "cache[1].security_groups",
        "cache[1].name",
    ] {
        assert!(mistakes.iter().any(|(at, _)| at == path), "{path} not in {mistakes:#?}");
    }
}

/// Names and texts of the users that ACL commands show.
fn shown(live: &LiveAccess, cache: &str) -> Vec<String> {
    let text = |acl: &crate::acl::AccessString| String::from_utf8(acl.describe(&Few)).unwrap();
    live.load().users_of(cache, &Few).into_iter().map(|(name, acl)| format!("{name} {}", text(&acl))).collect()
}

fn set(live: &LiveAccess, name: &str, rules: &str) -> Result<(), UserError> {
    live.set_user("default", name, rules.split(' ').map(str::as_bytes), &Few)
}

#[test]
fn a_user_that_is_made_logs_in_and_one_that_is_deleted_ends() {
    let live = LiveAccess::new(access());
    let login = |name| Evidence::Password { cache: "default", user: Some(name), password: b"s" };
    set(&live, "bob", "on >s ~b:* +get").unwrap();
    let bob = enter(&live.load(), &login(b"bob")).unwrap();
    assert_eq!(may(&live.load(), &login(b"bob"), "b:1", Actions::READ), Ok(()));
    assert_eq!(may(&live.load(), &login(b"bob"), "a:1", Actions::READ), Err("Key".into()));
    // Only here, and what he may do follows the newest rules.
    let elsewhere = Evidence::Password { cache: "shut", user: Some(b"bob"), password: b"s" };
    assert!(live.load().authenticate(&elsewhere, NOW_MS).is_err());
    let epoch = live.epoch();
    set(&live, "bob", "~a:*").unwrap();
    assert_ne!(live.epoch(), epoch);
    assert!(live.load().authorize(&bob, Get(b"a:1", Actions::READ), NOW_MS).is_ok());
    assert_eq!(set(&live, "bob", "~c (+get").unwrap_err(), UserError::Unmatched(b"(+get".to_vec()));
    assert!(matches!(set(&live, "bob", "~c nonsense"), Err(UserError::Rule(rule, _)) if rule == b"nonsense"));
    assert!(live.load().authorize(&bob, Get(b"c", Actions::READ), NOW_MS).is_err());
    assert_eq!(live.delete_users("default", ["nobody", "bob", "app"].into_iter()), Ok(2));
    assert_eq!(live.load().admit(bob.caller().clone(), here(), "default").unwrap_err(), NotAdmitted::Revoked);
    assert_eq!(shown(&live, "default"), ["default off sanitize-payload resetchannels -@all"]);
    assert_eq!(set(&live, "bob", "on").map(|()| live.load().users_of("none", &Few).len()), Ok(0));
    assert_eq!(live.set_user("none", "bob", [].into_iter(), &Few), Err(UserError::NoCache));
}

#[test]
fn a_user_of_several_caches_is_neither_shown_nor_changed() {
    let mut raw = raw();
    raw.user[0].caches.push("shut".into());
    let live = LiveAccess::new(access_of(&raw, &caches()));
    assert_eq!(shown(&live, "default").len(), 1);
    assert_eq!(set(&live, "app", "on").unwrap_err(), UserError::Shared);
    assert_eq!(live.delete_users("default", ["app"].into_iter()), Err(UserError::Shared));
}

#[test]
fn a_reload_brings_back_whom_it_names_and_keeps_whom_it_does_not() {
    let live = LiveAccess::new(access());
    set(&live, "bob", "on >s ~b:* +get").unwrap();
    set(&live, "app", "+@all").unwrap();
    live.delete_users("default", ["app"].into_iter()).unwrap();
    assert!(live.publish(access()).is_empty());
    let names = |live| shown(live, "default").iter().map(|user| user[..3].to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&live), ["app", "bob", "def"]);
    // Whoever administrates a running cache may limit somebody where nobody is limited; a configuration may not.
    let mut open = caches();
    open[0].anonymous = true;
    let (account, region) = ("000000000000".into(), "us-east-1".into());
    let everybody = RawAccess { account, region, security_group: raw().security_group, ..Default::default() };
    assert!(live.publish(access_of(&everybody, &open)).is_empty());
    assert_eq!(names(&live), ["bob", "def"]);
    // Without a password `default` cannot outlive a configuration that lets nobody in without one.
    set(&live, "default", "-get").unwrap();
    assert_eq!(live.publish(access()), [("default".to_owned(), "default".to_owned())]);
    assert!(enter(&live.load(), &Evidence::Anonymous).is_err());
}

#[test]
fn default_is_who_has_not_logged_in() {
    let mut open = caches();
    open[0].anonymous = true;
    let (account, region) = ("000000000000".into(), "us-east-1".into());
    let everybody = RawAccess { account, region, security_group: raw().security_group, ..Default::default() };
    let live = LiveAccess::new(access_of(&everybody, &open));
    let full = "default on nopass ~* &* +@all";
    assert_eq!(shown(&live, "default"), [full]);
    set(&live, "default", "on").unwrap();
    set(&live, "bob", "on >s ~b:* +get").unwrap();
    let bob = Evidence::Password { cache: "default", user: Some(b"bob"), password: b"s" };
    assert_eq!(may(&live.load(), &bob, "b:1", Actions::READ), Ok(()));
    assert!(may(&live.load(), &bob, "a:1", Actions::READ).is_err());
    set(&live, "default", "resetkeys ~d:*").unwrap();
    let named = Evidence::Password { cache: "default", user: Some(b"default"), password: b"any" };
    for nobody in [&Evidence::Anonymous, &named] {
        assert_eq!(may(&live.load(), nobody, "d:1", Actions::READ), Ok(()));
        assert!(may(&live.load(), nobody, "b:1", Actions::READ).is_err());
    }
    assert!(enter(&live.load(), &Evidence::Password { cache: "default", user: None, password: b"any" }).is_err());
    set(&live, "default", "allkeys >s").unwrap();
    assert!(enter(&live.load(), &Evidence::Anonymous).is_err());
    let login = Evidence::Password { cache: "default", user: None, password: b"s" };
    assert_eq!(enter(&live.load(), &login).unwrap().caller().name(), "default");
    // It stays as it was made, whatever the file says.
    assert!(live.publish(access_of(&everybody, &open)).is_empty());
    assert!(enter(&live.load(), &Evidence::Anonymous).is_err());
    live.delete_users("default", ["bob"].into_iter()).unwrap();
    set(&live, "default", "nopass").unwrap();
    assert_eq!(shown(&live, "default"), [full]);
    assert!(enter(&live.load(), &Evidence::Anonymous).is_ok());
    // Where the configuration lets nobody in without a login, neither does a user.
    let guarded = LiveAccess::new(access());
    assert_eq!(set(&guarded, "default", "on nopass ~* &* +@all").unwrap_err(), UserError::Default);
    set(&guarded, "default", "on >s ~* +@all").unwrap();
    assert_eq!(enter(&guarded.load(), &login).unwrap().caller().name(), "default");
    let token = Evidence::Password { cache: "default", user: None, password: b"alice-token" };
    assert_eq!(enter(&guarded.load(), &token).unwrap().caller().name(), "alice");
}
