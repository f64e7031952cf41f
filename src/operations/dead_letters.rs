//! `matssocket dead-letters`.

use std::time::SystemTime;

use lexopt::{Parser, ValueExt};
use matssocket::{Admin, DeadLetter, StoreError};
use serde::Serialize;
use serde_json::json;

use super::Failure;
use super::help::DEAD_LETTERS;
use super::masked::masked;
use super::output::{self, Table, counted, relative, shortened};

/// Dead letters read from the store in one go.
const PAGE: u32 = 500;

#[derive(Default)]
struct Wanted {
    action: Option<Action>,
    ids: Vec<i64>,
    all: bool,
    after: i64,
    limit: Option<u32>,
}

#[derive(Clone, Copy)]
enum Action {
    List,
    Redrive,
    Drop,
}

impl Wanted {
    fn read(&mut self, word: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match (word, self.action) {
            ("list", None) => self.action = Some(Action::List),
            ("redrive", None) => self.action = Some(Action::Redrive),
            ("drop", None) => self.action = Some(Action::Drop),
            ("--after", Some(Action::List)) => self.after = parser.value()?.parse()?,
            ("--limit", Some(Action::List)) => self.limit = Some(parser.value()?.parse()?),
            ("--all", Some(Action::Redrive | Action::Drop)) => self.all = true,
            (id, Some(Action::Redrive | Action::Drop)) if !id.starts_with("--") => {
                let id = id.parse().map_err(|_| {
                    Failure::Usage(format!(
                        "{:?} is not the id of a dead letter, which is a number",
                        masked(id)
                    ))
                })?;
                self.ids.push(id);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let mut wanted = Wanted::default();
    let Some(asked) = DEAD_LETTERS.read(parser, |word, parser| wanted.read(word, parser))? else {
        return Ok(());
    };
    let Some(action) = wanted.action else {
        let why =
            "what about dead letters? list, redrive or drop (see matssocket dead-letters --help)";
        return Err(Failure::Usage(why.into()));
    };
    if let Action::List = action {
        let admin = asked.open_to_read().await?;
        return list(
            &admin,
            wanted.after,
            wanted.limit.unwrap_or(100),
            asked.json,
        )
        .await;
    }
    if wanted.all != wanted.ids.is_empty() {
        return Err(Failure::Usage(
            "name the dead letters by their ids, or take --all".into(),
        ));
    }
    let admin = asked.open().await?;
    if wanted.all {
        wanted.ids = all(&admin).await?;
    }
    let mut done = Done::default();
    for id in wanted.ids {
        let worked = match action {
            Action::Drop => admin.drop_dead_letter(id).await?,
            Action::Redrive | Action::List => admin.redrive_dead_letter(id).await?,
        };
        match worked {
            true => done.ids.push(id),
            false => done.left.push(Left {
                id,
                why: why_not(&admin, id).await?,
            }),
        }
    }
    match action {
        Action::Drop => done.tell("dropped", asked.json),
        Action::Redrive | Action::List => done.tell("redriven", asked.json),
    }
}

async fn list(admin: &Admin, after: i64, limit: u32, json: bool) -> Result<(), Failure> {
    // One more than is shown tells whether there are more.
    let wanted = limit.saturating_add(1);
    let mut letters: Vec<DeadLetter> = Vec::new();
    while (letters.len() as u64) < u64::from(wanted) {
        let behind = letters.last().map_or(after, |letter| letter.id);
        let page = admin.dead_letters(behind, wanted - letters.len() as u32);
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

/// The ids of all dead letters that there are now: what is redriven may die again meanwhile.
async fn all(admin: &Admin) -> Result<Vec<i64>, StoreError> {
    let mut ids = Vec::new();
    loop {
        let after = ids.last().copied().unwrap_or(0);
        let page = admin.dead_letters(after, PAGE).await?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page.iter().map(|letter| letter.id));
    }
}

async fn why_not(admin: &Admin, id: i64) -> Result<String, StoreError> {
    let found = admin.dead_letters(id.saturating_sub(1), 1).await?;
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

/// What became of those that were named.
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
