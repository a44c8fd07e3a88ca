//! Larder: gateway.
