//! The store actor: the lobby of operations that have to wait for room in the queue.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::StoreError;
use super::fair::Share;
use super::job::Job;
use super::lanes::Lanes;
use super::queue::Queue;

/// How often to check for lost handler threads.
const LOOK: Duration = Duration::from_millis(250);

/// The lobby: admits operations that found no room, in order, as room becomes available. Operations that find room go
/// straight to their thread, because a hop to another thread costs more than many an operation. Lives on a thread of
/// its own.
pub struct StoreActor {
    queue: Arc<Queue>,
    /// `None` once stopped.
    lanes: Option<Arc<Lanes>>,
    /// Waiting operations by the user's slot, so that no user waits for the operations of another.
    lobby: HashMap<usize, VecDeque<Waiting>>,
    stopping: bool,
    /// Dropped once the actor has stopped, which notifies the thread that runs it.
    stopped: Option<oneshot::Sender<()>>,
}

impl Actor for StoreActor {
    type Context = Context<StoreActor>;

    fn started(&mut self, ctx: &mut Context<StoreActor>) {
        ctx.run_interval(LOOK, |actor, _| {
            let others = actor.lanes.as_ref().and_then(|lanes| lanes.others.as_ref());
            if let Some(others) = others {
                others.handlers.look();
            }
        });
    }
}

/// An operation that found no room.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Waiting {
    pub share: Share,
    pub until: Instant,
    /// Called when there is room, or when there was none for too long; in the latter case returns `None`.
    pub admit: Box<dyn FnOnce(Result<(), StoreError>) -> Option<Job> + Send>,
    /// How long it may wait, for the error.
    pub patience: Duration,
}

impl Handler<Waiting> for StoreActor {
    type Result = ();

    fn handle(&mut self, waiting: Waiting, ctx: &mut Context<StoreActor>) {
        let slot = Queue::slot_of(waiting.share);
        let waits = self.lobby.entry(slot).or_default();
        waits.push_back(waiting);
        if waits.len() == 1 {
            self.admit_first(slot, ctx);
        }
    }
}

impl StoreActor {
    /// `stopped` is dropped once the actor has stopped.
    pub fn new(queue: Arc<Queue>, lanes: Arc<Lanes>, stopped: oneshot::Sender<()>) -> StoreActor {
        StoreActor {
            queue,
            lanes: Some(lanes),
            lobby: HashMap::new(),
            stopping: false,
            stopped: Some(stopped),
        }
    }

    /// Admits the first operation of a slot as soon as there is room, then those behind it.
    fn admit_first(&mut self, slot: usize, ctx: &mut Context<StoreActor>) {
        let Some(waiting) = self.lobby.get(&slot).and_then(|waits| waits.front()) else {
            self.lobby.remove(&slot);
            return self.stop_if_done();
        };
        let (queue, share) = (self.queue.clone(), waiting.share);
        let (until, patience) = (waiting.until, waiting.patience);
        let admitted = async move {
            match tokio::time::timeout_at(until, queue.enter(share)).await {
                Ok(()) => Ok(()),
                Err(_) => {
                    queue.metrics.busy();
                    Err(StoreError::Busy(patience))
                }
            }
        };
        ctx.spawn(admitted.into_actor(self).map(move |admitted, actor, ctx| {
            let waits = actor.lobby.get_mut(&slot);
            if let Some(waiting) = waits.and_then(|waits| waits.pop_front())
                && let (Some(job), Some(lanes)) = ((waiting.admit)(admitted), &actor.lanes)
            {
                lanes.send(job);
            }
            // Only now, so that later operations cannot overtake the one just sent.
            actor.queue.leave_lobby(share);
            actor.admit_first(slot, ctx);
        }));
    }

    /// Stops once every waiting operation is admitted.
    fn stop_if_done(&mut self) {
        if self.stopping && self.lobby.is_empty() {
            if let Some(lanes) = self.lanes.take() {
                lanes.close();
            }
            self.stopped = None;
        }
    }
}

/// No more operations will come.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Stop> for StoreActor {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<StoreActor>) {
        self.stopping = true;
        self.stop_if_done();
    }
}
