//! Spans: what happens to one message, from socket to commit to delivery, for those who listen through `tracing`.
//!
//! Without the feature `tracing`, nothing here does or costs anything. With it, a span is made only while somebody listens.
//! Spans never hold a payload or an authorization value; `docs/logging.md` lists them and their fields.

use std::collections::HashMap;

use crate::wire::MessageType;
#[cfg(feature = "tracing")]
use crate::wire::shown;

/// A message, as its span shows it. Ids that clients choose are escaped and shortened as in log lines.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), allow(dead_code))] // read by spans only
pub(crate) struct About<'a> {
    pub(crate) kind: MessageType,
    /// The endpoint or terminator; `None` for a reply, which names none.
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) session_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) trace_id: &'a str,
    /// The sender's id of it.
    pub(crate) message_id: Option<&'a str>,
}

/// A span, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Trace(#[cfg(feature = "tracing")] tracing::Span);

/// Fields by which spans of one kind differ from others come first.
#[cfg(feature = "tracing")]
macro_rules! span_about {
    ($name:literal, $about:expr $(, $field:ident = $value:expr)*) => {{
        let about: About<'_> = $about;
        tracing::info_span!(
            target: "matssocket",
            // What happens to run it has often nothing to do with it.
            parent: None,
            $name,
            $($field = $value,)*
            "type" = about.kind.name(),
            endpoint = about.endpoint.map(shown).as_deref(),
            session_id = about.session_id,
            user_id = &*shown(about.user_id),
            trace_id = &*shown(about.trace_id),
            message_id = about.message_id.map(shown).as_deref(),
            outcome = tracing::field::Empty,
        )
    }};
}

impl Trace {
    /// Nothing.
    pub(crate) fn none() -> Trace {
        Trace(
            #[cfg(feature = "tracing")]
            tracing::Span::none(),
        )
    }

    /// Whether somebody listens.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn is_on() -> bool {
        false
    }

    /// Whether somebody listens. If not, no span is made: `tracing` would write each to the crate `log`.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_on() -> bool {
        use tracing::subscriber::NoSubscriber;
        tracing::dispatcher::get_default(|listener| !listener.is::<NoSubscriber>())
    }

    /// The span of a message from a client: from when it may be handled until its answer is handed to its connection.
    pub(crate) fn message(about: About<'_>) -> Trace {
        #[cfg(feature = "tracing")]
        if Trace::is_on() {
            return Trace(span_about!("message", about));
        }
        let _ = about;
        Trace::none()
    }

    /// The span of an attempt of a service, with its number, from 1.
    pub(crate) fn attempt(about: About<'_>, service: &str, attempt: u32) -> Trace {
        #[cfg(feature = "tracing")]
        if Trace::is_on() {
            return Trace(span_about!(
                "attempt",
                about,
                service = &*shown(service),
                attempt = attempt
            ));
        }
        let _ = (about, service, attempt);
        Trace::none()
    }

    /// The span of a message to a client: from when it is sent on a connection until it is acknowledged, or the
    /// connection ends.
    pub(crate) fn delivery(about: About<'_>) -> Trace {
        #[cfg(feature = "tracing")]
        if Trace::is_on() {
            return Trace(span_about!("delivery", about));
        }
        let _ = about;
        Trace::none()
    }

    /// Within this one, the span of the handler's own work.
    pub(crate) fn handler(&self) -> Trace {
        Trace(
            #[cfg(feature = "tracing")]
            match self.0.is_none() {
                true => tracing::Span::none(),
                false => {
                    tracing::debug_span!(target: "matssocket", parent: &self.0, "handler")
                }
            },
        )
    }

    /// Within this one, the span of waiting for the store to commit.
    pub(crate) fn commit(&self) -> Trace {
        Trace(
            #[cfg(feature = "tracing")]
            match self.0.is_none() {
                true => tracing::Span::none(),
                false => tracing::debug_span!(target: "matssocket", parent: &self.0, "commit"),
            },
        )
    }

    /// The span that this code runs in, if there is one.
    pub(crate) fn current() -> Trace {
        Trace(
            #[cfg(feature = "tracing")]
            tracing::Span::current(),
        )
    }

    /// Records how it ended.
    pub(crate) fn ended(&self, outcome: &'static str) {
        #[cfg(feature = "tracing")]
        if !self.0.is_none() {
            self.0.record("outcome", outcome);
        }
        let _ = outcome;
    }

    /// Runs a future inside the span.
    #[cfg(not(feature = "tracing"))]
    pub(crate) fn run<F: Future>(&self, future: F) -> F {
        future
    }

    /// Runs a future inside the span.
    #[cfg(feature = "tracing")]
    pub(crate) fn run<F: Future>(&self, future: F) -> tracing::instrument::Instrumented<F> {
        tracing::Instrument::instrument(future, self.0.clone())
    }

    /// Calls a function inside the span.
    pub(crate) fn enter<R>(&self, call: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tracing")]
        let _entered = self.0.enter();
        call()
    }
}

/// The spans of what a session has sent and its client has not acknowledged, by sequence number. No more than the window.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // a pointer only, since there are many idle sessions
pub(crate) struct Deliveries(Option<Box<HashMap<i64, Trace>>>);

impl Deliveries {
    /// A message is on its way.
    pub(crate) fn begin(&mut self, seq: i64, about: About<'_>) {
        let open = self.0.get_or_insert_default();
        open.insert(seq, Trace::delivery(about));
    }

    /// These are not on their way any more.
    pub(crate) fn end(&mut self, seqs: &[i64], outcome: &'static str) {
        let Some(open) = &mut self.0 else { return };
        for trace in seqs.iter().filter_map(|seq| open.remove(seq)) {
            trace.ended(outcome);
        }
    }
}

/// The connection has ended.
impl Drop for Deliveries {
    fn drop(&mut self) {
        for trace in self
            .0
            .take()
            .into_iter()
            .flat_map(|open| open.into_values())
        {
            trace.ended("unacknowledged");
        }
    }
}
