//! What every driver on real sockets promises, written once and run against each of them.

// Every test binary uses a part; clippy.toml allows unwrap in tests, and this file and its children are tests.
#![allow(dead_code, unused_macros, clippy::unwrap_used)]

pub mod behaviour;
pub mod flow;
pub mod moving;
pub mod rigs;
pub mod world;

/// One `#[test]` per promise for a `Rig`.
#[macro_export]
macro_rules! driver_suite {
    ($rig:ty: $($file:ident { $($promise:ident),* $(,)? })*) => {
        $($(
            #[test]
            fn $promise() {
                driver_suite::$file::$promise::<$rig>();
            }
        )*)*
    };
}

#[macro_export]
macro_rules! every_promise {
    ($rig:ty) => {
        $crate::driver_suite! { $rig:
            behaviour {
                many_connections_are_echoed_byte_by_byte,
                one_buffer_reaches_every_receiver,
                all_that_is_sent_in_one_turn_arrives_in_order,
                a_half_closed_peer_is_gone_after_its_last_byte,
                a_reset_peer_is_gone,
                sending_to_a_reset_peer_is_harmless,
                a_reused_slot_gets_nothing_meant_for_its_predecessor,
                a_full_table_refuses_and_gives_back,
                the_doorbell_ends_a_wait,
                a_deadline_ends_a_wait,
                a_stopped_listener_is_closed_and_comes_back,
            }
            flow {
                a_slow_reader_blocks_once_and_drains_once,
                everything_sent_before_a_close_arrives,
                a_close_with_unread_input_is_no_reset,
                a_close_in_the_handshake_delivers,
                a_peer_that_never_reads_is_closed_at_the_deadline,
                a_peer_that_never_closes_is_closed_at_the_deadline,
                a_half_closed_peer_still_gets_what_was_sent_before_the_close,
                a_paused_connection_delivers_nothing_until_resumed,
                a_paused_shard_delivers_nothing_until_resumed,
                a_close_while_the_shard_is_paused_finishes,
                what_has_to_wait_does_not_spin,
                a_blocked_and_half_closed_peer_gets_everything_once,
            }
            moving {
                an_idle_connection_moves_to_another_driver,
                no_byte_is_lost_when_a_connection_moves_in_mid_stream,
                only_fresh_connections_with_nothing_unsent_can_move,
            }
        }
    };
}
