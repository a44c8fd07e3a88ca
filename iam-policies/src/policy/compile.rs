//! Policies compiled for one principal and one cache, and the decision.
//!
//! What never changes for that pair (its tags, the cache's name and tags) is decided here once: statements that cannot
//! apply are gone, conditions that always hold are gone, and variables are filled in. What is left is asked per call.

use std::fmt;
use std::sync::Arc;

use super::condition::Condition;
use super::context::{Context, Moment, documented, is_fixed};
use super::document::{Kind, Policy, Resource, Statement};
use super::template::{Template, escape_key};
use super::{CacheFacts, Principal};
use crate::access::{self, Actions, Asks, Denied, Need};
use crate::pattern::Pattern;

/// What a principal may do in one cache: every layer (its policies; a token's policy; its parents') must allow, and a Deny
/// in any of them denies.
#[derive(Debug)]
pub struct Compiled {
    denies: Vec<Rule>,
    layers: Vec<Vec<Rule>>,
    full: bool,
    uses_ttl: bool,
    principal: Principal,
    cache: CacheFacts,
}

#[derive(Debug)]
struct Rule {
    statement: access::Statement,
    deny: bool,
    actions: Actions,
    not_targets: bool,
    targets: Vec<Target>,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Target {
    Everything,
    Key(Match),
    Channel(Match),
    Cache,
}

#[derive(Debug)]
enum Match {
    Fixed(Pattern),
    /// Holds a variable whose value changes from call to call.
    Varying(Template),
}

/// What a need is about.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Key(&'a [u8]),
    Channel(&'a [u8]),
    Cache,
}

/// What was decided, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by this statement, the first that does in the first layer.
    Allowed(access::Statement),
    /// Denied by this statement.
    ExplicitlyDenied(access::Statement),
    /// Nothing allows it.
    ImplicitlyDenied,
}

/// Why a call is allowed or denied, need by need.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Each action on each resource, by ARN, with its decision.
    pub needs: Vec<(String, String, Decision)>,
    /// Condition keys that statements asked for and the call does not have.
    pub missing: Vec<String>,
    /// Whether the call touches something the command table cannot tell.
    pub unknown: bool,
}

impl Explanation {
    /// Whether everything is allowed.
    pub fn is_allowed(&self) -> bool {
        !self.unknown && self.needs.iter().all(|(_, _, decision)| matches!(decision, Decision::Allowed(_)))
    }
}

impl Compiled {
    /// Compiles layers of policies. No layer at all allows nothing.
    pub fn new(layers: &[Vec<Arc<Policy>>], principal: &Principal, cache: &CacheFacts) -> Self {
        let context = Context { principal, cache, call: None };
        let (mut denies, mut allows) = (Vec::new(), Vec::new());
        for layer in layers {
            let rules = layer.iter().flat_map(|policy| {
                let each = policy.statements.iter().enumerate();
                each.filter_map(|(index, statement)| Rule::new(policy, index, statement, &context))
            });
            let (deny, allow): (Vec<_>, Vec<_>) = rules.partition(|rule| rule.deny);
            denies.extend(deny);
            allows.push(allow);
        }
        let full =
            denies.is_empty() && !allows.is_empty() && allows.iter().all(|layer| layer.iter().any(Rule::is_full));
        let uses = |rule: &Rule| rule.asks_for("cache:ttlms");
        let uses_ttl = denies.iter().chain(allows.iter().flatten()).any(uses);
        Self { denies, layers: allows, full, uses_ttl, principal: principal.clone(), cache: cache.clone() }
    }

    /// Whether everything is allowed, whatever the call.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether nothing can be allowed.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() || self.layers.iter().any(Vec::is_empty)
    }

    /// Whether some statement asks for the TTL a key will have.
    pub fn uses_ttl(&self) -> bool {
        self.uses_ttl
    }

    /// Whether a Deny statement could match: what binds a user whose rights come from elsewhere.
    pub fn has_denies(&self) -> bool {
        !self.denies.is_empty()
    }

    /// Judges every need of a call; nothing runs unless all are allowed.
    ///
    /// # Errors
    /// Why the first need that is not allowed is not.
    pub fn decide(&self, call: &dyn Asks, moment: Moment<'_>) -> Result<(), Denied> {
        self.walk(call, moment, |decision| match decision {
            Decision::Allowed(_) => Ok(()),
            Decision::ExplicitlyDenied(statement) => Err(Denied::Explicit(statement)),
            Decision::ImplicitlyDenied => Err(Denied::Implicit),
        })
    }

    /// Judges only whether a Deny statement matches.
    ///
    /// # Errors
    /// The Deny.
    pub fn decide_denies(&self, call: &dyn Asks, moment: Moment<'_>) -> Result<(), Denied> {
        self.walk(call, moment, |decision| match decision {
            Decision::ExplicitlyDenied(statement) => Err(Denied::Explicit(statement)),
            _ => Ok(()),
        })
    }

    fn walk(
        &self,
        call: &dyn Asks,
        moment: Moment<'_>,
        verdict: impl Fn(Decision) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        if self.full {
            return Ok(());
        }
        let context = Context { principal: &self.principal, cache: &self.cache, call: Some((call, moment)) };
        let mut answer = Ok(());
        call.needs(&mut |need| {
            if answer.is_ok() {
                answer = match subject_of(need) {
                    None => Err(Denied::Unknown),
                    Some((subject, actions)) => {
                        singles(actions).try_for_each(|action| verdict(self.one(action, subject, &context)))
                    }
                };
            }
        });
        answer?;
        if self.uses_ttl && call.ttl_is_unknown() { Err(Denied::Unknown) } else { Ok(()) }
    }

    fn one(&self, action: Actions, subject: Subject<'_>, context: &Context<'_>) -> Decision {
        if let Some(rule) = self.denies.iter().find(|rule| rule.applies(action, subject, context)) {
            return Decision::ExplicitlyDenied(rule.statement.clone());
        }
        let mut first = None;
        for layer in &self.layers {
            match layer.iter().find(|rule| rule.applies(action, subject, context)) {
                None => return Decision::ImplicitlyDenied,
                Some(rule) => first = first.or(Some(&rule.statement)),
            }
        }
        first.map_or(Decision::ImplicitlyDenied, |statement| Decision::Allowed(statement.clone()))
    }

    /// Judges a call and tells everything about it.
    pub fn explain(&self, call: &dyn Asks, moment: Moment<'_>) -> Explanation {
        let context = Context { principal: &self.principal, cache: &self.cache, call: Some((call, moment)) };
        let mut told = Explanation { needs: Vec::new(), missing: Vec::new(), unknown: false };
        call.needs(&mut |need| match subject_of(need) {
            None => told.unknown = !self.full,
            Some((subject, actions)) => {
                for action in singles(actions) {
                    let name = action.names().next().unwrap_or_default().to_owned();
                    told.needs.push((name, self.arn(subject), self.one(action, subject, &context)));
                    told.missing.extend(self.missing(action, subject, &context));
                }
            }
        });
        told.unknown |= !self.full && self.uses_ttl && call.ttl_is_unknown();
        told.missing.sort_unstable();
        told.missing.dedup();
        told
    }

    fn missing<'s>(
        &'s self,
        action: Actions,
        subject: Subject<'s>,
        context: &'s Context<'s>,
    ) -> impl Iterator<Item = String> + 's {
        let rules = self.denies.iter().chain(self.layers.iter().flatten());
        rules
            .filter(move |rule| rule.actions.contains(action) && rule.covers(subject, context))
            .flat_map(|rule| &rule.conditions)
            .filter(|condition| condition.misses(context))
            .map(|condition| documented(&condition.key))
    }

    fn arn(&self, subject: Subject<'_>) -> String {
        let CacheFacts { name, region, account, .. } = &self.cache;
        let escaped = |bytes| String::from_utf8_lossy(&escape_key(bytes)).into_owned();
        let rest = match subject {
            Subject::Key(key) => format!("key/{name}/{}", escaped(key)),
            Subject::Channel(channel) => format!("channel/{name}/{}", escaped(channel)),
            Subject::Cache => format!("cache/{name}"),
        };
        format!("arn:aws:cache:{region}:{account}:{rest}")
    }
}

impl Rule {
    fn new(policy: &Policy, index: usize, statement: &Statement, context: &Context<'_>) -> Option<Self> {
        let targets: Vec<_> = statement.resources.iter().filter_map(|each| Target::new(each, context)).collect();
        let (fixed, varying): (Vec<_>, Vec<_>) =
            statement.conditions.iter().partition(|condition| condition.is_fixed());
        let actions = statement.actions.intersection(Actions::ALL);
        let never = actions.is_empty()
            || (targets.is_empty() && !statement.not_resources)
            || !fixed.iter().all(|condition| condition.holds(context));
        (!never).then(|| Self {
            statement: access::Statement { policy: policy.name.clone(), index, sid: statement.sid.clone() },
            deny: statement.deny,
            actions,
            not_targets: statement.not_resources,
            targets,
            conditions: varying.into_iter().cloned().collect(),
        })
    }

    fn is_full(&self) -> bool {
        let any = |each: &Match| matches!(each, Match::Fixed(pattern) if pattern.is_any());
        let has = |wanted: &dyn Fn(&Target) -> bool| self.targets.iter().any(wanted);
        let everything = has(&|target| matches!(target, Target::Everything))
            || (has(&|target| matches!(target, Target::Key(each) if any(each)))
                && has(&|target| matches!(target, Target::Channel(each) if any(each)))
                && has(&|target| matches!(target, Target::Cache)));
        self.conditions.is_empty() && !self.not_targets && self.actions == Actions::ALL && everything
    }

    fn asks_for(&self, key: &str) -> bool {
        let varies = |target: &Target| match target {
            Target::Key(Match::Varying(template)) | Target::Channel(Match::Varying(template)) => {
                template.variables().any(|variable| variable == key)
            }
            _ => false,
        };
        self.conditions.iter().any(|condition| condition.asks_for(key)) || self.targets.iter().any(varies)
    }

    fn applies(&self, action: Actions, subject: Subject<'_>, context: &Context<'_>) -> bool {
        self.actions.contains(action)
            && self.covers(subject, context)
            && self.conditions.iter().all(|condition| condition.holds(context))
    }

    fn covers(&self, subject: Subject<'_>, context: &Context<'_>) -> bool {
        self.targets.iter().any(|target| target.covers(subject, context)) != self.not_targets
    }
}

impl Target {
    /// What an entry means in this cache; `None` when it is about another one, or a fixed variable has no value.
    fn new(resource: &Resource, context: &Context<'_>) -> Option<Self> {
        let Resource::Inside { region, account, kind, cache, rest } = resource else {
            return matches!(resource, Resource::Everything).then_some(Self::Everything);
        };
        let CacheFacts { name, region: our_region, account: our_account, .. } = context.cache;
        let here = region.matches(our_region.as_bytes())
            && account.matches(our_account.as_bytes())
            && cache.matches(name.as_bytes());
        if !here {
            return None;
        }
        let matching = |template: &Option<Template>| match template {
            None => Some(Match::Fixed(Pattern::any())),
            Some(template) if template.variables().all(is_fixed) => {
                template.pattern(&|key| context.value(key), escape_key, true).map(Match::Fixed)
            }
            Some(template) => Some(Match::Varying(template.clone())),
        };
        match kind {
            Kind::Key => matching(rest).map(Self::Key),
            Kind::Channel => matching(rest).map(Self::Channel),
            Kind::Cache => Some(Self::Cache),
        }
    }

    #[inline]
    fn covers(&self, subject: Subject<'_>, context: &Context<'_>) -> bool {
        match (self, subject) {
            (Self::Everything, _) | (Self::Cache, Subject::Cache) => true,
            (Self::Key(each), Subject::Key(bytes)) | (Self::Channel(each), Subject::Channel(bytes)) => {
                each.matches(bytes, context)
            }
            _ => false,
        }
    }
}

impl Match {
    fn matches(&self, bytes: &[u8], context: &Context<'_>) -> bool {
        let escaped = escape_key(bytes);
        match self {
            Self::Fixed(pattern) => pattern.matches(&escaped),
            Self::Varying(template) => {
                let pattern = template.pattern(&|key| context.value(key), escape_key, true);
                pattern.is_some_and(|pattern| pattern.matches(&escaped))
            }
        }
    }
}

/// What a need is about, and which actions on it; a key with no action said still has to be readable.
fn subject_of(need: Need<'_>) -> Option<(Subject<'_>, Actions)> {
    let at_least = |actions: Actions, least| if actions.is_empty() { least } else { actions };
    Some(match need {
        Need::Key(key, actions) => (Subject::Key(key), at_least(actions, Actions::READ)),
        Need::Look(key) => (Subject::Key(key), Actions::READ),
        Need::Channel(channel, actions) => (Subject::Channel(channel), at_least(actions, Actions::SUBSCRIBE)),
        Need::Pattern(_, actions) => (Subject::Cache, at_least(actions, Actions::SUBSCRIBE)),
        Need::Cache(actions) => (Subject::Cache, at_least(actions, Actions::ADMIN)),
        Need::Unknown => return None,
    })
}

fn singles(actions: Actions) -> impl Iterator<Item = Actions> {
    Actions::NAMES.into_iter().map(|(action, _)| action).filter(move |action| actions.contains(*action))
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(statement) => write!(f, "allowed by {statement}"),
            Self::ExplicitlyDenied(statement) => write!(f, "explicitly denied by {statement}"),
            Self::ImplicitlyDenied => f.write_str("implicitly denied: no statement allows it"),
        }
    }
}
