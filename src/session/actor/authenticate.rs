//! Calls the authenticator. Each call has a time limit, and is cancelled when the connection ends.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::Context;
use futures_util::FutureExt;

use super::super::state::Event;
use crate::auth::{AuthError, Verdict};
use crate::clock::wall_time;
use crate::endpoint::panicked;
use crate::seldom::log_seldom;

use super::{Happened, Session};

impl Session {
    /// Most authenticators answer at once: then no task is needed. A panic counts as a failure, and so does a timeout.
    /// `first`: the client has not been authenticated yet.
    fn ask<T: 'static>(
        &mut self,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
        question: impl Future<Output = Result<T, AuthError>> + 'static,
        first: bool,
        event: impl FnOnce(Result<T, AuthError>) -> Event + 'static,
    ) {
        let answer = AssertUnwindSafe(question).catch_unwind().map(|answer| {
            answer.unwrap_or_else(|panic| Err(AuthError::new(panicked(panic).to_string())))
        });
        let mut answer = Box::pin(answer);
        match answer
            .as_mut()
            .poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => events.push_back(event(answer)),
            Poll::Pending => {
                // Unauthenticated clients must not keep an identity provider busy without bound.
                let permit = first.then(|| self.node.authentications.enter());
                if let Some(None) = permit {
                    let why = "too many logins are under way (max_authentications_pending)";
                    return events.push_back(event(Err(AuthError::new(why))));
                }
                let limit = self.node.config.authentication_timeout;
                let me = self.mailbox(ctx);
                let waits = actix::spawn(async move {
                    let answer = tokio::time::timeout(limit, answer).await;
                    drop(permit);
                    let late = |_| Err(AuthError::new(format!("no answer within {limit:?}")));
                    me.tell(Happened(event(answer.unwrap_or_else(late))));
                });
                self.asking.retain(|question| !question.is_finished());
                self.asking.push(waits.abort_handle());
            }
        }
    }

    /// Tells the authenticator that the connection has its session.
    pub(super) fn tell_authenticator(&self) {
        let state = &self.state;
        if let (Some(identity), Some(client), Some(principal)) =
            (state.identity(), state.client(), state.principal())
        {
            let tell = || {
                self.authenticator
                    .connected(&identity.sid, client, principal)
            };
            if std::panic::catch_unwind(AssertUnwindSafe(tell)).is_err() {
                log_seldom!(
                    error,
                    "an authenticator panicked when it was told of a connection"
                );
            }
        }
    }

    /// Authenticates the connection's first value.
    pub(super) fn authenticate(&mut self, events: &mut VecDeque<Event>, ctx: &Context<Self>) {
        self.revocations = self.node.revocations.load(Ordering::Acquire);
        let authenticator = self.authenticator.clone();
        let Some(offered) = self.state.offered_authorization().map(str::to_owned) else {
            return;
        };
        let question = async move { authenticator.authenticate(&offered).await };
        self.ask(events, ctx, question, true, Event::Authenticated);
    }

    /// Authenticates another value, or checks whether the accepted one is still valid.
    pub(super) fn reevaluate(
        &mut self,
        changed: bool,
        event: fn(Result<Verdict, AuthError>) -> Event,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        let authenticator = self.authenticator.clone();
        let offered = self.state.offered_authorization().map(str::to_owned);
        let accepted = self.state.accepted_authorization().map(str::to_owned);
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let question = async move {
            match (offered, accepted) {
                (Some(offered), accepted) if changed => {
                    let accepted = accepted.as_deref();
                    authenticator
                        .reauthenticate(&offered, accepted, &principal)
                        .await
                }
                (_, Some(accepted)) => authenticator.reevaluate(&accepted, &principal).await,
                (_, None) => Ok(Verdict::Invalid("it was revoked".into())),
            }
        };
        self.ask(events, ctx, question, false, event);
    }

    pub(super) fn reevaluate_outgoing(
        &mut self,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        let authenticator = self.authenticator.clone();
        let accepted = self.state.accepted_authorization().map(str::to_owned);
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let last_valid = wall_time(self.state.last_valid());
        let question = async move {
            match accepted {
                Some(accepted) => {
                    authenticator
                        .reevaluate_outgoing(&accepted, &principal, last_valid)
                        .await
                }
                None => Ok(Verdict::Invalid("it was revoked".into())),
            }
        };
        self.ask(events, ctx, question, false, Event::OutgoingAuthenticated);
    }

    pub(super) fn authorize_topic(
        &mut self,
        topic: String,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        self.ask_about_topic(topic, events, ctx, |topic, allowed| {
            Event::TopicAuthorized { topic, allowed }
        });
    }

    /// Checks again whether the user may be subscribed to a topic.
    pub(super) fn check_topic(
        &mut self,
        topic: String,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        self.ask_about_topic(topic, events, ctx, |topic, allowed| Event::TopicChecked {
            topic,
            allowed,
        });
    }

    fn ask_about_topic(
        &mut self,
        topic: String,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
        event: fn(String, Result<bool, AuthError>) -> Event,
    ) {
        let authenticator = self.authenticator.clone();
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let asked = topic.clone();
        let question = async move { authenticator.authorize_topic(&asked, &principal).await };
        self.ask(events, ctx, question, false, move |allowed| {
            event(topic, allowed)
        });
    }
}
