//! The request heads that fuzzing found interesting, and every one that ever failed, hold in an ordinary test run.
//! Guards: a handshake that panics, or depends on how its bytes were cut. `SEED=write` puts the starting inputs there.

use std::path::{Path, PathBuf};

use tidegate::handshake;

mod handshake_property;

#[test]
fn every_input_of_the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/http_upgrade");
    if std::env::var_os("SEED").is_some_and(|value| value == "write") {
        seed(&corpus);
    }
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    for input in inputs {
        println!("{}", input.display());
        handshake_property::http_upgrade(&std::fs::read(&input).expect("a readable input"));
    }
}

#[test]
fn a_head_past_the_bound_is_refused_in_one_piece_too() {
    for filling in [16_000, 16_384, 20_000] {
        let filling = format!("X: {}\r\n", "x".repeat(filling));
        handshake_property::http_upgrade(&[b"\0", request("/ws", &filling).as_bytes()].concat());
    }
}

fn request(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

fn seed(corpus: &Path) {
    std::fs::create_dir_all(corpus).expect("a writable corpus");
    let write = |name: &str, settings: u8, head: &str| {
        std::fs::write(corpus.join(format!("seed_{name}")), [&[settings], head.as_bytes()].concat())
            .expect("a writable corpus");
    };
    write("binary", 0, &request("/ws", "Sec-WebSocket-Protocol: chat, tidegate.v1\r\n"));
    write("json", 0, &request("/ws", "Sec-WebSocket-Protocol: tidegate.v1.json\r\n"));
    write("echo", 1, &request("/ws", "Sec-WebSocket-Protocol: tidegate.echo\r\n"));
    write("echo_not_offered", 0, &request("/ws", "Sec-WebSocket-Protocol: tidegate.echo\r\n"));
    write("token_in_header", 0, &request("/ws", "Authorization: Bearer a.b-c\r\n"));
    write("token_in_query", 0, &request("/ws?x=1&token=a%2Eb%zz%e2%82%ac&", ""));
    write(
        "token_offered",
        0,
        &request("/ws", "Sec-WebSocket-Protocol: tidegate.v1, tidegate.token.a.b-c\r\n"),
    );
    write("frames_behind", 0, &(request("/ws", "") + "\u{1}\u{2}\r\n\r\nGET /ws HTTP/1.1\r\n\r\n"));
    write("other_method", 0, &request("/ws", "").replace("GET", "POST"));
    write("other_path", 0, &request("/\"quoted\"%0d%0a", ""));
    write("other_version", 0, &request("/ws", "").replace("n: 13", "n: 8"));
    write("http_1_0", 0, &request("/ws", "").replace("HTTP/1.1", "HTTP/1.0"));
    write("short_key", 0, &request("/ws", "").replace("dGhl", ""));
    write("no_upgrade", 0, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n");
    write("cut", 0, "GET /ws HTTP/1.1\r\nHost");
    write("tls", 0, "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}");
}
