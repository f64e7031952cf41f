//! What a cluster promises: lines that break, sessions that move, nodes that fall silent.

mod forwarded;
mod lease;
#[cfg(feature = "postgres")]
mod listen;
#[cfg(feature = "postgres")]
mod pooler;
mod presence;
#[cfg(feature = "postgres")]
mod presence_killed;
mod reconnect;
mod restored;
mod retries;
mod rolling;
#[cfg(feature = "postgres")]
mod segments;
mod services;
mod store_away;
mod sweep;
mod users;
