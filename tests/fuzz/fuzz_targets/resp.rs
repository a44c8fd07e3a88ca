//! The RESP reader.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::resp::fuzz_resp(data));
