//! Larder: sim.
