//! The judge: who is calling, may they come in, may they do that.

mod call;
mod chain;
mod grant;
mod refusal;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

pub use call::{Actions, Asks, Commands, Need};
pub use chain::{Admitted, Caller, Evidence, Permit, Source};
pub use grant::Grant;
pub use refusal::{AuthnError, Denied, NotAdmitted, Statement};

/// An immutable snapshot of who may do what from where.
#[derive(Debug)]
pub struct Access {
    _private: (),
}

impl Access {
    /// Who is calling.
    ///
    /// # Errors
    /// [`AuthnError`] when the evidence is malformed, wrong, expired or missing.
    pub fn authenticate(&self, _evidence: &Evidence<'_>, _wall_ms: u64) -> Result<Caller, AuthnError> {
        Err(AuthnError::refused("InvalidClientTokenId", "the credential is not known"))
    }

    /// Whether any of a listener's caches can be reached from an address: asked at accept.
    pub fn admits_any(&self, _caches: &[&str], _ip: IpAddr, _port: u16) -> bool {
        false
    }

    /// Lets a caller into one cache.
    ///
    /// # Errors
    /// [`NotAdmitted`], when the network, the credential's binding or the cache refuses.
    pub fn admit(&self, _caller: Caller, _source: Source, _cache: &str) -> Result<Admitted, NotAdmitted> {
        Err(NotAdmitted::UnknownCache)
    }

    /// What a caller may do in the cache it is in, compiled once per snapshot.
    pub fn grant(&self, _inside: &Admitted) -> Arc<Grant> {
        Arc::new(Grant::NONE)
    }

    /// Judges one call.
    ///
    /// # Errors
    /// The call back, and why not.
    pub fn authorize<C: Asks>(&self, inside: &Admitted, call: C, wall_ms: u64) -> Result<Permit<C>, (C, Denied)> {
        self.grant(inside).permit(inside, call, wall_ms)
    }
}

/// The newest [`Access`], changed as a whole.
#[derive(Debug)]
pub struct LiveAccess {
    newest: ArcSwap<Access>,
    epoch: AtomicU64,
}

impl LiveAccess {
    /// Starts with a snapshot.
    pub fn new(access: Access) -> Self {
        Self { newest: ArcSwap::from_pointee(access), epoch: AtomicU64::new(1) }
    }

    /// The newest snapshot.
    pub fn load(&self) -> Arc<Access> {
        self.newest.load_full()
    }

    /// Puts a new snapshot in place. Whoever compares epochs notices at their next command.
    pub fn publish(&self, access: Access) {
        self.newest.store(Arc::new(access));
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever the snapshot does. Read it before [`LiveAccess::load`].
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}
