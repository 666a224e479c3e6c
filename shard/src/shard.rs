//! Routes: an input goes to the home side or the owner side; what a shard sends to itself goes through the same door
//! as what it sends to others.

use std::sync::Arc;

use crate::context::Context;
use crate::contract::{Envelope, Input, Now, Output, ShardId};
use crate::counters::Counters;
use crate::home::Home;
use crate::limits::{INBOX_MAX, Limits};
use crate::owner::Owner;

/// Who a shard is, and what it starts from.
#[derive(Clone, Debug)]
pub struct Identity {
    pub me: ShardId,
    /// Shards of this node.
    pub shards: u16,
    /// This box; part of every message id.
    pub node: u16,
    /// For ids of new conversations, and against aimed hash collisions.
    pub seed: u64,
    /// Latest time in the log, in ms since 1970: no message of this life is earlier.
    pub created_floor: u64,
}

/// One core's state. Driven by [`Shard::handle`], then [`Shard::work`], then [`Shard::poll_output`] until `None`.
#[derive(Debug)]
pub struct Shard {
    context: Context,
    home: Home,
    owner: Owner,
}

impl Shard {
    #[must_use]
    pub fn new(identity: &Identity, limits: Limits, now: Now) -> Self {
        let Identity { me, shards, node, seed, created_floor } = *identity;
        assert!(me.0 < shards, "shard {} of {shards}", me.0);
        let context = Context::new(me, shards, node, limits, seed, now);
        let owner = Owner::new(&context, &context.limits, created_floor);
        let home = Home::new(&context);
        Self { context, home, owner }
    }

    /// Takes one input. Costs are bounded by the input; large fan-outs are left to [`Shard::work`].
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.context.now = now;
        let context = &mut self.context;
        match input {
            Input::Login { connection, login } => self.home.on_login(context, connection, login),
            Input::Binary { connection, message } => self.home.on_binary(context, connection, message),
            Input::Text { connection, message } => self.home.on_text(context, connection, message),
            Input::Disconnected { connection } => self.home.on_disconnected(context, connection),
            Input::Blocked { connection, unsent } => {
                self.home.on_blocked(context, connection, unsent);
            }
            Input::Drained { connection } => self.home.on_drained(context, connection),
            Input::Envelope(envelope) => self.on_envelope(envelope),
            Input::Durable { up_to } => self.owner.on_durable(context, up_to),
            Input::Refused { from, epoch, reason } => self.on_refused(from, epoch, &reason),
            Input::Answer { ticket, answer } => {
                if let Some(answer) = self.owner.on_answer(context, ticket, answer) {
                    self.home.on_answer(context, ticket, answer);
                }
            }
            Input::TokenChecked { connection, request, outcome } => {
                self.home.on_token_checked(context, connection, request, outcome);
            }
            Input::Tick => {
                self.owner.on_tick(context);
                self.home.on_tick(context);
            }
            Input::Drain { reconnect_after_ms, window_ms } => {
                self.home.on_drain(context, reconnect_after_ms, window_ms);
            }
        }
        while let Some(envelope) = self.context.local.pop_front() {
            self.on_envelope(envelope);
        }
    }

    /// Hands waiting messages to sessions, at most about `deliveries_per_turn`. True if some are left.
    pub fn work(&mut self, now: Now) -> bool {
        self.context.now = now;
        self.home.fan_out(&mut self.context);
        while let Some(envelope) = self.context.local.pop_front() {
            self.on_envelope(envelope);
        }
        self.home.has_work()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.context.out.pop_front()
    }

    /// More requests wait for answers than this shard wants: read from no socket until it is false again.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.context.counters.requests_in_flight >= u64::from(self.context.limits.requests_max)
            || self.is_backlogged()
    }

    /// Owners send faster than this shard fans out: take nothing from the rings until it is false again, so that
    /// they fill and slow down those who cause it. [`Shard::work`] gets there by itself.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        self.home.inbox_len() >= INBOX_MAX
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.context.counters
    }

    fn on_envelope(&mut self, envelope: Envelope) {
        match envelope {
            Envelope::Send(_)
            | Envelope::Create { .. }
            | Envelope::Access { .. }
            | Envelope::Received { .. } => {
                self.owner.on_envelope(&mut self.context, envelope);
            }
            Envelope::Acked { .. }
            | Envelope::Created { .. }
            | Envelope::Failed { .. }
            | Envelope::Granted { .. }
            | Envelope::Unavailable { .. }
            | Envelope::Deliver { .. } => self.home.on_envelope(&mut self.context, envelope),
        }
    }

    fn on_refused(&mut self, from: u64, epoch: u32, reason: &Arc<str>) {
        self.owner.on_refused(&mut self.context, from, epoch, reason);
    }
}
