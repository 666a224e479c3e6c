//! The wake-up handshake of the engine, model-checked: the same two files, over loom's threads and atomics.
//!
//! loom runs a test for every interleaving, and lets loads return every value that the memory model permits. A lost
//! wake-up is a thread that sleeps for ever: loom reports a deadlock.
//!
//!     cargo test --manifest-path engine/loom/Cargo.toml --target-dir target/loom

#![allow(dead_code, clippy::new_without_default, reason = "the engine uses more of it")]

pub mod sync;

pub mod doorbell {
    /// As in the engine, whose other bell is an eventfd.
    pub trait Doorbell: Send + Sync + std::fmt::Debug {
        fn ring(&self);
    }

    pub use crate::thread_bell::ThreadBell;
}

#[path = "../../src/doorbell/thread_bell.rs"]
mod thread_bell;

#[path = "../../src/mesh/sleeper.rs"]
pub mod sleeper;
