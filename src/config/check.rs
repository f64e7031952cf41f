//! Rejects configurations with values with which the server would not work, or that contradict each other. [`rule`]
//! has the rules, this file says which of them each field has to obey.

mod rule;

use std::time::Duration;

pub use self::rule::ConfigMistake;

use self::rule::{Check, Field, Value, field, fields};
use super::Config;
use crate::store::StoreConfig;

/// Size of the shortest HELLO with a typical authorization value.
const SHORTEST_HELLO: u64 = 1024;

/// Most threads and connections of a store; a larger value must be a mistake.
const MAX_THREADS: u64 = 1_000;

/// The longest delay for batching: beyond this, the other side would wait too long for the answer.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

impl Config {
    /// Checks for values with which a server would not work, such as a window of zero, and for values that contradict
    /// each other. [`ServerBuilder::start`](crate::ServerBuilder::start) calls this before it opens anything.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn check(&self) -> Result<(), Vec<ConfigMistake>> {
        let mut check = Check::default();
        check.config(self);
        check.store(&self.store);
        match check.mistakes.is_empty() {
            true => Ok(()),
            false => Err(check.mistakes),
        }
    }
}

impl Check {
    /// Every field is named, so that none is added without a decision: one with `_` may have any value.
    fn config(&mut self, config: &Config) {
        let Config {
            max_message_before_hello,
            max_message,
            max_envelope,
            min_receive_rate: _,
            receive_grace: _,
            max_fragment_wait: _,
            hello_timeout,
            max_connections_before_hello,
            max_connections_before_hello_per_address,
            authentication_timeout,
            max_authentications_pending,
            idle_timeout,
            ping_interval,
            max_idle_frames_per_second,
            max_unprocessed,
            max_unsent,
            write_timeout,
            close_timeout,
            max_node_bytes,
            max_user_bytes,
            max_bytes_before_hello,
            max_sessions_per_user,
            close_session_out_of_band: _,
            close_session_grace: _,
            max_topics,
            max_topic_length,
            max_handlers,
            max_handlers_per_user,
            max_ping_payload: _,
            max_inbox,
            max_inbox_bytes,
            max_held,
            max_held_bytes,
            max_held_subscriptions,
            max_received_while_held,
            max_refused_authorizations: _,
            outgoing_check_interval: _,
            topic_check_interval: _,
            position_interval: _,
            allow_user_change: _,
            round,
            window,
            window_bytes,
            acknowledge_timeout,
            max_redeliveries: _,
            redelivery_evidence,
            ack_delay,
            resolve_delay,
            lazy_ack_delay,
            ack2_delay,
            takeover_wait: _,
            store_away_delay: _,
            recent_envelopes: _,
            transaction_limit,
            service_attempts,
            service_backoff,
            service_longest_backoff,
            max_running_per_service,
            max_waiting_per_service: _,
            max_bytes_per_service,
            service_time_limit,
            request_timeout,
            lease,
            lease_interval,
            sweep_interval,
            takeover_interval,
            liveliness_interval,
            timeout_interval,
            session_timeout,
            scavenge_interval,
            topic_history: _,
            max_topic_history: _,
            presence_grace: _,
            presence_interval,
            presence_review_interval,
            dead_letter_age,
            max_dead_letters: _,
            max_dead_letter_bytes: _,
            idempotency,
            stop_delay: _,
            stop_grace: _,
            stop_spread: _,
            reveal_errors: _,
            store: _,
        } = config;
        self.not_zero(&fields![
            max_message,
            max_envelope,
            hello_timeout,
            max_connections_before_hello,
            max_connections_before_hello_per_address,
            authentication_timeout,
            max_authentications_pending,
            idle_timeout,
            ping_interval,
            max_idle_frames_per_second,
            max_unprocessed,
            max_unsent,
            write_timeout,
            close_timeout,
            max_node_bytes,
            max_user_bytes,
            max_bytes_before_hello,
            max_sessions_per_user,
            max_topic_length,
            max_handlers,
            max_handlers_per_user,
            max_inbox,
            max_inbox_bytes,
            max_held,
            max_held_subscriptions,
            max_received_while_held,
            round,
            window,
            window_bytes,
            acknowledge_timeout,
            transaction_limit,
            service_attempts,
            service_backoff,
            max_running_per_service,
            max_bytes_per_service,
            service_time_limit,
            request_timeout,
            lease,
            lease_interval,
            sweep_interval,
            takeover_interval,
            liveliness_interval,
            timeout_interval,
            session_timeout,
            scavenge_interval,
            presence_interval,
            presence_review_interval,
            dead_letter_age,
            idempotency,
        ]);
        self.at_least(
            field!(max_message_before_hello),
            Value::Number(SHORTEST_HELLO),
            "a HELLO with its authorization value does not fit",
        );
        for delay in fields![ack_delay, resolve_delay, lazy_ack_delay, ack2_delay] {
            self.at_most(
                delay,
                Value::Time(LONGEST_DELAY),
                "answers would be delayed for too long",
            );
        }
        self.ordered(
            field!(max_message_before_hello),
            field!(max_message),
            "a HELLO may be longer than any message after it",
        );
        self.ordered(
            field!(max_message_before_hello),
            field!(max_bytes_before_hello),
            "there would never be room for a HELLO of that length",
        );
        self.ordered(
            field!(max_message),
            field!(max_user_bytes),
            "there would never be room for a message of that length",
        );
        for part in fields![
            max_message,
            max_unprocessed,
            max_unsent,
            max_held_bytes,
            window_bytes,
        ] {
            self.ordered(
                part,
                field!(max_node_bytes),
                "a single connection would take more than the whole node may hold",
            );
        }
        self.ordered(
            field!(service_backoff),
            field!(service_longest_backoff),
            "the first wait would be longer than the longest",
        );
        self.shorter(
            field!(ping_interval),
            1,
            field!(idle_timeout),
            "idle clients would be disconnected before they are pinged",
        );
        self.shorter(
            field!(lease_interval),
            2,
            field!(lease),
            "a single late renewal would lose the lease",
        );
        self.shorter(
            field!(liveliness_interval),
            2,
            field!(session_timeout),
            "sessions of connected clients would time out",
        );
        self.ordered(
            field!(redelivery_evidence),
            field!(acknowledge_timeout),
            "what a client never acknowledges never counts as delivered, and is never given up",
        );
        self.ordered(
            field!(max_held),
            field!(max_received_while_held),
            "the connection would be closed before that many are held",
        );
        self.ordered(
            field!(max_topics),
            field!(max_held_subscriptions),
            "a client that subscribes again to all its topics is closed while its authorization is awaited",
        );
    }

    fn store(&mut self, config: &StoreConfig) {
        let StoreConfig {
            batch,
            queue,
            // May exceed the size of the queue, which is then the limit.
            queue_per_user,
            queue_wait: _,
            writers,
            handlers,
            readers,
            busy_timeout,
            answer_timeout,
            max_outbox,
            max_values_per_topic,
            max_kept_per_user,
            max_kept_bytes_per_user,
            max_forwarded_per_session,
            max_forwarded_per_user,
            max_forwarded_bytes_per_user,
            max_outbox_bytes,
            max_outbox_bytes_per_user,
        } = config;
        self.not_zero(&[
            field!(store.batch),
            field!(store.queue),
            field!(store.queue_per_user),
            field!(store.writers),
            field!(store.handlers),
            field!(store.readers),
            field!(store.busy_timeout),
            field!(store.answer_timeout),
            field!(store.max_outbox),
            field!(store.max_values_per_topic),
            field!(store.max_kept_per_user),
            field!(store.max_kept_bytes_per_user),
            field!(store.max_forwarded_per_session),
            field!(store.max_forwarded_per_user),
            field!(store.max_forwarded_bytes_per_user),
            field!(store.max_outbox_bytes),
            field!(store.max_outbox_bytes_per_user),
        ]);
        for threads in [
            field!(store.writers),
            field!(store.handlers),
            field!(store.readers),
        ] {
            self.at_most(
                threads,
                Value::Number(MAX_THREADS),
                "each is a thread with a connection to the database",
            );
        }
    }
}

#[cfg(test)]
mod tests;
