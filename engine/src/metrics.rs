//! What the shards count, summed, in the Prometheus text format.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::storage_threads::StorageReport;
use crate::supervision::Supervision;

#[derive(Debug)]
pub struct Gathering {
    pub supervision: Arc<Supervision>,
    pub storage: Arc<StorageReport>,
}

/// A registry that gathers when it is read.
#[must_use]
pub fn registry(gathering: Gathering) -> Registry {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(gathering));
    registry
}

/// Sizes; everything else is a total.
const GAUGES: [&str; 6] =
    ["sessions", "conversations", "requests_in_flight", "appends_in_flight", "connections", "ring_depth"];

impl Collector for Gathering {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut sums: Vec<(&str, &str, u64)> = Vec::new();
        for report in self.supervision.reports() {
            let worker = report.worker;
            let driver = report.driver;
            let engine = [
                ("connections", "Sockets held, handshakes included.", worker.connections),
                ("ring_depth", "Envelopes that wait in the rings between shards.", worker.ring_depth),
                ("turns", "Passes of the worker loops.", worker.turns),
                ("sleeps", "Turns that waited for an event.", worker.sleeps),
                ("upgrades", "Handshakes that ended in a WebSocket.", worker.upgrades),
                ("upgrades_refused", "Handshakes answered with an HTTP error.", worker.upgrades_refused),
                (
                    "upgrades_without_slot",
                    "Sessions dropped for want of a slot.",
                    worker.upgrades_without_slot,
                ),
                ("connections_moved", "Connections that moved to another shard.", worker.moved_in),
                ("envelopes_delayed", "Envelopes that found their ring full.", worker.envelopes_delayed),
                ("accepts", "Connections accepted.", driver.accepts),
                ("accept_errors", "Accepts that failed.", driver.accept_errors),
                (
                    "accepts_without_slot",
                    "Connections closed at once for want of a slot.",
                    driver.accepts_refused,
                ),
                ("received_bytes", "Bytes read from sockets.", driver.received_bytes),
                ("receives", "Reads of sockets.", driver.receives),
                ("socket_sends", "Send operations given to the kernel.", driver.sends),
                ("socket_sends_short", "Sends that the kernel took only in part.", driver.sends_short),
                ("receives_starved", "Reads put off for want of a buffer.", driver.starved),
                ("completion_overflows", "Completion queues found overflown.", driver.completion_overflows),
            ];
            for (name, help, value) in report.shard.each().chain(engine) {
                match sums.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, _, sum)) => *sum += value,
                    None => sums.push((name, help, value)),
                }
            }
        }
        let storage = &self.storage;
        let of = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        sums.extend([
            ("log_groups", "Groups committed to the log.", of(&storage.groups)),
            ("log_records", "Records committed to the log.", of(&storage.records)),
            ("log_bytes", "Bytes written to the log, padding included.", of(&storage.bytes)),
            ("log_records_refused", "Records the log refused.", of(&storage.refused)),
            ("store_queries", "Questions the store answered.", of(&storage.queries)),
        ]);
        for (name, help, value) in sums {
            if GAUGES.contains(&name) {
                let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.encode(encoder.encode_descriptor(name, help.trim(), None, gauge.metric_type())?)?;
            } else {
                let counter = ConstCounter::new(value);
                counter.encode(encoder.encode_descriptor(
                    name,
                    help.trim(),
                    None,
                    counter.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}
