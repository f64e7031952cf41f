//! The mailboxes of actors, metered.
//!
//! All our actors are metered in one place: a message enters through [`Mailbox`], and the actor unwraps it from
//! [`Metered`] with [`metered!`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use serde::Serialize;

use crate::clock::nanos;

/// What one kind of actor has done so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    entered: AtomicU64,
    left: AtomicU64,
    high_water: AtomicU64,
    handled: AtomicU64,
    waited_ns: AtomicU64,
    longest_wait_ns: AtomicU64,
    handling_ns: AtomicU64,
    longest_handling_ns: AtomicU64,
}

/// The figures of one kind of actor. Times are serialised as microseconds, under names that end in `_us`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MailboxMetrics {
    /// Messages waiting now.
    pub depth: u64,
    /// Most messages that ever waited at the same time.
    pub high_water: u64,
    /// Messages handled.
    pub handled: u64,
    /// Messages lost because their actor had already ended.
    pub lost: u64,
    /// Sum of the times messages waited.
    #[serde(rename = "waited_us", serialize_with = "crate::clock::as_micros")]
    pub waited: Duration,
    /// Longest time a message waited.
    #[serde(rename = "longest_wait_us", serialize_with = "crate::clock::as_micros")]
    pub longest_wait: Duration,
    /// Sum of the times messages took to handle.
    #[serde(rename = "handling_us", serialize_with = "crate::clock::as_micros")]
    pub handling: Duration,
    /// Longest time a message took to handle.
    #[serde(
        rename = "longest_handling_us",
        serialize_with = "crate::clock::as_micros"
    )]
    pub longest_handling: Duration,
}

impl Meter {
    /// Counts a message as it enters the mailbox.
    pub(crate) fn count_in(&self) {
        let entered = self.entered.fetch_add(1, Relaxed) + 1;
        let waiting = entered.saturating_sub(self.left.load(Relaxed));
        raise(&self.high_water, waiting);
    }

    /// Counts messages as they leave the mailbox to be handled, with the time each has waited.
    pub(crate) fn count_out(&self, waits: impl Iterator<Item = Duration>) {
        let (mut count, mut sum, mut longest) = (0, 0, 0);
        for wait in waits.map(nanos) {
            count += 1;
            sum += wait;
            longest = longest.max(wait);
        }
        self.waited_ns.fetch_add(sum, Relaxed);
        raise(&self.longest_wait_ns, longest);
        self.handled.fetch_add(count, Relaxed);
        self.left.fetch_add(count, Relaxed);
    }

    /// Counts a message that was lost.
    pub(crate) fn count_lost(&self) {
        self.left.fetch_add(1, Relaxed);
    }

    /// Records how long it took to handle the messages that were taken out together.
    pub(crate) fn handled_together(&self, took: Duration) {
        let took = nanos(took);
        self.handling_ns.fetch_add(took, Relaxed);
        raise(&self.longest_handling_ns, took);
    }

    pub(crate) fn snapshot(&self) -> MailboxMetrics {
        let left = self.left.load(Relaxed);
        let handled = self.handled.load(Relaxed);
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed));
        MailboxMetrics {
            depth: self.entered.load(Relaxed).saturating_sub(left),
            high_water: self.high_water.load(Relaxed),
            handled,
            lost: left.saturating_sub(handled),
            waited: time(&self.waited_ns),
            longest_wait: time(&self.longest_wait_ns),
            handling: time(&self.handling_ns),
            longest_handling: time(&self.longest_handling_ns),
        }
    }
}

/// Counts a message on entry, and again when it is handled or is dropped with its actor.
struct Ticket {
    meter: Arc<Meter>,
    /// `None` once it is handled.
    since: Option<Instant>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.meter.count_lost();
        }
    }
}

/// A message on its way through a metered mailbox.
pub(crate) struct Metered<M> {
    message: M,
    ticket: Ticket,
}

impl<M: Message> Message for Metered<M> {
    type Result = M::Result;
}

impl<M> Metered<M> {
    /// Wraps a message on its way into a mailbox.
    pub(crate) fn new(message: M, meter: &Arc<Meter>) -> Metered<M> {
        Metered {
            message,
            ticket: {
                meter.count_in();
                Ticket {
                    meter: meter.clone(),
                    since: Some(Instant::now()),
                }
            },
        }
    }

    pub(crate) fn message(&self) -> &M {
        &self.message
    }

    /// Takes the message out and handles it. Returns also how long that took, which is counted.
    pub(crate) fn handle<R>(self, handle: impl FnOnce(M) -> R) -> (R, Duration) {
        let Metered {
            message,
            mut ticket,
        } = self;
        let begun = Instant::now();
        let waited = ticket.since.take().map(|since| begun - since);
        ticket.meter.count_out(waited.into_iter());
        let result = handle(message);
        let took = begun.elapsed();
        ticket.meter.handled_together(took);
        (result, took)
    }
}

/// Raises a maximum. Usually it stays the same: then this only reads, so other threads keep the cache line.
fn raise(maximum: &AtomicU64, to: u64) {
    if maximum.load(Relaxed) < to {
        maximum.fetch_max(to, Relaxed);
    }
}

/// Sends one kind of message to an actor whose type stays hidden.
pub(crate) struct Mailbox<M: Message + Send>
where
    M::Result: Send,
{
    to: Recipient<Metered<M>>,
    meter: Arc<Meter>,
}

impl<M: Message + Send + 'static> Mailbox<M>
where
    M::Result: Send,
{
    pub(crate) fn new<A>(actor: &Addr<A>, meter: &Arc<Meter>) -> Mailbox<M>
    where
        A: Actor + Handler<Metered<M>>,
        A::Context: ToEnvelope<A, Metered<M>>,
    {
        Mailbox {
            to: actor.clone().recipient(),
            meter: meter.clone(),
        }
    }

    /// Puts a message into the mailbox, in order, without waiting. Lost if the actor has ended.
    pub(crate) fn tell(&self, message: M) {
        self.to.do_send(Metered::new(message, &self.meter));
    }

    /// Puts a message into the mailbox and waits for the result. `None`: the actor has ended.
    pub(crate) fn ask(
        &self,
        message: M,
    ) -> impl Future<Output = Option<M::Result>> + Send + use<M> {
        let result = self.to.send(Metered::new(message, &self.meter));
        async move { result.await.ok() }
    }

    /// Whether the actor is still running.
    pub(crate) fn connected(&self) -> bool {
        self.to.connected()
    }
}

impl<M: Message + Send> Clone for Mailbox<M>
where
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Mailbox {
            to: self.to.clone(),
            meter: self.meter.clone(),
        }
    }
}

/// A handler's result without actix's wrapping.
pub(crate) trait Plain<T> {
    fn plain(self) -> T;
}

impl Plain<()> for () {
    fn plain(self) {}
}

impl<T> Plain<Option<T>> for Option<T> {
    fn plain(self) -> Option<T> {
        self
    }
}

impl<M: Message> Plain<M::Result> for actix::MessageResult<M> {
    fn plain(self) -> M::Result {
        self.0
    }
}

/// Lets an actor take these messages out of their metered wrapping.
macro_rules! metered {
    ($actor:ty: $($message:ty),+ $(,)?) => {$(
        impl actix::Handler<$crate::mailbox::Metered<$message>> for $actor {
            type Result = actix::MessageResult<$crate::mailbox::Metered<$message>>;

            fn handle(&mut self, metered: $crate::mailbox::Metered<$message>, ctx: &mut Self::Context) -> Self::Result {
                let (result, _) =
                    metered.handle(|message| <$actor as actix::Handler<$message>>::handle(self, message, ctx));
                actix::MessageResult($crate::mailbox::Plain::plain(result))
            }
        }
    )+};
}
pub(crate) use metered;

/// What `benches/decisions` needs to send messages through a mailbox.
#[cfg(feature = "__bench")]
#[allow(missing_debug_implementations)]
pub mod bench {
    use actix::{Actor, Context, Handler, Message};

    use super::{Mailbox, Meter};

    /// Sends to an actor that does nothing.
    pub struct Hop(Mailbox<Nothing>);

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Nothing;

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Idle>;
    }

    impl Handler<Nothing> for Idle {
        type Result = ();

        fn handle(&mut self, _: Nothing, _: &mut Context<Idle>) {}
    }

    metered!(Idle: Nothing);

    impl Hop {
        /// Starts the actor on this thread.
        pub fn start() -> Hop {
            Hop(Mailbox::new(&Idle.start(), &Meter::default().into()))
        }

        /// Sends this many messages, and waits until they are handled.
        pub async fn pass(&self, messages: u64) {
            for _ in 1..messages {
                self.0.tell(Nothing);
            }
            self.0.ask(Nothing).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;
    impl Actor for Echo {
        type Context = actix::Context<Echo>;
    }
    #[derive(Message)]
    #[rtype(result = "Option<u32>")]
    struct Ask(u32);
    impl Handler<Ask> for Echo {
        type Result = Option<u32>;
        fn handle(&mut self, Ask(number): Ask, ctx: &mut Self::Context) -> Option<u32> {
            if number == 0 {
                actix::ActorContext::stop(ctx);
            }
            Some(number + 1)
        }
    }
    metered!(Echo: Ask);

    #[actix::test]
    async fn counts_what_enters_is_handled_and_is_lost() {
        let meter = Arc::new(Meter::default());
        let mailbox = Mailbox::<Ask>::new(&Echo.start(), &meter);
        let asked: Vec<_> = (1..=3).map(|number| mailbox.ask(Ask(number))).collect();
        assert_eq!(
            meter.snapshot().depth,
            3,
            "three wait before the actor runs"
        );
        for (index, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.flatten(), Some(index as u32 + 2));
        }
        assert_eq!(mailbox.ask(Ask(0)).await.flatten(), Some(1));
        tokio::task::yield_now().await;
        mailbox.tell(Ask(9));
        assert_eq!(mailbox.ask(Ask(9)).await, None, "the actor has ended");
        let seen = meter.snapshot();
        assert_eq!((seen.depth, seen.handled, seen.lost), (0, 4, 2));
        assert!(
            seen.high_water >= 3,
            "high-water mark {} of three waiting",
            seen.high_water
        );
    }
}
