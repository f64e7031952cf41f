//! The protocol as data: envelopes, pipelines, ids, close codes, debug options.
//!
//! Nothing here does I/O, knows an actor, a database or a clock.

mod close;
mod coalesce;
mod debug;
mod envelope;
mod id;
mod message_type;
mod pipeline;
mod print;
mod shared_text;
mod text;
mod value;

pub use close::{Close, CloseCode};
pub use coalesce::{IdOf, acknowledge};
pub use debug::{Debug, DebugOptions};
pub use envelope::{Envelope, PingId};
pub(crate) use id::cut;
pub use id::{MAX_ID_BYTES, check_id, random_id};
pub use message_type::MessageType;
pub use pipeline::{MAX_PIPELINE_ITEMS, PipelineError, parse_pipeline};
pub(crate) use pipeline::{Unread, read_envelope, read_pipeline};
#[cfg(feature = "client")]
pub(crate) use print::print_envelope;
pub use print::print_pipeline;
pub(crate) use shared_text::SharedText;
pub use text::{MAX_SHOWN_CHARS, quoted, shown, steers};

#[cfg(test)]
mod tests;

/// A payload: JSON text, passed through untouched.
pub type Payload = Box<serde_json::value::RawValue>;
