//! Records the statements that connections of a test's thread did not prepare, since the database keeps no record of
//! them.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// A statement's text and the types of its values.
type Plain = (String, Vec<u32>);

thread_local! {
    static ALL: RefCell<BTreeSet<Plain>> = RefCell::default();
}

pub fn note(text: &str, types: &[u32]) {
    ALL.with_borrow_mut(|all| all.insert((text.to_owned(), types.to_vec())));
}

/// Takes those recorded since the last call.
pub fn take() -> BTreeSet<Plain> {
    ALL.take()
}
