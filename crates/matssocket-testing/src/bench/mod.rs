//! Code shared by benches: servers in separate processes.

#[cfg(feature = "postgres")]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod process;
