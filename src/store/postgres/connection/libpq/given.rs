//! What libpq is given: texts, lengths and values in the form that it expects.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use super::{Bound, Failure};

/// Values and results use the binary format.
pub(super) const BINARY: c_int = 1;

pub(super) fn text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|error| Failure::Connection(error.to_string()))
}

pub(super) fn length(length: usize) -> Result<c_int, Failure> {
    c_int::try_from(length).map_err(|error| Failure::Connection(error.to_string()))
}

/// Values in the form that libpq expects. Points into the memory of the values from which it was made.
pub(super) struct Given {
    pub(super) count: c_int,
    pub(super) values: Vec<*const c_char>,
    pub(super) lengths: Vec<c_int>,
    pub(super) formats: Vec<c_int>,
}

impl Given {
    pub(super) fn new(values: &[Bound]) -> Result<Given, Failure> {
        let lengths = values
            .iter()
            .map(|it| length(it.as_ref().map_or(0, Vec::len)));
        let pointers = values.iter().map(|value| match value {
            Some(bytes) => bytes.as_ptr().cast(),
            None => ptr::null(),
        });
        Ok(Given {
            count: length(values.len())?,
            values: pointers.collect(),
            lengths: lengths.collect::<Result<_, _>>()?,
            formats: vec![BINARY; values.len()],
        })
    }
}
