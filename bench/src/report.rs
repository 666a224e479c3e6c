//! Results: JSON for scripts, a few lines for people.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept between a microsecond and a minute, to three digits.
const LATENCY_NS_MIN: u64 = 1_000;
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A client thread busier than this may have been what was measured.
const CLIENT_BUSY_PCT_MAX: f64 = 90.0;
/// Sends later than this (99th percentile) mean that the offered load was not the one asked for.
const SEND_LATE_MS_MAX: f64 = 1.0;

/// Percentiles in milliseconds. All 0 when nothing was recorded: see `count`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyMs {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub count: u64,
}

/// Shows that the client was not what limited the run.
#[derive(Debug, Serialize)]
pub struct ClientShare {
    pub threads: usize,
    /// CPU of the busiest thread, in percent of one core.
    pub busiest_cpu_pct: f64,
    /// How late sends left (open loop).
    pub send_late_ms: LatencyMs,
    /// If true, the figures say as much about the client as about the gateway.
    pub limited: bool,
}

/// A histogram of nanoseconds.
#[must_use]
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3).expect("the bounds are valid")
}

impl From<&Histogram<u64>> for LatencyMs {
    #[expect(clippy::cast_precision_loss)]
    fn from(histogram: &Histogram<u64>) -> Self {
        let ms = |nanoseconds: u64| (nanoseconds as f64 / 1e3).round() / 1e3;
        Self {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            p999: ms(histogram.value_at_quantile(0.999)),
            max: ms(histogram.max()),
            count: histogram.len(),
        }
    }
}

impl ClientShare {
    /// `busiest`: CPU time of the busiest thread within the measured `seconds`.
    #[must_use]
    pub fn of(
        threads: usize,
        busiest: Duration,
        seconds: f64,
        send_late_ms: LatencyMs,
        is_open_loop: bool,
    ) -> Self {
        let busiest_cpu_pct = rounded(busiest.as_secs_f64() / seconds * 100.0);
        let is_late = is_open_loop && send_late_ms.p99 > SEND_LATE_MS_MAX;
        let limited = busiest_cpu_pct > CLIENT_BUSY_PCT_MAX || is_late;
        Self { threads, busiest_cpu_pct, send_late_ms, limited }
    }

    /// A line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let verdict = if self.limited { ": THE CLIENT LIMITED THIS RUN" } else { "" };
        format!(
            "client   busiest thread {} %, sends left {} ms late (p99){verdict}",
            self.busiest_cpu_pct, self.send_late_ms.p99
        )
    }
}

/// To one digit behind the point.
#[must_use]
pub fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// `amount / count`, to three digits behind the point; `None` when there is nothing to divide by.
#[must_use]
#[expect(clippy::cast_precision_loss)]
pub fn per(amount: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| (amount / count as f64 * 1e3).round() / 1e3)
}

/// Writes the result as JSON to `path`, or to standard output when there is none.
pub fn publish(result: &impl Serialize, path: Option<&Path>) -> Result<(), String> {
    let json =
        serde_json::to_string_pretty(result).map_err(|error| format!("cannot write the result: {error}"))?;
    let Some(path) = path else {
        println!("{json}");
        return Ok(());
    };
    fs::write(path, json + "\n").map_err(|error| format!("cannot write --json {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut histogram = latencies();
        (1..=1000).for_each(|ms| histogram.saturating_record(ms * 1_000_000));
        let latency = LatencyMs::from(&histogram);
        assert!((latency.p50 - 500.0).abs() < 1.0 && (latency.p99 - 990.0).abs() < 1.0, "{latency:?}");
        assert_eq!(latency.count, 1000);
    }

    #[test]
    fn nothing_divided_is_none() {
        assert_eq!(per(1.0, 0), None);
        assert_eq!(per(1.0, 3), Some(0.333));
    }
}
