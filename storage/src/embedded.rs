//! The back end without a server: our log on a local disk, and an ordered store that is built from it.

mod open;

pub mod directory;
pub mod disk;
pub mod inspect;
pub mod log;
pub mod lsm;

pub use open::{OpenError, Options, open};
