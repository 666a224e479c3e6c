//! Shared pieces of the load generators: who sends what to whom, when it was meant to be sent, what has to arrive,
//! and what it cost.
//!
//! Read in this order: [`work`] (what is asked), [`topology`] (users, conversations, members), [`schedule`] and
//! [`outgoing`] (what is sent when), [`ledger`] (what has to arrive, and what did), [`session`] (one client connection), [`load`] (many of them
//! against a gateway), [`floor`] (the same bytes without a gateway). The rest reads the machine: [`gateway`],
//! [`process`], [`meter`], [`environment`], [`poller`], [`report`].

pub mod environment;
pub mod floor;
pub mod gateway;
pub mod ledger;
pub mod load;
pub mod meter;
pub mod outgoing;
pub mod poller;
pub mod process;
pub mod progress;
pub mod report;
pub mod schedule;
pub mod session;
pub mod topology;
pub mod work;
