//! Why a request got no answer of a cache, and the one place that says which status that is.

use std::borrow::Cow;

use http::{Method, StatusCode};
use larder_iam_policies::access::{AuthnError, Denied, NotAdmitted};
use larder_node::{Call, CommandError, Throttled};

use crate::http::browser::Foreign;
use crate::http::etag::ETag;
use crate::http::render::BadReply;
use crate::upstream::UpstreamError;

/// The first stage that said no, and why.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not addressed to us, or sent by a page that may not call.
    Foreign(Foreign),
    /// The request does not mean anything.
    Malformed(Cow<'static, str>),
    /// This path does not take this method.
    Method(&'static [Method]),
    /// A body over `item_bytes_max`.
    TooLarge(usize),
    /// The body did not arrive in time.
    Slow,
    /// No credential, or one that proves nothing.
    Authn(AuthnError),
    /// The network rules of the cache.
    NotAdmitted(NotAdmitted),
    /// The policy, with the text of who may not do what.
    Denied(String),
    /// The cache's request rate is used up.
    Throttled(Throttled),
    /// The command cannot be run as it was asked.
    Command(CommandError),
    /// No cache of this name.
    NoSuchCache(String),
    /// No value under this key, or no session of this id.
    NoSuchKey,
    /// The key holds something else than a string, or a record that is no session.
    WrongKind(&'static str),
    /// A condition of a write does not hold.
    Precondition,
    /// The client has this value already.
    NotModified(ETag),
    /// Others changed the key faster than we could.
    Contended,
    /// The backend.
    Upstream(UpstreamError),
    /// The backend's own error, as text.
    Backend(String),
    /// Part of the contract, but not of this version.
    NotBuilt(&'static str),
}

impl Failure {
    /// The status of contract section 5. Both dialects use it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Failure::Foreign(Foreign::NoHost) | Failure::Malformed(_) => StatusCode::BAD_REQUEST,
            Failure::Foreign(Foreign::Host) => StatusCode::MISDIRECTED_REQUEST,
            Failure::Foreign(Foreign::Origin) | Failure::Denied(_) => StatusCode::FORBIDDEN,
            Failure::NotAdmitted(error) => StatusCode::from_u16(error.status()).unwrap_or(StatusCode::FORBIDDEN),
            Failure::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Slow => StatusCode::REQUEST_TIMEOUT,
            Failure::Authn(error) => StatusCode::from_u16(error.status).unwrap_or(StatusCode::UNAUTHORIZED),
            Failure::Command(CommandError::NoAuth) => StatusCode::UNAUTHORIZED,
            Failure::Throttled(_) | Failure::Command(CommandError::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
            Failure::Command(CommandError::NoPermission(_)) => StatusCode::FORBIDDEN,
            Failure::Command(CommandError::WrongType) | Failure::WrongKind(_) | Failure::Contended => {
                StatusCode::CONFLICT
            }
            Failure::Command(_) => StatusCode::BAD_REQUEST,
            Failure::NoSuchCache(_) | Failure::NoSuchKey => StatusCode::NOT_FOUND,
            Failure::Precondition => StatusCode::PRECONDITION_FAILED,
            Failure::NotModified(_) => StatusCode::NOT_MODIFIED,
            Failure::Upstream(UpstreamError::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Failure::Upstream(UpstreamError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Upstream(_) => StatusCode::BAD_GATEWAY,
            Failure::Backend(text) => backend_status(text.as_bytes()),
            Failure::NotBuilt(_) => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// What the client is told, beginning with a code word as Redis errors do.
    pub(crate) fn text(&self) -> Cow<'static, str> {
        match self {
            Failure::Foreign(Foreign::NoHost) => "ERR the request needs exactly one Host".into(),
            Failure::Foreign(Foreign::Host) => {
                "ERR this Host is not served here; add it to [http].hosts if it should be".into()
            }
            Failure::Foreign(Foreign::Origin) => {
                "ERR pages of this origin may not call; add it to [http].origins if they should".into()
            }
            Failure::Malformed(what) => format!("ERR {what}").into(),
            Failure::Method(_) => "ERR this method is not allowed here".into(),
            Failure::TooLarge(max) => format!("ERR max request size exceeded. Limit: {max} bytes").into(),
            Failure::Slow => "ERR the request body did not arrive in time".into(),
            Failure::Authn(error) => format!("WRONGPASS invalid or missing auth token: {error}").into(),
            Failure::NotAdmitted(error) if error.status() == 401 => format!("WRONGPASS {error}").into(),
            Failure::NotAdmitted(error) => format!("NOPERM {error}").into(),
            Failure::Denied(text) | Failure::Backend(text) => text.clone().into(),
            Failure::Throttled(throttled) => {
                format!("ERR max requests limit exceeded; retry in {} ms", throttled.retry_after_ms).into()
            }
            Failure::Command(error) => error.text().into_owned().into(),
            Failure::NoSuchCache(name) => format!("ERR no cache is named {name:?}").into(),
            Failure::NoSuchKey => "ERR no such key".into(),
            Failure::WrongKind(what) => format!("WRONGTYPE {what}").into(),
            Failure::Precondition => "ERR the stored value does not meet the condition".into(),
            Failure::NotModified(_) => "".into(),
            Failure::Contended => "ERR the key is being changed by others; try again".into(),
            Failure::Upstream(error) => format!("ERR {error}").into(),
            Failure::NotBuilt(what) => format!("ERR {what} is not built yet").into(),
        }
    }

    /// Whole seconds a throttled client should wait, at least 1.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        let wait_ms = match self {
            Failure::Throttled(throttled) => throttled.retry_after_ms,
            Failure::Command(CommandError::Throttled(wait_ms)) => *wait_ms,
            _ => return None,
        };
        Some(wait_ms.div_ceil(1000).max(1))
    }
}

/// The status of an error reply, by its code word. Only the command's own faults are the client's.
pub(crate) fn backend_status(text: &[u8]) -> StatusCode {
    match text.split(|&b| b == b' ').next().unwrap_or_default() {
        b"NOPERM" => StatusCode::FORBIDDEN,
        b"NOAUTH" | b"WRONGPASS" | b"MOVED" | b"ASK" => StatusCode::BAD_GATEWAY,
        b"LOADING" | b"BUSY" | b"MASTERDOWN" | b"CLUSTERDOWN" | b"TRYAGAIN" | b"READONLY" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        b"THROTTLED" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// What a denied caller is told: Redis' words, which say nothing about the policy.
pub(crate) fn refusal(call: &Call<'_>, denied: &Denied) -> Failure {
    match denied {
        Denied::Expired | Denied::Revoked => Failure::Command(CommandError::NoAuth),
        Denied::Command | Denied::ReadOnly | Denied::Unknown => no_command(call),
        Denied::Channel => Failure::Denied(
            "NOPERM this user has no permissions to access one of the channels used as arguments".to_owned(),
        ),
        _ if !call.spec().has_keys() => no_command(call),
        _ => Failure::Denied(
            "NOPERM this user has no permissions to access one of the keys used as arguments".to_owned(),
        ),
    }
}

fn no_command(call: &Call<'_>) -> Failure {
    let name = call.spec().name.to_ascii_lowercase();
    Failure::Denied(format!("NOPERM this user has no permissions to run the '{name}' command or its subcommand"))
}

impl From<AuthnError> for Failure {
    fn from(error: AuthnError) -> Self {
        Failure::Authn(error)
    }
}

impl From<NotAdmitted> for Failure {
    fn from(error: NotAdmitted) -> Self {
        Failure::NotAdmitted(error)
    }
}

impl From<Throttled> for Failure {
    fn from(error: Throttled) -> Self {
        Failure::Throttled(error)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Failure::Command(error)
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        Failure::Upstream(error)
    }
}

impl From<Foreign> for Failure {
    fn from(foreign: Foreign) -> Self {
        Failure::Foreign(foreign)
    }
}

impl From<BadReply> for Failure {
    fn from(_: BadReply) -> Self {
        Failure::Upstream(UpstreamError::BadReply)
    }
}
