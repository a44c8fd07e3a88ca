//! When no worker responds: the control thread takes the connection, answers PING, says BUSY to everything else, and
//! hands the connection over as soon as a worker is back.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::resp::{Args, Limits, Out, Parsed, Resume, parse};
use crate::workers::Workers;

/// How often the workers are looked at again.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes one client may send while everyone is busy.
const INPUT_BYTES_MAX: usize = 16 * 1024;
const BUSY: &str = "BUSY Larder's workers are all held by long commands; PING is answered, try the rest again";

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Waits until a worker responds, for a connection whose first bytes are no request.
pub(super) async fn wait(workers: &Workers) {
    while workers.choose().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Serves `stream` until a worker responds: then the stream, and what it sent that was not answered. `None` when the
/// client left or broke the protocol.
pub(super) async fn hold<S: Stream>(mut stream: S, workers: &Workers) -> Option<(S, Vec<u8>)> {
    let mut input = Vec::new();
    let mut resume = Resume::default();
    while workers.choose().is_none() {
        match tokio::time::timeout(LOOK, stream.read_buf(&mut input)).await {
            Err(_) => continue,
            // A worker that came back meanwhile answers what just came.
            Ok(Ok(1..)) if workers.choose().is_some() => break,
            Ok(Ok(1..)) => {}
            Ok(_) => return None,
        }
        answer(&mut stream, &mut input, &mut resume).await.ok()?;
    }
    Some((stream, input))
}

async fn answer(stream: &mut impl Stream, input: &mut Vec<u8>, resume: &mut Resume) -> io::Result<()> {
    let (mut out, mut at, mut ranges) = (Out::new(2), 0, Vec::new());
    let ended = loop {
        ranges.clear();
        match parse(input, at, &mut ranges, &Limits::UNAUTHENTICATED, resume) {
            Ok(Parsed::Complete { end, .. }) => {
                reply(Args::new(input, &ranges), &mut out);
                at = end;
            }
            Ok(Parsed::Quoted { end, args }) => {
                reply(args.as_args(), &mut out);
                at = end;
            }
            Ok(Parsed::Incomplete { .. }) => break input.len() - at > INPUT_BYTES_MAX,
            Err(error) => {
                out.error([b"ERR ", &*error.text()].concat());
                break true;
            }
        }
    };
    input.drain(..at);
    stream.write_all(&out.take()).await?;
    // The next parser begins this request anew.
    resume.reset();
    if ended { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
}

fn reply(args: Args<'_>, out: &mut Out) {
    match (args.len(), args.get(0)) {
        (0, _) => {}
        (1, name) if name.eq_ignore_ascii_case(b"PING") => out.simple("PONG"),
        (2, name) if name.eq_ignore_ascii_case(b"PING") => out.bulk(args.get(1)),
        _ => out.error(BUSY),
    }
}
