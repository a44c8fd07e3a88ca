//! Signed-policy tokens: JWTs that carry an IAM policy, minted offline and narrowed by their holders (contract section 6).
//!
//! The header names the key (`kid`) and the algorithm, which must be the one of that key's kind: HS256 for an access key,
//! by a key derived from its secret, or EdDSA for a registered public key. Nothing in a header is ever fetched or followed.
//!
//! **Narrowing.** A holder makes a narrower token without asking anybody: its claim `parent` is the parent without its
//! signature, and it is signed by a key derived from the parent's signature. The verifier, who has the root's secret,
//! computes the signatures from the root on; whoever gets the narrower token never learns the parent's signature, so it
//! cannot be widened again (the construction of macaroons). An EdDSA signature cannot be recomputed, so such tokens
//! cannot be narrowed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use subtle::ConstantTimeEq;

use crate::access::AuthnError;
use crate::json::Tree;
use crate::policy::Policy;
use crate::sigv4::hmac;

/// How many bytes a token may have.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How many parents a token may have.
pub const PARENTS_MAX: usize = 4;
/// The longest life of a token, in seconds.
pub const LIFETIME_S_MAX: u64 = 12 * 3600;
/// How far a token's `iat` may lie ahead, in seconds.
const SKEW_S: u64 = 60;
const KEY_LABEL: &[u8] = b"larder-policy-token-v1";
const NARROW_LABEL: &[u8] = b"larder-policy-token-v1/narrowed";
const HS256: &str = "HS256";
const EDDSA: &str = "EdDSA";

/// The key that a root token is checked with.
#[derive(Clone)]
pub enum IssuerKey {
    /// Derived from an access key's secret.
    Secret([u8; 32]),
    /// A registered Ed25519 public key.
    Public(Arc<DecodingKey>),
}

impl IssuerKey {
    /// The key of an access key's secret.
    pub fn of_secret(secret: &[u8]) -> Self {
        Self::Secret(hmac(secret, &[KEY_LABEL]))
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// It is no Ed25519 public key.
    pub fn of_public_pem(pem: &[u8]) -> Result<Self, String> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| "is no Ed25519 public key in PEM".to_owned())?;
        Ok(Self::Public(Arc::new(key)))
    }
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Secret(_)) { "Secret(..)" } else { "Public(..)" })
    }
}

/// Who mints.
pub enum MintKey<'a> {
    /// With the secret of an access key.
    Secret(&'a [u8]),
    /// With an Ed25519 private key in PEM.
    PrivatePem(&'a [u8]),
}

/// What a minted token says.
#[derive(Debug, Clone)]
pub struct Claims<'a> {
    /// The ARN of the key's principal.
    pub issuer: &'a str,
    /// The ARN of the cache: `arn:aws:cache:REGION:ACCOUNT:cache/NAME`.
    pub audience: &'a str,
    /// The policy document, JSON.
    pub policy: &'a str,
    /// When it is minted, in seconds since 1970.
    pub issued_at_s: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at_s: u64,
    /// By what it can be revoked.
    pub id: Option<&'a str>,
}

/// Mints a root token, offline.
///
/// # Errors
/// What is wrong with the claims or the key.
pub fn mint(key_id: &str, key: &MintKey<'_>, claims: &Claims<'_>) -> Result<String, String> {
    let alg = if matches!(key, MintKey::Secret(_)) { HS256 } else { EDDSA };
    let message = message(alg, key_id, claims, None)?;
    let signature = match key {
        MintKey::Secret(secret) => seal(&hmac(secret, &[KEY_LABEL]), &message)?,
        MintKey::PrivatePem(pem) => {
            let key = EncodingKey::from_ed_pem(pem).map_err(|_| "the key is no Ed25519 private key in PEM")?;
            crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).map_err(|error| error.to_string())?
        }
    };
    bounded(format!("{message}.{signature}"))
}

/// Makes a narrower token of one that is held. Issuer and audience are the parent's; `expires_at_s` not past its.
///
/// # Errors
/// What is wrong with the parent, the policy or the lifetime.
pub fn narrow(parent: &str, policy: &str, now_s: u64, expires_at_s: u64, id: Option<&str>) -> Result<String, String> {
    let token = Token::read(parent).map_err(|error| error.message)?;
    if token.alg != HS256 {
        return Err("a token signed with EdDSA cannot be narrowed: mint it with an access key".to_owned());
    }
    if token.levels.len() > PARENTS_MAX {
        return Err(format!("a token has {PARENTS_MAX} parents at most"));
    }
    let held = &token.levels[0];
    let claims = Claims {
        issuer: &held.issuer,
        audience: &held.audience,
        policy,
        issued_at_s: now_s.max(held.issued_at_s),
        expires_at_s: expires_at_s.min(held.expires_at_s),
        id,
    };
    let (message_of_parent, signature) = parent.rsplit_once('.').ok_or("the parent is no token")?;
    let message = message(HS256, &token.key_id, &claims, Some(message_of_parent))?;
    let sealed = seal(&hmac(signature.as_bytes(), &[NARROW_LABEL]), &message)?;
    bounded(format!("{message}.{sealed}"))
}

fn bounded(token: String) -> Result<String, String> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(format!("the token has {} bytes; {TOKEN_BYTES_MAX} at most: shorten its policy", token.len()));
    }
    Ok(token)
}

fn message(alg: &str, key_id: &str, claims: &Claims<'_>, parent: Option<&str>) -> Result<String, String> {
    Policy::parse("token", claims.policy).map_err(|mistakes| mistakes.join("; "))?;
    if claims.expires_at_s <= claims.issued_at_s || claims.expires_at_s - claims.issued_at_s > LIFETIME_S_MAX {
        return Err(format!("a token lives more than 0 and at most {LIFETIME_S_MAX} seconds"));
    }
    let policy: serde_json::Value = serde_json::from_str(claims.policy).map_err(|error| error.to_string())?;
    let mut payload = serde_json::json!({
        "iss": claims.issuer, "aud": claims.audience, "iat": claims.issued_at_s, "exp": claims.expires_at_s, "policy": policy,
    });
    if let Some(id) = claims.id {
        payload["jti"] = id.into();
    }
    if let Some(parent) = parent {
        payload["parent"] = parent.into();
    }
    let header = serde_json::json!({ "alg": alg, "typ": "JWT", "kid": key_id });
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string())))
}

fn seal(key: &[u8], message: &str) -> Result<String, String> {
    crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256)
        .map_err(|error| error.to_string())
}

/// A token that was read and not yet believed.
#[derive(Debug)]
pub struct Token {
    /// The key the root names.
    pub key_id: String,
    alg: String,
    /// The token itself first, the root last.
    levels: Vec<Level>,
    signature: String,
}

#[derive(Debug)]
struct Level {
    message: String,
    issuer: String,
    audience: String,
    issued_at_s: u64,
    expires_at_s: u64,
    id: Option<String>,
    policy: Arc<Policy>,
}

/// A token that was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The ARN of the issuer.
    pub issuer: String,
    /// The ARN of the cache.
    pub audience: String,
    /// When it ends, in ms since 1970.
    pub expires_at_ms: u64,
    /// Its policy and those of its parents: all of them must allow.
    pub policies: Vec<Arc<Policy>>,
    /// The ids by which it or a parent can be revoked.
    pub ids: Vec<String>,
}

fn bad(message: impl Into<String>) -> AuthnError {
    AuthnError::refused("InvalidIdentityToken", message)
}

/// Whether a bearer credential looks like a JWT rather than a static token.
pub fn is_jwt(bearer: &str) -> bool {
    bearer.starts_with("eyJ") && bearer.matches('.').count() == 2
}

impl Token {
    /// Reads a token and its parents, believing nothing.
    ///
    /// # Errors
    /// [`AuthnError`] naming what is wrong.
    pub fn read(text: &str) -> Result<Self, AuthnError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(bad(format!("the token has more than {TOKEN_BYTES_MAX} bytes")));
        }
        let (message, signature) = text.rsplit_once('.').ok_or_else(|| bad("the token is no JWT"))?;
        let mut levels: Vec<Level> = Vec::new();
        let mut next = Some(message.to_owned());
        let (mut key_id, mut alg) = (String::new(), String::new());
        while let Some(message) = next.take() {
            if levels.len() > PARENTS_MAX {
                return Err(bad(format!("a token has {PARENTS_MAX} parents at most")));
            }
            let (header, payload) = message.split_once('.').ok_or_else(|| bad("the token is no JWT"))?;
            let named = header_of(header)?;
            if !levels.is_empty() && (named.0 != key_id || named.1 != alg || alg != HS256) {
                return Err(bad("a narrowed token has the algorithm and key id of its parent, and HS256"));
            }
            (key_id, alg) = named;
            let (level, parent) = Level::read(&message, payload)?;
            levels.push(level);
            next = parent;
        }
        Ok(Self { key_id, alg, levels, signature: signature.to_owned() })
    }

    /// Checks signatures, lifetimes and that each level stays within its parent.
    ///
    /// # Errors
    /// [`AuthnError`] naming what does not hold.
    pub fn verify(&self, key: &IssuerKey, now_s: u64) -> Result<Verified, AuthnError> {
        self.check_signature(key)?;
        let root = self.levels.last().ok_or_else(|| bad("the token is empty"))?;
        for (at, level) in self.levels.iter().enumerate() {
            let above = self.levels.get(at + 1).unwrap_or(level);
            if level.issuer != root.issuer || level.audience != root.audience {
                return Err(bad("a narrowed token has another issuer or audience than its parent"));
            }
            if level.expires_at_s > above.expires_at_s || level.issued_at_s < above.issued_at_s {
                return Err(bad("a narrowed token lives longer than its parent"));
            }
            if level.expires_at_s.saturating_sub(level.issued_at_s) > LIFETIME_S_MAX {
                return Err(bad(format!("a token lives {LIFETIME_S_MAX} seconds at most")));
            }
            if level.issued_at_s > now_s + SKEW_S {
                return Err(bad("the token is not valid yet: check the clock"));
            }
            if level.expires_at_s <= now_s {
                return Err(AuthnError::refused("ExpiredTokenException", "the token has expired"));
            }
        }
        Ok(Verified {
            issuer: root.issuer.clone(),
            audience: root.audience.clone(),
            expires_at_ms: self.levels[0].expires_at_s.saturating_mul(1000),
            policies: self.levels.iter().map(|level| level.policy.clone()).collect(),
            ids: self.levels.iter().filter_map(|level| level.id.clone()).collect(),
        })
    }

    /// What each level says, the token itself first: for people, without any signature.
    pub fn describe(&self) -> Vec<String> {
        let payload = |level: &Level| {
            let payload = level.message.split_once('.').map(|(_, payload)| payload).unwrap_or_default();
            let mut tree: serde_json::Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap_or_default()).unwrap_or_default();
            if tree.get("parent").is_some() {
                tree["parent"] = "(see below)".into();
            }
            serde_json::to_string_pretty(&tree).unwrap_or_default()
        };
        self.levels.iter().map(payload).collect()
    }

    fn check_signature(&self, key: &IssuerKey) -> Result<(), AuthnError> {
        let wrong = || bad("the signature of the token is wrong");
        let root = self.levels.last().ok_or_else(wrong)?;
        match key {
            IssuerKey::Public(key) if self.alg == EDDSA && self.levels.len() == 1 => {
                let fits = crypto::verify(&self.signature, root.message.as_bytes(), key, Algorithm::EdDSA);
                if fits.unwrap_or(false) { Ok(()) } else { Err(wrong()) }
            }
            IssuerKey::Secret(key) if self.alg == HS256 => {
                let mut signature = seal(key, &root.message).map_err(|_| wrong())?;
                for level in self.levels.iter().rev().skip(1) {
                    let key = hmac(signature.as_bytes(), &[NARROW_LABEL]);
                    signature = seal(&key, &level.message).map_err(|_| wrong())?;
                }
                let fits = signature.as_bytes().ct_eq(self.signature.as_bytes());
                if bool::from(fits) { Ok(()) } else { Err(wrong()) }
            }
            _ => Err(bad("the token's algorithm is not the one of its key")),
        }
    }
}

fn decoded(part: &str, what: &str) -> Result<Tree, AuthnError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| bad(format!("the {what} of the token is not base64url")))?;
    Tree::parse(&bytes).map_err(|why| bad(format!("the {what} of the token is no JSON: {why}")))
}

/// The key id and algorithm of a header, which may hold nothing else that matters.
fn header_of(part: &str) -> Result<(String, String), AuthnError> {
    let tree = decoded(part, "header")?;
    let Tree::Object(members) = &tree else { return Err(bad("the header of the token is no object")) };
    if let Some((name, _)) = members.iter().find(|(name, _)| !matches!(name.as_str(), "alg" | "kid" | "typ")) {
        return Err(bad(format!("the header of the token holds {name:?}: only alg, kid and typ are taken")));
    }
    if tree.get("typ").is_some_and(|typ| typ.as_text() != Some("JWT")) {
        return Err(bad("the typ of the token must be JWT"));
    }
    let alg = tree.get("alg").and_then(Tree::as_text).unwrap_or_default();
    if alg != HS256 && alg != EDDSA {
        return Err(bad(
            "the algorithm of the token must be HS256 or EdDSA (a signed-policy token); OIDC tokens are not built yet",
        ));
    }
    let kid = tree.get("kid").and_then(Tree::as_text).filter(|kid| !kid.is_empty() && kid.len() <= 128);
    Ok((kid.ok_or_else(|| bad("the token names no key: kid"))?.to_owned(), alg.to_owned()))
}

impl Level {
    fn read(message: &str, payload: &str) -> Result<(Self, Option<String>), AuthnError> {
        let tree = decoded(payload, "payload")?;
        let Tree::Object(members) = &tree else { return Err(bad("the payload of the token is no object")) };
        const KNOWN: [&str; 7] = ["iss", "aud", "iat", "exp", "jti", "policy", "parent"];
        if let Some((name, _)) = members.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
            return Err(bad(format!("the claim {name:?} is not one of {}", KNOWN.join(", "))));
        }
        let text = |name: &str| match tree.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_text().map(|text| Some(text.to_owned())).ok_or_else(|| bad(format!("{name} is no string")))
            }
        };
        let need = |name: &str| text(name)?.ok_or_else(|| bad(format!("the claim {name} is missing")));
        let seconds = |name: &str| match tree.get(name) {
            Some(Tree::Number(digits)) => {
                digits.parse::<u64>().map_err(|_| bad(format!("{name} must be whole seconds")))
            }
            _ => Err(bad(format!("the claim {name} is missing or no number"))),
        };
        let policy = tree.get("policy").ok_or_else(|| bad("the claim policy is missing"))?;
        let policy = Policy::of_tree("token", policy)
            .map_err(|mistakes| bad(format!("the policy of the token: {}", mistakes.join("; "))))?;
        let level = Self {
            message: message.to_owned(),
            issuer: need("iss")?,
            audience: need("aud")?,
            issued_at_s: seconds("iat")?,
            expires_at_s: seconds("exp")?,
            id: text("jti")?,
            policy: Arc::new(policy),
        };
        Ok((level, text("parent")?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_700_000_000;
    const AUD: &str = "arn:aws:cache:us-east-1:000000000000:cache/default";
    const ALL: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    /// An Ed25519 pair made for this test with openssl.
    const PRIVATE: &[u8] = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIIVX75hDF54zKH0W+sgGc69qQIC6zg40C940Pxt16vmy\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &[u8] = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFgJX0sOypi3BWoeRCBbUb5kU/WOnVKrnKW/nAXYSAPo=\n-----END PUBLIC KEY-----\n";

    fn claims() -> Claims<'static> {
        Claims {
            issuer: "arn:aws:iam::000000000000:user/alice",
            audience: AUD,
            policy: ALL,
            issued_at_s: NOW,
            expires_at_s: NOW + 3600,
            id: Some("one"),
        }
    }

    fn minted() -> String {
        mint("AKIA1", &MintKey::Secret(b"secret"), &claims()).unwrap()
    }

    fn check(token: &str, now_s: u64) -> Result<Verified, AuthnError> {
        Token::read(token)?.verify(&IssuerKey::of_secret(b"secret"), now_s)
    }

    #[test]
    fn a_minted_token_verifies_until_it_ends() {
        let verified = check(&minted(), NOW + 3599).unwrap();
        assert_eq!((verified.audience.as_str(), verified.ids.as_slice()), (AUD, &["one".to_owned()][..]));
        assert_eq!(check(&minted(), NOW + 3600).unwrap_err().code, "ExpiredTokenException");
        assert!(check(&minted(), NOW - 61).is_err());
        assert!(Token::read(&minted()).unwrap().verify(&IssuerKey::of_secret(b"other"), NOW).is_err());
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = minted();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(check(&text, NOW).is_err(), "{at}");
        }
    }

    #[test]
    fn eddsa_tokens_verify_with_the_public_key_only() {
        let token = mint("k1", &MintKey::PrivatePem(PRIVATE), &claims()).unwrap();
        let public = IssuerKey::of_public_pem(PUBLIC).unwrap();
        assert!(Token::read(&token).unwrap().verify(&public, NOW).is_ok());
        assert!(Token::read(&minted()).unwrap().verify(&public, NOW).is_err());
        assert!(check(&token, NOW).is_err());
        assert!(narrow(&token, ALL, NOW, NOW + 1, None).unwrap_err().contains("EdDSA"));
        assert!(IssuerKey::of_public_pem(b"x").is_err());
    }

    #[test]
    fn a_narrowed_token_carries_both_policies_and_never_outlives_its_parent() {
        let child = narrow(&minted(), ALL, NOW + 10, NOW + 99_999, Some("two")).unwrap();
        let grandchild = narrow(&child, ALL, NOW + 20, NOW + 100, None).unwrap();
        let verified = check(&grandchild, NOW + 50).unwrap();
        assert_eq!(verified.policies.len(), 3);
        assert_eq!(verified.ids, ["two", "one"]);
        assert_eq!(verified.expires_at_ms, (NOW + 100) * 1000);
        assert_eq!(check(&child, NOW + 50).unwrap().expires_at_ms, (NOW + 3600) * 1000);
        // What is inside the child is the parent without its signature: it is no token.
        let parent_message = minted().rsplit_once('.').unwrap().0.to_owned();
        let (_, signature) = child.rsplit_once('.').unwrap();
        assert!(check(&format!("{parent_message}.{signature}"), NOW + 50).is_err());
        let mut deepest = child;
        for _ in 1..PARENTS_MAX {
            deepest = narrow(&deepest, ALL, NOW + 10, NOW + 99, None).unwrap();
        }
        assert!(check(&deepest, NOW + 50).is_ok());
        assert!(narrow(&deepest, ALL, NOW + 10, NOW + 99, None).is_err());
    }

    #[test]
    fn a_token_lives_twelve_hours_at_most_and_is_bounded() {
        let long = |lifetime| Claims { expires_at_s: NOW + lifetime, ..claims() };
        assert!(mint("k", &MintKey::Secret(b"s"), &long(LIFETIME_S_MAX)).is_ok());
        assert!(mint("k", &MintKey::Secret(b"s"), &long(LIFETIME_S_MAX + 1)).is_err());
        assert!(mint("k", &MintKey::Secret(b"s"), &Claims { policy: "{}", ..claims() }).is_err());
        let big = format!(
            r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":["*"{}]}}}}"#,
            r#","arn:aws:cache:us-east-1:000000000000:key/default/aaaaaaaaaaaaaaaaaaaaaaaaaaaa""#.repeat(100)
        );
        assert!(mint("k", &MintKey::Secret(b"s"), &Claims { policy: &big, ..claims() }).unwrap_err().contains("bytes"));
        assert!(Token::read(&"a".repeat(TOKEN_BYTES_MAX + 1)).is_err());
    }

    /// A token of hand-written header and payload, rightly signed.
    fn forged(header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = seal(&hmac(b"secret", &[KEY_LABEL]), &message).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn headers_and_claims_are_held_to_the_letter() {
        let payload = format!(r#"{{"iss":"i","aud":"a","iat":{NOW},"exp":{},"policy":{ALL}}}"#, NOW + 9);
        let good = r#"{"alg":"HS256","kid":"AKIA1","typ":"JWT"}"#;
        assert!(check(&forged(good, &payload), NOW).is_ok());
        for header in [
            r#"{"alg":"none","kid":"AKIA1"}"#,
            r#"{"alg":"hs256","kid":"AKIA1"}"#,
            r#"{"alg":"RS256","kid":"AKIA1"}"#,
            r#"{"alg":"EdDSA","kid":"AKIA1"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"AKIA1","jku":"http://x"}"#,
            r#"{"alg":"HS256","kid":"AKIA1","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","kid":"a","kid":"AKIA1"}"#,
            r#"{"alg":"HS256","kid":"AKIA1","typ":"at+jwt"}"#,
            r#"["HS256"]"#,
        ] {
            assert!(check(&forged(header, &payload), NOW).is_err(), "{header}");
        }
        for (from, to) in [
            ("\"iat\":", "\"iat\":-"),
            ("\"exp\":1", "\"exp\":\"1"),
            ("\"exp\":", "\"nbf\":1,\"exp\":"),
            ("\"iss\":\"i\",", ""),
            ("\"aud\":\"a\"", "\"aud\":[\"a\"]"),
            ("\"iss\":\"i\"", "\"iss\":\"i\",\"iss\":\"j\""),
            ("\"policy\":", "\"Policy\":"),
            ("\"Allow\"", "\"allow\""),
        ] {
            assert!(payload.contains(from), "{from}");
            assert!(check(&forged(good, &payload.replace(from, to)), NOW).is_err(), "{to}");
        }
        assert!(is_jwt(&minted()) && !is_jwt("larder-dev-token"));
    }

    #[test]
    fn a_description_shows_claims_and_no_signature() {
        let child = narrow(&minted(), ALL, NOW, NOW + 9, None).unwrap();
        let told = Token::read(&child).unwrap().describe();
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("(see below)") && told[1].contains("user/alice"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[eyJA-Za-z0-9._-]{0,60}") {
            let _ = check(&text, NOW);
        }
    }
}
