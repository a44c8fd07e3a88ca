//! The last arrows of the road: permit, payment, and the run on the cache's target.
//!
//! On an engine next door a call runs at once. On a remote server it is sent only after it was permitted, with the same
//! arguments it was judged by. Calls whose TTL the judge must know are watched between the look and the run, on both.

use bytes::Bytes;
use larder_node::resp::{Args, Out, OwnedArgs, encode_request};
use larder_node::{Call, CommandError, Engine, Flow, Paid, TransactionError};

use std::sync::Arc;

use crate::failure::Failure;
use crate::http::json::Commands;
use crate::http::render::{self, Head};
use crate::route::Target;
use crate::serve::Visit;
use crate::upstream::{Lease, Upstream, UpstreamError};

/// How often an optimistic step is tried while others change the same key.
pub(crate) const TRIES_MAX: usize = 16;

impl Visit<'_> {
    /// Runs one command; answers its reply, which may be an error reply.
    ///
    /// # Errors
    /// Whatever kept it from running.
    pub(crate) async fn one(&self, args: Args<'_>) -> Result<Bytes, Failure> {
        let call = self.call(args)?;
        match &self.route.target {
            Target::Embedded(engine) => {
                let mut out = Out::new(2);
                self.embedded(engine, call, &mut out).await?;
                Ok(out.take().into())
            }
            Target::Remote(remote) if self.must_observe(&call) => self.watched(&remote.upstream, call).await,
            Target::Remote(remote) => {
                let paid = self.charge(self.permit(call)?)?;
                let mut request = Vec::new();
                encode_request(paid.call().args(), &mut request);
                Ok(remote.upstream.ask(&request, 1, paid.call().spec().is_read()).await?)
            }
        }
    }

    /// Runs each command that may run, in order, and answers one reply for each: denied ones did not run.
    pub(crate) async fn each(&self, commands: &Commands) -> Vec<u8> {
        match &self.route.target {
            Target::Embedded(engine) => {
                let mut out = Out::new(2);
                for args in commands.iter() {
                    let outcome = match self.call(args) {
                        Ok(call) => self.embedded(engine, call, &mut out).await,
                        Err(failure) => Err(failure),
                    };
                    if let Err(failure) = outcome {
                        out.error(one_line(&failure).as_bytes());
                    }
                }
                out.take()
            }
            Target::Remote(remote) => Batch::new(self, &remote.upstream).run(commands).await,
        }
    }

    /// Runs all commands as one step and answers their replies one after another.
    ///
    /// # Errors
    /// The first command that may not run keeps all from running.
    pub(crate) async fn all(&self, commands: &Commands) -> Result<Bytes, Failure> {
        let calls = commands.iter().map(|args| self.call(args)).collect::<Result<Vec<_>, _>>()?;
        if calls.is_empty() {
            return Ok(Bytes::new());
        }
        let replies = match &self.route.target {
            Target::Embedded(engine) => self.embedded_transaction(engine, &calls).await?,
            Target::Remote(remote) => self.remote_transaction(&remote.upstream, &calls).await?,
        };
        match render::head(&replies)? {
            (Head::Array(_), elements) => Ok(replies.slice_ref(elements)),
            (Head::Error(text), _) => Err(Failure::Backend(String::from_utf8_lossy(text).into_owned())),
            _ => Err(UpstreamError::BadReply.into()),
        }
    }

    async fn embedded(&self, engine: &Arc<Engine>, call: Call<'_>, out: &mut Out) -> Result<(), Failure> {
        let mut session = engine.detached(self.inside.clone(), self.grant.clone(), self.seat.worker());
        loop {
            let seen = self.observed(engine, call).await;
            let mut paid = self.charge(self.permit(seen)?)?;
            loop {
                match engine.run(&mut session, paid, self.now, out) {
                    Flow::Busy(again) => paid = again,
                    Flow::Stale => break,
                    // The table lets no blocking command through over HTTP.
                    Flow::Done | Flow::Close | Flow::Blocked(_) => return Ok(()),
                }
                tokio::task::yield_now().await;
            }
        }
    }

    pub(crate) async fn observed<'c>(&self, engine: &Engine, call: Call<'c>) -> Call<'c> {
        if !self.must_observe(&call) {
            return call;
        }
        loop {
            if let Some(seen) = engine.observe(call, self.now) {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn embedded_transaction(&self, engine: &Arc<Engine>, calls: &[Call<'_>]) -> Result<Bytes, Failure> {
        let mut session = engine.detached(self.inside.clone(), self.grant.clone(), self.seat.worker());
        let mut out = Out::new(2);
        loop {
            let mut permits = Vec::with_capacity(calls.len());
            for call in calls {
                permits.push(self.permit(self.observed(engine, *call).await)?);
            }
            let mut paid = self.charge_all(permits)?;
            loop {
                match engine.run_transaction(&mut session, paid, self.now, &mut out) {
                    Ok(()) => return Ok(out.take().into()),
                    Err(TransactionError::Busy(again)) => paid = again,
                    Err(TransactionError::Stale) => break,
                    Err(TransactionError::Refused(error)) => return Err(error.into()),
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// MULTI, the calls and EXEC on a connection of their own; answers the reply of EXEC.
    async fn remote_transaction(&self, upstream: &Upstream, calls: &[Call<'_>]) -> Result<Bytes, Failure> {
        if calls.iter().any(|call| self.must_observe(call)) {
            return self.watched_transaction(upstream, calls).await;
        }
        let permits = calls.iter().map(|call| self.permit(*call)).collect::<Result<Vec<_>, _>>()?;
        let paid = self.charge_all(permits)?;
        let mut lease = upstream.lease().await?;
        let reply = exec(&mut lease, &paid).await?;
        lease.finish();
        Ok(reply)
    }

    /// As [`Visit::remote_transaction`], where the judge must know TTLs: they are watched from the look to the run.
    async fn watched_transaction(&self, upstream: &Upstream, calls: &[Call<'_>]) -> Result<Bytes, Failure> {
        let mut lease = upstream.lease().await?;
        for _ in 0..TRIES_MAX {
            let mut permits = Vec::with_capacity(calls.len());
            for (at, call) in calls.iter().enumerate() {
                // An earlier command of the same transaction may change the TTL: it stays unknown, which is a denial.
                let settled = !calls[..at].iter().any(|earlier| touches(earlier, call.inherits_from()));
                let seen =
                    if self.must_observe(call) && settled { self.watch(&mut lease, *call).await? } else { *call };
                permits.push(self.permit(seen)?);
            }
            let reply = exec(&mut lease, &self.charge_all(permits)?).await?;
            if !matches!(render::head(&reply)?, (Head::Bulk(None), _)) {
                lease.finish();
                return Ok(reply);
            }
        }
        Err(Failure::Contended)
    }

    /// One call whose TTL the judge must know.
    async fn watched(&self, upstream: &Upstream, call: Call<'_>) -> Result<Bytes, Failure> {
        let replies = self.watched_transaction(upstream, &[call]).await?;
        match render::head(&replies)? {
            (Head::Array(1), element) => Ok(replies.slice_ref(element)),
            (Head::Error(_), _) => Ok(replies),
            _ => Err(UpstreamError::BadReply.into()),
        }
    }

    /// Watches the key whose TTL the call keeps, and tells the call that TTL.
    async fn watch<'c>(&self, lease: &mut Lease, call: Call<'c>) -> Result<Call<'c>, Failure> {
        let Some(key) = call.inherits_from() else { return Ok(call) };
        let mut request = Vec::new();
        encode(&[b"WATCH", key], &mut request);
        encode(&[b"PTTL", key], &mut request);
        let replies = lease.ask(&request, 2).await?;
        let (_, rest) = render::split(&replies)?;
        let ttl_ms = integer(rest)?;
        let expire_at_ms = u64::try_from(ttl_ms).ok().map(|ttl_ms| self.now.wall_ms.saturating_add(ttl_ms));
        Ok(call.with_observed_ttl(expire_at_ms))
    }
}

/// Whether a call may change what `key` has.
fn touches(earlier: &Call<'_>, key: Option<&[u8]>) -> bool {
    let Some(key) = key else { return false };
    !earlier.spec().is_read()
        && earlier.args().iter().skip(1).any(|argument| argument == key || earlier.spec().keys.is_empty())
}

/// Sends MULTI, the paid calls and EXEC in one write; answers the reply of EXEC.
async fn exec(lease: &mut Lease, paid: &[Paid<Call<'_>>]) -> Result<Bytes, Failure> {
    let mut request = Vec::new();
    encode(&[b"MULTI"], &mut request);
    paid.iter().for_each(|paid| encode_request(paid.call().args(), &mut request));
    encode(&[b"EXEC"], &mut request);
    let replies = lease.ask(&request, paid.len() + 2).await?;
    let mut rest = &replies[..];
    let mut refused = None;
    for _ in 0..=paid.len() {
        let (reply, after) = render::split(rest)?;
        if refused.is_none() && reply.starts_with(b"-") {
            refused = Some(reply);
        }
        rest = after;
    }
    // EXECABORT tells less than the error of the command that caused it.
    Ok(replies.slice_ref(refused.unwrap_or(rest)))
}

/// Encodes one request.
pub(crate) fn encode(words: &[&[u8]], request: &mut Vec<u8>) {
    encode_request(OwnedArgs::from_slices(words).as_args(), request);
}

/// The number in an integer reply.
pub(crate) fn integer(reply: &[u8]) -> Result<i64, Failure> {
    match render::head(reply)? {
        (Head::Integer(digits), _) => {
            std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(UpstreamError::BadReply.into())
        }
        (Head::Error(text), _) => Err(Failure::Backend(String::from_utf8_lossy(text).into_owned())),
        _ => Err(UpstreamError::BadReply.into()),
    }
}

/// A failure as the text of an error reply.
pub(crate) fn one_line(failure: &Failure) -> String {
    failure.text().replace(['\r', '\n'], " ")
}

/// A pipeline on its way to a remote server: what may run leaves in as few writes as order allows.
struct Batch<'v, 'g> {
    visit: &'v Visit<'g>,
    upstream: &'v Upstream,
    request: Vec<u8>,
    /// What is sent next only reads.
    repeatable: bool,
    /// For each entry since the last send: its reply is awaited, or known.
    entries: Vec<Option<Vec<u8>>>,
    replies: Vec<u8>,
}

impl<'v, 'g> Batch<'v, 'g> {
    fn new(visit: &'v Visit<'g>, upstream: &'v Upstream) -> Self {
        Batch { visit, upstream, request: Vec::new(), repeatable: true, entries: Vec::new(), replies: Vec::new() }
    }

    async fn run(mut self, commands: &Commands) -> Vec<u8> {
        for args in commands.iter() {
            if let Err(failure) = self.add(args).await {
                self.entries.push(Some(error_reply(&failure)));
            }
        }
        self.send().await;
        self.replies
    }

    async fn add(&mut self, args: Args<'_>) -> Result<(), Failure> {
        let call = self.visit.call(args)?;
        if self.visit.must_observe(&call) {
            // It looks at what earlier entries leave behind.
            self.send().await;
            let reply = self.visit.watched(self.upstream, call).await?;
            self.entries.push(Some(reply.to_vec()));
            return Ok(());
        }
        let paid = self.visit.charge(self.visit.permit(call)?)?;
        self.repeatable &= paid.call().spec().is_read();
        encode_request(paid.call().args(), &mut self.request);
        self.entries.push(None);
        Ok(())
    }

    /// Sends what is gathered, and appends one reply per entry.
    async fn send(&mut self) {
        let awaited = self.entries.iter().filter(|entry| entry.is_none()).count();
        let outcome = match awaited {
            0 => Ok(Bytes::new()),
            _ => self.upstream.ask(&self.request, awaited, self.repeatable).await.map_err(Failure::from),
        };
        let mut rest = outcome.as_deref().unwrap_or_default();
        for entry in self.entries.drain(..) {
            match (entry, &outcome) {
                (Some(known), _) => self.replies.extend_from_slice(&known),
                (None, Err(failure)) => self.replies.extend_from_slice(&error_reply(failure)),
                (None, Ok(_)) => match render::split(rest) {
                    Ok((reply, after)) => {
                        self.replies.extend_from_slice(reply);
                        rest = after;
                    }
                    Err(bad) => self.replies.extend_from_slice(&error_reply(&bad.into())),
                },
            }
        }
        self.request.clear();
        self.repeatable = true;
    }
}

fn error_reply(failure: &Failure) -> Vec<u8> {
    format!("-{}\r\n", one_line(failure)).into_bytes()
}

impl From<larder_node::UpdateError<'_>> for Failure {
    fn from(error: larder_node::UpdateError<'_>) -> Self {
        Failure::Command(CommandError::from(error))
    }
}
