//! What must hold for any bytes that arrive on a new connection. Shared by the fuzz target and the replay of its corpus;
//! both have the module `handshake` at their root.

use super::handshake::{HEAD_BYTES_MAX, Outcome, Protocol, Refusal, Upgrade, read};

/// Any bytes are incomplete, an upgrade or a refusal; how the kernel cut them makes no difference; and the answer is
/// well-formed whatever was asked.
///
/// `data`: one byte of settings (bit 0: the echo subprotocol is offered), the bytes.
pub fn http_upgrade(data: &[u8]) {
    let [settings, bytes @ ..] = data else { return };
    let echo = settings & 1 == 1;
    let whole = read(bytes, echo);
    match &whole {
        Outcome::Incomplete => assert!(bytes.len() < HEAD_BYTES_MAX, "waits for more than the bound"),
        Outcome::Upgrade { used, upgrade } => {
            assert!((1..=bytes.len().min(HEAD_BYTES_MAX)).contains(used), "{used} of {}", bytes.len());
            // What follows the head belongs to the WebSocket and means nothing here.
            assert_eq!(read(&bytes[..*used], echo), whole);
            switches(upgrade, echo);
        }
        Outcome::Refused(refusal) => refuses(refusal),
    }
    for end in cuts(bytes.len()) {
        let part = read(&bytes[..end], echo);
        match &whole {
            Outcome::Upgrade { used, .. } if end < *used => {
                assert_eq!(part, Outcome::Incomplete, "cut at {end}")
            }
            _ => assert!(
                part == Outcome::Incomplete || part == whole,
                "cut at {end}: {part:?}, then {whole:?}"
            ),
        }
    }
}

/// Every place to cut a short head; of a long one, some places and its last bytes. Heads past the bound are not cut: a
/// refusal for their size may come before the one for their content.
fn cuts(bytes: usize) -> impl Iterator<Item = usize> {
    let (bytes, step) = match bytes {
        0..=512 => (bytes, 1),
        513..=HEAD_BYTES_MAX => (bytes, bytes / 64),
        _ => (0, 1),
    };
    (0..bytes).step_by(step).chain(bytes.saturating_sub(8)..bytes)
}

/// RFC 6455 section 4.2.2.
fn switches(upgrade: &Upgrade<'_>, echo: bool) {
    assert!(echo || upgrade.protocol != Protocol::Echo, "echo was not offered");
    let response = upgrade.to_response();
    let head = head_lines(&response);
    assert_eq!(head[0], "HTTP/1.1 101 Switching Protocols");
    assert_eq!(head.len(), 4 + usize::from(upgrade.subprotocol.is_some()), "{head:?}");
    let accept = head[3].strip_prefix("Sec-WebSocket-Accept: ").expect("the fourth line");
    assert_eq!(accept.len(), 28, "20 bytes in base64");
    assert!(response.ends_with(b"\r\n\r\n"), "nothing follows the head");
}

/// One answer, with one body as long as it says, and nothing of the request in the head.
fn refuses(refusal: &Refusal) {
    let response = refusal.to_response();
    let head = head_lines(&response);
    assert_eq!(head.len(), 4 + usize::from(!refusal.header.is_empty()), "{head:?}");
    assert_eq!(head[0].strip_prefix("HTTP/1.1 "), Some(refusal.status));
    let length: usize =
        head[2].strip_prefix("Content-Length: ").expect("the third line").parse().expect("a number");
    let body = &response[response.len() - length..];
    assert!(
        response[..response.len() - length].ends_with(b"\r\n\r\n"),
        "the body begins where its length says"
    );
    let body: serde_json::Value = serde_json::from_slice(body).expect("the body is JSON");
    assert_eq!(body["message"], *refusal.message);
    assert!(refusal.status.starts_with(&body["code"].to_string()), "{body}");
}

/// The lines before the first empty one.
fn head_lines(response: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(response).expect("answers are UTF-8");
    let (head, _) = text.split_once("\r\n\r\n").expect("a head has an end");
    head.split("\r\n").collect()
}
