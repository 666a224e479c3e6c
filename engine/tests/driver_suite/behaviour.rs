//! Bytes in, bytes out, ends, slots and waits.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidegate::doorbell::Doorbell;
use tidegate::driver::{Driver, Wait};

use super::world::*;

pub fn many_connections_are_echoed_byte_by_byte<R: Rig>() {
    const CLIENTS: usize = 200;
    let mut world = World::<R>::new();
    let mut pairs: Vec<_> = (0..CLIENTS).map(|_| world.connect_attached()).collect();
    let mut lengths = vec![0; CLIENTS];
    for round in 0..5u64 {
        let length = [1, 100, 4095, 4096, 20_000][round as usize];
        let mut echoed = lengths.clone();
        for (index, (client, _)) in pairs.iter_mut().enumerate() {
            write(client, &pattern(round * 1000 + index as u64, length));
            lengths[index] += length;
        }
        world.until("every byte echoed", |world| {
            for (index, (_, connection)) in pairs.iter().enumerate() {
                let fresh = world.bytes(*connection)[echoed[index]..].to_vec();
                echoed[index] += fresh.len();
                world.send(*connection, fresh);
            }
            echoed == lengths
        });
        world.turn(Wait::No);
        for (index, (client, _)) in pairs.iter_mut().enumerate() {
            assert_same(&read_exactly(client, length), &pattern(round * 1000 + index as u64, length));
        }
    }
    assert_eq!(world.driver.connections(), CLIENTS);
}

pub fn one_buffer_reaches_every_receiver<R: Rig>() {
    const CLIENTS: usize = 300;
    let mut world = World::<R>::new();
    let mut pairs: Vec<_> = (0..CLIENTS).map(|_| world.connect_attached()).collect();
    let frame = Bytes::from(pattern(7, 900));
    for _ in 0..3 {
        for (_, connection) in &pairs {
            world.send(*connection, frame.clone());
        }
        world.turn(Wait::No);
    }
    for (client, _) in &mut pairs {
        assert_same(&read_exactly(client, 2700), &frame.repeat(3));
    }
    assert_eq!(world.counters().sends, 3 * CLIENTS as u64, "one send per connection and turn");
    world.until("buffers let go", |_| frame.is_unique());
}

pub fn all_that_is_sent_in_one_turn_arrives_in_order<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect_attached();
    let mut expected = Vec::new();
    for (index, length) in [1, 0, 10, 40_000, 3, 70_000, 200, 32_768, 5].into_iter().enumerate() {
        let bytes = pattern(index as u64, length);
        expected.extend_from_slice(&bytes);
        world.send(connection, bytes);
    }
    let reader = std::thread::spawn(move || read_exactly(&mut client, 143_000 - 13));
    world.until("read", |_| reader.is_finished());
    assert_same(&reader.join().unwrap(), &expected);
}

pub fn a_half_closed_peer_is_gone_after_its_last_byte<R: Rig>() {
    let mut world = World::<R>::new();
    for attached in [false, true] {
        let (mut client, mut connection) = world.connect();
        if attached {
            connection = world.attach(connection);
        }
        let bytes = pattern(1, 50_000);
        write(&mut client, &bytes);
        client.shutdown(Shutdown::Write).unwrap();
        world.until("gone", |world| world.gone.contains(&connection));
        assert_same(world.bytes(connection), &bytes);
        world.until("slot freed", |world| world.driver.connections() == 0);
        assert_eq!(read_to_end(client).join().unwrap().unwrap(), b"", "closed in turn, without a reset");
    }
}

pub fn a_reset_peer_is_gone<R: Rig>() {
    let mut world = World::<R>::new();
    for attached in [false, true] {
        let (client, mut connection) = world.connect();
        if attached {
            connection = world.attach(connection);
            world.turn(Wait::No);
        }
        reset(client);
        world.until("gone", |world| world.gone.contains(&connection));
        world.until("slot freed", |world| world.driver.connections() == 0);
    }
}

pub fn sending_to_a_reset_peer_is_harmless<R: Rig>() {
    let mut world = World::<R>::new();
    let (client, connection) = world.connect_attached();
    world.turn(Wait::No);
    reset(client);
    let mut sent = 0;
    world.until("gone", |world| {
        world.send(connection, pattern(1, 100_000));
        sent += 1;
        world.gone.contains(&connection)
    });
    assert!(sent > 0);
    world.send(connection, &b"to nobody"[..]);
    world.until("slot freed", |world| world.driver.connections() == 0);
}

pub fn a_reused_slot_gets_nothing_meant_for_its_predecessor<R: Rig>() {
    let mut world = World::<R>::new();
    let (client, old) = world.connect_attached();
    drop(client);
    world.until("slot freed", |world| world.driver.connections() == 0);
    // Everyone before stays, so every free slot gets its turn.
    let mut others = Vec::new();
    let (mut client, new) = loop {
        let (client, connection) = world.connect_attached();
        if connection.slot == old.slot {
            break (client, connection);
        }
        others.push(client);
    };
    assert_ne!(new.generation, old.generation);
    world.send(old, &b"for the old one"[..]);
    world.driver.set_reading(old, false);
    world.driver.close(old, Duration::ZERO);
    assert!(world.driver.detach(old).is_none());
    world.send(new, &b"for the new one"[..]);
    write(&mut client, b"still read");
    world.until("read", |world| world.bytes(new) == b"still read");
    assert_eq!(read_exactly(&mut client, 15), b"for the new one");
}

pub fn a_full_table_refuses_and_gives_back<R: Rig>() {
    let mut world = World::<R>::with_room_for(3);
    let pairs: Vec<_> = (0..3).map(|_| world.connect()).collect();
    let late = TcpStream::connect(world.address).unwrap();
    world.until("refused", |world| world.counters().accepts_refused == 1);
    read_to_end(late).join().unwrap().expect("closed without a reset");
    let mut other = World::<R>::new();
    let (_client, stranger) = other.connect();
    let socket = other.driver.detach(stranger).unwrap();
    let socket = world.driver.attach(socket).expect_err("every slot is taken");
    world.close(pairs[0].1, Duration::ZERO);
    world.until("slot freed", |world| world.driver.connections() == 2);
    world.driver.attach(socket).expect("a slot is free");
    assert_eq!(world.driver.connections(), 3);
}

pub fn the_doorbell_ends_a_wait<R: Rig>() {
    const RINGS: usize = 50;
    let mut world = World::<R>::deaf();
    world.bell.ring();
    world.turn(Wait::Until(Duration::MAX));
    let mut turns = 0;
    for _ in 0..RINGS {
        let rung = Arc::new(AtomicBool::new(false));
        let (bell, flag) = (Arc::clone(&world.bell), Arc::clone(&rung));
        let ringer = std::thread::spawn(move || {
            flag.store(true, Ordering::SeqCst);
            bell.ring();
        });
        while !rung.load(Ordering::SeqCst) {
            // Without a doorbell this waits for ever.
            world.turn(Wait::Until(Duration::MAX));
            turns += 1;
        }
        ringer.join().unwrap();
    }
    assert!(turns <= 4 * RINGS, "it does wait: {turns} turns for {RINGS} rings");
}

pub fn a_deadline_ends_a_wait<R: Rig>() {
    let mut world = World::<R>::deaf();
    let deadline = tidegate::driver::read_clocks().monotonic + Duration::from_millis(30);
    while world.now.monotonic < deadline {
        world.turn(Wait::Until(deadline));
    }
    // One in the past does not wait at all.
    world.turn(Wait::Until(Duration::ZERO));
}

pub fn a_stopped_listener_is_closed_and_comes_back<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect();
    world.driver.set_accepting(false);
    world.settle();
    assert_eq!(TcpStream::connect(world.address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    write(&mut client, b"those inside stay");
    world.until("received", |world| world.bytes(connection) == b"those inside stay");
    world.driver.set_accepting(true);
    world.turn(Wait::No);
    world.connect();
}

fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
}
