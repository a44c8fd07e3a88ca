//! The safe twin: the table's face over std collections, as plain as can be. Tests compare the two.

use std::collections::{BTreeMap, BTreeSet};

/// What a twin knows of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

/// An entry of the twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Twin {
    pub(super) content: Content,
    pub(super) expire_at_ms: Option<u64>,
}

/// A table of the twin.
pub(super) type Twins = BTreeMap<Vec<u8>, Twin>;

/// Takes out what is due.
pub(super) fn sweep(twins: &mut Twins, now_ms: u64) -> Vec<Vec<u8>> {
    let due = |twin: &Twin| twin.expire_at_ms.is_some_and(|at| now_ms > at);
    let keys: Vec<_> = twins.iter().filter(|(_, twin)| due(twin)).map(|(key, _)| key.clone()).collect();
    keys.iter().for_each(|key| drop(twins.remove(key)));
    keys
}
