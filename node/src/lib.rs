//! Larder: node.
