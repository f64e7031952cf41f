//! The format of notices in a NOTIFY: JSON, well below its limit of 8,000 bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Told;
use crate::cluster::Notice;
use crate::logging;
use crate::store::operation::{ConnectionId, SessionKey};

/// Longest payload, in bytes.
const LONGEST: usize = 6_000;
/// Most sessions in one packet. Their ids may have 20 digits.
const MOST_SESSIONS: usize = 280;
/// Longest reason of a closed session, in bytes; JSON may turn one byte into six.
const LONGEST_REASON: usize = 500;

/// A notice on its way. A node of a newer version may add fields, and kinds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packet {
    /// The channel of the node that sent this to all others: it ignores it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Kind {
    Stored {
        sessions: Vec<i64>,
    },
    TakenOver {
        session: i64,
        connection: i64,
        by: String,
    },
    Released {
        session: i64,
        connection: i64,
    },
    Closed {
        session: i64,
        reason: String,
    },
    ComeBack {
        session: i64,
    },
    Published,
    Work,
    /// An echo: the node checks whether it receives its own notices.
    Echo,
}

impl Packet {
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are JSON")
    }
}

impl Kind {
    /// `None`: it is only for this node itself.
    fn of(notice: Notice) -> Option<Kind> {
        Some(match notice {
            Notice::Stored(sessions) => Kind::Stored {
                sessions: sessions.iter().map(|session| session.0).collect(),
            },
            Notice::TakenOver {
                session,
                connection,
                by,
            } => Kind::TakenOver {
                session: session.0,
                connection: connection.0,
                by,
            },
            Notice::Released {
                session,
                connection,
            } => Kind::Released {
                session: session.0,
                connection: connection.0,
            },
            Notice::Closed { session, reason } => Kind::Closed {
                session: session.0,
                reason: begin(&reason).to_owned(),
            },
            Notice::ComeBack { session } => Kind::ComeBack { session: session.0 },
            Notice::Published => Kind::Published,
            Notice::Work => Kind::Work,
            Notice::Missed => return None,
        })
    }

    /// `None`: it is an echo.
    pub(super) fn notice(self) -> Option<Notice> {
        Some(match self {
            Kind::Stored { sessions } => {
                Notice::Stored(sessions.into_iter().map(SessionKey).collect())
            }
            Kind::TakenOver {
                session,
                connection,
                by,
            } => Notice::TakenOver {
                session: SessionKey(session),
                connection: ConnectionId(connection),
                by,
            },
            Kind::Released {
                session,
                connection,
            } => Notice::Released {
                session: SessionKey(session),
                connection: ConnectionId(connection),
            },
            Kind::Closed { session, reason } => Notice::Closed {
                session: SessionKey(session),
                reason,
            },
            Kind::ComeBack { session } => Notice::ComeBack {
                session: SessionKey(session),
            },
            Kind::Published => Notice::Published,
            Kind::Work => Notice::Work,
            Kind::Echo => return None,
        })
    }
}

/// The beginning of a reason that is too long.
fn begin(reason: &str) -> &str {
    let mut ends = reason.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends
        .by_ref()
        .take_while(|end| *end <= LONGEST_REASON)
        .last();
    &reason[..end.unwrap_or_default()]
}

/// Channels and payloads for the notices to be sent, without duplicates.
pub(super) fn compose(told: impl IntoIterator<Item = Told>) -> (Vec<String>, Vec<String>) {
    let mut stored: BTreeMap<_, BTreeSet<SessionKey>> = BTreeMap::new();
    let mut packets = BTreeSet::new();
    let mut put = |channel, from, notice| {
        let packet = Kind::of(notice).map(|kind| Packet { from, kind }.text());
        match packet.filter(|text| text.len() <= LONGEST) {
            Some(text) => drop(packets.insert((channel, text))),
            None => logging::debug!("a notice for {channel} was dropped: it is too long"),
        }
    };
    for Told {
        channel,
        from,
        notice,
    } in told
    {
        match notice {
            Notice::Stored(sessions) => {
                stored.entry((channel, from)).or_default().extend(sessions);
            }
            other => put(channel, from, other),
        }
    }
    for ((channel, from), sessions) in stored {
        let sessions: Vec<SessionKey> = sessions.into_iter().collect();
        for part in sessions.chunks(MOST_SESSIONS) {
            put(channel.clone(), from.clone(), Notice::Stored(part.to_vec()));
        }
    }
    packets.into_iter().unzip()
}
