//! One client connection: upgrade, frames out, frames in. Reads into the caller's buffer and keeps none of its own, so that
//! thousands of them cost the client little.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tidegate_wire::client::ClientFrame;
use tidegate_wire::header::Header;
use tidegate_wire::websocket::{self, Decoder, GATEWAY_MESSAGE_BYTES_MAX, Item, Opcode};

use crate::poller::Interest;

/// How long a gateway may take to answer the upgrade request.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
/// A response head longer than this is no answer to an upgrade request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    decoder: Decoder,
    out: Vec<u8>,
    is_blocked: bool,
    frame: Vec<u8>,
    /// Came behind the upgrade's response.
    early: Vec<u8>,
    mask: u32,
}

/// Whether the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Open,
    /// The gateway closed; why, as far as it said.
    Ended(String),
}

impl Session {
    /// Connects and upgrades (blocking). The session does not block afterwards.
    pub fn connect(gateway: SocketAddr, token: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(gateway).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrNotAvailable => {
                    "one client address has too few ports for that many connections"
                }
                _ => "check that a gateway listens there",
            };
            format!("cannot connect to {gateway}: {error}; {remedy}")
        })?;
        let early = upgrade(&mut stream, gateway, token)?;
        let adjust = |error: io::Error| format!("cannot set up the socket to {gateway}: {error}");
        stream.set_nodelay(true).map_err(adjust)?;
        stream.set_nonblocking(true).map_err(adjust)?;
        let port = stream.local_addr().map_err(adjust)?.port();
        Ok(Self {
            stream,
            decoder: Decoder::client(GATEWAY_MESSAGE_BYTES_MAX),
            out: Vec::new(),
            is_blocked: false,
            frame: Vec::new(),
            early,
            mask: u32::from(port) | 1 << 16,
        })
    }

    /// Puts a frame, as a message of its own, behind what waits to be sent.
    pub fn send(&mut self, frame: &ClientFrame, request: u64) {
        self.frame.clear();
        frame.append(&mut self.frame, request);
        let frame = std::mem::take(&mut self.frame);
        self.message(Opcode::Binary, &frame);
        self.frame = frame;
    }

    /// Sends what waits, in one system call. Says what to watch the socket for, if that changes: writing while the
    /// kernel does not take everything.
    pub fn flush(&mut self) -> io::Result<Option<Interest>> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let was_blocked = std::mem::replace(&mut self.is_blocked, !self.out.is_empty());
        let interest = if self.is_blocked { Interest::ReadAndWrite } else { Interest::Read };
        Ok((was_blocked != self.is_blocked).then_some(interest))
    }

    /// Reads once, and hands out every whole frame (header, body, padding) that arrived. `now` is asked after the
    /// read, so that its cost is part of the latency. Pings are answered with the next flush.
    pub fn receive<T>(
        &mut self,
        scratch: &mut [u8],
        now: impl FnOnce() -> T,
        mut on_frame: impl FnMut(&T, Header, &[u8]),
    ) -> io::Result<Received> {
        let early = std::mem::take(&mut self.early);
        let read = if early.is_empty() {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(Received::Ended("end of stream without a close frame".to_owned())),
                Ok(read) => read,
                Err(error) if is_transient(&error) => return Ok(Received::Open),
                Err(error) => return Err(error),
            }
        } else {
            scratch[..early.len()].copy_from_slice(&early);
            early.len()
        };
        let at = now();
        let mut used = 0;
        loop {
            let (consumed, item) = self.decoder.next(&mut scratch[used..read]).map_err(broken)?;
            used += consumed;
            match item {
                Some(Item::Binary(payload)) => split(payload, |header, frame| on_frame(&at, header, frame))?,
                Some(Item::Text(_)) => return Err(broken("a text message on a binary session")),
                Some(Item::Ping(payload)) => {
                    let payload = payload.to_vec();
                    self.message(Opcode::Pong, &payload);
                }
                Some(Item::Pong(_)) => {}
                Some(Item::Close { code, reason }) => {
                    return Ok(Received::Ended(format!("closed with {code:?} {reason:?}")));
                }
                None => return Ok(Received::Open),
            }
        }
    }

    /// Bytes came with the upgrade's response: they are read without the socket becoming readable.
    #[must_use]
    pub fn has_early_bytes(&self) -> bool {
        !self.early.is_empty()
    }

    /// Something waits to be flushed.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    fn message(&mut self, opcode: Opcode, payload: &[u8]) {
        // xorshift32: fresh for every frame; nobody here attacks a proxy.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        self.out.extend_from_slice(&websocket::masked(opcode, payload, self.mask.to_ne_bytes()));
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The frames of a message, each with its header still in front.
fn split(mut message: &[u8], mut on_frame: impl FnMut(Header, &[u8])) -> io::Result<()> {
    while !message.is_empty() {
        let header =
            Header::read(message).filter(|header| header.frame_bytes() <= message.len()).ok_or_else(
                || broken(format!("a frame does not end within its message, {} bytes before", message.len())),
            )?;
        let (frame, rest) = message.split_at(header.frame_bytes());
        on_frame(header, frame);
        message = rest;
    }
    Ok(())
}

/// Returns what came behind the response.
fn upgrade(stream: &mut TcpStream, gateway: SocketAddr, token: &str) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("no answer to the upgrade request from {gateway}: {error}");
    stream.set_read_timeout(Some(UPGRADE_TIMEOUT)).map_err(failed)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {gateway}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: tidegate.v1\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    let end = loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(format!(
                "{gateway} answered the upgrade request with {} bytes without an end",
                head.len()
            ));
        }
        match stream.read(&mut chunk).map_err(failed)? {
            0 => return Err(refused(gateway, &head)),
            read => head.extend_from_slice(&chunk[..read]),
        }
    };
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(refused(gateway, &head));
    }
    Ok(head.split_off(end))
}

fn refused(gateway: SocketAddr, head: &[u8]) -> String {
    format!(
        "{gateway} refused the upgrade: {:?}; check the secret and that this is a gateway's port",
        String::from_utf8_lossy(head)
    )
}

fn broken(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the gateway broke the protocol: {what}"))
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;
    use tidegate_wire::frames::{Ack, kind};
    use tidegate_wire::server::{self, Encoding, ServerFrame};

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    /// A peer that answers the upgrade with `answer` and goes on to send `rest` once it has read another byte.
    fn peer(answer: Vec<u8>, rest: Vec<u8>) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            assert!(bytes[..read].ends_with(b"\r\n\r\n"));
            stream.write_all(&answer).unwrap();
            let read = stream.read(&mut bytes).unwrap();
            stream.write_all(&rest).unwrap();
            bytes.truncate(read);
            bytes
        });
        (address, thread)
    }

    fn ack(seq: u64) -> Vec<u8> {
        let ack =
            Ack { conversation: 1, client_id: 2, seq, message_id: 3, created: 4, client_ref: String::new() };
        server::encode(Encoding::Binary, seq, &ServerFrame::Ack(ack)).to_vec()
    }

    fn receive(session: &mut Session, requests: &mut Vec<u64>) -> Received {
        session
            .receive(
                &mut [0; 4096],
                || (),
                |(), header, frame| {
                    assert_eq!((header.kind, header.frame_bytes()), (kind::ACK, frame.len()));
                    requests.push(header.request);
                },
            )
            .unwrap()
    }

    #[test]
    fn frames_behind_the_upgrade_and_after_it_arrive_in_order() {
        let answer = [ANSWER, &ack(1), &ack(2)[..10]].concat();
        let (address, thread) = peer(answer, [&ack(2)[10..], &websocket::ping(b"hi"), &ack(3)].concat());
        let mut session = Session::connect(address, "t").unwrap();
        let mut requests = Vec::new();
        session.send(&ClientFrame::Ping, 5);
        assert_eq!(session.flush().unwrap(), None);
        let end = loop {
            match receive(&mut session, &mut requests) {
                Received::Open => {}
                Received::Ended(why) => break why,
            }
        };
        assert_eq!(requests, [1, 2, 3]);
        assert!(session.has_unsent(), "the ping was answered");
        assert!(end.contains("end of stream"), "{end}");
        let sent = thread.join().unwrap();
        assert_eq!(sent[..2], [0x82, 0x80 + 16], "a masked binary message of one 16-byte frame");
    }

    #[test]
    fn a_refusal_shows_what_the_gateway_said() {
        let (address, _thread) = peer(b"HTTP/1.1 401 Unauthorized\r\n\r\ntoken expired".to_vec(), Vec::new());
        let error = Session::connect(address, "t").unwrap_err();
        assert!(error.contains("401 Unauthorized"), "{error}");
    }
}
