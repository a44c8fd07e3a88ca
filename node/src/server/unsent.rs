//! Replies that the socket has not taken yet.

use std::io::{self, IoSlice};

use tokio::net::TcpStream;

use crate::resp::Out;

/// Pieces given to one `writev`.
const PIECES_MAX: usize = 64;
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
    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.sent += write_some(stream, &self.front, self.sent)?;
        if self.sent < self.front.len() {
            return Ok(false);
        }
        self.sent = 0;
        self.front.clear();
        self.front.shrink(KEPT_BYTES);
        std::mem::swap(&mut self.front, &mut self.back);
        if self.front.is_empty() {
            return Ok(true);
        }
        self.sent = write_some(stream, &self.front, 0)?;
        if self.sent == self.front.len() {
            self.sent = 0;
            self.front.clear();
        }
        Ok(self.front.is_empty())
    }
}

/// One write of what follows the first `sent` bytes of `out`: how much the socket took, 0 when it takes nothing now.
#[inline]
pub(super) fn write_some(stream: &TcpStream, out: &Out, sent: usize) -> io::Result<usize> {
    let written = match out.as_slice() {
        Some(bytes) => stream.try_write(bytes.get(sent..).unwrap_or_default()),
        None => {
            let mut pieces = [IoSlice::new(b""); PIECES_MAX];
            let n = out.io_slices(sent, &mut pieces);
            stream.try_write_vectored(&pieces[..n])
        }
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
