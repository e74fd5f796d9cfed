//! libFuzzer's way to [`handy_ws_fuzz::head`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| handy_ws_fuzz::head(data));
