//! A session that asks on and on and reads nothing is not read from, so what is kept for it is bounded.
//! Guards against answers (pongs, pages, errors) that pile up behind a full socket without end.

use std::time::Duration;

use tidegate_shard::{ConnectionId, Identity, Input, Limits, Login, Now, Output, Shard, ShardId};
use tidegate_wire::{DeviceId, Encoding, UserId};

const NOW: Now = Now { monotonic: Duration::from_secs(1), wall_ms: 1_767_225_600_000 };
const CONNECTION: ConnectionId = ConnectionId { slot: 0, generation: 0 };

/// Bytes sent, and whether the session is read from after the last output that says so.
fn outputs(shard: &mut Shard) -> (usize, Option<bool>) {
    let (mut bytes, mut reads) = (0, None);
    while let Some(output) = shard.poll_output() {
        match output {
            Output::Send { message, .. } => bytes += message.len(),
            Output::SetReading { connection, reading } => {
                assert_eq!(connection, CONNECTION);
                reads = Some(reading);
            }
            _ => {}
        }
    }
    (bytes, reads)
}

#[test]
fn who_does_not_read_is_not_read_from() {
    let limits = Limits { unsent_bytes_max: 4096, ..Limits::default() };
    let bound = limits.unsent_bytes_max as usize;
    let identity = Identity { me: ShardId(0), shards: 1, node: 1, seed: 1, created_floor: 0 };
    let mut shard = Shard::new(&identity, limits, NOW);
    let login =
        Login { user: UserId(1), device: DeviceId(1), encoding: Encoding::Json, expires_at: u64::MAX };
    shard.handle(NOW, Input::Login { connection: CONNECTION, login });
    outputs(&mut shard);
    shard.handle(NOW, Input::Blocked { connection: CONNECTION, unsent: 1 });

    let (mut kept, mut pings) = (1, 0);
    loop {
        shard.handle(NOW, Input::Text { connection: CONNECTION, message: r#"{"type":"ping","request":1}"# });
        let (bytes, reads) = outputs(&mut shard);
        kept += bytes;
        pings += 1;
        if reads == Some(false) {
            break;
        }
        assert!(kept <= bound, "{kept} bytes are kept after {pings} pings, and it is still read from");
    }
    assert!(kept <= bound + 256, "{kept}");

    shard.handle(NOW, Input::Drained { connection: CONNECTION });
    assert_eq!(outputs(&mut shard).1, Some(true), "it has read: so it is read from");
}
