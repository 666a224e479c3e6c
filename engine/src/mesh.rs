//! How shards hand each other envelopes: one bounded ring per ordered pair, and a doorbell for peers that sleep.
//!
//! Owns the rings and the rule that no wake-up is lost; knows nothing of what travels. A full ring gives the item
//! back and is counted. Memory: `n * n * capacity * (size_of::<T>() + 8)` bytes, allocated up front.
//!
//! The end of a worker's turn:
//! 1. [`Port::ring_bells`]: wake the peers that got something and sleep.
//! 2. [`Port::prepare_sleep`]: say that we sleep, look once more; `false` means stay awake.
//! 3. wait in the driver, then [`Port::woke`].

mod port;
mod ring;
mod sleeper;

pub use port::{Port, mesh};
pub use ring::{Receiver, Sender, channel};
pub use sleeper::Sleeper;
