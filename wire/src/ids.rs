//! Identifiers. Each is a newtype, so that a user is never passed where a device is meant.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(/// A person or a bot; comes only from the access token.
    UserId(u64));
id!(/// One installation of a client; comes only from the access token.
    DeviceId(u64));
id!(/// Assigned by the gateway; sortable by time: see `tidegate-shard`'s `snowflake`.
    MessageId(u64));
id!(/// Position of a message in its conversation: 1, 2, 3, ... without a gap. 0 means "before the first".
    Sequence(u64));
id!(/// Chosen by the sender; the same id sent again is the same message.
    ClientMessageId(u128));

/// A conversation; a UUID. That of a direct conversation follows from its two users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConversationId(pub u128);

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({self})")
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_u128(self.0), f)
    }
}

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
