//! Wakes a sleeping thread; costs a system call, so it is rung only when the peer has said that it sleeps.

/// Rings a sleeping peer. May be called from any thread, any number of times; a bell that nobody waits for is kept.
pub trait Doorbell: Send + Sync + std::fmt::Debug {
    fn ring(&self);
}
