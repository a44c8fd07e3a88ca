//! Glob patterns.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::glob::fuzz_glob(data));
