//! A frame is written once, into a buffer that was large enough from the start.
//! Guards: a body that grows its buffer while it is written, which copies every large page twice.

use tidegate_wire::frames::{Deliver, Error, Moved, Page};
use tidegate_wire::server::{Encoding, ServerFrame, encode};

mod samples;

/// Fixed part of the reserve and of the longest WebSocket header.
const SLACK_BYTES: usize = 160;

#[test]
fn binary_frames_fit_their_reserve() {
    let body = vec![b'a'; 50_000];
    let text = "a".repeat(50_000);
    let frames = [
        ServerFrame::Deliver(Deliver { body: body.clone(), ..samples::deliver_opaque() }),
        ServerFrame::Page(Page { conversation: 1, has_more: true, frames: body }),
        ServerFrame::Error(Error { code: 400, retry_after_ms: 0, message: text.clone() }),
        ServerFrame::Moved(Moved { url: text }),
    ];
    let samples = samples::server_frames().into_iter().map(|(_, _, frame)| frame);
    for frame in frames.into_iter().chain(samples) {
        let message = encode(Encoding::Binary, 1, &frame);
        let bytes = message.len();
        let buffer = message.try_into_mut().expect("nobody else holds it");
        let capacity = buffer.capacity();
        assert!(
            capacity <= bytes + SLACK_BYTES,
            "{capacity} for {bytes} bytes of kind {:#06x}",
            frame.kind()
        );
    }
}
