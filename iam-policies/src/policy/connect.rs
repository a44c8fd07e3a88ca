//! `elasticache:Connect`: whether a principal may log in to a cache as a user.

use std::sync::Arc;

use super::context::{Context, Moment};
use super::document::{Policy, Resource, Statement};
use super::template::plain;
use super::{CacheFacts, Principal};
use crate::access::{Actions, Asks, Need};

/// Whether policies allow `elasticache:Connect` on every one of `resources`: what stands behind the account in an ARN of
/// ElastiCache, such as `user:app`.
pub fn may_connect(
    policies: &[Arc<Policy>],
    principal: &Principal,
    cache: &CacheFacts,
    resources: &[String],
    moment: Moment<'_>,
) -> bool {
    let context = Context { principal, cache, call: Some((&Login, moment)) };
    resources.iter().all(|resource| {
        let applies = |deny: bool| {
            let mut statements = policies.iter().flat_map(|policy| &policy.statements);
            statements.any(|statement| statement.deny == deny && statement.applies(resource, &context))
        };
        applies(false) && !applies(true)
    })
}

impl Statement {
    fn applies(&self, resource: &str, context: &Context<'_>) -> bool {
        self.actions.contains(Actions::CONNECT)
            && self.resources.iter().any(|each| each.covers(resource, context)) != self.not_resources
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Resource {
    fn covers(&self, resource: &str, context: &Context<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Login { region, account, rest } => {
                let pattern = rest.pattern(&|key| context.value(key), plain, true);
                region.matches(context.cache.region.as_bytes())
                    && account.matches(context.cache.account.as_bytes())
                    && pattern.is_some_and(|pattern| pattern.matches(resource.as_bytes()))
            }
            Self::Inside { .. } | Self::Elsewhere => false,
        }
    }
}

/// The call that a login is, as conditions see it.
struct Login;

impl Asks for Login {
    fn command(&self) -> &str {
        "AUTH"
    }

    fn command_bit(&self) -> u16 {
        u16::MAX
    }

    fn needs(&self, _: &mut dyn FnMut(Need<'_>)) {}

    fn ttl_ms(&self) -> Option<u64> {
        None
    }

    fn value_bytes(&self) -> Option<u64> {
        None
    }
}
