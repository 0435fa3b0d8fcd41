#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mobula::testing::sing_box_config(data));
