//! The JSON twin: what a text session costs over a binary one.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use support::{checksum_of_ends, deliver, measure};
use tidegate_wire::frames::Ack;
use tidegate_wire::json;
use tidegate_wire::request::Request;
use tidegate_wire::server::{self, Delivery, Encoding, ServerFrame};

const SEND: &str = r#"{"type":"send","request":2,"conversation":"01900000-0000-7000-8000-000000000001","client_id":"01HW3M9ZZZZZZZZZZZZZZZZZZZ","kind":"text","body":"#;

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json read");
    group.throughput(Throughput::Elements(1));
    let bodies = [
        ("plain", "m".repeat(100)),
        ("escaped", "\\n\\\"".repeat(25)),
        ("two-byte characters", "ü".repeat(50)),
    ];
    for (what, body) in bodies {
        let text = format!("{SEND}\"{body}\"}}");
        measure(&mut group, &format!("send 100 B {what}"), || {
            let (request, parsed) = json::read(black_box(&text)).expect("valid JSON");
            let Request::Send(send) = parsed.view() else { panic!("not a send") };
            request ^ checksum_of_ends(send.body)
        });
    }
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json write");
    group.throughput(Throughput::Elements(1));
    let delivery = Delivery::encode(&deliver(100));
    measure(&mut group, "deliver 100 B", || checksum_of_ends(&black_box(&delivery).json()));
    let ack =
        Ack { conversation: 1, client_id: 2, seq: 3, message_id: 4, created: 5, client_ref: String::new() };
    let ack = ServerFrame::Ack(ack);
    measure(&mut group, "ack", || checksum_of_ends(&server::encode(Encoding::Json, 7, black_box(&ack))));
    group.finish();
}

criterion_group!(benches, read, write);
criterion_main!(benches);
