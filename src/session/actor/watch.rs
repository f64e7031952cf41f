//! What a session monitors: its share of the node's memory, a stalled connection, and its timer.

use std::time::Duration;

use actix::{AsyncContext, Context};

use super::super::state::{Environment, Event};

use super::Session;
use crate::clock::ms;
use crate::node::budget::SMALL;
use crate::trace::Trace;

impl Session {
    pub(super) fn sample_environment(&self) -> Environment {
        let config = &self.node.config;
        let unsent = self.flow.unsent();
        // A pipeline's text and the envelopes parsed from it are held at the same time.
        let incoming_room = self.flow.incoming().room(2 * SMALL);
        let outgoing_room = self.flow.outgoing().room(SMALL);
        let no_room = outgoing_room == 0 && unsent > SMALL;
        self.flow.await_drain(no_room);
        Environment {
            now: self.node.uptime(),
            wall: self.node.clock.now_ms(),
            going_out: unsent > 0,
            backpressured: unsent > config.max_unsent || no_room,
            filling: unsent > config.max_unsent / 2,
            incoming_room,
            outgoing_room,
            user_is_busy: self.node.handlers_of.is_full(self.state.account()),
            lease_in_doubt: self.node.since_renewal() >= config.lease,
            traced: Trace::is_on(),
        }
    }

    /// Keeps the count of the bytes that the state holds, in addition to those of its connection.
    pub(super) fn count(&mut self) {
        let held = (self.state.held_incoming(), self.state.held_outgoing());
        let before = std::mem::replace(&mut self.counted, held);
        let flow = &self.flow;
        for (held, before, counted) in [
            (held.0, before.0, flow.incoming()),
            (held.1, before.1, flow.outgoing()),
        ] {
            match held.checked_sub(before) {
                Some(more) => counted.grow(more),
                None => counted.shrink(before - held),
            }
        }
    }

    pub(super) fn uncount(&mut self) {
        let (incoming, outgoing) = std::mem::take(&mut self.counted);
        self.flow.incoming().shrink(incoming);
        self.flow.outgoing().shrink(outgoing);
    }

    /// A client that does not read freezes its connection actor: only the session can notice.
    pub(super) fn watch_line(&mut self) {
        let gone = self.flow.gone();
        self.stuck = match (self.flow.unsent(), self.stuck) {
            (0, _) => None,
            (_, Some((then, since))) if then == gone => Some((then, since)),
            (_, _) => Some((gone, self.node.uptime())),
        };
    }

    pub(super) fn stuck_deadline(&self) -> Option<i64> {
        let timeout = ms(self.node.config.write_timeout);
        self.stuck.map(|(_, since)| since.saturating_add(timeout))
    }

    /// The timer for acknowledgements. It is not moved before it is due: usually they have arrived by then.
    fn arm_for_acknowledgement(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.state.acknowledgement_due() else {
            return;
        };
        if !std::mem::replace(&mut self.awaits_acknowledgement, true) {
            ctx.run_later(self.until(due), |session, ctx| {
                session.awaits_acknowledgement = false;
                session.take(Event::Tick, ctx);
            });
        }
    }

    /// The time left until then.
    fn until(&self, at: i64) -> Duration {
        Duration::from_millis(u64::try_from(at - self.node.uptime()).unwrap_or(0))
    }

    pub(super) fn arm(&mut self, ctx: &mut Context<Self>) {
        self.arm_for_acknowledgement(ctx);
        let deadline = [self.state.deadline(), self.stuck_deadline()]
            .into_iter()
            .flatten()
            .min();
        match (deadline, &self.timer) {
            (Some(deadline), Some((armed, _))) if *armed <= deadline => {}
            (Some(deadline), _) => {
                if let Some((_, timer)) = self.timer.take() {
                    ctx.cancel_future(timer);
                }
                let timer = ctx.run_later(self.until(deadline), |session, ctx| {
                    session.timer = None;
                    session.watch_line();
                    let stalled = session
                        .stuck_deadline()
                        .is_some_and(|at| at <= session.node.uptime());
                    session.take(if stalled { Event::Stalled } else { Event::Tick }, ctx);
                });
                self.timer = Some((deadline, timer));
            }
            (None, _) => {}
        }
    }
}
