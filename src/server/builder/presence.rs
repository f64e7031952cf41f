//! Switches presence on.

use std::sync::Arc;

use super::ServerBuilder;
use crate::endpoint::{Endpoint, Run, async_handler};
use crate::events::Listeners;
use crate::introspection::{PresenceChange, PresencePage};
use crate::server::presence::{PresenceQuery, present_users};
use crate::store::operation::PRESENCE_TOPIC;

impl ServerBuilder {
    /// Calls a function when users have become present, or are not any more, on whatever node: each change of the cluster
    /// once on this node, in the one order of all nodes, joins and leaves of about a second
    /// ([`Config::presence_interval`](crate::Config::presence_interval)) together. It must not block.
    ///
    /// A user joins when the first of their sessions connects, and leaves when none has been connected for longer than
    /// [`Config::presence_grace`](crate::Config::presence_grace): a client that reconnects in time changes nothing. The
    /// users of a node that dies leave when its [lease](crate::Config::lease) has expired and the grace is over, unless
    /// they have come back on another node.
    ///
    /// The function is called for changes from the start on; who is present already is answered by
    /// [`MatsSocketServer::presence`](crate::MatsSocketServer::presence). A change of which that page knows already (by
    /// its [number](PresenceChange::number)) does no harm if it is applied again, in the order of the numbers. If a number
    /// is missing, this node was cut off for longer than [`Config::topic_history`](crate::Config::topic_history): ask
    /// again who is present.
    ///
    /// This switches presence on; do so on all nodes.
    ///
    /// ```
    /// use matssocket::MatsSocketServer;
    ///
    /// let builder = MatsSocketServer::builder("shop").on_presence(|change| {
    ///     for user in &change.joined {
    ///         println!("{} is here", user.user_id);
    ///     }
    ///     for user_id in &change.left {
    ///         println!("{user_id} is gone");
    ///     }
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_presence(
        mut self,
        listener: impl Fn(&PresenceChange) + Send + Sync + 'static,
    ) -> Self {
        self.listeners.presence.push(Arc::new(listener));
        self
    }

    /// Publishes who joins and leaves, on a topic of this name: see [`on_presence`](Self::on_presence) for who does, and
    /// [`PresenceChange`] for the JSON. Who may subscribe is decided by the authenticator's
    /// [`authorize_topic`](crate::Authenticator::authorize_topic), as for any topic: whoever may, sees all users.
    ///
    /// An endpoint of the same name resolves with who is present already, for sessions that have subscribed: a
    /// [`PresencePage`] for `null`, or for `{"after": …}` with the `next` of the page before. A client that follows these
    /// steps misses nothing, whatever happens in between:
    ///
    /// 1. It subscribes, and keeps the changes that arrive.
    /// 2. It asks the endpoint, in the same pipeline or later, page after page until `next` is null.
    /// 3. It takes the users of the pages, then applies the changes it has kept, except those whose `number` is not
    ///    greater than the first page's, and goes on with those that arrive, in their order.
    ///
    /// If the subscription is answered by SUB_LOST after a long absence, it begins with step 2 again.
    ///
    /// This switches presence on; do so on all nodes, with the same topic.
    ///
    /// ```
    /// use matssocket::MatsSocketServer;
    ///
    /// let builder = MatsSocketServer::builder("shop").presence_topic("presence");
    /// # drop(builder);
    /// ```
    pub fn presence_topic(mut self, topic: &str) -> Self {
        if self.presence_topic.replace(topic.to_owned()).is_some() {
            self.mistakes.push(format!(
                "the presence topic is given twice, last as {topic:?}"
            ));
        }
        let name = topic.to_owned();
        let handler = async_handler(move |incoming| present_users(incoming, name.clone()));
        let endpoint = Endpoint::new(true, Run::Async(handler));
        self.add::<Option<PresenceQuery>, PresencePage>(topic, endpoint)
    }
}

/// The topic on which changes are published. `None`: nobody wants to know them.
pub(super) fn topic(of_clients: Option<String>, listeners: &Listeners) -> Option<String> {
    let of_listeners = !listeners.presence.is_empty();
    of_clients.or_else(|| of_listeners.then(|| PRESENCE_TOPIC.to_owned()))
}
