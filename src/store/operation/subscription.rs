//! Operations on the subscriptions of sessions.

use super::Holder;

/// Adds subscriptions; existing ones are left alone. The session itself limits how many it may have.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The registration on whose behalf this is done.
    pub holder: Holder,
    /// Topics, each with the number of the publication that the client has seen last, if any. The session receives what
    /// is newer than that; otherwise, what is published from now on.
    pub topics: Vec<(String, Option<i64>)>,
}

/// Removes a subscription; an unknown one is ignored.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// The registration on whose behalf this is done.
    pub holder: Holder,
    /// Topic.
    pub topic: String,
}
