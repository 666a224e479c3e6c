//! Keeps bytes in order, says when they are durable, finds them again. Does not know what they mean.
//!
//! Two interfaces: the *log* ([`Append`] in, durable or refused out) is the promise; the *store* ([`Row`]s in,
//! [`Query`] and [`Answer`]) is how history and tables are found again. A record of the log is a list of rows,
//! so whatever belongs together becomes durable together.

#![forbid(unsafe_code)]

pub mod query;
pub mod row;

pub mod embedded;
pub mod limits;
mod lsn;
pub mod store;

pub use lsn::Lsn;
pub use query::{Answer, Query};
pub use row::{Append, Row};
pub use store::Store;
