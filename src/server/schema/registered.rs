//! Which types the handlers really take and give, to hold descriptions against.

use std::any::{TypeId, type_name};

/// A type, with its name for people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    id: TypeId,
    pub(super) name: &'static str,
}

impl Known {
    pub(super) fn of<T: 'static>() -> Known {
        Known {
            id: TypeId::of::<T>(),
            name: type_name::<T>(),
        }
    }
}

/// An endpoint or terminator that has a handler.
#[derive(Clone, Copy)]
pub(super) struct Registered {
    pub(super) payload: Known,
    /// `None` for a terminator.
    pub(super) reply: Option<Known>,
}

impl Registered {
    pub(super) fn new<T: 'static, R: 'static>(replies: bool) -> Registered {
        Registered {
            payload: Known::of::<T>(),
            reply: replies.then(Known::of::<R>),
        }
    }
}
