#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::token_file::check(data));
