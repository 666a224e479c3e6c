//! What a completion says about its request: 8 bits of kind, 24 of slot, 32 of generation.

use crate::driver::ConnectionId;

/// The user data of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub connection: ConnectionId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Multishot: the socket became readable or was hung up.
    Poll,
    /// Once: the socket became writable.
    PollWritable,
    Receive,
    /// Completes only when it was short or failed, or when bytes remain behind it.
    Send,
    Shutdown,
    Close,
    /// Completes only when it found nothing to cancel.
    Cancel,
    Accept,
    Bell,
}

impl Token {
    pub fn new(kind: Kind, connection: ConnectionId) -> Self {
        Self { kind, connection }
    }

    /// For requests of the driver itself.
    pub fn own(kind: Kind) -> Self {
        Self { kind, connection: ConnectionId { slot: 0, generation: 0 } }
    }

    pub fn pack(self) -> u64 {
        debug_assert!(self.connection.slot < SLOTS_MAX);
        u64::from(self.kind as u8) << 56
            | u64::from(self.connection.slot) << 32
            | u64::from(self.connection.generation)
    }

    /// # Panics
    /// On a value that `pack` did not make: the kernel returns ours unchanged.
    pub fn unpack(packed: u64) -> Self {
        let kind = KINDS
            .into_iter()
            .find(|kind| *kind as u8 == (packed >> 56) as u8)
            .unwrap_or_else(|| panic!("a completion carries user data that is not ours: {packed:#x}"));
        let slot = (packed >> 32) as u32 & (SLOTS_MAX - 1);
        Self { kind, connection: ConnectionId { slot, generation: packed as u32 } }
    }
}

/// Slots that fit into a token; a direct table holds at most 1M.
pub(super) const SLOTS_MAX: u32 = 1 << 24;

const KINDS: [Kind; 9] = [
    Kind::Poll,
    Kind::PollWritable,
    Kind::Receive,
    Kind::Send,
    Kind::Shutdown,
    Kind::Close,
    Kind::Cancel,
    Kind::Accept,
    Kind::Bell,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_the_whole_generation_survive() {
        for kind in KINDS {
            for slot in [0, 1, 0xABCDEF, SLOTS_MAX - 1] {
                for generation in [0, 1, u32::MAX] {
                    let token = Token::new(kind, ConnectionId { slot, generation });
                    assert_eq!(Token::unpack(token.pack()), token);
                }
            }
        }
    }
}
