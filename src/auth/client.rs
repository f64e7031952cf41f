//! What a client says about itself.

/// A connected client: its app and library, as named in its HELLO, and its address. Whatever a client says about itself
/// may be untrue; its texts are escaped and cut as in a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// Client library and versions.
    pub library: String,
    /// The address that it connects from, if it is known: behind [trusted
    /// proxies](crate::ServerBuilder::trusted_proxies) that of the client, otherwise that of the peer.
    pub remote: Option<String>,
}

impl ClientInfo {
    /// A client with this app, of an unknown library and address.
    pub fn new(app_name: impl Into<String>, app_version: impl Into<String>) -> ClientInfo {
        ClientInfo {
            app_name: app_name.into(),
            app_version: app_version.into(),
            library: String::new(),
            remote: None,
        }
    }
}
