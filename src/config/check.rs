//! Rejects configurations with values with which the server would not work, or that contradict each other.

use std::fmt;
use std::time::Duration;

use super::Config;
use crate::store::StoreConfig;

/// What is wrong with a [`Config`]. Its text names each field with its value, and says why the value is unusable and
/// what to set instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigMistake {
    /// The affected fields, as named in [`Config`]; those of its `store` start with `store.`.
    pub fields: Vec<&'static str>,
    text: String,
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for ConfigMistake {}

/// Size of the shortest HELLO with a typical authorization value.
const SHORTEST_HELLO: u64 = 1024;

/// Most threads and connections of a store; a larger value must be a mistake.
const MAX_THREADS: u64 = 1_000;

/// The longest delay for batching: beyond this, the other side would wait too long for the answer.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The value of a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(u64),
    Time(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(out, "{number}"),
            Value::Time(Duration::ZERO) => out.write_str("0s"),
            Value::Time(time) => write!(out, "{time:?}"),
        }
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Value {
        Value::Time(time)
    }
}

/// A field and its value.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    value: Value,
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {}", self.name, self.value)
    }
}

/// A [`Field`], by the variable that holds a reference to its value.
macro_rules! field {
    ($field:ident) => {
        Field {
            name: stringify!($field),
            value: Value::from(*$field),
        }
    };
    (store.$field:ident) => {
        Field {
            name: concat!("store.", stringify!($field)),
            value: Value::from(*$field),
        }
    };
}

/// The same for several fields.
macro_rules! fields {
    ($($field:ident),* $(,)?) => {
        [$(field!($field)),*]
    };
}

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

#[derive(Default)]
struct Check {
    mistakes: Vec<ConfigMistake>,
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
            max_lines_before_hello,
            max_lines_before_hello_per_address,
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
            max_lines_before_hello,
            max_lines_before_hello_per_address,
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

    fn not_zero(&mut self, fields: &[Field]) {
        for &field in fields {
            let least = match field.value {
                Value::Number(_) => Value::Number(1),
                // The server's resolution of time.
                Value::Time(_) => Value::Time(Duration::from_millis(1)),
            };
            if field.value < least {
                self.add(&[field], format!("{field} must be at least {least}"));
            }
        }
    }

    fn at_least(&mut self, field: Field, least: Value, because: &str) {
        if field.value < least {
            let text = format!("{field} must be at least {least}, or {because}");
            self.add(&[field], text);
        }
    }

    fn at_most(&mut self, field: Field, most: Value, because: &str) {
        if field.value > most {
            let text = format!("{field} must be at most {most}: {because}");
            self.add(&[field], text);
        }
    }

    /// Requires `smaller <= larger`.
    fn ordered(&mut self, smaller: Field, larger: Field, because: &str) {
        if smaller.value > larger.value {
            self.contradiction(smaller, "must not be more than", larger, because);
        }
    }

    /// Requires `interval * times < limit`.
    fn shorter(&mut self, interval: Field, times: u32, limit: Field, because: &str) {
        let (Value::Time(short), Value::Time(long)) = (interval.value, limit.value) else {
            return;
        };
        if short.saturating_mul(times) >= long {
            let must = match times {
                1 => "must be shorter than",
                _ => "must be shorter than half of",
            };
            self.contradiction(interval, must, limit, because);
        }
    }

    /// If the larger one is zero, that is the mistake, which is already reported.
    fn contradiction(&mut self, smaller: Field, must: &str, larger: Field, because: &str) {
        if matches!(larger.value, Value::Number(0) | Value::Time(Duration::ZERO)) {
            return;
        }
        let (small, large) = (smaller.name, larger.name);
        self.add(
            &[smaller, larger],
            format!("{smaller} {must} {larger}, or {because}: lower {small}, or raise {large}"),
        );
    }

    fn add(&mut self, fields: &[Field], text: String) {
        let fields = fields.iter().map(|field| field.name).collect();
        self.mistakes.push(ConfigMistake { fields, text });
    }
}

#[cfg(test)]
mod tests;
