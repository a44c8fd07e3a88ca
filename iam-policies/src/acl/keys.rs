//! Patterns of keys and what may be done to the keys they match.

use crate::access::Actions;
use crate::glob;

/// What a key pattern can allow.
pub(crate) const BOTH: Actions = Actions::READ.union(Actions::WRITE);

/// Keys a user may touch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRule {
    text: Box<[u8]>,
    /// The pattern is so many literal bytes and one `*`, as most are: no globbing is needed.
    prefix: Option<usize>,
    /// [`Actions::READ`], [`Actions::WRITE`] or both.
    actions: Actions,
}

impl KeyRule {
    pub(super) fn new(text: &[u8], actions: Actions) -> Self {
        let is_wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let prefix = text.strip_suffix(b"*").filter(|literal| !literal.is_empty() && !literal.iter().any(is_wild));
        Self { prefix: prefix.map(<[u8]>::len), text: text.into(), actions }
    }

    /// The pattern.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What it allows.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    pub(super) fn allow_also(&mut self, actions: Actions) {
        self.actions = self.actions.union(actions);
    }

    /// Whether it allows all of `actions` on a key.
    #[inline]
    pub(super) fn allows(&self, key: &[u8], actions: Actions) -> bool {
        self.actions.contains(actions)
            && match self.prefix.and_then(|bytes| self.text.get(..bytes)) {
                Some(prefix) => key.starts_with(prefix),
                None => glob::matches(&self.text, key),
            }
    }

    /// As `ACL LIST` shows it.
    pub(super) fn describe(&self, to: &mut Vec<u8>) {
        let sign: &[u8] = match (self.actions.contains(Actions::READ), self.actions.contains(Actions::WRITE)) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            _ => b"%W~",
        };
        to.extend_from_slice(sign);
        to.extend_from_slice(&self.text);
    }
}
