//! The HTTP command decoder: JSON bodies and the path form.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_gateway::fuzz_http_command(data));
