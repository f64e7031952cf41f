//! Services: what "forward" reaches. A forwarded row is durable: it is worked on until it is settled, on whatever node.

mod work;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};

pub(crate) use work::{Ping, ping, reply_by_token};

use tokio::sync::oneshot;

use crate::metrics::metered;
use crate::node::Node;
use crate::store::operation::{ClaimForwarded, Forwarded, PostponeForwarded};

/// Name of the service behind the built-in endpoint `MatsSocket.matsPing`.
pub(crate) const PING: &str = "MatsSocket.matsPing";

/// First message: what the services work with.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin(pub(crate) Arc<Node>);

/// Forwarded rows claimed by this node: work on them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Dispatch(pub(crate) Vec<Forwarded>);

/// Looks for rows that are due, or whose node is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Claim;

/// Tells, by dropping the sender, when no service runs any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WhenIdle(pub(crate) oneshot::Sender<()>);

/// This row is done with, for now.
#[derive(Message)]
#[rtype(result = "()")]
struct Finished(i64);

/// The actor: works on forwarded rows, a bounded number at a time.
#[derive(Default)]
pub(crate) struct Services {
    node: Option<Arc<Node>>,
    /// Ids of rows in work.
    running: Vec<i64>,
    waiting: VecDeque<Forwarded>,
    claiming: bool,
    /// Dropped, and so told, when no service runs.
    when_idle: Vec<oneshot::Sender<()>>,
}

impl Services {
    fn fill(&mut self, ctx: &mut Context<Self>) {
        let Some(node) = &self.node else { return };
        // A stopping node begins nothing more: what waits is freed for others when it leaves.
        while self.running.len() < node.config.max_services_running && !node.stopping() {
            let Some(row) = self.waiting.pop_front() else {
                return;
            };
            let id = row.id;
            self.running.push(id);
            let (node, me) = (node.clone(), ctx.address());
            actix::spawn(async move {
                if let Some(delay) = work::work(&node, row).await {
                    let me = me.clone();
                    actix::spawn(async move {
                        tokio::time::sleep(delay).await;
                        me.do_send(Claim);
                    });
                }
                me.do_send(Finished(id));
            });
        }
    }

    /// Rows that this node has claimed.
    fn holding(&self) -> HashSet<i64> {
        let waiting = self.waiting.iter().map(|row| row.id);
        self.running.iter().copied().chain(waiting).collect()
    }

    /// Rows beyond what this node can take soon go back, for any node to claim.
    fn give_back(&mut self) {
        let Some(node) = &self.node else { return };
        let most = node.config.max_services_running.saturating_mul(4);
        while self.waiting.len() > most {
            let Some(row) = self.waiting.pop_back() else {
                return;
            };
            let back = PostponeForwarded {
                id: row.id,
                epoch: row.epoch,
                attempts: row.attempts,
                delay: node.config.takeover_interval,
            };
            let back = node.store.run(back);
            actix::spawn(async move {
                if let Err(error) = back.await {
                    log::warn!("a forwarded message could not be given back: {error}");
                }
            });
        }
    }
}

impl Actor for Services {
    type Context = Context<Self>;
}

impl Handler<Begin> for Services {
    type Result = ();

    fn handle(&mut self, Begin(node): Begin, ctx: &mut Self::Context) {
        self.node = Some(node);
        self.fill(ctx);
    }
}

impl Handler<Dispatch> for Services {
    type Result = ();

    fn handle(&mut self, Dispatch(rows): Dispatch, ctx: &mut Self::Context) {
        self.waiting.extend(rows);
        self.give_back();
        self.fill(ctx);
    }
}

impl Handler<Finished> for Services {
    type Result = ();

    fn handle(&mut self, Finished(id): Finished, ctx: &mut Self::Context) {
        if let Some(at) = self.running.iter().position(|it| *it == id) {
            self.running.swap_remove(at);
        }
        self.fill(ctx);
        if self.running.is_empty() {
            self.when_idle.clear();
        }
    }
}

impl Handler<Claim> for Services {
    type Result = ();

    fn handle(&mut self, _: Claim, ctx: &mut Self::Context) {
        let Some(node) = &self.node else { return };
        let room = node
            .config
            .max_services_running
            .saturating_sub(self.running.len() + self.waiting.len());
        if self.claiming || room == 0 || node.ready().is_err() {
            return;
        }
        self.claiming = true;
        let claim = node.store.run(ClaimForwarded {
            limit: u32::try_from(room).unwrap_or(u32::MAX),
            holding: self.holding(),
            hearing: node.config.lease,
        });
        ctx.spawn(actix::ActorFutureExt::map(
            claim.into_actor(self),
            |claimed, services, ctx| {
                services.claiming = false;
                match claimed {
                    Ok(rows) => {
                        services.waiting.extend(rows);
                        services.fill(ctx);
                    }
                    Err(error) => log::warn!(
                        "no forwarded messages could be claimed, tried again soon: {error}"
                    ),
                }
            },
        ));
    }
}

impl Handler<WhenIdle> for Services {
    type Result = ();

    fn handle(&mut self, WhenIdle(idle): WhenIdle, _: &mut Self::Context) {
        if !self.running.is_empty() {
            self.when_idle.push(idle);
        }
    }
}

metered!(Services: Begin, Dispatch, Claim, WhenIdle);
