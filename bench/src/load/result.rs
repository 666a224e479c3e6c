//! The result of a run: everything the workers counted, put together and judged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::account::Account;
use super::options::Options;
use super::worker::Finished;
use crate::environment::Environment;
use crate::gateway::ReadyLine;
use crate::ledger::{Acknowledged, Faults};
use crate::process::ThreadCpu;
use crate::report::{ClientShare, LatencyMs, latencies, per, rounded};
use crate::schedule::Window;

#[derive(Debug, Serialize)]
pub struct LoadResult {
    /// `open` or `closed`.
    pub loop_kind: &'static str,
    /// Open loop: messages per second asked for. Closed loop: what came of it.
    pub offered_per_s: f64,
    pub seconds: f64,
    pub senders: u32,
    pub conversations: u32,
    pub members: u32,
    pub sessions: u32,
    pub body_bytes: u32,
    pub window: Option<u32>,
    /// Messages whose intended time lies in the measured seconds.
    pub acked: u64,
    /// Deliveries of such messages, each once.
    pub delivered: u64,
    /// Of the whole run, like everything down to `disconnects`.
    pub sent_total: u64,
    pub acked_total: u64,
    pub delivered_total: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Sessions whose messages differ from those acknowledged, wrong bodies.
    pub wrong: u64,
    /// Sends that were neither acknowledged nor refused.
    pub unanswered: u64,
    /// Refused sends by error code.
    pub refused: BTreeMap<u16, u64>,
    pub lagging: u64,
    pub disconnects: u64,
    /// Rates over the measured seconds, by the time of arrival.
    pub acked_per_s: f64,
    pub delivered_per_s: f64,
    pub ack_ms: LatencyMs,
    pub deliver_ms: LatencyMs,
    /// CPU time of the gateway's process, all threads, over what arrived in the measured seconds.
    pub gateway_cpu_us_per_delivered: Option<f64>,
    pub gateway_cpu_us_per_acked: Option<f64>,
    pub gateway_cpu_pct: Option<f64>,
    pub gateway_threads: Vec<ThreadCpu>,
    /// Acks and delivers per read of the client: how well the gateway coalesces.
    pub frames_per_read: Option<f64>,
    pub client: ClientShare,
    pub remarks: Vec<String>,
    pub gateway: Option<ReadyLine>,
    /// File system of the gateway's data directory.
    pub data_dir_file_system: Option<String>,
    pub environment: Environment,
}

/// The gateway's CPU within the measured seconds.
#[derive(Debug)]
pub struct GatewayCpu {
    pub used: Duration,
    pub threads: Vec<ThreadCpu>,
}

/// What else belongs into a result.
#[derive(Debug)]
pub struct Around {
    pub sessions: u32,
    pub window: Window,
    pub cpu: Option<GatewayCpu>,
    pub gateway: Option<ReadyLine>,
    pub data_dir_file_system: Option<String>,
    pub environment: Environment,
}

impl LoadResult {
    #[must_use]
    #[expect(clippy::cast_precision_loss)]
    pub fn of(options: &Options, finished: &[Finished], around: Around) -> Self {
        let accounts = || finished.iter().map(|finished| &finished.account);
        let sum = |count: fn(&Account) -> u64| accounts().map(count).sum::<u64>();
        let merged = |histogram: fn(&Account) -> &hdrhistogram::Histogram<u64>| {
            let mut all = latencies();
            accounts().for_each(|account| all.add(histogram(account)).expect("the bounds are the same"));
            LatencyMs::from(&all)
        };
        let (sent, acked) = (sum(|account| account.counts.sent), sum(|account| account.counts.acked));
        let refused_count = sum(|account| account.counts.refused);
        let unanswered = sent.saturating_sub(acked + refused_count);
        let faults = faults(finished, unanswered + refused_count == 0);
        let mut refused = BTreeMap::new();
        for (&code, &count) in accounts().flat_map(|account| &account.refused) {
            *refused.entry(code).or_default() += count;
        }
        let seconds = around.window.seconds();
        let acked_during = sum(|account| account.counts.acked_during_window);
        let delivered_during = sum(|account| account.counts.delivered_during_window);
        let sent_during = sum(|account| account.counts.sent_during_window);
        let reads = sum(|account| account.counts.reads_during_window);
        let cpu_us = around.cpu.as_ref().map(|cpu| cpu.used.as_secs_f64() * 1e6);
        let send_late_ms = merged(|account| &account.send_late_ns);
        let busiest = finished.iter().map(|finished| finished.cpu).max().unwrap_or_default();
        Self {
            loop_kind: options.work.loop_kind(),
            offered_per_s: options
                .work
                .window
                .map_or(options.work.rate, |_| rounded(sent_during as f64 / seconds)),
            seconds,
            senders: options.work.senders,
            conversations: options.work.conversations,
            members: options.work.members,
            sessions: around.sessions,
            body_bytes: options.work.body_bytes,
            window: options.work.window,
            acked: sum(|account| account.counts.acked_in_window),
            delivered: sum(|account| account.counts.delivered_in_window),
            sent_total: sent,
            acked_total: acked,
            delivered_total: sum(|account| account.counts.delivered),
            lost: faults.lost,
            duplicates: faults.duplicates,
            out_of_order: faults.out_of_order,
            wrong: faults.wrong,
            unanswered,
            refused,
            lagging: sum(|account| account.counts.lagging),
            disconnects: sum(|account| account.counts.disconnects),
            acked_per_s: rounded(acked_during as f64 / seconds),
            delivered_per_s: rounded(delivered_during as f64 / seconds),
            ack_ms: merged(|account| &account.ack_ns),
            deliver_ms: merged(|account| &account.deliver_ns),
            gateway_cpu_us_per_delivered: cpu_us.and_then(|cpu_us| per(cpu_us, delivered_during)),
            gateway_cpu_us_per_acked: cpu_us.and_then(|cpu_us| per(cpu_us, acked_during)),
            gateway_cpu_pct: cpu_us.map(|cpu_us| rounded(cpu_us / 1e4 / seconds)),
            gateway_threads: around.cpu.map_or_else(Vec::new, |cpu| cpu.threads),
            frames_per_read: per((acked_during + delivered_during) as f64, reads),
            client: ClientShare::of(
                finished.len(),
                busiest,
                seconds,
                send_late_ms,
                options.work.window.is_none(),
            ),
            remarks: accounts().flat_map(|account| account.remarks.iter().cloned()).collect(),
            gateway: around.gateway,
            data_dir_file_system: around.data_dir_file_system,
            environment: around.environment.finished(),
        }
    }

    /// Nothing lost, repeated, reordered or altered, no session dropped, every send answered.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        let faults = self.lost + self.duplicates + self.out_of_order + self.wrong;
        faults + self.unanswered + self.disconnects == 0
    }

    /// A few lines for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let figure = |figure: Option<f64>| {
            figure.map_or_else(|| "not known".to_owned(), |figure| format!("{figure:.2} us"))
        };
        let latency = |latency: &LatencyMs| {
            format!("p50 {} p99 {} p999 {} max {} ms", latency.p50, latency.p99, latency.p999, latency.max)
        };
        let mut lines = vec![
            format!(
                "{} loop, {:.0} messages/s offered, {} sessions: {:.0} acked/s, {:.0} delivered/s",
                self.loop_kind, self.offered_per_s, self.sessions, self.acked_per_s, self.delivered_per_s
            ),
            format!(
                "acked {} delivered {} lost {} duplicates {} out of order {} wrong {} unanswered {} refused {} disconnects {}",
                self.acked_total,
                self.delivered_total,
                self.lost,
                self.duplicates,
                self.out_of_order,
                self.wrong,
                self.unanswered,
                self.refused.values().sum::<u64>(),
                self.disconnects
            ),
            format!("ack      {}", latency(&self.ack_ms)),
            format!("deliver  {}", latency(&self.deliver_ms)),
            format!(
                "gateway CPU {} per delivered, {} per acked",
                figure(self.gateway_cpu_us_per_delivered),
                figure(self.gateway_cpu_us_per_acked)
            ),
            self.client.summary(),
        ];
        lines.extend(self.remarks.iter().map(|remark| format!("remark: {remark}")));
        lines.join("\n")
    }
}

/// Compares what every session saw with what all senders were told.
fn faults(finished: &[Finished], everything_acknowledged: bool) -> Faults {
    let mut acknowledged: BTreeMap<u32, Acknowledged> = BTreeMap::new();
    for (&index, part) in finished.iter().flat_map(|finished| &finished.account.acknowledged) {
        acknowledged.entry(index).or_default().merge(part.clone());
    }
    let mut faults = Faults::default();
    for all in acknowledged.values_mut() {
        faults.duplicates += all.seal();
        if everything_acknowledged {
            faults.duplicates += all.unexplained();
        }
    }
    let nothing = Acknowledged::default();
    for (index, ledger) in finished.iter().flat_map(|finished| finished.account.ledgers()) {
        faults += ledger.close(acknowledged.get(&index).unwrap_or(&nothing), everything_acknowledged);
    }
    faults
}
