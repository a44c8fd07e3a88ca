//! Signatures.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_iam_policies::fuzz_sigv4(data));
