//! What a session watches: its share of the node's memory, a line that does not move, and its timer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{AsyncContext, Context};

use super::super::state::Event;

use super::{BUDGET_AGAIN, Session};
use crate::clock::ms;

impl Session {
    /// Keeps the node's sum of held bytes.
    pub(super) fn count(&mut self) {
        let held = self.state.held_bytes() + self.flow.unsent();
        let sum = &self.node.counters.held_bytes;
        if held >= self.counted {
            sum.fetch_add((held - self.counted) as u64, Ordering::Relaxed);
        } else {
            sum.fetch_sub((self.counted - held) as u64, Ordering::Relaxed);
        }
        self.counted = held;
    }

    /// While the node holds more than it may, nothing more is read; what was read is looked at again in a while.
    pub(super) fn pause_over_budget(&mut self) {
        let over = self.surroundings().over_budget;
        if over != std::mem::replace(&mut self.paused, over) {
            self.flow.pause_reading(over);
        }
    }

    pub(super) fn uncount(&mut self) {
        self.node
            .counters
            .held_bytes
            .fetch_sub(self.counted as u64, Ordering::Relaxed);
        self.counted = 0;
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

    pub(super) fn arm(&mut self, ctx: &mut Context<Self>) {
        let budget = self.paused.then(|| self.node.uptime() + BUDGET_AGAIN);
        let deadline = [self.state.deadline(), self.stuck_deadline(), budget]
            .into_iter()
            .flatten()
            .min();
        match (deadline, &self.timer) {
            (Some(deadline), Some((armed, _))) if *armed <= deadline => {}
            (Some(deadline), _) => {
                if let Some((_, timer)) = self.timer.take() {
                    ctx.cancel_future(timer);
                }
                let wait = Duration::from_millis(
                    u64::try_from(deadline - self.node.uptime()).unwrap_or(0),
                );
                let timer = ctx.run_later(wait, |session, ctx| {
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
