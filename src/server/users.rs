//! What the handle of a server does for users: for all sessions of one together.

use serde::Serialize;

use super::MatsSocketServer;
use crate::error::SendError;
use crate::message::{Destination, IdempotencyKey, Recipient, ReplyTo, SentToUser, UserRecipient};
use crate::store::StoreError;
use crate::store::operation::{DropKept, Effect, EffectOutcome, ListUsers, StoredUser};
use crate::wire::check_id;

impl MatsSocketServer {
    /// Sends a message to a client terminator of every session that a user has, connected or not, on whatever node. When
    /// this returns `Ok`, it is stored for all of them, in one transaction, and will arrive once in each; see
    /// [`SentToUser`] for what happens beside a session that is just being opened, or whose outbox is full.
    ///
    /// In each session, messages arrive in the order of their commits, whether they were sent to the session or to its
    /// user: await one call before the next to determine their order.
    ///
    /// A user without a session gets nothing, unless the message is [kept](UserRecipient::keep_for) for the next one.
    ///
    /// # Errors
    /// See [`SendError`]: nothing was stored, except perhaps after [`StoreError::Unknown`]. That the user has no session
    /// is no error.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// let sent = server.send_to_user("anna", "order 17 shipped", "Orders.shipped", &17).await?;
    /// if sent.sessions == 0 && sent.full.is_empty() {
    ///     println!("anna has no session: send her a letter");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn send_to_user<T: Serialize + ?Sized>(
        &self,
        user: impl Into<UserRecipient>,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<SentToUser, SendError> {
        let recipient = Recipient::User(user.into());
        let effect = self
            .host()
            .send(recipient, trace_id, terminator.into(), payload)?;
        self.call_for_user(effect, None).await
    }

    /// Like [`send_to_user`](Self::send_to_user), but a repeat with the same key does nothing, even if the user had no
    /// session at the first call. For callers that may run twice, and for repeating a call after
    /// [`StoreError::Unknown`].
    ///
    /// # Errors
    /// As [`send_to_user`](Self::send_to_user).
    pub async fn send_to_user_once<T: Serialize + ?Sized>(
        &self,
        key: IdempotencyKey,
        user: impl Into<UserRecipient>,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<SentToUser, SendError> {
        let key = key.checked()?;
        let recipient = Recipient::User(user.into());
        let effect = self
            .host()
            .send(recipient, trace_id, terminator.into(), payload)?;
        self.call_for_user(effect, Some(key)).await
    }

    /// Sends a request to a client endpoint of every session that a user has. Each session answers for itself: the reply
    /// terminator is called once for each of them, with the reply, or because the request ended without one (as for
    /// [`request`](Self::request)). All get the same correlation string and bytes;
    /// [`Context::session_id`](crate::Context::session_id) says which session has answered.
    ///
    /// # Errors
    /// As [`send_to_user`](Self::send_to_user); also if there is no such terminator here.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// use matssocket::ReplyTo;
    ///
    /// let reply_to = ReplyTo::terminator("Login.confirmed").correlation_string("login 5");
    /// let asked = server.request_user("anna", "login 5", "Login.confirm", "from Oslo?", reply_to).await?;
    /// println!("{} devices are asked", asked.sessions);
    /// # Ok(()) }
    /// ```
    pub async fn request_user<T: Serialize + ?Sized>(
        &self,
        user_id: &str,
        trace_id: &str,
        endpoint: impl Into<Destination>,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<SentToUser, SendError> {
        let recipient = Recipient::User(user_id.into());
        let effect =
            self.host()
                .request(recipient, trace_id, endpoint.into(), payload, reply_to)?;
        self.call_for_user(effect, None).await
    }

    /// Deletes what is [kept](UserRecipient::keep_for) for a user who had no session, for example because the account was
    /// closed. Returns the number of messages; what a session has got already stays with it.
    ///
    /// # Errors
    /// The user id is invalid, or the store failed.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// let dropped = server.drop_kept("anna").await?;
    /// println!("{dropped} messages will not be delivered");
    /// # Ok(()) }
    /// ```
    pub async fn drop_kept(&self, user_id: &str) -> Result<u64, SendError> {
        check_id("user id", user_id)?;
        let user_id = user_id.to_owned();
        Ok(self.node.store.run(DropKept { user_id }).await?)
    }

    /// The users who have sessions in the cluster, connected or not, with the number of their sessions. They are sorted
    /// by their ids, byte by byte: at most `limit` users, of those after `after`, which is the last id of the page
    /// before.
    ///
    /// # Errors
    /// The store failed.
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::StoreError> {
    /// let mut after = None;
    /// loop {
    ///     let page = server.users(after.as_deref(), 100).await?;
    ///     for user in &page {
    ///         println!("{}: {} of {} connected", user.user_id, user.connected, user.sessions);
    ///     }
    ///     let Some(last) = page.last() else { break };
    ///     after = Some(last.user_id.clone());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn users(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredUser>, StoreError> {
        let after = after.map(str::to_owned);
        self.node.store.run(ListUsers { after, limit }).await
    }

    async fn call_for_user(
        &self,
        effect: Effect,
        idempotency_key: Option<String>,
    ) -> Result<SentToUser, SendError> {
        Ok(match self.commit(effect, idempotency_key).await? {
            Some(EffectOutcome::StoredForUser(stored)) => SentToUser {
                sessions: stored.seqs.len() as u64,
                is_kept: stored.kept == Some(true),
                full: stored.full,
                is_repeat: false,
            },
            Some(_) => SentToUser::default(),
            None => SentToUser {
                is_repeat: true,
                ..SentToUser::default()
            },
        })
    }
}
