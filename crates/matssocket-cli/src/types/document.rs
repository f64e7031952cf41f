//! A server's document, as far as types are made of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An AsyncAPI document with the extensions of MatsSocket.
#[derive(Deserialize)]
pub struct Document {
    asyncapi: String,
    pub info: Info,
    pub channels: BTreeMap<String, Channel>,
    #[serde(default)]
    pub components: Components,
}

#[derive(Deserialize)]
pub struct Info {
    pub title: String,
    pub version: String,
}

#[derive(Default, Deserialize)]
pub struct Components {
    #[serde(default)]
    pub schemas: BTreeMap<String, Value>,
}

/// An endpoint, a terminator or a topic.
#[derive(Deserialize)]
pub struct Channel {
    /// Its id.
    pub address: String,
    #[serde(rename = "x-matssocket-kind")]
    pub kind: Kind,
    pub description: Option<String>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Value>,
    messages: BTreeMap<String, Message>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Endpoint,
    Terminator,
    Topic,
    ClientEndpoint,
    ClientTerminator,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "x-matssocket-type")]
    of: String,
    #[serde(default = "anything")]
    payload: Value,
}

impl Channel {
    /// The schema of what a message of this type brings.
    pub fn payload(&self, of: &str) -> &Value {
        let message = self.messages.values().find(|it| it.of == of);
        message.map_or(&Value::Bool(true), |it| &it.payload)
    }
}

fn anything() -> Value {
    Value::Bool(true)
}

/// # Errors
/// Why this is not the document of a server.
pub fn parse(text: &str) -> Result<Document, String> {
    let document: Document = serde_json::from_str(text).map_err(|why| why.to_string())?;
    match document.asyncapi.starts_with("3.") {
        true => Ok(document),
        false => Err(format!(
            "it is of AsyncAPI {:?}, and this program knows 3",
            document.asyncapi
        )),
    }
}
