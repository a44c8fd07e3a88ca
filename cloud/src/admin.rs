//! Pages for whoever runs Larder: liveness, readiness, metrics, on the admin listener and under `/_larder/` of the AWS
//! listener (contract section 4).
//!
//! On a loopback address the pages are open. On any other, metrics need an administrator's credential, and health tells
//! a stranger no more than its status. The AWS-shaped APIs are not built yet: everything else on that listener says so.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use larder_gateway::{Foreign, Names};
use larder_iam_policies::access::Evidence;
use larder_iam_policies::sigv4::SignedRequest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::metrics;
use crate::world::{Shared, StartError};

/// Most connections of a page listener at once; later ones wait.
const CONNECTIONS_MAX: usize = 256;
/// Longest request head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Time to send a whole request head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Which pages a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// `/livez`, `/readyz`, `/metrics`.
    Admin,
    /// `/_larder/health`, `/_larder/metrics`; the rest is for AWS-shaped APIs.
    Aws,
}

/// An open page listener; closed when dropped.
pub(crate) struct PageListener {
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl PageListener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PageListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Opens a page listener on the current runtime, which is the control thread's: pages answer while workers are busy.
///
/// # Errors
/// The address cannot be had.
pub(crate) async fn listen(
    pages: Pages,
    address: SocketAddr,
    shared: Arc<Shared>,
    flag: &str,
) -> Result<PageListener, StartError> {
    let refused = |error| StartError::listen(address, flag, &error);
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let site = Arc::new(Site { pages, shared, names: Names::default(), is_open: address.ip().is_loopback() });
    Ok(PageListener { address, accepting: tokio::spawn(accept(listener, site)) })
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = site.clone();
                tokio::spawn(async move {
                    serve(stream, site).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on a page listener");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = site.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    // What a peer does wrong on its own connection is no news.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

/// What one listener answers from.
struct Site {
    pages: Pages,
    shared: Arc<Shared>,
    names: Names,
    /// Whether it is on a loopback address, where metrics need no credential.
    is_open: bool,
}

/// One page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Live,
    Ready,
    Metrics,
    Console,
    Api,
    Missing,
}

impl Site {
    fn page(&self, path: &str) -> Page {
        match (self.pages, path) {
            (Pages::Admin, "/livez") => Page::Live,
            (Pages::Admin, "/readyz") | (Pages::Aws, "/_larder/health") => Page::Ready,
            (Pages::Admin, "/metrics") | (Pages::Aws, "/_larder/metrics") => Page::Metrics,
            (Pages::Aws, "/_larder/console") => Page::Console,
            (Pages::Admin, _) => Page::Missing,
            (Pages::Aws, path) if path.starts_with("/_larder/") => Page::Missing,
            (Pages::Aws, _) => Page::Api,
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        // A network listener is addressed by names we cannot know; its pages need a credential instead.
        if self.is_open
            && let Err(foreign) = self.names.admit(request.uri(), request.headers())
        {
            return refuse(foreign);
        }
        let page = self.page(request.uri().path());
        if page != Page::Api && !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "this page is read with GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match page {
            Page::Live => text(StatusCode::OK, "live\n"),
            Page::Ready if self.shared.is_ready() => text(StatusCode::OK, "ready\n"),
            Page::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            Page::Metrics if self.is_open || self.is_administrator(request) => metrics_page(&self.shared),
            Page::Metrics => text(StatusCode::UNAUTHORIZED, "an administrator's credential is needed\n"),
            Page::Console => text(StatusCode::NOT_IMPLEMENTED, "the console is not built yet\n"),
            Page::Missing => text(StatusCode::NOT_FOUND, "there is no such page\n"),
            Page::Api => not_built(),
        }
    }

    /// Whether the request's credential is an administrator's. Metrics are read with an empty body.
    fn is_administrator<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        let list: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let Some(evidence) = evidence(request, headers, &list) else { return false };
        let access = self.shared.access.load();
        let wall_ms = self.shared.workers.clock().now().wall_ms;
        access.authenticate(&evidence, wall_ms).is_ok_and(|caller| access.is_administrator(&caller))
    }
}

fn evidence<'a, B>(
    request: &'a Request<B>,
    headers: &'a HeaderMap,
    list: &'a [(&'a str, &'a [u8])],
) -> Option<Evidence<'a>> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Evidence::Bearer(rest.trim()));
    }
    Some(Evidence::Signed(SignedRequest {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: list,
        body: b"",
    }))
}

fn metrics_page(shared: &Arc<Shared>) -> Response<Full<Bytes>> {
    match metrics::page(shared.clone()) {
        Ok(page) => answer(StatusCode::OK, metrics::CONTENT_TYPE, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("metrics cannot be written: {error}\n")),
    }
}

fn refuse(foreign: Foreign) -> Response<Full<Bytes>> {
    match foreign {
        Foreign::NoHost => text(StatusCode::BAD_REQUEST, "the request needs one Host\n"),
        Foreign::Host => text(StatusCode::MISDIRECTED_REQUEST, "this Host is not served here\n"),
        Foreign::Origin => text(StatusCode::FORBIDDEN, "pages of other origins may not call\n"),
    }
}

/// The AWS query protocol's shape, which SDKs show to people.
fn not_built() -> Response<Full<Bytes>> {
    const BODY: &str = "<ErrorResponse><Error><Type>Receiver</Type><Code>NotImplemented</Code><Message>The AWS-shaped APIs \
                        are not built yet: caches are declared in larder.toml</Message></Error></ErrorResponse>\n";
    answer(StatusCode::NOT_IMPLEMENTED, "text/xml", BODY.to_owned())
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", line.to_owned())
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
