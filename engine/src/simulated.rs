//! A whole gateway and its clients on one thread, one virtual clock and one seed.
//!
//! What runs is the production code: [`Worker`](crate::worker::Worker) with its shard, the mesh,
//! [`LogWorker`](crate::log_worker::LogWorker) and [`StoreWorker`](crate::store_worker::StoreWorker). Simulated are only
//! the ends: sockets ([`SimulatedDriver`] over a [`network`]), disk, clock, and who runs when. The seed draws the
//! [`conditions`] (which faults, how often, how small the rings), then every single event.
//!
//! Read in this order: [`world`] (who runs when), [`gateway`] (one life of the process), [`network`] and [`driver`],
//! [`device`] (what clients do), [`ledger`] and [`viewer`] (what must hold), [`sabotage`] (faults planted to see whether
//! the checkers notice: `FAULTS.md` lists them).

pub mod conditions;
pub mod device;
pub mod driver;
pub mod gateway;
pub mod ledger;
pub mod network;
pub mod pipe;
pub mod random;
pub mod sabotage;
pub mod speech;
pub mod storage;
pub mod viewer;
pub mod world;

pub use conditions::Conditions;
pub use driver::SimulatedDriver;
pub use sabotage::Sabotage;
pub use world::{Summary, Violation, replay, simulate};
