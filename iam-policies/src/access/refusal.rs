//! Why somebody was refused, as values: each wire has its own words for them.

use std::sync::Arc;

/// Why a credential was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthnError {
    /// The AWS error code, such as `SignatureDoesNotMatch`.
    pub code: &'static str,
    /// 400 for a malformed request, 401 otherwise.
    pub status: u16,
    /// What is wrong and what to do, never naming a secret.
    pub message: String,
}

impl AuthnError {
    /// A request that cannot be read.
    pub(crate) fn malformed(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: 400, message: message.into() }
    }

    /// A credential that was read and not accepted.
    pub(crate) fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status: 401, message: message.into() }
    }
}

impl std::fmt::Display for AuthnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AuthnError {}

/// Why an authenticated caller is not let into a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    /// No cache has that name.
    UnknownCache,
    /// The cache's security groups do not let the address in.
    Network,
    /// The cache takes no anonymous callers: a missing credential, 401.
    Anonymous,
    /// The credential is bound to another cache.
    OtherCache,
    /// The user may not log in to this cache.
    NotItsUser,
    /// An IAM token came over a network without TLS.
    InPlain,
    /// The credential is no longer valid: its key, token, user or principal is gone.
    Revoked,
}

impl NotAdmitted {
    /// The status an HTTP front answers with.
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownCache => 404,
            Self::Anonymous | Self::Revoked => 401,
            Self::Network | Self::OtherCache | Self::NotItsUser | Self::InPlain => 403,
        }
    }
}

impl std::fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownCache => "no such cache",
            Self::Network => "the cache cannot be reached from this address",
            Self::Anonymous => "the cache takes no anonymous callers: send a credential",
            Self::OtherCache => "the credential is bound to another cache",
            Self::InPlain => "an IAM token is taken over TLS only",
            Self::NotItsUser => "the user may not log in to this cache",
            Self::Revoked => "the credential is no longer valid",
        })
    }
}

impl std::error::Error for NotAdmitted {}

/// Why a call was not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A Deny statement matched.
    Explicit(Statement),
    /// No statement allows it.
    Implicit,
    /// The access string does not hold the command.
    Command,
    /// The access string does not hold a key.
    Key,
    /// The access string does not hold a channel.
    Channel,
    /// The token may only read.
    ReadOnly,
    /// What the call touches cannot be told, so only a full grant may run it.
    Unknown,
    /// The credential has expired.
    Expired,
    /// The credential is no longer valid.
    Revoked,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Explicit(statement) => write!(f, "explicitly denied by {statement}"),
            Self::Implicit => f.write_str("no policy statement allows it"),
            Self::Command => f.write_str("the access string does not allow this command"),
            Self::Key => f.write_str("the access string does not allow one of the keys"),
            Self::Channel => f.write_str("the access string does not allow one of the channels"),
            Self::ReadOnly => f.write_str("the token may only read"),
            Self::Unknown => f.write_str("what it would touch cannot be told"),
            Self::Expired => f.write_str("the credential has expired"),
            Self::Revoked => f.write_str("the credential is no longer valid"),
        }
    }
}

/// The statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The statement's place in it, from 0.
    pub index: usize,
    /// Its `Sid`, when it has one.
    pub sid: Option<Arc<str>>,
}

impl std::fmt::Display for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.sid {
            Some(sid) => write!(f, "statement {sid} of policy {}", self.policy),
            None => write!(f, "statement {} of policy {}", self.index, self.policy),
        }
    }
}
