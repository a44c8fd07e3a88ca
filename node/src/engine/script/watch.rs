//! What the limits of a running script are checked by.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::live::Live;

pub(super) const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
pub(super) const TOO_LONG: &str = "ERR the script ran for more instructions than it may (lua-instruction-limit)";
pub(super) const LOAD_TIMEOUT: &str = "ERR FUNCTION LOAD timeout";

/// The budget of what runs now on one Lua state.
#[derive(Default)]
pub(super) struct Watch {
    left: Cell<u64>,
    ended: Cell<Option<&'static str>>,
    live: RefCell<Option<Arc<Live>>>,
    /// When the script was first looked at.
    since: Cell<Option<Instant>>,
    /// When loading a library has to be done.
    until: Cell<Option<Instant>>,
}

impl Watch {
    /// A script begins.
    pub(super) fn begin(&self, live: &Arc<Live>, instructions_max: u64) {
        self.left.set(if instructions_max == 0 { u64::MAX } else { instructions_max });
        self.ended.set(None);
        self.since.set(None);
        self.until.set(None);
        *self.live.borrow_mut() = Some(live.clone());
    }

    /// A library is loaded, until then at most.
    pub(super) fn begin_loading(&self, until: Instant) {
        self.left.set(u64::MAX);
        self.ended.set(None);
        self.until.set(Some(until));
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
        if let Some(until) = self.until.get() {
            if Instant::now() >= until {
                self.ended.set(Some(LOAD_TIMEOUT));
            }
            return;
        }
        let since = self.since.get().unwrap_or_else(Instant::now);
        self.since.set(Some(since));
        if self.live.borrow().as_ref().is_some_and(|live| live.look(since)) {
            self.ended.set(Some(KILLED));
        }
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
