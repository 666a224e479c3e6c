//! WebSocket framing (RFC 6455) without I/O: bytes in, items out; the upgrade handshake is not here.
//!
//! Owns nothing for an idle connection: a frame that is whole in the receive buffer is unmasked there and returned from
//! there; only what is incomplete is kept, in one allocation that ends with its message. No extension is spoken. A
//! message is bounded by its bytes, never by its number of fragments.

pub use close::{CloseCode, ProtocolError, close_payload};
pub use decoder::{Decoder, Item};
pub use encode::{close, close_empty, masked, message, ping, pong};
pub use header::{Header, Opcode};
pub use mask::mask;

mod decoder;
mod partial;

mod close;
mod encode;
mod header;
mod mask;

/// Bytes of a message that a client may send to the gateway.
/// Cost: a connection that dribbles one holds at most twice this. Found by: 4000 characters of text are at most 16 000
/// bytes, six times that as escaped JSON is rare; opaque payloads need room.
pub const CLIENT_MESSAGE_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of a message that a client must be ready to read: a page holds up to 100 messages.
/// Cost: none for the gateway. Found by: 100 × 64 KiB, of which JSON writes 4/3 as base64, rounded up.
pub const GATEWAY_MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Bytes of a message on the `tidegate.echo` subprotocol. Found by: the largest message of the Autobahn suite.
pub const ECHO_MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;
