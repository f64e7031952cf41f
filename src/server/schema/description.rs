//! What an application says about its endpoints and topics.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::registered::{Known, Registered};
use crate::wire::{MessageType, check_id};

/// Says which types an endpoint, a terminator or a topic has, for the server's [document](super::ApiDocument). Given to
/// [`ServerBuilder::describe`](crate::ServerBuilder::describe).
///
/// The schemas say what serde does: of a payload that the server reads, what it accepts (a field with a default may be
/// missing), and of one that the server writes, what it writes.
#[derive(Clone)]
#[must_use = "a description describes nothing until a builder has it"]
pub struct Description {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) text: Option<String>,
    pub(super) payload: Described,
    pub(super) reply: Option<Described>,
    pub(super) rejection: Option<Described>,
}

/// What is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Endpoint,
    Terminator,
    Topic,
    ClientEndpoint,
    ClientTerminator,
}

impl Kind {
    /// As the document calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Endpoint => "endpoint",
            Kind::Terminator => "terminator",
            Kind::Topic => "topic",
            Kind::ClientEndpoint => "client-endpoint",
            Kind::ClientTerminator => "client-terminator",
        }
    }

    pub(super) fn replies(self) -> bool {
        matches!(self, Kind::Endpoint | Kind::ClientEndpoint)
    }

    /// Whether the server reads the payload, rather than writes it.
    pub(super) fn is_read(self) -> bool {
        matches!(self, Kind::Endpoint | Kind::Terminator)
    }

    /// What brings the payload.
    pub(super) fn message(self) -> MessageType {
        match self {
            Kind::Endpoint | Kind::ClientEndpoint => MessageType::Request,
            Kind::Terminator | Kind::ClientTerminator => MessageType::Send,
            Kind::Topic => MessageType::Pub,
        }
    }
}

/// A type and its schema.
#[derive(Clone, Copy)]
pub(super) struct Described {
    pub(super) known: Known,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Described {
    fn of<T: JsonSchema + 'static>() -> Described {
        Described {
            known: Known::of::<T>(),
            schema: SchemaGenerator::subschema_for::<T>,
        }
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("kind", &self.kind.name())
            .field("id", &self.id)
            .field("payload", &self.payload.known.name)
            .field("reply", &self.reply.map(|it| it.known.name))
            .field("rejection", &self.rejection.map(|it| it.known.name))
            .finish_non_exhaustive()
    }
}

impl Description {
    /// An endpoint of this server, whose handler takes `T` and resolves with `R`. The types are those of the handler:
    /// others are refused at start.
    pub fn endpoint<T, R>(id: impl Into<String>) -> Description
    where
        T: DeserializeOwned + JsonSchema + 'static,
        R: Serialize + JsonSchema + 'static,
    {
        let reply = Some(Described::of::<R>());
        Description::new(Kind::Endpoint, id.into(), Described::of::<T>(), reply)
    }

    /// A terminator of this server, whose handler takes `T`. Another type than the handler's is refused at start.
    pub fn terminator<T>(id: impl Into<String>) -> Description
    where
        T: DeserializeOwned + JsonSchema + 'static,
    {
        Description::new(Kind::Terminator, id.into(), Described::of::<T>(), None)
    }

    /// A topic on which `T` is published. Parts of its id may vary: `prices/{item}` stands for all topics that begin
    /// with `prices/`.
    pub fn topic<T: Serialize + JsonSchema + 'static>(id: impl Into<String>) -> Description {
        Description::new(Kind::Topic, id.into(), Described::of::<T>(), None)
    }

    /// An endpoint of the clients, which this server sends `T`, and which resolves with `R`.
    pub fn client_endpoint<T, R>(id: impl Into<String>) -> Description
    where
        T: Serialize + JsonSchema + 'static,
        R: DeserializeOwned + JsonSchema + 'static,
    {
        let reply = Some(Described::of::<R>());
        Description::new(Kind::ClientEndpoint, id.into(), Described::of::<T>(), reply)
    }

    /// A terminator of the clients, which this server sends `T`.
    pub fn client_terminator<T>(id: impl Into<String>) -> Description
    where
        T: Serialize + JsonSchema + 'static,
    {
        let payload = Described::of::<T>();
        Description::new(Kind::ClientTerminator, id.into(), payload, None)
    }

    /// An endpoint rejects with `E`. Without this, its rejections may be anything. On what never rejects, it is a mistake.
    pub fn rejects<E: JsonSchema + 'static>(mut self) -> Description {
        self.rejection = Some(Described::of::<E>());
        self
    }

    /// What it is for, for people who read the document or the types made from it.
    pub fn text(mut self, text: impl Into<String>) -> Description {
        self.text = Some(text.into());
        self
    }

    fn new(kind: Kind, id: String, payload: Described, reply: Option<Described>) -> Description {
        Description {
            kind,
            id,
            text: None,
            payload,
            reply,
            rejection: None,
        }
    }

    /// What is wrong with it, given the handler of this id, if there is one.
    pub(super) fn mistakes(&self, registered: Option<&Registered>) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(mistake) = check_id("described id", &self.id) {
            mistakes.push(mistake.to_string());
        }
        if self.rejection.is_some() && !self.kind.replies() {
            mistakes.push(format!(
                "{self} never rejects: describe it without .rejects()"
            ));
        }
        match self.kind {
            Kind::Topic => mistakes.extend(parameters(&self.id).err()),
            Kind::Endpoint | Kind::Terminator => mistakes.extend(self.differs_from(registered)),
            Kind::ClientEndpoint | Kind::ClientTerminator => {}
        }
        mistakes
    }

    fn differs_from(&self, registered: Option<&Registered>) -> Option<String> {
        let Some(registered) = registered else {
            return Some(format!(
                "{self} is described, but has no handler: register one, or remove the description"
            ));
        };
        if registered.reply.is_some() != self.kind.replies() {
            let is = match registered.reply {
                Some(_) => "an endpoint: describe it by Description::endpoint",
                None => "a terminator: describe it by Description::terminator",
            };
            return Some(format!(
                "{self} is described, but its handler is that of {is}"
            ));
        }
        let reply = self.reply.map(|it| it.known);
        let pairs = [
            ("takes", Some(registered.payload), Some(self.payload.known)),
            ("resolves with", registered.reply, reply),
        ];
        pairs.into_iter().find_map(|(what, is, said)| {
            let (is, said) = (is?, said?);
            let (name, said_name) = (is.name, said.name);
            (is != said).then(|| {
                format!(
                    "{self} {what} {name}, but is described with {said_name}: describe it with the handler's types"
                )
            })
        })
    }
}

/// For mistakes: "the endpoint "Orders.place"".
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {:?}", self.kind.name(), self.id)
    }
}

/// The names in the braces of a topic's id.
pub(super) fn parameters(topic: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = topic;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..]
            .strip_prefix('{')
            .and_then(|it| it.split_once('}'));
        let is_name = |it: &str| {
            !it.is_empty() && it.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        match name {
            Some((name, after)) if is_name(name) && !names.contains(&name) => {
                names.push(name);
                rest = after;
            }
            _ => {
                return Err(format!(
                    "the topic {topic:?}: what varies is written as {{name}}, with letters, digits and _ in the name, \
                     and each name once"
                ));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_in_a_topic_has_a_name() {
        assert_eq!(parameters("prices"), Ok(vec![]));
        assert_eq!(parameters("a/{b}/{c_1}"), Ok(vec!["b", "c_1"]));
        for bad in ["{", "a}", "{}", "{a b}", "{a}/{a}", "{a{b}}", "}{"] {
            let mistake = parameters(bad).expect_err(bad);
            assert!(mistake.contains(&format!("{bad:?}")), "{mistake}");
        }
    }
}
