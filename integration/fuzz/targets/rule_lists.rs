#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mobula::testing::rule_lists(data));
