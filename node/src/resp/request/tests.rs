#![allow(clippy::unwrap_used)]
#[allow(unused_imports)]
use super::*;
