//! Larder: cloud.
