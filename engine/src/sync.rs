//! What the wake-up handshake ([`crate::mesh::Sleeper`], [`crate::doorbell::ThreadBell`]) is made of. `engine/loom` checks
//! the same two files against every order that the memory model permits, with loom's of these names.

pub use std::sync::OnceLock;
pub use std::sync::atomic::{AtomicBool, Ordering, fence};
pub use std::thread;
