//! Connections that one caller has for itself: WATCH and MULTI have state, which must not be shared.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Limits, UpstreamError, connect, exchange};
use crate::config::Remote;

/// One worker's dedicated connections.
pub(super) struct Pool {
    shared: Rc<Shared>,
}

struct Shared {
    remote: Remote,
    limits: Limits,
    places: Arc<Semaphore>,
    idle: RefCell<Vec<TcpStream>>,
}

/// A connection of one's own. Dropped unfinished it is closed, so a half-open MULTI never meets the next caller.
pub(crate) struct Lease {
    shared: Rc<Shared>,
    stream: TcpStream,
    buffer: BytesMut,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(remote: Remote, limits: Limits) -> Pool {
        let places = Arc::new(Semaphore::new(remote.pool_max));
        Pool { shared: Rc::new(Shared { remote, limits, places, idle: RefCell::default() }) }
    }

    pub(super) async fn lease(&self) -> Result<Lease, UpstreamError> {
        let wait = timeout(self.shared.remote.timeout, self.shared.places.clone().acquire_owned());
        let Ok(Ok(place)) = wait.await else { return Err(UpstreamError::Busy) };
        let stream = match self.shared.idle_stream() {
            Some(stream) => stream,
            None => connect(&self.shared.remote, &self.shared.limits).await?,
        };
        Ok(Lease { shared: self.shared.clone(), stream, buffer: BytesMut::new(), _place: place })
    }
}

impl Shared {
    /// An idle connection that the server has not closed meanwhile.
    fn idle_stream(&self) -> Option<TcpStream> {
        loop {
            let stream = self.idle.borrow_mut().pop()?;
            let quiet = stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            if quiet {
                return Some(stream);
            }
        }
    }
}

impl Lease {
    /// Sends encoded requests and waits for their `replies`.
    ///
    /// # Errors
    /// As [`super::Upstream::ask`]; the connection is of no more use then.
    pub(crate) async fn ask(&mut self, requests: &[u8], replies: usize) -> Result<Bytes, UpstreamError> {
        let talk = exchange(&mut self.stream, &mut self.buffer, requests, replies, &self.shared.limits);
        timeout(self.shared.remote.timeout, talk).await.unwrap_or(Err(UpstreamError::TimedOut))
    }

    /// Gives the connection back. Only for one with no transaction open, nothing watched and nothing left unread.
    pub(crate) fn finish(self) {
        if self.buffer.is_empty() {
            self.shared.idle.borrow_mut().push(self.stream);
        }
    }
}
