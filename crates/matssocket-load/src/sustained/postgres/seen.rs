//! What was observed in the current window.

use std::collections::BTreeMap;

use super::super::inside::{Inside, Vacuum, Wait};
use super::queries::{AtWork, Backends, Figures};

#[derive(Default)]
pub struct Seen {
    looks: u32,
    /// Backends by what they wait for, over all samples.
    backends: BTreeMap<String, i64>,
    /// Samples in which a vacuum was running, and those in which it slept, by table.
    vacuums: BTreeMap<String, (u32, u32)>,
    held: Option<u64>,
    silence: Option<String>,
    /// The last counters of the window before, and the newest; with the number of messages done by then.
    before: Option<(u64, Figures)>,
    newest: Option<(u64, Figures)>,
}

impl Seen {
    /// Adds a sample of the current state.
    pub fn moment(&mut self, backends: Vec<Backends>, vacuums: Vec<AtWork>, held: Option<u64>) {
        self.looks += 1;
        for Backends { event, count } in backends {
            *self.backends.entry(event).or_default() += count;
        }
        for AtWork { table, asleep } in vacuums {
            let looks = self.vacuums.entry(table).or_default();
            looks.0 += 1;
            looks.1 += u32::from(asleep);
        }
        self.held = held.or(self.held);
    }

    /// Adds the counters at a moment at which this many messages were done.
    pub fn figures(&mut self, done: u64, figures: Figures) {
        self.silence = None;
        self.before.get_or_insert_with(|| (done, figures.clone()));
        self.newest = Some((done, figures));
    }

    /// The database did not answer.
    pub fn silence(&mut self, why: String) {
        self.silence = Some(why);
    }

    /// Sums up the window, and begins the next one.
    pub fn next_window(&mut self) -> Inside {
        let next = Seen {
            before: self.newest.clone(),
            silence: self.silence.clone(),
            ..Seen::default()
        };
        let seen = std::mem::replace(self, next);
        let silence = match (&seen.silence, &seen.newest) {
            (None, None) => Some("it takes its time".to_owned()),
            (silence, _) => silence.clone(),
        };
        let (done_before, before) = seen.before.clone().unwrap_or_default();
        let (done, newest) = seen.newest.clone().unwrap_or((done_before, before.clone()));
        let grown = |of: fn(&Figures) -> i64| of(&newest).saturating_sub(of(&before)).max(0) as u64;
        Inside {
            tables: newest.tables.clone(),
            disk: newest.disk,
            messages: done - done_before,
            wal_bytes: grown(|it| it.server.wal_bytes),
            full_pages: grown(|it| it.server.full_pages),
            waits: seen.waits(),
            vacuums: seen.vacuums(&before, &newest),
            checkpoints_timed: grown(|it| it.server.timed),
            checkpoints_requested: grown(|it| it.server.requested),
            checkpoint_pages: grown(|it| it.server.pages),
            held: seen.held,
            silence,
        }
    }

    fn waits(&self) -> Vec<Wait> {
        let looks = f64::from(self.looks.max(1));
        let wait = |(event, count): (&String, &i64)| Wait {
            event: event.clone(),
            backends: *count as f64 / looks,
        };
        let mut waits: Vec<_> = self.backends.iter().map(wait).collect();
        waits.sort_by(|one, other| other.backends.total_cmp(&one.backends));
        waits
    }

    /// Vacuums that were observed, and those that were too short for that.
    fn vacuums(&self, before: &Figures, newest: &Figures) -> Vec<Vacuum> {
        let share = |looks: u32| f64::from(looks) / f64::from(self.looks.max(1));
        let at_work = self.vacuums.iter().map(|(table, (looks, asleep))| Vacuum {
            table: table.clone(),
            at_work: share(*looks),
            asleep: share(*asleep),
            ended: 0,
        });
        let mut vacuums: Vec<Vacuum> = at_work.collect();
        let counts = before.vacuums.iter().zip(&newest.vacuums);
        for (table, (before, newest)) in newest.tables.iter().zip(counts) {
            let ended = newest.saturating_sub(*before);
            match vacuums.iter_mut().find(|vacuum| vacuum.table == table.name) {
                Some(vacuum) => vacuum.ended = ended,
                None if ended == 0 => {}
                None => vacuums.push(Vacuum {
                    table: table.name.clone(),
                    ended,
                    ..Vacuum::default()
                }),
            }
        }
        vacuums
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::inside::Table;
    use super::*;

    fn figures(wal_bytes: i64, vacuums: u64) -> Figures {
        let mut figures = Figures {
            tables: vec![Table {
                name: "inbox".to_owned(),
                ..Table::default()
            }],
            vacuums: vec![vacuums],
            ..Figures::default()
        };
        figures.server.wal_bytes = wal_bytes;
        figures
    }

    fn waiting(event: &str, count: i64) -> Vec<Backends> {
        let event = event.to_owned();
        vec![Backends { event, count }]
    }

    #[test]
    fn a_window_has_what_came_since_the_one_before() {
        let mut seen = Seen::default();
        seen.figures(0, figures(1_000, 0));
        seen.figures(10, figures(6_000, 0));
        let first = seen.next_window();
        assert_eq!((first.messages, first.wal_bytes), (10, 5_000));
        seen.figures(40, figures(9_000, 1));
        let second = seen.next_window();
        assert_eq!((second.messages, second.wal_bytes), (30, 3_000));
        let [vacuum] = &second.vacuums[..] else {
            panic!("one vacuum has ended: {:?}", second.vacuums);
        };
        assert_eq!((vacuum.table.as_str(), vacuum.ended), ("inbox", 1));
    }

    #[test]
    fn what_backends_and_vacuums_do_is_an_average_of_all_looks() {
        let mut seen = Seen::default();
        seen.figures(0, figures(0, 0));
        let at_work = |asleep| AtWork {
            table: "inbox".to_owned(),
            asleep,
        };
        seen.moment(waiting("IO:WALSync", 3), vec![at_work(true)], Some(7));
        seen.moment(waiting("running", 1), vec![at_work(false)], None);
        let inside = seen.next_window();
        let waits: Vec<_> = (inside.waits.iter())
            .map(|wait| (wait.event.as_str(), wait.backends))
            .collect();
        assert_eq!(waits, [("IO:WALSync", 1.5), ("running", 0.5)]);
        assert_eq!(inside.vacuums[0].at_work, 1.0);
        assert_eq!(inside.vacuums[0].asleep, 0.5);
        assert_eq!(inside.held, Some(7));
        assert_eq!(seen.next_window().held, None);
    }

    #[test]
    fn silence_lasts_until_the_database_answers() {
        let mut seen = Seen::default();
        seen.figures(0, figures(0, 0));
        seen.silence("the line broke".to_owned());
        assert!(seen.next_window().silence.is_some());
        assert!(seen.next_window().silence.is_some());
        seen.figures(5, figures(0, 0));
        assert_eq!(seen.next_window().silence, None);
    }
}
