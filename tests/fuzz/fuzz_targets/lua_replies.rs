//! What scripts return.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::engine::fuzz_lua_replies(data));
