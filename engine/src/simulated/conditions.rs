//! What a seed draws before anything happens: how many of everything, how small, how slow, how faulty. Each fault is
//! absent from about half of the seeds, so that every combination occurs.

use std::time::Duration;

use tidegate_shard::Limits;
use tidegate_storage::embedded::log::LogOptions;

use super::network::Behaviour;
use super::random::Random;
use crate::links::Capacities;

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub struct Conditions {
    pub shards: u16,
    pub users: u64,
    pub devices_of_user: u64,
    pub connections_max: usize,
    pub network: Behaviour,
    pub links: Capacities,
    pub ring_slots: usize,
    pub group_slots: usize,
    pub limits: Limits,
    pub log: LogOptions,
    /// Longest time of a write and of a sync.
    pub disk_delay: Duration,
    /// Longest time between two turns of an actor that has work.
    pub turn_delay: Duration,
    /// Per mille of turns after which an actor stands still for up to `stall`.
    pub stalls: u64,
    pub stall: Duration,
    /// Per mille of commits whose write or sync fails: the process dies of it.
    pub disk_faults: u64,
    /// Per mille of segments that cannot be made for lack of space.
    pub no_space: u64,
    /// Mean time between crashes; zero: none.
    pub crash_every: Duration,
    /// Per mille of questions that the store does not answer.
    pub store_faults: u64,
    /// Per mille of commits after which the store is persisted and old segments are used again.
    pub checkpoints: u64,
    /// Mean time between jumps of the wall clock; zero: none.
    pub clock_jumps: Duration,
    pub clients: Manners,
    /// How long the clients misbehave before everything has to become quiet.
    pub length: Duration,
}

/// What clients do, in weights: see `device`.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Mean time between two actions of a device.
    pub pause: Duration,
    pub disconnects: u64,
    pub stops_reading: u64,
    pub repeats: u64,
    pub syncs: u64,
    pub histories: u64,
    pub creates: u64,
    pub trespasses: u64,
    pub twins: u64,
    pub body_bytes: u64,
}

impl Conditions {
    pub fn draw(random: &mut Random) -> Self {
        // Half of the seeds do without each fault.
        let sometimes = |random: &mut Random, most: u64| {
            if random.chance(500) { 0 } else { random.within(1..most + 1) }
        };
        let small_limits = random.chance(700);
        let mut limits = Limits::default();
        if small_limits {
            limits.session_requests_max = random.pick(&[2, 4, 16, 64]);
            limits.requests_max = random.pick(&[2, 8, 64, 1024]);
            limits.unsent_bytes_max = random.pick(&[256, 2048, 16 * 1024]);
            limits.deliveries_per_turn = random.pick(&[1, 3, 16, 4096]);
            limits.conversations_max = random.pick(&[1, 3, 1 << 20]);
            limits.page_messages_max = random.pick(&[1, 2, 7, 100]);
            limits.page_bytes_max = random.pick(&[64, 1024, 64 * 1024]);
            limits.catch_up_window = random.pick(&[1, 2, 16]);
            limits.repeat_filter_bytes_max = random.pick(&[0, 64 << 10]);
            limits.delivered_flush = MILLI * random.pick(&[1, 50, 1000]);
        }
        // A hello that comes later than this counts as a sync, and the checkers have to allow for both.
        limits.hello_wait = MILLI * random.pick(&[200, 3_600_000, 3_600_000]);
        let group_bytes_max = random.pick(&[16, 32, 256]) * 1024;
        let slots = |random: &mut Random| random.pick(&[1, 2, 8, 64, 1024]);
        Self {
            shards: random.within(1..5) as u16,
            users: random.within(2..7),
            devices_of_user: random.within(1..3),
            connections_max: random.pick(&[4, 64, 1024]),
            network: Behaviour {
                window_bytes: random.pick(&[300, 4096, 64 * 1024]),
                parcel_bytes: random.pick(&[7, 200, 64 * 1024]),
                read_bytes: random.pick(&[50, 1500, 64 * 1024]),
                delay: MICRO * random.pick(&[10, 1000, 100_000]),
            },
            links: Capacities { appends: slots(random), notices: slots(random), queries: slots(random) },
            ring_slots: slots(random),
            group_slots: random.pick(&[1, 2, 16]),
            limits,
            log: LogOptions {
                segment_bytes: group_bytes_max as u64 * random.pick(&[1, 2, 4]),
                group_bytes_max,
                segments_ahead: random.pick(&[0, 1, 2]),
                truncate_damaged: false,
            },
            disk_delay: MICRO * random.pick(&[20, 500, 20_000]),
            turn_delay: MICRO * random.pick(&[5, 50, 500]),
            stalls: sometimes(random, 10),
            stall: MILLI * random.pick(&[5, 100, 700]),
            disk_faults: sometimes(random, 4),
            no_space: sometimes(random, 300),
            crash_every: MILLI * sometimes(random, 2500) as u32,
            store_faults: sometimes(random, 100),
            checkpoints: sometimes(random, 200),
            clock_jumps: MILLI * sometimes(random, 2000) as u32,
            clients: Manners {
                pause: MILLI * random.pick(&[4, 20, 80]),
                disconnects: sometimes(random, 8),
                stops_reading: sometimes(random, 8),
                repeats: sometimes(random, 20),
                syncs: sometimes(random, 5),
                histories: sometimes(random, 10),
                creates: random.within(1..6),
                trespasses: sometimes(random, 5),
                twins: sometimes(random, 4),
                body_bytes: random.pick(&[20, 200, 3000]),
            },
            length: MILLI * random.within(300..4000) as u32,
        }
    }
}
