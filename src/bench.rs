//! What the benches need from private modules. Not part of the public API: it may change or go in any release.

pub use crate::mailbox::bench::Hop;
pub use crate::session::bench::Decisions;
pub use crate::store::bench::*;
