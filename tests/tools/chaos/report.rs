//! Figures for people, and as JSON.

use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::history::{History, Promise};
use crate::run::Stage;
use crate::scenario::Scenario;

/// What came out of one scenario.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub scenario: String,
    pub nodes: usize,
    pub clients: usize,
    pub seconds: f64,
    pub faults: u64,
    pub messages: u64,
    pub messages_per_second: f64,
    /// Pushes of the nodes that were accepted.
    pub pushes: usize,
    pub reconnects: usize,
    /// Messages made on another node than the one that delivered them.
    pub from_elsewhere: u64,
    /// Those made on a node that had never held the session.
    pub from_strangers: u64,
    /// Messages of clients that went out again.
    pub sent_again: u64,
    /// Messages of the server that came again, and were known.
    pub redelivered: u64,
    pub retries: u64,
    /// NACKs and REJECTs.
    pub refused: u64,
    /// Lines that nodes closed with 1012.
    pub closed_in_order: u64,
    /// Inbox rows whose ACK2 was lost with a line.
    pub explained_rests: u64,
    /// From a fault to the next message, per affected client, in milliseconds.
    pub next_message_p50: f64,
    pub next_message_p99: f64,
    pub next_message_max: f64,
    pub affected: usize,
    /// By promise: what was broken, how often.
    pub violations: Vec<(String, usize)>,
    /// The first of them.
    pub examples: Vec<String>,
}

/// Violations that are printed, of each promise.
const EXAMPLES: usize = 8;

impl Figures {
    pub fn of(
        stage: &Stage,
        scenario: Scenario,
        loaded: Duration,
        pushes: usize,
        explained_rests: u64,
    ) -> Figures {
        let history = &stage.crowd.history;
        let mut healed = history.healed.borrow().clone();
        healed.sort();
        Figures {
            nodes: stage.plan.nodes,
            clients: stage.plan.clients,
            seconds: loaded.as_secs_f64(),
            messages: history.messages.get(),
            messages_per_second: history.messages.get() as f64 / loaded.as_secs_f64(),
            pushes,
            reconnects: history.reconnects(),
            from_elsewhere: history.from_elsewhere.get(),
            from_strangers: history.from_strangers.get(),
            sent_again: history.resent.get(),
            redelivered: history.redelivered.get(),
            retries: history.retries.get(),
            refused: history.refused.get(),
            closed_in_order: stage.closed.get(),
            explained_rests,
            next_message_p50: percentile(&healed, 0.5),
            next_message_p99: percentile(&healed, 0.99),
            next_message_max: percentile(&healed, 1.0),
            affected: healed.len(),
            ..Figures::judged(scenario, stage.faults.get(), history)
        }
    }

    /// Without load: only what was broken.
    pub fn judged(scenario: Scenario, faults: u64, history: &History) -> Figures {
        let violations = history.violations();
        let broken = |promise: Promise| violations.iter().filter(move |found| found.0 == promise);
        let examples = Promise::ALL.iter().flat_map(|(promise, name)| {
            let first = broken(*promise).take(EXAMPLES);
            first.map(move |(_, what)| format!("{name}: {what}"))
        });
        Figures {
            scenario: scenario.name().to_owned(),
            faults,
            examples: examples.collect(),
            violations: Promise::ALL
                .iter()
                .map(|(promise, name)| ((*name).to_owned(), broken(*promise).count()))
                .collect(),
            ..Figures::default()
        }
    }

    pub fn broken(&self) -> usize {
        self.violations.iter().map(|(_, count)| count).sum()
    }
}

/// In milliseconds, of what is sorted.
fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted
        .get(at)
        .map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

/// A line that says how it goes.
pub fn progress(stage: &Stage, scenario: Scenario, per_second: u64, terminal: bool) {
    let history = &stage.crowd.history;
    let seconds = stage.began.elapsed().as_secs();
    let line = format!(
        "{:<8} {:>2}:{:02}  faults {:>3}  messages {:>9} ({:>5}/s)  connected {:>3}/{}  violations {}",
        scenario.name(),
        seconds / 60,
        seconds % 60,
        stage.faults.get(),
        thousands(history.messages.get()),
        thousands(per_second),
        history.connected(),
        stage.plan.clients,
        history.violation_count(),
    );
    match terminal {
        true => print!("\r{line} "),
        false => println!("{line}"),
    }
    let _ = std::io::stdout().flush();
}

/// 1234567 as 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One row for each figure, one column for each scenario.
pub fn table(all: &[Figures]) -> String {
    type Row = (&'static str, fn(&Figures) -> String);
    const ROWS: [Row; 19] = [
        ("", |f| f.scenario.clone()),
        ("nodes", |f| f.nodes.to_string()),
        ("clients", |f| f.clients.to_string()),
        ("faults", |f| thousands(f.faults)),
        ("messages", |f| thousands(f.messages)),
        ("messages per second", |f| {
            thousands(f.messages_per_second as u64)
        }),
        ("pushes accepted", |f| thousands(f.pushes as u64)),
        ("reconnects", |f| thousands(f.reconnects as u64)),
        ("made on another node", |f| thousands(f.from_elsewhere)),
        ("  which never held the session", |f| {
            thousands(f.from_strangers)
        }),
        ("sent again by clients", |f| thousands(f.sent_again)),
        ("delivered again, and known", |f| thousands(f.redelivered)),
        ("RETRY", |f| thousands(f.retries)),
        ("NACK, REJECT", |f| thousands(f.refused)),
        ("lines closed with 1012", |f| thousands(f.closed_in_order)),
        ("inbox rows whose ACK2 was lost", |f| {
            thousands(f.explained_rests)
        }),
        ("fault to next message, p50 ms", |f| {
            thousands(f.next_message_p50 as u64)
        }),
        ("                       p99 ms", |f| {
            thousands(f.next_message_p99 as u64)
        }),
        ("                       max ms", |f| {
            thousands(f.next_message_max as u64)
        }),
    ];
    let mut text = String::new();
    let mut row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        text.push_str(&format!("{name:<31}"));
        cells.for_each(|cell| text.push_str(&format!(" {cell:>11}")));
        text.push('\n');
    };
    for (name, cell) in ROWS {
        row(name, &mut all.iter().map(cell));
    }
    for (place, (_, name)) in Promise::ALL.iter().enumerate() {
        let count = |figures: &Figures| figures.violations[place].1 as u64;
        row(
            name,
            &mut all.iter().map(|figures| thousands(count(figures))),
        );
    }
    text
}
