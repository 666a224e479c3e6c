//! Proves: under random pushes, commits, faults and crashes the log keeps exactly what it promised: everything that was
//! reported durable, in order, and nothing that was refused.
//! Guards against: any difference between the log and a plain list.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{SMALL, append, message, open};
use tidegate_storage::embedded::disk::{Fault, SectorFate, SimulatedDisk};
use tidegate_storage::embedded::log::{Commit, Finished, Log, RejectReason};
use tidegate_storage::{Append, Lsn};

struct Model {
    disk: Arc<SimulatedDisk>,
    log: Log<SimulatedDisk>,
    random: StdRng,
    /// What was reported durable, from the first record on.
    durable: Vec<Append>,
    /// What was pushed and not yet decided.
    undecided: Vec<Append>,
    in_flight: Option<Commit>,
    /// Per stream: its epoch and the next ticket.
    streams: BTreeMap<u16, (u32, u64)>,
    /// Counts records so that each is unlike all others.
    made: u64,
    checkpoint: Lsn,
    refusals: u64,
    crashes: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let (disk, log) = support::fresh(&SMALL);
        Self {
            disk,
            log,
            random: StdRng::seed_from_u64(seed),
            durable: Vec::new(),
            undecided: Vec::new(),
            in_flight: None,
            streams: BTreeMap::new(),
            made: 0,
            checkpoint: Lsn::ZERO,
            refusals: 0,
            crashes: 0,
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.push(),
            45..60 => self.begin(),
            60..80 => self.finish(),
            80..88 => support::prepare(&mut self.log),
            88..91 => self.persist(),
            91..92 => self.inject(),
            92..99 => {
                let capacity = [None, Some(3 * 64 * 1024), Some(0), Some(0)][self.random.random_range(0..4)];
                self.disk.set_capacity(capacity);
            }
            _ => self.crash(),
        }
    }

    fn push(&mut self) {
        let stream = self.random.random_range(0..3);
        let (epoch, ticket) = *self.streams.entry(stream).or_insert((0, 1));
        self.made += 1;
        let bytes = [0, 10, 500, 4000, 12_000][self.random.random_range(0..5)];
        let rows = vec![message(u128::from(stream), self.made, &vec![self.made as u8; bytes])];
        let record = Append { epoch, ..append(stream, ticket, rows) };
        match self.log.push(record.clone()) {
            Ok(()) => {
                self.undecided.push(record);
                self.streams.insert(stream, (epoch, ticket + 1));
            }
            Err(rejected) => {
                assert_eq!(rejected.append, record, "the record comes back");
                assert_eq!(rejected.reason, RejectReason::Full);
            }
        }
        if epoch > 0 {
            let stale = Append { epoch: epoch - 1, ..append(stream, ticket, Vec::new()) };
            assert_eq!(self.log.push(stale).unwrap_err().reason, RejectReason::Stale);
        }
    }

    fn begin(&mut self) {
        if let Some(commit) = self.log.begin() {
            assert!(self.in_flight.is_none(), "one commit in flight");
            self.in_flight = Some(commit);
        }
    }

    fn finish(&mut self) {
        let Some(commit) = self.in_flight.take() else { return };
        let result = commit.perform(&*self.disk);
        match self.log.finish(commit, result) {
            Finished::Durable(group) => {
                assert_eq!(group.first_lsn, Lsn(self.durable.len() as u64 + 1));
                let expected: Vec<_> = self.undecided.drain(..group.appends.len()).collect();
                assert_eq!(group.appends, expected, "durable in the order of pushes");
                self.durable.extend(group.appends);
            }
            Finished::Refused { appends, streams, .. } => {
                self.refusals += 1;
                for refused in streams {
                    let (epoch, ticket) = self.streams[&refused.stream];
                    assert_eq!(refused.epoch, epoch + 1);
                    assert!(refused.from_ticket < ticket);
                    self.streams.insert(refused.stream, (refused.epoch, refused.from_ticket));
                }
                self.undecided.retain(|record| !appends.contains(record));
                let stale = |record: &&Append| record.epoch < self.streams[&record.stream].0;
                assert_eq!(
                    self.undecided.iter().filter(stale).count(),
                    0,
                    "nothing built on a refused record stays"
                );
            }
            Finished::Poisoned { .. } => {
                assert!(self.log.begin().is_none());
                self.crash();
            }
        }
    }

    fn persist(&mut self) {
        let lsn = self.random.random_range(self.checkpoint.0..=self.durable.len() as u64);
        self.checkpoint = Lsn(lsn);
        self.log.persisted(self.checkpoint);
    }

    fn inject(&mut self) {
        let sectors = self.random.random_range(0..20);
        let faults = [Fault::Write { sectors }, Fault::Sync, Fault::Create, Fault::Rename];
        self.disk.inject(faults[self.random.random_range(0..4)]);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        if let Some(commit) = self.in_flight.take() {
            // The power may go before, in the middle of, or after the write; the sync did not return.
            if self.random.random_bool(0.8) {
                let _outcome_unknown_to_the_dead = commit.write(&*self.disk);
            }
        }
        let kept = [0.0, 0.5, 0.95, 1.0][self.random.random_range(0..4)];
        self.disk.set_capacity(None);
        let random = &mut self.random;
        self.disk.crash(|_| match random.random_bool(kept) {
            true => SectorFate::Kept,
            false if random.random_bool(0.2) => SectorFate::Torn(random.random_range(1..512)),
            false => SectorFate::Lost,
        });
        let (log, recovered, replayed) = open(&self.disk, &SMALL, self.checkpoint).unwrap();
        self.log = log;
        let expected_from = usize::try_from(self.checkpoint.0).unwrap();
        for (index, (lsn, append)) in replayed.iter().enumerate() {
            assert_eq!(lsn.0, (expected_from + index) as u64 + 1);
            match self.durable.get(expected_from + index) {
                Some(durable) => assert_eq!(append, durable),
                // The group that was in flight may have made it as a whole.
                None => {
                    assert_eq!(*append, self.undecided.remove(0));
                    self.durable.push(append.clone());
                }
            }
        }
        assert_eq!(expected_from + replayed.len(), self.durable.len(), "nothing durable is missing");
        assert_eq!(recovered.next_lsn.0, self.durable.len() as u64 + 1);
        self.undecided.clear();
        self.streams.clear();
    }
}

#[test]
fn random_histories() {
    let (mut durable, mut refusals, mut crashes) = (0, 0, 0);
    let seeds = match (number("LOG_MODEL_SEED"), number("LOG_MODEL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(60),
    };
    let enough = seeds.end - seeds.start >= 60;
    for seed in seeds {
        let mut model = Model::new(seed);
        let history = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..400 {
                model.step();
            }
            model.crash();
        }));
        assert!(
            history.is_ok(),
            "replay with: LOG_MODEL_SEED={seed} cargo test -p tidegate-storage --test log_model"
        );
        durable += model.durable.len();
        refusals += model.refusals;
        crashes += model.crashes;
    }
    let did_something = durable > 2000 && refusals > 50 && crashes > 300;
    assert!(did_something || !enough, "{durable} records, {refusals} refusals, {crashes} crashes");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a seed or a count of seeds"))
}
