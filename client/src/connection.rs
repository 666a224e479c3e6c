//! The shell: one task that owns the socket and feeds [`State`]. It decides when to connect, and nothing else.
//!
//! Order of one pass: send what the state wants sent, give out answers, then wait for the first of: room in the
//! application's event queue, the socket, a command, a deadline.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_wire::client::ClientFrame;
use tidegate_wire::{ClientMessageId, ConversationId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::client::Command;
use crate::config::Config;
use crate::error::{CallError, SendError};
use crate::event::{Ack, Event, Page};
use crate::limits::CONNECT_TIMEOUT;
use crate::state::{Answer, CallId, Input, State};

mod session;
mod upgrade;

use session::Ended;
use upgrade::UpgradeError;

pub(crate) async fn run(config: Config, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    let state = State::new(
        config.name.clone(),
        config.start,
        config.acknowledge,
        config.cursors.iter().map(|(c, s)| (*c, *s)),
    );
    let mut connection = Connection {
        url: config.url,
        token: config.token,
        state,
        started: Instant::now(),
        commands,
        commands_open: true,
        events,
        sends: HashMap::new(),
        creates: HashMap::new(),
        pages: HashMap::new(),
        next_call: 0,
        renewed: false,
        closing: None,
    };
    let reason = connection.stay_connected().await;
    connection.stop(reason).await;
}

struct Connection {
    url: String,
    token: String,
    state: State,
    /// Origin of the state's clock.
    started: Instant,
    commands: mpsc::Receiver<Command>,
    commands_open: bool,
    events: mpsc::Sender<Event>,
    sends: HashMap<ClientMessageId, oneshot::Sender<Result<Ack, SendError>>>,
    creates: HashMap<CallId, oneshot::Sender<Result<ConversationId, CallError>>>,
    pages: HashMap<CallId, oneshot::Sender<Result<Page, CallError>>>,
    next_call: u64,
    /// A fresh token came since the last attempt.
    renewed: bool,
    closing: Option<oneshot::Sender<()>>,
}

/// The application is gone, or has closed the client.
struct Closed;

impl Connection {
    /// Connects again and again; returns why no more.
    async fn stay_connected(&mut self) -> String {
        let mut backoff = Backoff::default();
        loop {
            self.renewed = false;
            let attempt = timeout(CONNECT_TIMEOUT, upgrade::open(self.url.clone(), self.token.clone()));
            let opened = match self.meanwhile(attempt).await {
                Ok(opened) => opened.unwrap_or(Err(UpgradeError::Timeout)),
                Err(Closed) => return CLOSED.to_owned(),
            };
            let ended = match opened {
                Ok(socket) => {
                    self.handle(Input::Connected);
                    let ended = session::run(self, socket, &mut backoff).await;
                    self.handle(Input::Disconnected);
                    ended
                }
                Err(UpgradeError::Token(reason)) => Ended::TokenRefused { reason },
                Err(UpgradeError::Never(reason)) => return reason,
                Err(UpgradeError::Busy { retry_after }) => {
                    Ended::Lost { reason: "the gateway is busy (503)".to_owned(), at_least: retry_after }
                }
                Err(error) => Ended::Lost { reason: error.to_string(), at_least: Duration::ZERO },
            };
            let retry_in = match ended {
                Ended::Lost { reason, at_least } => {
                    let retry_in = at_least + backoff.next_delay(random());
                    self.notice(Event::Disconnected { reason, retry_in });
                    retry_in
                }
                Ended::Drained { retry_in } => {
                    self.notice(Event::Disconnected { reason: "the gateway drains".to_owned(), retry_in });
                    retry_in
                }
                // The application was ahead of the expiry.
                Ended::TokenRefused { reason } if self.renewed => {
                    self.notice(Event::Disconnected { reason, retry_in: Duration::ZERO });
                    Duration::ZERO
                }
                Ended::TokenRefused { reason } => {
                    self.notice(Event::TokenRefused { reason });
                    if self.wait_for_token().await.is_err() {
                        return CLOSED.to_owned();
                    }
                    Duration::ZERO
                }
                Ended::Replaced { reason } => return reason,
                Ended::Closed => return CLOSED.to_owned(),
            };
            if self.meanwhile(sleep(retry_in)).await.is_err() {
                return CLOSED.to_owned();
            }
        }
    }

    async fn wait_for_token(&mut self) -> Result<(), Closed> {
        while !self.renewed {
            // Commands are served meanwhile; the pause only bounds how late a fresh token is noticed.
            self.meanwhile(sleep(Duration::from_millis(20))).await?;
        }
        Ok(())
    }

    /// Serves the application while there is no session.
    async fn meanwhile<F: Future>(&mut self, future: F) -> Result<F::Output, Closed> {
        let mut future = std::pin::pin!(future);
        loop {
            self.give_answers();
            if self.closing.is_some() {
                return Err(Closed);
            }
            tokio::select! {
                output = &mut future => return Ok(output),
                () = self.events.closed(), if !self.commands_open => return Err(Closed),
                permit = self.events.clone().reserve_owned(), if self.state.events_waiting() > 0 => {
                    let Ok(permit) = permit else { return Err(Closed) };
                    self.give_events(permit);
                }
                command = self.commands.recv(), if self.commands_open && self.state.has_room() => {
                    self.on_command(command);
                }
            }
        }
    }

    /// Moves events to the application, as many as fit, and notes that it has them.
    fn give_events(&mut self, permit: mpsc::OwnedPermit<Event>) {
        let mut permit = Some(permit);
        while let Some(taken) = permit {
            let Some(event) = self.state.poll_event() else { return };
            let place = match &event {
                Event::Message(message) => Some((message.conversation, message.seq)),
                _ => None,
            };
            let events = taken.send(event);
            if let Some((conversation, seq)) = place {
                self.handle(Input::Taken { conversation, seq });
            }
            permit = events.try_reserve_owned().ok();
        }
    }

    fn on_command(&mut self, command: Option<Command>) {
        match command {
            None => self.commands_open = false,
            Some(Command::Send { frame, reply }) => {
                let announced = reply.is_none();
                let client_id = ClientMessageId(frame.client_id);
                match reply {
                    Some(reply) if self.sends.contains_key(&client_id) => {
                        answer(reply, Err(SendError::Repeated(client_id.0)));
                        return;
                    }
                    Some(reply) => {
                        self.sends.insert(client_id, reply);
                    }
                    None => {}
                }
                self.handle(Input::Send { frame, announced });
            }
            Some(Command::Create { frame, reply }) => {
                let call = self.call(ClientFrame::Create(frame));
                self.creates.insert(call, reply);
            }
            Some(Command::History { frame, reply }) => {
                let call = self.call(ClientFrame::History(frame));
                self.pages.insert(call, reply);
            }
            Some(Command::Received { conversation, up_to }) => {
                self.handle(Input::Received { conversation, up_to });
            }
            Some(Command::Read { conversation, up_to }) => self.handle(Input::Read { conversation, up_to }),
            Some(Command::Renew { token }) => {
                self.token.clone_from(&token);
                self.renewed = true;
                self.handle(Input::Renew { token });
            }
            Some(Command::Cursors { reply }) => answer(reply, self.state.cursors()),
            Some(Command::Close { reply }) => self.closing = Some(reply),
        }
    }

    fn call(&mut self, frame: ClientFrame) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.handle(Input::Call { call, frame });
        call
    }

    fn give_answers(&mut self) {
        while let Some(next) = self.state.poll_answer() {
            match next {
                Answer::Sent { client_id, result } => {
                    if let Some(reply) = self.sends.remove(&client_id) {
                        answer(reply, result);
                    }
                }
                Answer::Created { call, result } => {
                    if let Some(reply) = self.creates.remove(&call) {
                        answer(reply, result);
                    }
                }
                Answer::Page { call, result } => {
                    if let Some(reply) = self.pages.remove(&call) {
                        answer(reply, result);
                    }
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.started.elapsed();
        self.state.handle(now, input);
    }

    fn notice(&mut self, event: Event) {
        self.handle(Input::Notice { event });
    }

    /// The end: everybody who waits is told, then the application.
    async fn stop(mut self, reason: String) {
        self.handle(Input::Stop { reason: reason.clone() });
        self.give_answers();
        if let Some(closed) = self.closing.take() {
            answer(closed, ());
        }
        self.notice(Event::Stopped { reason });
        while let Some(event) = self.state.poll_event() {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
    }
}

/// Answers a caller, who may have stopped waiting: then nobody is interested.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

/// Uniform over all values, from the operating system.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const CLOSED: &str = "the application closed the client";
