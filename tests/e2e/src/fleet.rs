//! Many users at once, each on one binary session, and what has to be true of everything they saw.

use std::collections::{BTreeMap, VecDeque};

use futures_util::{SinkExt, StreamExt};
use tidegate_wire::client::ClientFrame;
use tidegate_wire::{ServerFrame, frames};
use tokio_tungstenite::tungstenite::Message;

use crate::binary::{BinarySession, decode, text_of};
use crate::{Gateway, within};

/// Who is in which conversation, and who sends how much: everybody goes round robin over the own conversations.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Users 1 to this. More than 31, see [`Plan::members`].
    pub users: u64,
    /// Conversations of four members.
    pub conversations: u64,
    pub sends_per_user: u64,
}

impl Plan {
    /// Four different users; every user is in about as many conversations as every other.
    #[must_use]
    pub fn members(&self, index: u64) -> [u64; 4] {
        // Modulo any count above 31 these steps stay different.
        [0, 7, 19, 31].map(|step| (index + step) % self.users + 1)
    }

    /// The conversations of a user, by index.
    #[must_use]
    pub fn of(&self, user: u64) -> Vec<u64> {
        (0..self.conversations).filter(|index| self.members(*index).contains(&user)).collect()
    }

    /// Where message `number` of a user goes.
    #[must_use]
    pub fn target(&self, user: u64, number: u64) -> u64 {
        let own = self.of(user);
        own[usize::try_from(number % own.len() as u64).expect("a remainder of a length")]
    }

    /// Messages that everybody together sends into a conversation.
    #[must_use]
    pub fn messages_in(&self, index: u64) -> u64 {
        self.members(index).iter().map(|user| self.sent_by(*user, index)).sum()
    }

    /// Messages of one user into one conversation.
    #[must_use]
    pub fn sent_by(&self, user: u64, index: u64) -> u64 {
        let own = self.of(user);
        let count = own.len() as u64;
        let at = own.iter().position(|other| *other == index).expect("a member") as u64;
        self.sends_per_user / count + u64::from(at < self.sends_per_user % count)
    }

    /// Creates the conversations, by devices that are gone afterwards.
    pub async fn create(&self, gateway: &Gateway) -> Vec<u128> {
        let mut conversations = BTreeMap::new();
        for creator in 1..=self.users {
            let own: Vec<u64> =
                (0..self.conversations).filter(|index| self.members(*index)[0] == creator).collect();
            let mut session = BinarySession::online(gateway, creator, CREATOR_DEVICE).await;
            for index in own {
                conversations.insert(index, session.create_group(&self.members(index)).await);
            }
        }
        conversations.into_values().collect()
    }

    /// What [`Member::run`] needs to know for one user.
    #[must_use]
    pub fn member(&self, user: u64, conversations: &[u128]) -> Member {
        let id = |index: u64| conversations[usize::try_from(index).expect("small")];
        let others = |index: u64| self.messages_in(index) - self.sent_by(user, index);
        let own = self.of(user);
        Member {
            user,
            sends: self.sends_per_user,
            expected: own.iter().map(|index| others(*index)).sum(),
            conversations: own.into_iter().map(id).collect(),
        }
    }
}

/// What one user saw of one conversation.
#[derive(Debug, Default)]
pub struct Seen {
    /// (sequence, client id) as delivered, in order of arrival.
    pub delivered: Vec<(u64, u128)>,
    /// (sequence, client id) as acknowledged.
    pub acknowledged: Vec<(u64, u128)>,
}

/// One user's work: which conversations, how many messages in all.
#[derive(Debug)]
pub struct Member {
    pub user: u64,
    pub conversations: Vec<u128>,
    pub sends: u64,
    /// Messages of others that will come.
    pub expected: u64,
}

impl Member {
    /// Sends and receives until everything has come. At most [`WINDOW`] sends wait for their acknowledgement.
    pub async fn run(self, gateway: &Gateway, token: &str) -> BTreeMap<u128, Seen> {
        let mut session = BinarySession::connect_with(&gateway.url(), token).await;
        session.hello(&[]).await;
        session.pong().await;
        let mut early: VecDeque<_> = session.unread().into();
        let (mut sink, mut stream) = session.into_socket().split();
        let mut seen: BTreeMap<u128, Seen> = BTreeMap::new();
        let (mut sent, mut acknowledged, mut delivered) = (0, 0, 0);
        loop {
            let mut batch = Vec::new();
            while sent < self.sends && sent - acknowledged < WINDOW && batch.len() < BATCH_BYTES {
                let conversation =
                    self.conversations[usize::try_from(sent).expect("small") % self.conversations.len()];
                let text = format!("message {sent} of user {}", self.user);
                let send = text_of(conversation, client_id(self.user, sent), &text);
                ClientFrame::Send(send).append(&mut batch, FIRST_REQUEST + sent);
                sent += 1;
            }
            if !batch.is_empty() {
                within("room to send", sink.send(Message::Binary(batch.into())))
                    .await
                    .expect("the session stands");
            }
            if acknowledged == self.sends && delivered == self.expected {
                return seen;
            }
            if early.is_empty() {
                let what = "an acknowledgement or a message";
                match within(what, stream.next()).await {
                    Some(Ok(Message::Binary(bytes))) => early.extend(decode(&bytes)),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("user {}: expected {what}, got {other:?}", self.user),
                }
            }
            for (request, frame) in early.drain(..) {
                match frame {
                    ServerFrame::Ack(ack) => {
                        assert_eq!(ack.client_id, client_id(self.user, request - FIRST_REQUEST));
                        seen.entry(ack.conversation).or_default().acknowledged.push((ack.seq, ack.client_id));
                        acknowledged += 1;
                    }
                    ServerFrame::Deliver(deliver) => {
                        assert_ne!(deliver.sender, self.user, "no echo to the sending session");
                        let place = (deliver.seq, deliver.client_id);
                        seen.entry(deliver.conversation).or_default().delivered.push(place);
                        delivered += 1;
                    }
                    ServerFrame::Synced(frames::Synced { .. }) | ServerFrame::Receipt(_) => {}
                    other => panic!("user {}: not expected under load: {other:?}", self.user),
                }
            }
        }
    }
}

/// Sequences are 1..n on the member's socket: delivered in order, own ones in between, none twice, none missing.
/// Returns the conversation as this member knows it, client ids in sequence order.
///
/// # Panics
/// If not, with the place.
#[must_use]
pub fn check_whole(user: u64, conversation: u128, seen: &Seen) -> Vec<u128> {
    let ascending = seen.delivered.windows(2).find(|pair| pair[0].0 >= pair[1].0);
    assert_eq!(ascending, None, "user {user}, conversation {conversation:032x}: out of order or twice");
    let mut all: BTreeMap<u64, u128> = BTreeMap::new();
    for (seq, client_id) in seen.delivered.iter().chain(&seen.acknowledged) {
        let before = all.insert(*seq, *client_id);
        assert_eq!(before, None, "user {user}, conversation {conversation:032x}: sequence {seq} twice");
    }
    for (position, seq) in all.keys().enumerate() {
        assert_eq!(*seq, position as u64 + 1, "user {user}, conversation {conversation:032x}: a gap");
    }
    all.into_values().collect()
}

/// Names a message by its sender and number.
#[must_use]
pub fn client_id(user: u64, number: u64) -> u128 {
    (u128::from(user) << 64) | u128::from(number + 1)
}

/// Sends of one user that wait for their acknowledgement.
pub const WINDOW: u64 = 64;

const BATCH_BYTES: usize = 16 * 1024;

/// Not the device that any user works with.
const CREATOR_DEVICE: u64 = 1_000;

/// Requests of the session's set-up are below.
const FIRST_REQUEST: u64 = 1 << 32;
