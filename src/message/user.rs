//! Messages for all sessions of a user.

use std::time::Duration;

use crate::store::operation::{FullOutbox, KeepFor};
use crate::wire::{InvalidId, check_id, shown};

/// The user a message is for, and what becomes of it if the user has no session. A plain id is one, too: then the message
/// goes to nobody.
///
/// ```no_run
/// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
/// use std::time::Duration;
/// use matssocket::UserRecipient;
///
/// // Whoever has logged out, or was away for so long that the session was closed, finds it after the next login.
/// let anna = UserRecipient::new("anna").keep_for(Duration::from_secs(30 * 24 * 3600));
/// server.send_to_user(anna, "order 17 shipped", "Orders.shipped", &17).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UserRecipient {
    pub(super) id: String,
    pub(super) keep: Option<KeepFor>,
}

impl UserRecipient {
    /// The user with this id.
    pub fn new(id: impl Into<String>) -> UserRecipient {
        UserRecipient {
            id: id.into(),
            keep: None,
        }
    }

    /// If the user has no session when the message is stored, it is kept this long, and stored in the next session that
    /// the user opens. The time must not be zero; it counts from when the message is stored, and a shorter
    /// [time to live](crate::Destination::time_to_live) ends it earlier.
    ///
    /// It is kept until the session that got it last has acknowledged it: a session that is opened before that gets it as
    /// well, as after a client that lost its connection before it learnt of its session. If that session is closed without
    /// having acknowledged it, it waits for the next one.
    ///
    /// A user who has a session, connected or not, has no need of this: the message is in that session's outbox, and ends
    /// with it.
    ///
    /// A user may have [`StoreConfig::max_kept_per_user`](crate::StoreConfig::max_kept_per_user) such messages; what is
    /// beyond that is not stored. Messages that nobody fetched in time are counted
    /// ([`Metrics::messages_expired`](crate::Metrics::messages_expired)).
    pub fn keep_for(mut self, time: Duration) -> UserRecipient {
        self.keep = Some(KeepFor {
            time,
            for_every_session: false,
        });
        self
    }

    /// Like [`keep_for`](Self::keep_for), but it is stored in every session that the user opens within this time.
    pub fn keep_for_every_session(mut self, time: Duration) -> UserRecipient {
        self.keep = Some(KeepFor {
            time,
            for_every_session: true,
        });
        self
    }

    pub(super) fn check(&self) -> Result<(), InvalidId> {
        check_id("user id", &self.id)?;
        match self.keep {
            Some(KeepFor { time, .. }) if time.is_zero() => Err(InvalidId::new(format!(
                "a message for the user \"{}\" is to be kept for no time at all: give a longer one, or do not ask for it",
                shown(&self.id)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&str> for UserRecipient {
    fn from(id: &str) -> UserRecipient {
        UserRecipient::new(id)
    }
}

impl From<&String> for UserRecipient {
    fn from(id: &String) -> UserRecipient {
        UserRecipient::new(id)
    }
}

impl From<String> for UserRecipient {
    fn from(id: String) -> UserRecipient {
        UserRecipient::new(id)
    }
}

/// What became of a message for all sessions of a user.
///
/// It is stored for every session that the user has at the moment of the commit. A session that is opened at the same
/// time is either one of them or comes into being after the message: it is never missed halfway. A client that has been
/// welcomed before the message was sent gets it, unless its outbox is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentToUser {
    /// Number of sessions for which the message was stored. 0: the user has no session with room for it.
    pub sessions: u64,
    /// Whether it is [kept](UserRecipient::keep_for) for the user's next session. `false`: the user has sessions, or it was
    /// not to be kept, or as much is kept for the user as may be
    /// ([`StoreConfig::max_kept_per_user`](crate::StoreConfig::max_kept_per_user)).
    pub is_kept: bool,
    /// Sessions for which it was not stored, because their outboxes are full. The others get it all the same.
    pub full: Vec<FullOutbox>,
    /// Whether a call with the same idempotency key came before. Then this one has done nothing, and says nothing about
    /// sessions.
    pub is_repeat: bool,
}
