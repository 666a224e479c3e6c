//! Promise: whatever the gateway's connection does, every message is handed out once and in order, and every send ends up
//! in the conversation exactly once.
//! Guards against: a state machine that is right only for the schedules somebody thought of.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use tidegate_client::state::{Answer, Input, State};
use tidegate_client::{Acknowledge, ConversationId, Event, Start};
use tidegate_wire::client::ClientFrame;
use tidegate_wire::server::Delivery;
use tidegate_wire::{ServerFrame, frames};

const CONVERSATION: u128 = 7;
const OTHER: u64 = 9;
const OWN: u64 = 1;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody else's message becomes durable.
    Other,
    /// The application sends.
    Send,
    /// The gateway takes this many frames of the client.
    GatewayReads(usize),
    /// The client takes this many frames of the gateway.
    ClientReads(usize),
    /// The connection breaks: everything on its way is lost.
    Break,
    /// Acknowledgements and deliveries that wait may swap places: the gateway promises no order between them.
    AckOvertakes,
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Other),
        3 => Just(Step::Send),
        4 => (1..6_usize).prop_map(Step::GatewayReads),
        4 => (1..9_usize).prop_map(Step::ClientReads),
        1 => Just(Step::Break),
        1 => Just(Step::AckOvertakes),
        2 => (1..400_u16).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

/// The conversation as the gateway has it, and one connection.
#[derive(Default)]
struct Gateway {
    messages: Vec<frames::Deliver>,
    online: bool,
    to_gateway: VecDeque<(u64, ClientFrame)>,
    to_client: VecDeque<(u64, ServerFrame)>,
    refuse_next: bool,
}

impl Gateway {
    fn append(&mut self, sender: u64, client_id: u128) -> u64 {
        let seq = self.messages.len() as u64 + 1;
        self.messages.push(frames::Deliver {
            conversation: CONVERSATION,
            client_id,
            seq,
            message_id: seq,
            sender,
            created: seq,
            client_time: 0,
            reply_to: 0,
            kind: 1,
            body: vec![b'x'],
            client_ref: String::new(),
        });
        if sender != OWN && self.online {
            let deliver = self.messages.last().expect("pushed above").clone();
            self.to_client.push_back((0, ServerFrame::Deliver(deliver)));
        }
        seq
    }

    fn take(&mut self, request: u64, frame: ClientFrame) {
        match frame {
            ClientFrame::Hello(hello) => {
                let last = hello.cursors.first().map_or(0, |cursor| cursor.last_seq);
                let head = self.messages.len() as u64;
                let first = last.max(head.saturating_sub(10));
                for deliver in &self.messages[usize::try_from(first).expect("small")..] {
                    self.to_client.push_back((0, ServerFrame::Deliver(deliver.clone())));
                }
                let has_more = first > last;
                let synced = frames::Synced { conversation: CONVERSATION, head_seq: head, has_more };
                self.to_client.push_back((0, ServerFrame::Synced(synced)));
                self.online = true;
            }
            ClientFrame::Send(send) => {
                self.refuse_next = !self.refuse_next && send.client_id.is_multiple_of(5);
                if self.refuse_next {
                    let error = frames::Error { code: 503, retry_after_ms: 10, message: String::new() };
                    self.to_client.push_back((request, ServerFrame::Error(error)));
                    return;
                }
                let known = self.messages.iter().find(|m| m.client_id == send.client_id).map(|m| m.seq);
                let seq = known.unwrap_or_else(|| self.append(OWN, send.client_id));
                let ack = frames::Ack {
                    conversation: CONVERSATION,
                    client_id: send.client_id,
                    seq,
                    message_id: seq,
                    created: seq,
                    client_ref: String::new(),
                };
                self.to_client.push_back((request, ServerFrame::Ack(ack)));
            }
            ClientFrame::History(history) => {
                assert_eq!(history.before_seq, 0, "a client with a cursor asks forward");
                let after = usize::try_from(history.after_seq).expect("small");
                let end = (after + 5).min(self.messages.len());
                let frames =
                    self.messages[after..end].iter().flat_map(|m| Delivery::encode(m).frame().to_vec());
                let page = frames::Page {
                    conversation: CONVERSATION,
                    has_more: end < self.messages.len(),
                    frames: frames.collect(),
                };
                self.to_client.push_back((request, ServerFrame::Page(page)));
            }
            ClientFrame::Received(up_to) => assert!(up_to.up_to_seq <= self.messages.len() as u64),
            other => panic!("not expected here: {other:?}"),
        }
    }

    fn ack_overtakes(&mut self) {
        let is_ack = |frame: &(u64, ServerFrame)| matches!(frame.1, ServerFrame::Ack(_));
        if let Some(at) = self.to_client.iter().position(is_ack) {
            let ack = self.to_client.remove(at).expect("found above");
            self.to_client.push_front(ack);
        }
    }
}

struct World {
    gateway: Gateway,
    client: State,
    connected: bool,
    now: Duration,
    handed_out: Vec<u64>,
    sent: u128,
    acknowledged: BTreeMap<u128, u64>,
}

impl World {
    fn handle(&mut self, input: Input) {
        self.client.handle(self.now, input);
        while let Some(out) = self.client.poll_transmit() {
            assert!(self.connected, "sends without a connection");
            self.gateway.to_gateway.push_back(out);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Message(message) => {
                    self.handed_out.push(message.seq.0);
                    let taken = Input::Taken { conversation: message.conversation, seq: message.seq };
                    self.client.handle(self.now, taken);
                }
                Event::Missing { .. } => panic!("nothing is missing: {event:?}"),
                _ => {}
            }
        }
        while let Some(answer) = self.client.poll_answer() {
            let Answer::Sent { client_id, result: Ok(ack) } = answer else { panic!("{answer:?}") };
            assert_eq!(self.acknowledged.insert(client_id.0, ack.seq.0), None, "answered twice");
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Other => {
                let client_id = u128::MAX - self.gateway.messages.len() as u128;
                self.gateway.append(OTHER, client_id);
            }
            Step::Send => {
                self.sent += 1;
                let frame = frames::Send {
                    conversation: CONVERSATION,
                    client_id: self.sent,
                    client_time: 0,
                    reply_to: 0,
                    kind: 1,
                    body: vec![b'x'],
                    client_ref: String::new(),
                };
                self.handle(Input::Send { frame, announced: false });
            }
            Step::GatewayReads(count) => {
                for _ in 0..*count {
                    let Some((request, frame)) = self.gateway.to_gateway.pop_front() else { break };
                    self.gateway.take(request, frame);
                }
            }
            Step::ClientReads(count) => {
                for _ in 0..*count {
                    let Some((request, frame)) = self.gateway.to_client.pop_front() else { break };
                    self.handle(Input::Frame { request, frame });
                }
            }
            Step::Break => {
                self.gateway.online = false;
                self.gateway.to_gateway.clear();
                self.gateway.to_client.clear();
                self.connected = false;
                self.handle(Input::Disconnected);
                self.connected = true;
                self.handle(Input::Connected);
            }
            Step::AckOvertakes => self.gateway.ack_overtakes(),
            Step::Wait(ms) => {
                self.now += Duration::from_millis((*ms).into());
                self.handle(Input::Tick);
            }
        }
        let so_far: Vec<u64> = (1..=self.handed_out.len() as u64).collect();
        assert_eq!(self.handed_out, so_far, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_once_and_in_order(steps in steps()) {
        let cursors = [(ConversationId(CONVERSATION), tidegate_client::Sequence(0))];
        let client = State::new("test".to_owned(), Start::First, Acknowledge::OnDelivery, cursors);
        let mut world = World {
            gateway: Gateway::default(),
            client,
            connected: true,
            now: Duration::ZERO,
            handed_out: Vec::new(),
            sent: 0,
            acknowledged: BTreeMap::new(),
        };
        world.handle(Input::Connected);
        for step in &steps {
            world.step(step);
        }
        // Quiet: everything on its way arrives, every deadline passes.
        for _ in 0..200 {
            for step in [Step::GatewayReads(1000), Step::ClientReads(1000), Step::Wait(500)] {
                world.step(&step);
            }
        }
        prop_assert_eq!(world.handed_out.len(), world.gateway.messages.len());
        prop_assert_eq!(world.acknowledged.len() as u128, world.sent);
        for (client_id, seq) in &world.acknowledged {
            let message = &world.gateway.messages[usize::try_from(*seq).expect("small") - 1];
            prop_assert_eq!(message.client_id, *client_id);
        }
        let own = world.gateway.messages.iter().filter(|m| m.sender == OWN).count() as u128;
        prop_assert_eq!(own, world.sent, "each send is one message");
    }
}
