//! Sessions and their users.

use serde::Deserialize;
use serde_json::json;

use super::call::{Answer, Call, Refusal, page, refused};
use crate::store::operation::SessionFilter;
use crate::wire::shown;

/// What clients' reply terminators are told, unless the call gives another reason.
const REASON: &str = "closed by the operator";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    user_id: Option<String>,
    app_name: Option<String>,
    #[serde(default)]
    connected: bool,
    #[serde(default)]
    newest_first: bool,
    after: Option<i64>,
    limit: Option<u32>,
}

impl Listing {
    fn filter(&self) -> SessionFilter {
        SessionFilter {
            connected_only: self.connected,
            user_id: self.user_id.clone(),
            app_name: self.app_name.clone(),
            number_above: self.after.filter(|_| !self.newest_first),
            number_below: self.after.filter(|_| self.newest_first),
            ..SessionFilter::default()
        }
    }
}

/// A page of sessions.
pub(super) async fn list(call: Call) -> Answer {
    let asked: Listing = call.parameters()?;
    let limit = page(asked.limit)?;
    let sessions = match asked.newest_first {
        true => call.server.newest_sessions(asked.filter(), limit).await?,
        false => call.server.sessions(asked.filter(), limit).await?,
    };
    let is_full = sessions.len() == limit as usize;
    let next = sessions.last().filter(|_| is_full).map(|it| it.number);
    Ok(json!({ "sessions": sessions, "next": next }))
}

/// The number of sessions.
pub(super) async fn count(call: Call) -> Answer {
    let asked: Listing = call.parameters()?;
    let count = call.server.count_sessions(asked.filter()).await?;
    Ok(json!({ "count": count }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    session_id: String,
}

/// One session, with its last envelopes if it is connected to this node.
pub(super) async fn show(call: Call) -> Answer {
    let Named { session_id } = call.parameters()?;
    let filter = SessionFilter::default().session_id(&session_id);
    let Some(session) = call.server.sessions(filter, 1).await?.pop() else {
        return Err(no_session(&session_id));
    };
    let live = call.server.live_session(&session_id).await?;
    Ok(json!({ "session": session, "live": live }))
}

fn no_session(session_id: &str) -> Refusal {
    refused(404, format!("there is no session {}", shown(session_id)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    session_id: Option<String>,
    user_id: Option<String>,
    reason: Option<String>,
}

/// Closes one session, or all of a user.
pub(super) async fn close(call: Call) -> Answer {
    let asked: Close = call.body()?;
    let reason = asked.reason.as_deref().unwrap_or(REASON);
    let closed = match (asked.session_id, asked.user_id) {
        (Some(session_id), None) => {
            if !call.server.close_session(&session_id, reason).await? {
                return Err(no_session(&session_id));
            }
            let (sid, reason) = (shown(&session_id), shown(reason));
            call.log(format_args!("closed the session {sid}: {reason}"));
            1
        }
        (None, Some(user)) => {
            let closed = call.server.close_sessions_of(&user, reason).await?;
            let (user, reason) = (shown(&user), shown(reason));
            call.log(format_args!("closed {closed} sessions of {user}: {reason}"));
            closed
        }
        _ => {
            return Err(refused(
                400,
                "the body must name either session_id or user_id",
            ));
        }
    };
    Ok(json!({ "closed": closed }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    user_id: String,
    topic: Option<String>,
}

/// Ends a user's authorization, or the right to a topic.
pub(super) async fn revoke(call: Call) -> Answer {
    let Revoke { user_id, topic } = call.body()?;
    let user = shown(&user_id);
    match &topic {
        Some(topic) => {
            call.server.revoke_topic(&user_id, topic).await?;
            let topic = shown(topic);
            call.log(format_args!(
                "revoked the right of {user} to the topic {topic}"
            ));
        }
        None => {
            call.server.revoke(&user_id).await?;
            call.log(format_args!("revoked the authorization of {user}"));
        }
    }
    Ok(json!({ "revoked": user_id, "topic": topic }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Users {
    after: Option<String>,
    limit: Option<u32>,
}

/// A page of users.
pub(super) async fn users(call: Call) -> Answer {
    let Users { after, limit } = call.parameters()?;
    let limit = page(limit)?;
    let users = call.server.users(after.as_deref(), limit).await?;
    let is_full = users.len() == limit as usize;
    let next = users.last().filter(|_| is_full).map(|it| &it.user_id);
    Ok(json!({ "users": users, "next": next }))
}
