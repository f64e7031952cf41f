//! `matssocket dead-letters`.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use matssocket::DeadLetter;
use serde::Serialize;
use serde_json::json;

use super::options::{Asked, StoreOptions};
use super::target::Target;
use crate::command_line::number;
use crate::failure::Failure;
use crate::output::{self, Table, counted, relative, shortened};

/// Dead letters read from the store at a time.
const PAGE: u32 = 500;

/// List, redrive and drop messages that were given up
///
/// An SQLite file is open to one process at a time: name its server by --server, or
/// stop it first.
#[derive(Args)]
pub struct DeadLetters {
    #[command(flatten)]
    options: StoreOptions,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List them; payloads, and long trace ids in full, are shown with --json
    List {
        /// Only ids greater than this
        #[arg(long, value_name = "ID", default_value = "0", value_parser = number::<i64>, allow_hyphen_values = true)]
        after: i64,
        /// At most this many
        #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = number::<u32>)]
        limit: u32,
    },
    /// Put them back for delivery
    Redrive(Named),
    /// Delete them
    Drop(Named),
}

/// Which ones.
#[derive(Args)]
struct Named {
    /// The ids of dead letters
    #[arg(value_name = "ID", value_parser = id, allow_negative_numbers = true)]
    ids: Vec<i64>,
    /// Every dead letter
    #[arg(long)]
    all: bool,
}

fn id(text: &str) -> Result<i64, String> {
    let wrong = "is not the id of a dead letter, which is a number";
    text.parse().map_err(|_| wrong.to_owned())
}

impl DeadLetters {
    /// # Errors
    /// Why it was not done.
    pub async fn run(self) -> Result<(), Failure> {
        let asked = self.options.load()?;
        match self.action {
            Some(Action::List { after, limit }) => {
                list(&asked.open_to_read().await?, after, limit, asked.json).await
            }
            Some(Action::Redrive(named)) => named.redrive(asked).await,
            Some(Action::Drop(named)) => named.drop(asked).await,
            None => Err(Failure::Usage(
                "choose what to do with dead letters: list, redrive or drop (see matssocket dead-letters --help)"
                    .into(),
            )),
        }
    }
}

impl Named {
    async fn redrive(self, asked: Asked) -> Result<(), Failure> {
        let target = self.open(&asked).await?;
        let mut done = Done::default();
        for id in self.ids(&target).await? {
            let worked = target.redrive_dead_letter(id).await?;
            done.note(&target, id, worked).await?;
        }
        done.tell("redriven", asked.json)
    }

    async fn drop(self, asked: Asked) -> Result<(), Failure> {
        let target = self.open(&asked).await?;
        let mut done = Done::default();
        for id in self.ids(&target).await? {
            let worked = target.drop_dead_letter(id).await?;
            done.note(&target, id, worked).await?;
        }
        done.tell("dropped", asked.json)
    }

    async fn open(&self, asked: &Asked) -> Result<Target, Failure> {
        if self.all != self.ids.is_empty() {
            let why = "name the dead letters by their ids, or use --all";
            return Err(Failure::Usage(why.into()));
        }
        asked.open().await
    }

    async fn ids(self, target: &Target) -> Result<Vec<i64>, Failure> {
        match self.all {
            true => all(target).await,
            false => Ok(self.ids),
        }
    }
}

async fn list(target: &Target, after: i64, limit: u32, json: bool) -> Result<(), Failure> {
    // Reading one more than is shown reveals whether there are more.
    let wanted = limit.saturating_add(1);
    let mut letters: Vec<DeadLetter> = Vec::new();
    while (letters.len() as u64) < u64::from(wanted) {
        let behind = letters.last().map_or(after, |letter| letter.id);
        let page = target.dead_letters(behind, wanted - letters.len() as u32);
        let page = page.await?;
        if page.is_empty() {
            break;
        }
        letters.extend(page);
    }
    let more = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    match json {
        true => output::print_json(&json!({ "dead_letters": letters, "more": more })),
        false => show(letters, more),
    }
    Ok(())
}

fn show(letters: Vec<DeadLetter>, more: bool) {
    let (shown, last) = (letters.len() as u64, letters.last().map(|letter| letter.id));
    if shown > 0 {
        let now = SystemTime::now();
        let mut table = Table::new([
            ">ID", "DIED", "FROM", "ENDPOINT", "SESSION", "TRACE ID", ">TRIES", "REASON",
        ]);
        for letter in letters {
            table.row([
                letter.id.to_string(),
                relative(now, letter.died),
                letter.origin,
                letter.endpoint.unwrap_or_else(|| "-".into()),
                letter.session_id,
                shortened(letter.trace_id),
                letter.deliveries.to_string(),
                letter.reason,
            ]);
        }
        table.print();
        output::print("\n");
    }
    output::print(&counted(shown, "dead letter"));
    output::print(&match last {
        Some(last) if more => format!(", and there are more (--after {last} shows the next)\n"),
        _ => "\n".to_owned(),
    });
}

/// The ids of all current dead letters: a redriven message may become a dead letter again in the meantime.
async fn all(target: &Target) -> Result<Vec<i64>, Failure> {
    let mut ids = Vec::new();
    loop {
        let after = ids.last().copied().unwrap_or(0);
        let page = target.dead_letters(after, PAGE).await?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|letter| letter.id));
    }
}

async fn why_not(target: &Target, id: i64) -> Result<String, Failure> {
    let found = target.dead_letters(id.saturating_sub(1), 1).await?;
    Ok(match found.first() {
        Some(letter) if letter.id == id => {
            format!(
                "its session {} is gone; it can only be dropped",
                letter.session_id
            )
        }
        _ => "there is none".into(),
    })
}

/// What happened to the named dead letters.
#[derive(Default)]
struct Done {
    ids: Vec<i64>,
    left: Vec<Left>,
}

#[derive(Serialize)]
struct Left {
    id: i64,
    why: String,
}

impl Done {
    async fn note(&mut self, target: &Target, id: i64, worked: bool) -> Result<(), Failure> {
        match worked {
            true => self.ids.push(id),
            false => self.left.push(Left {
                id,
                why: why_not(target, id).await?,
            }),
        }
        Ok(())
    }

    fn tell(self, how: &str, json: bool) -> Result<(), Failure> {
        if json {
            output::print_json(&json!({ how: self.ids, "left": self.left }));
        } else if !self.ids.is_empty() || self.left.is_empty() {
            let done = counted(self.ids.len() as u64, "dead letter");
            output::print(&format!("{done} {how}\n"));
        }
        if self.left.is_empty() {
            return Ok(());
        }
        let left = self.left.iter();
        let left: Vec<_> = left
            .map(|Left { id, why }| format!("dead letter {id}: {why}"))
            .collect();
        Err(Failure::Undone(left.join("; ")))
    }
}
