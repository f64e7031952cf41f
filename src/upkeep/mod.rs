//! Upkeep: leases, sweep, take-overs, liveliness, time-outs, scavenging, each at its interval.

mod ended;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};

use crate::metrics::{Mailbox, metered};
use crate::node::Node;
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
struct Ended(Task);

/// The actor: starts each task when it is due, one run of each at a time.
pub(crate) struct Upkeep {
    node: Arc<Node>,
    services: Mailbox<service::Claim>,
    running: [bool; TASKS.len()],
}

impl Upkeep {
    pub(crate) fn new(node: Arc<Node>, services: Mailbox<service::Claim>) -> Upkeep {
        Upkeep {
            node,
            services,
            running: [false; TASKS.len()],
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
        actix::spawn(async move {
            let counters = &node.counters.upkeep;
            counters.runs[index].fetch_add(1, Ordering::Relaxed);
            if let Err(error) = tasks::run(task, &node, &services).await {
                counters.failures[index].fetch_add(1, Ordering::Relaxed);
                log::warn!("upkeep, {}: {error}", TASKS[index]);
            }
            me.tell(Ended(task));
        });
    }
}

impl Handler<Ended> for Upkeep {
    type Result = ();

    fn handle(&mut self, Ended(task): Ended, _: &mut Self::Context) {
        self.running[task as usize] = false;
    }
}

metered!(Upkeep: Due, Ended);
