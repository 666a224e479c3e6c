//! A gateway in a few lines, with one fault. Blocking, a thread per connection, one lock around everything, nothing
//! durable.

#![allow(clippy::unwrap_used, reason = "part of a test: a panic is its report")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use tidegate_wire::frames::{self, Ack, Created, Deliver, Welcome};
use tidegate_wire::request::{self, Frames, Request};
use tidegate_wire::server::{self, Delivery, Encoding, ServerFrame};
use tidegate_wire::websocket::{CLIENT_MESSAGE_BYTES_MAX, Decoder, Item};

/// What goes wrong, once, with message 20 of the first conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One member does not get it.
    Lose,
    /// One member gets it twice.
    Repeat,
    /// One member gets it after the next delivery.
    Swap,
    Alter,
    KeepAck,
    Refuse,
    /// One member's connection is closed.
    Drop,
}

const SECRET: &str = "a secret of thirty-two characters";
const FAULTY_SEQ: u64 = 20;

pub struct FaultyGateway {
    address: SocketAddr,
    directory: tempfile::TempDir,
}

struct State {
    fault: Fault,
    has_struck: bool,
    sessions: HashMap<u64, TcpStream>,
    /// Members and last sequence, by id less one.
    conversations: Vec<(Vec<u64>, u64)>,
    /// What `Fault::Swap` holds back, for whom.
    held: Option<(u64, Delivery)>,
}

impl FaultyGateway {
    pub fn start(fault: Fault) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), SECRET).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            fault,
            has_struck: false,
            sessions: HashMap::new(),
            conversations: Vec::new(),
            held: None,
        };
        let state = Arc::new(Mutex::new(state));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        Self { address, directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn secret_file(&self) -> PathBuf {
        Path::join(self.directory.path(), "secret")
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer).unwrap();
        head.extend_from_slice(&buffer[..read]);
    }
    let user = user_of(std::str::from_utf8(&head).unwrap());
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").unwrap();
    state.lock().unwrap().sessions.insert(user, stream.try_clone().unwrap());
    let mut decoder = Decoder::server(CLIENT_MESSAGE_BYTES_MAX);
    // Ends with the client, or with the fault that closes the connection.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let mut at = 0;
        loop {
            let (used, item) = decoder.next(&mut buffer[at..read]).unwrap();
            at += used;
            match item {
                Some(Item::Binary(message)) => {
                    for frame in Frames::new(message) {
                        let (header, body) = frame.unwrap();
                        let request = request::parse(&header, body).unwrap();
                        state.lock().unwrap().on_request(user, header.request, &request);
                    }
                }
                Some(other) => panic!("{other:?} was not to be sent"),
                None => break,
            }
        }
    }
}

fn user_of(head: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }
    let token = head.lines().find_map(|line| line.strip_prefix("Authorization: Bearer ")).unwrap();
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let claims =
        jsonwebtoken::decode::<Claims>(token, &key, &Validation::new(Algorithm::HS256)).unwrap().claims;
    claims.sub.parse().unwrap()
}

impl State {
    fn on_request(&mut self, user: u64, number: u64, request: &Request<'_>) {
        match request {
            Request::Hello { .. } => self.answer(user, 0, &ServerFrame::Welcome(welcome(user))),
            Request::Create { members, .. } => {
                let everyone = std::iter::once(user).chain(members.iter()).collect();
                self.conversations.push((everyone, 0));
                let conversation = self.conversations.len() as u128;
                self.answer(user, number, &ServerFrame::Created(Created { conversation }));
            }
            Request::Send(send) => self.on_send(user, number, send),
            _ => panic!("the load does not ask this"),
        }
    }

    fn on_send(&mut self, user: u64, number: u64, send: &request::Send<'_>) {
        let place = usize::try_from(send.conversation.0 - 1).unwrap();
        let next = self.conversations[place].1 + 1;
        let strikes = place == 0 && next == FAULTY_SEQ && !self.has_struck;
        self.has_struck |= strikes;
        let fault = if strikes { self.fault } else { Fault::None };
        if fault == Fault::Refuse {
            let error = frames::Error { code: 503, retry_after_ms: 0, message: "storage is away".to_owned() };
            return self.answer(user, number, &ServerFrame::Error(error));
        }
        self.conversations[place].1 = next;
        let (conversation, client_id) = (send.conversation.0, send.client_id.0);
        let mut deliver = Deliver {
            conversation,
            client_id,
            seq: next,
            message_id: next,
            sender: user,
            created: 1,
            client_time: send.client_time,
            reply_to: 0,
            kind: send.kind as u8,
            body: send.body.to_vec(),
            client_ref: String::new(),
        };
        if fault != Fault::KeepAck {
            let ack = Ack {
                conversation,
                client_id,
                seq: next,
                message_id: next,
                created: 1,
                client_ref: String::new(),
            };
            self.answer(user, number, &ServerFrame::Ack(ack));
        }
        let right = Delivery::encode(&deliver);
        deliver.body[0] ^= 1;
        let altered = Delivery::encode(&deliver);
        let others = self.conversations[place].0.clone().into_iter().filter(|&member| member != user);
        for (index, member) in others.enumerate() {
            match (fault, index) {
                (Fault::Lose, 0) => {}
                (Fault::Repeat, 0) => (0..2).for_each(|_| self.deliver(member, &right)),
                (Fault::Swap, 0) => self.held = Some((member, right.clone())),
                (Fault::Alter, 0) => self.deliver(member, &altered),
                (Fault::Drop, 0) => self.sessions[&member].shutdown(Shutdown::Both).unwrap(),
                _ => {
                    self.deliver(member, &right);
                    if place == 0 && self.held.as_ref().is_some_and(|(held, _)| *held == member) {
                        let (member, held) = self.held.take().expect("it is there");
                        self.deliver(member, &held);
                    }
                }
            }
        }
    }

    fn deliver(&mut self, user: u64, delivery: &Delivery) {
        self.write(user, delivery.message());
    }

    fn answer(&mut self, user: u64, number: u64, frame: &ServerFrame) {
        self.write(user, &server::encode(Encoding::Binary, number, frame));
    }

    /// A session that was dropped, or whose client has finished, gets nothing.
    fn write(&mut self, user: u64, bytes: &[u8]) {
        let mut stream = &self.sessions[&user];
        if stream.write_all(bytes).is_err() {
            assert!(self.fault == Fault::Drop, "user {user} is gone");
        }
    }
}

fn welcome(user: u64) -> Welcome {
    Welcome {
        user,
        device: 1,
        session: 1,
        server_time: 1,
        node: 0,
        heartbeat_ms: 30_000,
        message_bytes_max: CLIENT_MESSAGE_BYTES_MAX,
        body_characters_max: 4000,
        page_messages_max: 100,
    }
}
