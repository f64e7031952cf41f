//! What one node says and does over the wire, tested through real sockets.

#[cfg(feature = "dashboard")]
mod admin_http;
mod authentication;
mod authorization;
#[cfg(feature = "browser-client")]
mod browser_client;
mod closing;
mod context;
mod dead_letters;
mod debug;
mod document;
mod effects;
mod foreign_text;
mod hello;
mod http;
mod kept;
mod keys_of_work;
mod last_values;
mod metrics;
mod outbox;
mod outcomes;
mod pipeline;
mod presence;
mod requests;
mod started;
mod takeover;
mod time_to_live;
mod tokens;
mod topic_replay;
mod topics;
mod transactional;
mod transactional_work;
mod users;
