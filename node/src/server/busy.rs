//! When no worker responds: the control thread takes the connection, runs what ends a script and what a client says when
//! it connects, and hands the connection over as soon as a worker is back. What else is asked waits for that, and is told
//! BUSY once the workers have been held for `busy-reply-threshold`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Front;
use crate::commands;
use crate::engine::{Calls, Engine, Next};
use crate::error::CommandError;
use crate::resp::{Args, Limits, Out, Parsed, Resume, parse};
use crate::session::{Peer, Session};
use crate::workers::Workers;

/// How often the workers are looked at again.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes of one client that wait here: what is more waits in its socket.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// The cells of who is no worker.
pub(super) const CONTROL: usize = usize::MAX;
/// What runs here: nothing of it touches a key.
const SERVED: [&str; 14] = [
    "PING",
    "ECHO",
    "AUTH",
    "HELLO",
    "QUIT",
    "RESET",
    "SELECT",
    "SCRIPT|KILL",
    "FUNCTION|KILL",
    "FUNCTION|STATS",
    "CLIENT|ID",
    "CLIENT|KILL",
    "CLIENT|SETNAME",
    "CLIENT|SETINFO",
];
const BUSY: CommandError =
    CommandError::Text("BUSY Larder's workers are all held by long commands; PING is answered, try the rest again");

/// A connection that waits for a worker.
pub(super) struct Held<S> {
    pub(super) stream: S,
    /// What it sent that was not answered.
    pub(super) input: Vec<u8>,
    /// Its session, at an engine.
    pub(super) session: Option<Session>,
}

impl<S> Held<S> {
    /// The same, with the stream in another form.
    pub(super) fn with<T>(self, change: impl FnOnce(S) -> T) -> Held<T> {
        Held { stream: change(self.stream), input: self.input, session: self.session }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Held<S> {
    /// Serves it until a worker responds. `None` when the client left, or was told to.
    pub(super) async fn wait(mut self, front: &Front, peer: &Peer, workers: &Workers) -> Option<Self> {
        if let (None, Front::Engine(engine)) = (&self.session, front) {
            self.session = Some(engine.open(peer.clone(), CONTROL, workers.clock().now()).ok()?);
        }
        let mut is_over = false;
        while workers.choose().is_none() {
            if self.session.as_ref().is_some_and(|session| session.record.calls.has(Calls::CLOSE)) {
                return None;
            }
            if is_over || self.input.len() >= INPUT_BYTES_MAX {
                tokio::time::sleep(LOOK).await;
            } else {
                match tokio::time::timeout(LOOK, self.stream.read_buf(&mut self.input)).await {
                    Err(_) => {}
                    // A worker that came back meanwhile answers what just came.
                    Ok(Ok(1..)) if workers.choose().is_some() => break,
                    Ok(Ok(1..)) => {}
                    // It sends nothing more, and may wait for the answer to what it sent.
                    Ok(Ok(0)) if !self.input.is_empty() => is_over = true,
                    Ok(_) => return None,
                }
            }
            self.answer(front, workers).await.ok()?;
        }
        Some(self)
    }

    /// Answers what came, up to what waits for a worker.
    async fn answer(&mut self, front: &Front, workers: &Workers) -> io::Result<()> {
        let (mut out, mut at, mut open) = (Out::new(2), 0, true);
        while open && at < self.input.len() {
            let (Front::Engine(engine), Some(session)) = (front, &mut self.session) else { break };
            let limits = &engine.config.limits;
            let limits = if session.is_authenticated() { &limits.resp } else { &limits.resp_unauthenticated };
            let Some((request, name)) = whole(&self.input[at..], limits) else { break };
            let request = &self.input[at..at + request];
            let served = serve(engine, session, workers, request, name, &mut out);
            match served {
                Served::Wait => break,
                Served::Yes => at += request.len(),
                Served::Last => open = false,
            }
        }
        self.input.drain(..at);
        self.stream.write_all(&out.take()).await?;
        self.stream.flush().await?;
        if open { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }
}

enum Served {
    Yes,
    /// The connection ends after it.
    Last,
    /// It waits for a worker.
    Wait,
}

/// The length of the request that `input` begins with, and what it names; `None` while it is not whole.
fn whole(input: &[u8], limits: &Limits) -> Option<(usize, Named)> {
    let mut ranges = Vec::new();
    let named = |args: Args<'_>| match commands::resolve(args) {
        Ok(spec) if !SERVED.contains(&spec.name) => Named::Other,
        // The engine refuses what is no command; a browser's request it ends the connection for.
        _ => Named::Served,
    };
    match parse(input, 0, &mut ranges, limits, &mut Resume::default()) {
        Ok(Parsed::Complete { end, .. }) if ranges.is_empty() => Some((end, Named::Served)),
        Ok(Parsed::Complete { end, .. }) => Some((end, named(Args::new(input, &ranges)))),
        Ok(Parsed::Quoted { end, args }) => Some((end, named(args.as_args()))),
        Ok(Parsed::Incomplete { .. }) => None,
        // The engine says what is wrong with it.
        Err(_) => Some((input.len(), Named::Served)),
    }
}

enum Named {
    /// What is served here, or no command at all.
    Served,
    Other,
}

fn serve(
    engine: &Arc<Engine>,
    session: &mut Session,
    workers: &Workers,
    request: &[u8],
    named: Named,
    out: &mut Out,
) -> Served {
    out.set_protocol(session.protocol);
    if matches!(named, Named::Other) {
        if !session.is_authenticated() {
            out.error(CommandError::NoAuth.bytes());
            return Served::Yes;
        }
        let is_long = || workers.held_us() / 1000 >= engine.scripts.live.slow_ms();
        let Some(error) = engine.scripts.live.busy().or_else(|| is_long().then_some(BUSY)) else {
            return Served::Wait;
        };
        out.error(error.bytes());
        return Served::Yes;
    }
    let progress = engine.exec_batch(session, request, workers.clock().now(), out);
    match progress.next {
        Next::Close => Served::Last,
        _ if progress.consumed < request.len() => Served::Wait,
        _ => Served::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_the_engines_to_refuse() {
        let named = |input: &[u8]| whole(input, &Limits::DEFAULT).map(|(_, named)| matches!(named, Named::Served));
        assert_eq!(named(b"SCRIPT KILL\r\n"), Some(true));
        assert_eq!(named(b"GET k\r\n"), Some(false));
        // A browser's requests among them: the engine closes their connections.
        assert_eq!(named(b"POST / HTTP/1.1\r\n"), Some(true));
        assert_eq!(named(b"Host: x\r\n"), Some(true));
        assert_eq!(named(b"GET / HTTP/1.1\r\n"), Some(true));
        assert_eq!(named(b"GET"), None);
    }
}
