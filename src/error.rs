//! The public error types.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::store::StoreError;
use crate::store::operation::FullOutbox;
use crate::wire::InvalidId;

/// A message that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// An id (session, trace, endpoint, topic …) is empty, too long, or has control characters. Correct the id:
    /// retrying does not help.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
    /// The message has a [time to live](crate::Destination::time_to_live) of zero. Nothing was stored.
    #[error(
        "the message for {0} has a time to live of zero, so it would never be delivered: give a longer one, or none"
    )]
    NoTimeToLive(String),
    /// The session does not exist: it was closed or has timed out. Nothing was stored.
    #[error("there is no session {0}: it was closed or has timed out")]
    NoSession(String),
    /// The limit on messages (or their bytes) waiting for the session, or for its user, has been reached. Nothing was
    /// stored; try again when the client has reconnected.
    #[error(transparent)]
    OutboxFull(#[from] FullOutbox),
    /// There is no reply terminator or service with this name on this server. Nothing was stored.
    #[error("{0}")]
    Unknown(String),
    /// The reply token does not name work that is waiting for a reply: it was already replied to or given up.
    #[error("the reply token does not name work that waits for a reply")]
    AlreadyReplied,
    /// The store failed. After [`StoreError::Unknown`] the message may have been stored: repeat the call with the same
    /// idempotency key; after any other error nothing was stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong. The text says what is wrong and what to do.
    #[error("{0}")]
    Configuration(String),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a node is not ready to serve. Its text is safe to show to anyone: details, which may name hosts and roles, are
/// only logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum NotReady {
    /// The node does not hold its lease: the store has been unavailable for too long.
    StoreAway,
    /// The server is being stopped.
    Stopping,
    /// The server has stopped.
    Stopped,
    /// Writes to the store do not complete.
    StoreNotWritable,
    /// Reads from the store do not complete.
    StoreNotReadable,
    /// The database is full, read-only, or refuses to store anything.
    StoreRefuses,
    /// The connection on which the node receives notices from other nodes is down.
    CannotHearOthers,
}

impl NotReady {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            NotReady::StoreAway => "the store is unavailable",
            NotReady::Stopping => "the server is stopping",
            NotReady::Stopped => "the server has stopped",
            NotReady::StoreNotWritable => "the store cannot be written to",
            NotReady::StoreNotReadable => "the store cannot be read",
            NotReady::StoreRefuses => {
                "the database is full, read-only, or refuses to store anything"
            }
            NotReady::CannotHearOthers => {
                "the node receives no notices from other nodes: its LISTEN connection is down"
            }
        }
    }
}

/// A handler's failure.
///
/// `?` creates one from anything that converts into `Box<dyn Error + Send + Sync>`: an error that can be sent between
/// threads, a boxed one, `anyhow::Error`, a `String` or a `&str`. For other errors there is
/// [`from_error`](HandlerError::from_error).
///
/// The error and its sources are logged. The client only learns that the handler failed, unless the error was created
/// by [`public`](HandlerError::public) or [`Config::reveal_errors`](crate::Config::reveal_errors) is set.
///
/// ```
/// use matssocket::{HandlerError, Incoming, Outcome};
///
/// async fn place(order: Incoming<String>) -> Result<Outcome<u32>, HandlerError> {
///     let pieces: u32 = order.payload.parse()?; // an error type
///     if pieces == 0 {
///         return Err("an order of nothing".into()); // text, for the log
///     }
///     if pieces > 100 {
///         return Err(HandlerError::public("at most 100 pieces")); // text, for the client
///     }
///     store(pieces)?; // a boxed error
///     Ok(Outcome::resolve(pieces))
/// }
///
/// fn store(pieces: u32) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// #   let _ = pieces;
///     Err(format!("no room for {pieces}").into())
/// }
/// # let _ = place;
/// ```
pub struct HandlerError {
    message: String,
    /// Logged after the message.
    source: Option<BoxedError>,
    audience: Audience,
}

type BoxedError = Box<dyn Error + Send + Sync>;

/// Whom an error's message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Log,
    Client,
    /// The client, whose mistake it is; the handler did not fail.
    ClientAtFault,
}

impl HandlerError {
    /// A failure whose text is sent to the client.
    pub fn public(text: impl Into<String>) -> HandlerError {
        HandlerError::new(text, Audience::Client)
    }

    /// A failure whose text is only logged.
    pub fn internal(text: impl Into<String>) -> HandlerError {
        HandlerError::new(text, Audience::Log)
    }

    /// Creates a failure from an error that cannot be sent between threads or that borrows, such as `Box<dyn Error>` or
    /// a `PoisonError`. It keeps only the texts of the error and its sources, which are logged.
    ///
    /// ```
    /// use std::error::Error;
    /// use matssocket::HandlerError;
    ///
    /// fn legacy() -> Result<u32, Box<dyn Error>> {
    ///     Ok("12".parse()?)
    /// }
    ///
    /// fn total() -> Result<u32, HandlerError> {
    ///     let first = legacy().map_err(|error| HandlerError::from_error(&*error))?;
    ///     Ok(first + 5)
    /// }
    /// # assert_eq!(total().unwrap(), 17);
    /// ```
    pub fn from_error(error: &dyn Error) -> HandlerError {
        let mut text = error.to_string();
        append_sources(&mut text, error.source());
        HandlerError::internal(text)
    }

    /// The same failure, caused by this error. The log shows the error and its sources after the text; the client does
    /// not see them.
    ///
    /// ```
    /// use matssocket::HandlerError;
    ///
    /// fn rate(text: &str) -> Result<f64, HandlerError> {
    ///     text.parse::<f64>()
    ///         .map_err(|error| HandlerError::public("no rate for today").with_source(error))
    /// }
    /// assert_eq!(rate("?").unwrap_err().to_string(), "no rate for today: invalid float literal");
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> HandlerError {
        self.source = Some(source.into());
        self
    }

    /// The error that this failure was created from or [caused by](Self::with_source), if any.
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    fn new(text: impl Into<String>, audience: Audience) -> HandlerError {
        HandlerError {
            message: text.into(),
            source: None,
            audience,
        }
    }

    /// The client sent something unacceptable: a mistake of its own, not a failure of the handler.
    pub(crate) fn of_client(text: impl Into<String>) -> HandlerError {
        HandlerError::new(text, Audience::ClientAtFault)
    }

    /// Whether the client has made a mistake, not the handler.
    pub(crate) fn is_of_client(&self) -> bool {
        self.audience == Audience::ClientAtFault
    }

    /// The text for the client.
    pub(crate) fn for_client(&self, reveal: bool) -> Cow<'_, str> {
        match self.audience {
            _ if reveal => Cow::Owned(self.to_string()),
            Audience::Client | Audience::ClientAtFault => Cow::Borrowed(&self.message),
            Audience::Log => Cow::Borrowed("the handler failed"),
        }
    }
}

/// The text for the log: that of the failure, then that of each source, separated by colons.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.message.clone();
        let source = self.source.as_deref();
        append_sources(&mut text, source.map(|source| source as &dyn Error));
        f.write_str(&text)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("message", &self.message)
            .field("source", &self.source)
            .field("is_public", &(self.audience != Audience::Log))
            .finish()
    }
}

// `HandlerError` does not implement `std::error::Error`, so that this can cover every error.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        let source = error.into();
        HandlerError::internal(source.to_string()).with_source(source)
    }
}

/// Appends the texts of an error and its sources. Many errors quote their source: a text that is already included is
/// not repeated.
pub(crate) fn append_sources(text: &mut String, mut source: Option<&dyn Error>) {
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no invoice")]
    struct NoInvoice(#[source] std::num::ParseIntError);

    fn no_invoice() -> NoInvoice {
        NoInvoice("x".parse::<u8>().unwrap_err())
    }

    const CHAIN: &str = "no invoice: invalid digit found in string";

    fn failed(attempt: impl FnOnce() -> Result<(), HandlerError>) -> HandlerError {
        attempt().expect_err("it fails")
    }

    #[test]
    fn question_mark_takes_errors_boxed_errors_and_text() {
        let error = failed(|| Err(no_invoice())?);
        assert_eq!(error.to_string(), CHAIN);
        let source = error.source().expect("it was made of one");
        assert!(source.is::<NoInvoice>());

        let boxed = || -> Result<(), BoxedError> { Err(no_invoice())? };
        assert_eq!(failed(|| Ok(boxed()?)).to_string(), CHAIN);
        assert_eq!(failed(|| Err("text")?).to_string(), "text");
        assert_eq!(failed(|| Err(String::from("text"))?).to_string(), "text");
        assert_eq!(failed(|| Err(Cow::from("text"))?).to_string(), "text");
        let anyhow =
            || -> anyhow::Result<()> { Err(anyhow::anyhow!(no_invoice()).context("July")) };
        assert_eq!(
            failed(|| Ok(anyhow()?)).to_string(),
            format!("July: {CHAIN}")
        );
    }

    #[test]
    fn an_error_that_is_not_send_leaves_its_texts() {
        let error: Box<dyn Error> = Box::new(no_invoice());
        assert_eq!(HandlerError::from_error(&*error).to_string(), CHAIN);
    }

    #[test]
    fn the_client_is_told_what_is_public_and_all_only_where_errors_are_revealed() {
        let internal = HandlerError::from(no_invoice());
        assert_eq!(internal.for_client(false), "the handler failed");
        assert_eq!(internal.for_client(true), CHAIN);
        let public = HandlerError::public("not now").with_source(no_invoice());
        assert_eq!(public.for_client(false), "not now");
        assert_eq!(public.for_client(true), format!("not now: {CHAIN}"));
        assert!(!public.is_of_client() && HandlerError::of_client("no").is_of_client());
    }

    #[test]
    fn a_source_that_the_text_quotes_is_not_repeated() {
        let quoting = SendError::from(serde_json::from_str::<u8>("x").unwrap_err());
        assert_eq!(
            HandlerError::from_error(&quoting).to_string(),
            quoting.to_string()
        );
    }
}
