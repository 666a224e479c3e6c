//! The HTTP side: chat page, health, metrics; and, for a gateway that nobody configured, tokens for that page.
//!
//! Runs on its own thread and runtime; reaches the shards only by what they report.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tidegate_wire::{DeviceId, UserId};

use crate::access::{Identity, Keys};
use crate::driver::read_clocks;
use crate::supervision::{Phase, Supervision};

/// What the pages need.
#[derive(Debug)]
pub struct Control {
    pub registry: Registry,
    pub supervision: Arc<Supervision>,
    /// Where clients connect.
    pub websocket: SocketAddr,
    /// Present only with a secret that the gateway made itself, on a loopback address: the page may ask for tokens.
    pub page_keys: Option<Keys>,
}

/// Seconds a token of the chat page lasts.
const PAGE_TOKEN_TTL: u64 = 12 * 3600;

pub async fn serve(listener: TcpListener, control: Arc<Control>) -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(page))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/dev/token", get(page_token))
        .with_state(control);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await
}

async fn page() -> impl IntoResponse {
    let policy = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self' ws:; img-src data:; \
                  frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("page/index.html")))
}

/// 200 while clients are accepted, 503 while the gateway drains.
async fn health(State(control): State<Arc<Control>>) -> Response {
    match control.supervision.phase() {
        Phase::Running => (StatusCode::OK, "ok\n").into_response(),
        Phase::Draining | Phase::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
    }
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &control.registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Deserialize)]
struct Wanted {
    user: u64,
    device: u64,
}

/// A token for the chat page. Only from a page of this very address: a foreign page cannot read the answer, and one
/// that has made its own name point here does not send our name as host.
async fn page_token(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    let Some(keys) = &control.page_keys else {
        let why = "tokens come from your own login service: this gateway has a configured secret or a public address\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return (StatusCode::FORBIDDEN, "ask through localhost\n").into_response();
    }
    let expires_at = read_clocks().wall_ms / 1000 + PAGE_TOKEN_TTL;
    let identity = Identity { user: UserId(wanted.user), device: DeviceId(wanted.device), expires_at };
    match keys.sign(identity) {
        Ok(token) => {
            let body = serde_json::json!({ "token": token, "ws": format!("ws://{}/ws", control.websocket) });
            ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
