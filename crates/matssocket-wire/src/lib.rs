//! The MatsSocket protocol as data: envelopes, pipelines, ids, close codes, debug options.
//!
//! A pipeline is the JSON array of envelopes that one WebSocket message carries. [`parse_pipeline`] reads it and
//! tolerates everything the protocol tells a receiver to ignore; [`print_pipeline`] writes it. Nothing here does I/O or
//! uses a clock: the server (`matssocket`) and the client (`matssocket-client`) are built on it.
//!
//! ```
//! use matssocket_wire::{Envelope, MessageType, parse_pipeline, print_pipeline};
//!
//! let text = r#"[{"t":"ACK","cmid":"1"}]"#;
//! let envelopes = parse_pipeline(text)?;
//! assert_eq!(envelopes[0].t, MessageType::Ack);
//! assert_eq!(envelopes[0].cmid.as_deref(), Some("1"));
//! assert_eq!(print_pipeline(&envelopes), text);
//! # Ok::<(), matssocket_wire::PipelineError>(())
//! ```

mod close;
mod coalesce;
mod debug;
mod envelope;
mod field;
mod id;
mod message_type;
mod pipeline;
mod print;
mod read_envelope;
mod text;
mod value;

pub use close::{Close, CloseCode};
pub use coalesce::{IdOf, acknowledge};
pub use debug::{Debug, DebugOptions};
pub use envelope::{Envelope, PingId};
#[doc(hidden)] // for the server
pub use id::cut;
pub use id::{InvalidId, MAX_ID_BYTES, check_id, random_id};
pub use message_type::MessageType;
pub use pipeline::{MAX_PIPELINE_ITEMS, PipelineError, parse_pipeline};
#[doc(hidden)] // for the server, which reads a large pipeline piece by piece
pub use pipeline::{Unread, read_envelope, read_pipeline};
pub use print::{print_envelope, print_pipeline};
pub use text::{MAX_SHOWN_CHARS, quoted, shown, steers};

#[cfg(test)]
mod tests;

/// A payload: JSON text, passed through untouched.
pub type Payload = Box<serde_json::value::RawValue>;
