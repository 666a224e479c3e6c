//! The tables of `PROTOCOL.md` are the layout that the compiler gives the archives.
//! Guards: a document that strangers write clients from and that is wrong by one byte.

use std::fmt::Write as _;
use std::mem::offset_of;

use tidegate_wire::frames::*;
use tidegate_wire::header::HEADER_BYTES;

/// The table of one body as `PROTOCOL.md` has it: fields in the order of their offsets.
macro_rules! table {
    ($archived:ident { $($field:ident: $kind:literal),+ $(,)? }) => {{
        let mut table = String::from("| offset | bytes | field | type |\n|---|---|---|---|\n");
        let mut end = 0;
        $(
            let bytes = field_bytes(|archived: &$archived| &archived.$field);
            assert_eq!(offset_of!($archived, $field), end, "no gap before {}", stringify!($field));
            assert_eq!(bytes, type_bytes($kind), "{}", stringify!($field));
            writeln!(table, "| {end} | {bytes} | `{}` | {} |", stringify!($field), $kind).expect("a string");
            end += bytes;
        )+
        assert_eq!(end, size_of::<$archived>(), "no gap at the end");
        assert_eq!(align_of::<$archived>(), 1, "no alignment");
        (end, table)
    }};
}

fn field_bytes<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

fn type_bytes(kind: &str) -> usize {
    match kind {
        "u128" => 16,
        "u64" => 8,
        "u32" => 4,
        "u16" => 2,
        "u8" | "bool" => 1,
        _ if kind == "string" || kind.starts_with("list of") => 8,
        other => panic!("{other} is not a type of PROTOCOL.md"),
    }
}

fn bodies() -> Vec<(&'static str, u16, (usize, String))> {
    vec![
        ("hello", kind::HELLO, table!(ArchivedHello { cursors: "list of cursor", client: "string" })),
        (
            "send",
            kind::SEND,
            table!(ArchivedSend {
                conversation: "u128",
                client_id: "u128",
                client_time: "u64",
                reply_to: "u64",
                kind: "u8",
                body: "list of u8",
                client_ref: "string",
            }),
        ),
        ("received", kind::RECEIVED, table!(ArchivedUpTo { conversation: "u128", up_to_seq: "u64" })),
        ("read", kind::READ, table!(ArchivedUpTo { conversation: "u128", up_to_seq: "u64" })),
        ("sync", kind::SYNC, table!(ArchivedSync { cursors: "list of cursor" })),
        (
            "history",
            kind::HISTORY,
            table!(ArchivedHistory {
                conversation: "u128",
                before_seq: "u64",
                after_seq: "u64",
                limit: "u32",
            }),
        ),
        (
            "create",
            kind::CREATE,
            table!(ArchivedCreate { members: "list of u64", kind: "u8", name: "string" }),
        ),
        ("renew", kind::RENEW, table!(ArchivedRenew { token: "string" })),
        (
            "welcome",
            kind::WELCOME,
            table!(ArchivedWelcome {
                user: "u64",
                device: "u64",
                session: "u64",
                server_time: "u64",
                node: "u32",
                heartbeat_ms: "u32",
                message_bytes_max: "u32",
                body_characters_max: "u32",
                page_messages_max: "u32",
            }),
        ),
        (
            "ack",
            kind::ACK,
            table!(ArchivedAck {
                conversation: "u128",
                client_id: "u128",
                seq: "u64",
                message_id: "u64",
                created: "u64",
                client_ref: "string",
            }),
        ),
        (
            "deliver",
            kind::DELIVER,
            table!(ArchivedDeliver {
                conversation: "u128",
                client_id: "u128",
                seq: "u64",
                message_id: "u64",
                sender: "u64",
                created: "u64",
                client_time: "u64",
                reply_to: "u64",
                kind: "u8",
                body: "list of u8",
                client_ref: "string",
            }),
        ),
        (
            "receipt",
            kind::RECEIPT,
            table!(ArchivedReceipt {
                conversation: "u128",
                user: "u64",
                delivered_up_to: "u64",
                read_up_to: "u64",
            }),
        ),
        (
            "page",
            kind::PAGE,
            table!(ArchivedPage { conversation: "u128", has_more: "bool", frames: "list of u8" }),
        ),
        (
            "synced",
            kind::SYNCED,
            table!(ArchivedSynced { conversation: "u128", head_seq: "u64", has_more: "bool" }),
        ),
        ("created", kind::CREATED, table!(ArchivedCreated { conversation: "u128" })),
        ("lagging", kind::LAGGING, table!(ArchivedLagging { conversation: "u128" })),
        ("moved", kind::MOVED, table!(ArchivedMoved { url: "string" })),
        ("drain", kind::DRAIN, table!(ArchivedDrain { reconnect_after_ms: "u32", window_ms: "u32" })),
        (
            "error",
            kind::ERROR,
            table!(ArchivedError { code: "u16", retry_after_ms: "u32", message: "string" }),
        ),
    ]
}

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/PROTOCOL.md");
    std::fs::read_to_string(path).expect("PROTOCOL.md stands beside the crate")
}

#[test]
fn every_table_of_the_document_is_the_layout() {
    let document = document();
    for (name, kind, (bytes, table)) in bodies() {
        let heading = format!("### {name} · {kind:#06x} · root of {bytes} bytes\n");
        let Some((_, section)) = document.split_once(&heading) else {
            panic!("PROTOCOL.md lacks the heading {heading}and the table\n{table}");
        };
        let section = section.split("\n### ").next().unwrap_or_default();
        assert!(section.contains(&table), "under {heading}PROTOCOL.md should have\n{table}");
    }
}

#[test]
fn lists_hold_what_the_document_says() {
    let (bytes, table) = table!(ArchivedCursor { conversation: "u128", last_seq: "u64" });
    assert_eq!(bytes, 24);
    assert!(document().contains(&format!("### cursor · 24 bytes\n\n{table}")), "PROTOCOL.md lacks\n{table}");
}

#[test]
fn the_worked_example_is_a_golden_file() {
    let golden = include_str!("golden/send_text.hex");
    for line in golden.lines() {
        assert!(document().contains(line), "PROTOCOL.md lacks the line {line}");
    }
    assert_eq!(HEADER_BYTES, 16);
}

#[test]
fn every_json_twin_in_the_document_is_a_golden_file() {
    let document = document();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    for (name, ..) in bodies().iter() {
        let golden = match *name {
            "send" => "send_text",
            "history" => "history_before",
            "create" => "create_group",
            name => name,
        };
        let text = std::fs::read_to_string(format!("{directory}/{golden}.json")).expect("golden file");
        assert!(document.contains(text.trim_end()), "PROTOCOL.md lacks the JSON of {golden}: {text}");
    }
}
