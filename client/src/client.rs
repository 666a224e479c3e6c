//! The handle that asks and the stream that answers.

use std::collections::BTreeMap;

use tidegate_wire::frames::{self, ConversationKind};
use tidegate_wire::request::HistoryRange;
use tidegate_wire::{ClientMessageId, ConversationId, Sequence, UserId};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::connection;
use crate::error::{CallError, SendError};
use crate::event::{Ack, Content, Event, Outgoing, Page};
use crate::limits::{COMMANDS_MAX, EVENTS_MAX};

/// Starts a client on the current tokio runtime. It connects, reconnects and catches up by itself until
/// [`Client::close`], or until both the handles and the events are dropped.
///
/// The events have to be taken: while [`EVENTS_MAX`] of them wait, the socket is not read, so answers wait as well.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn connect(config: Config) -> (Client, Events) {
    let (commands, commands_taken) = mpsc::channel(COMMANDS_MAX);
    let (events, events_taken) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(connection::run(config, commands_taken, events));
    (Client { commands }, Events { events: events_taken })
}

/// Asks. Cheap to clone; all clones share one session.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
}

/// What happens, in order.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`].
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Takes no more events; those that are here can still be read. Without handles, this ends the client.
    pub fn close(&mut self) {
        self.events.close();
    }

    /// The next event that is already here.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Client {
    /// The conversation with one other user, or with oneself (notes). The same one whoever asks, and however often.
    ///
    /// # Errors
    /// See [`CallError`]; asking again is always safe.
    pub async fn create_direct(&self, with: UserId) -> Result<ConversationId, CallError> {
        self.create(ConversationKind::Direct, vec![with.0], String::new()).await
    }

    /// A new group of oneself and these members.
    ///
    /// # Errors
    /// See [`CallError`]; after [`CallError::Disconnected`] the group may exist.
    pub async fn create_group(
        &self,
        name: impl Into<String>,
        members: impl IntoIterator<Item = UserId>,
    ) -> Result<ConversationId, CallError> {
        let members = members.into_iter().map(|user| user.0).collect();
        self.create(ConversationKind::Group, members, name.into()).await
    }

    /// Sends a message and waits until it is durable, over as many reconnects as it takes.
    ///
    /// # Errors
    /// See [`SendError`]: only what is final. Dropping the future does not take the message back.
    pub async fn send(&self, conversation: ConversationId, content: Content) -> Result<Ack, SendError> {
        self.send_outgoing(Outgoing::new(conversation, content)).await
    }

    /// The same with every field chosen, for instance the client id of a message kept from an earlier run.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_outgoing(&self, outgoing: Outgoing) -> Result<Ack, SendError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Send { frame: outgoing.into_frame(), reply: Some(reply) })
            .await
            .map_err(SendError::Stopped)?;
        answer.await.unwrap_or_else(|_| Err(SendError::Stopped(GONE.to_owned())))
    }

    /// Hands a message in without waiting; the outcome is [`Event::Ack`] or [`Event::Refused`]. Waits only for room.
    ///
    /// # Errors
    /// [`SendError::Stopped`].
    pub async fn submit(&self, outgoing: Outgoing) -> Result<ClientMessageId, SendError> {
        let client_id = outgoing.client_id;
        self.command(Command::Send { frame: outgoing.into_frame(), reply: None })
            .await
            .map_err(SendError::Stopped)?;
        Ok(client_id)
    }

    /// A page of at most `limit` (≤ 100) messages, ascending.
    ///
    /// # Errors
    /// See [`CallError`]; asking again is always safe.
    pub async fn history(
        &self,
        conversation: ConversationId,
        range: HistoryRange,
        limit: u32,
    ) -> Result<Page, CallError> {
        let frame = frames::History::of(conversation.0, range, limit);
        self.call(|reply| Command::History { frame, reply }).await
    }

    /// This device has the conversation up to here, on its own storage. Needed with
    /// [`crate::Acknowledge::ByApplication`] only.
    pub async fn received(&self, conversation: ConversationId, up_to: Sequence) {
        self.tell(Command::Received { conversation, up_to }).await;
    }

    /// The user has seen the conversation up to here.
    pub async fn read(&self, conversation: ConversationId, up_to: Sequence) {
        self.tell(Command::Read { conversation, up_to }).await;
    }

    /// A fresh token: for the live session, for every later reconnect, and the answer to [`Event::TokenRefused`].
    pub async fn renew(&self, token: impl Into<String>) {
        self.tell(Command::Renew { token: token.into() }).await;
    }

    /// Where this device stands: what to keep and to give to [`Config::cursors`] of the next client. Covers what has been
    /// put into the event stream, so take the events before the cursors. Empty once the client has stopped.
    pub async fn cursors(&self) -> BTreeMap<ConversationId, Sequence> {
        let (reply, answer) = oneshot::channel();
        if self.command(Command::Cursors { reply }).await.is_err() {
            return BTreeMap::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Ends the client: waits (5 s at most) for outstanding acknowledgements, says goodbye to the gateway.
    pub async fn close(self) {
        let (reply, closed) = oneshot::channel();
        if self.command(Command::Close { reply }).await.is_ok() {
            // An error means that the task has already ended, which is what was asked for.
            closed.await.unwrap_or_default();
        }
    }

    async fn create(
        &self,
        kind: ConversationKind,
        members: Vec<u64>,
        name: String,
    ) -> Result<ConversationId, CallError> {
        let frame = frames::Create { members, kind: kind as u8, name };
        self.call(|reply| Command::Create { frame, reply }).await
    }

    async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> Command,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply)).await.map_err(CallError::Stopped)?;
        answer.await.unwrap_or_else(|_| Err(CallError::Stopped(GONE.to_owned())))
    }

    /// For what has no answer: a client that has stopped says so by its events.
    async fn tell(&self, command: Command) {
        self.command(command).await.unwrap_or_default();
    }

    async fn command(&self, command: Command) -> Result<(), String> {
        self.commands.send(command).await.map_err(|_| GONE.to_owned())
    }
}

impl Outgoing {
    /// A message with a fresh client id and the current time.
    #[must_use]
    pub fn new(conversation: ConversationId, content: Content) -> Self {
        let client_time = connection::wall_ms();
        Self { conversation, client_id: new_client_id(client_time), content, reply_to: None, client_time }
    }

    #[must_use]
    pub fn reply_to(mut self, seq: Sequence) -> Self {
        self.reply_to = Some(seq);
        self
    }
}

/// A ULID: 48 bits of milliseconds, 80 random ones.
fn new_client_id(wall_ms: u64) -> ClientMessageId {
    let random = u128::from(connection::random()) | (u128::from(connection::random()) << 64);
    ClientMessageId((u128::from(wall_ms) << 80) | (random >> 48))
}

/// What the handles ask of the socket task.
#[derive(Debug)]
pub(crate) enum Command {
    Send { frame: frames::Send, reply: Option<oneshot::Sender<Result<Ack, SendError>>> },
    Create { frame: frames::Create, reply: oneshot::Sender<Result<ConversationId, CallError>> },
    History { frame: frames::History, reply: oneshot::Sender<Result<Page, CallError>> },
    Received { conversation: ConversationId, up_to: Sequence },
    Read { conversation: ConversationId, up_to: Sequence },
    Renew { token: String },
    Cursors { reply: oneshot::Sender<BTreeMap<ConversationId, Sequence>> },
    Close { reply: oneshot::Sender<()> },
}

const GONE: &str = "its task has ended; the last event says why";
