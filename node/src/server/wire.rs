//! What carries a connection's bytes: TCP, a Unix socket, or TLS over TCP.
//!
//! A connection writes without waiting, from whatever turn made the replies, and waits for room only when something was
//! left over. TCP and Unix sockets do that by themselves; a TLS stream is asked with a waker that wakes nobody.

use std::io::{self, IoSlice};
#[cfg(feature = "tls")]
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};

use crate::resp::Out;

/// Pieces given to one `writev`.
const PIECES_MAX: usize = 64;

/// A connection's bytes.
pub(super) trait Wire: AsyncRead + Unpin {
    /// One write of what follows the first `sent` bytes of `out`: how much was taken, 0 when nothing is taken now.
    fn send(&mut self, out: &Out, sent: usize) -> io::Result<usize>;

    /// Whether something that was taken waits in here.
    #[inline]
    fn holds(&self) -> bool {
        false
    }

    /// Writes what waits in here, as far as it goes.
    fn push(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Waits for room in the socket.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more will be sent.
    fn finish(&mut self) -> io::Result<()>;
}

macro_rules! plain {
    ($stream:ty) => {
        impl Wire for $stream {
            #[inline]
            fn send(&mut self, out: &Out, sent: usize) -> io::Result<usize> {
                let written = match out.as_slice() {
                    Some(bytes) => self.try_write(bytes.get(sent..).unwrap_or_default()),
                    None => {
                        let mut pieces = [IoSlice::new(b""); PIECES_MAX];
                        let n = out.io_slices(sent, &mut pieces);
                        self.try_write_vectored(&pieces[..n])
                    }
                };
                match written {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                    written => written,
                }
            }

            fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll_write_ready(cx)
            }

            fn finish(&mut self) -> io::Result<()> {
                socket2::SockRef::from(&*self).shutdown(std::net::Shutdown::Write)
            }
        }
    };
}

plain!(TcpStream);
plain!(UnixStream);

/// TLS over TCP, the server's side.
#[cfg(feature = "tls")]
pub(super) type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

#[cfg(feature = "tls")]
impl Wire for TlsStream {
    fn send(&mut self, out: &Out, sent: usize) -> io::Result<usize> {
        use tokio::io::AsyncWrite;
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        let taken = match out.as_slice() {
            Some(bytes) => Pin::new(&mut *self).poll_write(&mut nobody, bytes.get(sent..).unwrap_or_default()),
            None => {
                let mut pieces = [IoSlice::new(b""); PIECES_MAX];
                let n = out.io_slices(sent, &mut pieces);
                Pin::new(&mut *self).poll_write_vectored(&mut nobody, &pieces[..n])
            }
        };
        match taken {
            Poll::Ready(taken) => {
                let taken = taken?;
                self.push()?;
                Ok(taken)
            }
            Poll::Pending => Ok(0),
        }
    }

    fn holds(&self) -> bool {
        self.get_ref().1.wants_write()
    }

    fn push(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWrite;
        match Pin::new(self).poll_flush(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(pushed) => pushed,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_ref().0.poll_write_ready(cx)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.get_mut().1.send_close_notify();
        self.push()?;
        self.get_mut().0.finish()
    }
}
