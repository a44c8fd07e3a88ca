//! Replies that the socket has not taken yet.

use std::io;

use super::wire::Wire;
use crate::resp::Out;

/// Buffers above this are given back once empty.
const KEPT_BYTES: usize = 16 * 1024;

/// What waits for a slow reader: `front` is being written, `back` gathers what follows meanwhile.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    front: Out,
    sent: usize,
    back: Out,
}

impl Unsent {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    /// Bytes held for the reader.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.front.len() - self.sent + self.back.len()
    }

    /// Where further replies go while something waits.
    pub(super) fn back(&mut self) -> &mut Out {
        &mut self.back
    }

    /// Takes all of `out`, whose first `sent` bytes are written already. Nothing may wait before it.
    #[cold]
    pub(super) fn hold(&mut self, out: &mut Out, sent: usize) {
        std::mem::swap(&mut self.front, out);
        out.clear();
        self.sent = sent;
    }

    /// Writes what the socket takes in one or two calls; true when nothing waits any more.
    #[cold]
    pub(super) fn flush(&mut self, wire: &mut impl Wire) -> io::Result<bool> {
        self.sent += wire.send(&self.front, self.sent)?;
        if self.sent < self.front.len() {
            return Ok(false);
        }
        self.empty();
        std::mem::swap(&mut self.front, &mut self.back);
        if self.front.is_empty() {
            return Ok(true);
        }
        self.sent = wire.send(&self.front, 0)?;
        if self.sent == self.front.len() {
            self.empty();
        }
        Ok(self.front.is_empty())
    }

    /// Forgets what is written, and the room for it.
    fn empty(&mut self) {
        self.sent = 0;
        self.front.clear();
        self.front.shrink(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::{Context, Poll};

    use super::*;

    /// A socket that takes all it is given.
    struct Open;

    impl tokio::io::AsyncRead for Open {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl Wire for Open {
        fn send(&mut self, out: &Out, sent: usize) -> io::Result<usize> {
            Ok(out.len() - sent)
        }

        fn poll_room(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_gives_its_room_back() {
        let (mut unsent, large) = (Unsent::default(), vec![b'x'; 1 << 20]);
        let mut out = Out::new(2);
        out.raw(&large);
        unsent.hold(&mut out, 0);
        unsent.back().raw(&large);
        assert!(unsent.flush(&mut Open).unwrap());
        let rooms = [&mut unsent.front, &mut unsent.back].map(|out| out.take().capacity());
        assert!(rooms.iter().all(|room| *room <= KEPT_BYTES), "{rooms:?}");
    }
}
