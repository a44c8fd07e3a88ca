//! One request as the stages of the road hand it on: what it asks, told to whoever judges it.

use larder_iam_policies::access::{Actions, Asks, Need};

use super::{Beyond, KeyFlags, Shape, Spec, Stated, keys, resolve};
use crate::error::CommandError;
use crate::resp::Args;
use crate::time::Now;

/// One command as a client asked for it: its row, its arguments, and the time it was asked at.
///
/// Made only by [`Call::new`], so the row fits the arguments. This is what a permit is made for.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    spec: &'static Spec,
    args: Args<'a>,
    wall_ms: u64,
    /// Remaining TTL of the key whose TTL the command inherits, once someone has looked.
    observed: Option<Observed>,
}

/// What [`crate::Engine::observe`] saw at the key a command inherits its TTL from: when it expires, in unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed(pub(crate) Option<u64>);

impl<'a> Call<'a> {
    /// Reads a request: finds its row and checks its arity.
    ///
    /// # Errors
    /// As [`resolve`].
    pub fn new(args: Args<'a>, now: Now) -> Result<Self, CommandError> {
        Ok(Self::of(resolve(args)?, args, now))
    }

    /// `spec` must come from [`resolve`] on the same arguments.
    pub(crate) fn of(spec: &'static Spec, args: Args<'a>, now: Now) -> Self {
        Self { spec, args, wall_ms: now.wall_ms, observed: None }
    }

    /// The command's row.
    pub fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// The request, command name first.
    pub fn args(&self) -> Args<'a> {
        self.args
    }

    /// The TTL the arguments give the key.
    pub(crate) fn stated_ttl(&self) -> Stated {
        self.spec.ttl.stated(self.args, self.wall_ms)
    }

    /// Tells the expiry, in unix ms, of the key at [`Call::inherits_from`].
    pub fn with_observed_ttl(self, expire_at_ms: Option<u64>) -> Self {
        self.with_observed(Observed(expire_at_ms))
    }

    pub(crate) fn observed(&self) -> Option<Observed> {
        self.observed
    }

    pub(crate) fn with_observed(self, observed: Observed) -> Self {
        Self { observed: Some(observed), ..self }
    }

    /// The key whose TTL the command's key will have afterwards, when the command does not state one.
    pub fn inherits_from(&self) -> Option<&'a [u8]> {
        match self.spec.ttl.stated(self.args, self.wall_ms) {
            Stated::Inherits(position) => self.args.try_get(position),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Call<'_> {
    /// The name and sizes only: arguments are the user's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.spec.name, self.args)
    }
}

impl Asks for Call<'_> {
    fn command(&self) -> &str {
        self.spec.name
    }

    fn command_bit(&self) -> u16 {
        self.spec.bit()
    }

    fn first_argument(&self) -> Option<&[u8]> {
        self.args.try_get(1)
    }

    #[inline]
    fn sole_need(&self) -> Option<Need<'_>> {
        match (self.spec.shape(), self.spec.keys, self.spec.beyond) {
            (Shape::OneKey(at), [key], Beyond::Nothing) if key.flags_of.is_none() => {
                let (bytes, flags) = (self.args.get(at.into()), key.flags);
                Some(if flags.only_looks() { Need::Look(bytes) } else { Need::Key(bytes, flags.actions()) })
            }
            _ => None,
        }
    }

    fn needs(&self, each: &mut dyn FnMut(Need<'_>)) {
        let known = keys::each(self.spec, self.args, &mut |position, flags: KeyFlags| {
            let key = self.args.get(position);
            each(if flags.only_looks() { Need::Look(key) } else { Need::Key(key, flags.actions()) });
        });
        if known.is_err() {
            each(Need::Unknown);
        }
        match self.spec.beyond {
            Beyond::Nothing => {}
            Beyond::Cache(actions) => each(Need::Cache(actions)),
            Beyond::Publish => each(Need::Channel(self.args.get(1), Actions::PUBLISH)),
            Beyond::Patterns => {
                self.args.iter().skip(1).for_each(|pattern| each(Need::Pattern(pattern, Actions::SUBSCRIBE)));
            }
            Beyond::Subscribe => {
                self.args.iter().skip(1).for_each(|channel| each(Need::Channel(channel, Actions::SUBSCRIBE)));
            }
        }
    }

    fn ttl_ms(&self) -> Option<u64> {
        match self.spec.ttl.stated(self.args, self.wall_ms) {
            Stated::Absent => None,
            Stated::Ms(ttl_ms) => Some(ttl_ms),
            Stated::Inherits(_) => match self.observed {
                Some(Observed(Some(expire_at_ms))) => Some(expire_at_ms.saturating_sub(self.wall_ms)),
                _ => None,
            },
        }
    }

    fn ttl_is_unknown(&self) -> bool {
        self.observed.is_none() && self.inherits_from().is_some()
    }

    fn value_bytes(&self) -> Option<u64> {
        (self.spec.value_bytes)(self.args)
    }
}
