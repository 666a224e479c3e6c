//! A binary client frame checked and read in place.

use rkyv::Archived;
use rkyv::api::low::LowValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;

use crate::frames::{self, ConversationKind, MessageKind, kind};
use crate::header::{Header, VERSION};
use crate::ids::{ClientMessageId, ConversationId, Sequence};
use crate::request::{Cursors, HistoryRange, Members, Refusal, Request, Send};
use crate::{archive, rules};

/// Reads the frame that [`crate::request::Frames`] found. Kinds that clients do not send are [`Request::Unknown`],
/// whatever their version and body.
///
/// # Errors
/// 400 for another version, a body that is not a valid archive, a kind or client id out of range, a text that is not
/// UTF-8; 413 for a text over [`rules::BODY_CHARACTERS_MAX`].
pub fn parse<'a>(header: &Header, body: &'a [u8]) -> Result<Request<'a>, Refusal> {
    if !(kind::HELLO..=kind::PING).contains(&header.kind) {
        return Ok(Request::Unknown { kind: header.kind });
    }
    if header.version != VERSION {
        return Err(Refusal::malformed(format!(
            "frame kind {:#06x} has version {}: this gateway reads version {VERSION}",
            header.kind, header.version
        )));
    }
    match header.kind {
        kind::HELLO => {
            let hello = root::<Archived<frames::Hello>>("hello", body)?;
            Ok(Request::Hello { cursors: Cursors::Archived(&hello.cursors), client: hello.client.as_str() })
        }
        kind::SEND => send(body).map(Request::Send),
        kind::RECEIVED => {
            let (conversation, up_to) = up_to("received", body)?;
            Ok(Request::Received { conversation, up_to })
        }
        kind::READ => {
            let (conversation, up_to) = up_to("read", body)?;
            Ok(Request::Read { conversation, up_to })
        }
        kind::SYNC => {
            let sync = root::<Archived<frames::Sync>>("sync", body)?;
            Ok(Request::Sync { cursors: Cursors::Archived(&sync.cursors) })
        }
        kind::HISTORY => history(body),
        kind::CREATE => create(body),
        kind::RENEW => {
            let renew = root::<Archived<frames::Renew>>("renew", body)?;
            Ok(Request::Renew { token: renew.token.as_str() })
        }
        kind::PING => Ok(Request::Ping),
        other => Ok(Request::Unsupported { kind: other }),
    }
}

fn send(body: &[u8]) -> Result<Send<'_>, Refusal> {
    let send = root::<Archived<frames::Send>>("send", body)?;
    let kind = rules::sendable(MessageKind::try_from(send.kind).map_err(|value| {
        Refusal::malformed(format!("send: kind is {value}: use 1 (text), 3 (media_ref) or 4 (opaque)"))
    })?)?;
    rules::check_body(kind, &send.body)?;
    if !send.client_ref.is_empty() {
        rules::check_client_id("client_ref", &send.client_ref)?;
    }
    Ok(Send {
        conversation: ConversationId(send.conversation.to_native()),
        client_id: ClientMessageId(send.client_id.to_native()),
        client_ref: send.client_ref.as_str(),
        client_time: send.client_time.to_native(),
        reply_to: Sequence(send.reply_to.to_native()),
        kind,
        body: send.body.as_slice(),
    })
}

fn up_to(name: &str, body: &[u8]) -> Result<(ConversationId, Sequence), Refusal> {
    let up_to = root::<Archived<frames::UpTo>>(name, body)?;
    Ok((ConversationId(up_to.conversation.to_native()), Sequence(up_to.up_to_seq.to_native())))
}

fn history(body: &[u8]) -> Result<Request<'_>, Refusal> {
    let history = root::<Archived<frames::History>>("history", body)?;
    let range = match (history.before_seq.to_native(), history.after_seq.to_native()) {
        (frames::History::BEFORE_UNSET, frames::History::AFTER_UNSET) => HistoryRange::Newest,
        (frames::History::BEFORE_UNSET, after) => HistoryRange::After(Sequence(after)),
        // "Above 0" excludes nothing, so that a client which leaves the field at 0 asks the same thing.
        (before, frames::History::AFTER_UNSET | 0) => HistoryRange::Before(Sequence(before)),
        (before, after) => return Err(rules::both_bounds(before, after)),
    };
    Ok(Request::History {
        conversation: ConversationId(history.conversation.to_native()),
        range,
        limit: history.limit.to_native(),
    })
}

fn create(body: &[u8]) -> Result<Request<'_>, Refusal> {
    let create = root::<Archived<frames::Create>>("create", body)?;
    let kind = ConversationKind::try_from(create.kind).map_err(|value| {
        Refusal::malformed(format!("create: kind is {value}: use 1 (direct), 2 (group) or 3 (channel)"))
    })?;
    Ok(Request::Create { kind, members: Members::Archived(&create.members), name: create.name.as_str() })
}

fn root<'a, T>(name: &str, body: &'a [u8]) -> Result<&'a T, Refusal>
where
    T: rkyv::Portable + for<'b> CheckBytes<LowValidator<'b, Failure>>,
{
    archive::access(body).map_err(|_| {
        Refusal::malformed(format!(
            "{name}: the {}-byte body is not a valid archive: its root of {} bytes ends where the body ends, and its lists and \
             strings lie before it in the order of the fields, UTF-8 where they are text",
            body.len(),
            size_of::<T>(),
        ))
    })
}
