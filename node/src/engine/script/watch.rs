//! What the limits of a running script are checked by.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::Live;
use crate::db::processor_ns;

pub(super) const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
pub(super) const TOO_LONG: &str = "ERR the script ran for more instructions than it may (lua-instruction-limit)";
pub(super) const LOAD_TIMEOUT: &str = "ERR FUNCTION LOAD timeout";

/// What one instruction is reckoned at. What of a script's processor time is beyond it counts as instructions too: one can
/// copy or compare megabytes.
const INSTRUCTION_NS: u64 = 20;
/// Between two looks it takes so long that its processor time is asked for, which is a system call.
pub(super) const HEAVY: Duration = Duration::from_millis(1);

/// The budget of what runs now on one Lua state.
#[derive(Default)]
pub(super) struct Watch {
    left: Cell<u64>,
    ended: Cell<Option<&'static str>>,
    live: RefCell<Option<Arc<Live>>>,
    /// When the script was first looked at.
    since: Cell<Option<Instant>>,
    /// When it was looked at last.
    looked: Cell<Option<Instant>>,
    /// The thread's processor time when it was asked for last, in ns, and what was left then.
    reckoned: Cell<Option<(u64, u64)>>,
    /// By when loading a library has to be done: a time, and the thread's processor time in ns. Both have to be over, as a
    /// machine may be busy.
    until: Cell<Option<(Instant, u64)>>,
}

impl Watch {
    /// A script begins.
    pub(super) fn begin(&self, live: &Arc<Live>, instructions_max: u64) {
        self.left.set(if instructions_max == 0 { u64::MAX } else { instructions_max });
        self.ended.set(None);
        self.since.set(None);
        self.looked.set(None);
        self.reckoned.set(None);
        self.until.set(None);
        *self.live.borrow_mut() = Some(live.clone());
    }

    /// A library is loaded, for so long at most.
    pub(super) fn begin_loading(&self, most: Duration) {
        self.left.set(u64::MAX);
        self.ended.set(None);
        self.until.set(Some((Instant::now() + most, processor_ns() + most.as_nanos() as u64)));
    }

    /// It ended; why it had to, if it had to.
    pub(super) fn end(&self) -> Option<&'static str> {
        *self.live.borrow_mut() = None;
        self.until.set(None);
        self.ended.take()
    }

    pub(super) fn ended(&self) -> Option<&'static str> {
        self.ended.get()
    }

    /// A look at the clock, at something that has run for some time.
    pub(super) fn look(&self) {
        let now = Instant::now();
        if let Some((until, until_ns)) = self.until.get() {
            if now >= until && processor_ns() >= until_ns {
                self.ended.set(Some(LOAD_TIMEOUT));
            }
            return;
        }
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        if self.looked.replace(Some(now)).is_some_and(|last| now - last >= HEAVY) {
            self.reckon();
        }
        if self.live.borrow().as_ref().is_some_and(|live| live.look(now - since)) {
            self.ended.set(Some(KILLED));
        }
    }

    /// Spends what its processor time says and its instructions do not.
    fn reckon(&self) {
        let (now_ns, left) = (processor_ns(), self.left.get());
        if let Some((before_ns, before)) = self.reckoned.get() {
            let took = now_ns.saturating_sub(before_ns) / INSTRUCTION_NS;
            self.spend(took.saturating_sub(before.saturating_sub(left)));
        }
        self.reckoned.set(Some((now_ns, self.left.get())));
    }

    /// A look behind something that is one instruction and may be long; why it has to end, if it has to.
    pub(super) fn look_behind(&self) -> Option<&'static str> {
        self.look();
        self.ended()
    }

    pub(super) fn spend(&self, instructions: u64) {
        let left = self.left.get().saturating_sub(instructions);
        self.left.set(left);
        if left == 0 {
            self.ended.set(Some(TOO_LONG));
        } else if self.live.borrow().as_ref().is_some_and(|live| live.is_killed()) {
            self.ended.set(Some(KILLED));
        }
    }

    /// Whether there may be so many more steps of something no hook is called in.
    pub(super) fn allows(&self, steps: u32) -> bool {
        self.spend(steps.into());
        self.look();
        self.ended.get().is_none()
    }
}
