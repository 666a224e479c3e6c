//! Bytes of each message on the wire, taken from the real encoder.

use serde::Serialize;
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::{Ack, Deliver, MessageKind, Send};
use tidegate_wire::server::{self, Delivery, Encoding, ServerFrame};
use tidegate_wire::websocket::{self, Opcode};

/// First byte of an answer, so that the client can tell them apart.
pub const ACK: u8 = b'A';
pub const DELIVER: u8 = b'D';

/// Whole WebSocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    pub request: usize,
    pub ack: usize,
    pub deliver: usize,
}

impl Sizes {
    #[must_use]
    pub fn of(body_bytes: u32) -> Self {
        let body = vec![b'm'; body_bytes as usize];
        let kind = MessageKind::Text as u8;
        let none = String::new;
        let send = Send {
            conversation: 1,
            client_id: 1,
            client_time: 1,
            reply_to: 0,
            kind,
            body,
            client_ref: none(),
        };
        let ack =
            Ack { conversation: 1, client_id: 1, seq: 1, message_id: 1, created: 1, client_ref: none() };
        let deliver = Deliver {
            conversation: 1,
            client_id: 1,
            seq: 1,
            message_id: 1,
            sender: 1,
            created: 1,
            client_time: 1,
            reply_to: 0,
            kind,
            body: send.body.clone(),
            client_ref: none(),
        };
        let request = websocket::masked(Opcode::Binary, &ClientFrame::Send(send).encode(1), [1; 4]);
        Self {
            request: request.len(),
            ack: server::encode(Encoding::Binary, 1, &ServerFrame::Ack(ack)).len(),
            deliver: Delivery::encode(&deliver).message().len(),
        }
    }

    /// Size of the answer that starts with this byte.
    #[must_use]
    pub fn of_answer(self, first: u8) -> Option<usize> {
        match first {
            ACK => Some(self.ack),
            DELIVER => Some(self.deliver),
            _ => None,
        }
    }
}

/// Acks in front, delivers behind, enough of each that any turn's answer to one socket is one slice of it:
/// the last few acks and the first few delivers.
#[derive(Debug)]
pub struct Pattern {
    sizes: Sizes,
    bytes: Vec<u8>,
}

/// Answers of a kind in one slice; more than that go in further ones.
pub const ANSWERS_PER_SEND_MAX: usize = 1024;

impl Pattern {
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        let mut bytes = Vec::new();
        for (first, size) in [(ACK, sizes.ack), (DELIVER, sizes.deliver)] {
            for _ in 0..ANSWERS_PER_SEND_MAX {
                bytes.push(first);
                bytes.resize(bytes.len() + size - 1, 0);
            }
        }
        Self { sizes, bytes }
    }

    /// The bytes of so many answers, each at most [`ANSWERS_PER_SEND_MAX`].
    #[must_use]
    pub fn answers(&self, acks: usize, delivers: usize) -> &[u8] {
        let middle = ANSWERS_PER_SEND_MAX * self.sizes.ack;
        &self.bytes[middle - acks * self.sizes.ack..middle + delivers * self.sizes.deliver]
    }
}

/// Counts answers in a stream that may be cut anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Bytes of the current answer that are still to come.
    rest: usize,
}

/// What a piece of the stream began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    pub acks: u32,
    pub delivers: u32,
}

impl Counter {
    /// `None` if the stream does not hold answers.
    pub fn count(&mut self, sizes: Sizes, piece: &[u8]) -> Option<Began> {
        let mut began = Began::default();
        let mut at = self.rest;
        while let Some(&first) = piece.get(at) {
            at += sizes.of_answer(first)?;
            match first {
                ACK => began.acks += 1,
                _ => began.delivers += 1,
            }
        }
        self.rest = at - piece.len();
        Some(began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_with_the_body_alone() {
        let (small, large) = (Sizes::of(96), Sizes::of(104));
        assert_eq!(large.request - small.request, 8);
        assert_eq!(large.deliver - small.deliver, 8);
        assert_eq!(large.ack, small.ack);
    }

    #[test]
    fn answers_are_counted_wherever_the_stream_is_cut() {
        let sizes = Sizes { request: 1, ack: 5, deliver: 9 };
        let pattern = Pattern::new(sizes);
        let stream = [pattern.answers(2, 3), pattern.answers(0, 1), pattern.answers(1, 0)].concat();
        assert_eq!(stream.len(), 3 * 5 + 4 * 9);
        for cut in 0..=stream.len() {
            let mut counter = Counter::default();
            let (left, right) = stream.split_at(cut);
            let (left, right) = (counter.count(sizes, left).unwrap(), counter.count(sizes, right).unwrap());
            assert_eq!((left.acks + right.acks, left.delivers + right.delivers), (3, 4), "cut at {cut}");
        }
        assert_eq!(Counter::default().count(sizes, b"x"), None);
    }
}
