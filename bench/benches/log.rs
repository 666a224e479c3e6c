//! Until a group is durable: records into the forming group, sealed, written, synced. On the disk that holds the
//! target directory; the time of one sync of that disk is most of it.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::deliver;
use tidegate_storage::embedded::disk::FileDisk;
use tidegate_storage::embedded::log::{Finished, Log};
use tidegate_storage::embedded::{self, Options};
use tidegate_storage::row::Idempotency;
use tidegate_storage::{Append, Row};
use tidegate_wire::server::Delivery;

fn append(criterion: &mut Criterion) {
    let directory =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written");
    let mut bench = LogBench::open(directory.path());
    let mut group = criterion.benchmark_group("log, durable group");
    group.sample_size(20).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    for records in [1_u64, 64, 1024] {
        group.throughput(Throughput::Elements(records));
        group.bench_with_input(BenchmarkId::from_parameter(records), &records, |bencher, &records| {
            bencher.iter_custom(|iterations| (0..iterations).map(|_| bench.commit(records)).sum());
        });
    }
    group.finish();
    println!("log: checksum {:016x}, records made durable", bench.tickets);
    assert_eq!(bench.log.durable_lsn().0, bench.tickets, "every record is durable");
}

struct LogBench {
    log: Log<FileDisk>,
    frame: bytes::Bytes,
    tickets: u64,
}

impl LogBench {
    fn open(directory: &Path) -> Self {
        let (log, _store, _recovered) =
            embedded::open(directory, &Options::default()).expect("a fresh directory");
        let mut bench = Self { log, frame: Delivery::encode(&deliver(100)).frame(), tickets: 0 };
        bench.prepare();
        bench
    }

    /// Time of one group from the first push to durable.
    fn commit(&mut self, records: u64) -> Duration {
        let appends: Vec<Append> = (0..records).map(|_| self.record()).collect();
        let start = Instant::now();
        for append in appends {
            self.log.push(append).expect("a fresh group has room");
        }
        let commit = self.log.begin().expect("a group is forming and a segment is ready");
        let result = commit.perform(&**self.log.disk());
        let finished = self.log.finish(commit, result);
        let elapsed = start.elapsed();
        let Finished::Durable(group) = finished else { panic!("the commit did not succeed: {finished:?}") };
        assert_eq!(group.last_lsn().0, self.tickets);
        // What the store's thread does beside the commits: segments become free and are prepared again.
        self.log.persisted(group.last_lsn());
        self.prepare();
        elapsed
    }

    fn prepare(&mut self) {
        while let Some(preparation) = self.log.preparation() {
            let result = preparation.perform(&**self.log.disk());
            self.log.finish_preparation(preparation, result);
        }
    }

    fn record(&mut self) -> Append {
        self.tickets += 1;
        let seq = self.tickets;
        let idempotency =
            Idempotency { sender: 1, client_id: u128::from(seq), message_id: seq, created_ms: 1 };
        let row = Row::Message { conversation: 1, seq, frame: self.frame.clone(), idempotency };
        Append { stream: 0, ticket: seq, epoch: 0, rows: vec![row] }
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
