//! Paths into JSON documents.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::json::fuzz_json_path(data));
