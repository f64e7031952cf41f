//! Maintenance: leases, sweep, take-overs, liveliness, time-outs, scavenging, rotation, each at its interval.

mod counters;
mod ended;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle};

pub(crate) use counters::MaintenanceCounters;
pub use counters::MaintenanceMetrics;

use crate::clock::jittered;
use crate::config::Config;
use crate::logging;
use crate::mailbox::{Mailbox, metered};
use crate::node::Node;
use crate::registry::SweepNow;
use crate::service;
use crate::store::StoreError;

/// The tasks, by the index under which they are counted.
const TASKS: [&str; 9] = [
    "lease",
    "sweep",
    "takeover",
    "ended_requests",
    "expired_messages",
    "liveliness",
    "timeout",
    "scavenge",
    "rotate",
];

/// Longer intervals (such as `Duration::MAX`, for a task that is not wanted) would overflow the timer.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// No task runs more often.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// How soon a task is retried after its first failure. The wait doubles with each further failure, up to 32 times this
/// or the task's interval.
const BACK_OFF: Duration = Duration::from_millis(500);

/// Timing out and scavenging run within this time after the start.
const FIRST_CLEANING: Duration = Duration::from_secs(60);

/// How often the size of the tables of young rows is checked, if there are new rows.
const ROTATION: Duration = Duration::from_secs(1);

/// One task; its number is its index in [`TASKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Lease,
    Sweep,
    Takeover,
    EndedRequests,
    ExpiredMessages,
    Liveliness,
    Timeout,
    Scavenge,
    Rotate,
}

impl Task {
    const ALL: [Task; TASKS.len()] = [
        Task::Lease,
        Task::Sweep,
        Task::Takeover,
        Task::EndedRequests,
        Task::ExpiredMessages,
        Task::Liveliness,
        Task::Timeout,
        Task::Scavenge,
        Task::Rotate,
    ];

    fn interval(self, config: &Config) -> Duration {
        let interval = match self {
            Task::Lease => config.lease_interval,
            Task::Sweep => config.sweep_interval,
            Task::Takeover | Task::EndedRequests | Task::ExpiredMessages => {
                config.takeover_interval
            }
            // Jittered, so that the nodes of a cluster do not all write at once.
            Task::Liveliness => config
                .liveliness_interval
                .min(NEVER)
                .mul_f64(1.0 + rand::random::<f64>() / 10.0),
            Task::Timeout => config.timeout_interval,
            Task::Scavenge => config.scavenge_interval,
            Task::Rotate => ROTATION,
        };
        interval.clamp(LEAST_WAIT, NEVER)
    }
}

/// How long to wait after this many failures in a row.
fn back_off(failures: u32) -> Duration {
    jittered(BACK_OFF * 2_u32.pow(failures.saturating_sub(1).min(5)))
}

/// It is time for this task.
#[derive(Message)]
#[rtype(result = "()")]
struct Due(Task);

/// This task has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Ended {
    task: Task,
    failed: bool,
}

/// The state of one task.
#[derive(Default)]
struct Schedule {
    /// The one timer for its next run; `None` while it runs.
    timer: Option<SpawnHandle>,
    /// When its last run began.
    begun: Option<Instant>,
    /// How often it has failed in a row.
    failures: u32,
    /// It must run again at once: the current run may have read too early.
    again: bool,
}

/// The actor: starts each task when it is due, one run of each at a time.
pub(crate) struct Maintenance {
    node: Arc<Node>,
    services: Mailbox<service::Claim>,
    counters: Arc<MaintenanceCounters>,
    schedules: [Schedule; TASKS.len()],
}

impl Maintenance {
    pub(crate) fn new(
        node: Arc<Node>,
        services: Mailbox<service::Claim>,
        counters: Arc<MaintenanceCounters>,
    ) -> Maintenance {
        Maintenance {
            node,
            services,
            counters,
            schedules: Default::default(),
        }
    }

    /// Sets the one timer of a task.
    fn run_in(&mut self, task: Task, wait: Duration, ctx: &mut Context<Self>) {
        let me: Mailbox<Due> = Mailbox::new(&ctx.address(), &self.node.meters.maintenance);
        let timer = ctx.run_later(wait, move |_, _| me.tell(Due(task)));
        if let Some(before) = self.schedules[task as usize].timer.replace(timer) {
            ctx.cancel_future(before);
        }
    }
}

impl Actor for Maintenance {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for task in Task::ALL {
            let interval = task.interval(&self.node.config);
            let first = match task {
                // Short-lived processes clean up too, and many that start together do so at different times.
                Task::Timeout | Task::Scavenge => interval.min(jittered(FIRST_CLEANING)),
                _ => interval,
            };
            self.run_in(task, first, ctx);
        }
        // Rows left behind by an earlier node are taken over at once.
        self.services.tell(service::Claim);
    }
}

impl Handler<Due> for Maintenance {
    type Result = ();

    fn handle(&mut self, Due(task): Due, ctx: &mut Self::Context) {
        let index = task as usize;
        let schedule = &mut self.schedules[index];
        if schedule.begun.is_some() {
            return;
        }
        schedule.timer = None;
        schedule.begun = Some(Instant::now());
        let me: Mailbox<Ended> = Mailbox::new(&ctx.address(), &self.node.meters.maintenance);
        let (node, services) = (self.node.clone(), self.services.clone());
        let counters = self.counters.clone();
        let failed_before = schedule.failures > 0;
        actix::spawn(async move {
            counters.runs[index].fetch_add(1, Ordering::Relaxed);
            let result = tasks::run(task, &node, &services).await;
            // When a node stops, a late task is not a failure.
            let is_end = matches!(result, Err(StoreError::Stopped)) && node.stopping();
            let failed = result.is_err() && !is_end;
            if let Err(error) = result
                && failed
            {
                counters.failures[index].fetch_add(1, Ordering::Relaxed);
                let name = TASKS[index];
                match failed_before {
                    false => logging::warn!(task = name; "maintenance, {name}: {error}"),
                    true => logging::debug!(task = name; "maintenance, {name} again: {error}"),
                }
            }
            me.tell(Ended { task, failed });
        });
    }
}

impl Handler<Ended> for Maintenance {
    type Result = ();

    fn handle(&mut self, Ended { task, failed }: Ended, ctx: &mut Self::Context) {
        let interval = task.interval(&self.node.config);
        let schedule = &mut self.schedules[task as usize];
        let took = schedule.begun.take().map(|begun| begun.elapsed());
        schedule.failures = match failed {
            true => schedule.failures.saturating_add(1),
            false => 0,
        };
        let wait = match std::mem::take(&mut schedule.again) {
            true => Duration::ZERO,
            false if failed => back_off(schedule.failures).min(interval),
            false => interval.saturating_sub(took.unwrap_or_default()),
        };
        self.run_in(task, wait.max(LEAST_WAIT), ctx);
    }
}

impl Handler<SweepNow> for Maintenance {
    type Result = ();

    fn handle(&mut self, _: SweepNow, ctx: &mut Self::Context) {
        let schedule = &mut self.schedules[Task::Sweep as usize];
        match schedule.begun {
            Some(_) => schedule.again = true,
            None => self.run_in(Task::Sweep, Duration::ZERO, ctx),
        }
    }
}

metered!(Maintenance: Due, Ended, SweepNow);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_waits_longer_each_time_but_not_for_ever() {
        let waits: Vec<_> = (1..=30).map(back_off).collect();
        for (failures, wait) in waits.iter().enumerate() {
            let whole = BACK_OFF * 2_u32.pow(failures.min(5) as u32);
            assert!(*wait >= whole / 2 && *wait <= whole, "{failures}: {wait:?}");
        }
    }

    #[test]
    fn no_interval_overflows_a_timer() {
        let config = Config {
            liveliness_interval: Duration::MAX,
            scavenge_interval: Duration::MAX,
            sweep_interval: Duration::ZERO,
            ..Config::default()
        };
        for task in Task::ALL {
            let interval = task.interval(&config);
            assert!(interval >= LEAST_WAIT && interval <= NEVER * 2, "{task:?}");
        }
    }
}
