//! Signature Version 4.

/// A request as it was received, for checking its signature.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path exactly as sent: not decoded, not normalised.
    pub path: &'a str,
    /// The query exactly as sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// Every header in arrival order, names in lower case; `:authority` of HTTP/2 is given as `host`.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The whole body.
    pub body: &'a [u8],
}
