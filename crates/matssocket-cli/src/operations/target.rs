//! What a command operates on: a store, or the admin API of a running server.

use matssocket::{
    Admin, DeadLetter, SendError, SessionFilter, StoredNode, StoredSession, StoredUser,
    UnservedWork,
};

use super::remote::Remote;
use crate::failure::Failure;

/// A store or a running server.
pub enum Target {
    Store(Admin),
    /// Boxed, since it is much larger. (Its calls block, which a program with nothing else to do may.)
    Server(Box<Remote>),
}

type Done<T> = Result<T, Failure>;

/// What the library's `Admin` has as well.
impl Target {
    /// Whether nodes learn of a change at once; otherwise at their next sweep.
    pub fn is_immediate(&self) -> bool {
        matches!(self, Target::Server(_))
    }

    pub async fn sessions(&self, filter: SessionFilter, limit: u32) -> Done<Vec<StoredSession>> {
        match self {
            Target::Store(admin) => Ok(admin.sessions(filter, limit).await?),
            Target::Server(server) => server.sessions(&filter, limit),
        }
    }

    pub async fn count_sessions(&self, filter: SessionFilter) -> Done<u64> {
        match self {
            Target::Store(admin) => Ok(admin.count_sessions(filter).await?),
            Target::Server(server) => server.count_sessions(&filter),
        }
    }

    pub async fn users(&self, after: Option<&str>, limit: u32) -> Done<Vec<StoredUser>> {
        match self {
            Target::Store(admin) => Ok(admin.users(after, limit).await?),
            Target::Server(server) => server.users(after, limit),
        }
    }

    /// Closes a session.
    ///
    /// # Errors
    /// There is no such session, or it cannot be closed.
    pub async fn close_session(&self, sid: &str, reason: &str) -> Done<()> {
        let is_closed = match self {
            Target::Store(admin) => admin.close_session(sid, reason).await?,
            Target::Server(server) => server.close(("session_id", sid), reason)? > 0,
        };
        match is_closed {
            true => Ok(()),
            false => Err(Failure::Undone(format!("there is no session {sid}"))),
        }
    }

    pub async fn close_sessions_of(&self, user: &str, reason: &str) -> Done<u64> {
        match self {
            Target::Store(admin) => Ok(admin.close_sessions_of(user, reason).await?),
            Target::Server(server) => server.close(("user_id", user), reason),
        }
    }

    pub async fn revoke(&self, user: &str, topic: Option<&str>) -> Done<()> {
        let failed = |error: SendError| Failure::Undone(error.to_string());
        match self {
            Target::Store(admin) => admin.revoke(user, topic).await.map_err(failed),
            Target::Server(server) => server.revoke(user, topic),
        }
    }

    pub async fn nodes(&self) -> Done<(Vec<StoredNode>, Vec<UnservedWork>)> {
        match self {
            Target::Store(admin) => Ok((admin.nodes().await?, admin.unserved().await?)),
            Target::Server(server) => server.nodes(),
        }
    }

    pub async fn dead_letters(&self, after: i64, limit: u32) -> Done<Vec<DeadLetter>> {
        match self {
            Target::Store(admin) => Ok(admin.dead_letters(after, limit).await?),
            Target::Server(server) => server.dead_letters(after, limit),
        }
    }

    pub async fn redrive_dead_letter(&self, id: i64) -> Done<bool> {
        match self {
            Target::Store(admin) => Ok(admin.redrive_dead_letter(id).await?),
            Target::Server(server) => server.redrive_dead_letter(id),
        }
    }

    pub async fn drop_dead_letter(&self, id: i64) -> Done<bool> {
        match self {
            Target::Store(admin) => Ok(admin.drop_dead_letter(id).await?),
            Target::Server(server) => server.drop_dead_letter(id),
        }
    }
}
