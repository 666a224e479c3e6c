//! What a call can come back with, ordered by who recovers.

use tidegate_wire::frames;

/// A call (create, history) had no answer, or a refusal.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CallError {
    /// The connection went away between question and answer; the call may or may not have taken effect. Ask again.
    #[error("the connection was lost before the gateway answered; ask again")]
    Disconnected,
    /// The gateway cannot now (429, 503): ask again after `retry_after_ms`.
    #[error("the gateway cannot now ({code}): {message}; ask again after {retry_after_ms} ms")]
    Retry { code: u16, retry_after_ms: u32, message: String },
    /// The gateway will not: the same question gets the same answer.
    #[error("the gateway refused ({code}): {message}")]
    Refused { code: u16, message: String },
    /// The client has stopped (closed, token refused, or replaced by the same device).
    #[error("the client has stopped: {0}")]
    Stopped(String),
}

/// A message was not taken.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// The gateway will not take this message, whenever it is sent.
    #[error("the gateway refused the message ({code}): {message}")]
    Refused { code: u16, message: String },
    /// The outbox is full: the gateway is away or slow. Wait for acknowledgements.
    #[error("the outbox holds {0} unacknowledged messages, which is its bound; wait for acknowledgements")]
    OutboxFull(usize),
    /// A message with this client id is still unacknowledged.
    #[error("a message with the client id {0} is still unacknowledged; every message needs its own id")]
    Repeated(u128),
    /// The client has stopped; whether the message was taken is not known. Sending it again with the same client id is safe.
    #[error("the client has stopped: {0}")]
    Stopped(String),
}

/// Whether the same frame can succeed later.
pub(crate) fn is_retryable(code: u16) -> bool {
    matches!(code, 429 | 503)
}

impl From<frames::Error> for CallError {
    fn from(error: frames::Error) -> Self {
        let frames::Error { code, retry_after_ms, message } = error;
        if is_retryable(code) {
            Self::Retry { code, retry_after_ms, message }
        } else {
            Self::Refused { code, message }
        }
    }
}
