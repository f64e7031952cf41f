//! What introspection and listeners are shown of a session, and its last envelopes, which are kept for that.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::{Action, Recorded, State};
use crate::clock::wall_time;
use crate::introspection::{LiveSession, RecentEnvelope};
use crate::wire::{Envelope, MAX_ID_BYTES, MessageType, cut, shown};

/// An envelope without its content.
pub(super) struct Outline<'a> {
    pub(super) message_type: MessageType,
    /// Endpoint or topic.
    pub(super) endpoint: Option<&'a str>,
    /// Message id, the client's or the server's; if there are several, their number.
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) trace_id: Option<&'a str>,
}

impl<'a> Outline<'a> {
    pub(super) fn of(envelope: &'a Envelope) -> Outline<'a> {
        let id = envelope.cmid.as_ref().or(envelope.smid.as_ref());
        let many = || {
            envelope
                .ids
                .as_ref()
                .map(|ids| format!("{} ids", ids.len()))
        };
        Outline {
            message_type: envelope.t,
            endpoint: envelope.eid.as_deref(),
            id: match id {
                Some(id) => Some(id.into()),
                None => many().map(Cow::Owned),
            },
            trace_id: envelope.tid.as_deref(),
        }
    }
}

impl State {
    /// Records an envelope for introspection, and reports it to listeners.
    pub(super) fn record(&mut self, incoming: bool, envelope: Outline<'_>) {
        let (most, at) = (self.config.recent_envelopes, self.environment.wall);
        self.recent.add(most, at, incoming, &envelope);
        if !self.has_listeners {
            return;
        }
        let identity = self.identity();
        let recorded = Recorded {
            session_id: identity.map(|it| it.sid.clone()).unwrap_or_default(),
            user_id: self.user_id().into(),
            incoming,
            message_type: envelope.message_type,
            endpoint: envelope.endpoint.map(Box::from),
            trace_id: envelope.trace_id.map(Box::from),
        };
        self.actions.push(Action::Recorded(Box::new(recorded)));
    }

    pub(in crate::session) fn introspect(&self) -> LiveSession {
        let identity = self.identity();
        let client = self.client.as_deref();
        LiveSession {
            session_id: identity
                .map(|identity| identity.sid.to_string())
                .unwrap_or_default(),
            user_id: self.user_id().to_owned(),
            app_name: client.map(|it| it.app_name.clone()).unwrap_or_default(),
            app_version: client.map(|it| it.app_version.clone()).unwrap_or_default(),
            client: client.map(|it| it.library.clone()).unwrap_or_default(),
            remote: client.and_then(|it| it.remote.clone()),
            authenticated: wall_time(self.last_valid()),
            topics: self.topics.list(),
            handlers: self.inbox.running(),
            unacknowledged: self.window.unacknowledged(),
            recent: self.recent.list(),
        }
    }
}

/// The last envelopes of a session, up to a limit. There are many sessions, so entries are kept as consecutive bytes:
/// time (8), message type and direction (1), length of the endpoint (2), length of the id (2), endpoint, id.
#[derive(Debug, Default)]
pub(super) struct Recent {
    bytes: VecDeque<u8>,
    count: usize,
}

/// Bytes of an entry before endpoint and id.
const HEAD: usize = 13;
/// The length that stands for `None`.
const NONE: u16 = u16::MAX;
const INCOMING: u8 = 128;

impl Recent {
    pub(super) fn add(&mut self, most: usize, at: i64, incoming: bool, envelope: &Outline<'_>) {
        if most == 0 {
            return;
        }
        while self.count >= most {
            self.drop_oldest();
        }
        let texts = [envelope.endpoint, envelope.id.as_deref()].map(|it| it.map(short));
        let direction = if incoming { INCOMING } else { 0 };
        self.bytes.extend(at.to_le_bytes());
        self.bytes
            .push_back(envelope.message_type as u8 | direction);
        for text in texts {
            let length = text.map_or(NONE, |text| text.len() as u16);
            self.bytes.extend(length.to_le_bytes());
        }
        for text in texts.into_iter().flatten() {
            self.bytes.extend(text.as_bytes());
        }
        self.count += 1;
    }

    fn drop_oldest(&mut self) {
        let mut head = self.bytes.iter().copied().skip(9);
        let lengths = [length(&mut head), length(&mut head)];
        let bytes = HEAD + lengths.into_iter().flatten().sum::<usize>();
        self.bytes.drain(..bytes);
        self.count -= 1;
    }

    pub(super) fn list(&self) -> Vec<RecentEnvelope> {
        let mut bytes = self.bytes.iter().copied();
        let list = (0..self.count).map_while(|_| {
            let at = [0; 8].map(|_: u8| bytes.next().unwrap_or_default());
            let kind = bytes.next()?;
            let lengths = [length(&mut bytes), length(&mut bytes)];
            let [endpoint, id] = lengths.map(|length| {
                let text = bytes.by_ref().take(length?).collect();
                let text = String::from_utf8(text).ok()?;
                Some(shown(&text).into_owned())
            });
            Some(RecentEnvelope {
                at: wall_time(i64::from_le_bytes(at)),
                incoming: kind & INCOMING != 0,
                message_type: *MessageType::ALL.get(usize::from(kind & !INCOMING))?,
                endpoint,
                id,
            })
        });
        list.collect()
    }
}

/// Reads a length; `None` if it stands for that.
fn length(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let bytes = [0; 2].map(|_: u8| bytes.next().unwrap_or_default());
    let length = u16::from_le_bytes(bytes);
    (length != NONE).then_some(length.into())
}

/// The beginning of an id, since a client's ids are recorded before their length is checked.
fn short(id: &str) -> &str {
    cut(id, MAX_ID_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::epoch_ms;

    #[test]
    fn the_last_envelopes_are_listed_as_they_were() {
        let mut recent = Recent::default();
        let envelope = |t, eid: Option<&str>, cmid: Option<&str>, ids: usize| Envelope {
            eid: eid.map(str::to_owned),
            cmid: cmid.map(str::to_owned),
            ids: (ids > 0).then(|| vec!["x".to_owned(); ids]),
            ..Envelope::new(t)
        };
        let mut add = |at, incoming, envelope: &Envelope| {
            recent.add(3, at, incoming, &Outline::of(envelope));
        };
        let long = "ä".repeat(MAX_ID_BYTES);
        for at in 0..100 {
            add(
                at,
                true,
                &envelope(MessageType::Ping, Some("dropped"), None, 0),
            );
        }
        add(
            1,
            true,
            &envelope(MessageType::Request, Some("ende"), Some(&long), 0),
        );
        add(2, false, &envelope(MessageType::Ack, None, None, 12));
        add(-3, false, &envelope(MessageType::Pong, Some(""), None, 0));
        let listed: Vec<_> = recent
            .list()
            .into_iter()
            .map(|it| {
                (
                    epoch_ms(it.at),
                    it.incoming,
                    it.message_type.name(),
                    it.endpoint,
                    it.id,
                )
            })
            .collect();
        let short = "ä".repeat(MAX_ID_BYTES / 2);
        assert_eq!(
            listed,
            [
                (1, true, "REQUEST", Some("ende".into()), Some(short)),
                (2, false, "ACK", None, Some("12 ids".into())),
                (-3, false, "PONG", Some("".into()), None),
            ]
        );
    }
}
