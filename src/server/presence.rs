//! What the handle of a server says of who is connected, and who is present.

use serde::Deserialize;

use super::MatsSocketServer;
use crate::endpoint::{Incoming, Outcome};
use crate::error::HandlerError;
use crate::introspection::{ConnectedUser, PresencePage};
use crate::store::StoreError;
use crate::store::operation::{FindConnected, ListConnected, ReadPresence};

/// Users in a page for a client: some 100 bytes each, at most 600. The answer is stored until the client has it.
const PAGE: u32 = 200;

impl MatsSocketServer {
    /// The sessions of a user that are connected at this moment, on whatever node, each with its node and since when.
    /// `None`: none is. Sessions of a node whose lease has expired do not count. It is read from the sessions of this
    /// user alone, and works whether or not presence is switched on.
    ///
    /// # Errors
    /// The store failed.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::StoreError> {
    /// if let Some(anna) = server.connected_user("anna").await? {
    ///     println!("anna is connected {} times, since {:?}", anna.sessions.len(), anna.since());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn connected_user(&self, user_id: &str) -> Result<Option<ConnectedUser>, StoreError> {
        // No such user can have sessions, and the store must not be given text that it cannot store.
        if crate::wire::check_id("user id", user_id).is_err() {
            return Ok(None);
        }
        let user_id = user_id.to_owned();
        self.node.store.run(FindConnected { user_id }).await
    }

    /// The users who have connected sessions at this moment, with these sessions. They are sorted by their ids, byte by
    /// byte: at most `limit` users, of those after `after`, which is the last id of the page before. All users who have
    /// sessions are looked at on the way, connected or not.
    ///
    /// # Errors
    /// The store failed.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::StoreError> {
    /// for user in server.connected_users(None, 100).await? {
    ///     for session in &user.sessions {
    ///         println!("{}: {} on {}", user.user_id, session.app_name, session.node);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn connected_users(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConnectedUser>, StoreError> {
        let after = after.map(str::to_owned);
        self.node.store.run(ListConnected { after, limit }).await
    }

    /// The users who are present, as far as listeners and watchers have been told: connected, or away for no longer than
    /// the [grace](crate::Config::presence_grace). At most `limit` users, of those after `after`, which is
    /// [`next`](PresencePage::next) of the page before. Empty where presence was never switched on, by
    /// [`on_presence`](crate::ServerBuilder::on_presence) or
    /// [`presence_topic`](crate::ServerBuilder::presence_topic).
    ///
    /// # Errors
    /// The store failed.
    pub async fn presence(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<PresencePage, StoreError> {
        let read = ReadPresence {
            subscriber: None,
            after: after.map(str::to_owned),
            limit,
        };
        Ok(self.node.store.run(read).await?.unwrap_or_default())
    }
}

/// What a client asks the endpoint of the presence topic.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PresenceQuery {
    /// The `next` of the page before; without it, the first page.
    #[serde(default)]
    after: Option<String>,
}

/// Answers a client who is present, if its session has subscribed to the topic: whether it may was decided then.
pub(super) async fn present_users(
    incoming: Incoming<Option<PresenceQuery>>,
    topic: String,
) -> Result<Outcome<PresencePage>, HandlerError> {
    let (query, context) = incoming.into_parts();
    let after = query.unwrap_or_default().after;
    if let Some(after) = &after
        && let Err(mistake) = crate::wire::check_id("after", after)
    {
        return Ok(Outcome::reject(mistake.to_string()));
    }
    let read = ReadPresence {
        subscriber: Some((context.session_id().to_owned(), topic.clone())),
        after,
        limit: PAGE,
    };
    Ok(match context.server().node.store.run(read).await? {
        Some(page) => Outcome::resolve(page),
        None => Outcome::reject(format!(
            "subscribe to the topic {topic:?} first: only its subscribers are told who is present"
        )),
    })
}
