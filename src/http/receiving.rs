//! The message being received: the room it needs and the time it takes.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::time::{Instant, Sleep, sleep_until};

use super::frame::{GROWTH, Header};
use super::state::ConnectionState;
use crate::clock::after;
use crate::node::budget::{SMALL, Ticket};
use crate::wire::{Close, CloseCode};

/// The state of a connection's unfinished message.
pub(super) struct Receiving {
    state: Rc<ConnectionState>,
    message: Option<Message>,
    /// The frame for which there is no room yet.
    waiting: Option<Waiting>,
    /// Since when reading has been paused by us.
    stopped: Option<Instant>,
    /// Wakes the guard when time is up.
    alarm: Option<Pin<Box<Sleep>>>,
}

struct Message {
    since: Instant,
    /// How long reading was paused by us in the meantime.
    stopped: Duration,
    /// Bytes announced by the frames that were admitted.
    announced: usize,
    received: usize,
}

struct Waiting {
    ticket: Ticket,
    until: Instant,
}

impl Receiving {
    pub(super) fn new(state: Rc<ConnectionState>) -> Receiving {
        Receiving {
            state,
            message: None,
            waiting: None,
            stopped: None,
            alarm: None,
        }
    }

    /// Reserves the room that a data frame needs before any of its payload is read. While waiting, it holds none of
    /// that room.
    pub(super) fn admit(&mut self, header: &Header, context: &mut Context<'_>) -> Poll<()> {
        let payload = usize::try_from(header.payload).unwrap_or(usize::MAX);
        let before = self.message.as_ref().map_or(0, |message| message.announced);
        let announced = before.saturating_add(payload);
        let is_whole = self.message.is_none() && header.last;
        let needs = match is_whole || announced <= SMALL {
            true => announced,
            false => announced.saturating_mul(GROWTH),
        };
        let held = self.state.receiving.get();
        let more = needs.saturating_sub(held);
        let incoming = self.state.flow.incoming();
        match &mut self.waiting {
            None if incoming.try_grow(more) => {}
            None => {
                let limit = match self.message {
                    Some(_) => self.state.config.max_fragment_wait,
                    None => self.state.config.idle_timeout,
                };
                self.waiting = Some(Waiting {
                    ticket: incoming.wait(more),
                    until: after(Instant::now(), limit),
                });
                return self.admit(header, context);
            }
            Some(waiting) => match Pin::new(&mut waiting.ticket).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(reserved) => {
                    incoming.grow_by(reserved, more);
                    self.waiting = None;
                }
            },
        }
        self.state.receiving.set(held + more);
        let message = self.message.get_or_insert_with(|| Message {
            since: Instant::now(),
            stopped: Duration::ZERO,
            announced: 0,
            received: 0,
        });
        message.announced = announced;
        Poll::Ready(())
    }

    /// This many bytes of the message have arrived.
    pub(super) fn received(&mut self, bytes: usize) {
        if let Some(message) = &mut self.message {
            message.received += bytes;
        }
    }

    /// The message is complete. Its room stays reserved until the connection actor has the message.
    pub(super) fn finished(&mut self) {
        self.message = None;
    }

    /// The message is no longer wanted.
    pub(super) fn give_up(&mut self) {
        self.message = None;
        self.waiting = None;
        self.alarm = None;
    }

    /// Reading is paused by us from now on, or continues.
    pub(super) fn stop(&mut self, stop: bool) {
        match (stop, self.stopped) {
            (true, None) => self.stopped = Some(Instant::now()),
            (false, Some(since)) => {
                self.stopped = None;
                if let Some(message) = &mut self.message {
                    message.stopped += since.max(message.since).elapsed();
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Why the connection must be closed, if the time is up. Otherwise the task is woken when it is.
    pub(super) fn overdue(&mut self, context: &mut Context<'_>) -> Option<Close> {
        let Some(deadline) = self.deadline() else {
            self.alarm = None;
            return None;
        };
        if deadline <= Instant::now() {
            return Some(self.complaint());
        }
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline || alarm.is_elapsed() {
            alarm.as_mut().reset(deadline);
        }
        if alarm.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        None
    }

    fn deadline(&self) -> Option<Instant> {
        if let Some(waiting) = &self.waiting {
            return Some(waiting.until);
        }
        let config = &self.state.config;
        let rate = config.min_receive_rate;
        let message = self.message.as_ref().filter(|_| self.stopped.is_none())?;
        let enough_for = (1_000 * message.received as u64).checked_div(rate as u64)?;
        let granted = Duration::from_millis(enough_for).max(config.receive_grace) + message.stopped;
        Some(after(message.since, granted))
    }

    fn complaint(&self) -> Close {
        let budget = &self.state.budget;
        if self.waiting.is_some() {
            let close = Close::new(CloseCode::Reconnect, "there is no room for a message");
            budget.count_waiting(close.reason());
            return close;
        }
        let code = match self.state.established.get() {
            true => CloseCode::Reconnect,
            false => CloseCode::ViolatedPolicy,
        };
        let rate = self.state.config.min_receive_rate;
        let why = format!("a message arrives too slowly: less than {rate} bytes per second");
        budget.count_slow(&why);
        Close::new(code, why)
    }
}
