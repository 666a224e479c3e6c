//! One device of a user: connects, says hello, sends, acknowledges, and behaves badly as its [`Manners`] say. What it
//! knows survives its connections, and crashes of the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_wire::frames::{Create, Cursor, Hello, History, MessageKind, Send, Sync, UpTo};
use tidegate_wire::websocket::{Decoder, Opcode, masked};
use tidegate_wire::{ClientFrame, DeviceId, Encoding, UserId};

use super::conditions::Manners;
use super::network::{Look, Network, SocketId};
use super::random::Random;
use super::speech::{Heard, hear, say};
use super::viewer::Viewer;
use crate::access::{Identity, Keys};

/// Conversations that a device sends to; more would only thin out each.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;
/// A send without an answer is repeated after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may take to be welcomed.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
const UNACKED_MAX: usize = 24;

#[derive(Debug)]
pub struct Device {
    pub user: u64,
    pub device: u64,
    encoding: Encoding,
    manners: Manners,
    page_max: u32,
    users: u64,
    random: Random,
    pub link: Option<Link>,
    /// The second connection of the same device, on its way to replace the first.
    old_link: Option<Link>,
    known: BTreeMap<u128, Known>,
    unacked: BTreeMap<u128, Draft>,
    /// By any session of this device.
    ever_sent: BTreeSet<(u128, u128)>,
    /// What it has told the gateway that it has, over all connections.
    pub acknowledged: BTreeMap<u128, u64>,
    requests: u64,
    pub next_action: Duration,
    reading_again: Duration,
    /// No faults any more: stay connected, read, fill gaps.
    pub well_behaved: bool,
    /// Send nothing new.
    pub silent: bool,
}

#[derive(Clone, Debug)]
struct Draft {
    conversation: u128,
    body: Vec<u8>,
    sent_at: Option<Duration>,
    retry_at: Duration,
}

/// What the device has of a conversation.
#[derive(Debug, Default)]
struct Known {
    /// Everything up to here.
    position: u64,
    beyond: BTreeSet<u64>,
    asked_history: Option<(u64, Duration)>,
}

impl Known {
    fn add(&mut self, seq: u64) {
        if seq > self.position {
            self.beyond.insert(seq);
        }
        while self.beyond.remove(&(self.position + 1)) {
            self.position += 1;
        }
    }
}

#[derive(Debug)]
pub struct Link {
    pub socket: SocketId,
    head: Option<Vec<u8>>,
    decoder: Decoder,
    outgoing: Vec<u8>,
    pub welcomed: bool,
    since: Duration,
    /// Bytes that have arrived, to compare with what was handed over.
    pub arrived: usize,
    shut: bool,
}

/// What a device needs of the world for a moment.
#[derive(Debug)]
pub struct Surroundings<'a> {
    pub network: &'a mut Network,
    pub viewers: &'a mut BTreeMap<SocketId, Viewer>,
    pub keys: &'a Keys,
    pub hello_may_be_late: bool,
    /// Conversations that exist, for trespassers.
    pub conversations: &'a [u128],
}

impl Device {
    pub fn new(
        user: u64,
        device: u64,
        encoding: Encoding,
        manners: Manners,
        page_max: u32,
        users: u64,
        mut random: Random,
    ) -> Self {
        let next_action = random.delay(Duration::from_millis(50));
        Self {
            user,
            device,
            encoding,
            manners,
            page_max,
            users,
            random,
            link: None,
            old_link: None,
            known: BTreeMap::new(),
            unacked: BTreeMap::new(),
            ever_sent: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            requests: 0,
            next_action,
            reading_again: Duration::ZERO,
            well_behaved: false,
            silent: false,
        }
    }

    pub fn position(&self, conversation: u128) -> u64 {
        self.known.get(&conversation).map_or(0, |known| known.position)
    }

    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    pub fn is_ready(&self, network: &Network, now: Duration) -> bool {
        let ready = |link: &Link| now >= self.reading_again && network.client_is_ready(link.socket);
        self.link.as_ref().is_some_and(ready) || self.old_link.as_ref().is_some_and(ready)
    }

    /// Reads what has arrived, does what is due, writes what fits.
    ///
    /// # Errors
    /// If what arrives is not what the gateway may say.
    pub fn step(&mut self, around: &mut Surroundings<'_>) -> Result<(), String> {
        let now = around.network.clock.monotonic;
        if now >= self.reading_again {
            if let Some(old) = self.old_link.take() {
                self.old_link = self.read(old, around, false)?;
            }
            if let Some(link) = self.link.take() {
                self.link = self.read(link, around, true)?;
            }
        }
        if now >= self.next_action {
            self.next_action = now + self.random.delay(self.manners.pause * 4) + Duration::from_micros(50);
            self.act(around, now);
        }
        for link in self.link.iter_mut().chain(&mut self.old_link) {
            let taken = around.network.client_writes(link.socket, &link.outgoing);
            link.outgoing.drain(..taken);
        }
        // What did not fit is tried again soon.
        if self.link.iter().chain(&self.old_link).any(|link| !link.outgoing.is_empty()) {
            self.next_action = self.next_action.min(now + Duration::from_millis(5));
        }
        Ok(())
    }

    fn act(&mut self, around: &mut Surroundings<'_>, now: Duration) {
        let Some(link) = &self.link else { return self.connect(around, now) };
        if !link.welcomed {
            if now > link.since + WELCOME_TIMEOUT {
                self.hang_up(around);
            }
            return;
        }
        if link.shut {
            return;
        }
        self.acknowledge();
        self.resend(around, now);
        self.fill_gaps(now);
        if self.well_behaved {
            self.reading_again = Duration::ZERO;
            if !self.silent {
                self.send_something(around, now);
            }
            return;
        }
        let manners = self.manners;
        if self.random.chance(manners.disconnects) {
            return self.leave(around);
        }
        if self.random.chance(manners.twins) && self.old_link.is_none() {
            self.old_link = self.link.take();
            return self.connect(around, now);
        }
        if self.random.chance(manners.stops_reading) {
            self.reading_again = now + self.random.delay(Duration::from_secs(2));
        }
        if self.random.chance(manners.creates) || self.known.is_empty() {
            self.create(around);
        }
        if self.random.chance(manners.syncs) {
            self.sync(around);
        }
        if self.random.chance(manners.histories) {
            self.history();
        }
        if self.random.chance(manners.trespasses) && !around.conversations.is_empty() {
            let conversation = self.random.pick(around.conversations);
            self.send_to(around, conversation, now);
        }
        if self.random.chance(10) {
            self.say(&ClientFrame::Ping);
        }
        self.send_something(around, now);
    }

    fn connect(&mut self, around: &mut Surroundings<'_>, now: Duration) {
        let Some(socket) = around.network.connect() else { return };
        let expires_at = around.network.clock.wall_ms / 1000 + 10_000_000;
        let identity = Identity { user: UserId(self.user), device: DeviceId(self.device), expires_at };
        let token = around.keys.sign(identity).expect("claims without floats are always JSON");
        let subprotocol = match self.encoding {
            Encoding::Binary => "tidegate.v1",
            Encoding::Json => "tidegate.v1.json",
        };
        let mut outgoing = format!(
            "GET /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .into_bytes();
        let mut viewer = Viewer::new(self.user, self.device, around.hello_may_be_late);
        // Some name what they have, some less than that, some trust the gateway to know.
        let rolls_back = self.random.chance(200);
        let mut cursors = Vec::new();
        if self.random.chance(800) {
            for (conversation, known) in &mut self.known {
                if rolls_back && !self.well_behaved {
                    known.position -= self.random.within(0..known.position.min(5) + 1);
                    known.beyond.clear();
                }
                cursors.push((*conversation, known.position));
            }
            viewer.note_hello(&cursors);
        }
        let cursors =
            cursors.into_iter().map(|(conversation, last_seq)| Cursor { conversation, last_seq }).collect();
        let hello = ClientFrame::Hello(Hello { cursors, client: "sim".into() });
        // Right behind the request head, as a client in a hurry does.
        outgoing.extend(say(self.encoding, 0, &hello, self.random.draw() as u32));
        around.viewers.insert(socket, viewer);
        for draft in self.unacked.values_mut() {
            draft.sent_at = None;
        }
        for known in self.known.values_mut() {
            known.asked_history = None;
        }
        self.link = Some(Link {
            socket,
            head: Some(Vec::new()),
            decoder: Decoder::client(MESSAGE_BYTES_MAX),
            outgoing,
            welcomed: false,
            since: now,
            arrived: 0,
            shut: false,
        });
    }

    /// Says a frame on the present connection.
    fn say(&mut self, frame: &ClientFrame) -> u64 {
        self.requests += 1;
        let key = self.random.draw() as u32;
        if let Some(link) = &mut self.link {
            link.outgoing.extend(say(self.encoding, self.requests, frame, key));
        }
        self.requests
    }

    fn send_something(&mut self, around: &mut Surroundings<'_>, now: Duration) {
        if self.known.is_empty() || self.unacked.len() >= UNACKED_MAX {
            return;
        }
        let index = self.random.index(self.known.len());
        if let Some(conversation) = self.known.keys().nth(index).copied() {
            self.send_to(around, conversation, now);
        }
    }

    fn send_to(&mut self, around: &mut Surroundings<'_>, conversation: u128, now: Duration) {
        let client_id = u128::from(self.random.draw()) << 60 | u128::from(self.random.draw());
        let length = self.random.within(1..self.manners.body_bytes + 1) as usize;
        let body = vec![b'a' + (self.requests % 26) as u8; length];
        self.unacked.insert(client_id, Draft { conversation, body, sent_at: None, retry_at: now });
        self.send(around, client_id, now);
        if self.random.chance(self.manners.repeats) {
            self.send(around, client_id, now);
        }
    }

    fn send(&mut self, around: &mut Surroundings<'_>, client_id: u128, now: Duration) {
        let Some(draft) = self.unacked.get_mut(&client_id) else { return };
        draft.sent_at = Some(now);
        let conversation = draft.conversation;
        // Every third writes its id as it likes.
        let client_ref = match client_id % 3 {
            0 => tidegate_uuid(client_id),
            _ => String::new(),
        };
        let send = ClientFrame::Send(Send {
            conversation,
            client_id,
            client_time: 0,
            reply_to: 0,
            kind: MessageKind::Text as u8,
            body: draft.body.clone(),
            client_ref,
        });
        if let Some(link) = &self.link
            && let Some(viewer) = around.viewers.get_mut(&link.socket)
        {
            let first = self.ever_sent.insert((conversation, client_id));
            viewer.note_send(conversation, client_id, first);
            self.say(&send);
        }
    }

    fn resend(&mut self, around: &mut Surroundings<'_>, now: Duration) {
        let due: Vec<_> = self
            .unacked
            .iter()
            .filter(|(_, draft)| match draft.sent_at {
                None => now >= draft.retry_at,
                Some(at) => now > at + ANSWER_TIMEOUT,
            })
            .map(|(client_id, _)| *client_id)
            .collect();
        for client_id in due {
            self.send(around, client_id, now);
        }
    }

    fn acknowledge(&mut self) {
        let news: Vec<_> = self
            .known
            .iter()
            .filter(|(conversation, known)| {
                known.position > self.acknowledged.get(*conversation).copied().unwrap_or(0)
            })
            .map(|(conversation, known)| (*conversation, known.position))
            .collect();
        for (conversation, up_to_seq) in news {
            if self.random.chance(500) {
                self.acknowledged.insert(conversation, up_to_seq);
                self.say(&ClientFrame::Received(UpTo { conversation, up_to_seq }));
            }
        }
    }

    /// Asks for what `has_more` left out, or what it forgot.
    fn fill_gaps(&mut self, now: Duration) {
        let gaps: Vec<_> = self
            .known
            .iter_mut()
            .filter(|(_, known)| {
                !known.beyond.is_empty()
                    && known.asked_history.is_none_or(|(_, at)| now > at + ANSWER_TIMEOUT)
            })
            .map(|(conversation, known)| (*conversation, known.position))
            .collect();
        for (conversation, position) in gaps {
            let request = self.ask_history(conversation, position);
            if let Some(known) = self.known.get_mut(&conversation) {
                known.asked_history = Some((request, now));
            }
        }
    }

    fn ask_history(&mut self, conversation: u128, after_seq: u64) -> u64 {
        let limit = self.page_max;
        self.say(&ClientFrame::History(History {
            conversation,
            before_seq: History::BEFORE_UNSET,
            after_seq,
            limit,
        }))
    }

    fn history(&mut self) {
        if let Some((conversation, position)) = self.some_conversation() {
            let after = self.random.within(0..position + 2);
            self.ask_history(conversation, after);
        }
    }

    fn sync(&mut self, around: &mut Surroundings<'_>) {
        let Some((conversation, position)) = self.some_conversation() else { return };
        let last_seq = self.random.within(0..position + 1);
        if let Some(viewer) = self.link.as_ref().and_then(|link| around.viewers.get_mut(&link.socket)) {
            viewer.note_sync(conversation, last_seq);
        }
        self.say(&ClientFrame::Sync(Sync { cursors: vec![Cursor { conversation, last_seq }] }));
    }

    fn some_conversation(&mut self) -> Option<(u128, u64)> {
        if self.known.is_empty() {
            return None;
        }
        let index = self.random.index(self.known.len());
        self.known.iter().nth(index).map(|(conversation, known)| (*conversation, known.position))
    }

    fn create(&mut self, around: &Surroundings<'_>) {
        // A world with many conversations has few messages in each.
        if around.conversations.len() >= 2 * self.users as usize {
            return;
        }
        let direct = self.random.chance(400);
        let count = if direct { 1 } else { self.random.within(1..self.users + 1) };
        let members = (0..count).map(|_| self.random.within(1..self.users + 1)).collect();
        let kind = if direct { 1 } else { 2 };
        self.say(&ClientFrame::Create(Create { members, kind, name: String::new() }));
    }

    fn leave(&mut self, around: &mut Surroundings<'_>) {
        match self.random.within(0..3) {
            0 => self.hang_up(around),
            1 => {
                if let Some(link) = &mut self.link {
                    around.network.client_shuts(link.socket);
                    link.shut = true;
                }
            }
            _ => {
                let key = [1, 2, 3, 4];
                if let Some(link) = &mut self.link {
                    link.outgoing.extend(masked(Opcode::Close, &1000_u16.to_be_bytes(), key));
                    link.shut = true;
                }
            }
        }
    }

    fn hang_up(&mut self, around: &mut Surroundings<'_>) {
        if let Some(link) = self.link.take() {
            around.network.client_closes(link.socket);
        }
    }

    /// Takes in what has arrived. `None`: the connection is over.
    fn read(
        &mut self,
        mut link: Link,
        around: &mut Surroundings<'_>,
        present: bool,
    ) -> Result<Option<Link>, String> {
        for _ in 0..64 {
            match around.network.client_reads(link.socket) {
                Look::Nothing => return Ok(Some(link)),
                Look::End => {
                    around.network.client_shuts(link.socket);
                    around.network.client_closes(link.socket);
                    return Ok(None);
                }
                Look::Reset => {
                    around.network.client_closes(link.socket);
                    return Ok(None);
                }
                Look::Bytes(bytes) => self.take(&mut link, around, bytes, present)?,
            }
        }
        self.next_action = self.next_action.min(around.network.clock.monotonic + Duration::from_micros(100));
        Ok(Some(link))
    }

    fn take(
        &mut self,
        link: &mut Link,
        around: &mut Surroundings<'_>,
        bytes: Vec<u8>,
        present: bool,
    ) -> Result<(), String> {
        let viewer = &around.viewers[&link.socket];
        let end = link.arrived + bytes.len();
        if viewer.bytes.get(link.arrived..end) != Some(&bytes[..]) {
            return Err(format!(
                "bytes {}..{end} of {:?} are not those handed over",
                link.arrived, link.socket
            ));
        }
        link.arrived = end;
        if viewer.refused {
            return Ok(());
        }
        let mut rest = bytes;
        if let Some(head) = &mut link.head {
            head.extend_from_slice(&rest);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
            rest = head.split_off(end + 4);
            link.head = None;
        }
        let mut heard = Vec::new();
        let mut at = 0;
        loop {
            let (used, item) = link.decoder.next(&mut rest[at..]).map_err(|error| error.to_string())?;
            let Some(item) = item else { break };
            at += used;
            hear(&item, |frame| heard.push(frame))?;
        }
        let now = around.network.clock.monotonic;
        for heard in heard {
            if heard == Heard::Welcome {
                link.welcomed = true;
            }
            if present || !matches!(heard, Heard::Page { .. }) {
                self.on_heard(&heard, now);
            }
        }
        Ok(())
    }

    fn on_heard(&mut self, heard: &Heard, now: Duration) {
        match heard {
            Heard::Ack { conversation, client_id, seq, .. } => {
                self.unacked.remove(client_id);
                self.known.entry(*conversation).or_default().add(*seq);
            }
            Heard::Deliver(message) => self.known.entry(message.conversation).or_default().add(message.seq),
            Heard::Page { request, conversation, messages, .. } => {
                let known = self.known.entry(*conversation).or_default();
                if known.asked_history.is_some_and(|(asked, _)| asked == *request) {
                    known.asked_history = None;
                }
                for message in messages {
                    known.add(message.seq);
                }
            }
            Heard::Created { conversation, .. } => {
                self.known.entry(*conversation).or_default();
            }
            Heard::Error { request, code } => {
                for known in self.known.values_mut() {
                    if known.asked_history.is_some_and(|(asked, _)| asked == *request) {
                        known.asked_history = None;
                    }
                }
                self.on_error(*code, now);
            }
            _ => {}
        }
    }

    /// An error names its request, not its message: every draft that waits is looked at.
    fn on_error(&mut self, code: u16, now: Duration) {
        if code == 503 {
            for draft in self.unacked.values_mut() {
                draft.retry_at = now + Duration::from_millis(200);
                draft.sent_at = None;
            }
        }
        if code == 403 {
            let known = &self.known;
            self.unacked.retain(|_, draft| known.contains_key(&draft.conversation));
        }
    }
}

fn tidegate_uuid(id: u128) -> String {
    tidegate_wire::ConversationId(id).to_string()
}
