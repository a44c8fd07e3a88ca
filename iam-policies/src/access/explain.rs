//! Why a call would be allowed or denied, for people.

use super::{Access, Asks, Denied, Grant, Source};
use crate::policy::{Compiled, Explanation, Moment};

/// The whole road of a call that is only asked about.
#[derive(Debug, Clone)]
pub enum Explained {
    /// The cache's security groups do not let the address in; nothing else was asked.
    Network,
    /// A principal's policies, need by need.
    Policies(Explanation),
    /// The account itself, which may do everything.
    Root,
    /// A user's access string.
    AccessString(Result<(), Denied>),
}

impl Explained {
    /// Whether the call would run.
    pub fn is_allowed(&self) -> bool {
        match self {
            Self::Network => false,
            Self::Policies(explanation) => explanation.is_allowed(),
            Self::Root => true,
            Self::AccessString(result) => result.is_ok(),
        }
    }
}

impl Access {
    /// Explains a call by a principal or user, named as configured or by ARN.
    ///
    /// # Errors
    /// The name of who or what does not exist.
    pub fn explain(
        &self,
        who: &str,
        cache: &str,
        call: &dyn Asks,
        source: &Source,
        wall_ms: u64,
    ) -> Result<Explained, String> {
        let found = self.caches.get(cache).ok_or_else(|| format!("no cache is named {cache:?}"))?;
        if !self.network.admits(&found.groups, source.ip, source.port) {
            return Ok(Explained::Network);
        }
        let name = who.rsplit('/').next().unwrap_or(who);
        let principal =
            self.principals.get(who).or_else(|| self.principals.get(name).filter(|identity| identity.facts.arn == who));
        if let Some(identity) = principal {
            return Ok(if identity.is_root {
                Explained::Root
            } else {
                let layers = [identity.policies.clone()];
                let compiled = Compiled::new(&layers, &identity.facts, &found.facts);
                Explained::Policies(compiled.explain(call, Moment { source, wall_ms }))
            });
        }
        let user =
            found.users.get(who).ok_or_else(|| format!("no principal and no user of the cache is named {who:?}"))?;
        Ok(Explained::AccessString(Grant::of_user(&user.acl).explain(call)))
    }
}
