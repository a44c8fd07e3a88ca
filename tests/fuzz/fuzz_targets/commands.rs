//! The arguments of every command.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_node::engine::fuzz_commands(data));
