//! The list of what clients may call.

use super::MatsSocketServer;
use crate::endpoint::Run;

/// An endpoint or terminator of a server, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RegisteredEndpoint {
    /// Its id.
    pub id: String,
    /// The Rust type of its payload, as the compiler names it.
    pub payload: &'static str,
    /// The Rust type of its reply; `None` for a terminator, which takes no requests.
    pub reply: Option<&'static str>,
    /// Whether its handler runs inside the store's transaction.
    pub is_transactional: bool,
    /// Whether an adapter turns the reply of a service into its own.
    pub has_adapter: bool,
}

impl MatsSocketServer {
    /// The endpoints and terminators of this application, sorted by their ids; the built-in ones are left out. The types are
    /// names for people to read. For a description that programs read, see the feature `schema`.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use matssocket::{Incoming, MatsSocketServer, Outcome, Principal, Store, Verdict, auth_fn};
    ///
    /// let server = MatsSocketServer::builder("shop")
    ///     .store(Store::sqlite_in_memory())
    ///     .authentication(auth_fn(async |name: String| Ok(Verdict::Authenticated(Principal::user(name)))))
    ///     .endpoint("Shop.price", async |_: Incoming<String>| Ok(Outcome::resolve(17_u32)))
    ///     .start()
    ///     .await?;
    /// let price = &server.endpoints()[0];
    /// assert_eq!((&*price.id, price.payload, price.reply), ("Shop.price", "alloc::string::String", Some("u32")));
    /// server.stop().await;
    /// # Ok(()) }
    /// # main().unwrap();
    /// # }
    /// ```
    pub fn endpoints(&self) -> Vec<RegisteredEndpoint> {
        let registered = self.node.endpoints.iter().filter_map(|(id, endpoint)| {
            let (payload, reply) = endpoint.types?;
            Some(RegisteredEndpoint {
                id: id.clone(),
                payload,
                reply: endpoint.replies.then_some(reply),
                is_transactional: matches!(endpoint.run, Run::Transactional(_)),
                has_adapter: endpoint.adapter.is_some(),
            })
        });
        let mut registered: Vec<_> = registered.collect();
        registered.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        registered
    }
}
