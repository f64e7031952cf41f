//! The one place that calls SQLite without Diesel.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

/// The library's own text for a result code.
pub fn text_of(code: c_int) -> &'static str {
    // SAFETY: accepts any number, touches no connection, and returns a static NUL-terminated text, never a null pointer
    // ("unknown error" for a code that does not exist).
    let text = unsafe { CStr::from_ptr(libsqlite3_sys::sqlite3_errstr(code)) };
    text.to_str().unwrap_or_default()
}
