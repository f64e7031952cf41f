//! The statements that the connections of a test's thread did not prepare: the database does not know of them later.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// A statement's text, and the types of its values.
type Plain = (String, Vec<u32>);

thread_local! {
    static ALL: RefCell<BTreeSet<Plain>> = RefCell::default();
}

pub fn note(text: &str, types: &[u32]) {
    ALL.with_borrow_mut(|all| all.insert((text.to_owned(), types.to_vec())));
}

/// Those since the last call.
pub fn take() -> BTreeSet<Plain> {
    ALL.take()
}
