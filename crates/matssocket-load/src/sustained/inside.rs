//! PostgreSQL's activity during a window.

use serde::Serialize;

use super::window::{short, thousands};

const MB: f64 = 1e6;
/// The width of a table's figures.
const COLUMN: usize = 27;
/// How many wait events are shown, those of the most backends.
const WAITS: usize = 4;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Inside {
    pub tables: Vec<Table>,
    /// Bytes of all tables of the schema, with their indexes.
    pub disk: u64,
    pub messages: u64,
    pub wal_bytes: u64,
    /// Pages that were written to the WAL in full, because a checkpoint had begun since they were last changed.
    pub full_pages: u64,
    /// What backends wait for, and how many on average; the most frequent first.
    pub waits: Vec<Wait>,
    pub vacuums: Vec<Vacuum>,
    /// Checkpoints that began on schedule.
    pub checkpoints_timed: u64,
    /// Checkpoints that began because there was so much WAL.
    pub checkpoints_requested: u64,
    /// Pages that they wrote.
    pub checkpoint_pages: u64,
    /// How many transactions began since the oldest one that is held open; `None`: none is held by this program.
    pub held: Option<u64>,
    /// Why the database did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    pub name: String,
    pub live: u64,
    pub dead: u64,
    pub heap_bytes: u64,
    pub index_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    pub event: String,
    pub backends: f64,
}

/// The figures of one table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Vacuum {
    pub table: String,
    /// The share of the window in which a vacuum was running, including the time in which it slept to limit its load.
    pub at_work: f64,
    pub asleep: f64,
    /// How many have ended.
    pub ended: u64,
}

impl Inside {
    pub fn wal_bytes_each(&self) -> f64 {
        self.wal_bytes as f64 / self.messages.max(1) as f64
    }

    pub fn has_checkpoint(&self) -> bool {
        self.checkpoints_timed + self.checkpoints_requested + self.checkpoint_pages > 0
    }

    /// The figures of the tables, in columns.
    pub fn tables(&self) -> String {
        match &self.silence {
            Some(why) => format!("PostgreSQL does not tell: {why}"),
            None => self.tables.iter().map(Table::tell).collect(),
        }
    }

    /// The current activity.
    pub fn work(&self) -> Vec<String> {
        if self.silence.is_some() {
            return Vec::new();
        }
        let mut parts = vec![format!("disk {:.0} MB", self.disk as f64 / MB)];
        parts.push(self.tell_wal());
        parts.push(self.tell_waits());
        parts.extend(self.vacuums.iter().map(Vacuum::tell));
        parts.extend(self.has_checkpoint().then(|| self.tell_checkpoints()));
        if let Some(age) = self.held {
            let age = thousands(age as f64);
            parts.push(format!("xmin held, {age} transactions behind"));
        }
        parts
    }

    /// The size of full pages in the WAL is not available: a page is written without the hole in its middle.
    fn tell_wal(&self) -> String {
        let (each, pages) = (self.wal_bytes_each(), short(self.full_pages as f64));
        format!("WAL {each:.0} B per message, {pages} full pages")
    }

    fn tell_waits(&self) -> String {
        let waits = self.waits.iter().take(WAITS);
        let waits: Vec<_> = waits
            .map(|wait| format!("{} {:.1}", wait.event, wait.backends))
            .collect();
        match waits.is_empty() {
            true => "no backend is busy".to_owned(),
            false => format!("backends: {}", waits.join(", ")),
        }
    }

    fn tell_checkpoints(&self) -> String {
        let pages = thousands(self.checkpoint_pages as f64);
        let begun = match (self.checkpoints_timed, self.checkpoints_requested) {
            (0, 0) => "checkpoint",
            (_, 0) => "checkpoint begun by time",
            _ => "checkpoint begun by WAL",
        };
        format!("{begun}, {pages} pages")
    }
}

impl Table {
    fn tell(&self) -> String {
        let text = format!(
            "{} {}+{} {:.0}+{:.0}",
            self.name,
            short(self.live as f64),
            short(self.dead as f64),
            self.heap_bytes as f64 / MB,
            self.index_bytes as f64 / MB
        );
        format!("{text:<COLUMN$} ")
    }
}

impl Vacuum {
    fn tell(&self) -> String {
        let mut text = format!("vacuum of {}", self.table);
        if self.at_work > 0.0 {
            let (at_work, asleep) = (100.0 * self.at_work, 100.0 * self.asleep);
            text += &format!(" {at_work:.0} % of the time ({asleep:.0} % asleep)");
        }
        match self.ended {
            0 => text,
            ended => text + &format!(", {ended} ended"),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::window::WIDTH;
    use super::super::window::tests::window;
    use super::*;
    use crate::mix::{Kind, Mix};

    /// An example with much of everything.
    pub fn busy() -> Inside {
        let table = |name: &str| Table {
            name: name.to_owned(),
            live: 512,
            dead: 1_240_000,
            heap_bytes: 310_000_000,
            index_bytes: 415_000_000,
        };
        let wait = |event: &str, backends| Wait {
            event: event.to_owned(),
            backends,
        };
        Inside {
            tables: ["inbox", "outbox", "session", "forwarded"]
                .map(table)
                .into(),
            disk: 1_450_000_000,
            messages: 660_000,
            wal_bytes: 536_000_000,
            full_pages: 12_345,
            waits: vec![wait("running", 1.3), wait("IO:WALSync", 0.9)],
            vacuums: vec![Vacuum {
                table: "inbox".to_owned(),
                at_work: 0.9,
                asleep: 0.7,
                ended: 1,
            }],
            checkpoints_requested: 1,
            checkpoint_pages: 1_201,
            held: Some(523_000),
            ..Inside::default()
        }
    }

    #[test]
    fn all_of_it_fits_on_lines_that_a_person_can_read() {
        let mut window = window(120.0, 66_123.0, 31.2);
        window.inside = Some(busy());
        let lines = window.lines(&Mix::only(Kind::Requests));
        let text = lines.join("\n");
        for told in [
            "inbox 512+1.24M 310+415",
            "disk 1450 MB",
            "WAL 812 B per message, 12k full pages",
            "backends: running 1.3, IO:WALSync 0.9",
            "vacuum of inbox 90 % of the time (70 % asleep), 1 ended",
            "checkpoint begun by WAL, 1,201 pages",
            "xmin held, 523,000 transactions behind",
        ] {
            assert!(text.contains(told), "{told:?} is not in:\n{text}");
        }
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn a_database_that_does_not_answer_is_told() {
        let silent = Inside {
            silence: Some("the line broke".to_owned()),
            ..Inside::default()
        };
        assert_eq!(silent.tables(), "PostgreSQL does not tell: the line broke");
        assert!(silent.work().is_empty());
    }
}
