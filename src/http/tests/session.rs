//! A session that does what its client says, and reports what reached it.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use tokio::sync::mpsc;

use crate::mailbox::metered;
use crate::node::UserCounts;
use crate::node::budget::NodeBudget;
use crate::session::connection::{
    ConnectionHandle, ConnectionUser, Flow, FromConnection, NewConnection, Text, ToConnection,
};
use crate::store::Share;
use crate::wire::{Close, CloseCode};

/// Bytes of one text of a flood.
pub(super) const FLOOD: usize = 50_000;

/// Unprocessed bytes at which reading pauses.
const PAUSE: usize = 2 << 20;

/// What reached the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Text(usize),
    Binary,
    Violation(u16, String),
    Closed(Option<u16>),
    Lost,
    Drained,
    /// This many bytes were unsent when the flood paused.
    Paused(usize),
    CloseSession(String),
    /// This many texts had arrived when the kept one was processed.
    Kept(usize),
    /// This many bytes are unsent.
    Unsent(usize),
}

pub(super) struct Session {
    connection: Box<dyn ConnectionHandle>,
    flow: Flow,
    max_unsent: usize,
    budget: Arc<NodeBudget>,
    texts: usize,
    flooding: bool,
    /// The flood waits for Drained.
    paused: bool,
    /// Does not answer violations.
    mute: bool,
    events: mpsc::UnboundedSender<Event>,
}

impl Actor for Session {
    type Context = Context<Self>;
}

metered!(Session: FromConnection);

impl Session {
    pub(super) fn new(
        connection: NewConnection,
        max_unsent: usize,
        budget: Arc<NodeBudget>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Session {
        Session {
            connection: connection.connection,
            flow: connection.flow,
            max_unsent,
            budget,
            texts: 0,
            flooding: false,
            paused: false,
            mute: false,
            events,
        }
    }

    fn say(&self, text: impl Into<String>) {
        self.connection
            .tell(ToConnection::Text(Text::Own(text.into())));
    }

    fn flood(&mut self, ctx: &mut Context<Self>) {
        if !self.flooding {
            return;
        }
        if self.flow.unsent() > self.max_unsent {
            self.flooding = false;
            self.paused = true;
            let _ = self.events.send(Event::Paused(self.flow.unsent()));
            return;
        }
        self.say("x".repeat(FLOOD));
        // Through the timer, so that the connection gets its turn.
        ctx.run_later(Duration::ZERO, |session, ctx| session.flood(ctx));
    }

    fn text(&mut self, text: &str, ctx: &mut Context<Self>) {
        let (command, rest) = text.split_once(':').unwrap_or((text, ""));
        match command {
            "hello" => {
                let user = ConnectionUser {
                    share: Share::of_user(rest),
                    handlers: UserCounts::new(1_000),
                };
                self.flow.belongs_to(&self.budget, rest, user);
                self.connection.tell(ToConnection::Established);
                self.say("welcome");
            }
            // HELLO is delayed until the release.
            "slow-hello" => {
                ctx.run_later(Duration::from_millis(200), |session, _| {
                    session.connection.tell(ToConnection::Established);
                    session.say("welcome");
                });
            }
            "echo" => self.say(rest),
            "mute" => self.mute = true,
            "unsent" => {
                let _ = self.events.send(Event::Unsent(self.flow.unsent()));
            }
            "stop" => ctx.stop(),
            "flood" => {
                self.flooding = true;
                self.flood(ctx);
            }
            "close" => {
                self.connection
                    .tell(ToConnection::Close(Close::new(CloseCode::Reconnect, rest)));
            }
            "pause-close" => {
                self.flow.received(PAUSE, 0);
                self.connection
                    .tell(ToConnection::Close(Close::new(CloseCode::Reconnect, rest)));
            }
            "flood-close" => {
                for _ in 0..100 {
                    self.say("x".repeat(10_000));
                }
                self.connection
                    .tell(ToConnection::Close(Close::new(CloseCode::Reconnect, rest)));
                // Nothing comes after Close.
                self.say("late");
            }
            "pause" => {
                self.flow.received(PAUSE, 0);
                ctx.run_later(Duration::from_millis(300), |session, _| {
                    session.say("resumed");
                    session.flow.processed(PAUSE);
                });
            }
            _ => {}
        }
    }
}

impl Handler<FromConnection> for Session {
    type Result = ();

    fn handle(&mut self, message: FromConnection, ctx: &mut Self::Context) {
        let event = match message {
            FromConnection::Text(text) => {
                self.texts += 1;
                self.text(&text, ctx);
                if text.starts_with("keep") {
                    // Not processed: it counts as unprocessed until "release".
                    ctx.run_later(Duration::from_millis(300), move |session, _| {
                        session.say("took");
                        let _ = session.events.send(Event::Kept(session.texts));
                        session.flow.processed(text.len());
                    });
                    return;
                }
                self.flow.processed(text.len());
                Event::Text(text.len())
            }
            FromConnection::Binary => {
                if !self.mute {
                    let close = Close::new(CloseCode::ProtocolError, "binary");
                    self.connection.tell(ToConnection::Close(close));
                }
                Event::Binary
            }
            FromConnection::Violation(close) => {
                if !self.mute {
                    self.connection.tell(ToConnection::Close(close.clone()));
                }
                Event::Violation(close.code.code(), close.reason().to_owned())
            }
            FromConnection::Closed(code) => Event::Closed(code),
            FromConnection::Lost => Event::Lost,
            FromConnection::Pong(_) => return,
            FromConnection::Drained => {
                if std::mem::take(&mut self.paused) {
                    self.flooding = true;
                    self.flood(ctx);
                }
                Event::Drained
            }
        };
        let _ = self.events.send(event);
    }
}
