//! Slow readers, closes that must deliver, and pauses.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tidegate::doorbell::Doorbell;
use tidegate::driver::{Driver, Wait};

use super::world::*;

pub fn a_slow_reader_blocks_once_and_drains_once<R: Rig>() {
    let mut world = World::<R>::new();
    for attached in [false, true] {
        world.blocked.clear();
        world.drained.clear();
        let (client, mut connection) = world.connect();
        if attached {
            connection = world.attach(connection);
        }
        let expected = pattern(3, 9_000_000);
        let mut rest = bytes::Bytes::from(expected.clone());
        let mut step = 1;
        while !rest.is_empty() {
            // Pieces from one byte to a few hundred kilobytes, several per turn, some after it is blocked.
            for _ in 0..3 {
                step = step * 7 % 300_007;
                let piece = rest.split_to(step.min(rest.len()));
                world.send(connection, piece);
            }
            world.turn(Wait::No);
        }
        assert_eq!(world.blocked, [connection]);
        assert!(world.drained.is_empty());
        let reader = read_to_end(client);
        world.until("drained", |world| !world.drained.is_empty());
        assert_eq!((&world.blocked[..], &world.drained[..]), (&[connection][..], &[connection][..]));
        world.close(connection, LONG);
        world.until("closed", |world| world.driver.connections() == 0);
        assert_same(&reader.join().unwrap().unwrap(), &expected);
    }
}

pub fn everything_sent_before_a_close_arrives<R: Rig>() {
    let mut world = World::<R>::new();
    for length in [1, 70_000, 6_000_000] {
        let (client, connection) = world.connect_attached();
        let expected = pattern(4, length);
        world.send(connection, expected[..length / 2].to_vec());
        world.send(connection, expected[length / 2..].to_vec());
        world.close(connection, LONG);
        world.send(connection, &b"not this: it came after the close"[..]);
        world.settle();
        let reader = read_to_end(client);
        world.until("closed", |world| world.driver.connections() == 0);
        assert_same(&reader.join().unwrap().unwrap(), &expected);
    }
    assert_eq!(world.counters().closes_late, 0);
}

/// A socket closed with unread input answers with a reset, and the peer may lose what it had not read yet.
pub fn a_close_with_unread_input_is_no_reset<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect_attached();
    world.driver.set_reading(connection, false);
    write(&mut client, &pattern(5, 100_000));
    world.settle();
    world.send(connection, &b"goodbye"[..]);
    world.close(connection, LONG);
    world.settle();
    // The peer goes on talking after our end is shut.
    write(&mut client, &pattern(6, 100_000));
    world.settle();
    assert_eq!(read_exactly(&mut client, 7), b"goodbye");
    let reader = read_to_end(client);
    world.until("closed", |world| world.driver.connections() == 0);
    assert_eq!(reader.join().unwrap().expect("an end, not a reset"), b"");
    assert!(world.bytes(connection).is_empty());
}

pub fn a_close_in_the_handshake_delivers<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect();
    write(&mut client, b"GET / HTTP/1.1\r\n\r\n");
    world.until("received", |world| !world.bytes(connection).is_empty());
    write(&mut client, b"more that nobody reads");
    world.send(connection, &b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..]);
    world.close(connection, LONG);
    let reader = read_to_end(client);
    world.until("closed", |world| world.driver.connections() == 0);
    assert_eq!(reader.join().unwrap().unwrap(), b"HTTP/1.1 401 Unauthorized\r\n\r\n");
}

pub fn a_peer_that_never_reads_is_closed_at_the_deadline<R: Rig>() {
    let mut world = World::<R>::new();
    let (client, connection) = world.connect_attached();
    world.send(connection, pattern(1, 8_000_000));
    world.close(connection, Duration::from_millis(50));
    world.until("closed", |world| world.driver.connections() == 0);
    assert_eq!(world.counters().closes_late, 1);
    drop(client);
}

pub fn a_peer_that_never_closes_is_closed_at_the_deadline<R: Rig>() {
    let mut world = World::<R>::new();
    for attached in [false, true] {
        let (mut client, mut connection) = world.connect();
        if attached {
            connection = world.attach(connection);
        }
        world.send(connection, &b"bye"[..]);
        world.close(connection, Duration::from_millis(50));
        world.until("closed", |world| world.driver.connections() == 0);
        assert_eq!(read_exactly(&mut client, 3), b"bye");
    }
    assert_eq!(world.counters().closes_late, 2);
}

pub fn a_half_closed_peer_still_gets_what_was_sent_before_the_close<R: Rig>() {
    let mut world = World::<R>::new();
    let (client, connection) = world.connect_attached();
    let expected = pattern(8, 6_000_000);
    world.send(connection, expected.clone());
    world.close(connection, LONG);
    world.turn(Wait::No);
    client.shutdown(Shutdown::Write).unwrap();
    world.settle();
    let reader = read_to_end(client);
    world.until("closed", |world| world.driver.connections() == 0);
    assert_same(&reader.join().unwrap().unwrap(), &expected);
}

pub fn a_paused_connection_delivers_nothing_until_resumed<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut paused_client, paused) = world.connect_attached();
    let (mut client, connection) = world.connect_attached();
    let bytes = pattern(9, 30_000);
    world.driver.set_reading(paused, false);
    write(&mut paused_client, &bytes);
    write(&mut client, &bytes);
    world.until("the other one", |world| world.bytes(connection).len() == bytes.len());
    world.settle();
    assert!(world.bytes(paused).is_empty());
    world.driver.set_reading(paused, true);
    world.until("resumed", |world| world.bytes(paused).len() == bytes.len());
    assert_same(world.bytes(paused), &bytes);

    // A pause that ends before anything arrives, and one during which the peer leaves.
    world.driver.set_reading(paused, false);
    world.driver.set_reading(paused, true);
    world.driver.set_reading(paused, false);
    write(&mut paused_client, b"last words");
    drop(paused_client);
    world.settle();
    world.driver.set_reading(paused, true);
    world.until("gone", |world| world.gone.contains(&paused));
    assert_same(&world.bytes(paused)[bytes.len()..], b"last words");
}

pub fn a_paused_shard_delivers_nothing_until_resumed<R: Rig>() {
    let mut world = World::<R>::new();
    let mut pairs: Vec<_> = (0..20).map(|_| world.connect_attached()).collect();
    world.turn(Wait::No);
    for round in 1..=3 {
        world.driver.set_reading_all(false);
        for (client, _) in &mut pairs {
            write(client, &pattern(round, 10_000));
        }
        let before: Vec<usize> = pairs.iter().map(|(_, connection)| world.bytes(*connection).len()).collect();
        world.settle();
        world.send(pairs[0].1, &b"sending goes on"[..]);
        world.settle();
        for ((_, connection), before) in pairs.iter().zip(before) {
            assert_eq!(world.bytes(*connection).len(), before);
        }
        assert_eq!(read_exactly(&mut pairs[0].0, 15), b"sending goes on");
        world.driver.set_reading_all(true);
        let all = round as usize * 10_000;
        world.until("resumed", |world| pairs.iter().all(|(_, id)| world.bytes(*id).len() == all));
    }
    for (_, connection) in &pairs {
        let expected: Vec<u8> = (1..=3).flat_map(|round| pattern(round, 10_000)).collect();
        assert_same(world.bytes(*connection), &expected);
    }
}

pub fn a_close_while_the_shard_is_paused_finishes<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut client, connection) = world.connect_attached();
    world.turn(Wait::No);
    world.driver.set_reading_all(false);
    write(&mut client, &pattern(1, 50_000));
    world.settle();
    world.send(connection, &b"closing"[..]);
    world.close(connection, LONG);
    let reader = read_to_end(client);
    world.until("closed", |world| world.driver.connections() == 0);
    assert_eq!(reader.join().unwrap().unwrap(), b"closing");
}

/// Readiness that must not be acted upon must not keep the worker awake either.
pub fn what_has_to_wait_does_not_spin<R: Rig>() {
    let mut world = World::<R>::new();
    let (mut paused_client, paused) = world.connect_attached();
    let (mut held_client, held) = world.connect_attached();
    let (blocked_client, blocked) = world.connect_attached();
    let (closing_client, closing) = world.connect_attached();
    world.driver.set_reading(paused, false);
    write(&mut paused_client, &pattern(1, 10_000));
    drop(paused_client);
    world.send(blocked, pattern(2, 8_000_000));
    world.send(closing, pattern(3, 8_000_000));
    world.close(closing, LONG);
    world.turn(Wait::No);
    closing_client.shutdown(Shutdown::Write).unwrap();
    world.settle();
    world.driver.set_reading_all(false);
    write(&mut held_client, &pattern(4, 10_000));
    world.settle();

    let bell = Arc::clone(&world.bell);
    let ringer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        bell.ring();
    });
    let mut turns = 0;
    while !ringer.is_finished() {
        world.turn(Wait::Until(tidegate::driver::read_clocks().monotonic + Duration::from_millis(20)));
        turns += 1;
    }
    ringer.join().unwrap();
    // Ten by the clock when it sleeps; a driver that spins makes tens of thousands.
    assert!(turns < 200, "{turns} turns with nothing to do");
    assert!(world.bytes(held).is_empty() && world.bytes(paused).is_empty());
    assert_eq!((world.driver.connections(), &world.blocked[..]), (4, &[blocked][..]));
    drop((blocked_client, closing_client, held_client));
}

/// A half-closed peer is reported to every poll of io_uring; a worker that does not read does not know of it yet.
pub fn a_blocked_and_half_closed_peer_gets_everything_once<R: Rig>() {
    let mut world = World::<R>::new();
    let (client, connection) = world.connect_attached();
    world.driver.set_reading(connection, false);
    client.shutdown(Shutdown::Write).unwrap();
    world.settle();
    let mut expected = pattern(11, 6_000_000);
    world.send(connection, expected.clone());
    world.until("blocked", |world| world.blocked == [connection]);
    let mut client = client;
    let reader = std::thread::spawn(move || {
        let head = read_exactly(&mut client, 6_000_000);
        (head, client)
    });
    world.until("drained", |world| world.drained == [connection]);
    world.until("read", |_| reader.is_finished());
    let (head, client) = reader.join().unwrap();
    assert_same(&head, &expected);
    // Small sends afterwards, while the poll for room may still be armed; then a second block.
    expected.clear();
    for piece in 0..200 {
        expected.extend_from_slice(&pattern(piece, 10_000));
        world.send(connection, pattern(piece, 10_000));
        world.turn(Wait::No);
    }
    let reader = read_to_end(client);
    world.driver.set_reading(connection, false);
    for piece in 0..200 {
        expected.extend_from_slice(&pattern(piece, 10_000));
        world.send(connection, pattern(piece, 10_000));
        world.turn(Wait::No);
    }
    world.close(connection, LONG);
    world.until("closed", |world| world.driver.connections() == 0);
    assert_same(&reader.join().unwrap().unwrap(), &expected);
}
