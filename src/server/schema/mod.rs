//! What a server takes and says, as a document that other programs read.

mod components;
mod description;
mod document;
mod registered;
#[cfg(all(test, feature = "sqlite"))]
mod tests;

use std::collections::BTreeMap;

pub use description::Description;
pub use document::ApiDocument;
use registered::Registered;

use super::{MatsSocketServer, ServerBuilder};
use crate::error::StartError;

/// What a builder knows of the server's types.
#[derive(Default)]
pub(super) struct Api {
    registered: BTreeMap<String, Registered>,
    descriptions: Vec<Description>,
}

impl Api {
    /// A handler that takes `T` and, if it replies, resolves with `R`.
    pub(super) fn register<T: 'static, R: 'static>(&mut self, id: &str, replies: bool) {
        let registered = Registered::new::<T, R>(replies);
        self.registered.insert(id.to_owned(), registered);
    }

    /// # Errors
    /// All mistakes in the descriptions.
    pub(super) fn document(&self, app: &str) -> Result<ApiDocument, Vec<String>> {
        ApiDocument::new(app, &self.registered, &self.descriptions)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
impl ServerBuilder {
    /// Says which types an endpoint, a terminator or a topic has, for the server's [document](Self::schema). Endpoints and
    /// terminators without a description are in it as well, with payloads that may be anything. A description of what
    /// has no handler, or of other types than the handler's, is a mistake: the document never lies about a handler.
    ///
    /// ```
    /// use matssocket::{Description, Incoming, MatsSocketServer, Outcome};
    /// use schemars::JsonSchema;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// struct Order { item: String, pieces: u32 }
    ///
    /// #[derive(Serialize, JsonSchema)]
    /// struct Receipt { number: u64 }
    ///
    /// #[derive(Serialize, JsonSchema)]
    /// struct Price { cents: u64 }
    ///
    /// let builder = MatsSocketServer::builder("shop")
    ///     .endpoint("Orders.place", async |order: Incoming<Order>| {
    ///         log::info!("{} of {}", order.payload.pieces, order.payload.item);
    ///         Ok(Outcome::resolve(Receipt { number: 1 }))
    ///     })
    ///     .describe(Description::endpoint::<Order, Receipt>("Orders.place").rejects::<String>())
    ///     .describe(Description::topic::<Price>("prices/{item}"));
    /// println!("{}", builder.schema()?);
    /// # Ok::<(), matssocket::StartError>(())
    /// ```
    pub fn describe(mut self, description: Description) -> Self {
        self.api.descriptions.push(description);
        self
    }

    /// What this server takes and says, as an AsyncAPI document. It needs neither a store nor authentication, so that a
    /// program can print it anywhere, in a build for example.
    ///
    /// # Errors
    /// All mistakes so far, and those in the descriptions.
    pub fn schema(&self) -> Result<ApiDocument, StartError> {
        let document = self.api.document(&self.app);
        let of_document = document.as_ref().err().into_iter().flatten();
        let mistakes: Vec<&str> = (self.mistakes.iter().chain(of_document))
            .map(String::as_str)
            .collect();
        match document {
            Ok(document) if mistakes.is_empty() => Ok(document),
            _ => Err(StartError::Configuration(mistakes.join("; "))),
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
impl MatsSocketServer {
    /// What this server takes and says, as an AsyncAPI document: see [`ServerBuilder::describe`]. The document tells
    /// whoever has it what to try, so think twice before an endpoint without authentication gives it to the world.
    pub fn schema(&self) -> &ApiDocument {
        &self.beside.schema
    }
}
