//! The process around the shards: workers, drivers, mesh, control plane.

pub mod doorbell;
pub mod driver;
pub mod epoll;
pub mod listen;
pub mod mesh;
pub mod outbox;
pub mod uring;
