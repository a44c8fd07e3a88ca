//! One RESP connection: bytes in, batches run, bytes out. All the waiting of a connection is in here.
//!
//! A turn is: one read, as many batches as fit in [`TURN_US`], one write. Requests are read into the worker's own
//! buffer and replies written into the worker's own; only what is left over (half a request, replies the socket did not
//! take) moves into buffers of the connection, so an idle connection holds none. While more than
//! `output_bytes_max` of replies wait, nothing is read and nothing runs.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, ReadBuf};

use super::client::{Client, Holdings};
use super::config::ConnectionLimits;
use super::unsent::Unsent;
use super::wire::Wire;
use crate::engine::{Calls, Next, TURN_OUT_BYTES};
use crate::pubsub::Inbox;
use crate::resp::Out;
use crate::workers::{Guest, Phase, PhaseWatch, Seat};

/// How long one connection may keep its worker before others have a turn.
const TURN_US: u64 = 200;
/// The worker's read buffer: the most one read of small requests takes.
const READ_BYTES: usize = 64 * 1024;
/// Least room made for the rest of a request.
const ROOM_BYTES_MIN: usize = 16 * 1024;
/// Requests read ahead while the client waits in a blocking command.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// After a refusal the rest of what the client sends is read and forgotten, so that the reply is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How slowly a client that has hung up may read its last replies: they are counted as nobody's memory any more.
const LAST: Pace = Pace { pause: Duration::from_secs(5), bytes_per_s: 64 * 1024 };
/// Turns refused by a held partition before the connection sleeps instead of yielding.
const BUSY_YIELDS: u32 = 16;

/// How slow a reader may be.
#[derive(Clone, Copy)]
struct Pace {
    /// Without reading anything.
    pause: Duration,
    /// On the whole, but for one pause.
    bytes_per_s: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// A worker's buffers, used by one turn at a time.
struct Scratch {
    input: Box<[u8]>,
    out: Out,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; READ_BYTES].into(), out: Out::new(2) }
    }
}

/// A connection on its worker.
pub(super) struct Connection<C, W> {
    stream: W,
    client: C,
    seat: Seat,
    limits: ConnectionLimits,
    phase: PhaseWatch,
    _guest: Guest,
    /// Requests not run yet, from `at` on.
    input: Vec<u8>,
    at: usize,
    unsent: Unsent,
    /// Bytes of both, as the client was told last.
    held: Holdings,
    /// The inbox rang, and what it holds has not been delivered.
    rung: bool,
    /// The client's calls know this task.
    is_registered: bool,
}

/// Why a wait ended.
enum Event {
    /// So many bytes are in the worker's buffer.
    Fresh(usize),
    /// More bytes are in the connection's own buffer.
    More,
    /// The inbox rang, or the wait of a blocking command is over.
    Due,
    /// Replies left: nothing waits any more, or little enough.
    Flushed,
    /// The client is gone, was idle for too long, or the server stops.
    End,
    /// As before, with replies or requests that the client may still care for.
    HangUp,
}

impl<C: Client, W: Wire> Connection<C, W> {
    /// A connection whose first bytes, `input`, were read already.
    pub(super) fn new(
        stream: W,
        client: C,
        seat: Seat,
        limits: ConnectionLimits,
        guest: Guest,
        input: Vec<u8>,
    ) -> Self {
        let phase = guest.drain().watch();
        Self {
            stream,
            client,
            seat,
            limits,
            phase,
            _guest: guest,
            input,
            at: 0,
            unsent: Unsent::default(),
            held: Holdings::default(),
            rung: false,
            is_registered: false,
        }
    }

    /// The whole life of the connection.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice, and there are many connections")]
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        async move {
            match self.serve().await {
                // Boxed as what few connections come to: what a task may ever need, it has room for all the time.
                Ok(true) => Box::pin(self.hang_up()).await,
                Ok(false) => {}
                // A reset or a broken pipe is how clients leave; there is nobody to tell.
                Err(error) => tracing::debug!(%error, "connection lost"),
            }
        }
    }

    /// Serves until the end; true when the client is still there and is owed its last replies.
    async fn serve(&mut self) -> io::Result<bool> {
        let mut next = if self.input.is_empty() { Next::Read { missing: 1 } } else { self.turn(0)? };
        let mut refused = 0;
        loop {
            next = match next {
                // Who was cut is owed nothing more.
                Next::Close => return Ok(!self.client.calls().is_some_and(|calls| calls.has(Calls::CLOSE))),
                Next::Again if !self.is_over_limit() => {
                    tokio::task::yield_now().await;
                    self.turn(0)?
                }
                Next::Busy => {
                    refused += 1;
                    self.stand_back(refused).await;
                    self.turn(0)?
                }
                Next::Again | Next::Read { .. } | Next::Blocked(_) => match self.wait(next).await? {
                    Event::Fresh(n) => self.turn(n)?,
                    Event::More if matches!(next, Next::Blocked(_)) => next,
                    Event::More => self.turn(0)?,
                    Event::Due => self.deliver()?,
                    Event::Flushed => next,
                    Event::End => return Ok(false),
                    Event::HangUp => return Ok(true),
                },
            };
            if !matches!(next, Next::Busy) {
                refused = 0;
            }
        }
    }

    /// Whether something that was written has not left.
    #[inline]
    fn waits(&self) -> bool {
        !self.unsent.is_empty() || self.stream.holds()
    }

    #[inline]
    fn is_over_limit(&self) -> bool {
        self.unsent.bytes() > self.limits.output_bytes_max
    }

    async fn stand_back(&self, refused: u32) {
        match refused {
            0..=BUSY_YIELDS => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }

    /// Runs what was read: `fresh` bytes of the worker's buffer, or what the connection's own holds. One write.
    fn turn(&mut self, fresh: usize) -> io::Result<Next> {
        SCRATCH.with_borrow_mut(|scratch| {
            let own = std::mem::take(&mut self.input);
            let input = if own.is_empty() { &scratch.input[..fresh] } else { &own[self.at..] };
            let waits = !self.unsent.is_empty();
            // A turn that panicked may have left half a reply here: it is another client's.
            scratch.out.clear();
            let out = if waits { self.unsent.back() } else { &mut scratch.out };
            let before = out.mark();
            let (consumed, next) = run(&mut self.client, &self.seat, input, out);
            let written = out.len_since(before);
            if consumed.max(written) as u64 >= self.client.large_bytes() {
                let run = input.get(..consumed).unwrap_or_default();
                self.client.was_large(run, out, before, self.seat.now());
            }
            self.keep(own, &scratch.input[..fresh], consumed);
            self.client.count(fresh, written);
            self.write(&mut scratch.out)?;
            self.weigh();
            Ok(next)
        })
    }

    /// Keeps what was not consumed of the connection's own bytes, or else of `fresh`.
    #[inline]
    fn keep(&mut self, mut own: Vec<u8>, fresh: &[u8], consumed: usize) {
        if own.is_empty() {
            if let Some(rest) = fresh.get(consumed..).filter(|rest| !rest.is_empty()) {
                own.extend_from_slice(rest);
                self.at = 0;
            }
        } else {
            self.at += consumed;
            if self.at == own.len() {
                // The next requests go through the worker's buffer again.
                own = Vec::new();
                self.at = 0;
            }
        }
        self.input = own;
    }

    /// Tells the client what it makes us hold, where that changed.
    #[inline]
    fn weigh(&mut self) {
        let query = self.input.len() - self.at;
        let query_room = self.input.capacity() - query;
        let held = Holdings { query, query_room, replies: self.unsent.bytes() };
        if held != self.held {
            self.held = held;
            self.client.holds(held);
        }
    }

    /// Writes `out` if nothing waits before it, and keeps what the socket does not take.
    #[inline]
    fn write(&mut self, out: &mut Out) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.flush(&mut self.stream)?;
            return Ok(());
        }
        if out.is_empty() {
            return Ok(());
        }
        let sent = self.stream.send(out, 0)?;
        if sent < out.len() {
            self.unsent.hold(out, sent);
        }
        Ok(())
    }

    /// Writes what others have for this client.
    fn deliver(&mut self) -> io::Result<Next> {
        self.rung = false;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.out.clear();
            let out = if self.unsent.is_empty() { &mut scratch.out } else { self.unsent.back() };
            let before = out.len();
            let next = self.client.deliver(self.seat.now(), out);
            let written = out.len().saturating_sub(before);
            self.client.count(0, written);
            self.write(&mut scratch.out)?;
            self.weigh();
            let next = if matches!(next, Next::Read { .. }) && self.at < self.input.len() { Next::Again } else { next };
            Ok(next)
        })
    }

    /// Waits for what `next` needs: bytes, room in the socket, the inbox, the time, the end.
    async fn wait(&mut self, next: Next) -> io::Result<Event> {
        let timer = self.timer(next);
        let mut timer = pin!(timer);
        let inbox = self.client.inbox().cloned();
        let inbox = inbox.as_deref();
        let mut rang = pin!(inbox.map(Inbox::rang));
        std::future::poll_fn(|cx| {
            if self.poll_calls(cx) {
                return Poll::Ready(Ok(Event::End));
            }
            if self.waits()
                && let Poll::Ready(event) = self.poll_flush(cx, next)
            {
                return Poll::Ready(event);
            }
            if let Poll::Ready(event) = self.poll_input(cx, next) {
                return Poll::Ready(event);
            }
            while rang.as_mut().as_pin_mut().is_some_and(|rang| rang.poll(cx).is_ready()) {
                self.rung = true;
                rang.set(inbox.map(Inbox::rang));
            }
            // Who reads nothing is given nothing more, unless it is the end.
            if self.rung && (!self.is_over_limit() || inbox.is_some_and(Inbox::overflowed)) {
                return Poll::Ready(Ok(Event::Due));
            }
            self.poll_end(cx, next, timer.as_mut())
        })
        .await
    }

    /// The moment a wait is over: of a blocking command, of a silent client, or of one whose credential ends.
    fn timer(&self, next: Next) -> Option<tokio::time::Sleep> {
        let idle_ms = self.client.idle_timeout_ms(self.limits.idle_timeout_ms);
        let deadline = match next {
            Next::Blocked(deadline_us) => deadline_us.map(|us| self.seat.instant(us)),
            _ if idle_ms > 0 && !self.client.is_listening() => {
                Some(std::time::Instant::now() + Duration::from_millis(idle_ms))
            }
            _ => None,
        };
        let deadline = match self.client.ends_at_ms() {
            None => deadline,
            Some(ends_at_ms) => {
                let left = Duration::from_millis(ends_at_ms.saturating_sub(self.seat.now().wall_ms));
                let end = std::time::Instant::now() + left;
                Some(deadline.map_or(end, |at| at.min(end)))
            }
        };
        deadline.map(|at| tokio::time::sleep_until(at.into()))
    }
}

impl<C: Client, W: Wire> Connection<C, W> {
    /// Whether the client is to be closed at once. Whatever else is called for is delivered as if the inbox rang.
    #[inline]
    fn poll_calls(&mut self, cx: &Context<'_>) -> bool {
        let Some(calls) = self.client.calls() else { return false };
        if !self.is_registered {
            // A task is woken by the same waker to its end.
            calls.register(cx.waker());
            self.is_registered = true;
        }
        if calls.any() {
            self.rung = true;
            return calls.has(Calls::CLOSE);
        }
        false
    }

    /// Replies that wait: written as the socket takes them, and worth an event when that lets the connection go on.
    fn poll_flush(&mut self, cx: &mut Context<'_>, next: Next) -> Poll<io::Result<Event>> {
        while self.waits() {
            ready!(self.stream.poll_room(cx))?;
            if self.unsent.is_empty() {
                self.stream.push()?;
            } else {
                self.unsent.flush(&mut self.stream)?;
            }
            self.weigh();
            // Only whole requests wait for room here; whoever waits for bytes goes on to look for them.
            if matches!(next, Next::Again) && !self.is_over_limit() {
                return Poll::Ready(Ok(Event::Flushed));
            }
        }
        Poll::Pending
    }

    /// Bytes of the client, where they are wanted.
    fn poll_input(&mut self, cx: &mut Context<'_>, next: Next) -> Poll<io::Result<Event>> {
        let missing = match next {
            Next::Read { missing } if !self.is_over_limit() && self.phase.poll_phase(cx) == Phase::Serving => missing,
            // Read ahead only to learn that the client is gone.
            Next::Blocked(_) if self.input.len() - self.at < AHEAD_BYTES_MAX => ROOM_BYTES_MIN,
            _ => return Poll::Pending,
        };
        if self.input.is_empty() && !matches!(next, Next::Blocked(_)) {
            return self.poll_fresh(cx);
        }
        self.make_room(missing);
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        self.client.count(read, 0);
        self.weigh();
        Poll::Ready(Ok(if read == 0 { self.end_of_input() } else { Event::More }))
    }

    /// A client that sends nothing more may still be reading.
    fn end_of_input(&self) -> Event {
        if self.unsent.is_empty() { Event::End } else { Event::HangUp }
    }

    /// A read into the worker's buffer. A read that does not fill it tells tokio that the socket is empty, which spares
    /// the second read that would find that out.
    #[inline]
    fn poll_fresh(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(&mut scratch.input);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            // No other task runs between here and the turn that follows: it is the same poll of this one.
            Poll::Ready(Ok(match read.filled().len() {
                0 => self.end_of_input(),
                n => Event::Fresh(n),
            }))
        })
    }

    /// Room for the rest of a request, little more than what has come so far: a claimed length reserves nothing. A large
    /// argument gets what it needs, and not twice as much; the quarter more is for one of a power of two, and for many
    /// small ones, of which only the next is known and which are not to be copied for each.
    fn make_room(&mut self, missing: usize) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        let held = self.input.len();
        if self.input.capacity() - held < missing.max(1) {
            let most = (held + held / 4).max(READ_BYTES);
            self.input.reserve_exact(missing.clamp(ROOM_BYTES_MIN, most).max(held / 4));
        }
    }

    /// The ways a wait ends without anything to run.
    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        next: Next,
        timer: Pin<&mut Option<tokio::time::Sleep>>,
    ) -> Poll<io::Result<Event>> {
        match (self.phase.poll_phase(cx), next) {
            (Phase::Serving, _) => {}
            (Phase::Cutting, _) => return Poll::Ready(Ok(Event::End)),
            // What was read whole is still answered; half a request or a blocked one is not.
            (Phase::Draining, Next::Again) => {}
            (Phase::Draining, _) => return Poll::Ready(Ok(Event::HangUp)),
        }
        let Some(timer) = timer.as_pin_mut() else { return Poll::Pending };
        ready!(timer.poll(cx));
        Poll::Ready(Ok(if matches!(next, Next::Blocked(_)) { Event::Due } else { Event::End }))
    }

    /// Writes the last replies as long as the client takes some, says that there will be no more, and lets the client
    /// close first.
    async fn hang_up(self) {
        let Connection { mut stream, client, mut phase, _guest, mut unsent, .. } = self;
        // What it listened to, watched and waited for is left now, however long its last replies take.
        drop(client);
        match until_cut(&mut phase, write_last(&mut stream, &mut unsent, LAST)).await {
            Some(Ok(())) => {}
            _ => return,
        }
        if stream.finish().is_err() {
            return;
        }
        let linger = async {
            let mut sink = [0; 4096];
            let mut left = LINGER_BYTES_MAX;
            while let Ok(n @ 1..) = stream.read(&mut sink).await {
                left = left.saturating_sub(n);
                if left == 0 {
                    return;
                }
            }
        };
        until_cut(&mut phase, tokio::time::timeout(LINGER, linger)).await;
    }
}

/// Batches of `input` until it holds no whole request, the turn is over, or a request has to wait: how much was
/// consumed, and what comes next.
#[inline]
fn run<C: Client>(client: &mut C, seat: &Seat, input: &[u8], out: &mut Out) -> (usize, Next) {
    let mut now = seat.now();
    let until_us = now.mono_us + TURN_US;
    let mut consumed = 0;
    loop {
        let rest = input.get(consumed..).unwrap_or_default();
        let progress = client.batch(rest, now, out);
        consumed += progress.consumed;
        let slow_us = client.slow_us();
        if slow_us < u64::MAX {
            let us = seat.mono_us().saturating_sub(now.mono_us);
            client.timed(us);
            if us >= slow_us {
                client.took(rest.get(..progress.consumed).unwrap_or_default(), us, now);
            }
        }
        if !matches!(progress.next, Next::Again) || out.len() >= TURN_OUT_BYTES {
            return (consumed, progress.next);
        }
        now = seat.now();
        if now.mono_us >= until_us {
            return (consumed, Next::Again);
        }
    }
}

/// Writes what is left, to a client that goes on reading it and is not too slow at that.
async fn write_last(stream: &mut impl Wire, unsent: &mut Unsent, pace: Pace) -> io::Result<()> {
    let most = pace.pause + Duration::from_millis((unsent.bytes() * 1000 / pace.bytes_per_s) as u64);
    let all = async {
        loop {
            match unsent.is_empty() {
                true => stream.push()?,
                false => drop(unsent.flush(stream)?),
            }
            if unsent.is_empty() && !stream.holds() {
                return io::Result::Ok(());
            }
            tokio::time::timeout(pace.pause, std::future::poll_fn(|cx| stream.poll_room(cx))).await??;
        }
    };
    tokio::time::timeout(most, all).await?
}

/// `task`, or nothing when the server stops waiting.
async fn until_cut<T>(phase: &mut PhaseWatch, task: impl Future<Output = T>) -> Option<T> {
    let mut task = pin!(task);
    std::future::poll_fn(|cx| match phase.poll_phase(cx) {
        Phase::Cutting => Poll::Ready(None),
        _ => task.as_mut().poll(cx).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Takes so many bytes every 20 ms.
    struct Slow {
        bytes: usize,
        next: RefCell<Pin<Box<tokio::time::Sleep>>>,
    }

    impl tokio::io::AsyncRead for Slow {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl Wire for Slow {
        fn send(&mut self, out: &Out, sent: usize) -> io::Result<usize> {
            let is_due = self.next.borrow().is_elapsed();
            *self.next.borrow_mut() = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
            Ok(if is_due { self.bytes.min(out.len() - sent) } else { 0 })
        }

        fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.next.borrow_mut().as_mut().poll(cx).map(Ok)
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Whether a client of this pace gets its last megabyte, and how long that took it.
    fn gets_a_megabyte(bytes: usize) -> (bool, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let start = tokio::time::Instant::now();
            let (mut out, mut unsent) = (Out::new(2), Unsent::default());
            out.raw(&vec![b'x'; 1 << 20]);
            unsent.hold(&mut out, 0);
            let next = RefCell::new(Box::pin(tokio::time::sleep(Duration::ZERO)));
            let pace = Pace { pause: Duration::from_secs(1), bytes_per_s: 2 << 20 };
            let is_ok = write_last(&mut Slow { bytes, next }, &mut unsent, pace).await.is_ok();
            (is_ok, start.elapsed())
        })
    }

    #[test]
    fn last_replies_wait_for_a_slow_reader_and_not_for_ever() {
        assert!(gets_a_megabyte(1 << 20).0 && gets_a_megabyte(1 << 17).0);
        assert_eq!(gets_a_megabyte(1), (false, Duration::from_millis(1500)), "half a second, and a pause");
    }
}
