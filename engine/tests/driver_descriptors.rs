//! Drivers leak no descriptor, slot or buffer, and survive having none left.
//! Guards against an accept that is never armed again, and a close that a forgotten request holds back.

// Helpers of tests.
#![allow(clippy::unwrap_used)]

mod driver_suite;

use std::io::Read;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use driver_suite::rigs::{CrampedUring, Epoll, Uring};
use driver_suite::world::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate::driver::{Driver, Wait};

/// Descriptors belong to the process: one test at a time.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    DESCRIPTORS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn open_descriptors() -> Vec<u64> {
    let listed = std::fs::read_dir("/proc/self/fd").unwrap();
    listed.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn ten_thousand_connections_leave_nothing_behind<R: Rig>() {
    const CONNECTIONS: usize = 10_000;
    const AT_ONCE: usize = 50;
    let _alone = alone();
    let before = open_descriptors().len();
    let mut world = World::<R>::with_room_for(3 * AT_ONCE as u32);
    world.settle();
    let own = open_descriptors().len();
    for round in 0..CONNECTIONS / AT_ONCE {
        let mut pairs: Vec<_> = (0..AT_ONCE)
            .map(|index| {
                let (mut client, mut connection) = world.connect();
                if index % 5 != 0 {
                    connection = world.attach(connection);
                }
                write(&mut client, &pattern(round as u64, 600));
                world.send(connection, pattern(index as u64, 700));
                (client, connection)
            })
            .collect();
        world.until("received", |world| pairs.iter().all(|(_, id)| world.bytes(*id).len() == 600));
        for (index, (mut client, connection)) in pairs.drain(..).enumerate() {
            match index % 4 {
                // The peer ends the stream, resets it, we close in order, we close at once.
                0 => drop(client),
                1 => {
                    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
                    drop(client);
                }
                2 => {
                    world.close(connection, LONG);
                    drop(client);
                }
                _ => {
                    world.close(connection, Duration::ZERO);
                    world.turn(Wait::No);
                    assert_same(&read_exactly(&mut client, 700), &pattern(index as u64, 700));
                }
            }
        }
        world.until("closed", |world| world.driver.connections() == 0);
        world.received.clear();
    }
    let counters = world.counters();
    assert_eq!(counters.accepts, CONNECTIONS as u64);
    assert_eq!(counters.accepts + counters.attaches, counters.closes + counters.detaches);
    assert_eq!(open_descriptors().len(), own);
    drop(world);
    assert_eq!(open_descriptors().len(), before);
}

#[test]
fn uring_ten_thousand_connections_leave_nothing_behind() {
    ten_thousand_connections_leave_nothing_behind::<Uring>();
}

#[test]
fn cramped_uring_ten_thousand_connections_leave_nothing_behind() {
    ten_thousand_connections_leave_nothing_behind::<CrampedUring>();
}

#[test]
fn epoll_ten_thousand_connections_leave_nothing_behind() {
    ten_thousand_connections_leave_nothing_behind::<Epoll>();
}

/// Lets the process open `more` descriptors, until dropped.
struct Shortage(Rlimit);

impl Shortage {
    fn of(more: usize) -> Self {
        let before = getrlimit(Resource::Nofile);
        let open = open_descriptors();
        let free = (0..).filter(|descriptor| !open.contains(descriptor));
        // The listing's own descriptor is closed again: it counts as one of the free ones.
        let current = free.clone().nth(more).expect("there are more numbers");
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..before }).unwrap();
        Self(before)
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

fn crowd<R: Rig>(world: &World<R>, count: usize) -> Vec<TcpStream> {
    let clients = (0..count).map(|_| TcpStream::connect(world.address).unwrap());
    clients.inspect(|client| client.set_read_timeout(Some(PATIENCE)).unwrap()).collect()
}

fn out_of_descriptors_accepts_wait_for_a_close<R: Rig>() {
    let _alone = alone();
    let mut world = World::<R>::new();
    let mut clients = crowd(&world, 10);
    {
        let _shortage = Shortage::of(3);
        world.until("refused", |world| world.counters().accept_errors > 0);
        assert!((1..=4).contains(&world.accepted.len()), "{}", world.accepted.len());
        let mut closed = 0;
        world.until("everybody has been in", |world| {
            for connection in world.accepted.split_off(closed) {
                world.close(connection, Duration::ZERO);
                world.accepted.push(connection);
                closed += 1;
            }
            closed == 10
        });
        world.until("closed", |world| world.driver.connections() == 0);
    }
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}

fn out_of_descriptors_accepts_try_again_by_themselves<R: Rig>() {
    let _alone = alone();
    let mut world = World::<R>::new();
    let _clients = crowd(&world, 10);
    let shortage = Shortage::of(3);
    world.until("refused", |world| world.counters().accept_errors > 0);
    drop(shortage);
    world.until("everybody is in", |world| world.accepted.len() == 10);
}

#[test]
fn uring_out_of_descriptors_accepts_wait_for_a_close() {
    out_of_descriptors_accepts_wait_for_a_close::<Uring>();
}

#[test]
fn epoll_out_of_descriptors_accepts_wait_for_a_close() {
    out_of_descriptors_accepts_wait_for_a_close::<Epoll>();
}

#[test]
fn uring_out_of_descriptors_accepts_try_again_by_themselves() {
    out_of_descriptors_accepts_try_again_by_themselves::<Uring>();
}

#[test]
fn epoll_out_of_descriptors_accepts_try_again_by_themselves() {
    out_of_descriptors_accepts_try_again_by_themselves::<Epoll>();
}

/// An attached connection of the io_uring driver is no descriptor of the process.
#[test]
fn uring_attached_connections_cost_no_descriptor() {
    let _alone = alone();
    let mut world = World::<Uring>::new();
    let mut clients = crowd(&world, 100);
    let mut attached = Vec::new();
    {
        let _shortage = Shortage::of(3);
        let mut seen = 0;
        world.until("all attached", |world| {
            for connection in std::mem::take(&mut world.accepted) {
                attached.push(world.attach(connection));
                seen += 1;
            }
            seen == 100
        });
    }
    for connection in attached {
        world.send(connection, &b"here"[..]);
    }
    world.turn(Wait::No);
    for client in &mut clients {
        assert_eq!(read_exactly(client, 4), b"here");
    }
}
