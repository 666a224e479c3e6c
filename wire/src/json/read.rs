//! A client frame read from JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::client_id::parse_client_id;
use super::scalar::{Place, Scalar};
use crate::frames::{ConversationKind, Cursor, MessageKind, kind};
use crate::ids::{ClientMessageId, ConversationId, Sequence};
use crate::request::{Cursors, HistoryRange, Members, Refusal, Request, Send};
use crate::rules;

/// A client frame; borrows from the text what is not escaped there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonRequest<'a> {
    Hello { cursors: Vec<Cursor>, client: Cow<'a, str> },
    Send(JsonSend<'a>),
    Received { conversation: ConversationId, up_to: Sequence },
    Read { conversation: ConversationId, up_to: Sequence },
    Sync { cursors: Vec<Cursor> },
    History { conversation: ConversationId, range: HistoryRange, limit: u32 },
    Create { kind: ConversationKind, members: Vec<u64>, name: Cow<'a, str> },
    Renew { token: Cow<'a, str> },
    Ping,
    Unsupported { kind: u16 },
    Unknown,
}

/// See [`Send`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonSend<'a> {
    pub conversation: ConversationId,
    pub client_id: ClientMessageId,
    pub client_ref: Cow<'a, str>,
    pub client_time: u64,
    pub reply_to: Sequence,
    pub kind: MessageKind,
    pub body: Cow<'a, [u8]>,
}

/// Messages of a history page when the client does not say. Found by: two screens of a phone.
pub const HISTORY_LIMIT_DEFAULT: u32 = 50;

/// Reads one text message: the frame's `request` (0 if it has none) and the frame. A `type` that is not known reads as
/// [`Request::Unknown`] of kind 0.
///
/// # Errors
/// The `request` as far as it can be read, and 400 for text that is not a JSON object or a field that is missing or wrong
/// (the message names it), 413 for a text over [`rules::BODY_CHARACTERS_MAX`].
pub fn read(text: &str) -> Result<(u64, JsonRequest<'_>), (u64, Refusal)> {
    let fields: Fields<'_> = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) => return read_head(text, &error),
    };
    let request =
        fields.request.number(Place("frame", "request")).map_err(|refusal| (0, refusal))?.unwrap_or(0);
    match frame(fields) {
        Ok(frame) => Ok((request, frame)),
        Err(refusal) => Err((request, refusal)),
    }
}

impl JsonRequest<'_> {
    /// The same view as a binary frame gives.
    #[must_use]
    pub fn view(&self) -> Request<'_> {
        match self {
            Self::Hello { cursors, client } => Request::Hello { cursors: Cursors::Owned(cursors), client },
            Self::Send(send) => Request::Send(Send {
                conversation: send.conversation,
                client_id: send.client_id,
                client_ref: &send.client_ref,
                client_time: send.client_time,
                reply_to: send.reply_to,
                kind: send.kind,
                body: &send.body,
            }),
            Self::Received { conversation, up_to } => {
                Request::Received { conversation: *conversation, up_to: *up_to }
            }
            Self::Read { conversation, up_to } => {
                Request::Read { conversation: *conversation, up_to: *up_to }
            }
            Self::Sync { cursors } => Request::Sync { cursors: Cursors::Owned(cursors) },
            Self::History { conversation, range, limit } => {
                Request::History { conversation: *conversation, range: *range, limit: *limit }
            }
            Self::Create { kind, members, name } => {
                Request::Create { kind: *kind, members: Members::Owned(members), name }
            }
            Self::Renew { token } => Request::Renew { token },
            Self::Ping => Request::Ping,
            Self::Unsupported { kind } => Request::Unsupported { kind: *kind },
            Self::Unknown => Request::Unknown { kind: 0 },
        }
    }
}

/// Every field of every frame. One flat struct, so that the text is read once and in any order of fields.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    name_of_type: Scalar<'a>,
    #[serde(borrow)]
    request: Scalar<'a>,
    #[serde(borrow)]
    conversation: Scalar<'a>,
    #[serde(borrow)]
    client_id: Scalar<'a>,
    #[serde(borrow)]
    kind: Scalar<'a>,
    #[serde(borrow)]
    body: Scalar<'a>,
    #[serde(borrow)]
    client_time: Scalar<'a>,
    #[serde(borrow)]
    reply_to: Scalar<'a>,
    #[serde(borrow)]
    up_to_seq: Scalar<'a>,
    #[serde(borrow)]
    before_seq: Scalar<'a>,
    #[serde(borrow)]
    after_seq: Scalar<'a>,
    #[serde(borrow)]
    limit: Scalar<'a>,
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    client: Scalar<'a>,
    #[serde(borrow)]
    token: Scalar<'a>,
    #[serde(borrow)]
    cursors: Option<Vec<CursorFields<'a>>>,
    #[serde(borrow)]
    members: Option<Vec<Scalar<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CursorFields<'a> {
    #[serde(borrow)]
    conversation: Scalar<'a>,
    #[serde(borrow)]
    last_seq: Scalar<'a>,
}

/// What every frame has, known or not.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    name_of_type: Scalar<'a>,
    #[serde(borrow)]
    request: Scalar<'a>,
}

/// The text is not JSON, or not of the shape that known frames have: a frame of an unknown type is skipped all the same.
fn read_head<'a>(text: &str, error: &serde_json::Error) -> Result<(u64, JsonRequest<'a>), (u64, Refusal)> {
    let Ok(head) = serde_json::from_str::<Head<'_>>(text) else {
        let message = format!("the text is not a JSON object: {error}: send one frame per text message");
        return Err((0, Refusal::malformed(message)));
    };
    let request = head.request.number(Place("frame", "request")).ok().flatten().unwrap_or(0);
    match &head.name_of_type {
        Scalar::Text(name) if kind_of(name).is_none() => Ok((request, JsonRequest::Unknown)),
        _ => Err((request, Refusal::malformed(format!("the frame has the wrong shape: {error}")))),
    }
}

fn frame(fields: Fields<'_>) -> Result<JsonRequest<'_>, Refusal> {
    let name = fields.name_of_type.clone().required_text(Place("frame", "type"))?;
    let Some((kind, name)) = kind_of(&name) else { return Ok(JsonRequest::Unknown) };
    match kind {
        kind::HELLO => Ok(JsonRequest::Hello {
            cursors: cursors(name, fields.cursors)?,
            client: fields.client.text(Place(name, "client"))?.unwrap_or_default(),
        }),
        kind::SEND => send(fields).map(JsonRequest::Send),
        kind::RECEIVED => Ok(JsonRequest::Received {
            conversation: fields.conversation.conversation(Place(name, "conversation"))?,
            up_to: Sequence(fields.up_to_seq.required_number(Place(name, "up_to_seq"))?),
        }),
        kind::READ => Ok(JsonRequest::Read {
            conversation: fields.conversation.conversation(Place(name, "conversation"))?,
            up_to: Sequence(fields.up_to_seq.required_number(Place(name, "up_to_seq"))?),
        }),
        kind::SYNC => Ok(JsonRequest::Sync { cursors: cursors(name, fields.cursors)? }),
        kind::HISTORY => history(&fields),
        kind::CREATE => create(fields),
        kind::RENEW => Ok(JsonRequest::Renew { token: fields.token.required_text(Place(name, "token"))? }),
        kind::PING => Ok(JsonRequest::Ping),
        kind => Ok(JsonRequest::Unsupported { kind }),
    }
}

fn send(fields: Fields<'_>) -> Result<JsonSend<'_>, Refusal> {
    let place = |field| Place("send", field);
    let conversation = fields.conversation.conversation(place("conversation"))?;
    let client_id = fields.client_id.required_text(place("client_id"))?;
    rules::check_client_id("client_id", &client_id)?;
    let (id, keep) = parse_client_id(&client_id);
    let kind = match &fields.kind {
        Scalar::Text(name) => message_kind(name),
        _ => None,
    };
    let kind =
        kind.ok_or_else(|| fields.kind.refusal(place("kind"), "\"text\", \"media_ref\" or \"opaque\""))?;
    let kind = rules::sendable(kind)?;
    let body = fields.body.required_text(place("body"))?;
    let body = match (kind, body) {
        (MessageKind::Opaque, body) => Cow::Owned(decode_base64(&body)?),
        (_, body) => {
            rules::check_characters(&body)?;
            match body {
                Cow::Borrowed(body) => Cow::Borrowed(body.as_bytes()),
                Cow::Owned(body) => Cow::Owned(body.into_bytes()),
            }
        }
    };
    Ok(JsonSend {
        conversation,
        client_id: ClientMessageId(id),
        client_ref: if keep { client_id } else { Cow::Borrowed("") },
        client_time: fields.client_time.number(place("client_time"))?.unwrap_or(0),
        reply_to: Sequence(fields.reply_to.number(place("reply_to"))?.unwrap_or(0)),
        kind,
        body,
    })
}

fn history<'a>(fields: &Fields<'_>) -> Result<JsonRequest<'a>, Refusal> {
    let place = |field| Place("history", field);
    let before = fields.before_seq.number(place("before_seq"))?;
    let after = fields.after_seq.number(place("after_seq"))?;
    let limit = fields.limit.number(place("limit"))?;
    Ok(JsonRequest::History {
        conversation: fields.conversation.conversation(place("conversation"))?,
        range: match (before, after) {
            (None, None) => HistoryRange::Newest,
            (Some(before), None | Some(0)) => HistoryRange::Before(Sequence(before)),
            (None, Some(after)) => HistoryRange::After(Sequence(after)),
            (Some(before), Some(after)) => return Err(rules::both_bounds(before, after)),
        },
        limit: limit.map_or(HISTORY_LIMIT_DEFAULT, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
    })
}

fn create(fields: Fields<'_>) -> Result<JsonRequest<'_>, Refusal> {
    let place = |field| Place("create", field);
    let kind = match &fields.kind {
        Scalar::Text(name) => conversation_kind(name),
        _ => None,
    };
    let kind =
        kind.ok_or_else(|| fields.kind.refusal(place("kind"), "\"direct\", \"group\" or \"channel\""))?;
    let members = fields.members.unwrap_or_default();
    Ok(JsonRequest::Create {
        kind,
        members: members
            .iter()
            .map(|member| member.required_number(place("members")))
            .collect::<Result<_, _>>()?,
        name: fields.name.text(place("name"))?.unwrap_or_default(),
    })
}

fn cursors(frame: &'static str, fields: Option<Vec<CursorFields<'_>>>) -> Result<Vec<Cursor>, Refusal> {
    fields
        .unwrap_or_default()
        .iter()
        .map(|cursor| {
            Ok(Cursor {
                conversation: cursor.conversation.conversation(Place(frame, "cursors.conversation"))?.0,
                last_seq: cursor.last_seq.required_number(Place(frame, "cursors.last_seq"))?,
            })
        })
        .collect()
}

fn decode_base64(text: &str) -> Result<Vec<u8>, Refusal> {
    /// The standard alphabet (RFC 4648 section 4); the padding may be left out.
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    BASE64.decode(text).map_err(|error| {
        Refusal::malformed(format!(
            "send: body of an opaque message is not base64 (RFC 4648 section 4): {error}"
        ))
    })
}

fn message_kind(name: &str) -> Option<MessageKind> {
    [MessageKind::Text, MessageKind::System, MessageKind::MediaRef, MessageKind::Opaque]
        .into_iter()
        .find(|kind| kind.name() == name)
}

fn conversation_kind(name: &str) -> Option<ConversationKind> {
    match name {
        "direct" => Some(ConversationKind::Direct),
        "group" => Some(ConversationKind::Group),
        "channel" => Some(ConversationKind::Channel),
        _ => None,
    }
}

/// The kind of a client frame, and its name for as long as the process lives.
fn kind_of(name: &str) -> Option<(u16, &'static str)> {
    Some(match name {
        "send" => (kind::SEND, "send"),
        "received" => (kind::RECEIVED, "received"),
        "read" => (kind::READ, "read"),
        "ping" => (kind::PING, "ping"),
        "hello" => (kind::HELLO, "hello"),
        "sync" => (kind::SYNC, "sync"),
        "history" => (kind::HISTORY, "history"),
        "create" => (kind::CREATE, "create"),
        "renew" => (kind::RENEW, "renew"),
        "edit" => (kind::EDIT, "edit"),
        "delete" => (kind::DELETE, "delete"),
        "react" => (kind::REACT, "react"),
        "open" => (kind::OPEN, "open"),
        "close" => (kind::CLOSE, "close"),
        "typing" => (kind::TYPING, "typing"),
        "presence" => (kind::PRESENCE, "presence"),
        "invite" => (kind::INVITE, "invite"),
        "remove" => (kind::REMOVE, "remove"),
        "role" => (kind::ROLE, "role"),
        "leave" => (kind::LEAVE, "leave"),
        "rename" => (kind::RENAME, "rename"),
        "mute" => (kind::MUTE, "mute"),
        "list" => (kind::LIST, "list"),
        _ => return None,
    })
}
