//! `matssocket users`.

use std::time::SystemTime;

use matssocket::{ConnectedUser, StoredUser};
use serde_json::json;

use super::options::StoreOptions;
use crate::command_line::number;
use crate::failure::Failure;
use crate::output::{self, Table, counted, relative};

/// List the users who have sessions
///
/// Sorted by their ids, each with the number of sessions, and of those connected to a node. With `--connected`, who is
/// connected at this moment: each connected session, since when, and on which node. An SQLite file is open to one process
/// at a time: name its server by --server, or stop it first.
#[derive(clap::Args)]
pub struct Users {
    /// Only users who are connected, with their connected sessions
    #[arg(long)]
    connected: bool,
    /// Only this user, with the connected sessions
    #[arg(long, value_name = "USER", allow_hyphen_values = true, conflicts_with_all = ["after", "limit"])]
    user: Option<String>,
    /// Only users after this one
    #[arg(long, value_name = "USER", allow_hyphen_values = true)]
    after: Option<String>,
    /// At most this many
    #[arg(long, value_name = "NUMBER", value_parser = number::<u32>, default_value = "100")]
    limit: u32,
    #[command(flatten)]
    options: StoreOptions,
}

impl Users {
    /// # Errors
    /// Why the users cannot be listed.
    pub async fn run(self) -> Result<(), Failure> {
        let asked = self.options.load()?;
        let target = asked.open_to_read().await?;
        if let Some(user) = &self.user {
            let found = target.connected_user(user).await?;
            print_connected(found.into_iter().collect(), false, asked.json);
            return Ok(());
        }
        // One more tells whether there are more.
        let most = self.limit.saturating_add(1);
        if self.connected {
            let users = target.connected_users(self.after.as_deref(), most).await?;
            let more = users.len() > self.limit as usize;
            let users = users.into_iter().take(self.limit as usize).collect();
            print_connected(users, more, asked.json);
            return Ok(());
        }
        let mut users = target.users(self.after.as_deref(), most).await?;
        let more = users.len() > self.limit as usize;
        users.truncate(self.limit as usize);
        match asked.json {
            true => output::print_json(&json!({ "users": users, "more": more })),
            false => show(users, more),
        }
        Ok(())
    }
}

fn show(users: Vec<StoredUser>, more: bool) {
    let shown = counted(users.len() as u64, "user");
    if !users.is_empty() {
        let mut table = Table::new(["USER", ">SESSIONS", ">CONNECTED"]);
        for user in users {
            table.row([
                user.user_id,
                user.sessions.to_string(),
                user.connected.to_string(),
            ]);
        }
        table.print();
        output::print("\n");
    }
    print_count(&shown, more);
}

fn print_connected(users: Vec<ConnectedUser>, more: bool, json: bool) {
    if json {
        return output::print_json(&json!({ "users": users, "more": more }));
    }
    let shown = format!("{} connected", counted(users.len() as u64, "user"));
    if !users.is_empty() {
        let now = SystemTime::now();
        let mut table = Table::new(["USER", "SESSION", "APP", "SINCE", "NODE"]);
        for user in users {
            for session in user.sessions {
                table.row([
                    user.user_id.clone(),
                    session.session_id,
                    format!("{} {}", session.app_name, session.app_version),
                    session
                        .since
                        .map_or("-".into(), |since| relative(now, since)),
                    session.node,
                ]);
            }
        }
        table.print();
        output::print("\n");
    }
    print_count(&shown, more);
}

fn print_count(shown: &str, more: bool) {
    output::print(&match more {
        true => format!("{shown}, and there are more (--after USER, --limit)\n"),
        false => format!("{shown}\n"),
    });
}
