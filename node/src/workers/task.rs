//! The wrapper of every task on a worker: it keeps the pulse, and keeps a panic from spreading.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Local, Seat};

pub(super) struct Watched {
    task: Option<Local>,
    seat: Seat,
}

impl Watched {
    pub(super) fn new(task: Local, seat: Seat) -> Self {
        Self { task: Some(task), seat }
    }
}

impl Future for Watched {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.seat.beat();
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        // What a task holds is its own connection's: after a panic it is dropped and nobody sees it half changed. What
        // it shares is behind the engine's locks, whose guards abort.
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                self.seat.count_panic();
                let task = self.task.take();
                if catch_unwind(AssertUnwindSafe(|| drop(task))).is_err() {
                    self.seat.count_panic();
                }
                tracing::error!(worker = self.seat.worker, "a connection's task panicked; the connection is closed");
                Poll::Ready(())
            }
        }
    }
}
