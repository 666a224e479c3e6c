//! Binary frames: what the owner encodes once per message, what a gateway validates once per send, what a client
//! reads per delivery.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use support::{checksum, checksum_of_ends, deliver, measure, send};
use tidegate_wire::client::ClientFrame;
use tidegate_wire::frames::Ack;
use tidegate_wire::request::{self, Frames, Request};
use tidegate_wire::server::{self, DeliverView, Delivery, Encoding, ServerFrame};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire encode");
    group.throughput(Throughput::Elements(1));
    for bytes in [100, 4000] {
        let deliver = deliver(bytes);
        measure(&mut group, &format!("deliver {bytes} B"), || {
            checksum_of_ends(Delivery::encode(black_box(&deliver)).message())
        });
    }
    let ack =
        Ack { conversation: 1, client_id: 2, seq: 3, message_id: 4, created: 5, client_ref: String::new() };
    let ack = ServerFrame::Ack(ack);
    measure(&mut group, "ack", || checksum_of_ends(&server::encode(Encoding::Binary, 7, black_box(&ack))));
    group.finish();
}

fn validate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire validate");
    group.throughput(Throughput::Elements(1));
    for bytes in [100, 4000] {
        let message = ClientFrame::Send(send(bytes)).encode(7);
        measure(&mut group, &format!("send {bytes} B"), || {
            let (header, body) = Frames::new(black_box(&message)).next().expect("one frame").expect("whole");
            let Ok(Request::Send(send)) = request::parse(&header, body) else { panic!("not a valid send") };
            assert_eq!(send.body.len(), bytes);
            header.request ^ checksum_of_ends(send.body)
        });
    }
    let delivery = Delivery::encode(&deliver(100));
    let frame = delivery.frame();
    measure(&mut group, "deliver 100 B, by a client", || {
        let view = DeliverView::read(black_box(&frame)).expect("a valid deliver frame");
        view.seq ^ checksum(&view.body[..8])
    });
    group.finish();
}

criterion_group!(benches, encode, validate);
criterion_main!(benches);
