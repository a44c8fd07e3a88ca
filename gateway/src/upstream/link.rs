//! The shared connection of one worker: a task that owns the socket, and the queue it works off.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::frame::Framer;
use super::{Limits, Node, UpstreamError, connect};
use crate::config::Remote;

/// How often an idle link looks whether its server is still configured.
const IDLE_CHECK: Duration = Duration::from_secs(30);
/// Unused capacity kept in the write buffer after a burst.
const KEPT_BYTES: usize = 256 * 1024;

/// The sending side: appends to the queue that the link's task works off.
pub(super) struct Link {
    shared: Rc<Shared>,
}

struct Shared {
    remote: Remote,
    limits: Limits,
    queue: RefCell<Queue>,
    /// Rings when the queue was empty of unsent bytes and is no more.
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    unsent: BytesMut,
    waiting: VecDeque<Waiting>,
    /// After a failed connect: until when requests fail fast, and why.
    down: Option<(Instant, UpstreamError)>,
}

struct Waiting {
    replies: usize,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, UpstreamError>>,
}

impl Link {
    pub(super) fn start(remote: Remote, limits: Limits, node: Weak<Node>) -> Link {
        let shared = Rc::new(Shared { remote, limits, queue: RefCell::default(), wake: Notify::new() });
        tokio::task::spawn_local(run(shared.clone(), node));
        Link { shared }
    }

    pub(super) async fn ask(&self, requests: &[u8], replies: usize) -> Result<Bytes, UpstreamError> {
        let answer = self.append(requests, replies)?;
        answer.await.unwrap_or(Err(UpstreamError::Lost))
    }

    fn append(
        &self,
        requests: &[u8],
        replies: usize,
    ) -> Result<oneshot::Receiver<Result<Bytes, UpstreamError>>, UpstreamError> {
        let mut queue = self.shared.queue.borrow_mut();
        let now = Instant::now();
        if let Some((until, cause)) = &queue.down
            && now < *until
        {
            return Err(cause.clone());
        }
        let limits = &self.shared.limits;
        if queue.waiting.len() >= limits.waiting_max || queue.unsent.len() + requests.len() > limits.unsent_bytes_max {
            return Err(UpstreamError::Busy);
        }
        let (answer, receiver) = oneshot::channel();
        if queue.unsent.is_empty() {
            self.shared.wake.notify_one();
        }
        queue.unsent.extend_from_slice(requests);
        queue.waiting.push_back(Waiting { replies, deadline: now + self.shared.remote.timeout, answer });
        Ok(receiver)
    }
}

/// The link's life: wait for work, connect, serve until something breaks, tell everyone, again.
async fn run(shared: Rc<Shared>, node: Weak<Node>) {
    let mut backoff = shared.limits.backoff_min;
    while shared.has_work_before_end(&node).await {
        match connect(&shared.remote, &shared.limits).await {
            Ok(stream) => {
                backoff = shared.limits.backoff_min;
                let cause = serve(&shared, &node, stream).await;
                shared.fail_all(&cause);
            }
            Err(cause) => {
                tracing::warn!(backend = %shared.remote.host, port = shared.remote.port, %cause, "backend connection failed");
                shared.queue.borrow_mut().down = Some((Instant::now() + backoff, cause.clone()));
                shared.fail_all(&cause);
                backoff = (backoff * 2).min(shared.limits.backoff_max);
            }
        }
    }
}

impl Shared {
    /// Waits for the first request; false when the server is gone from the configuration.
    async fn has_work_before_end(&self, node: &Weak<Node>) -> bool {
        while self.queue.borrow().waiting.is_empty() {
            let _ = tokio::time::timeout(IDLE_CHECK, self.wake.notified()).await;
            if self.queue.borrow().waiting.is_empty() && node.strong_count() == 0 {
                return false;
            }
        }
        true
    }

    fn fail_all(&self, cause: &UpstreamError) {
        let waiting = {
            let mut queue = self.queue.borrow_mut();
            queue.unsent.clear();
            std::mem::take(&mut queue.waiting)
        };
        for one in waiting {
            // A caller that went away needs no answer.
            let _ = one.answer.send(Err(cause.clone()));
        }
    }

    /// Writes what the socket takes; false when the socket is dead.
    fn flush(&self, stream: &TcpStream) -> bool {
        let mut queue = self.queue.borrow_mut();
        while !queue.unsent.is_empty() {
            match stream.try_write(&queue.unsent) {
                Ok(0) => return false,
                Ok(written) => queue.unsent.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        if queue.unsent.capacity() > KEPT_BYTES {
            queue.unsent = BytesMut::new();
        }
        true
    }

    fn is_sent(&self) -> bool {
        self.queue.borrow().unsent.is_empty()
    }

    fn first_deadline(&self) -> Option<Instant> {
        self.queue.borrow().waiting.front().map(|one| one.deadline)
    }
}

/// Serves until the connection is of no more use; answers why.
async fn serve(shared: &Shared, node: &Weak<Node>, stream: TcpStream) -> UpstreamError {
    let mut replies = Replies { buffer: BytesMut::with_capacity(16 * 1024), framer: None };
    let timer = sleep_until(shared.first_deadline().unwrap_or_else(|| Instant::now() + IDLE_CHECK));
    tokio::pin!(timer);
    loop {
        if !shared.flush(&stream) {
            return UpstreamError::Lost;
        }
        let sent = shared.is_sent();
        tokio::select! {
            biased;
            ready = stream.readable() => {
                if ready.is_err() || !replies.read(&stream) {
                    return UpstreamError::Lost;
                }
                if replies.deliver(shared).is_err() {
                    return UpstreamError::BadReply;
                }
            }
            _ = shared.wake.notified() => {}
            _ = stream.writable(), if !sent => {}
            () = timer.as_mut() => {
                let now = Instant::now();
                match shared.first_deadline() {
                    Some(deadline) if deadline <= now => return UpstreamError::TimedOut,
                    Some(deadline) => timer.as_mut().reset(deadline),
                    None if node.strong_count() == 0 => return UpstreamError::Lost,
                    // A request that comes in the meantime has a later deadline than this.
                    None => timer.as_mut().reset(now + shared.remote.timeout.min(IDLE_CHECK)),
                }
            }
        }
    }
}

/// What has arrived and not been handed out.
struct Replies {
    buffer: BytesMut,
    /// Set while the first waiting request has a part of its replies.
    framer: Option<Framer>,
}

impl Replies {
    /// Takes what the socket has; false when it has ended.
    fn read(&mut self, stream: &TcpStream) -> bool {
        self.buffer.reserve(8 * 1024);
        match stream.try_read_buf(&mut self.buffer) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    /// Hands whole groups of replies to those who wait, oldest first.
    fn deliver(&mut self, shared: &Shared) -> Result<(), UpstreamError> {
        while !self.buffer.is_empty() {
            let mut queue = shared.queue.borrow_mut();
            // Bytes that nobody asked for: the stream is out of step and must not answer the next caller.
            let Some(first) = queue.waiting.front() else { return Err(UpstreamError::BadReply) };
            let framer = self.framer.get_or_insert_with(|| Framer::new(first.replies, shared.limits.reply_bytes_max));
            let Some(end) = framer.advance(&self.buffer).map_err(|_| UpstreamError::BadReply)? else { return Ok(()) };
            self.framer = None;
            let bytes = self.buffer.split_to(end).freeze();
            if let Some(first) = queue.waiting.pop_front() {
                let _ = first.answer.send(Ok(bytes));
            }
        }
        Ok(())
    }
}
