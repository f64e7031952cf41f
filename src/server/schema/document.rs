//! The document: AsyncAPI 3.0, from the server's point of view.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::components::Components;
use super::description::{Described, Description, Kind, parameters};
use super::registered::Registered;
use crate::wire::MessageType;

/// A server's endpoints, terminators and topics, with the schemas of their payloads, as an [AsyncAPI
/// 3.0](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document. Made by
/// [`ServerBuilder::schema`](crate::ServerBuilder::schema) and
/// [`MatsSocketServer::schema`](crate::MatsSocketServer::schema); it displays and serialises as JSON, always the same for
/// the same server. `matssocket types` makes TypeScript types of it.
///
/// Each endpoint, terminator and topic is a channel whose address is its id. What AsyncAPI has no words for is in
/// extensions: `x-matssocket-kind` of a channel is `endpoint`, `terminator`, `topic`, `client-endpoint` or
/// `client-terminator`; `x-matssocket-type` of a message is its type on the wire, such as `REQUEST`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ApiDocument {
    root: Value,
}

impl ApiDocument {
    /// The version of the application's interface, which is `0.0.0` if it is not given.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> ApiDocument {
        self.root["info"]["version"] = Value::String(version.into());
        self
    }

    /// # Errors
    /// All mistakes in the descriptions.
    pub(super) fn new(
        app: &str,
        registered: &BTreeMap<String, Registered>,
        descriptions: &[Description],
    ) -> Result<ApiDocument, Vec<String>> {
        let mut mistakes = Vec::new();
        let mut described: BTreeMap<(Kind, &str), &Description> = BTreeMap::new();
        for description in descriptions {
            mistakes.extend(description.mistakes(registered.get(&description.id)));
            let key = (description.kind, description.id.as_str());
            if described.insert(key, description).is_some() {
                mistakes.push(format!("{description} is described twice"));
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut draft = Draft::new();
        for (id, registered) in registered {
            let kind = match registered.reply {
                Some(_) => Kind::Endpoint,
                None => Kind::Terminator,
            };
            if !described.contains_key(&(kind, id)) {
                draft.add(kind, id, None);
            }
        }
        for ((kind, id), description) in described {
            draft.add(kind, id, Some(description));
        }
        draft.finish(app).map(|root| ApiDocument { root })
    }
}

/// JSON, indented, without a newline at the end.
impl fmt::Display for ApiDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.root)
    }
}

/// A document in the making.
struct Draft {
    components: Components,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Draft {
    fn new() -> Draft {
        Draft {
            components: Components::new(),
            channels: Map::new(),
            operations: Map::new(),
        }
    }

    /// Without a description, payloads may be anything.
    fn add(&mut self, kind: Kind, id: &str, description: Option<&Description>) {
        let payload = description.map(|it| it.payload);
        let mut messages = Map::new();
        let mut message = |name: &str, of: MessageType, described, is_read| {
            let payload = match described {
                Some(described) => self.components.schema(described, is_read),
                None => json!({}),
            };
            let message = json!({ "payload": payload, "x-matssocket-type": of.name() });
            messages.insert(name.to_owned(), message);
        };
        message("payload", kind.message(), payload, kind.is_read());
        if kind.replies() {
            let of = |pick: fn(&Description) -> Option<Described>| description.and_then(pick);
            let is_read = !kind.is_read();
            message("resolve", MessageType::Resolve, of(|it| it.reply), is_read);
            message(
                "reject",
                MessageType::Reject,
                of(|it| it.rejection),
                is_read,
            );
        }
        let key = self.key(kind, id);
        let mut channel = json!({
            "address": id,
            "messages": messages,
            "x-matssocket-kind": kind.name(),
        });
        if let Some(text) = description.and_then(|it| it.text.as_ref()) {
            channel["description"] = json!(text);
        }
        let varying = match kind {
            Kind::Topic => parameters(id).unwrap_or_default(),
            _ => Vec::new(),
        };
        if !varying.is_empty() {
            let names = varying.into_iter().map(|name| (name.to_owned(), json!({})));
            channel["parameters"] = Value::Object(names.collect());
        }
        self.operations.insert(key.clone(), operation(kind, &key));
        self.channels.insert(key, channel);
    }

    /// What a channel is called in the document, since an id may have characters that such a name cannot.
    fn key(&self, kind: Kind, id: &str) -> String {
        let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
        let plain: String = id
            .chars()
            .map(|it| if allowed(it) { it } else { '_' })
            .collect();
        let mut key = format!("{}.{plain}", kind.name());
        while self.channels.contains_key(&key) {
            key.push('_');
        }
        key
    }

    fn finish(mut self, app: &str) -> Result<Value, Vec<String>> {
        self.channels.sort_keys();
        self.operations.sort_keys();
        let mut root = json!({
            "asyncapi": "3.0.0",
            "info": { "title": app, "version": "0.0.0" },
            "defaultContentType": "application/json",
            "channels": self.channels,
            "operations": self.operations,
        });
        let schemas = self.components.finish(&mut root)?;
        root["components"] = json!({ "schemas": schemas });
        Ok(root)
    }
}

/// What the server does with a channel.
fn operation(kind: Kind, key: &str) -> Value {
    let channel = json!({ "$ref": format!("#/channels/{key}") });
    let message = |name: &str| json!({ "$ref": format!("#/channels/{key}/messages/{name}") });
    let mut operation = json!({
        "action": if kind.is_read() { "receive" } else { "send" },
        "channel": channel,
        "messages": [message("payload")],
    });
    if kind.replies() {
        operation["reply"] = json!({
            "channel": channel,
            "messages": [message("resolve"), message("reject")],
        });
    }
    operation
}
