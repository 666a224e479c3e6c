//! Many sessions against a gateway: one run of the load generator.
//!
//! Threads (workers) share nothing while the load runs but counters for the progress and a flag to stop: each owns
//! its sessions, its part of the schedule and its account. The main thread reads the gateway's CPU time at both ends of
//! the measured window.

pub mod account;
pub mod inbox;
pub mod options;
pub mod result;
pub mod run;
pub mod worker;

pub use options::Options;
pub use run::run;
