//! `matssocket users`.

use matssocket::StoredUser;
use serde_json::json;

use super::options::StoreOptions;
use crate::command_line::number;
use crate::failure::Failure;
use crate::output::{self, Table, counted};

/// List the users who have sessions
///
/// Sorted by their ids, each with the number of sessions, and of those connected to a node. An SQLite file is open to one
/// process at a time: name its server by --server, or stop it first.
#[derive(clap::Args)]
pub struct Users {
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
        // One more tells whether there are more.
        let most = self.limit.saturating_add(1);
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
    output::print(&match more {
        true => format!("{shown}, and there are more (--after USER, --limit)\n"),
        false => format!("{shown}\n"),
    });
}
