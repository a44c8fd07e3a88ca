//! What one caller may do in one cache, compiled.

use std::sync::Arc;

use super::{Actions, Admitted, Asks, Denied, Need, Permit};
use crate::acl::{AccessString, Short};
use crate::policy::{Compiled, Moment};

/// What one caller may do on one cache.
#[derive(Debug)]
pub struct Grant {
    /// Everything, always: nothing is left to ask.
    full: bool,
    read_only: bool,
    expires_at_ms: u64,
    rights: Rights,
}

#[derive(Debug)]
enum Rights {
    All,
    None,
    User(Arc<AccessString>),
    /// A user's access string, bound by the policies of the principal that logged in as that user.
    Bound {
        acl: Arc<AccessString>,
        policies: Box<Compiled>,
        /// The policies have to allow, too; otherwise only what they deny is denied.
        required: bool,
    },
    Policies(Box<Compiled>),
}

impl Grant {
    fn new(rights: Rights) -> Self {
        let full = match &rights {
            Rights::All => true,
            Rights::None => false,
            Rights::User(acl) => acl.is_full(),
            Rights::Bound { acl, policies, required } => {
                acl.is_full() && if *required { policies.is_full() } else { !policies.has_denies() }
            }
            Rights::Policies(compiled) => compiled.is_full(),
        };
        Self { full, read_only: false, expires_at_ms: u64::MAX, rights }
    }

    pub(super) fn full() -> Self {
        Self::new(Rights::All)
    }

    pub(super) fn none() -> Self {
        Self::new(Rights::None)
    }

    pub(super) fn of_user(acl: &Arc<AccessString>) -> Self {
        Self::new(Rights::User(acl.clone()))
    }

    /// The grant of a user as whom a principal with these policies logged in.
    pub(super) fn of_bound(acl: &Arc<AccessString>, policies: Compiled, required: bool) -> Self {
        Self::new(Rights::Bound { acl: acl.clone(), policies: Box::new(policies), required })
    }

    pub(super) fn of_policies(compiled: Compiled) -> Self {
        Self::new(Rights::Policies(Box::new(compiled)))
    }

    /// The grant of a credential that may only read, or ends.
    pub(super) fn limited(mut self, read_only: bool, expires_at_ms: Option<u64>) -> Self {
        self.read_only = read_only;
        self.expires_at_ms = expires_at_ms.unwrap_or(u64::MAX);
        self.full &= !read_only && expires_at_ms.is_none();
        self
    }

    pub(super) fn access_string(&self) -> Option<&AccessString> {
        match &self.rights {
            Rights::User(acl) => Some(acl),
            _ => None,
        }
    }

    /// Whether it comes from a user's access string.
    pub fn is_of_user(&self) -> bool {
        matches!(self.rights, Rights::User(_))
    }

    /// Whether everything is allowed, so that nothing needs to be asked.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether what allows a call allows to read every key there is, as SORT asks for its patterns. Policies are not asked:
    /// where they count, only who may do everything may.
    pub fn reads_every_key(&self, call: &dyn Asks) -> bool {
        self.full || matches!(&self.rights, Rights::User(acl) if !self.read_only && acl.reads_every_key(call))
    }

    /// Whether a call that keeps its key's TTL is judged by it, so that somebody has to look at the key first.
    #[inline]
    pub fn uses_ttl(&self) -> bool {
        !self.full
            && match &self.rights {
                Rights::Policies(compiled) => compiled.uses_ttl(),
                Rights::Bound { policies, .. } => policies.uses_ttl(),
                _ => false,
            }
    }

    /// Judges a call: every need of it, before anything runs.
    ///
    /// # Errors
    /// The call back, and why not.
    #[inline]
    pub fn permit<C: Asks>(&self, inside: &Admitted, call: C, wall_ms: u64) -> Result<Permit<C>, (C, Denied)> {
        if self.full {
            return Ok(Permit::new(call));
        }
        // A user's grant neither ends nor is for reading only.
        let judged = match &self.rights {
            Rights::User(acl) if !self.read_only && wall_ms < self.expires_at_ms => {
                acl.judge(&call).map_err(Denied::from)
            }
            _ => self.judge(inside, &call, wall_ms),
        };
        match judged {
            Ok(()) => Ok(Permit::new(call)),
            Err(denied) => Err((call, denied)),
        }
    }

    /// Judges a call by an access string alone.
    pub(super) fn explain(&self, call: &dyn Asks) -> Result<(), Denied> {
        match &self.rights {
            Rights::User(acl) => Ok(acl.judge(call)?),
            _ => Err(Denied::Implicit),
        }
    }

    fn judge(&self, inside: &Admitted, call: &dyn Asks, wall_ms: u64) -> Result<(), Denied> {
        if wall_ms >= self.expires_at_ms {
            return Err(Denied::Expired);
        }
        if self.read_only {
            read_only(call)?;
        }
        match &self.rights {
            Rights::All => Ok(()),
            Rights::None => Err(Denied::Implicit),
            Rights::User(acl) => Ok(acl.judge(call)?),
            Rights::Bound { acl, policies, required } => {
                acl.judge(call)?;
                let moment = Moment { source: inside.source(), wall_ms };
                if *required { policies.decide(call, moment) } else { policies.decide_denies(call, moment) }
            }
            Rights::Policies(compiled) => compiled.decide(call, Moment { source: inside.source(), wall_ms }),
        }
    }
}

/// Asks `judge` about each need until one says no.
fn each_need(call: &dyn Asks, judge: impl Fn(Need<'_>) -> Result<(), Denied>) -> Result<(), Denied> {
    let mut answer = Ok(());
    call.needs(&mut |need| {
        if answer.is_ok() {
            answer = judge(need);
        }
    });
    answer
}

/// Reading a key is all that a read-only token may do: no listing, no publishing, no subscribing.
fn read_only(call: &dyn Asks) -> Result<(), Denied> {
    each_need(call, |need| match need {
        Need::Key(_, actions) if Actions::READ.contains(actions) => Ok(()),
        Need::Look(_) => Ok(()),
        _ => Err(Denied::ReadOnly),
    })
}

impl From<Short> for Denied {
    fn from(short: Short) -> Self {
        match short {
            Short::Command => Self::Command,
            Short::Unknown => Self::Unknown,
            Short::Key(_) => Self::Key,
            Short::Channel(_) => Self::Channel,
        }
    }
}

impl Short {
    /// The key or channel that is not allowed.
    pub(super) fn object(self, call: &dyn Asks) -> Option<Vec<u8>> {
        let (Self::Key(wanted) | Self::Channel(wanted)) = self else { return None };
        let (mut object, mut at) = (None, 0);
        call.needs(&mut |need| {
            if at == wanted {
                object = match need {
                    Need::Key(name, _) | Need::Look(name) | Need::Channel(name, _) | Need::Pattern(name, _) => {
                        Some(name.to_vec())
                    }
                    Need::Cache(_) | Need::Unknown => None,
                };
            }
            at += 1;
        });
        object
    }
}
