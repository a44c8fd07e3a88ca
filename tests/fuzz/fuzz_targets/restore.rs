//! RESTORE payloads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::rdb::fuzz_restore(data));
