//! What goes back: status, body and the headers that depend on the answer.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Room for the headers of most answers: hyper adds its own elsewhere.
const HEADERS: usize = 6;

/// An answer, one buffer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    headers: HeaderMap,
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const RESP: HeaderValue = HeaderValue::from_static("application/octet-stream");
pub(crate) const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The caller's own cache may keep it, and must ask again each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Answer {
    /// An answer that no cache may keep.
    pub(crate) fn new(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
        let mut answer = Answer::bare(status, body.into());
        answer.set(CONTENT_TYPE, content_type);
        answer.set(CACHE_CONTROL, NO_STORE);
        answer
    }

    /// An answer with a validator, which the client may keep and ask about.
    pub(crate) fn validated(status: StatusCode, content_type: Option<HeaderValue>, body: impl Into<Bytes>) -> Answer {
        let mut answer = Answer::bare(status, body.into());
        if let Some(content_type) = content_type {
            answer.set(CONTENT_TYPE, content_type);
        }
        answer.set(CACHE_CONTROL, REVALIDATE);
        answer
    }

    fn bare(status: StatusCode, body: Bytes) -> Answer {
        Answer { status, body, headers: HeaderMap::with_capacity(HEADERS) }
    }

    /// Sets a header.
    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Adds a header whose value is ASCII text that we made.
    pub(crate) fn set_text(&mut self, name: HeaderName, value: impl Into<String>) {
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value.into())) {
            self.set(name, value);
        }
    }

    /// As hyper takes it.
    pub(crate) fn into_response(mut self, request_id: HeaderValue) -> Response<Full<Bytes>> {
        self.set(X_REQUEST_ID, request_id);
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
