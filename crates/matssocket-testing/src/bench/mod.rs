//! What benches share: servers in processes of their own.

#[cfg(feature = "postgres")]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod process;
