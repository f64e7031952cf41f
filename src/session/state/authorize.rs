//! In-band authentication, and what is held in both directions until authorization arrives.
//!
//! The value that a client offers is kept apart from the accepted one: handlers and later checks see accepted values
//! only.

use std::error::Error as _;

use super::authorization::{Outgoing, Validity};
use super::pipeline::Step;
use super::{Action, Failure, State, Waiting};
use crate::auth::{AuthError, Principal, Verdict};
use crate::clock::ms;
use crate::error::append_sources;
use crate::wire::{Close, CloseCode, Envelope, MessageType};

/// Bytes of a client's envelope: any of its texts may be long, not only the payload.
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
            if authorization.offered.is_none() {
                let why = "no authorization: it must come with HELLO in the first pipeline";
                return self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
        } else {
            let needed = pipeline.authorization
                || !authorization.nothing_held()
                || pipeline.has_rest()
                || pipeline.envelopes.iter().any(|it| needs_authorization(it));
            if !needed {
                pipeline.step = Step::Hello;
                return;
            }
            if authorization.offered.is_none() && authorization.validity == Validity::Refused {
                return self.hold();
            }
        }
        self.ask();
    }

    /// Asks about the offered value, or whether the accepted one is still valid.
    fn ask(&mut self) {
        let authorization = &self.authorization;
        let action = match &authorization.principal {
            None => Action::Authenticate,
            Some(_) => Action::Reevaluate {
                changed: authorization.offered.is_some(),
            },
        };
        self.actions.push(action);
        self.waiting = Waiting::Authentication;
    }

    pub(super) fn authenticated(&mut self, verdict: Result<Verdict, AuthError>) {
        self.waiting = Waiting::Nothing;
        if std::mem::take(&mut self.authorization.ask_again) {
            return match self.authorization.offered {
                Some(_) => self.ask(),
                None => self.hold(),
            };
        }
        let first = self.authorization.principal.is_none();
        match self.in_time(verdict) {
            Err(error) => self.authenticator_failed(&error),
            Ok(Verdict::Authenticated(principal)) => {
                if self.adopt(principal) {
                    self.authorized();
                }
            }
            Ok(Verdict::StillValid) if first => {
                let why = "the authenticator answered \"still valid\" for a client that it has not authenticated";
                self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
            Ok(Verdict::StillValid) => self.authorized(),
            Ok(Verdict::Invalid(reason)) if first => {
                self.close(Close::new(
                    CloseCode::ViolatedPolicy,
                    format!("not authenticated: {reason}"),
                ));
            }
            Ok(Verdict::Invalid(_)) => {
                self.authorization.refuse(self.environment.now);
                let most = self.config.max_refused_authorizations;
                if self.authorization.refused > most {
                    let why = format!("more than {most} authorization values were refused");
                    return self.close(Close::new(CloseCode::ViolatedPolicy, why));
                }
                self.hold();
            }
        }
    }

    /// A failure of the authenticator is not a refusal: the session is kept, and the client reconnects.
    pub(super) fn authenticator_failed(&mut self, error: &AuthError) {
        let mut failure = error.to_string();
        append_sources(&mut failure, error.source());
        self.actions
            .push(Action::Failed(Failure::Authenticator(failure)));
        let why = "authentication is not possible now, please reconnect";
        self.close(Close::new(CloseCode::ServiceRestart, why));
    }

    /// Makes this the client's principal from now on. False: that is not allowed.
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
        self.authorization.principal = Some(principal);
        true
    }

    /// The authorization is valid: what was held goes first.
    fn authorized(&mut self) {
        if self.authorization.accept(self.environment.wall) {
            self.doubt_topics();
        }
        self.release_replies();
        if self.authorization.outgoing == Outgoing::Held {
            self.authorization.outgoing = Outgoing::Ask;
        }
        let held = self.authorization.held.take().unwrap_or_default();
        if let Some(pipeline) = &mut self.current {
            pipeline.step = Step::Hello;
            pipeline.put_first(held.envelopes);
        }
    }

    /// The authorization is not valid: what needs it is held, and a new one is requested.
    pub(super) fn hold(&mut self) {
        if self.current.as_ref().is_some_and(|it| it.hello.is_some()) {
            return self.close(Close::new(
                CloseCode::ViolatedPolicy,
                "HELLO a second time on one connection",
            ));
        }
        loop {
            self.fill();
            let Some(pipeline) = self.current.as_mut().filter(|it| !it.is_empty()) else {
                break;
            };
            for envelope in std::mem::take(&mut pipeline.envelopes) {
                if let Err(close) = self.hold_one(envelope) {
                    return self.close(close);
                }
            }
        }
        if self.current.take().is_some() {
            self.ask_for_authorization();
        }
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
        let room = self.environment.incoming_room.checked_sub(bytes);
        if let (Some(room), false) = (room, full) {
            self.environment.incoming_room = room;
            held.messages += 1;
            held.bytes += bytes;
            held.envelopes.push_back(envelope);
        } else if envelope.t.is_reply() {
            // A client does not accept RETRY for a reply, but sends it again after a reconnect.
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
            self.send_now(vec![Envelope::new(MessageType::Reauth)]);
        }
    }

    pub(super) fn outgoing_authenticated(&mut self, verdict: Result<Verdict, AuthError>) {
        match self.authorization.outgoing {
            Outgoing::Asking => {}
            Outgoing::Stale => {
                self.authorization.outgoing = Outgoing::Ask;
                return;
            }
            Outgoing::Ask | Outgoing::Granted | Outgoing::Held => return,
        }
        match self.in_time(verdict) {
            Err(error) => self.authenticator_failed(&error),
            Ok(Verdict::Authenticated(principal)) => {
                if self.adopt(principal) {
                    self.let_out();
                }
            }
            Ok(Verdict::StillValid) => self.let_out(),
            Ok(Verdict::Invalid(_)) => {
                self.authorization.outgoing = Outgoing::Held;
                self.authorization.open_until = 0;
                self.ask_for_authorization();
            }
        }
    }

    /// Whether answers may be sent now. They may if the authorization was checked a moment ago; if a handler took
    /// longer, the authenticator is asked again first.
    pub(super) fn may_reply(&mut self) -> bool {
        let interval = ms(self.config.outgoing_check_interval);
        let has_expired = self.has_expired();
        let authorization = &mut self.authorization;
        if !authorization.is_good() {
            return false;
        }
        if !has_expired && self.environment.now <= authorization.checked_at.saturating_add(interval)
        {
            return true;
        }
        if !std::mem::replace(&mut authorization.asking_for_replies, true) {
            self.actions.push(Action::ReevaluateReplies);
        }
        false
    }

    pub(super) fn replies_authenticated(&mut self, verdict: Result<Verdict, AuthError>) {
        // A newer answer has arrived in the meantime, and applies to what waits.
        if !std::mem::take(&mut self.authorization.asking_for_replies)
            || !self.authorization.is_good()
        {
            return;
        }
        match self.in_time(verdict) {
            Err(error) => self.authenticator_failed(&error),
            Ok(Verdict::Authenticated(principal)) => {
                if self.adopt(principal) {
                    self.release_replies();
                }
            }
            Ok(Verdict::StillValid) => self.release_replies(),
            Ok(Verdict::Invalid(_)) => {
                self.authorization.open_until = 0;
                self.authorization.validity = Validity::Expired;
                self.ask_for_authorization();
            }
        }
    }

    /// The authorization was just found valid: answers that waited for it may be sent.
    fn release_replies(&mut self) {
        self.authorization.checked_at = self.environment.now;
        self.replies.release(self.environment.now);
        self.flush_due();
    }

    fn let_out(&mut self) {
        let interval = ms(self.config.outgoing_check_interval);
        self.authorization.outgoing = Outgoing::Granted;
        self.authorization.open_until = self.environment.now.saturating_add(interval);
    }

    /// This user's authorization was revoked: nothing is handled or delivered until a value is accepted, even if it is
    /// the same one.
    pub(super) fn revoke(&mut self) {
        let asking = matches!(self.waiting, Waiting::Authentication);
        self.authorization.revoke(asking);
        self.ask_for_authorization();
    }
}

/// Whether an envelope requires a valid authorization.
fn needs_authorization(envelope: &Envelope) -> bool {
    envelope.t.is_information_bearing()
        || matches!(envelope.t, MessageType::Sub | MessageType::Unsub)
}
