//! Debug options and the `debug` object.

use std::ops::{BitAnd, BitOr, BitOrAssign};

use serde::{Deserialize, Serialize};

/// A set of debug options: what a client requests, or what a user is allowed.
///
/// ```
/// # use matssocket_wire::DebugOptions;
/// let allowed = DebugOptions::TIMESTAMPS | DebugOptions::NODES;
/// assert!(allowed.contains(DebugOptions::NODES));
/// assert_eq!(allowed & DebugOptions::ALL, allowed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DebugOptions(u32);

impl DebugOptions {
    /// No option.
    pub const NONE: DebugOptions = DebugOptions(0);
    /// Timestamps of the stages of a message.
    pub const TIMESTAMPS: DebugOptions = DebugOptions(1);
    /// Names of the nodes that handled it.
    pub const NODES: DebugOptions = DebugOptions(2);
    /// First option reserved for the application.
    pub const CUSTOM_A: DebugOptions = DebugOptions(64);
    /// Second option reserved for the application.
    pub const CUSTOM_B: DebugOptions = DebugOptions(128);
    /// Every option.
    pub const ALL: DebugOptions = DebugOptions(1 | 2 | 64 | 128);

    /// The set with these bits, as on the wire. Bits without a name are kept.
    pub const fn from_bits(bits: u32) -> DebugOptions {
        DebugOptions(bits)
    }

    /// The bits on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every option of `other` is in this set.
    pub const fn contains(self, other: DebugOptions) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no option is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The options in either set.
impl BitOr for DebugOptions {
    type Output = DebugOptions;

    fn bitor(self, other: DebugOptions) -> DebugOptions {
        DebugOptions(self.0 | other.0)
    }
}

impl BitOrAssign for DebugOptions {
    fn bitor_assign(&mut self, other: DebugOptions) {
        self.0 |= other.0;
    }
}

/// The options in both sets.
impl BitAnd for DebugOptions {
    type Output = DebugOptions;

    fn bitand(self, other: DebugOptions) -> DebugOptions {
        DebugOptions(self.0 & other.0)
    }
}

/// The `debug` object of an envelope. Timestamps are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Debug {
    /// Effective options.
    pub resd: u32,
    /// Client message (request) received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmrts: Option<i64>,
    /// Forwarded to the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmsts: Option<i64>,
    /// Reply received from the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmrrts: Option<i64>,
    /// Server message created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smcts: Option<i64>,
    /// Sent to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mscts: Option<i64>,
    /// Node that received the client message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmrnn: Option<String>,
    /// Node that received the service's reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmrrnn: Option<String>,
    /// Node that created the server message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smcnn: Option<String>,
    /// Node that sent to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mscnn: Option<String>,
}
