//! Verifies the promises over the whole history, when everything is quiet.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::data::{Mail, Process, client_of};
use crate::database::{Database, Effect};
use crate::history::{Came, History, Kind, Promise, Received, Sent};
use crate::journal::{self, Fate};

/// Everything that is known when all is quiet.
pub struct Evidence<'a> {
    pub history: &'a History,
    /// How often each row is in the application's table.
    effects: HashMap<Effect, u64>,
    /// How often each message has reached an application.
    delivered: HashMap<(Came, Mail), u64>,
    /// By process, receiver and number.
    pushes: BTreeMap<Process, HashMap<(usize, u64), Fate>>,
}

impl<'a> Evidence<'a> {
    pub fn gather(
        history: &'a History,
        database: &mut Database,
        directory: &Path,
        processes: &[Process],
    ) -> Result<Evidence<'a>, String> {
        let mut effects = HashMap::new();
        for effect in database.effects()? {
            *effects.entry(effect).or_default() += 1;
        }
        let mut delivered = HashMap::new();
        for view in &history.views {
            for Received { came, mail, .. } in &view.borrow().received {
                *delivered.entry((*came, anonymous(mail))).or_default() += 1;
            }
        }
        let read = |process: &Process| (*process, journal::read(directory, *process));
        Ok(Evidence {
            history,
            effects,
            delivered,
            pushes: processes.iter().map(read).collect(),
        })
    }

    /// How many pushes were accepted.
    pub fn accepted_pushes(&self) -> usize {
        let fates = self.pushes.values().flat_map(HashMap::values);
        fates.filter(|fate| **fate == Fate::Accepted).count()
    }

    /// Whether all that was accepted has come: then nothing more is to be waited for.
    pub fn is_complete(&self) -> bool {
        let fresh = History::new(0);
        self.check_pushes(&fresh);
        fresh.violation_count() == 0
    }

    /// Tells all violations to the history.
    pub fn check(&self) {
        for (client, view) in self.history.views.iter().enumerate() {
            for sent in view.borrow().sent.values() {
                self.check_sent(client, sent);
            }
            self.check_order(client, &view.borrow().received);
        }
        self.check_pushes(self.history);
        self.check_rows_have_causes();
    }

    fn violated(&self, promise: Promise, client: usize, what: String) {
        let what = format!("client {client}: {what}");
        self.history.violated(promise, what);
    }

    /// Counts against what it must be.
    fn expect(&self, client: usize, what: String, found: u64, expected: u64) {
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => {
                self.violated(Promise::Kept, client, format!("{what} is missing"));
            }
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                let what = format!("{what} is there {found} times instead of {expected}");
                self.violated(Promise::Once, client, what);
            }
        }
    }

    fn rows(&self, kind: &str, client: usize, origin: &str, number: u64) -> u64 {
        let row = Effect {
            kind: kind.to_owned(),
            client: client as i64,
            origin: origin.to_owned(),
            number: number as i64,
        };
        self.effects.get(&row).copied().unwrap_or_default()
    }

    fn came(&self, came: Came, to: usize, from: &str, number: u64) -> u64 {
        let mail = Mail {
            to,
            from: from.to_owned(),
            number,
            by: String::new(),
            at: 0,
        };
        let came = self.delivered.get(&(came, mail));
        came.copied().unwrap_or_default()
    }

    /// A client's message: one answer, one effect.
    fn check_sent(&self, client: usize, sent: &Sent) {
        let Sent { kind, number, .. } = sent;
        let what = format!("{kind:?} {number}");
        if !sent.settled() {
            let what = format!("{what}, sent {} times, was never settled", sent.times);
            return self.violated(Promise::Kept, client, what);
        }
        if sent.resolves + sent.rejects > 1 || (sent.accepted() && sent.nacks > 0) {
            let what = format!("{what} was answered more than once: {sent:?}");
            self.violated(Promise::Once, client, what);
        }
        if sent.rejects > 0 {
            self.violated(Promise::Kept, client, format!("{what} was rejected"));
        }
        // What was refused must have had no effect.
        let expected = u64::from(sent.nacks == 0);
        let from = client.to_string();
        match kind {
            Kind::Effect | Kind::Note => {
                let row = if *kind == Kind::Effect {
                    "effect"
                } else {
                    "note"
                };
                let rows = self.rows(row, client, "", *number);
                self.expect(client, format!("the row of {what}"), rows, expected);
                if *kind == Kind::Effect {
                    let booked = self.rows("booked", client, "", *number);
                    let what_is_booked = format!("the row of the work with a key of {what}");
                    self.expect(client, what_is_booked, booked, expected);
                    let news = self.came(Came::News, client, &from, *number);
                    let what = format!("the news of the work that {what} started");
                    self.expect(client, what, news, expected);
                }
            }
            Kind::Relay => {
                let to = sent.to.unwrap_or_default();
                let came = self.came(Came::Relayed, to, &from, *number);
                let what = format!("the message to client {to} of {what}");
                self.expect(client, what, came, expected);
            }
            Kind::Work => {
                let news = self.came(Came::News, client, &from, *number);
                self.expect(client, format!("the news of {what}"), news, expected);
                let replies = self.came(Came::Reply, client, &from, *number);
                self.expect(client, format!("the reply to {what}"), replies, expected);
            }
            Kind::Answer => {
                let Some(asked) = &sent.answers else { return };
                let rows = self.rows("answer", client, &asked.from, asked.number);
                let what = format!(
                    "the row of the answer to {} of {}",
                    asked.number, asked.from
                );
                self.expect(client, what, rows, expected);
            }
        }
    }

    /// A session's messages come in the order of their numbers, which have gaps; and so do a sender's.
    fn check_order(&self, client: usize, received: &[Received]) {
        let mut last = 0;
        let mut senders: HashMap<&str, u64> = HashMap::new();
        for Received { smid, came, mail } in received {
            // A random prefix, and the number.
            let number: u64 = smid.get(6..).and_then(|n| n.parse().ok()).unwrap_or(0);
            if number <= last {
                let what = format!("message {number} ({mail:?}) came behind {last}");
                self.violated(Promise::InOrder, client, what);
            }
            last = number;
            let one_after_the_other = matches!(came, Came::Push | Came::Ask | Came::Relayed);
            if !one_after_the_other {
                continue;
            }
            let before = senders.insert(&mail.from, mail.number).unwrap_or(0);
            if mail.number < before {
                let what = format!("{} of {} came behind {before}", mail.number, mail.from);
                self.violated(Promise::InOrder, client, what);
            }
        }
    }

    /// What the nodes pushed by themselves.
    fn check_pushes(&self, history: &History) {
        for (process, pushes) in &self.pushes {
            let from = process.to_string();
            for ((client, number), fate) in pushes {
                let count = |came| self.came(came, *client, &from, *number);
                let came = count(Came::Push) + count(Came::Ask);
                let what = format!("client {client}: push {number} of process {process}");
                match (fate, came) {
                    (Fate::Accepted, 0) => {
                        history.violated(Promise::Kept, format!("{what} never came"));
                    }
                    (Fate::Refused, 1..) => {
                        let what = format!("{what} was refused, and came all the same");
                        history.violated(Promise::Once, what);
                    }
                    (_, 2..) => {
                        history.violated(Promise::Once, format!("{what} came {came} times"))
                    }
                    (_, _) => {}
                }
            }
        }
    }

    /// No row is there that nobody asked for.
    fn check_rows_have_causes(&self) {
        for row in self.effects.keys() {
            let view = usize::try_from(row.client)
                .ok()
                .and_then(|client| self.history.views.get(client));
            let caused = view.is_some_and(|view| {
                row.kind == "answer" || view.borrow().sent.contains_key(&(row.number as u64))
            });
            if !caused {
                let what = format!("nobody asked for {row:?}");
                self.history.violated(Promise::ToTheRightOne, what);
            }
        }
    }
}

/// Without where and when it was made: a message made twice in two processes is still the same.
fn anonymous(mail: &Mail) -> Mail {
    Mail {
        by: String::new(),
        at: 0,
        ..mail.clone()
    }
}

/// What is left in the store's tables that must be empty when all is quiet.
pub fn check_rests(history: &History, database: &mut Database) -> Result<u64, String> {
    for rest in database.rests()? {
        let what = format!("{} rows are left in the table {}", rest.rows, rest.name);
        history.violated(Promise::Heals, what);
    }
    let mut explained = 0;
    for row in database.inbox()? {
        let client = client_of(&row.user_id).unwrap_or(usize::MAX);
        let Some(view) = history.views.get(client) else {
            continue;
        };
        let view = view.borrow();
        let cmid = row.cmid.parse().unwrap_or_default();
        let ack2_on = view.sent.get(&cmid).and_then(|sent| sent.ack2_on);
        // Its ACK2 may have been lost with the line that it went out on; it is not sent again.
        if ack2_on.is_some_and(|line| line + 1 < view.lines.len()) {
            explained += 1;
        } else {
            let what = format!("client {client}: message {cmid} is left in the inbox");
            history.violated(Promise::Heals, what);
        }
    }
    Ok(explained)
}
