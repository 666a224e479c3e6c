//! A client that writes any bytes: HTTP requests and WebSocket frames that no library would make.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::{Gateway, PATIENCE};

/// A blocking connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer to an HTTP request.
#[derive(Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A frame of the gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Raw {
    pub fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(&gateway.ws).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, unread: Vec::new() }
    }

    /// An upgraded connection with its welcome read.
    pub fn session(gateway: &Gateway, user: u64, device: u64, subprotocol: &str) -> Self {
        let mut raw = Self::connect(gateway);
        let token = gateway.token(user, device);
        let answer = raw.http(&upgrade(&[
            ("Authorization", &format!("Bearer {token}")),
            ("Sec-WebSocket-Protocol", subprotocol),
        ]));
        assert_eq!(answer.status, 101, "{answer:?}");
        let welcome = raw.frame().expect("a welcome");
        assert!(matches!(welcome.opcode, 1 | 2), "{welcome:?}");
        raw
    }

    /// Sends bytes. A gateway that has hung up already is not an error here: what it said is still to be read.
    pub fn write(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Sends a request and reads its answer.
    pub fn http(&mut self, request: &str) -> HttpAnswer {
        self.write(request.as_bytes());
        self.http_answer().expect("the gateway answers")
    }

    /// Reads an HTTP answer; `None` if the connection ends without one.
    pub fn http_answer(&mut self) -> Option<HttpAnswer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more() {
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("HTTP heads are ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status line has a number");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().expect("a length is a number"));
        while self.unread.len() < length && self.read_more() {}
        let body: Vec<u8> = self.unread.drain(..length.min(self.unread.len())).collect();
        Some(HttpAnswer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, used)) = parse(&self.unread) {
                self.unread.drain(..used);
                return Some(frame);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// The code with which the gateway closes; whatever comes before is skipped.
    ///
    /// # Panics
    /// If the connection ends without a close frame.
    pub fn close_code(&mut self) -> u16 {
        loop {
            let frame = self.frame().expect("the gateway says why it closes");
            if frame.opcode == 8 {
                assert!(frame.payload.len() >= 2, "a close without a code");
                std::str::from_utf8(&frame.payload[2..]).expect("a close reason is UTF-8");
                return u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
            }
        }
    }

    /// The gateway closes the socket as well, and says nothing more.
    pub fn assert_ended(&mut self) {
        assert_eq!(self.frame(), None, "the connection is over");
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("waited in vain for the gateway: {error}"),
        }
    }
}

/// How a frame is to look.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub fin: bool,
    /// The three reserved bits.
    pub reserved: u8,
    pub opcode: u8,
    pub masked: bool,
}

/// A whole, masked message of this opcode.
pub const fn whole(opcode: u8) -> Shape {
    Shape { fin: true, reserved: 0, opcode, masked: true }
}

/// A frame with a correct length.
#[must_use]
pub fn frame(shape: Shape, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(shape, payload.len() as u64);
    if shape.masked {
        bytes.extend_from_slice(&MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// The header alone, without the mask, announcing any length.
#[must_use]
pub fn header(shape: Shape, length: u64) -> Vec<u8> {
    let mask_bit = u8::from(shape.masked) << 7;
    let mut bytes = vec![(u8::from(shape.fin) << 7) | (shape.reserved << 4) | shape.opcode];
    match length {
        0..=125 => bytes.push(mask_bit | u8::try_from(length).expect("matched above")),
        126..=0xffff => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&u16::try_from(length).expect("matched above").to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

/// An upgrade request for `/ws` with these headers beside the usual ones.
#[must_use]
pub fn upgrade(headers: &[(&str, &str)]) -> String {
    request("GET", "/ws", &[&UPGRADE, headers].concat())
}

/// Any request.
#[must_use]
pub fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request
}

/// What makes a request an upgrade (RFC 6455 section 4.1; the key is that of its section 1.3).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a gateway never masks");
    let (length, at) = match second {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = at + usize::try_from(length).expect("lengths fit");
    let payload = bytes.get(at..end)?.to_vec();
    Some((Frame { opcode: first & 0xf, payload }, end))
}
