//! Changes of presence, for the application's listeners. They arrive with the publications, in the one order that all nodes
//! see, whichever node has published them.

use std::sync::Arc;

use crate::events::Listeners;
use crate::introspection::PresenceChange;
use crate::logging;
use crate::store::operation::Publication;

/// The application's listeners for changes of presence.
pub(crate) struct PresenceListeners {
    /// The topic on which changes are published.
    pub(crate) topic: String,
    pub(crate) listeners: Arc<Listeners>,
}

impl PresenceListeners {
    /// Tells the listeners if this is a change of presence. What the application itself publishes on the topic is ignored.
    pub(super) fn heed(&self, publication: &Publication) {
        if publication.topic != self.topic {
            return;
        }
        match serde_json::from_str::<PresenceChange>(publication.msg.get()) {
            Ok(change) => self.listeners.presence(&change),
            Err(error) => {
                logging::debug!(
                    "a publication on the presence topic is no change of presence: {error}"
                )
            }
        }
    }
}
