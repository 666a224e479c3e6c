//! One socket from its upgrade to its end.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tidegate_wire::request::Frames;
use tidegate_wire::server::DecodeError;
use tidegate_wire::{ServerFrame, frames};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::upgrade::Socket;
use super::{Connection, random};
use crate::backoff::{Backoff, drain_delay};
use crate::event::Event;
use crate::limits::{EVENTS_AHEAD_MAX, TRANSMIT_BYTES_MAX};
use crate::state::Input;

/// How a session ended, and so what comes next.
pub(super) enum Ended {
    /// Try again after a backoff, and not before `at_least`.
    Lost { reason: String, at_least: Duration },
    /// The gateway goes away and has said when to come back.
    Drained { retry_in: Duration },
    /// A fresh token is needed.
    TokenRefused { reason: String },
    /// The same device connected elsewhere: coming back would throw that one out.
    Replaced { reason: String },
    /// The application ended it.
    Closed,
}

pub(super) async fn run(connection: &mut Connection, socket: Socket, backoff: &mut Backoff) -> Ended {
    let (sink, stream) = socket.split();
    let mut session = Session {
        connection,
        sink,
        heartbeat: HEARTBEAT_DEFAULT,
        heard: Instant::now(),
        pinged: false,
        leave_at: None,
    };
    let ended = session.serve(stream, backoff).await;
    let Err(ended) = ended;
    session.say_goodbye(&ended).await;
    ended
}

struct Session<'a> {
    connection: &'a mut Connection,
    sink: SplitSink<Socket, Message>,
    /// How long the gateway may be silent before it is asked.
    heartbeat: Duration,
    heard: Instant,
    /// The gateway was asked and has not answered.
    pinged: bool,
    /// When to move over to another gateway: it drains.
    leave_at: Option<Instant>,
}

impl Session<'_> {
    async fn serve(
        &mut self,
        mut stream: SplitStream<Socket>,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut close_by: Option<Instant> = None;
        loop {
            self.transmit().await?;
            self.connection.give_answers();
            if self.connection.closing.is_some() {
                let by = *close_by.get_or_insert_with(|| Instant::now() + CLOSE_PATIENCE);
                if self.connection.state.is_idle() || Instant::now() >= by {
                    return Err(Ended::Closed);
                }
            }
            let state = &self.connection.state;
            let may_read = state.events_waiting() < EVENTS_AHEAD_MAX;
            let has_events = state.events_waiting() > 0;
            let takes_commands = self.connection.commands_open && state.has_room() && close_by.is_none();
            let wake_at = self.wake_at(close_by);
            tokio::select! {
                permit = self.connection.events.clone().reserve_owned(), if has_events => {
                    let Ok(permit) = permit else { return Err(Ended::Closed) };
                    self.connection.give_events(permit);
                }
                () = self.connection.events.closed(), if !self.connection.commands_open => {
                    return Err(Ended::Closed);
                }
                message = stream.next(), if may_read => {
                    self.heard = Instant::now();
                    self.pinged = false;
                    self.on_message(message, backoff)?;
                }
                command = self.connection.commands.recv(), if takes_commands => {
                    self.connection.on_command(command);
                }
                () = sleep_until(wake_at) => self.on_time().await?,
            }
        }
    }

    fn wake_at(&self, close_by: Option<Instant>) -> Instant {
        let state = self.connection.state.deadline().map(|at| self.connection.started + at);
        let silent = self.heard + self.heartbeat * if self.pinged { 2 } else { 1 };
        [state, self.leave_at, close_by].into_iter().flatten().fold(silent, Instant::min)
    }

    async fn on_time(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|at| at <= now) {
            return Err(Ended::Drained { retry_in: Duration::ZERO });
        }
        if self.pinged && self.heard + self.heartbeat * 2 <= now {
            let reason = format!("the gateway was silent for {:?}", self.heartbeat * 2);
            return Err(Ended::Lost { reason, at_least: Duration::ZERO });
        }
        if !self.pinged && self.heard + self.heartbeat <= now {
            self.pinged = true;
            self.write(Message::Ping(bytes::Bytes::new())).await?;
        }
        self.connection.handle(Input::Tick);
        Ok(())
    }

    /// Sends what the state wants sent, several frames in one message.
    async fn transmit(&mut self) -> Result<(), Ended> {
        let mut batch = Vec::new();
        while let Some((request, frame)) = self.connection.state.poll_transmit() {
            let before = batch.len();
            frame.append(&mut batch, request);
            if batch.len() > TRANSMIT_BYTES_MAX && before > 0 {
                let rest = batch.split_off(before);
                self.write(Message::Binary(std::mem::replace(&mut batch, rest).into())).await?;
            }
        }
        if !batch.is_empty() {
            self.write(Message::Binary(batch.into())).await?;
        }
        Ok(())
    }

    async fn write(&mut self, message: Message) -> Result<(), Ended> {
        match timeout(WRITE_TIMEOUT, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // The reading side may hold a close frame that says more than "broken pipe": it is read next.
            Ok(Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) => Ok(()),
            Ok(Err(error)) => Err(lost(format!("cannot send: {error}"))),
            Err(_) => Err(lost(format!("the gateway did not read for {WRITE_TIMEOUT:?}"))),
        }
    }

    fn on_message(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
        backoff: &mut Backoff,
    ) -> Result<(), Ended> {
        match message {
            Some(Ok(Message::Binary(bytes))) => self.on_frames(&bytes, backoff),
            Some(Ok(Message::Close(frame))) => Err(self.closed(frame)),
            Some(Ok(Message::Text(text))) => {
                Err(lost(format!("the gateway sent {} bytes of text on a binary session", text.len())))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Err(error)) => Err(self.gone(format!("connection lost: {error}"))),
            None => Err(self.gone("the gateway closed the connection".to_owned())),
        }
    }

    fn on_frames(&mut self, bytes: &[u8], backoff: &mut Backoff) -> Result<(), Ended> {
        for frame in Frames::new(bytes) {
            let (header, body) =
                frame.map_err(|error| lost(format!("broken frame from the gateway: {error}")))?;
            match ServerFrame::decode(&header, body) {
                Ok(ServerFrame::Drain(drain)) => self.on_drain(drain),
                Ok(frame) => {
                    if let ServerFrame::Welcome(welcome) = &frame {
                        backoff.succeeded();
                        if welcome.heartbeat_ms > 0 {
                            self.heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
                        }
                    }
                    self.connection.handle(Input::Frame { request: header.request, frame });
                }
                // "Unknown kinds are skipped by their length."
                Err(DecodeError::UnknownKind(_)) => {}
                Err(error) => return Err(lost(error.to_string())),
            }
        }
        Ok(())
    }

    fn on_drain(&mut self, drain: frames::Drain) {
        let after = Duration::from_millis(drain.reconnect_after_ms.into());
        let window = Duration::from_millis(drain.window_ms.into());
        let reconnect_in = drain_delay(after, window, random());
        self.leave_at = Some(Instant::now() + reconnect_in);
        self.connection.notice(Event::Draining { reconnect_in });
    }

    fn closed(&self, frame: Option<CloseFrame>) -> Ended {
        let Some(frame) = frame else { return self.gone("the gateway closed the connection".to_owned()) };
        let reason = format!("the gateway closed with {}: {}", u16::from(frame.code), frame.reason);
        match u16::from(frame.code) {
            CLOSE_EXPIRED => Ended::TokenRefused { reason },
            CLOSE_REPLACED => Ended::Replaced { reason },
            _ => self.gone(reason),
        }
    }

    /// The connection ended; a drain that was announced still says when to come back.
    fn gone(&self, reason: String) -> Ended {
        match self.leave_at {
            Some(at) => Ended::Drained { retry_in: at.saturating_duration_since(Instant::now()) },
            None => lost(reason),
        }
    }

    /// A close frame where the gateway is still there to read it; what it answers no longer matters.
    async fn say_goodbye(&mut self, ended: &Ended) {
        if matches!(ended, Ended::Closed | Ended::Drained { .. }) {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            drop(timeout(GOODBYE_TIMEOUT, self.sink.send(Message::Close(Some(frame)))).await);
        }
    }
}

fn lost(reason: String) -> Ended {
    Ended::Lost { reason, at_least: Duration::ZERO }
}

/// Until the welcome says otherwise.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(30);
/// How long [`crate::Client::close`] waits for answers.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// A gateway that takes no bytes for this long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// `PROTOCOL.md`, close codes.
const CLOSE_EXPIRED: u16 = 4401;
const CLOSE_REPLACED: u16 = 4409;
