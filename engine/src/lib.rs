//! The process around the shards: workers, drivers, mesh, storage threads, control plane.
//!
//! Read in this order: [`worker`] (the loop of a core), [`inbound`] (what a connection's bytes mean), [`driver`]
//! (what a worker asks of the kernel) with [`uring`], [`epoll`] and [`simulated`], [`mesh`] and [`links`] (rings between threads),
//! [`log_worker`] and [`store_worker`], [`serve`] (how a process is put together).

pub mod access;
pub mod config;
pub mod connections;
pub mod control;
pub mod doctor;
pub mod doorbell;
pub mod driver;
pub mod epoll;
pub mod handshake;
pub mod inbound;
pub mod links;
pub mod listen;
pub mod log_worker;
pub mod mesh;
pub mod metrics;
pub mod outbox;
pub mod serve;
pub mod simulated;
pub mod storage_threads;
pub mod store_worker;
pub mod supervision;
mod sync;
pub mod translate;
pub mod uring;
pub mod worker;
