//! The promises of a store, for any back end. `suite!(name, Backend)` makes a test of each.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_storage::query::{Found, Listed, Opened, Order};
use tidegate_storage::row::Idempotency;
use tidegate_storage::store::MemoryStore;
use tidegate_storage::{Answer, Lsn, Query, Row, Store};

pub trait Backend {
    fn fresh() -> Self;
    fn store(&mut self) -> &mut dyn Store;
    /// Brings everything to disk, closes and opens again.
    fn reopen(&mut self);
}

macro_rules! suite {
    ($name:ident, $backend:ty) => {
        mod $name {
            use super::*;

            conformance::suite!(
                @tests $backend,
                an_unknown_conversation_is_none
                messages_come_in_order_and_the_newest_is_known
                pages_in_both_directions
                pages_end_at_the_byte_bound
                empty_ranges_have_no_more
                ids_at_the_edges_do_not_leak_into_each_other
                members_come_and_go
                conversations_of_a_user_with_what_the_device_has
                pointers_never_go_back
                pending_marks_keep_the_smallest_until_cleared
                a_repeated_send_is_found
                expired_keys_may_go_and_young_ones_stay
                bytes_are_opaque_and_large_frames_come_back_whole
                rows_applied_twice_are_harmless
                random_rows_answer_like_the_reference
            );
        }
    };
    (@tests $backend:ty, $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                conformance::$test(&mut <$backend as Backend>::fresh());
            }
        )*
    };
}
pub(crate) use suite;

fn apply(backend: &mut impl Backend, lsn: u64, rows: &[Row]) {
    backend.store().apply(Lsn(lsn), rows).unwrap();
}

fn conversation(id: u128, meta: &'static [u8]) -> Row {
    Row::Conversation { conversation: id, meta: Bytes::from_static(meta) }
}

fn member(conversation: u128, user: u64, info: &'static [u8]) -> Row {
    Row::Member { conversation, user, info: Bytes::from_static(info) }
}

fn frame(conversation: u128, seq: u64, bytes: usize) -> Bytes {
    (0..bytes)
        .map(|at| (conversation as u8).wrapping_add((seq as u8).wrapping_mul(7)).wrapping_add(at as u8))
        .collect()
}

fn message(conversation: u128, seq: u64, bytes: usize) -> Row {
    let idempotency = Idempotency {
        sender: seq % 3,
        client_id: u128::from(seq) << 70,
        message_id: seq * 10,
        created_ms: 1_000_000_000_000 + seq,
    };
    Row::Message { conversation, seq, frame: frame(conversation, seq, bytes), idempotency }
}

fn page(
    backend: &mut impl Backend,
    conversation: u128,
    range: (u64, u64),
    limit: u32,
    bytes_max: u32,
    order: Order,
) -> (Vec<u64>, bool) {
    let query = Query::Messages { conversation, after: range.0, up_to: range.1, limit, bytes_max, order };
    match backend.store().query(&query) {
        Answer::Messages { messages, has_more } => {
            let whole = messages.iter().all(|(seq, found)| *found == frame(conversation, *seq, found.len()));
            assert!(whole, "a frame was changed");
            (messages.into_iter().map(|(seq, _)| seq).collect(), has_more)
        }
        other => panic!("{query:?}: {other:?}"),
    }
}

fn opened(backend: &mut impl Backend, conversation: u128) -> Option<Opened> {
    match backend.store().query(&Query::Conversation { conversation }) {
        Answer::Conversation(opened) => opened,
        other => panic!("{other:?}"),
    }
}

fn found(backend: &mut impl Backend, conversation: u128, sender: u64, client_id: u128) -> Option<Found> {
    match backend.store().query(&Query::Idempotency { conversation, sender, client_id }) {
        Answer::Idempotency(found) => found,
        other => panic!("{other:?}"),
    }
}

fn pointers(backend: &mut impl Backend, user: u64, conversation: u128) -> (u64, Option<u64>) {
    match backend.store().query(&Query::Pointers { user, conversation }) {
        Answer::Pointers { read, pending } => (read, pending),
        other => panic!("{other:?}"),
    }
}

fn listed(
    backend: &mut impl Backend,
    user: u64,
    device: u64,
    above: Option<u128>,
    limit: u32,
) -> (Vec<(u128, u64)>, bool) {
    match backend.store().query(&Query::ConversationsOf { user, device, above, limit }) {
        Answer::ConversationsOf { conversations, has_more } => {
            let pairs =
                conversations.into_iter().map(|Listed { conversation, delivered }| (conversation, delivered));
            (pairs.collect(), has_more)
        }
        other => panic!("{other:?}"),
    }
}

pub fn an_unknown_conversation_is_none(backend: &mut impl Backend) {
    // Members and messages alone do not make a conversation.
    apply(backend, 1, &[member(5, 1, b""), message(5, 1, 10)]);
    for _ in 0..2 {
        assert_eq!(opened(backend, 5), None);
        assert_eq!(opened(backend, 6), None);
        assert_eq!(found(backend, 6, 1, 1), None);
        assert_eq!(pointers(backend, 1, 6), (0, None));
        assert_eq!(listed(backend, 2, 1, None, 10), (vec![], false));
        assert_eq!(page(backend, 6, (0, u64::MAX), 10, 1000, Order::OldestFirst), (vec![], false));
        backend.reopen();
    }
}

pub fn messages_come_in_order_and_the_newest_is_known(backend: &mut impl Backend) {
    apply(backend, 1, &[conversation(1, b"one"), conversation(2, b"two")]);
    assert_eq!(opened(backend, 1).unwrap().last_seq, 0);
    for seq in 1..=300 {
        apply(backend, 2 * seq, &[message(1, seq, 20)]);
        apply(backend, 2 * seq + 1, &[message(2, seq, 30)]);
        assert_eq!(opened(backend, 1).unwrap().last_seq, seq);
    }
    for _ in 0..2 {
        let all: Vec<_> = (1..=300).collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            assert_eq!(page(backend, 1, (0, u64::MAX), 1000, u32::MAX, order), (all.clone(), false));
        }
        let opened = opened(backend, 2).unwrap();
        assert_eq!((&opened.meta[..], opened.last_seq), (&b"two"[..], 300));
        backend.reopen();
        backend.store().maintain().unwrap();
    }
}

pub fn pages_in_both_directions(backend: &mut impl Backend) {
    for seq in 1..=50 {
        apply(backend, seq, &[message(1, seq, 10)]);
    }
    for _ in 0..2 {
        let mut page = |range, limit, order| page(backend, 1, range, limit, u32::MAX, order);
        assert_eq!(page((0, 50), 3, Order::OldestFirst), (vec![1, 2, 3], true));
        assert_eq!(page((3, 50), 3, Order::OldestFirst), (vec![4, 5, 6], true));
        assert_eq!(page((47, 50), 3, Order::OldestFirst), (vec![48, 49, 50], false));
        assert_eq!(page((48, u64::MAX), 3, Order::OldestFirst), (vec![49, 50], false));
        assert_eq!(page((0, 50), 3, Order::NewestFirst), (vec![48, 49, 50], true));
        assert_eq!(page((0, 47), 3, Order::NewestFirst), (vec![45, 46, 47], true));
        assert_eq!(page((0, 3), 3, Order::NewestFirst), (vec![1, 2, 3], false));
        assert_eq!(page((1, 3), 3, Order::NewestFirst), (vec![2, 3], false));
        assert_eq!(page((9, 12), 2, Order::OldestFirst), (vec![10, 11], true));
        assert_eq!(page((9, 12), 2, Order::NewestFirst), (vec![11, 12], true));
        backend.reopen();
    }
}

pub fn pages_end_at_the_byte_bound(backend: &mut impl Backend) {
    for seq in 1..=10 {
        apply(backend, seq, &[message(1, seq, 100)]);
    }
    let mut page = |bytes_max, order| page(backend, 1, (0, u64::MAX), 100, bytes_max, order);
    assert_eq!(page(300, Order::OldestFirst), (vec![1, 2, 3], true));
    assert_eq!(page(399, Order::NewestFirst), (vec![8, 9, 10], true));
    assert_eq!(page(1000, Order::OldestFirst), ((1..=10).collect(), false));
    assert_eq!(page(0, Order::OldestFirst), (vec![1], true));
    assert_eq!(page(99, Order::NewestFirst), (vec![10], true));
}

pub fn empty_ranges_have_no_more(backend: &mut impl Backend) {
    for seq in 1..=5 {
        apply(backend, seq, &[message(1, seq, 10)]);
    }
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut page = |range, limit| page(backend, 1, range, limit, 1000, order);
        assert_eq!(page((5, u64::MAX), 10), (vec![], false));
        assert_eq!(page((3, 3), 10), (vec![], false));
        assert_eq!(page((4, 2), 10), (vec![], false));
        assert_eq!(page((u64::MAX, u64::MAX), 10), (vec![], false));
        assert_eq!(page((0, 0), 10), (vec![], false));
        assert_eq!(page((0, 5), 0), (vec![], true));
        assert_eq!(page((5, 9), 0), (vec![], false));
    }
}

pub fn ids_at_the_edges_do_not_leak_into_each_other(backend: &mut impl Backend) {
    let ids = [0, 1, 255, 256, u128::from(u64::MAX), u128::MAX - 1, u128::MAX];
    let users = [0, 1, 255, u64::MAX];
    for (index, id) in ids.into_iter().enumerate() {
        let mut rows = vec![conversation(id, b"edge"), message(id, index as u64 + 1, 5)];
        rows.extend(users.map(|user| member(id, user, b"m")));
        apply(backend, index as u64 + 1, &rows);
    }
    for _ in 0..2 {
        for (index, id) in ids.into_iter().enumerate() {
            let opened = opened(backend, id).unwrap();
            assert_eq!(opened.last_seq, index as u64 + 1);
            assert_eq!(opened.members.iter().map(|(user, _)| *user).collect::<Vec<_>>(), users);
            let all = page(backend, id, (0, u64::MAX), 10, 1000, Order::NewestFirst);
            assert_eq!(all, (vec![index as u64 + 1], false));
        }
        for user in users {
            let mut sorted = ids.map(|id| (id, 0)).to_vec();
            sorted.sort_unstable();
            assert_eq!(listed(backend, user, 0, None, 100), (sorted, false));
            assert_eq!(listed(backend, user, 0, Some(u128::MAX), 100), (vec![], false));
        }
        backend.reopen();
    }
}

pub fn members_come_and_go(backend: &mut impl Backend) {
    apply(
        backend,
        1,
        &[conversation(1, b"a"), member(1, 9, b"owner"), member(1, 3, b"member"), member(2, 4, b"")],
    );
    let members = |backend: &mut _| opened(backend, 1).unwrap().members;
    let (owner, plain) = (Bytes::from_static(b"owner"), Bytes::from_static(b"member"));
    assert_eq!(members(backend), [(3, plain.clone()), (9, owner)]);
    apply(backend, 2, &[member(1, 9, b"member"), Row::MemberRemoved { conversation: 1, user: 3 }]);
    backend.reopen();
    assert_eq!(members(backend), [(9, plain.clone())]);
    assert_eq!(listed(backend, 3, 1, None, 10), (vec![], false));
    // Removed and back within one record: the last row counts.
    let back =
        [member(1, 3, b"gone"), Row::MemberRemoved { conversation: 1, user: 3 }, member(1, 3, b"member")];
    apply(backend, 3, &back);
    backend.reopen();
    backend.store().maintain().unwrap();
    assert_eq!(members(backend), [(3, plain.clone()), (9, plain)]);
    assert_eq!(listed(backend, 3, 1, None, 10), (vec![(1, 0)], false));
    // Removing who is not there changes nothing; a new meta replaces the old.
    apply(backend, 4, &[Row::MemberRemoved { conversation: 1, user: 77 }, conversation(1, b"b")]);
    let opened = opened(backend, 1).unwrap();
    assert_eq!((&opened.meta[..], opened.members.len()), (&b"b"[..], 2));
}

pub fn conversations_of_a_user_with_what_the_device_has(backend: &mut impl Backend) {
    for id in 1..=20_u128 {
        let seq = id as u64 * 100;
        let mut rows = vec![member(id, 1, b""), Row::Delivered { user: 1, device: 7, conversation: id, seq }];
        if id % 2 == 0 {
            rows.push(member(id, 2, b""));
        }
        apply(backend, id as u64, &rows);
    }
    for _ in 0..2 {
        let expected =
            |ids: std::ops::RangeInclusive<u128>| ids.map(|id| (id, id as u64 * 100)).collect::<Vec<_>>();
        assert_eq!(listed(backend, 1, 7, None, 8), (expected(1..=8), true));
        assert_eq!(listed(backend, 1, 7, Some(8), 8), (expected(9..=16), true));
        assert_eq!(listed(backend, 1, 7, Some(16), 4), (expected(17..=20), false));
        assert_eq!(listed(backend, 1, 7, Some(20), 4), (vec![], false));
        assert_eq!(listed(backend, 1, 7, None, 0), (vec![], true));
        // Another device has nothing yet; another user has other conversations.
        assert_eq!(listed(backend, 1, 8, None, 1), (vec![(1, 0)], true));
        assert_eq!(listed(backend, 2, 7, None, 2), (vec![(2, 0), (4, 0)], true));
        backend.reopen();
    }
}

pub fn pointers_never_go_back(backend: &mut impl Backend) {
    let rows = |seq| {
        [
            Row::Delivered { user: 1, device: 2, conversation: 3, seq },
            Row::Read { user: 1, conversation: 3, seq },
        ]
    };
    apply(backend, 1, &[member(3, 1, b"")]);
    let mut highest = 0;
    for (lsn, seq) in [5, 3, 9, 9, 1, 8, 10, 0].into_iter().enumerate() {
        apply(backend, lsn as u64 + 2, &rows(seq));
        highest = highest.max(seq);
        backend.reopen();
        assert_eq!(pointers(backend, 1, 3), (highest, None));
        assert_eq!(listed(backend, 1, 2, None, 1), (vec![(3, highest)], false));
    }
    // Two in one record.
    apply(backend, 20, &[rows(30), rows(20)].concat());
    assert_eq!(pointers(backend, 1, 3), (30, None));
    assert_eq!(listed(backend, 1, 2, None, 1), (vec![(3, 30)], false));
}

pub fn pending_marks_keep_the_smallest_until_cleared(backend: &mut impl Backend) {
    let mark = |conversation, first_seq| Row::Pending { user: 1, conversation, first_seq };
    let cleared = |conversation| Row::PendingCleared { user: 1, conversation };
    apply(backend, 1, &[mark(3, 7), mark(3, 9), mark(4, 2), mark(5, 1)]);
    apply(
        backend,
        2,
        &[mark(3, 5), mark(3, 6), cleared(5), Row::Pending { user: 2, conversation: 1, first_seq: 1 }],
    );
    let all = |backend: &mut dyn Store, above, limit| match backend.query(&Query::PendingOf {
        user: 1,
        above,
        limit,
    }) {
        Answer::PendingOf { pending, has_more } => (pending, has_more),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        assert_eq!(pointers(backend, 1, 3), (0, Some(5)));
        assert_eq!(all(backend.store(), None, 10), (vec![(3, 5), (4, 2)], false));
        assert_eq!(all(backend.store(), None, 1), (vec![(3, 5)], true));
        assert_eq!(all(backend.store(), Some(3), 1), (vec![(4, 2)], false));
        backend.reopen();
    }
    // After clearing, a new mark counts, however large.
    apply(backend, 3, &[cleared(3)]);
    assert_eq!(pointers(backend, 1, 3), (0, None));
    apply(backend, 4, &[mark(3, 100)]);
    backend.reopen();
    assert_eq!(pointers(backend, 1, 3), (0, Some(100)));
}

pub fn a_repeated_send_is_found(backend: &mut impl Backend) {
    for seq in 1..=40 {
        apply(backend, seq, &[message(1, seq, 10), message(2, seq, 10)]);
    }
    for _ in 0..2 {
        let expected = Found { seq: 17, message_id: 170, created_ms: 1_000_000_000_017 };
        assert_eq!(found(backend, 1, 17 % 3, 17 << 70), Some(expected));
        assert_eq!(found(backend, 1, 1, 17 << 70), None, "another sender's id is another id");
        assert_eq!(found(backend, 3, 2, 17 << 70), None, "another conversation's too");
        assert_eq!(found(backend, 1, 2, 17), None);
        backend.reopen();
        backend.store().maintain().unwrap();
    }
}

pub fn expired_keys_may_go_and_young_ones_stay(backend: &mut impl Backend) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let sent = |seq: u64, created_ms| {
        let idempotency = Idempotency { sender: 1, client_id: seq.into(), message_id: seq, created_ms };
        Row::Message { conversation: 1, seq, frame: frame(1, seq, 300), idempotency }
    };
    let start = 1_700_000_000_000;
    for seq in 1..=100 {
        apply(backend, seq, &[sent(seq, start + seq * DAY_MS / 10)]);
        if seq % 5 == 0 {
            backend.store().flush().unwrap();
            backend.store().maintain().unwrap();
        }
    }
    backend.reopen();
    backend.store().maintain().unwrap();
    // Ten days of messages; those of the last 24 h must be known.
    for seq in 90..=100_u64 {
        assert!(found(backend, 1, 1, seq.into()).is_some(), "message {seq} is younger than a day");
    }
    // The messages themselves never expire.
    assert_eq!(page(backend, 1, (0, 100), 100, u32::MAX, Order::OldestFirst).0.len(), 100);
}

pub fn bytes_are_opaque_and_large_frames_come_back_whole(backend: &mut impl Backend) {
    let odd: [&'static [u8]; 5] =
        [b"", b"\0", b"\xff\xfe\0\0", "\u{1F1FA}\u{200D}é".as_bytes(), &[0xff; 300]];
    for (index, meta) in odd.into_iter().enumerate() {
        let id = index as u128 + 1;
        apply(backend, index as u64 + 1, &[conversation(id, meta), member(id, 1, meta)]);
    }
    for (lsn, bytes) in [(10, 0), (11, 1), (12, 4096), (13, 65_536), (14, 128 * 1024)] {
        apply(backend, lsn, &[message(1, lsn, bytes)]);
    }
    for _ in 0..2 {
        for (index, meta) in odd.into_iter().enumerate() {
            let opened = opened(backend, index as u128 + 1).unwrap();
            assert_eq!(opened.meta, meta);
            assert_eq!(opened.members, [(1, Bytes::from_static(meta))]);
        }
        let query = Query::Messages {
            conversation: 1,
            after: 0,
            up_to: u64::MAX,
            limit: 100,
            bytes_max: u32::MAX,
            order: Order::OldestFirst,
        };
        let Answer::Messages { messages, .. } = backend.store().query(&query) else { panic!("no messages") };
        let lengths: Vec<_> = messages.iter().map(|(_, found)| found.len()).collect();
        assert_eq!(lengths, [0, 1, 4096, 65_536, 128 * 1024]);
        for (seq, found) in messages {
            assert_eq!(found, frame(1, seq, found.len()));
        }
        backend.reopen();
    }
}

pub fn rows_applied_twice_are_harmless(backend: &mut impl Backend) {
    let mut random = StdRng::seed_from_u64(3);
    let records: Vec<_> = (1..=200).map(|seq| random_rows(&mut random, seq)).collect();
    let mut once = MemoryStore::new();
    for (index, rows) in records.iter().enumerate() {
        once.apply(Lsn(index as u64 + 1), rows).unwrap();
        apply(backend, index as u64 + 1, rows);
    }
    backend.reopen();
    // As after a crash: a suffix comes again, from a record that the store has.
    for (index, rows) in records.iter().enumerate().skip(120) {
        apply(backend, index as u64 + 1, rows);
    }
    same(backend, &mut once, &mut random);
}

pub fn random_rows_answer_like_the_reference(backend: &mut impl Backend) {
    let mut random = StdRng::seed_from_u64(11);
    let mut reference = MemoryStore::new();
    for lsn in 1..=1500 {
        let rows = random_rows(&mut random, lsn);
        reference.apply(Lsn(lsn), &rows).unwrap();
        apply(backend, lsn, &rows);
        match random.random_range(0..100) {
            0 => backend.reopen(),
            1..4 => backend.store().flush().unwrap(),
            4..10 => backend.store().maintain().unwrap(),
            10..20 => same(backend, &mut reference, &mut random),
            _ => {}
        }
    }
    backend.reopen();
    for _ in 0..50 {
        same(backend, &mut reference, &mut random);
    }
}

fn random_rows(random: &mut StdRng, lsn: u64) -> Vec<Row> {
    let count = random.random_range(1..4);
    (0..count)
        .map(|_| {
            let conversation = random.random_range(1..6);
            let user = random.random_range(1..5);
            let seq = random.random_range(1..60);
            match random.random_range(0..9) {
                0 => Row::Conversation { conversation, meta: Bytes::copy_from_slice(&lsn.to_le_bytes()) },
                1 => Row::Member { conversation, user, info: Bytes::copy_from_slice(&lsn.to_le_bytes()) },
                2 => Row::MemberRemoved { conversation, user },
                3 | 4 => message(conversation, seq, random.random_range(0..2000)),
                5 => Row::Delivered { user, device: random.random_range(1..3), conversation, seq },
                6 => Row::Read { user, conversation, seq },
                7 => Row::Pending { user, conversation, first_seq: seq },
                _ => Row::PendingCleared { user, conversation },
            }
        })
        .collect()
}

/// Asks both stores some random questions and compares the answers.
fn same(backend: &mut impl Backend, reference: &mut MemoryStore, random: &mut StdRng) {
    for _ in 0..20 {
        let conversation = random.random_range(0..7);
        let user = random.random_range(0..6);
        let above = random.random_bool(0.5).then(|| random.random_range(0..7));
        let limit = random.random_range(0..8);
        let query = match random.random_range(0..6) {
            0 => Query::Conversation { conversation },
            1 | 2 => Query::Messages {
                conversation,
                after: random.random_range(0..60),
                up_to: random.random_range(0..70),
                limit,
                bytes_max: random.random_range(0..8000),
                order: if random.random_bool(0.5) { Order::OldestFirst } else { Order::NewestFirst },
            },
            3 => Query::ConversationsOf { user, device: 1, above, limit },
            4 => Query::PendingOf { user, above, limit },
            _ => Query::Pointers { user, conversation },
        };
        assert_eq!(backend.store().query(&query), reference.query(&query), "{query:?}");
    }
}
