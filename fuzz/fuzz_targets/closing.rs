//! libFuzzer's way to [`handy_ws_fuzz::closing`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handy_ws_fuzz::closing(data));
