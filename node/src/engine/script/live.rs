//! The script that runs: how long already, whether it has changed something, whether it is to end. There is one at most in
//! an engine, as scripts hold the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::CommandError;
use crate::resp::{Args, OwnedArgs};

/// Redis's `busy-reply-threshold`.
const SLOW_MS: u64 = 5_000;
/// From here on others take care not to wait for the script's partitions.
const LONG: Duration = Duration::from_millis(1);

const NONE: u8 = 0;
const RUNNING: u8 = 1;
const IS_LONG: u8 = 2;
const IS_SLOW: u8 = 3;

/// What others see of the running script.
pub(crate) struct Live {
    phase: AtomicU8,
    /// It is a function, FCALL's.
    is_function: AtomicBool,
    wrote: AtomicBool,
    kill: AtomicBool,
    /// The function that runs.
    running: Mutex<Option<Arc<Running>>>,
    /// After so many milliseconds others are told that they wait for a script.
    slow_ms: AtomicU64,
}

/// A function that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// How it was called.
    pub(crate) command: OwnedArgs,
    pub(crate) since: Instant,
}

/// What SCRIPT KILL or FUNCTION KILL met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// Nothing runs.
    NothingRuns,
    /// What runs is the other kind: a function, or no function.
    OfOtherKind,
    /// It has changed something, and must come to its own end.
    HasWritten,
    /// It will end.
    Done,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(NONE),
            is_function: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            kill: AtomicBool::new(false),
            running: Mutex::default(),
            slow_ms: AtomicU64::new(SLOW_MS),
        }
    }
}

impl Live {
    pub(super) fn begin(&self, is_function: bool) {
        self.is_function.store(is_function, Ordering::Relaxed);
        self.wrote.store(false, Ordering::Relaxed);
        self.kill.store(false, Ordering::Relaxed);
        self.phase.store(RUNNING, Ordering::Release);
    }

    /// A function is about to begin.
    pub(crate) fn calls(&self, name: &str, args: Args<'_>) {
        let running = Running { name: name.to_owned(), command: args.to_owned(), since: Instant::now() };
        *self.running.lock() = Some(Arc::new(running));
    }

    /// The function that runs.
    ///
    /// # Errors
    /// It is a script, and has run for long.
    pub(crate) fn running(&self) -> Result<Option<Arc<Running>>, CommandError> {
        match (self.phase.load(Ordering::Acquire), self.is_function.load(Ordering::Relaxed)) {
            (NONE, _) => Ok(None),
            (_, true) => Ok(self.running.lock().clone()),
            (IS_SLOW, false) => Err(self.told()),
            (_, false) => Ok(None),
        }
    }

    pub(super) fn end(&self) {
        self.phase.store(NONE, Ordering::Release);
    }

    pub(super) fn wrote(&self) {
        self.wrote.store(true, Ordering::Release);
    }

    /// The script, which runs for so long, looks up: whether it is to end.
    pub(super) fn look(&self, took: Duration) -> bool {
        if took >= LONG {
            let is_slow = took.as_millis() >= u128::from(self.slow_ms());
            self.phase.store(if is_slow { IS_SLOW } else { IS_LONG }, Ordering::Release);
        }
        self.is_killed()
    }

    #[inline]
    pub(super) fn is_killed(&self) -> bool {
        self.kill.load(Ordering::Acquire)
    }

    /// Whether a script runs that may go on for long: who walks all partitions would wait for its.
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= IS_LONG
    }

    /// What a command is told whose partitions are held by a script that has run for too long.
    pub(crate) fn busy(&self) -> Option<CommandError> {
        (self.phase.load(Ordering::Acquire) == IS_SLOW).then(|| self.told())
    }

    fn told(&self) -> CommandError {
        CommandError::Text(if self.is_function.load(Ordering::Relaxed) {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        } else {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        })
    }

    pub(crate) fn slow_ms(&self) -> u64 {
        self.slow_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slow_ms(&self, ms: u64) {
        self.slow_ms.store(ms, Ordering::Relaxed);
    }

    /// Asks the running script, or function, to end.
    pub(crate) fn kill(&self, function: bool) -> Kill {
        if self.phase.load(Ordering::Acquire) == NONE {
            return Kill::NothingRuns;
        }
        if self.is_function.load(Ordering::Relaxed) != function {
            return Kill::OfOtherKind;
        }
        if self.wrote.load(Ordering::Acquire) {
            return Kill::HasWritten;
        }
        self.kill.store(true, Ordering::Release);
        Kill::Done
    }

    /// As [`Live::kill`], as a command's answer.
    pub(crate) fn killed(&self, function: bool) -> Result<(), CommandError> {
        match self.kill(function) {
            Kill::Done => Ok(()),
            Kill::NothingRuns => Err(CommandError::Text("NOTBUSY No scripts in execution right now.")),
            Kill::OfOtherKind => Err(self.told()),
            Kill::HasWritten => Err(CommandError::Text(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait \
                 the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            )),
        }
    }
}
