//! The progress of a run: closes each window when its time is over, and prints it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::Sustained;
use super::postgres::Observer;
use super::window::{self, Cores, Done, Window};
use crate::args::{Args, Load};
use crate::mix::Mix;
use crate::process::{self, Unused};
use crate::stage::Shared;

/// The titles are repeated after this many windows.
const TITLES_EVERY: usize = 20;

/// The windows of a run so far.
pub struct Course {
    mix: Mix,
    window: Duration,
    server: Vec<u32>,
    used: Used,
    observer: Option<Observer>,
    begun: Instant,
    windows: Vec<Window>,
    /// The number of all windows.
    most: usize,
}

impl Course {
    /// Connects to the database if it is to be observed.
    pub fn new(args: &Args, load: &Load, sustained: &Sustained) -> Result<Course, String> {
        let observer = sustained.postgres.as_ref().map(Observer::connect);
        Ok(Course {
            mix: load.mix,
            window: sustained.window,
            server: args.server.clone(),
            used: Used::default(),
            observer: observer.transpose()?,
            begun: Instant::now(),
            windows: Vec::new(),
            most: (args.time.as_micros() / sustained.window.as_micros()) as usize,
        })
    }

    /// The messages begin.
    pub fn begin(&mut self, shared: &Arc<Shared>, begun: Instant) -> Result<(), String> {
        self.begun = begun;
        self.used = Used::now(&self.server);
        if let Some(observer) = &mut self.observer {
            observer.begin(shared.clone(), begun, self.window)?;
        }
        Ok(())
    }

    /// Called every few milliseconds. Only whole windows count, and nothing after the last one.
    pub fn look(&mut self, shared: &Shared, now: Instant) {
        let end = self.begun + self.window * (self.windows.len() + 1) as u32;
        if now < end || self.windows.len() == self.most {
            return;
        }
        let window = self.close(shared, now);
        let titles = match self.windows.len().is_multiple_of(TITLES_EVERY) {
            true => window::titles(&self.mix, &window),
            false => Vec::new(),
        };
        for line in titles.iter().chain(&window.lines(&self.mix)) {
            println!("{line}");
        }
        self.windows.push(window);
    }

    fn close(&mut self, shared: &Shared, now: Instant) -> Window {
        let begun = self.window * self.windows.len() as u32;
        // A late call makes a window longer, and the next one shorter.
        let last = self.windows.last().map_or(0.0, |window| window.looked);
        let looked = now.duration_since(self.begun).as_secs_f64();
        let seconds = looked - last;
        let turn = self.mix.turn(begun);
        let tallies = shared.next_window();
        let in_turn = self
            .mix
            .kinds()
            .filter(|kind| turn.is_none_or(|turn| turn == *kind));
        let done = in_turn.map(|kind| Done::new(kind, &tallies[kind as usize], seconds));
        let used = Used::now(&self.server);
        let cores = used.since(&self.used, seconds);
        self.used = used;
        Window {
            at: (begun + self.window).as_secs_f64(),
            looked,
            done: done.collect(),
            cores,
            inside: self.observer.as_ref().map(Observer::next_window),
        }
    }

    /// Returns all windows, and the size of the tables on disk before the first, in bytes.
    pub fn end(self) -> (Vec<Window>, Option<u64>) {
        let before = self.observer.as_ref().map(Observer::disk_before);
        (self.windows, before)
    }
}

/// What the cores have been used for so far.
#[derive(Default)]
struct Used {
    server: Option<Duration>,
    unused: Option<Unused>,
}

impl Used {
    fn now(server: &[u32]) -> Used {
        Used {
            server: (!server.is_empty()).then(|| process::cpu(server)).flatten(),
            unused: process::unused(),
        }
    }

    /// The use since an earlier moment, this many seconds ago.
    fn since(&self, before: &Used, seconds: f64) -> Cores {
        let cores = |now: Option<Duration>, before: Option<Duration>| {
            Some(now?.checked_sub(before?)?.as_secs_f64() / seconds)
        };
        let unused = |of: fn(Unused) -> Duration| cores(self.unused.map(of), before.unused.map(of));
        Cores {
            server: cores(self.server, before.server),
            idle: unused(|unused| unused.idle),
            disk: unused(|unused| unused.disk),
            stolen: unused(|unused| unused.stolen),
        }
    }
}
