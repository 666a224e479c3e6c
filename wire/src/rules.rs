//! What a frame must hold beside its layout, the same for archives and for JSON.

use crate::frames::MessageKind;
use crate::request::Refusal;

/// Characters (Unicode scalar values) of a text or media reference.
/// Cost: at most 16 000 bytes of the message bound. Found by: what a screen of chat shows, with room.
pub const BODY_CHARACTERS_MAX: usize = 4000;
/// Characters of a client message id as text. Found by: a ULID has 26, a UUID 36; room for a prefix.
pub const CLIENT_ID_CHARACTERS_MAX: usize = 64;

const CHARACTER_BYTES_MAX: usize = 4;

pub(crate) fn sendable(kind: MessageKind) -> Result<MessageKind, Refusal> {
    match kind {
        MessageKind::Text | MessageKind::MediaRef | MessageKind::Opaque => Ok(kind),
        MessageKind::System => Err(Refusal::malformed(
            "send: kind is 2 (system), which only the gateway makes: use 1 (text), 3 (media_ref) or 4 (opaque)",
        )),
    }
}

/// Text and media references are UTF-8 of at most [`BODY_CHARACTERS_MAX`] characters. Opaque bodies are bounded by
/// the message that carries them.
pub(crate) fn check_body(kind: MessageKind, body: &[u8]) -> Result<(), Refusal> {
    if kind == MessageKind::Opaque {
        return Ok(());
    }
    let text = simdutf8::basic::from_utf8(body).map_err(|_| {
        let valid = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
        Refusal::malformed(format!(
            "send: body is not UTF-8 at byte {valid} of {}: send bytes as kind 4 (opaque)",
            body.len()
        ))
    })?;
    check_characters(text)
}

pub(crate) fn check_characters(text: &str) -> Result<(), Refusal> {
    let fits = text.len() <= BODY_CHARACTERS_MAX
        || (text.len() <= BODY_CHARACTERS_MAX * CHARACTER_BYTES_MAX
            && text.chars().count() <= BODY_CHARACTERS_MAX);
    if fits {
        return Ok(());
    }
    Err(Refusal::too_long(format!(
        "send: body has {} characters, at most {BODY_CHARACTERS_MAX} are allowed: split it or send a media_ref",
        text.chars().count()
    )))
}

/// 1 to [`CLIENT_ID_CHARACTERS_MAX`] characters of `[A-Za-z0-9_-]`.
pub(crate) fn check_client_id(field: &str, text: &str) -> Result<(), Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=CLIENT_ID_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(Refusal::malformed(format!(
        "send: {field} is {}: use 1 to {CLIENT_ID_CHARACTERS_MAX} characters of A-Z a-z 0-9 _ -, such as a ULID",
        quote(text)
    )))
}

pub(crate) fn both_bounds(before: u64, after: u64) -> Refusal {
    Refusal::malformed(format!(
        "history: before_seq is {before} and after_seq is {after}: set one of them, or none for the newest page"
    ))
}

/// A value from outside as it appears in an error message: quoted, escaped, cut short.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 48;
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
