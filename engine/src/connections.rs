//! What the worker knows about each connection: in its handshake, or speaking WebSocket.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_shard::ConnectionId;
use tidegate_wire::websocket::Decoder;

/// A connection that has not finished its request head by then is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pongs for a connection whose socket takes no more. Cost: 127 bytes each and a node of the outbox.
const PONGS_UNSENT_MAX: u8 = 32;

#[derive(Debug)]
pub enum Stage {
    /// Bytes of a request head that is not complete.
    Handshake { head: Vec<u8> },
    /// A session of the shard.
    Session { decoder: Decoder },
    /// Everything comes back.
    Echo { decoder: Decoder },
}

#[derive(Debug)]
struct Connection {
    generation: u32,
    /// Pongs since the socket took everything; `None` while it does.
    pongs_unsent: Option<u8>,
    stage: Stage,
}

const _: () = assert!(size_of::<Option<Connection>>() <= 32, "every idle session holds one");

/// By slot of the driver.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<Option<Connection>>,
    /// Handshakes in the order of their deadlines; those that are over are skipped.
    handshakes: VecDeque<(Duration, ConnectionId)>,
}

impl Connections {
    pub fn insert(&mut self, id: ConnectionId, stage: Stage) {
        let slot = id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(Connection { generation: id.generation, pongs_unsent: None, stage });
    }

    pub fn begin_handshake(&mut self, id: ConnectionId, now: Duration) {
        self.insert(id, Stage::Handshake { head: Vec::new() });
        self.handshakes.push_back((now + HANDSHAKE_TIMEOUT, id));
    }

    pub fn get(&mut self, id: ConnectionId) -> Option<&mut Stage> {
        let connection = self.slots.get_mut(id.slot as usize)?.as_mut()?;
        (connection.generation == id.generation).then_some(&mut connection.stage)
    }

    /// The socket takes no more, or takes everything again.
    pub fn set_blocked(&mut self, id: ConnectionId, blocked: bool) {
        if self.get(id).is_some()
            && let Some(connection) = self.slots[id.slot as usize].as_mut()
        {
            connection.pongs_unsent = blocked.then_some(0);
        }
    }

    /// Whether a ping of this connection is answered. "The endpoint MAY elect to send a Pong frame for only the most
    /// recently processed Ping frame" (RFC 6455 section 5.5.3): who pings and does not read gets few.
    pub fn takes_pong(&mut self, id: ConnectionId) -> bool {
        let connection = self.slots.get_mut(id.slot as usize).and_then(Option::as_mut);
        let Some(connection) = connection.filter(|connection| connection.generation == id.generation) else {
            // It pinged and closed: the pong goes out before the close.
            return true;
        };
        match &mut connection.pongs_unsent {
            None => true,
            Some(PONGS_UNSENT_MAX) => false,
            Some(unsent) => {
                *unsent += 1;
                true
            }
        }
    }

    pub fn remove(&mut self, id: ConnectionId) -> Option<Stage> {
        self.get(id)?;
        self.slots[id.slot as usize].take().map(|connection| connection.stage)
    }

    /// The next handshake that took too long.
    pub fn pop_late_handshake(&mut self, now: Duration) -> Option<ConnectionId> {
        while let Some((deadline, id)) = self.handshakes.front().copied() {
            if deadline > now {
                return None;
            }
            self.handshakes.pop_front();
            if matches!(self.get(id), Some(Stage::Handshake { .. })) {
                return Some(id);
            }
        }
        None
    }

    /// Connections that a closing gateway closes itself: all but sessions.
    pub fn without_session(&self) -> Vec<ConnectionId> {
        let ids = self.slots.iter().enumerate().filter_map(|(slot, connection)| {
            let connection = connection.as_ref()?;
            let id = ConnectionId { slot: slot as u32, generation: connection.generation };
            (!matches!(connection.stage, Stage::Session { .. })).then_some(id)
        });
        ids.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_pings_and_does_not_read_gets_few_pongs() {
        let mut connections = Connections::default();
        let id = ConnectionId { slot: 2, generation: 7 };
        connections.insert(id, Stage::Echo { decoder: Decoder::server(125) });
        assert!((0..1000).all(|_| connections.takes_pong(id)), "a socket that takes everything");
        connections.set_blocked(id, true);
        let pongs = (0..1000).filter(|_| connections.takes_pong(id)).count();
        assert_eq!(pongs, usize::from(PONGS_UNSENT_MAX));
        connections.set_blocked(id, false);
        assert!(connections.takes_pong(id));
    }
}
