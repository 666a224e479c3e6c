//! The process around the shards: workers, drivers, mesh, control plane.

pub mod driver;
pub mod mesh;
pub mod doorbell;
