//! From evidence to a caller.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::chain::{Known, Proof};
use super::{Access, AuthnError, Caller, Evidence, Key, SERVICE};
use crate::acl::AccessString;
use crate::jwt::{Token, Verified, is_jwt};
use crate::sigv4::{self, Claim, LastKey, Rules, SignedRequest, connect_token_request};

/// How long a login by an IAM token lasts (ElastiCache guide, "Authenticating with IAM").
const CONNECTED_MS_MAX: u64 = 12 * 3_600_000;
/// How long after its signing an IAM token may be shown, in seconds.
const CONNECT_EXPIRES_S_MAX: u64 = 900;

/// What an IAM token asks for, besides its signature.
struct ConnectQuery<'a> {
    user: Cow<'a, str>,
    serverless: bool,
}

impl<'a> ConnectQuery<'a> {
    /// `None` when it asks for anything else, or for too long.
    fn read(query: &'a str) -> Option<Self> {
        let (mut action, mut user, mut kind, mut expires) = (None, None, None, None);
        for (name, value) in sigv4::query_pairs(query) {
            let place = match name {
                "Action" => &mut action,
                "User" => &mut user,
                "ResourceType" => &mut kind,
                "X-Amz-Expires" => &mut expires,
                name if name.starts_with("X-Amz-") => continue,
                _ => return None,
            };
            let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
            if place.replace(value).is_some() {
                return None;
            }
        }
        let serverless = match kind.as_deref() {
            None => false,
            Some("ServerlessCache") => true,
            Some(_) => return None,
        };
        let in_time = expires?.parse::<u64>().is_ok_and(|seconds| seconds <= CONNECT_EXPIRES_S_MAX);
        (action? == "connect" && in_time).then_some(Self { user: user?, serverless })
    }
}

/// Stands in for the secret of an unknown access key, so that the answer takes as long and is the same.
const NO_SECRET: &[u8] = b"no secret has this key";

impl Access {
    /// Who is calling.
    ///
    /// # Errors
    /// [`AuthnError`] when the evidence is malformed, wrong, expired or missing.
    pub fn authenticate(&self, evidence: &Evidence<'_>, wall_ms: u64) -> Result<Caller, AuthnError> {
        match evidence {
            Evidence::Anonymous => self.anonymous(),
            Evidence::Signed(request) => self.signed(request, wall_ms),
            Evidence::Bearer(token) => self.bearer(token, wall_ms),
            Evidence::Password { cache, user, password } => self.password(cache, *user, password, wall_ms),
        }
    }

    fn anonymous(&self) -> Result<Caller, AuthnError> {
        if !self.caches.values().any(|cache| cache.anonymous) {
            return Err(AuthnError::refused("MissingAuthenticationToken", "a credential is needed: send one"));
        }
        let arn = format!("arn:aws:iam::{}:anonymous", self.account);
        Ok(caller("anonymous".into(), arn, Proof::Anonymous, "anonymous".into(), None, false, None))
    }

    fn signed(&self, request: &SignedRequest<'_>, wall_ms: u64) -> Result<Caller, AuthnError> {
        let claim = Claim::read(request)?;
        if claim.session_token.is_some() {
            return Err(AuthnError::refused(
                "InvalidClientTokenId",
                "session tokens belong to temporary credentials, which are not built yet: sign with a long-term key",
            ));
        }
        let found = self.keys.get_key_value(&*claim.access_key_id);
        let known = found.and_then(|(_, key)| Some((key.secret.as_deref()?, &key.signing)));
        let (secret, last) = known.unwrap_or((NO_SECRET, &self.unknown_signing));
        let derived = match rules_fit(&claim, &self.region) {
            true => last.get(secret, &claim.date, &self.region, SERVICE),
            false => LastKey::default().get(NO_SECRET, "", "", ""),
        };
        let checked = sigv4::verify(request, &claim, &derived.key, &Rules::strict(&self.region, SERVICE), wall_ms);
        match (found, known) {
            (Some((id, key)), Some(_)) => checked.map(|()| self.of_key(id, key)),
            _ => Err(match checked {
                Err(error) if error.code != "SignatureDoesNotMatch" || !rules_fit(&claim, &self.region) => error,
                _ => AuthnError::refused("InvalidClientTokenId", "the access key id is not known"),
            }),
        }
    }

    fn of_key(&self, id: &Arc<str>, key: &Key) -> Caller {
        let made = || {
            let principal = &key.principal;
            let tag = format!("principal {principal}").into();
            caller(principal.clone(), self.arn(principal), Proof::Key(id.clone()), tag, None, false, None)
        };
        key.caller.get_or_init(made).clone()
    }

    fn arn(&self, principal: &str) -> String {
        self.principals.get(principal).map(|identity| identity.facts.arn.clone()).unwrap_or_default()
    }

    fn bearer(&self, token: &str, wall_ms: u64) -> Result<Caller, AuthnError> {
        if is_jwt(token) {
            return self.policy_token(token, wall_ms);
        }
        self.static_token(token.as_bytes(), None)
            .ok_or_else(|| AuthnError::refused("InvalidClientTokenId", "invalid or missing auth token"))
    }

    /// The holder of a static token; `principal` if one has to be named. The lookup is by hash, so its time tells nothing.
    fn static_token(&self, token: &[u8], principal: Option<&str>) -> Option<Caller> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let found = self.tokens.get(&hash)?;
        if principal.is_some_and(|named| named != &*found.principal) {
            return None;
        }
        let name = found.principal.clone();
        let mode = if found.read_only { "read-only " } else { "" };
        let tag = format!("{mode}principal {name}").into();
        Some(caller(name.clone(), self.arn(&name), Proof::Token(hash), tag, found.cache.clone(), found.read_only, None))
    }

    fn policy_token(&self, text: &str, wall_ms: u64) -> Result<Caller, AuthnError> {
        let token = Token::read(text)?;
        let wrong = |why: &str| AuthnError::refused("InvalidIdentityToken", why);
        let (id, key) = self.keys.get_key_value(&*token.key_id).ok_or_else(|| wrong("the token's key is not known"))?;
        let Verified { issuer, audience, expires_at_ms, policies, ids } = token.verify(&key.issuer, wall_ms / 1000)?;
        if issuer != self.arn(&key.principal) {
            return Err(wrong("the issuer of the token is not the principal of its key"));
        }
        if ids.iter().any(|id| self.revoked.contains(id)) {
            return Err(wrong("the token has been revoked"));
        }
        let cache = self
            .caches
            .iter()
            .find(|(_, cache)| cache.facts.arn() == audience)
            .map(|(name, _)| name.clone())
            .ok_or_else(|| wrong("the audience of the token is no cache of this account and region"))?;
        let digest = sigv4::hex(&Sha256::digest(text.as_bytes()));
        let proof = Proof::PolicyToken { key: id.clone(), ids, policies };
        let tag = format!("token {digest}").into();
        Ok(caller(key.principal.clone(), issuer, proof, tag, Some(cache), false, Some(expires_at_ms)))
    }

    /// RESP logins. Without a user name it is the user `default`, or a token. `default` by name and with any password is
    /// nobody in particular, unless it is a user of ours: redis' user of that name has no password as long as anonymous
    /// callers are let in, and admission asks whether they are.
    fn password(&self, cache: &str, user: Option<&[u8]>, password: &[u8], wall_ms: u64) -> Result<Caller, AuthnError> {
        let wrong =
            || AuthnError::refused("InvalidClientTokenId", "invalid username-password pair or user is disabled");
        let text = std::str::from_utf8(password).unwrap_or_default();
        if let Some((host, query)) = connect_token_request(text) {
            return self.connect_token(user, host, query, wall_ms);
        }
        let name = user.map_or(Cow::Borrowed("default"), String::from_utf8_lossy);
        let cache = self.caches.get_key_value(cache);
        match cache.and_then(|(cache, found)| Some((cache, found.users.get_key_value(&*name)?))) {
            // A password alone is no login where `default` has none: it may be a token, or is a mistake worth telling.
            Some((_, (_, found))) if user.is_none() && found.acl.nopass => {}
            Some((cache, (known, found))) if !found.iam && found.acl.accepts(password) && found.acl.enabled => {
                return Ok(self.of_user(known, cache));
            }
            Some(_) if user.is_some() => return Err(wrong()),
            // No password of the user `default`: perhaps a token.
            Some(_) => {}
            // The same work for an unknown user, so that time does not tell which names exist.
            None => drop(AccessString::default().accepts(password)),
        }
        let named = user.is_some() && name != "default";
        if is_jwt(text) && !named {
            return self.policy_token(text, wall_ms);
        }
        match self.static_token(password, named.then_some(&*name)) {
            Some(holder) => Ok(holder),
            None if user.is_some() && !named => self.anonymous().map_err(|_| wrong()),
            None => Err(wrong()),
        }
    }

    /// An ElastiCache IAM token: a pre-signed `connect` to a cache, as a user that logs in so (facts 5.3). Admission asks
    /// whether the signer may.
    fn connect_token(&self, user: Option<&[u8]>, host: &str, query: &str, wall_ms: u64) -> Result<Caller, AuthnError> {
        let wrong = |why: &str| AuthnError::refused("InvalidClientTokenId", why);
        let headers = [("host", host.as_bytes())];
        let request = SignedRequest { method: "GET", path: "/", query, headers: &headers, body: b"" };
        let signer = self.signed(&request, wall_ms)?;
        let Proof::Key(key) = &signer.0.proof else { return Err(wrong("the token is not signed with an access key")) };
        let asked = ConnectQuery::read(query).ok_or_else(|| wrong("the token is no pre-signed connect"))?;
        let (cache, found) = self
            .caches
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(host))
            .ok_or_else(|| wrong("the token is for no cache of ours"))?;
        if asked.serverless != found.serverless {
            return Err(wrong("ResourceType must be ServerlessCache for serverless caches, and absent for others"));
        }
        if user != Some(asked.user.as_bytes()) {
            return Err(wrong("the token is for another user"));
        }
        let (name, _) = found
            .users
            .get_key_value(&*asked.user)
            .filter(|(_, user)| user.iam && user.acl.enabled)
            .ok_or_else(|| wrong("there is no such user, or it does not log in by IAM tokens"))?;
        let expires_at_ms = wall_ms.saturating_add(CONNECTED_MS_MAX);
        let Known { arn, .. } = &*self.of_user(name, cache).0;
        let proof = Proof::Connect { key: key.clone(), principal: signer.0.name.clone() };
        let tag = format!("login {name} of {} until {expires_at_ms}", signer.name()).into();
        Ok(Caller(Arc::new(Known {
            arn: arn.clone(),
            name: name.clone(),
            bound_cache: Some(cache.clone()),
            read_only: false,
            expires_at_ms: Some(expires_at_ms),
            proved_ms: wall_ms,
            proof,
            tag,
        })))
    }

    /// A user of one cache: the same name in another is somebody else.
    fn of_user(&self, name: &Arc<str>, cache: &Arc<str>) -> Caller {
        let arn = format!("arn:aws:elasticache:{}:{}:user:{name}", self.region, self.account);
        caller(name.clone(), arn, Proof::User, format!("user {name}").into(), Some(cache.clone()), false, None)
    }
}

/// Whether the scope is one this endpoint could have: only then is a derived key worth keeping.
fn rules_fit(claim: &Claim<'_>, region: &str) -> bool {
    claim.region == region && claim.service == SERVICE && claim.timestamp.starts_with(&*claim.date)
}

fn caller(
    name: Arc<str>,
    arn: String,
    proof: Proof,
    tag: Arc<str>,
    bound_cache: Option<Arc<str>>,
    read_only: bool,
    expires_at_ms: Option<u64>,
) -> Caller {
    Caller(Arc::new(Known { arn: arn.into(), name, bound_cache, read_only, expires_at_ms, proved_ms: 0, proof, tag }))
}
