//! The floor: the same bytes over as many loopback sockets, and nothing else.
//!
//! A server thread reads requests of a send's size and writes answers of an ack's and a deliver's size to the sockets
//! of the members, with plain `send(2)`, each socket's bytes of one turn in one call. It parses nothing, keeps
//! nothing, syncs nothing. What it costs is what the kernel asks for on this machine; the rest of a gateway's figure
//! is the gateway's. Both ends are the shapes that `load` and a gateway have: one client thread with epoll, the
//! same pace, the same topology.

pub mod client;
pub mod options;
pub mod result;
pub mod run;
pub mod server;
pub mod sizes;

pub use options::Options;
pub use run::run;
