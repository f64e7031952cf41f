//! An answer of the server, and how it is read: rows, values, and why a statement was refused.

use std::ffi::{CStr, c_int};
use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::slice;

use pq_sys::*;

use super::Refusal;

/// An answer of the server.
pub struct Answer(pub(super) NonNull<PGresult>);

impl Answer {
    pub(super) fn status(&self) -> ExecStatusType {
        // SAFETY: the result is valid until it is dropped, here and below.
        unsafe { PQresultStatus(self.0.as_ptr()) }
    }

    pub(super) fn checked(self) -> Result<Answer, Box<Refusal>> {
        use ExecStatusType::*;
        match self.status() {
            PGRES_COMMAND_OK | PGRES_TUPLES_OK | PGRES_EMPTY_QUERY => Ok(self),
            PGRES_FATAL_ERROR | PGRES_NONFATAL_ERROR | PGRES_BAD_RESPONSE => {
                Err(Box::new(self.refusal()))
            }
            // We never request such answers, so the connection's state is unknown.
            status => Err(Box::new(Refusal {
                message: format!("an answer of an unexpected kind: {status:?}"),
                ..Refusal::default()
            })),
        }
    }

    fn refusal(&self) -> Refusal {
        Refusal {
            sqlstate: self.said(b'C').unwrap_or_default(),
            message: self.message(),
            detail: self.said(b'D'),
            hint: self.said(b'H'),
            table: self.said(b't'),
            column: self.said(b'c'),
            constraint: self.said(b'n'),
        }
    }

    /// The message, which may be in any language, with the error code, which is language-independent.
    fn message(&self) -> String {
        match (self.said(b'M'), self.said(b'C')) {
            (Some(message), Some(code)) => format!("{message} (SQLSTATE {code})"),
            _ => self.all_said(),
        }
    }

    /// A field of an error, by its letter in PostgreSQL's protocol.
    fn said(&self, field: u8) -> Option<String> {
        // SAFETY: null, or a NUL-terminated string that lives as long as the result.
        unsafe {
            let said = PQresultErrorField(self.0.as_ptr(), c_int::from(field));
            (!said.is_null()).then(|| CStr::from_ptr(said).to_string_lossy().into_owned())
        }
    }

    fn all_said(&self) -> String {
        // SAFETY: as above, and never null.
        let said = unsafe { CStr::from_ptr(PQresultErrorMessage(self.0.as_ptr())) };
        said.to_string_lossy().trim().to_owned()
    }

    pub fn rows(&self) -> usize {
        // SAFETY: reads the result's memory.
        usize::try_from(unsafe { PQntuples(self.0.as_ptr()) }).unwrap_or_default()
    }

    pub fn columns(&self) -> usize {
        // SAFETY: reads the result's memory.
        usize::try_from(unsafe { PQnfields(self.0.as_ptr()) }).unwrap_or_default()
    }

    /// How many rows a statement has changed.
    pub fn changed(&self) -> usize {
        // SAFETY: a NUL-terminated string that lives as long as the result.
        let said = unsafe { CStr::from_ptr(PQcmdTuples(self.0.as_ptr())) };
        said.to_str()
            .ok()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0)
    }

    /// A value. `None`: NULL, or outside the result.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        if row >= self.rows() || column >= self.columns() {
            return None;
        }
        let (row, column) = (row as c_int, column as c_int);
        // SAFETY: row and column are within the result, whose memory lives as long as `self`.
        unsafe {
            if PQgetisnull(self.0.as_ptr(), row, column) != 0 {
                return None;
            }
            let length = usize::try_from(PQgetlength(self.0.as_ptr(), row, column)).ok()?;
            let start = PQgetvalue(self.0.as_ptr(), row, column);
            Some(slice::from_raw_parts(start.cast(), length))
        }
    }

    /// The type of a column.
    pub fn oid(&self, column: usize) -> Option<NonZeroU32> {
        // SAFETY: returns 0 for a column outside the result.
        NonZeroU32::new(unsafe { PQftype(self.0.as_ptr(), c_int::try_from(column).ok()?) })
    }

    /// The name of a column.
    pub fn name(&self, column: usize) -> Option<&str> {
        // SAFETY: null, or a NUL-terminated string that lives as long as the result.
        unsafe {
            let name = PQfname(self.0.as_ptr(), c_int::try_from(column).ok()?);
            (!name.is_null())
                .then(|| CStr::from_ptr(name).to_str().ok())
                .flatten()
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: it is not used after this.
        unsafe { PQclear(self.0.as_ptr()) }
    }
}
