//! What the server says of itself: log records through the crate `log`, or events through `tracing` if that feature is
//! on; never both.
//!
//! Each macro takes what `format!` takes, and before it, if a machine may look for them, fields for `tracing`, each with
//! something that implements `Display`, and a semicolon:
//!
//! ```ignore
//! logging::info!(session_id = sid, user_id = shown(user); "session {sid} of user {} was closed", shown(user));
//! ```
//!
//! The text alone says everything, since `log` shows nothing else. `docs/logging.md` lists all events, and a test
//! compares the list with the code. A level is chosen by what an operator should do: `error` needs somebody, `warn` heals or
//! is refused but should be looked into, `info` is a change of the server's own state, `debug` is about single sessions
//! and messages.

#[cfg(not(feature = "tracing"))]
macro_rules! write_event {
    ($level:ident: $($field:ident = $value:expr),+; $($words:tt)+) => {
        {
            // Not evaluated: the text says it all.
            let _ = || [$(&$value as &dyn std::fmt::Display),+];
            log::$level!($($words)+)
        }
    };
    ($level:ident: $($words:tt)+) => { log::$level!($($words)+) };
}

#[cfg(feature = "tracing")]
macro_rules! write_event {
    ($level:ident: $($field:ident = $value:expr),+; $($words:tt)+) => {
        tracing::$level!($($field = %$value),+, $($words)+)
    };
    ($level:ident: $($words:tt)+) => { tracing::$level!($($words)+) };
}

pub(crate) use write_event;

/// Somebody has to look at it.
macro_rules! error_event {
    ($($words:tt)+) => { $crate::logging::write_event!(error: $($words)+) };
}

/// It heals, or was refused, but has a cause that should be looked into.
macro_rules! warn_event {
    ($($words:tt)+) => { $crate::logging::write_event!(warn: $($words)+) };
}

/// The server's own state has changed.
macro_rules! info_event {
    ($($words:tt)+) => { $crate::logging::write_event!(info: $($words)+) };
}

/// About single sessions, connections and messages.
macro_rules! debug_event {
    ($($words:tt)+) => { $crate::logging::write_event!(debug: $($words)+) };
}

/// About single steps.
macro_rules! trace_event {
    ($($words:tt)+) => { $crate::logging::write_event!(trace: $($words)+) };
}

/// Whether anybody would see an event of this level from here, to save the work of making it.
#[cfg(not(feature = "tracing"))]
macro_rules! is_on {
    (debug) => {
        log::log_enabled!(log::Level::Debug)
    };
}

/// Whether anybody would see an event of this level from here, to save the work of making it.
#[cfg(feature = "tracing")]
macro_rules! is_on {
    (debug) => {
        tracing::event_enabled!(tracing::Level::DEBUG) || log::log_enabled!(log::Level::Debug)
    };
}

pub(crate) use is_on;

// Not defined under these names, which are also those of attributes.
pub(crate) use {
    debug_event as debug, error_event as error, info_event as info, trace_event as trace,
    warn_event as warn,
};
