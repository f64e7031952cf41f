//! `matssocket sessions`.

use std::time::SystemTime;

use lexopt::{Parser, ValueExt};
use matssocket::wire::shown;
use matssocket::{Admin, SendError, SessionFilter, StoredSession};
use serde_json::json;

use super::Failure;
use super::help::SESSIONS;
use super::output::{self, Table, counted, relative};

/// What its client's reply terminators are told, unless `--reason` says otherwise.
const REASON: &str = "closed by the operator";

#[derive(Default)]
struct Wanted {
    filter: SessionFilter,
    limit: Option<u32>,
    count: bool,
    action: Action,
    begun: bool,
    sid: Option<String>,
    reason: Option<String>,
    topic: Option<String>,
}

/// What is to be done with them: the first word says so.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Action {
    #[default]
    List,
    /// The session to close follows, or the user whose sessions are closed.
    Close,
    /// The user follows whose authorization ends.
    Revoke,
}

impl Wanted {
    fn read(&mut self, word: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let first = !std::mem::replace(&mut self.begun, true);
        match (word, self.action) {
            ("close", Action::List) if first => self.action = Action::Close,
            ("revoke", Action::List) if first => self.action = Action::Revoke,
            ("--user", _) => self.filter.user_id = Some(parser.value()?.string()?),
            ("--app", Action::List) => self.filter.app_name = Some(parser.value()?.string()?),
            ("--connected", Action::List) => self.filter.connected_only = true,
            ("--limit", Action::List) => self.limit = Some(parser.value()?.parse()?),
            ("--count", Action::List) => self.count = true,
            ("--reason", Action::Close) => self.reason = Some(parser.value()?.string()?),
            ("--topic", Action::Revoke) => self.topic = Some(parser.value()?.string()?),
            (sid, Action::Close) if self.sid.is_none() && !sid.starts_with("--") => {
                self.sid = Some(sid.to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let mut wanted = Wanted::default();
    let Some(asked) = SESSIONS.read(parser, |word, parser| wanted.read(word, parser))? else {
        return Ok(());
    };
    let usage = |text: &str| Err(Failure::Usage(text.into()));
    match (wanted.action, wanted.sid, wanted.filter.user_id.clone()) {
        (Action::List, ..) => {}
        (Action::Close, Some(sid), None) => {
            let reason = wanted.reason.as_deref().unwrap_or(REASON);
            return close(&asked.open().await?, &sid, reason, asked.json).await;
        }
        (Action::Close, None, Some(user)) => {
            let reason = wanted.reason.as_deref().unwrap_or(REASON);
            return close_all(&asked.open().await?, &user, reason, asked.json).await;
        }
        (Action::Close, ..) => {
            return usage(
                "sessions close needs the id of a session, or a user: sessions close SID, or --user USER",
            );
        }
        (Action::Revoke, _, Some(user)) => {
            let topic = wanted.topic.as_deref();
            return revoke(&asked.open().await?, &user, topic, asked.json).await;
        }
        (Action::Revoke, _, None) => {
            return usage("sessions revoke needs a user: sessions revoke --user USER");
        }
    }
    let admin = asked.open_to_read().await?;
    let total = admin.count_sessions(wanted.filter.clone()).await?;
    if wanted.count {
        match asked.json {
            true => output::print_json(&json!({ "count": total })),
            false => output::print(&format!("{total}\n")),
        }
        return Ok(());
    }
    let sessions = admin
        .sessions(wanted.filter, wanted.limit.unwrap_or(100))
        .await?;
    match asked.json {
        true => output::print_json(&json!({ "sessions": sessions, "count": total })),
        false => show(sessions, total),
    }
    Ok(())
}

async fn close(admin: &Admin, sid: &str, reason: &str, json: bool) -> Result<(), Failure> {
    if !admin.close_session(sid, reason).await? {
        return Err(Failure::Undone(format!("there is no session {sid}")));
    }
    match json {
        true => output::print_json(&json!({ "closed": sid })),
        false => output::print(&format!("session {} is closed\n", shown(sid))),
    }
    Ok(())
}

async fn close_all(admin: &Admin, user: &str, reason: &str, json: bool) -> Result<(), Failure> {
    let closed = admin.close_sessions_of(user, reason).await?;
    match json {
        true => output::print_json(&json!({ "user": user, "closed": closed })),
        false => {
            let closed = counted(closed, "session");
            output::print(&format!("{closed} of {} closed\n", shown(user)));
        }
    }
    Ok(())
}

async fn revoke(admin: &Admin, user: &str, topic: Option<&str>, json: bool) -> Result<(), Failure> {
    let failed = |error: SendError| Failure::Undone(error.to_string());
    admin.revoke(user, topic).await.map_err(failed)?;
    let what = match topic {
        Some(topic) => format!("the right of {} to {}", shown(user), shown(topic)),
        None => format!("the authorization of {}", shown(user)),
    };
    match json {
        true => output::print_json(&json!({ "revoked": user, "topic": topic })),
        false => output::print(&format!(
            "{what} is revoked: each node heeds it at its next sweep\n"
        )),
    }
    Ok(())
}

fn show(sessions: Vec<StoredSession>, total: u64) {
    let shown = sessions.len() as u64;
    if shown > 0 {
        let now = SystemTime::now();
        let mut table = Table::new(["SESSION", "USER", "APP", "CREATED", "ALIVE", "NODE"]);
        for session in sessions {
            table.row([
                session.session_id,
                session.user_id,
                format!("{} {}", session.app_name, session.app_version),
                relative(now, session.created),
                relative(now, session.alive),
                session.node.unwrap_or_else(|| "-".into()),
            ]);
        }
        table.print();
        output::print("\n");
    }
    output::print(&match shown < total {
        true => format!(
            "{shown} of {} (--limit shows more)\n",
            counted(total, "session")
        ),
        false => counted(total, "session") + "\n",
    });
}
