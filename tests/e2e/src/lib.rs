//! What the end-to-end tests share: the gateway as a process, and clients that can be as rude as a test needs.
//!
//! [`gateway`] starts and kills the real binary; [`binary`] and [`json`] are sessions over an independent WebSocket
//! implementation (tungstenite); [`raw`] writes any bytes; [`mount`] makes small or read-only file systems;
//! [`fleet`] is many senders at once.

// A helper that fails ends its test: that is what it is for.
#![allow(clippy::unwrap_used)]

pub mod binary;
pub mod fleet;
pub mod gateway;
pub mod json;
pub mod mount;
pub mod raw;

pub use binary::BinarySession;
pub use gateway::Gateway;
pub use json::JsonSession;

use std::time::Duration;

/// Nothing in these tests takes this long; what does not happen within it does not happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that has to happen.
///
/// # Panics
/// If it does not, naming it.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
