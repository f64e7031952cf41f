//! What a node is notified of after a commit on its behalf: news for its sessions and work for its services.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Message;

use super::operation::{ConnectionId, Forwarded, OutboxMessage, SessionKey};
use crate::mailbox::Mailbox;

/// What a commit changed that subscribers should know.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Messages stored, in commit order.
    pub stored: Vec<StoredMessage>,
    /// Forwarded rows stored and already claimed for this node.
    pub forwarded: Vec<Forwarded>,
    /// Whether unclaimed forwarded rows were stored, because this node does not have their services.
    pub work: bool,
    /// When delayed forwarded rows that were stored are due.
    pub due: Vec<Instant>,
    /// Whether something was published.
    pub published: bool,
}

impl News {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
            && self.forwarded.is_empty()
            && self.due.is_empty()
            && !self.work
            && !self.published
    }

    /// A forwarded row was stored that is due after this time.
    pub(super) fn is_due_after(&mut self, delay: Duration) {
        // Nobody waits for what is due in centuries.
        self.due.extend(Instant::now().checked_add(delay));
    }

    /// Adds the news of a later operation.
    pub(super) fn append(&mut self, mut later: News) {
        self.stored.append(&mut later.stored);
        self.forwarded.append(&mut later.forwarded);
        self.due.append(&mut later.due);
        self.work |= later.work;
        self.published |= later.published;
    }
}

/// A message just stored, and the node where its session is connected.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// The session.
    pub session: SessionKey,
    /// Node and registration that hold the session, if it is connected.
    pub home: Option<(Arc<str>, ConnectionId)>,
    /// The session's newest sequence number before this message; none in between was assigned.
    pub after: i64,
    /// The message itself, which saves reading it back from the store.
    pub message: Option<OutboxMessage>,
}

/// What a commit means for the node's sessions.
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

/// What a commit means for the node's services.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Dispatch {
    /// Rows that it stored and claimed for this node.
    pub(crate) rows: Vec<Forwarded>,
    /// See [`News::due`].
    pub(crate) due: Vec<Instant>,
}

/// The recipients of what is committed on a node's behalf.
pub(crate) struct Subscribers {
    pub(crate) news: Mailbox<CommitNews>,
    pub(crate) work: Mailbox<Dispatch>,
}

impl Subscribers {
    /// Notifies each recipient, if anything concerns it.
    pub(super) fn tell(&self, news: News) {
        let News {
            stored,
            forwarded,
            work,
            due,
            published,
        } = news;
        if !stored.is_empty() || work || published {
            self.news.tell(CommitNews {
                stored,
                work,
                published,
            });
        }
        if !forwarded.is_empty() || !due.is_empty() {
            self.work.tell(Dispatch {
                rows: forwarded,
                due,
            });
        }
    }
}
