//! The opening handshake (RFC 6455 section 4.2): an HTTP/1.1 request in, a switch of protocols or a refusal out.
//! Pure; the token it finds is checked by its caller.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest, Sha1};
use tidegate_wire::Encoding;

/// Bytes of a request head; browsers with cookies stay below 4 KiB, a token adds up to 2.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a connection speaks after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Frames(Encoding),
    /// Every message comes back; for conformance suites.
    Echo,
}

/// A request to switch, complete and well-formed.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade<'a> {
    pub protocol: Protocol,
    pub token: Option<Cow<'a, str>>,
    /// The subprotocol to name in the answer; none was offered when this is `None`.
    pub subprotocol: Option<&'static str>,
    accept: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// More bytes are needed.
    Incomplete,
    /// The head took `used` bytes; what follows belongs to the WebSocket.
    Upgrade {
        used: usize,
        upgrade: Upgrade<'a>,
    },
    Refused(Refusal),
}

/// An HTTP answer that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: &'static str,
    /// A header line of this status, with its line end; or empty.
    pub header: &'static str,
    pub message: Cow<'static, str>,
}

impl Refusal {
    pub fn new(status: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, header: "", message: message.into() }
    }

    /// RFC 9110; the body says the same as JSON.
    #[must_use]
    pub fn to_response(&self) -> Bytes {
        let code = self.status.split(' ').next().unwrap_or_default();
        let body = format!("{{\"code\":{code},\"message\":{}}}\n", serde_json::Value::from(&*self.message));
        format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{body}",
            self.status,
            body.len(),
            self.header
        )
        .into()
    }
}

impl Upgrade<'_> {
    /// The 101 answer.
    #[must_use]
    pub fn to_response(&self) -> Bytes {
        let subprotocol =
            self.subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
            self.accept
        )
        .into()
    }
}

/// Reads a request head. `echo`: whether the echo subprotocol is offered.
#[must_use]
pub fn read(bytes: &[u8], echo: bool) -> Outcome<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Outcome::Incomplete,
        Ok(httparse::Status::Partial) => too_large(),
        // In one piece it could come in whole; it must not make a difference how it was cut.
        Ok(httparse::Status::Complete(used)) if used > HEAD_BYTES_MAX => too_large(),
        Ok(httparse::Status::Complete(used)) => match accept(&request, echo) {
            Ok(upgrade) => Outcome::Upgrade { used, upgrade },
            Err(refusal) => Outcome::Refused(refusal),
        },
        Err(error) => {
            Outcome::Refused(Refusal::new("400 Bad Request", format!("this is no HTTP/1.1 request: {error}")))
        }
    }
}

fn too_large() -> Outcome<'static> {
    Outcome::Refused(Refusal::new(
        "431 Request Header Fields Too Large",
        format!("the request head has more than {HEAD_BYTES_MAX} bytes"),
    ))
}

fn accept<'a>(request: &httparse::Request<'_, 'a>, echo: bool) -> Result<Upgrade<'a>, Refusal> {
    let bad = |message: &'static str| Refusal::new("400 Bad Request", message);
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != "/ws" {
        return Err(Refusal::new(
            "404 Not Found",
            format!("there is nothing at {path}: the WebSocket is at /ws"),
        ));
    }
    if request.method != Some("GET") {
        let message = "a WebSocket is opened with GET";
        return Err(Refusal { header: "Allow: GET\r\n", ..Refusal::new("405 Method Not Allowed", message) });
    }
    if request.version != Some(1) {
        return Err(bad("a WebSocket is opened with HTTP/1.1"));
    }
    if !has_token(request, "upgrade", "websocket") || !has_token(request, "connection", "upgrade") {
        let message = "this is the WebSocket port: send Connection: Upgrade and Upgrade: websocket";
        let header = "Upgrade: websocket\r\n";
        return Err(Refusal { header, ..Refusal::new("426 Upgrade Required", message) });
    }
    if header(request, "sec-websocket-version") != Some("13") {
        let message = "only version 13 of the WebSocket protocol is spoken here";
        let header = "Sec-WebSocket-Version: 13\r\n";
        return Err(Refusal { header, ..Refusal::new("426 Upgrade Required", message) });
    }
    let key = header(request, "sec-websocket-key").ok_or(bad("Sec-WebSocket-Key is missing"))?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let (protocol, subprotocol, offered_token) = subprotocol(request, echo)?;
    let token = header(request, "authorization")
        .and_then(|value| value.strip_prefix("Bearer ").or(value.strip_prefix("bearer ")))
        .map(|token| Cow::Borrowed(token.trim()))
        .or_else(|| query_value(query, "token"))
        .or(offered_token.map(Cow::Borrowed));
    Ok(Upgrade { protocol, token, subprotocol, accept: accept_key(key) })
}

/// RFC 6455 section 4.2.2, step 5.4.
fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    STANDARD.encode(hash.finalize())
}

/// The first offered subprotocol that we speak. Browsers cannot set headers, so a token may be among them, as
/// `tidegate.token.<token>`.
fn subprotocol<'a>(
    request: &httparse::Request<'_, 'a>,
    echo: bool,
) -> Result<(Protocol, Option<&'static str>, Option<&'a str>), Refusal> {
    let mut chosen = None;
    let mut token = None;
    let mut offered = false;
    for name in values(request, "sec-websocket-protocol") {
        match name {
            "tidegate.v1" => chosen = chosen.or(Some((Protocol::Frames(Encoding::Binary), "tidegate.v1"))),
            "tidegate.v1.json" => {
                chosen = chosen.or(Some((Protocol::Frames(Encoding::Json), "tidegate.v1.json")))
            }
            "tidegate.echo" if echo => chosen = chosen.or(Some((Protocol::Echo, "tidegate.echo"))),
            name => {
                if let Some(found) = name.strip_prefix("tidegate.token.") {
                    token = Some(found);
                    continue;
                }
            }
        }
        offered = true;
    }
    match chosen {
        Some((protocol, name)) => Ok((protocol, Some(name), token)),
        None if offered => Err(Refusal::new(
            "400 Bad Request",
            "none of the offered subprotocols is spoken here: offer tidegate.v1 or tidegate.v1.json",
        )),
        None => Ok((Protocol::Frames(Encoding::Json), None, token)),
    }
}

fn header<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

/// The comma-separated values of all headers of this name.
fn values<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> impl Iterator<Item = &'a str> {
    request
        .headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|value| !value.is_empty())
}

fn has_token(request: &httparse::Request<'_, '_>, name: &str, token: &str) -> bool {
    values(request, name).any(|value| value.eq_ignore_ascii_case(token))
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decoded(value))
}

/// RFC 3986 section 2.1. What is no escape stays as it is.
fn percent_decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, extra: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
        )
    }

    fn upgrade(request: &str) -> Upgrade<'_> {
        match read(request.as_bytes(), false) {
            Outcome::Upgrade { used, upgrade } => {
                assert_eq!(used, request.len());
                upgrade
            }
            other => panic!("{other:?}"),
        }
    }

    fn status(request: &str) -> &'static str {
        match read(request.as_bytes(), false) {
            Outcome::Refused(refusal) => refusal.status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_rfc_6455_is_answered_as_it_says() {
        let request = request("/ws", "Sec-WebSocket-Protocol: chat, tidegate.v1\r\n");
        let response = upgrade(&request).to_response();
        let response = std::str::from_utf8(&response).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        assert!(
            response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{response}"
        );
        assert!(response.contains("\r\nSec-WebSocket-Protocol: tidegate.v1\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_token_is_found_wherever_it_may_stand() {
        for (target, extra) in [
            ("/ws", "Authorization: Bearer a.b-c\r\n"),
            ("/ws?x=1&token=a.b%2Dc", ""),
            ("/ws", "Sec-WebSocket-Protocol: tidegate.v1.json, tidegate.token.a.b-c\r\n"),
        ] {
            assert_eq!(upgrade(&request(target, extra)).token.as_deref(), Some("a.b-c"), "{target} {extra}");
        }
        assert_eq!(upgrade(&request("/ws", "")).token, None);
    }

    #[test]
    fn without_a_subprotocol_it_is_json() {
        let plain = request("/ws", "");
        let plain = upgrade(&plain);
        assert_eq!((plain.protocol, plain.subprotocol), (Protocol::Frames(Encoding::Json), None));
        let token_only = request("/ws", "Sec-WebSocket-Protocol: tidegate.token.x\r\n");
        assert_eq!(upgrade(&token_only).protocol, Protocol::Frames(Encoding::Json));
    }

    #[test]
    fn echo_is_spoken_only_where_it_was_asked_for() {
        let request = request("/ws", "Sec-WebSocket-Protocol: tidegate.echo\r\n");
        assert_eq!(status(&request), "400 Bad Request");
        let Outcome::Upgrade { upgrade, .. } = read(request.as_bytes(), true) else { panic!() };
        assert_eq!(upgrade.protocol, Protocol::Echo);
    }

    #[test]
    fn each_wrong_request_gets_its_status() {
        assert_eq!(status("POST /ws HTTP/1.1\r\n\r\n"), "405 Method Not Allowed");
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "404 Not Found");
        assert_eq!(status("GET /ws HTTP/1.1\r\n\r\n"), "426 Upgrade Required");
        assert_eq!(status(&request("/ws", "").replace("n: 13", "n: 8")), "426 Upgrade Required");
        assert_eq!(status(&request("/ws", "").replace("dGhl", "")), "400 Bad Request");
        assert_eq!(status("\x16\x03\x01 tls\r\n\r\n"), "400 Bad Request");
        let endless = format!("GET /ws HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(status(&endless), "431 Request Header Fields Too Large");
    }

    #[test]
    fn every_prefix_of_a_request_is_incomplete() {
        let request = request("/ws", "");
        for end in 0..request.len() {
            assert_eq!(read(&request.as_bytes()[..end], false), Outcome::Incomplete, "{end}");
        }
    }
}
