//! One core's state machine: the sessions of the users that hash here ([`home`]) and the conversations that hash
//! here ([`owner`]).
//!
//! A shard is *handed* inputs with a time and *asked* for outputs. It reads no clock, no randomness, no socket, no
//! file. Other shards, the log and the store are reached by outputs and answer by inputs; what that costs and how it
//! is carried is the engine's affair.
//!
//! Read in this order: [`contract`] (everything that goes in and out), [`shard`] (routes), [`owner`], [`home`].

mod context;
pub mod contract;
pub mod counters;
pub mod home;
pub mod limits;
pub mod owner;
pub mod placement;
pub mod shard;
pub mod snowflake;

pub use contract::{Answer, Append, ConnectionId, Envelope, Input, Login, Now, Output, Query, Row, ShardId};
pub use counters::Counters;
pub use limits::Limits;
pub use shard::{Identity, Shard};

/// Maps of a shard hash with a seed of the shard, so that a simulation repeats and peers cannot aim collisions.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, foldhash::quality::FixedState>;
