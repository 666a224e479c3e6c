//! Looks at every byte that a driver is handed for one socket: nothing before it is durable, no gap, no repeat, no
//! reorder, no echo.
//!
//! What a session may see of a conversation: it starts behind its cursor (what it named, else what the device has
//! acknowledged), or further on if `has_more` is said; then message by message. It may leave out what this very
//! session has sent. A sync that names an older cursor lets it start over there.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_wire::websocket::Decoder;

use super::ledger::{Checked, Ledger, check};
use super::speech::{Delivered, Heard, hear};

/// The longest message a gateway makes here: a page of large messages.
const MESSAGE_BYTES_MAX: u32 = 16 << 20;

#[derive(Debug)]
pub struct Viewer {
    pub user: u64,
    pub device: u64,
    /// Bytes of the answer to the upgrade; `None` once it is complete.
    head: Option<Vec<u8>>,
    decoder: Decoder,
    views: BTreeMap<u128, View>,
    /// Cursors named in the hello.
    named: BTreeMap<u128, u64>,
    sent: BTreeSet<(u128, u128)>,
    /// Those that no earlier session had sent: no echo of them, wherever they are read from.
    sent_first: BTreeSet<(u128, u128)>,
    /// Everything handed over, to compare with what arrives.
    pub bytes: Vec<u8>,
    pub refused: bool,
    /// The hello may come after the gateway has gone on without it: then it counts as a sync.
    hello_may_be_late: bool,
}

#[derive(Debug, Default)]
struct View {
    /// The last one seen; `None`: none yet.
    last: Option<u64>,
    /// It may start over behind one of these, which syncs named in this order.
    restarts: Vec<u64>,
    /// A sync named it: what the session sent before that may come again.
    asked_again: bool,
    /// A jump that `has_more` has yet to explain.
    jumped: bool,
}

impl Viewer {
    pub fn new(user: u64, device: u64, hello_may_be_late: bool) -> Self {
        Self {
            hello_may_be_late,
            user,
            device,
            head: Some(Vec::new()),
            decoder: Decoder::client(MESSAGE_BYTES_MAX),
            views: BTreeMap::new(),
            named: BTreeMap::new(),
            sent: BTreeSet::new(),
            sent_first: BTreeSet::new(),
            bytes: Vec::new(),
            refused: false,
        }
    }

    pub fn note_hello(&mut self, cursors: &[(u128, u64)]) {
        self.named.extend(cursors.iter().copied());
        if self.hello_may_be_late {
            for (conversation, cursor) in cursors {
                self.note_sync(*conversation, *cursor);
            }
        }
    }

    pub fn note_sync(&mut self, conversation: u128, cursor: u64) {
        let view = self.views.entry(conversation).or_default();
        view.restarts.push(cursor);
        view.asked_again = true;
    }

    /// # Errors
    /// If a gap was never explained.
    pub fn check_explained(&self) -> Checked {
        match self.views.iter().find(|(_, view)| view.jumped) {
            None => Ok(()),
            Some((conversation, view)) => Err(format!(
                "user {} device {}: messages of {conversation:x} before {:?} were left out without a word",
                self.user, self.device, view.last
            )),
        }
    }

    /// `first`: no session has sent this before.
    pub fn note_send(&mut self, conversation: u128, client_id: u128, first: bool) {
        self.sent.insert((conversation, client_id));
        if first {
            self.sent_first.insert((conversation, client_id));
        }
    }

    /// # Errors
    /// The broken promise. `acknowledged`: what the device has said it received, of each conversation.
    pub fn look(&mut self, ledger: &Ledger, acknowledged: &BTreeMap<u128, u64>, bytes: &[u8]) -> Checked {
        self.bytes.extend_from_slice(bytes);
        let mut rest = bytes.to_vec();
        if let Some(head) = &mut self.head {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
            self.refused = !head.starts_with(b"HTTP/1.1 101 ");
            rest = head.split_off(end + 4);
            self.head = None;
        }
        if self.refused {
            return Ok(());
        }
        let mut heard = Vec::new();
        let mut at = 0;
        loop {
            let (used, item) = self.decoder.next(&mut rest[at..]).map_err(|error| error.to_string())?;
            let Some(item) = item else { break };
            at += used;
            hear(&item, |frame| heard.push(frame))?;
        }
        heard.iter().try_for_each(|heard| self.check(ledger, acknowledged, heard))
    }

    fn check(&mut self, ledger: &Ledger, acknowledged: &BTreeMap<u128, u64>, heard: &Heard) -> Checked {
        match heard {
            Heard::Ack { conversation, client_id, seq, message_id, .. } => {
                check(self.sent.contains(&(*conversation, *client_id)), || {
                    format!("acknowledged to a session that did not send it: {heard:?}")
                })?;
                ledger.check_acked(self.user, *conversation, *client_id, *seq, *message_id)
            }
            Heard::Deliver(message) => {
                ledger.check_shown(message)?;
                check(ledger.is_member(message.conversation, self.user), || {
                    format!("user {} is shown {message:?} and is no member", self.user)
                })?;
                self.step(ledger, acknowledged, message)
            }
            Heard::Page { conversation, messages, .. } => {
                check(ledger.is_member(*conversation, self.user), || {
                    format!("user {} gets a page of {conversation:x} and is no member", self.user)
                })?;
                messages.iter().try_for_each(|message| ledger.check_shown(message))?;
                let ascending = messages.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1);
                check(ascending, || format!("a page has gaps: {messages:?}"))
            }
            Heard::Synced { conversation, head, has_more } => {
                let view = self.views.entry(*conversation).or_default();
                let own = |seq| {
                    ledger.message(*conversation, seq).is_some_and(|message| {
                        message.sender == self.user && self.sent.contains(&(*conversation, message.client_id))
                    })
                };
                // Own messages are left out, whole pages of them too; nobody here knows where such a page began.
                let page_of_own = own(*head) && (view.last.is_none() || *has_more);
                let goes_on = view.last.is_some_and(|seen| seen <= *head && (seen + 1..=*head).all(own));
                check(page_of_own || goes_on, || format!("{heard:?}, the last one seen is {:?}", view.last))?;
                check(!view.jumped || *has_more, || {
                    format!(
                        "user {} device {}: messages were left out without a word: {heard:?}, last {:?}, named {:?}",
                        self.user,
                        self.device,
                        view.last,
                        self.named.get(conversation)
                    )
                })?;
                view.jumped = false;
                view.last = Some(*head);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, ledger: &Ledger, acknowledged: &BTreeMap<u128, u64>, message: &Delivered) -> Checked {
        let Delivered { conversation, seq, .. } = *message;
        let own = |seq: u64| {
            ledger.message(conversation, seq).is_some_and(|message| {
                message.sender == self.user && self.sent.contains(&(conversation, message.client_id))
            })
        };
        let follows = |from: u64| seq > from && (from + 1..seq).all(own);
        let view = self.views.entry(conversation).or_default();
        let sent_here = ledger.message(conversation, seq).is_some_and(|message| {
            message.sender == self.user && self.sent_first.contains(&(conversation, message.client_id))
        });
        if sent_here && !view.asked_again && !self.hello_may_be_late {
            return Err(format!("the session that sent it gets an echo: {message:?}"));
        }
        let named = self.named.get(&conversation).copied();
        // Without a named cursor: anywhere up to what the device has acknowledged.
        let acknowledged = acknowledged.get(&conversation).copied().unwrap_or(0);
        let unnamed = named.is_none() || self.hello_may_be_late;
        let cursor = named.unwrap_or(acknowledged);
        let goes_on = match view.last {
            Some(last) => follows(last),
            None => follows(cursor) || (unnamed && (seq <= acknowledged + 1 || follows(acknowledged))),
        };
        if !goes_on {
            let restart = view.restarts.iter().position(|cursor| follows(*cursor));
            // Only the newest page, if it is too far behind: `synced` has to say so.
            let begins_with_jump = view.last.is_none() && seq > cursor;
            let jump = view.restarts.iter().position(|cursor| *cursor < seq);
            let jumps = begins_with_jump || jump.is_some();
            check(restart.is_some() || jumps, || {
                format!(
                    "user {} device {} is shown {seq} of {conversation:x} after {:?}, cursor {cursor}, syncs {:?}",
                    self.user, self.device, view.last, view.restarts
                )
            })?;
            view.jumped |= restart.is_none();
            // A sync that came during a catch-up counts for nothing: those before the one used are over.
            if let Some(used) = restart.or(jump)
                && !begins_with_jump
            {
                view.restarts.drain(..=used);
            }
        }
        view.last = Some(seq);
        Ok(())
    }
}
