//! The floor of the bench: the server's own runtime, buffers, framing and writes, without an engine.
//!
//! Requests are parsed like any others and answered by a constant: 64 bytes as a bulk string to a command that begins
//! with `G`, `+OK` to every other. What a real node costs above this is what its engine costs.

use std::sync::Arc;

use crate::engine::{Calls, Next, Progress};
use crate::pubsub::Inbox;
use crate::resp::{Limits, Mark, Out, Parsed, Resume, parse};
use crate::server::{Client, Holdings};
use crate::time::Now;

/// Requests answered in one batch, as the engine's.
const BATCH: usize = 32;
const VALUE: &[u8] = b"$64\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";

/// One client of the echo.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    resume: Resume,
    ranges: Vec<(u32, u32)>,
}

impl Client for Echo {
    fn batch(&mut self, input: &[u8], _now: Now, out: &mut Out) -> Progress {
        let mut consumed = 0;
        for _ in 0..BATCH {
            self.ranges.clear();
            match parse(input, consumed, &mut self.ranges, &Limits::DEFAULT, &mut self.resume) {
                Ok(Parsed::Complete { end, .. }) => {
                    let name = self.ranges.first().and_then(|&(start, _)| input.get(start as usize));
                    match name {
                        Some(b'G' | b'g') => out.raw(VALUE),
                        Some(_) => out.ok(),
                        None => {}
                    }
                    consumed = end;
                }
                Ok(Parsed::Quoted { end, .. }) => {
                    out.ok();
                    consumed = end;
                }
                Ok(Parsed::Incomplete { missing }) => return Progress { consumed, next: Next::Read { missing } },
                Err(error) => {
                    out.error([b"ERR ", &*error.text()].concat());
                    return Progress { consumed: input.len(), next: Next::Close };
                }
            }
        }
        Progress { consumed, next: Next::Again }
    }

    fn deliver(&mut self, _now: Now, _out: &mut Out) -> Next {
        Next::Read { missing: 1 }
    }

    fn inbox(&self) -> Option<&Arc<Inbox>> {
        None
    }

    fn is_listening(&self) -> bool {
        false
    }

    fn idle_timeout_ms(&self, opened_with: u64) -> u64 {
        opened_with
    }

    fn ends_at_ms(&self) -> Option<u64> {
        None
    }

    fn calls(&self) -> Option<&Calls> {
        None
    }

    fn slow_us(&self) -> u64 {
        u64::MAX
    }

    fn took(&self, _run: &[u8], _us: u64, _now: Now) {}

    fn large_bytes(&self) -> u64 {
        u64::MAX
    }

    fn was_large(&self, _run: &[u8], _out: &Out, _before: Mark, _now: Now) {}

    fn count(&self, _read: usize, _written: usize) {}

    fn timed(&self, _us: u64) {}

    fn holds(&self, _held: Holdings) {}
}
