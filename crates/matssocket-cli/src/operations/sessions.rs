//! `matssocket sessions`.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use matssocket::wire::shown;
use matssocket::{SessionFilter, StoredSession};
use serde_json::json;

use super::options::{Asked, StoreOptions};
use super::target::Target;
use crate::command_line::number;
use crate::failure::Failure;
use crate::output::{self, Table, counted, relative};

/// The reason given to its client's reply terminators, unless `--reason` names another.
const REASON: &str = "closed by the operator";

/// List, count and close sessions; revoke authorizations
///
/// Lists the sessions of the whole cluster, oldest first, unless a subcommand says what else to do. An SQLite file is
/// open to one process at a time: name its server by --server, or stop it first.
#[derive(Args)]
pub struct Sessions {
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    options: StoreOptions,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Args)]
struct List {
    /// Only this user's
    #[arg(long, allow_hyphen_values = true)]
    user: Option<String>,
    /// Only this app's
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    app: Option<String>,
    /// Only those connected to a node
    #[arg(long)]
    connected: bool,
    /// At most this many [default: 100]
    #[arg(long, value_name = "NUMBER", value_parser = number::<u32>)]
    limit: Option<u32>,
    /// Only their number
    #[arg(long)]
    count: bool,
}

/// What to do with them.
#[derive(Subcommand)]
enum Action {
    /// Close one session, or all of a user: their messages are deleted, and their clients are notified
    Close {
        /// The id of the session
        sid: Option<String>,
        /// All sessions of this user
        #[arg(long, allow_hyphen_values = true)]
        user: Option<String>,
        /// The reason given to the client's reply terminators
        #[arg(long, value_name = "TEXT", default_value = REASON, allow_hyphen_values = true)]
        reason: String,
    },
    /// End a user's authorization: no messages are delivered or accepted until the user logs in again
    Revoke {
        /// Whose authorization
        #[arg(long, allow_hyphen_values = true)]
        user: Option<String>,
        /// Only the right to this topic
        #[arg(long, allow_hyphen_values = true)]
        topic: Option<String>,
    },
}

impl Sessions {
    /// # Errors
    /// Why it was not done.
    pub async fn run(self) -> Result<(), Failure> {
        let Sessions {
            list,
            options,
            action,
        } = self;
        let asked = options.load()?;
        match action {
            None => list.run(asked).await,
            Some(action) => match list.first() {
                None => action.run(asked).await,
                Some(option) => Err(Failure::Usage(format!(
                    "{option} is for listing sessions, or must follow {}",
                    action.name()
                ))),
            },
        }
    }
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Action::Close { .. } => "close",
            Action::Revoke { .. } => "revoke",
        }
    }

    async fn run(self, asked: Asked) -> Result<(), Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.into()));
        match self {
            Action::Close { sid, user, reason } => match (sid, user) {
                (Some(sid), None) => close(&asked.open().await?, &sid, &reason, asked.json).await,
                (None, Some(user)) => {
                    close_all(&asked.open().await?, &user, &reason, asked.json).await
                }
                _ => usage(
                    "sessions close needs the id of a session, or a user: sessions close SID, or --user USER",
                ),
            },
            Action::Revoke {
                user: Some(user),
                topic,
            } => revoke(&asked.open().await?, &user, topic.as_deref(), asked.json).await,
            Action::Revoke { user: None, .. } => {
                usage("sessions revoke needs a user: sessions revoke --user USER")
            }
        }
    }
}

impl List {
    /// The first of its options that was given.
    fn first(&self) -> Option<&'static str> {
        let given = [
            (self.user.is_some(), "--user"),
            (self.app.is_some(), "--app"),
            (self.connected, "--connected"),
            (self.limit.is_some(), "--limit"),
            (self.count, "--count"),
        ];
        given
            .into_iter()
            .find_map(|(given, option)| given.then_some(option))
    }

    async fn run(self, asked: Asked) -> Result<(), Failure> {
        let mut filter = SessionFilter::default();
        filter.user_id.clone_from(&self.user);
        filter.app_name.clone_from(&self.app);
        filter.connected_only = self.connected;
        let target = asked.open_to_read().await?;
        let total = target.count_sessions(filter.clone()).await?;
        if self.count {
            match asked.json {
                true => output::print_json(&json!({ "count": total })),
                false => output::print(&format!("{total}\n")),
            }
            return Ok(());
        }
        let sessions = target.sessions(filter, self.limit.unwrap_or(100)).await?;
        match asked.json {
            true => output::print_json(&json!({ "sessions": sessions, "count": total })),
            false => show(sessions, total),
        }
        Ok(())
    }
}

async fn close(target: &Target, sid: &str, reason: &str, json: bool) -> Result<(), Failure> {
    target.close_session(sid, reason).await?;
    match json {
        true => output::print_json(&json!({ "closed": sid })),
        false => output::print(&format!("session {} is closed\n", shown(sid))),
    }
    Ok(())
}

async fn close_all(target: &Target, user: &str, reason: &str, json: bool) -> Result<(), Failure> {
    let closed = target.close_sessions_of(user, reason).await?;
    match json {
        true => output::print_json(&json!({ "user": user, "closed": closed })),
        false => {
            let closed = counted(closed, "session");
            output::print(&format!("{closed} of {} closed\n", shown(user)));
        }
    }
    Ok(())
}

async fn revoke(
    target: &Target,
    user: &str,
    topic: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    target.revoke(user, topic).await?;
    let what = match topic {
        Some(topic) => format!("the right of {} to {}", shown(user), shown(topic)),
        None => format!("the authorization of {}", shown(user)),
    };
    match json {
        true => output::print_json(&json!({ "revoked": user, "topic": topic })),
        false if target.is_immediate() => output::print(&format!("{what} is revoked\n")),
        false => output::print(&format!(
            "{what} is revoked: each node applies this at its next sweep\n"
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
