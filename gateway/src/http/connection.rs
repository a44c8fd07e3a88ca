//! One HTTP connection on its worker: hyper's settings, the body, and the two ends of the road.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use larder_iam_policies::access::{LastEntry, Source};
use larder_node::workers::{Drain, Phase, Seat};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Answer, JSON};
use super::browser::Foreign;
use super::etag::{OCTET_STREAM, hex};
use super::request::{Place, Request};
use super::{command, resource};
use crate::config::{Limits, SourceFrom};
use crate::failure::Failure;
use crate::metrics::Dialect;
use crate::serve::Gateway;
use crate::source;

/// Spawns hyper's own tasks (one per HTTP/2 stream) on the connection's worker.
#[derive(Clone)]
struct OnWorker(Seat);

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for OnWorker {
    fn execute(&self, task: F) {
        self.0.spawn(async move {
            task.await;
        });
    }
}

/// Where a connection comes from, as far as the connection itself tells.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The caller, or the proxy in front of it.
    pub(crate) ip: IpAddr,
    pub(crate) secure: bool,
    pub(crate) vpce: Option<String>,
    /// Port of the listener.
    pub(crate) port: u16,
}

/// What answers the requests of a listener.
#[derive(Clone)]
pub(crate) enum Server {
    Gateway(Arc<Gateway>),
    /// A constant answer behind the same settings and headers: the floor that benches compare with.
    Echo(Limits),
}

impl Server {
    pub(crate) fn limits(&self) -> &Limits {
        match self {
            Server::Gateway(gateway) => &gateway.http.limits,
            Server::Echo(limits) => limits,
        }
    }
}

/// hyper, with bounds on everything a peer decides.
fn builder(seat: &Seat, limits: &Limits) -> Builder<OnWorker> {
    let mut builder = Builder::new(OnWorker(seat.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.head_bytes_max.max(8 * 1024))
        .max_headers(limits.headers_max)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(256)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(256 * 1024)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// What every request of one connection shares.
pub(crate) struct Here {
    pub(crate) server: Server,
    pub(crate) origin: Origin,
    pub(crate) seat: Seat,
    /// What its requests were let in to.
    pub(crate) last: LastEntry,
}

impl Here {
    async fn answer(self: Rc<Here>, request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(match &self.server {
            Server::Gateway(gateway) => gateway.answer(request, &self).await,
            Server::Echo(limits) => echo(request, limits).await,
        })
    }
}

/// Serves a connection until it ends, or until the listener drains and its last answer is written.
pub(crate) async fn serve<I>(io: I, here: Here, drain: &Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let builder = builder(&here.seat, here.server.limits());
    let here = Rc::new(here);
    let service = service_fn(move |request| here.clone().answer(request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        // What a peer does wrong on its own connection is nobody else's business, and no news.
        outcome = connection.as_mut() => drop(outcome),
        () = drain.reached(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = connection => drop(outcome),
                () = drain.reached(Phase::Cutting) => {}
            }
        }
    }
}

/// Answers as a GET of a value of 64 bytes is answered: the same headers, as long.
async fn echo(request: http::Request<Incoming>, limits: &Limits) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let _ = collect(&parts.headers, body, limits).await;
    let text = HeaderValue::from_static;
    let mut answer = Answer::validated(StatusCode::OK, Some(text(OCTET_STREAM)), Bytes::from_static(&[b'x'; 64]));
    answer.set(ETAG, text("\"00000000000000000000000000000000\""));
    answer.set(X_CONTENT_TYPE_OPTIONS, text("nosniff"));
    answer.into_response(text("000000000000000000000000"))
}

/// The whole body.
///
/// # Errors
/// 413 from Content-Length before a byte is read, or when more comes; 408 when it comes too slowly.
async fn collect(headers: &HeaderMap, body: Incoming, limits: &Limits) -> Result<Bytes, Failure> {
    let max = limits.item_bytes_max;
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max as u64) {
        return Err(Failure::TooLarge(max));
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Failure::Malformed("Content-Encoding is not supported: send the body as it is".into()));
    }
    tokio::time::timeout(limits.body_timeout, gather(body, max)).await.unwrap_or(Err(Failure::Slow))
}

async fn gather(mut body: Incoming, max: usize) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Malformed("the body ended early".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > max {
            return Err(Failure::TooLarge(max));
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

impl Gateway {
    /// Bytes to bytes: everything a request can be answered with leaves here.
    async fn answer(&self, request: http::Request<Incoming>, here: &Here) -> Response<Full<Bytes>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 24];
        hex(&self.run.to_be_bytes(), &mut id[..8]);
        hex(&number.to_be_bytes(), &mut id[8..]);
        let (parts, body) = request.into_parts();
        let place = Place::of(parts.uri.path());
        let dialect = place.dialect;
        let mut bytes_in = 0;
        let outcome = match preflight(self, &parts) {
            Some(answer) => Ok(answer),
            None => self.exchange(&parts, place, body, here, &mut bytes_in).await,
        };
        let mut answer = outcome.unwrap_or_else(|failure| {
            let mut answer = match dialect {
                Dialect::Command => command::failed(&failure, command::format_of(&parts.headers)),
                Dialect::Resource => resource::failed(&failure, str::from_utf8(&id).unwrap_or_default()),
            };
            resource::failure_headers(&failure, &mut answer);
            answer
        });
        if let Some(origin) = self.names.allowed_origin(&parts.headers) {
            answer.set_text(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.set(VARY, HeaderValue::from_static("Origin"));
        }
        self.metrics.answered(here.seat.worker(), dialect, answer.status, bytes_in, answer.body.len());
        answer.into_response(HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("")))
    }

    async fn exchange(
        &self,
        parts: &Parts,
        place: Place<'_>,
        body: Incoming,
        here: &Here,
        bytes_in: &mut usize,
    ) -> Result<Answer, Failure> {
        let addressed = self.names.admit(&parts.uri, &parts.headers)?;
        let body = collect(&parts.headers, body, &self.http.limits).await?;
        *bytes_in = body.len();
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        let request = Request { method, uri, headers, body, addressed, place };
        self.serve(&request, self.source(&here.origin, headers), here).await
    }

    /// Who is asking, by the listener's one source of addresses.
    fn source(&self, origin: &Origin, headers: &HeaderMap) -> Source {
        let (ip, secure) = match &self.http.source {
            SourceFrom::Peer | SourceFrom::ProxyV2 => (origin.ip, origin.secure),
            SourceFrom::Header { name, trusted } => {
                let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
                let ip = source::from_header(origin.ip, values, trusted);
                // A list of addresses does not tell how its first hop was made.
                (ip, origin.secure && ip == source::canonical(origin.ip))
            }
        };
        Source { vpce: origin.vpce.clone(), ..Source::new(ip, secure, origin.port) }
    }
}

/// The answer to a browser that asks whether a page of an allowed origin may call.
fn preflight(gateway: &Gateway, parts: &Parts) -> Option<Answer> {
    const METHOD: &str = "access-control-request-method";
    let asks = parts.method == Method::OPTIONS && parts.headers.contains_key(METHOD);
    let allowed = asks && gateway.names.allowed_origin(&parts.headers).is_some();
    if !allowed || gateway.names.admit(&parts.uri, &parts.headers).is_err_and(|foreign| foreign != Foreign::Origin) {
        return None;
    }
    let mut answer = Answer::new(StatusCode::NO_CONTENT, JSON, "");
    let text = HeaderValue::from_static;
    answer.set(http::header::ACCESS_CONTROL_ALLOW_METHODS, text("GET, HEAD, POST, PUT, PATCH, DELETE"));
    let headers = "authorization, content-type, if-match, if-none-match, upstash-encoding, upstash-response-format, \
                   upstash-sync-token, x-amz-content-sha256, x-amz-date, x-amz-security-token";
    answer.set(http::header::ACCESS_CONTROL_ALLOW_HEADERS, text(headers));
    Some(answer)
}
