//! Close codes, and the payload of close frames (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::header::CONTROL_BYTES_MAX;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    /// The WebSocket framing is wrong.
    pub const PROTOCOL: Self = Self(1002);
    /// A message of a type this session does not take, such as text on `tidegate.v1`.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The content is not what its type says: bad UTF-8, or a binary message that is not a row of frames.
    pub const INVALID: Self = Self(1007);
    pub const POLICY: Self = Self(1008);
    pub const TOO_BIG: Self = Self(1009);
    pub const INTERNAL: Self = Self(1011);
    /// Drain: the reason holds the window in which to reconnect.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The token expired.
    pub const EXPIRED: Self = Self(4401);
    /// The same device connected again.
    pub const REPLACED: Self = Self(4409);

    /// Whether this code may stand in a close frame: 1005, 1006 and 1015 may not (RFC 6455 section 7.4.1), 1004 and the
    /// rest below 3000 are not registered with IANA.
    #[must_use]
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// The peer broke RFC 6455: send a close frame with `code`, then close. The decoder must not be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    pub code: CloseCode,
    pub reason: &'static str,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (close {})", self.reason, self.code.0)
    }
}

impl std::error::Error for ProtocolError {}

/// The payload of a close frame that was received: code and reason, the code absent if the payload is empty.
pub(super) fn read(payload: &[u8]) -> Result<(Option<CloseCode>, &str), ProtocolError> {
    let protocol = |reason| ProtocolError { code: CloseCode::PROTOCOL, reason };
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok((None, ""))
        } else {
            Err(protocol("a close payload starts with two bytes of code (RFC 6455 section 5.5.1)"))
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(protocol("the close code may not be sent (RFC 6455 section 7.4)"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError {
        code: CloseCode::INVALID,
        reason: "the close reason is not UTF-8 (RFC 6455 section 5.5.1)",
    })?;
    Ok((Some(code), reason))
}

/// The payload of a close frame to send; a reason that does not fit is cut at a character.
pub fn close_payload(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.0.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}
