//! The rights to topics: checked again while a subscription lasts, and revoked.

use super::subscribing::ASKED_AT_A_TIME;
use super::{Action, State};
use crate::auth::AuthError;
use crate::registry::Revocation;

impl State {
    /// Another authorization value was accepted: the rights to topics are checked again, and nothing more is sent on a
    /// topic before the answer.
    pub(super) fn doubt_topics(&mut self) {
        for topic in self.topics_in_force() {
            self.doubt_topic(topic);
        }
    }

    pub(super) fn doubt_topic(&mut self, topic: String) {
        if let Some(subscription) = self.topics.topics.get_mut(&topic) {
            subscription.doubtful = true;
            self.check_topic(topic);
        }
    }

    fn topics_in_force(&self) -> Vec<String> {
        let topics = self.topics.topics.iter();
        topics
            .filter(|(_, subscription)| subscription.is_in_force())
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    fn check_topic(&mut self, topic: String) {
        self.topics.more().to_check.insert(topic);
    }

    /// The interval begins with the first subscription.
    pub(super) fn check_topics_later(&mut self) {
        let interval = self.config.topic_check_interval.as_millis();
        match i64::try_from(interval) {
            Ok(0) | Err(_) => {}
            Ok(interval) => {
                let at = self.environment.now.saturating_add(interval);
                self.topics.more().check_at.get_or_insert(at);
            }
        }
    }

    /// Starts a check of all topics if it is due. They continue in the meantime.
    pub(super) fn check_topics_due(&mut self) {
        let now = self.environment.now;
        if self.topics.check_at().is_some_and(|at| at <= now) {
            self.topics.more().check_at = None;
            for topic in self.topics_in_force() {
                self.check_topic(topic);
            }
            self.check_topics_later();
        }
    }

    /// Asks about the next topics, a few at a time. Without a valid authorization there is no user to ask about.
    pub(super) fn check_next_topics(&mut self) {
        if self.ended || !self.authorization.is_good() {
            return;
        }
        let Some(more) = self.topics.if_more() else {
            return;
        };
        // With two questions about the same topic, it would be unclear which answer counts.
        while more.checking.len() < ASKED_AT_A_TIME
            && let Some(topic) = more.to_check.difference(&more.checking).next().cloned()
        {
            more.to_check.remove(&topic);
            more.checking.insert(topic.clone());
            self.actions.push(Action::CheckTopic(topic));
        }
    }

    pub(super) fn topic_checked(&mut self, topic: String, allowed: Result<bool, AuthError>) {
        if let Some(more) = self.topics.if_more() {
            more.checking.remove(&topic);
        }
        let again = self.topics.peek_more();
        let again = again.is_some_and(|more| more.to_check.contains(&topic));
        match allowed {
            Err(error) => self.authenticator_failed(&error),
            // The right came into doubt again after the question was asked.
            Ok(_) if again => {}
            Ok(false) => self.withdraw_topic(topic),
            Ok(true) => {
                if let Some(subscription) = self.topics.topics.get_mut(&topic) {
                    subscription.doubtful = false;
                }
            }
        }
    }

    /// The application has revoked a user's authorization, or the user's right to a topic.
    pub(super) fn revoked(&mut self, revocation: &Revocation) {
        if self.principal().is_none() || self.user_id() != revocation.user_id {
            return;
        }
        match &revocation.topic {
            None => {
                self.revoke();
                self.doubt_topics();
            }
            Some(topic) => self.withdraw_topic(topic.clone()),
        }
    }
}
