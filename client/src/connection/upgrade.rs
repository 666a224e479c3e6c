//! Opening a socket: TCP, the HTTP upgrade, and what its refusals mean.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::limits::MESSAGE_BYTES_MAX;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no socket, ordered by who recovers.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("no answer within {0} s", crate::limits::CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Failed(String),
    /// The gateway sheds connections, or drains.
    #[error("the gateway is busy; it asks to wait {retry_after:?}")]
    Busy { retry_after: Duration },
    /// A fresh token is needed.
    #[error("the gateway refused the token: {0}")]
    Token(String),
    /// No attempt will succeed: the URL or the token cannot even be written down.
    #[error("{0}")]
    Never(String),
}

pub(super) async fn open(url: String, token: String) -> Result<Socket, UpgradeError> {
    let mut request = url.as_str().into_client_request().map_err(|error| {
        UpgradeError::Never(format!(
            "{url:?} is not a WebSocket URL ({error}); use one like ws://host:9000/ws"
        ))
    })?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        UpgradeError::Never(
            "the token has characters that no header can carry; use one of `tidegate token`".to_owned(),
        )
    })?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("tidegate.v1"));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let disable_nagle = true;
    match connect_async_with_config(request, Some(config), disable_nagle).await {
        Ok((socket, _response)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(refused(&response)),
        Err(error) => Err(UpgradeError::Failed(format!("cannot connect to {url}: {error}"))),
    }
}

fn refused(response: &Response<Option<Vec<u8>>>) -> UpgradeError {
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(REASON_BYTES_MAX)]).into_owned();
    match response.status() {
        StatusCode::UNAUTHORIZED => UpgradeError::Token(body),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let seconds =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            UpgradeError::Busy {
                retry_after: Duration::from_secs(seconds.unwrap_or(1).min(RETRY_AFTER_S_MAX)),
            }
        }
        status => UpgradeError::Failed(format!("the gateway answered the upgrade with {status}: {body}")),
    }
}

/// Of a refusal's body, what goes into an event.
const REASON_BYTES_MAX: usize = 512;

/// A gateway cannot send its clients away for longer than this.
const RETRY_AFTER_S_MAX: u64 = 300;
