//! Connection strings given where the name of a file is expected. SQLite would take any of them for a file name, and a
//! password for a part of it.

use std::path::Path;

use crate::conninfo;
use crate::store::StoreError;

/// Refuses what is a connection string rather than the name of a file, and shows nothing of it.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let text = path.to_string_lossy();
    match conninfo::is_connection_string(&text) {
        false => Ok(()),
        true => Err(StoreError::Open(
            "cannot open the SQLite database: a file name is expected, but this looks like a connection string, which \
             is not shown since it may hold a password; for PostgreSQL take `Store::postgres`, and if it is a file, \
             put ./ before its name"
                .into(),
        )),
    }
}
