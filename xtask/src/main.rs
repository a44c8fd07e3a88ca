//! Dev verbs.
fn main() {}
