//! Authentication in-band, and what is held while authorization is awaited, in both directions.

use std::collections::VecDeque;

use super::inbound::Step;
use super::{Action, Asked, State, Waiting};
use crate::auth::{AuthError, Principal, Verdict};
use crate::wire::{Close, CloseCode, Envelope, MessageType};

/// Who the client is, and what waits for that.
#[derive(Default)]
pub(super) struct Authorization {
    /// The newest value.
    pub(super) value: Option<String>,
    pub(super) principal: Option<Principal>,
    /// When the authorization was last found valid, ms since the epoch.
    pub(super) valid_at: i64,
    /// REAUTH was sent, and no authorization has come since.
    pub(super) reauth_sent: bool,
    pub(super) outgoing: Outgoing,
    /// `None`: nothing is held.
    held: Option<Box<Held>>,
}

/// Whether something may be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// To be asked before the next round.
    #[default]
    Ask,
    /// The authenticator is being asked.
    Asking,
    /// The next round may go.
    Granted,
    /// Not before good authorization has come.
    Held,
}

/// Messages that wait for authorization.
#[derive(Default)]
struct Held {
    envelopes: VecDeque<Box<Envelope>>,
    bytes: usize,
    messages: usize,
    subscriptions: usize,
    /// Information-bearing messages that came since, held or not.
    received: usize,
}

impl Authorization {
    pub(super) fn nothing_held(&self) -> bool {
        self.held
            .as_ref()
            .is_none_or(|held| held.envelopes.is_empty())
    }

    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.bytes);
        held + self.value.as_ref().map_or(0, String::len)
    }
}

/// Bytes of an envelope of the client's: any of its texts may be long, not only the payload.
pub(super) fn size(envelope: &Envelope) -> usize {
    let texts = [
        &envelope.eid,
        &envelope.tid,
        &envelope.cmid,
        &envelope.smid,
        &envelope.desc,
        &envelope.sid,
        &envelope.auth,
        &envelope.clv,
        &envelope.an,
        &envelope.av,
    ];
    let ids = envelope.ids.iter().flatten().map(String::len);
    envelope.msg.as_ref().map_or(0, |msg| msg.get().len())
        + texts.into_iter().flatten().map(String::len).sum::<usize>()
        + ids.sum::<usize>()
}

impl State {
    pub(super) fn step_authenticate(&mut self) {
        let Some(pipeline) = &mut self.current else {
            return;
        };
        let authorization = &mut self.authorization;
        if authorization.principal.is_none() {
            if authorization.value.is_none() {
                let why = "no authorization: it must come with HELLO in the first pipeline";
                return self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
            self.actions.push(Action::Authenticate);
        } else {
            let asked_for = |envelope: &Envelope| {
                envelope.t.is_information_bearing()
                    || matches!(envelope.t, MessageType::SUB | MessageType::UNSUB)
            };
            let needed = pipeline.authorization
                || !authorization.nothing_held()
                || pipeline
                    .envelopes
                    .iter()
                    .any(|envelope| asked_for(envelope));
            if !needed {
                pipeline.step = Step::Hello;
                return;
            }
            self.actions.push(Action::Reevaluate {
                changed: pipeline.changed,
            });
        }
        self.waiting = Waiting::Authentication;
    }

    pub(super) fn authenticated(&mut self, verdict: Result<Verdict, AuthError>) {
        self.waiting = Waiting::Nothing;
        let first = self.authorization.principal.is_none();
        match verdict {
            Err(error) => self.authenticator_failed(&error),
            Ok(Verdict::Authenticated(principal)) => {
                if self.adopt(principal) {
                    self.authorized();
                }
            }
            Ok(Verdict::StillValid) if first => {
                let why = "the authenticator says \"still valid\" of somebody it has not seen";
                self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
            Ok(Verdict::StillValid) => {
                self.authorization.valid_at = self.clock.now();
                self.authorized();
            }
            Ok(Verdict::Invalid(reason)) if first => {
                self.close(Close::new(
                    CloseCode::ViolatedPolicy,
                    format!("not authenticated: {reason}"),
                ));
            }
            Ok(Verdict::Invalid(_)) => self.hold(),
        }
    }

    /// An authenticator that fails has not refused: the client comes back elsewhere, its session is kept.
    fn authenticator_failed(&mut self, error: &AuthError) {
        log::warn!("{error}");
        let why = "authentication is not possible now, please come back";
        self.close(Close::new(CloseCode::ServiceRestart, why));
    }

    /// The client is this principal from now on. False: it must not be.
    fn adopt(&mut self, principal: Principal) -> bool {
        let changed = self.identity().is_some() && self.user_id() != principal.user_id;
        if changed && !self.config.allow_user_change
            || crate::wire::check_id("user id", &principal.user_id).is_err()
        {
            let why =
                "the user id of a session does not match the one authenticated: it must not change";
            self.close(Close::new(CloseCode::ViolatedPolicy, why));
            return false;
        }
        if changed {
            let before = self.user_id().into();
            if let Some(identity) = &mut self.identity {
                identity.owner.get_or_insert(before);
            }
        }
        self.authorization.valid_at = self.clock.now();
        self.authorization.principal = Some(principal);
        true
    }

    /// The authorization is good: what was held goes first.
    fn authorized(&mut self) {
        if self.authorization.outgoing == Outgoing::Held {
            self.authorization.outgoing = Outgoing::Ask;
        }
        let held = self.authorization.held.take().unwrap_or_default();
        if let Some(pipeline) = &mut self.current {
            pipeline.step = Step::Hello;
            let behind = std::mem::replace(&mut pipeline.envelopes, held.envelopes);
            pipeline.envelopes.extend(behind);
        }
    }

    /// The authorization is not good: what needs it is held, and a fresh one asked for.
    fn hold(&mut self) {
        let Some(pipeline) = self.current.take() else {
            return;
        };
        if pipeline.hello.is_some() {
            return self.close(Close::new(
                CloseCode::ViolatedPolicy,
                "HELLO a second time on one connection",
            ));
        }
        for envelope in pipeline.envelopes {
            if let Err(close) = self.hold_one(envelope) {
                return self.close(close);
            }
        }
        self.ask_for_authorization();
    }

    fn hold_one(&mut self, envelope: Box<Envelope>) -> Result<(), Close> {
        let config = self.config.clone();
        let held = self.authorization.held.get_or_insert_default();
        let bytes = size(&envelope);
        if !envelope.t.is_information_bearing() {
            held.subscriptions += 1;
            held.bytes += bytes;
            held.envelopes.push_back(envelope);
            let full = held.subscriptions > config.max_held_subscriptions
                || (held.bytes > config.max_held_bytes && held.subscriptions > 1);
            return match full {
                true => Err(Close::new(
                    CloseCode::ViolatedPolicy,
                    format!(
                        "more than {} SUB and UNSUB, or too long ones, while authorization is awaited",
                        config.max_held_subscriptions
                    ),
                )),
                false => Ok(()),
            };
        }
        held.received += 1;
        if held.received > config.max_received_while_held {
            return Err(Close::new(
                CloseCode::ViolatedPolicy,
                format!(
                    "more than {} messages while authorization is awaited",
                    config.max_received_while_held
                ),
            ));
        }
        let full = held.messages > 0
            && (held.messages >= config.max_held || held.bytes + bytes > config.max_held_bytes);
        if !full {
            held.messages += 1;
            held.bytes += bytes;
            held.envelopes.push_back(envelope);
        } else if envelope.t.is_reply() {
            // A client does not take a RETRY of a reply, but sends it again after a reconnect.
            return Err(Close::new(
                CloseCode::Reconnect,
                "too much is held while authorization is awaited",
            ));
        } else {
            self.retry(
                envelope.cmid,
                "too much is held while authorization is awaited",
            );
        }
        Ok(())
    }

    pub(super) fn ask_for_authorization(&mut self) {
        if !std::mem::replace(&mut self.authorization.reauth_sent, true) {
            self.send_now(vec![Envelope::new(MessageType::REAUTH)]);
        }
    }

    pub(super) fn outgoing_authenticated(&mut self, verdict: Result<Verdict, AuthError>) {
        if self.authorization.outgoing != Outgoing::Asking {
            return;
        }
        match verdict {
            Err(error) => self.authenticator_failed(&error),
            Ok(Verdict::Authenticated(principal)) => {
                if self.adopt(principal) {
                    self.authorization.outgoing = Outgoing::Granted;
                }
            }
            Ok(Verdict::StillValid) => self.authorization.outgoing = Outgoing::Granted,
            Ok(Verdict::Invalid(_)) => {
                self.authorization.outgoing = Outgoing::Held;
                self.ask_for_authorization();
            }
        }
    }

    pub(super) fn topic_authorized(&mut self, allowed: Result<bool, AuthError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicAuthorization(subscribing) = waiting else {
            return;
        };
        match allowed {
            Err(error) => self.authenticator_failed(&error),
            Ok(true) => {
                let (topic, seen) = (subscribing.topic.clone(), subscribing.seen);
                self.waiting = Waiting::TopicSubscription(subscribing);
                self.actions.push(Action::SubscribeTopic { topic, seen });
            }
            Ok(false) => {
                let topic = subscribing.topic;
                if self.topics.remove(&topic) {
                    // Stored with the session, and not allowed any more.
                    self.actions.push(Action::UnsubscribeTopic(topic.clone()));
                }
                if subscribing.asked == Asked::Client {
                    let eid = Some(topic);
                    self.send_now(vec![Envelope {
                        eid,
                        ..Envelope::new(MessageType::SUB_NO_AUTH)
                    }]);
                }
            }
        }
    }
}
