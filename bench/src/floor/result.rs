//! The result of a floor run.

use serde::Serialize;

use super::client::Seen;
use super::options::Options;
use super::server::Used;
use super::sizes::Sizes;
use crate::environment::Environment;
use crate::report::{ClientShare, LatencyMs, per, rounded};
use crate::schedule::Window;

#[derive(Debug, Serialize)]
pub struct FloorResult {
    pub loop_kind: &'static str,
    pub offered_per_s: f64,
    pub seconds: f64,
    pub senders: u32,
    pub conversations: u32,
    pub members: u32,
    pub sessions: u32,
    pub body_bytes: u32,
    pub window: Option<u32>,
    pub gather_us: u64,
    /// Bytes on the wire.
    pub sizes: Sizes,
    /// Within the measured seconds.
    pub acked: u64,
    pub delivered: u64,
    pub acked_per_s: f64,
    pub delivered_per_s: f64,
    /// CPU time of the server thread.
    pub floor_cpu_us_per_delivered: Option<f64>,
    pub floor_cpu_us_per_acked: Option<f64>,
    pub floor_cpu_pct: f64,
    /// Acks and delivers per `send(2)`, and per read of the client; compare the latter with the load's.
    pub frames_per_send: Option<f64>,
    pub frames_per_read: Option<f64>,
    pub client: ClientShare,
    pub environment: Environment,
}

impl FloorResult {
    #[must_use]
    #[expect(clippy::cast_precision_loss)]
    pub fn of(
        options: &Options,
        sessions: u32,
        window: Window,
        used: Used,
        seen: &Seen,
        environment: Environment,
    ) -> Self {
        let (work, seconds) = (&options.work, window.seconds());
        let cpu_us = used.cpu.as_secs_f64() * 1e6;
        let rate = |count: u64| rounded(count as f64 / seconds);
        Self {
            loop_kind: work.loop_kind(),
            offered_per_s: work.window.map_or(work.rate, |_| rate(seen.sent)),
            seconds,
            senders: work.senders,
            conversations: work.conversations,
            members: work.members,
            sessions,
            body_bytes: work.body_bytes,
            window: work.window,
            gather_us: options.gather_us,
            sizes: Sizes::of(work.body_bytes),
            acked: used.acked,
            delivered: used.delivered,
            acked_per_s: rate(used.acked),
            delivered_per_s: rate(used.delivered),
            floor_cpu_us_per_delivered: per(cpu_us, used.delivered),
            floor_cpu_us_per_acked: per(cpu_us, used.acked),
            floor_cpu_pct: rounded(cpu_us / 1e4 / seconds),
            frames_per_send: per((used.acked + used.delivered) as f64, used.sends),
            frames_per_read: per((seen.acked + seen.delivered) as f64, seen.reads),
            client: ClientShare::of(
                1,
                seen.cpu,
                seconds,
                LatencyMs::from(&seen.send_late_ns),
                work.window.is_none(),
            ),
            environment: environment.finished(),
        }
    }

    /// A few lines for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let figure =
            |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
        format!(
            "{} loop, {} sessions: {:.0} acked/s, {:.0} delivered/s\n\
             floor CPU {} us per delivered, {} us per acked, {} % of a core\n\
             {} frames per send, {} per read\n{}",
            self.loop_kind,
            self.sessions,
            self.acked_per_s,
            self.delivered_per_s,
            figure(self.floor_cpu_us_per_delivered),
            figure(self.floor_cpu_us_per_acked),
            self.floor_cpu_pct,
            figure(self.frames_per_send),
            figure(self.frames_per_read),
            self.client.summary()
        )
    }
}
