//! What a node is told after a commit on its behalf: news for those who look after sessions, and work for its services.

use std::sync::Arc;

use actix::Message;

use super::operation::{ConnectionId, Forwarded, OutboxMessage, SessionKey};
use crate::mailbox::Mailbox;

/// What a commit brought about that somebody should be told.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Messages stored, in commit order.
    pub stored: Vec<StoredMessage>,
    /// Forwarded rows stored and claimed by this node.
    pub forwarded: Vec<Forwarded>,
    /// Whether forwarded rows were stored that are free, this node not having their services.
    pub work: bool,
    /// Whether something was published.
    pub published: bool,
}

impl News {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.forwarded.is_empty() && !self.work && !self.published
    }
}

/// A message just stored, and where its session is connected.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// The session.
    pub session: SessionKey,
    /// Node and registration, if it is connected.
    pub home: Option<(Arc<str>, ConnectionId)>,
    /// The session's newest sequence number before it: none was given between them.
    pub after: i64,
    /// The message, which saves reading it from the store.
    pub message: Option<OutboxMessage>,
}

/// News of a commit, for whoever looks after the node's sessions.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CommitNews {
    /// See [`News::stored`].
    pub(crate) stored: Vec<StoredMessage>,
    /// See [`News::work`].
    pub(crate) work: bool,
    /// See [`News::published`].
    pub(crate) published: bool,
}

/// Forwarded rows that a commit has stored and claimed for this node: its services are to work on them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Dispatch(pub(crate) Vec<Forwarded>);

/// Who is told what is committed on a node's behalf.
pub(crate) struct Subscribers {
    pub(crate) news: Mailbox<CommitNews>,
    pub(crate) work: Mailbox<Dispatch>,
}

impl Subscribers {
    /// Tells each of them what concerns it, if anything does.
    pub(super) fn tell(&self, news: News) {
        let News {
            stored,
            forwarded,
            work,
            published,
        } = news;
        if !stored.is_empty() || work || published {
            self.news.tell(CommitNews {
                stored,
                work,
                published,
            });
        }
        if !forwarded.is_empty() {
            self.work.tell(Dispatch(forwarded));
        }
    }
}
