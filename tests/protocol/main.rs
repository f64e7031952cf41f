//! What one node says and does over the wire, tested through real sockets.

#[cfg(feature = "dashboard")]
mod admin_http;
mod authentication;
mod authorization;
#[cfg(feature = "browser-client")]
mod browser_client;
mod closing;
mod context;
mod debug;
mod document;
mod foreign_text;
mod hello;
mod http;
mod keys_of_work;
mod metrics;
mod outbox;
mod outcomes;
mod pipeline;
mod requests;
mod started;
mod takeover;
mod time_to_live;
mod topics;
mod transactional;
mod transactional_work;
mod users;
