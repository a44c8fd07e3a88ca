//! A policy compiled for one principal and one cache.

use super::{Admitted, Asks, Denied, Permit};

/// What one caller may do on one cache.
#[derive(Debug)]
pub struct Grant {
    full: bool,
}

impl Grant {
    pub(super) const NONE: Self = Self { full: false };

    /// Whether everything is allowed, so that nothing needs to be asked.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Judges a call.
    ///
    /// # Errors
    /// The call back, and why not.
    #[inline]
    pub fn permit<C: Asks>(&self, _inside: &Admitted, call: C, _wall_ms: u64) -> Result<Permit<C>, (C, Denied)> {
        if self.full {
            return Ok(Permit::new(call));
        }
        Err((call, Denied::Implicit))
    }
}
