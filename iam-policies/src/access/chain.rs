//! The chain `Caller -> Admitted -> Permit`: private fields, one maker each.

use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::Policy;
use crate::sigv4::SignedRequest;

/// What a client showed.
#[derive(Clone, Copy)]
pub enum Evidence<'a> {
    /// Nothing.
    Anonymous,
    /// A signed request, by header or pre-signed.
    Signed(SignedRequest<'a>),
    /// What follows `Bearer `: a static token or a signed-policy token.
    Bearer(&'a str),
    /// RESP AUTH or HELLO AUTH: a static token, a user's password, or an ElastiCache IAM token.
    Password {
        /// The cache logged in to: users are each cache's own.
        cache: &'a str,
        /// The user named, if one was.
        user: Option<&'a [u8]>,
        /// The password.
        password: &'a [u8],
    },
}

impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Signed(_) => "Signed(..)",
            Self::Bearer(_) => "Bearer(..)",
            Self::Password { .. } => "Password { .. }",
        })
    }
}

/// Where a call came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The caller's address, by the listener's one source of it.
    pub ip: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The VPC endpoint it came through.
    pub vpce: Option<String>,
    /// The port of the listener it came to.
    pub port: u16,
}

impl Source {
    /// A source; a v4-mapped address is made v4.
    pub fn new(ip: IpAddr, secure: bool, port: u16) -> Self {
        Self { ip: ip.to_canonical(), secure, vpce: None, port }
    }
}

/// Somebody whose credential was accepted.
#[derive(Clone)]
pub struct Caller(pub(super) Arc<Known>);

/// What is known of a caller.
pub(super) struct Known {
    pub(super) arn: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) bound_cache: Option<Arc<str>>,
    pub(super) read_only: bool,
    pub(super) expires_at_ms: Option<u64>,
    /// When it showed its credential, in ms since 1970, where that matters: of IAM tokens.
    pub(super) proved_ms: u64,
    pub(super) proof: Proof,
    /// Tells callers apart whose grants can differ.
    pub(super) tag: Arc<str>,
}

/// What a caller was believed for: asked again in each new snapshot.
pub(super) enum Proof {
    Anonymous,
    /// A signature by this access key.
    Key(Arc<str>),
    /// The static token with this SHA-256.
    Token([u8; 32]),
    /// A signed-policy token: its root's key, the ids that can revoke it, and its policies.
    PolicyToken {
        key: Arc<str>,
        ids: Vec<String>,
        policies: Vec<Arc<Policy>>,
    },
    /// A user's password.
    User,
    /// An ElastiCache IAM token, signed with this access key of this principal; the caller is the user it names.
    Connect {
        key: Arc<str>,
        principal: Arc<str>,
    },
}

impl Caller {
    /// The principal's ARN.
    pub fn principal_arn(&self) -> &str {
        &self.0.arn
    }

    /// The principal's or the user's name; `anonymous` for nobody.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The name clients of redis know it by: `default` for a caller without one.
    pub fn login_name(&self) -> &str {
        if matches!(self.0.proof, Proof::Anonymous) { "default" } else { self.name() }
    }

    /// The one cache the credential is for.
    pub fn bound_cache(&self) -> Option<&str> {
        self.0.bound_cache.as_deref()
    }

    /// Whether the credential may only read.
    pub fn read_only(&self) -> bool {
        self.0.read_only
    }

    /// When the credential ends, in ms since 1970.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.0.expires_at_ms
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Caller").field(&self.principal_arn()).finish()
    }
}

/// A caller inside one cache's network.
#[derive(Debug, Clone)]
pub struct Admitted(pub(super) Arc<Inside>);

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) caller: Caller,
    pub(super) source: Source,
    pub(super) cache: Arc<str>,
}

impl Admitted {
    /// The cache's name.
    pub fn cache(&self) -> &str {
        &self.0.cache
    }

    /// Who it is.
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Where from.
    pub fn source(&self) -> &Source {
        &self.0.source
    }
}

/// A call that may run. It owns the call, so what runs is what was judged.
#[derive(Debug)]
pub struct Permit<C>(C);

impl<C> Permit<C> {
    pub(super) fn new(call: C) -> Self {
        Self(call)
    }

    /// The call.
    pub fn call(&self) -> &C {
        &self.0
    }

    /// Gives the call up, for the meter: the next arrow of the road.
    pub fn spend(self) -> C {
        self.0
    }
}
