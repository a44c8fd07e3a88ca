//! String values under conditions: what the resource dialect is made of, the same on an engine and on a remote server.
//!
//! Compare-and-set is optimistic: the value is read, judged, and replaced only if it is still the one that was judged.
//! An engine compares under the key's lock, a Redis server through WATCH on a connection of its own.

use std::sync::Arc;

use bytes::Bytes;
use larder_node::resp::{Args, OwnedArgs, encode_request};
use larder_node::{Call, Change, CommandError, Current, Engine, Paid, TtlChange, UpdateError, Updated};

use crate::failure::Failure;
use crate::http::etag::{ETag, OCTET_STREAM};
use crate::http::render::{self, Head};
use crate::route::Target;
use crate::run::{encode, integer};
use crate::serve::Visit;
use crate::upstream::{Upstream, UpstreamError};

/// A string value as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: Bytes,
    /// Absent on backends that keep none, and after a write by another protocol.
    pub(crate) content_type: Option<String>,
    pub(crate) ttl_ms: Option<u64>,
}

impl Found {
    /// The media type, [`OCTET_STREAM`] by default.
    pub(crate) fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or(OCTET_STREAM)
    }

    /// Its validator.
    pub(crate) fn etag(&self) -> ETag {
        ETag::of(&self.value, self.content_type())
    }
}

/// What a key must hold for a write to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect<'a> {
    /// Whatever it holds, if it is a string.
    Anything,
    /// Nothing.
    Absent,
    /// Exactly this.
    Value(&'a Found),
}

/// A write.
#[derive(Clone, Debug)]
pub(crate) enum Write<'a> {
    Put { value: &'a [u8], content_type: Option<&'a str>, ttl_ms: Option<u64> },
    Delete,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// There was nothing to delete.
    Nothing,
    /// The key did not hold what was expected.
    Changed,
}

impl Visit<'_> {
    /// The string at `key`.
    ///
    /// # Errors
    /// 409 when it is no string, and whatever keeps a GET from running.
    pub(crate) async fn fetch(&self, key: &[u8]) -> Result<Option<Found>, Failure> {
        let args = OwnedArgs::from_slices([b"GET", key]);
        let paid = self.charge(self.permit(self.call(args.as_args())?)?)?;
        match &self.route.target {
            Target::Embedded(engine) => {
                let mut found = None;
                self.update(engine, paid, &mut |current| {
                    found = current.map(|current| Found::copy(&current, self.now.wall_ms));
                    Change::Keep
                })
                .await?;
                Ok(found)
            }
            Target::Remote(remote) => {
                let mut request = Vec::new();
                encode_request(paid.call().args(), &mut request);
                encode(&[b"PTTL", key], &mut request);
                read_found(&remote.upstream.ask(&request, 2, true).await?)
            }
        }
    }

    /// Writes `key` if it holds what is expected.
    ///
    /// # Errors
    /// 409 when it holds no string, and whatever keeps the command from running.
    pub(crate) async fn write(&self, key: &[u8], expect: Expect<'_>, write: &Write<'_>) -> Result<Written, Failure> {
        let args = command(key, expect, write);
        let paid = self.charge(self.permit(self.call(args.as_args())?)?)?;
        match &self.route.target {
            Target::Embedded(engine) => self.write_embedded(engine, paid, expect, write).await,
            Target::Remote(remote) => self.write_remote(&remote.upstream, key, paid, expect, write).await,
        }
    }

    async fn update<'c>(
        &self,
        engine: &Arc<Engine>,
        mut paid: Paid<Call<'c>>,
        decide: &mut dyn FnMut(Option<Current<'_>>) -> Change,
    ) -> Result<Updated, Failure> {
        let mut session = engine.detached(self.inside.clone(), self.grant.clone(), self.seat.worker());
        loop {
            match engine.update(&mut session, paid, self.now, decide) {
                Err(UpdateError::Busy(again)) => paid = again,
                outcome => return Ok(outcome?),
            }
            tokio::task::yield_now().await;
        }
    }

    async fn write_embedded(
        &self,
        engine: &Arc<Engine>,
        paid: Paid<Call<'_>>,
        expect: Expect<'_>,
        write: &Write<'_>,
    ) -> Result<Written, Failure> {
        let mut changed = false;
        let mut decide = |current: Option<Current<'_>>| {
            changed = !expect.holds(current.as_ref());
            if changed { Change::Keep } else { write.change() }
        };
        match self.update(engine, paid, &mut decide).await? {
            _ if changed => Ok(Written::Changed),
            Updated::Deleted(false) => Ok(Written::Nothing),
            Updated::Kept | Updated::Put(_) | Updated::Deleted(true) => Ok(Written::Done),
        }
    }

    async fn write_remote(
        &self,
        upstream: &Upstream,
        key: &[u8],
        paid: Paid<Call<'_>>,
        expect: Expect<'_>,
        write: &Write<'_>,
    ) -> Result<Written, Failure> {
        let args = paid.call().args();
        match (expect, write) {
            (Expect::Absent, _) => {
                let mut request = Vec::new();
                encode_request(args, &mut request);
                let reply = upstream.ask(&request, 1, false).await?;
                Ok(if bulk_or_ok(&reply)?.is_none() { Written::Changed } else { Written::Done })
            }
            (Expect::Anything, Write::Put { .. }) => {
                // GET makes the server refuse to overwrite what is no string; the old value is not looked at.
                let words: Vec<&[u8]> = args.iter().chain([&b"GET"[..]]).collect();
                let mut request = Vec::new();
                encode(&words, &mut request);
                bulk_or_ok(&upstream.ask(&request, 1, false).await?)?;
                Ok(Written::Done)
            }
            (Expect::Anything | Expect::Value(_), _) => self.write_watched(upstream, key, args, expect).await,
        }
    }

    /// WATCH, look, and MULTI/EXEC if the key holds what is expected.
    async fn write_watched(
        &self,
        upstream: &Upstream,
        key: &[u8],
        args: Args<'_>,
        expect: Expect<'_>,
    ) -> Result<Written, Failure> {
        let mut lease = upstream.lease().await?;
        let mut request = Vec::new();
        encode(&[b"WATCH", key], &mut request);
        match expect {
            Expect::Value(_) => encode(&[b"GET", key], &mut request),
            // Enough to know that it is there and a string: STRLEN answers 0 for none.
            _ => encode(&[b"TYPE", key], &mut request),
        }
        let replies = lease.ask(&request, 2).await?;
        let (_, looked) = render::split(&replies)?;
        let verdict = match (expect, bulk_or_ok(looked)?) {
            (Expect::Value(found), held) => (held != Some(&found.value[..])).then_some(Written::Changed),
            (_, Some(b"none")) => Some(Written::Nothing),
            (_, Some(b"string")) => None,
            _ => return Err(CommandError::WrongType.into()),
        };
        if let Some(verdict) = verdict {
            return Ok(verdict);
        }
        request.clear();
        encode(&[b"MULTI"], &mut request);
        encode_request(args, &mut request);
        encode(&[b"EXEC"], &mut request);
        let replies = lease.ask(&request, 3).await?;
        let (_, rest) = render::split(&replies)?;
        let (_, outcome) = render::split(rest)?;
        let written = match render::head(outcome)? {
            (Head::Bulk(None), _) => Written::Changed,
            (Head::Array(1), reply) if reply.starts_with(b"-") => return Err(error_of(reply)),
            (Head::Array(1), _) => Written::Done,
            _ => return Err(error_of(outcome)),
        };
        lease.finish();
        Ok(written)
    }
}

/// The command whose rights a write needs. A condition on the value also reads it.
fn command(key: &[u8], expect: Expect<'_>, write: &Write<'_>) -> OwnedArgs {
    match write {
        Write::Delete => {
            let name: &[u8] = if matches!(expect, Expect::Value(_)) { b"GETDEL" } else { b"DEL" };
            OwnedArgs::from_slices([name, key])
        }
        Write::Put { value, ttl_ms, .. } => {
            let mut args = OwnedArgs::from_slices([b"SET", key, value]);
            if let Some(ttl_ms) = ttl_ms {
                args.push(b"PX");
                args.push(ttl_ms.to_string().as_bytes());
            }
            match expect {
                Expect::Anything => {}
                Expect::Absent => args.push(b"NX"),
                Expect::Value(_) => args.push(b"GET"),
            }
            args
        }
    }
}

impl Write<'_> {
    fn change(&self) -> Change {
        match self {
            Write::Delete => Change::Delete,
            Write::Put { value, content_type, ttl_ms } => Change::Put {
                value: value.to_vec(),
                content_type: content_type.map(|text| text.as_bytes().to_vec()),
                ttl: ttl_ms.map_or(TtlChange::Clear, TtlChange::Set),
            },
        }
    }
}

impl Expect<'_> {
    fn holds(&self, current: Option<&Current<'_>>) -> bool {
        match (self, current) {
            (Expect::Anything, _) | (Expect::Absent, None) => true,
            (Expect::Absent, Some(_)) | (Expect::Value(_), None) => false,
            (Expect::Value(found), Some(current)) => {
                current.value == &found.value[..]
                    && current.content_type == found.content_type.as_deref().map(str::as_bytes)
            }
        }
    }
}

impl Found {
    fn copy(current: &Current<'_>, wall_ms: u64) -> Found {
        Found {
            value: Bytes::copy_from_slice(current.value),
            content_type: current.content_type.and_then(|text| String::from_utf8(text.to_vec()).ok()),
            ttl_ms: current.expire_at_ms.map(|at| at.saturating_sub(wall_ms)),
        }
    }
}

/// The replies to GET and PTTL.
fn read_found(replies: &Bytes) -> Result<Option<Found>, Failure> {
    let (value, rest) = render::split(replies)?;
    let Some(value) = bulk_or_ok(value)? else { return Ok(None) };
    let ttl_ms = u64::try_from(integer(rest)?).ok();
    Ok(Some(Found { value: replies.slice_ref(value), content_type: None, ttl_ms }))
}

fn bulk_or_ok(reply: &[u8]) -> Result<Option<&[u8]>, Failure> {
    match render::head(reply)? {
        (Head::Bulk(value), _) => Ok(value),
        (Head::Simple(text), _) => Ok(Some(text)),
        (Head::Error(_), _) => Err(error_of(reply)),
        _ => Err(UpstreamError::BadReply.into()),
    }
}

/// An error reply of a remote server as the failure it is.
fn error_of(reply: &[u8]) -> Failure {
    match render::error_text(reply) {
        Some(text) if text.starts_with(b"WRONGTYPE") => CommandError::WrongType.into(),
        Some(text) => Failure::Backend(String::from_utf8_lossy(text).into_owned()),
        None => UpstreamError::BadReply.into(),
    }
}
