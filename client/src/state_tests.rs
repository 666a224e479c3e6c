//! The promises of the client, told as inputs and outputs.

use tidegate_wire::frames::{ConversationKind, MessageKind};
use tidegate_wire::server::Delivery;

use super::*;
use crate::limits::{HELD_MESSAGES_MAX, RECEIVED_DELAY, SENDS_IN_FLIGHT_MAX};

const CONVERSATION: ConversationId = ConversationId(7);
const T0: Duration = Duration::ZERO;

fn state(start: Start, cursors: &[(ConversationId, u64)]) -> State {
    let cursors = cursors.iter().map(|(id, seq)| (*id, Sequence(*seq)));
    State::new("test".to_owned(), start, Acknowledge::OnDelivery, cursors)
}

fn online(start: Start, cursors: &[(ConversationId, u64)]) -> State {
    let mut state = state(start, cursors);
    connect(&mut state);
    drain_transmit(&mut state);
    state
}

fn connect(state: &mut State) {
    state.handle(T0, Input::Connected);
    let welcome = frames::Welcome {
        user: 1,
        device: 2,
        session: 3,
        server_time: 4,
        node: 0,
        heartbeat_ms: 30_000,
        message_bytes_max: 65_536,
        body_characters_max: 4_000,
        page_messages_max: 100,
    };
    frame(state, 0, ServerFrame::Welcome(welcome));
    while state.poll_event().is_some() {}
}

fn frame(state: &mut State, request: u64, frame: ServerFrame) {
    state.handle(T0, Input::Frame { request, frame });
}

fn deliver(seq: u64) -> frames::Deliver {
    frames::Deliver {
        conversation: CONVERSATION.0,
        client_id: u128::from(seq) + 1000,
        seq,
        message_id: seq,
        sender: 9,
        created: 0,
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Text as u8,
        body: seq.to_string().into_bytes(),
        client_ref: String::new(),
    }
}

fn on_deliver(state: &mut State, seq: u64) {
    frame(state, 0, ServerFrame::Deliver(deliver(seq)));
}

fn on_synced(state: &mut State, head_seq: u64, has_more: bool) {
    frame(state, 0, ServerFrame::Synced(frames::Synced { conversation: CONVERSATION.0, head_seq, has_more }));
}

fn page(seqs: impl IntoIterator<Item = u64>, has_more: bool) -> ServerFrame {
    let frames = seqs.into_iter().flat_map(|seq| Delivery::encode(&deliver(seq)).frame().to_vec()).collect();
    ServerFrame::Page(frames::Page { conversation: CONVERSATION.0, has_more, frames })
}

fn send_frame(client_id: u128) -> frames::Send {
    frames::Send {
        conversation: CONVERSATION.0,
        client_id,
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Text as u8,
        body: b"mine".to_vec(),
        client_ref: String::new(),
    }
}

fn ack(client_id: u128, seq: u64) -> ServerFrame {
    ServerFrame::Ack(frames::Ack {
        conversation: CONVERSATION.0,
        client_id,
        seq,
        message_id: seq,
        created: 0,
        client_ref: String::new(),
    })
}

fn error(code: u16, retry_after_ms: u32) -> ServerFrame {
    ServerFrame::Error(frames::Error { code, retry_after_ms, message: "no".to_owned() })
}

fn send(state: &mut State, client_id: u128) {
    state.handle(T0, Input::Send { frame: send_frame(client_id), announced: false });
}

fn drain_transmit(state: &mut State) -> Vec<(u64, ClientFrame)> {
    std::iter::from_fn(|| state.poll_transmit()).collect()
}

/// Request numbers and client ids of the sends that go out.
fn drain_sends(state: &mut State) -> Vec<(u64, u128)> {
    let sends = drain_transmit(state).into_iter();
    sends
        .filter_map(
            |(request, frame)| {
                if let ClientFrame::Send(send) = frame { Some((request, send.client_id)) } else { None }
            },
        )
        .collect()
}

fn drain_histories(state: &mut State) -> Vec<(u64, frames::History)> {
    let asked = drain_transmit(state).into_iter();
    asked
        .filter_map(
            |(request, frame)| {
                if let ClientFrame::History(history) = frame { Some((request, history)) } else { None }
            },
        )
        .collect()
}

fn drain_events(state: &mut State) -> Vec<Event> {
    std::iter::from_fn(|| state.poll_event()).collect()
}

/// Sequences of the messages handed out.
fn drain_seqs(state: &mut State) -> Vec<u64> {
    let events = drain_events(state).into_iter();
    events
        .filter_map(|event| if let Event::Message(message) = event { Some(message.seq.0) } else { None })
        .collect()
}

#[test]
fn hello_carries_the_cursors() {
    let mut state = state(Start::Newest, &[(CONVERSATION, 41)]);
    state.handle(T0, Input::Connected);
    let (_, hello) = state.poll_transmit().expect("a hello is the first frame");
    let cursors = vec![frames::Cursor { conversation: CONVERSATION.0, last_seq: 41 }];
    assert_eq!(hello, ClientFrame::Hello(frames::Hello { cursors, client: "test".to_owned() }));
}

#[test]
fn messages_come_once_and_in_order() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 2)]);
    for seq in [3, 3, 4, 2, 1, 4, 5] {
        on_deliver(&mut state, seq);
    }
    assert_eq!(drain_seqs(&mut state), [3, 4, 5]);
    assert_eq!(state.cursors()[&CONVERSATION], Sequence(5));
    assert!(drain_histories(&mut state).is_empty(), "nothing was missing");
}

#[test]
fn a_gap_is_filled_from_history_page_by_page() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 10)]);
    for seq in 251..=350 {
        on_deliver(&mut state, seq);
    }
    on_synced(&mut state, 350, true);
    assert_eq!(drain_events(&mut state), [], "nothing may come before what is missing");
    let mut expected = 10;
    for (begin, end) in [(11, 110), (111, 210), (211, 310)] {
        let asked = drain_histories(&mut state);
        assert_eq!(asked.len(), 1, "one question at a time");
        let (request, history) = asked[0];
        assert_eq!((history.before_seq, history.after_seq, history.limit), (0, expected, 100));
        frame(&mut state, request, page(begin..=end, end < 350));
        expected = if end == 310 { 350 } else { end };
        assert_eq!(state.cursors()[&CONVERSATION], Sequence(expected));
    }
    let events = drain_events(&mut state);
    let seqs: Vec<u64> =
        events.iter().filter_map(|e| if let Event::Message(m) = e { Some(m.seq.0) } else { None }).collect();
    assert_eq!(seqs, (11..=350).collect::<Vec<_>>());
    assert_eq!(events.last(), Some(&Event::Synced { conversation: CONVERSATION, head: Sequence(350) }));
}

#[test]
fn what_is_held_is_bounded_and_fetched_again() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 0)]);
    let far = 2 + HELD_MESSAGES_MAX as u64 * 3;
    for seq in 2..=far {
        on_deliver(&mut state, seq);
    }
    let mut seqs = Vec::new();
    while let Some((request, history)) = drain_histories(&mut state).pop() {
        let end = (history.after_seq + 100).min(far);
        frame(&mut state, request, page(history.after_seq + 1..=end, end < far));
        seqs.extend(drain_seqs(&mut state));
    }
    assert_eq!(seqs, (1..=far).collect::<Vec<_>>());
}

#[test]
fn an_unknown_conversation_begins_where_the_gateway_begins() {
    let mut state = online(Start::Newest, &[]);
    for seq in [51, 52] {
        on_deliver(&mut state, seq);
    }
    assert_eq!(drain_seqs(&mut state), [51, 52]);
    assert!(drain_histories(&mut state).is_empty());
}

#[test]
fn start_first_fetches_everything() {
    let mut state = online(Start::First, &[]);
    on_deliver(&mut state, 3);
    let (request, history) = drain_histories(&mut state)[0];
    assert_eq!(history.after_seq, 0);
    frame(&mut state, request, page(1..=3, false));
    assert_eq!(drain_seqs(&mut state), [1, 2, 3]);
}

#[test]
fn an_own_message_takes_its_place_and_is_answered() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 0)]);
    on_deliver(&mut state, 1);
    send(&mut state, 50);
    let (request, client_id) = drain_sends(&mut state)[0];
    assert_eq!(client_id, 50);
    frame(&mut state, request, ack(50, 2));
    on_deliver(&mut state, 3);
    assert_eq!(drain_seqs(&mut state), [1, 2, 3]);
    let Some(Answer::Sent { result: Ok(ack), .. }) = state.poll_answer() else { panic!("the sender waits") };
    assert_eq!(ack.seq, Sequence(2));
}

#[test]
fn an_acknowledgement_may_overtake_deliveries() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 0)]);
    send(&mut state, 50);
    let (request, _) = drain_sends(&mut state)[0];
    frame(&mut state, request, ack(50, 2));
    assert!(drain_histories(&mut state).is_empty(), "the missing one is probably on its way");
    on_deliver(&mut state, 1);
    assert_eq!(drain_seqs(&mut state), [1, 2]);
    assert_eq!(state.deadline(), None, "nothing is missing any more");

    send(&mut state, 51);
    let (request, _) = drain_sends(&mut state)[0];
    frame(&mut state, request, ack(51, 4));
    state.handle(GAP_PATIENCE, Input::Tick);
    assert_eq!(drain_histories(&mut state)[0].1.after_seq, 2, "a gap that lasts is fetched");
}

#[test]
fn an_own_message_in_an_unknown_conversation_fetches_what_is_before_it() {
    let mut state = online(Start::Newest, &[]);
    send(&mut state, 50);
    let (request, _) = drain_sends(&mut state)[0];
    frame(&mut state, request, ack(50, 31));
    state.handle(GAP_PATIENCE, Input::Tick);
    let (request, history) = drain_histories(&mut state)[0];
    assert_eq!((history.before_seq, history.after_seq), (31, u64::MAX));
    frame(&mut state, request, page(1..=30, false));
    assert_eq!(drain_seqs(&mut state), (1..=31).collect::<Vec<_>>());
}

#[test]
fn everything_unacknowledged_is_sent_again_in_order_after_a_reconnect() {
    let mut state = online(Start::Newest, &[]);
    for client_id in 1..=3 {
        send(&mut state, client_id);
    }
    let sends = drain_sends(&mut state);
    frame(&mut state, sends[1].0, ack(2, 1));
    state.handle(T0, Input::Disconnected);
    send(&mut state, 4);
    assert!(drain_transmit(&mut state).is_empty(), "nothing is sent without a socket");
    connect(&mut state);
    let again: Vec<u128> = drain_sends(&mut state).into_iter().map(|(_, client_id)| client_id).collect();
    assert_eq!(again, [1, 3, 4]);
}

#[test]
fn a_send_refused_for_now_is_sent_again_and_one_refused_for_good_is_not() {
    let mut state = online(Start::Newest, &[]);
    send(&mut state, 1);
    send(&mut state, 2);
    let sends = drain_sends(&mut state);
    frame(&mut state, sends[0].0, error(503, 40));
    frame(&mut state, sends[1].0, error(403, 0));
    let refused = SendError::Refused { code: 403, message: "no".to_owned() };
    assert_eq!(
        state.poll_answer(),
        Some(Answer::Sent { client_id: ClientMessageId(2), result: Err(refused) })
    );
    let due = Duration::from_millis(40);
    assert_eq!(state.deadline(), Some(due));
    state.handle(due - Duration::from_nanos(1), Input::Tick);
    assert!(drain_sends(&mut state).is_empty());
    state.handle(due, Input::Tick);
    assert_eq!(drain_sends(&mut state)[0].1, 1);
    assert_eq!(state.poll_answer(), None, "only the final outcome is an answer");
}

#[test]
fn a_retry_holds_back_later_messages_of_its_conversation() {
    let mut state = online(Start::Newest, &[]);
    send(&mut state, 1);
    let sends = drain_sends(&mut state);
    frame(&mut state, sends[0].0, error(429, 100));
    send(&mut state, 2);
    let mut elsewhere = send_frame(3);
    elsewhere.conversation = 8;
    state.handle(T0, Input::Send { frame: elsewhere, announced: false });
    assert_eq!(drain_sends(&mut state).iter().map(|s| s.1).collect::<Vec<_>>(), [3]);
    state.handle(Duration::from_millis(100), Input::Tick);
    assert_eq!(drain_sends(&mut state).iter().map(|s| s.1).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn the_outbox_and_the_wire_are_bounded() {
    let mut state = online(Start::Newest, &[]);
    for client_id in 0..OUTBOX_MESSAGES_MAX as u128 {
        assert!(state.has_room());
        send(&mut state, client_id);
    }
    assert!(!state.has_room());
    assert_eq!(drain_sends(&mut state).len(), SENDS_IN_FLIGHT_MAX);
    send(&mut state, u128::MAX);
    let full = SendError::OutboxFull(OUTBOX_MESSAGES_MAX);
    let refused = Answer::Sent { client_id: ClientMessageId(u128::MAX), result: Err(full) };
    assert_eq!(state.poll_answer(), Some(refused));
}

#[test]
fn the_same_client_id_twice_is_refused_before_it_is_sent() {
    let mut state = online(Start::Newest, &[]);
    state.handle(T0, Input::Send { frame: send_frame(1), announced: true });
    state.handle(T0, Input::Send { frame: send_frame(1), announced: true });
    let error = SendError::Repeated(1);
    assert_eq!(drain_events(&mut state), [Event::Refused { client_id: ClientMessageId(1), error }]);
    assert_eq!(drain_sends(&mut state).len(), 1);
}

#[test]
fn received_covers_many_messages_with_one_frame() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 0)]);
    for seq in 1..=20 {
        on_deliver(&mut state, seq);
        state.handle(T0, Input::Taken { conversation: CONVERSATION, seq: Sequence(seq) });
    }
    assert!(drain_transmit(&mut state).is_empty());
    assert_eq!(state.deadline(), Some(RECEIVED_DELAY));
    state.handle(RECEIVED_DELAY, Input::Tick);
    let up_to = frames::UpTo { conversation: CONVERSATION.0, up_to_seq: 20 };
    assert_eq!(drain_transmit(&mut state), [(0, ClientFrame::Received(up_to))]);
    state.handle(RECEIVED_DELAY * 2, Input::Tick);
    assert!(drain_transmit(&mut state).is_empty());
}

#[test]
fn received_waits_for_an_application_that_wants_to_say_it() {
    let mut state = State::new("test".to_owned(), Start::Newest, Acknowledge::ByApplication, []);
    connect(&mut state);
    drain_transmit(&mut state);
    on_deliver(&mut state, 1);
    state.handle(T0, Input::Taken { conversation: CONVERSATION, seq: Sequence(1) });
    state.handle(RECEIVED_DELAY, Input::Tick);
    assert!(drain_transmit(&mut state).is_empty());
    state.handle(RECEIVED_DELAY, Input::Received { conversation: CONVERSATION, up_to: Sequence(1) });
    state.handle(RECEIVED_DELAY * 2, Input::Tick);
    assert_eq!(drain_transmit(&mut state).len(), 1);
}

#[test]
fn a_question_on_the_wire_fails_with_its_connection_and_one_that_waited_does_not() {
    let create = || {
        ClientFrame::Create(frames::Create {
            members: vec![2],
            kind: ConversationKind::Group as u8,
            name: String::new(),
        })
    };
    let mut state = online(Start::Newest, &[]);
    state.handle(T0, Input::Call { call: CallId(1), frame: create() });
    assert_eq!(drain_transmit(&mut state).len(), 1);
    state.handle(T0, Input::Disconnected);
    assert_eq!(
        state.poll_answer(),
        Some(Answer::Created { call: CallId(1), result: Err(CallError::Disconnected) })
    );
    state.handle(T0, Input::Call { call: CallId(2), frame: create() });
    assert_eq!(state.poll_answer(), None);
    connect(&mut state);
    let asked = drain_transmit(&mut state);
    let (request, ClientFrame::Create(_)) = asked[1] else { panic!("{asked:?}") };
    frame(&mut state, request, ServerFrame::Created(frames::Created { conversation: 77 }));
    let created = Answer::Created { call: CallId(2), result: Ok(ConversationId(77)) };
    assert_eq!(state.poll_answer(), Some(created));
}

#[test]
fn history_that_is_gone_is_said_and_skipped() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 5)]);
    on_deliver(&mut state, 20);
    let (request, _) = drain_histories(&mut state)[0];
    frame(&mut state, request, error(403, 0));
    let events = drain_events(&mut state);
    let missing = Event::Missing { conversation: CONVERSATION, after: Sequence(5), before: Sequence(20) };
    assert_eq!(events[0], missing);
    assert!(matches!(&events[1], Event::Message(message) if message.seq == Sequence(20)));
    assert_eq!(events.len(), 2);
}

#[test]
fn history_refused_for_now_is_asked_again() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 5)]);
    on_deliver(&mut state, 7);
    let (request, _) = drain_histories(&mut state)[0];
    frame(&mut state, request, error(503, 30));
    assert!(drain_histories(&mut state).is_empty());
    state.handle(Duration::from_millis(30), Input::Tick);
    let (request, history) = drain_histories(&mut state)[0];
    assert_eq!(history.after_seq, 5);
    frame(&mut state, request, page([6, 7], false));
    assert_eq!(drain_seqs(&mut state), [6, 7]);
}

#[test]
fn catch_up_after_a_reconnect_repeats_nothing() {
    let mut state = online(Start::Newest, &[(CONVERSATION, 0)]);
    on_deliver(&mut state, 1);
    on_deliver(&mut state, 3);
    state.handle(T0, Input::Disconnected);
    state.handle(T0, Input::Connected);
    let hello = drain_transmit(&mut state);
    let (_, ClientFrame::Hello(hello)) = &hello[0] else { panic!("{hello:?}") };
    assert_eq!(hello.cursors[0].last_seq, 1, "what was held back was not handed out");
    for seq in 2..=4 {
        on_deliver(&mut state, seq);
    }
    on_synced(&mut state, 4, false);
    assert_eq!(drain_seqs(&mut state), [1, 2, 3, 4]);
}

#[test]
fn stopping_tells_everybody_who_waits() {
    let mut state = online(Start::Newest, &[]);
    send(&mut state, 1);
    state.handle(T0, Input::Send { frame: send_frame(2), announced: true });
    let history = frames::History::of(7, tidegate_wire::request::HistoryRange::Newest, 10);
    state.handle(T0, Input::Call { call: CallId(1), frame: ClientFrame::History(history) });
    state.handle(T0, Input::Stop { reason: "over".to_owned() });
    assert_eq!(
        state.poll_answer(),
        Some(Answer::Page { call: CallId(1), result: Err(CallError::Disconnected) })
    );
    let stopped = SendError::Stopped("over".to_owned());
    assert_eq!(
        state.poll_answer(),
        Some(Answer::Sent { client_id: ClientMessageId(1), result: Err(stopped.clone()) })
    );
    assert_eq!(drain_events(&mut state), [Event::Refused { client_id: ClientMessageId(2), error: stopped }]);
    assert!(state.is_idle());
}
