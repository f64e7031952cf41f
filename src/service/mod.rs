//! Services, which handle forwarded messages. A forwarded row is durable: it is worked on until it is settled, on any
//! node.
//!
//! Each service has places of its own, so a slow one does not delay the others. [`desk`] decides what is begun, claimed and
//! given back, [`places`] tracks what is in progress and what waits, [`fair`] decides the order, [`work`] does the work.
//! Rows for services that this node does not have are left to nodes that have them.

mod desk;
mod fair;
mod giving_up;
mod places;
mod planned;
mod reply;
mod retry;
mod transact;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use tokio::sync::oneshot;

use self::desk::Desk;
use self::places::Places;
pub(crate) use self::reply::reply_by_token;
use crate::mailbox::metered;
use crate::node::{Node, WhenIdle};
use crate::registry::LookSoon;
use crate::store::Dispatch;

/// Sent at intervals: look for rows that are due, or whose node is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Claim;

/// Work on this row has ended for now.
#[derive(Message)]
#[rtype(result = "()")]
struct Finished {
    service: String,
    id: i64,
    /// It is due again after this.
    again: Option<Duration>,
}

/// The store was asked to take these rows back.
#[derive(Message)]
#[rtype(result = "()")]
struct GaveBack {
    service: String,
    ids: Vec<i64>,
}

/// The actor: works on forwarded rows, a bounded number of each service at a time.
pub(crate) struct Services {
    desk: Desk,
    /// The wait for the first planned look, and when that is.
    waiting: Option<(Instant, SpawnHandle)>,
    /// Senders that are dropped when no service is running.
    when_idle: Vec<oneshot::Sender<()>>,
}

impl Services {
    pub(crate) fn new(node: Arc<Node>) -> Services {
        Services {
            desk: Desk::new(node),
            waiting: None,
            when_idle: Vec::new(),
        }
    }

    fn claim(&mut self, ctx: &mut Context<Self>) {
        let Some(claim) = self.desk.claim() else {
            return;
        };
        let claim = self.desk.node.store.run(claim).into_actor(self);
        ctx.spawn(claim.map(|claimed, services, ctx| {
            services.desk.claimed(claimed, &ctx.address());
            services.claim_more(ctx);
        }));
    }

    /// Claims at once for services that are running out of rows although there are more.
    fn claim_more(&mut self, ctx: &mut Context<Self>) {
        if self.desk.claim_again || self.desk.places.values().any(Places::wants_more) {
            self.claim(ctx);
        }
    }

    /// Waits for the first planned look; a wait for a later one ends.
    fn wait_for_look(&mut self, ctx: &mut Context<Self>) {
        let first = self.desk.planned.first();
        if first == self.waiting.map(|(at, _)| at) {
            return;
        }
        if let Some((_, wait)) = self.waiting.take() {
            ctx.cancel_future(wait);
        }
        let Some(at) = first else { return };
        let delay = at.saturating_duration_since(Instant::now());
        let wait = ctx.run_later(delay, |services, ctx| {
            services.waiting = None;
            services.desk.planned.begin_first();
            services.claim(ctx);
            services.wait_for_look(ctx);
        });
        self.waiting = Some((at, wait));
    }
}

impl Actor for Services {
    type Context = Context<Self>;
}

impl Handler<Dispatch> for Services {
    type Result = ();

    fn handle(&mut self, Dispatch { rows, due }: Dispatch, ctx: &mut Self::Context) {
        self.desk.take_in(rows, &ctx.address());
        for due in due {
            self.desk.planned.when_due(due);
        }
        self.wait_for_look(ctx);
    }
}

impl Handler<Finished> for Services {
    type Result = ();

    fn handle(&mut self, finished: Finished, ctx: &mut Self::Context) {
        let desk = &mut self.desk;
        desk.notice_new_name();
        if let Some(places) = desk.places.get_mut(&finished.service) {
            places.end(finished.id);
        }
        desk.fill(&finished.service, &ctx.address());
        if desk.is_idle() {
            self.when_idle.clear();
        }
        if let Some(due) = finished.again.and_then(|it| Instant::now().checked_add(it)) {
            desk.planned.when_due(due);
            self.wait_for_look(ctx);
        }
        self.claim_more(ctx);
    }
}

impl Handler<GaveBack> for Services {
    type Result = ();

    fn handle(&mut self, GaveBack { service, ids }: GaveBack, ctx: &mut Self::Context) {
        let desk = &mut self.desk;
        for id in &ids {
            desk.going_back.remove(id);
        }
        desk.expect_more(&service);
        self.claim_more(ctx);
    }
}

impl Handler<Claim> for Services {
    type Result = ();

    fn handle(&mut self, _: Claim, ctx: &mut Self::Context) {
        let desk = &mut self.desk;
        let looked = desk.places.iter_mut();
        let looked = looked.map(|(name, places)| (name.clone(), places.look()));
        let stuck: Vec<_> = looked.collect();
        for (service, rows) in stuck {
            desk.give_back(service, rows, &ctx.address());
        }
        self.claim(ctx);
    }
}

impl Handler<LookSoon> for Services {
    type Result = ();

    fn handle(&mut self, _: LookSoon, ctx: &mut Self::Context) {
        self.desk.planned.soon(Instant::now());
        self.wait_for_look(ctx);
    }
}

impl Handler<WhenIdle> for Services {
    type Result = ();

    fn handle(&mut self, WhenIdle(idle): WhenIdle, _: &mut Self::Context) {
        if !self.desk.is_idle() {
            self.when_idle.push(idle);
        }
    }
}

metered!(Services: Dispatch, Claim, LookSoon, WhenIdle);
