//! Larder: tests.
