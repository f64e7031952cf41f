//! The session's decisions, pure: an [`Event`] comes in, [`Action`]s come out. No I/O, no actor, no log and no clock: the
//! time is part of the [`Environment`] that comes with each event.
//!
//! [`inbound`] processes pipelines in order, [`pipeline`] is the current one, [`welcome`] opens or resumes the session,
//! [`authorize`] asks whether the client is authorized and [`authorization`] holds what waits for that, [`answering`] has
//! the client's messages handled and answered, [`inbox`] tracks which ones are, [`replies`] coalesces answers, [`outbox`]
//! is the window of messages sent and not acknowledged, [`topics`] has the subscriptions, [`subscribing`] makes them,
//! [`publications`] delivers what is published, [`replay`] what was missed, [`position`] tracks what was received,
//! [`rights`] checks whether the subscriptions are still allowed, and [`leaving`] ends the session or its connection.

mod answering;
mod authorization;
mod authorize;
mod event;
mod expiry;
mod inbound;
mod inbox;
mod leaving;
mod outbox;
mod outgoing;
mod pipeline;
mod position;
mod publications;
mod recent;
mod replay;
mod replies;
mod rights;
mod standing;
mod subscribing;
#[cfg(test)]
mod tests;
mod topics;
mod welcome;

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;

use self::authorization::Authorization;
pub(super) use self::event::{
    Acks, Action, Delivering, Environment, Event, Failure, Handle, Hello, Identity, Keep, Recorded,
    Subscribed, ToSubscribe,
};
use self::inbox::Inbox;
use self::leaving::Leaving;
use self::outbox::Window;
use self::pipeline::Pipeline;
use self::recent::Recent;
use self::replies::Replies;
use self::standing::Rumour;
use self::subscribing::Subscribing;
use self::topics::Topics;
use super::connection::FromConnection;
use crate::auth::ClientInfo;
use crate::clock::ms;
use crate::config::Config;
use crate::registry::ToSession;
use crate::store::account_of;
use crate::store::operation::Holder;
use crate::wire::{Close, CloseCode, shown};

/// What the current pipeline waits for.
#[derive(Debug)]
enum Waiting {
    Nothing,
    Authentication,
    Registration,
    TopicAuthorization(Box<Subscribing>),
    TopicSubscription(Box<Subscribing>),
}

/// The state of one session.
pub(super) struct State {
    config: Arc<Config>,
    node: Arc<str>,
    /// The application listens to messages.
    has_listeners: bool,
    environment: Environment,
    /// `None` until HELLO is done.
    identity: Option<Identity>,
    /// The client keeps its session, so a close with 1001 (the page goes away) counts as a lost connection.
    keep: bool,
    /// Trace id of the HELLO, for its WELCOME.
    welcome_trace: Option<Box<str>>,
    work: VecDeque<ByteString>,
    work_bytes: usize,
    current: Option<Pipeline>,
    waiting: Waiting,
    authorization: Authorization,
    inbox: Inbox,
    window: Window,
    replies: Replies,
    topics: Topics,
    requested_debug: crate::wire::DebugOptions,
    to_complete: Option<Box<Acks>>,
    /// How many message ids the store is about to delete, for this client's ACK, NACK and ACK2.
    deleting: usize,
    to_drop: Vec<String>,
    /// When completes and drops that failed are tried again.
    retry_at: Option<i64>,
    /// The pending close and its time: the store is unavailable, or the server is stopping and handlers are still
    /// running.
    leaving: Option<Box<Leaving>>,
    rumour: Option<Box<Rumour>>,
    ended: bool,
    recent: Recent,
    /// The client's address, until HELLO.
    remote: Option<Box<str>>,
    /// `None` before HELLO.
    client: Option<Arc<ClientInfo>>,
    /// The code with which the client closed the connection.
    closed_by_client: Option<u16>,
    actions: Vec<Action>,
}

impl State {
    pub(super) fn new(
        config: Arc<Config>,
        node: Arc<str>,
        has_listeners: bool,
        remote: Option<String>,
    ) -> State {
        State {
            config,
            node,
            has_listeners,
            environment: Environment::default(),
            identity: None,
            keep: false,
            welcome_trace: None,
            work: VecDeque::new(),
            work_bytes: 0,
            current: None,
            waiting: Waiting::Nothing,
            authorization: Authorization::default(),
            inbox: Inbox::default(),
            window: Window::default(),
            replies: Replies::default(),
            topics: Topics::default(),
            requested_debug: crate::wire::DebugOptions::default(),
            to_complete: None,
            deleting: 0,
            to_drop: Vec::new(),
            retry_at: None,
            leaving: None,
            rumour: None,
            ended: false,
            recent: Recent::default(),
            remote: remote.map(String::into_boxed_str),
            client: None,
            closed_by_client: None,
            actions: Vec::new(),
        }
    }

    /// Processes an event. Returns the actions to carry out, in order.
    pub(super) fn on(&mut self, event: Event, environment: Environment) -> Vec<Action> {
        self.environment = environment;
        if environment.going_out {
            self.window.going_out(environment.now);
        }
        if !self.ended {
            self.take(event);
            self.advance();
            self.read_answers();
            self.store_acks();
            self.deliver();
        }
        std::mem::take(&mut self.actions)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connection(event) => self.connection(event),
            Event::Registry(event) => self.registry(event),
            Event::Authenticated(verdict) => self.authenticated(verdict),
            Event::OutgoingAuthenticated(verdict) => self.outgoing_authenticated(verdict),
            Event::RepliesAuthenticated(verdict) => self.replies_authenticated(verdict),
            Event::Registered(outcome) => self.registered(outcome),
            Event::TopicAuthorized { topic, allowed } => self.topic_authorized(topic, allowed),
            Event::TopicsSubscribed(outcome) => self.topics_subscribed(outcome),
            Event::TopicRead {
                topic,
                up_to,
                outcome,
            } => self.topic_read(topic, up_to, outcome),
            Event::TopicChecked { topic, allowed } => self.topic_checked(topic, allowed),
            Event::HandlerEnded(ended) => self.handler_ended(ended),
            Event::AnswerRead { cmid, kind, answer } => self.answer_read(cmid, kind, answer),
            Event::Completed { acks, outcome } => self.completed(acks, outcome),
            Event::InboxDropped { cmids, outcome } => self.inbox_dropped(cmids, outcome),
            Event::Fetched(outcome) => self.fetched(outcome),
            Event::DeadLetters(seqs) => drop(self.window.complete(seqs.iter())),
            Event::FencedOff => self.fenced_off(),
            Event::Standing(standing) => self.stands(standing),
            Event::Tick => self.tick(),
            Event::Stalled => self.end(None, Keep::Deregister),
        }
    }

    fn connection(&mut self, event: FromConnection) {
        match event {
            FromConnection::Text(text) => {
                if self.leaving.is_some() {
                    self.actions.push(Action::Processed(text.len()));
                } else {
                    self.work_bytes += text.len();
                    self.work.push_back(text);
                }
            }
            FromConnection::Binary => {
                self.violation("a binary message: only text messages are understood")
            }
            FromConnection::Violation(close) => self.close(close),
            FromConnection::Closed(code) => {
                self.closed_by_client = code;
                let keep = match code {
                    Some(code) if self.keep && code == CloseCode::GoingAway.code() => {
                        Keep::Deregister
                    }
                    Some(code) if CloseCode::client_closes_session(code) => {
                        Keep::Close(format!("the client closed the session ({code})"))
                    }
                    Some(_) | None => Keep::Deregister,
                };
                self.end(None, keep);
            }
            FromConnection::Lost => self.end(None, Keep::Deregister),
            FromConnection::Drained => {}
            FromConnection::Pong(number) => self.pong(number),
        }
    }

    fn registry(&mut self, event: ToSession) {
        match event {
            // Attached, but not welcomed yet: at WELCOME everything is read from the store.
            ToSession::Stored(..) if self.identity().is_none() => {}
            // It can be read from the store later, so it need not be held here.
            ToSession::Stored(_, message) if !self.has_room_for(outbox::size(&message)) => {
                self.window.newest(message.seq);
            }
            ToSession::Stored(after, message) => {
                let wall = self.environment.wall;
                self.window.stored(after, message, wall, &self.config);
            }
            ToSession::Notice => self.window.poke(),
            ToSession::Swept(newest) => self.window.newest(newest),
            ToSession::Published(publication) => self.published(publication),
            ToSession::Revoked(revocation) => self.revoked(&revocation),
            ToSession::TakenOver => self.taken_over(),
            ToSession::Rumour(closed) => self.heard(closed),
            ToSession::ComeBack => self.come_back(),
            ToSession::Closed(reason) => self.closed(reason),
            ToSession::Gone => self.gone(),
            ToSession::Restart(why) => self.restart(why),
            ToSession::Introspect(to) => {
                let live = Box::new(self.introspect());
                self.actions.push(Action::Introspected { to, live });
            }
        }
    }

    fn tick(&mut self) {
        let now = self.environment.now;
        if let Some(leaving) = self.leaving.take_if(|leaving| leaving.at <= now) {
            let close = leaving.close;
            if close.code == CloseCode::Disconnect {
                self.actions.push(Action::AskStanding);
                return self.fenced_off();
            }
            return self.leave(close);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.window.poke();
        }
        if self.acknowledgement_due().is_some_and(|at| at <= now) {
            let limit = self.config.acknowledge_timeout;
            self.mistake("nothing that was delivered is acknowledged");
            let why = format!("nothing that was delivered was acknowledged within {limit:?}");
            return self.leave(Close::new(CloseCode::Reconnect, why));
        }
        self.check_topics_due();
        self.flush_due();
    }

    /// When the next [`Event::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<i64> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.at);
        let topics = self.topics.deadline();
        [self.replies.deadline(), self.retry_at, leaving, topics]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the client must have acknowledged something of what was delivered to it. This moves with each delivery and
    /// is far in the future, so it is separate from [`deadline`](Self::deadline), and only checked once it is due.
    pub(super) fn acknowledgement_due(&self) -> Option<i64> {
        let since = self.window.unacknowledged_since();
        since.map(|since| since.saturating_add(ms(self.config.acknowledge_timeout)))
    }

    /// The next text to process. An empty queue is freed, since there are many idle sessions.
    fn next_work(&mut self) -> Option<ByteString> {
        let text = self.work.pop_front()?;
        if self.work.is_empty() {
            self.work = VecDeque::new();
        }
        Some(text)
    }

    /// Records a mistake of the client.
    fn mistake(&mut self, what: &str) {
        self.actions.push(Action::Mistake(shown(what).into_owned()));
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether this is the actor's own registration.
    fn holds(&self, holder: Holder) -> bool {
        self.identity()
            .is_some_and(|identity| identity.holder == holder)
    }

    pub(super) fn principal(&self) -> Option<&crate::auth::Principal> {
        self.authorization.principal.as_ref()
    }

    /// The session's owner, even if its client is another user by now.
    pub(super) fn owner(&self) -> &str {
        let owner = self
            .identity()
            .and_then(|identity| identity.owner.as_deref());
        owner.unwrap_or_else(|| self.user_id())
    }

    /// The client's user id. Empty until it is authenticated.
    pub(super) fn user_id(&self) -> &str {
        self.principal()
            .map_or("", |principal| principal.user_id.as_str())
    }

    /// The newest sequence number known to be stored.
    pub(super) fn newest_known(&self) -> i64 {
        self.window.newest_known()
    }

    /// What the client said about itself.
    pub(super) fn client(&self) -> Option<&Arc<ClientInfo>> {
        self.client.as_ref()
    }

    /// The code with which the client closed the connection, if it did and gave one.
    pub(super) fn closed_by_client(&self) -> Option<u16> {
        self.closed_by_client
    }

    /// A hash of the client's user id, under which the user is counted.
    pub(super) fn account(&self) -> u64 {
        account_of(self.user_id())
    }

    /// The last authorization value that was accepted.
    pub(super) fn accepted_authorization(&self) -> Option<&str> {
        self.authorization.accepted.as_deref()
    }

    /// The authorization value to be authenticated.
    pub(super) fn offered_authorization(&self) -> Option<&str> {
        self.authorization.offered()
    }

    /// When the authorization was last found valid, ms since the epoch.
    pub(super) fn last_valid(&self) -> i64 {
        self.authorization.valid_at
    }

    /// Incoming bytes that this session holds, not including texts that count as unprocessed in the connection's flow, nor
    /// what was passed to handlers.
    pub(super) fn held_incoming(&self) -> usize {
        let envelopes = self.current.as_ref().map_or(0, Pipeline::bytes);
        envelopes + self.authorization.held_bytes()
    }

    /// Outgoing bytes that this session holds, not including those already passed to the connection.
    pub(super) fn held_outgoing(&self) -> usize {
        self.window.bytes() + self.replies.bytes() + self.topics.bytes()
    }

    /// Whether there is room for this many more outgoing bytes.
    fn has_room_for(&mut self, bytes: usize) -> bool {
        let room = self.environment.outgoing_room.checked_sub(bytes);
        self.environment.outgoing_room = room.unwrap_or(self.environment.outgoing_room);
        room.is_some()
    }
}
