//! `matssocket sessions`.

use lexopt::{Parser, ValueExt};
use matssocket::wire::shown;
use matssocket::{Admin, SessionFilter, StoredSession};
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
    /// The first word was `close`: the session to close follows.
    close: bool,
    begun: bool,
    sid: Option<String>,
    reason: Option<String>,
}

impl Wanted {
    fn read(&mut self, word: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let first = !std::mem::replace(&mut self.begun, true);
        match (word, self.close) {
            ("close", false) if first => self.close = true,
            ("--user", false) => self.filter.user_id = Some(parser.value()?.string()?),
            ("--app", false) => self.filter.app_name = Some(parser.value()?.string()?),
            ("--connected", false) => self.filter.connected_only = true,
            ("--limit", false) => self.limit = Some(parser.value()?.parse()?),
            ("--count", false) => self.count = true,
            ("--reason", true) => self.reason = Some(parser.value()?.string()?),
            (sid, true) if self.sid.is_none() && !sid.starts_with("--") => {
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
    if wanted.close {
        let sid = wanted.sid.ok_or_else(|| {
            Failure::Usage("sessions close needs the id of a session: sessions close SID".into())
        })?;
        let reason = wanted.reason.as_deref().unwrap_or(REASON);
        return close(&asked.open().await?, &sid, reason, asked.json).await;
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

fn show(sessions: Vec<StoredSession>, total: u64) {
    let shown = sessions.len() as u64;
    if shown > 0 {
        let now = output::now();
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
