//! Upkeep: leases, sweep, take-overs, liveliness, time-outs, scavenging, each at its interval.

mod ended;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};

use crate::metrics::{Mailbox, metered};
use crate::node::Node;
use crate::registry::SweepNow;
use crate::service;

/// The tasks, by the index that they are counted under.
pub(crate) const TASKS: [&str; 7] = [
    "lease",
    "sweep",
    "takeover",
    "ended_requests",
    "liveliness",
    "timeout",
    "scavenge",
];

/// Longer intervals (`Duration::MAX`, say, for a task that is not wanted) would overflow the timer.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A lease that could not be renewed is tried again so soon: nobody is let in until it is.
const LEASE_AGAIN: Duration = Duration::from_millis(500);

/// One task; its number is its index in [`TASKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Lease,
    Sweep,
    Takeover,
    EndedRequests,
    Liveliness,
    Timeout,
    Scavenge,
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

/// The actor: starts each task when it is due, one run of each at a time.
pub(crate) struct Upkeep {
    node: Arc<Node>,
    services: Mailbox<service::Claim>,
    running: [bool; TASKS.len()],
    /// Whose last run failed: said once, not each time.
    failing: [bool; TASKS.len()],
    /// The sweep that runs may have read too early.
    sweep_again: bool,
}

impl Upkeep {
    pub(crate) fn new(node: Arc<Node>, services: Mailbox<service::Claim>) -> Upkeep {
        Upkeep {
            node,
            services,
            running: [false; TASKS.len()],
            failing: [false; TASKS.len()],
            sweep_again: false,
        }
    }

    fn interval(&self, task: Task) -> Duration {
        let config = &self.node.config;
        let interval = match task {
            Task::Lease => config.lease_interval,
            Task::Sweep => config.sweep_interval,
            Task::Takeover | Task::EndedRequests => config.takeover_interval,
            // Jittered, so that a fleet does not write all at once.
            Task::Liveliness => config
                .liveliness_interval
                .min(NEVER)
                .mul_f64(1.0 + rand::random::<f64>() / 10.0),
            Task::Timeout => config.timeout_interval,
            Task::Scavenge => config.scavenge_interval,
        };
        interval.clamp(Duration::from_millis(1), NEVER)
    }
}

impl Actor for Upkeep {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        use Task::*;
        for task in [
            Lease,
            Sweep,
            Takeover,
            EndedRequests,
            Liveliness,
            Timeout,
            Scavenge,
        ] {
            let me: Mailbox<Due> = Mailbox::new(&ctx.address(), &self.node.meters.upkeep);
            let interval = self.interval(task);
            ctx.run_interval(interval, move |_, _| me.tell(Due(task)));
        }
        // What a node before this one has left behind is taken up at once.
        self.services.tell(service::Claim);
    }
}

impl Handler<Due> for Upkeep {
    type Result = ();

    fn handle(&mut self, Due(task): Due, ctx: &mut Self::Context) {
        let index = task as usize;
        if std::mem::replace(&mut self.running[index], true) {
            return;
        }
        let me: Mailbox<Ended> = Mailbox::new(&ctx.address(), &self.node.meters.upkeep);
        let (node, services) = (self.node.clone(), self.services.clone());
        let level = match self.failing[index] {
            true => log::Level::Debug,
            false => log::Level::Warn,
        };
        actix::spawn(async move {
            let counters = &node.counters.upkeep;
            counters.runs[index].fetch_add(1, Ordering::Relaxed);
            let result = tasks::run(task, &node, &services).await;
            let failed = result.is_err();
            if let Err(error) = result {
                counters.failures[index].fetch_add(1, Ordering::Relaxed);
                log::log!(level, "upkeep, {}: {error}", TASKS[index]);
            }
            me.tell(Ended { task, failed });
        });
    }
}

impl Handler<Ended> for Upkeep {
    type Result = ();

    fn handle(&mut self, Ended { task, failed }: Ended, ctx: &mut Self::Context) {
        self.running[task as usize] = false;
        self.failing[task as usize] = failed;
        if failed && task == Task::Lease {
            let me: Mailbox<Due> = Mailbox::new(&ctx.address(), &self.node.meters.upkeep);
            let soon = LEASE_AGAIN.min(self.interval(task));
            ctx.run_later(soon, move |_, _| me.tell(Due(task)));
        }
        if task == Task::Sweep && std::mem::take(&mut self.sweep_again) {
            ctx.notify(Due(task));
        }
    }
}

impl Handler<SweepNow> for Upkeep {
    type Result = ();

    fn handle(&mut self, _: SweepNow, ctx: &mut Self::Context) {
        self.sweep_again = self.running[Task::Sweep as usize];
        if !self.sweep_again {
            ctx.notify(Due(Task::Sweep));
        }
    }
}

metered!(Upkeep: Due, Ended, SweepNow);
