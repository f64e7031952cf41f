//! Asking the authenticator.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::Context;
use futures_util::FutureExt;

use super::super::state::Event;
use crate::auth::{AuthError, Verdict};
use crate::endpoint::panicked;

use super::Session;

impl Session {
    /// Most authenticators answer at once: then no task is needed. A panic is a failure.
    pub(super) fn ask<T: 'static>(
        &self,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
        question: impl Future<Output = Result<T, AuthError>> + 'static,
        event: fn(Result<T, AuthError>) -> Event,
    ) {
        let answer = AssertUnwindSafe(question).catch_unwind().map(|answer| {
            answer.unwrap_or_else(|panic| Err(AuthError(panicked(panic).text().to_owned())))
        });
        let mut answer = Box::pin(answer);
        match answer
            .as_mut()
            .poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => events.push_back(event(answer)),
            Poll::Pending => self.later(ctx, answer.map(event)),
        }
    }

    pub(super) fn authenticate(
        &self,
        first: bool,
        changed: bool,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        let authenticator = self.authenticator.clone();
        let value = self
            .state
            .authorization_value()
            .unwrap_or_default()
            .to_owned();
        let principal = self.state.principal().cloned();
        let question = async move {
            match principal {
                Some(principal) if !first => {
                    authenticator.reevaluate(&value, changed, &principal).await
                }
                Some(_) | None => authenticator.authenticate(&value).await,
            }
        };
        self.ask(events, ctx, question, Event::Authenticated);
    }

    pub(super) fn reevaluate_outgoing(&self, events: &mut VecDeque<Event>, ctx: &Context<Self>) {
        let authenticator = self.authenticator.clone();
        let value = self
            .state
            .authorization_value()
            .unwrap_or_default()
            .to_owned();
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let last_valid = self.state.last_valid();
        let question = async move {
            authenticator
                .reevaluate_outgoing(&value, &principal, last_valid)
                .await
        };
        self.ask::<Verdict>(events, ctx, question, Event::OutgoingAuthenticated);
    }

    pub(super) fn authorize_topic(
        &self,
        topic: String,
        events: &mut VecDeque<Event>,
        ctx: &Context<Self>,
    ) {
        let authenticator = self.authenticator.clone();
        let Some(principal) = self.state.principal().cloned() else {
            return;
        };
        let question = async move { authenticator.authorize_topic(&topic, &principal).await };
        self.ask(events, ctx, question, Event::TopicAuthorized);
    }
}
