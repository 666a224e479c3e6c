//! One of every frame, with fields that differ from each other and from their defaults.
#![allow(dead_code, reason = "each test uses its part")]

use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::*;
use tidegate_wire::server::{Delivery, ServerFrame};

pub const CONVERSATION: u128 = 0x0190a6e2_7c3b_7def_8000_0123456789ab;
pub const OTHER_CONVERSATION: u128 = 0x0190a6e2_7c3b_7def_8000_0123456789ac;
/// `01ARZ3NDEKTSV4RRFFQ69G5FAV`
pub const ULID: u128 = 0x01563e3ab5d3d6764c61efb99302bd5b;

/// Name of the golden file, `request`, frame.
pub fn client_frames() -> Vec<(&'static str, u64, ClientFrame)> {
    let cursors = vec![
        Cursor { conversation: CONVERSATION, last_seq: 41 },
        Cursor { conversation: OTHER_CONVERSATION, last_seq: 0 },
    ];
    let send = Send {
        conversation: CONVERSATION,
        client_id: ULID,
        client_time: 1_767_225_600_100,
        reply_to: 40,
        kind: MessageKind::Text as u8,
        body: "hello, wörld".into(),
        client_ref: String::new(),
    };
    // printf 'order-1709' | sha256sum
    let hashed = 0xa20305d0b09aac606c468e1cd3c6fce3;
    let up_to = UpTo { conversation: CONVERSATION, up_to_seq: 42 };
    let history =
        |before_seq, after_seq| History { conversation: CONVERSATION, before_seq, after_seq, limit: 50 };
    vec![
        ("hello", 1, ClientFrame::Hello(Hello { cursors: cursors.clone(), client: "golden/1.0".into() })),
        ("hello_empty", 0, ClientFrame::Hello(Hello { cursors: vec![], client: "web".into() })),
        ("send_text", 2, ClientFrame::Send(send.clone())),
        (
            "send_media_ref",
            3,
            ClientFrame::Send(Send {
                kind: MessageKind::MediaRef as u8,
                body: "s3://media/1".into(),
                reply_to: 0,
                client_time: 0,
                client_id: 0x0190a6e2_7c3b_7def_8000_0123456789ad,
                client_ref: "0190a6e2-7c3b-7def-8000-0123456789ad".into(),
                ..send.clone()
            }),
        ),
        (
            "send_opaque",
            4,
            ClientFrame::Send(Send {
                kind: MessageKind::Opaque as u8,
                body: vec![0, 159, 146, 150, 255],
                client_id: hashed,
                client_ref: "order-1709".into(),
                ..send
            }),
        ),
        ("received", 0, ClientFrame::Received(up_to)),
        ("read", 0, ClientFrame::Read(up_to)),
        ("sync", 5, ClientFrame::Sync(Sync { cursors })),
        ("history_before", 6, ClientFrame::History(history(42, History::AFTER_UNSET))),
        ("history_after", 7, ClientFrame::History(history(History::BEFORE_UNSET, 7))),
        ("history_newest", 8, ClientFrame::History(history(History::BEFORE_UNSET, History::AFTER_UNSET))),
        (
            "create_direct",
            9,
            ClientFrame::Create(Create {
                members: vec![2],
                kind: ConversationKind::Direct as u8,
                name: String::new(),
            }),
        ),
        (
            "create_group",
            10,
            ClientFrame::Create(Create {
                members: vec![2, 3, u64::MAX],
                kind: ConversationKind::Group as u8,
                name: "harbour pilots".into(),
            }),
        ),
        ("renew", 11, ClientFrame::Renew(Renew { token: "eyJhbGciOiJIUzI1NiJ9.e30.sig".into() })),
        ("ping", 12, ClientFrame::Ping),
    ]
}

pub fn deliver() -> Deliver {
    Deliver {
        conversation: CONVERSATION,
        client_id: ULID,
        seq: 42,
        message_id: 7_155_000_000_000_000_001,
        sender: 1,
        created: 1_767_225_600_123,
        client_time: 0,
        reply_to: 0,
        kind: MessageKind::Text as u8,
        body: b"hello".to_vec(),
        client_ref: String::new(),
    }
}

pub fn deliver_opaque() -> Deliver {
    Deliver {
        seq: 43,
        message_id: 7_155_000_000_000_000_002,
        sender: u64::MAX,
        client_time: 1_767_225_600_100,
        reply_to: 42,
        kind: MessageKind::Opaque as u8,
        body: vec![0, 159, 146, 150, 255],
        client_ref: "order-1709".into(),
        ..deliver()
    }
}

/// Name of the golden file, `request`, frame.
pub fn server_frames() -> Vec<(&'static str, u64, ServerFrame)> {
    let stored = [deliver(), deliver_opaque()].map(|deliver| Delivery::encode(&deliver).frame());
    vec![
        (
            "welcome",
            0,
            ServerFrame::Welcome(Welcome {
                user: 1,
                device: 7,
                session: 0xfedc_ba98_7654_3210,
                server_time: 1_767_225_600_000,
                node: 3,
                heartbeat_ms: 30_000,
                message_bytes_max: 65_536,
                body_characters_max: 4_000,
                page_messages_max: 100,
            }),
        ),
        (
            "ack",
            2,
            ServerFrame::Ack(Ack {
                conversation: CONVERSATION,
                client_id: ULID,
                seq: 42,
                message_id: 7_155_000_000_000_000_001,
                created: 1_767_225_600_123,
                client_ref: String::new(),
            }),
        ),
        ("deliver", 0, ServerFrame::Deliver(deliver())),
        ("deliver_opaque", 0, ServerFrame::Deliver(deliver_opaque())),
        (
            "deliver_system",
            0,
            ServerFrame::Deliver(Deliver {
                kind: MessageKind::System as u8,
                body: br#"{"joined":"2"}"#.to_vec(),
                client_id: 0,
                ..deliver()
            }),
        ),
        (
            "receipt",
            0,
            ServerFrame::Receipt(Receipt {
                conversation: CONVERSATION,
                user: 2,
                delivered_up_to: 42,
                read_up_to: 41,
            }),
        ),
        (
            "page",
            6,
            ServerFrame::Page(Page { conversation: CONVERSATION, has_more: true, frames: stored.concat() }),
        ),
        (
            "page_empty",
            7,
            ServerFrame::Page(Page { conversation: CONVERSATION, has_more: false, frames: vec![] }),
        ),
        (
            "synced",
            0,
            ServerFrame::Synced(Synced { conversation: CONVERSATION, head_seq: 42, has_more: false }),
        ),
        ("created", 9, ServerFrame::Created(Created { conversation: CONVERSATION })),
        ("lagging", 0, ServerFrame::Lagging(Lagging { conversation: CONVERSATION })),
        ("moved", 0, ServerFrame::Moved(Moved { url: "wss://b.example.org/ws".into() })),
        ("drain", 0, ServerFrame::Drain(Drain { reconnect_after_ms: 500, window_ms: 30_000 })),
        (
            "error",
            2,
            ServerFrame::Error(Error {
                code: 403,
                retry_after_ms: 0,
                message: "you are not a member of this conversation".into(),
            }),
        ),
        ("pong", 12, ServerFrame::Pong),
    ]
}
