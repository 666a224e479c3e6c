//! What a shard counts. Plain numbers; the engine adds the shards up.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Totals since the start, or present sizes where the name says so.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: u64,)* }

        impl Counters {
            /// Name, help and value of each.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Sessions open.
    sessions,
    /// Conversations in memory.
    conversations,
    /// Requests of clients that wait for their answer.
    requests_in_flight,
    /// Appends handed to the log and not yet durable.
    appends_in_flight,
    /// Sends read from clients.
    sends_received,
    /// Sends answered by an ack, repeats included.
    sends_acked,
    /// Sends answered by an error.
    sends_refused,
    /// Sends whose session went before the answer came.
    sends_unclaimed,
    /// Sends recognised as repeats of an earlier one.
    sends_repeated,
    /// Messages that became durable in conversations owned here.
    messages_durable,
    /// Messages handed to sockets of sessions here, live.
    deliveries,
    /// Messages handed to sockets from the store: catch-up and lagging readers.
    deliveries_stored,
    /// Live messages held back from a session that is being caught up; they follow from the store.
    deliveries_held,
    /// Sessions that read too slowly and were switched to catch-up.
    lagging,
    /// Frames of a kind this version does not know: skipped.
    frames_unknown,
    /// Frames answered with an error because of their content.
    frames_refused,
    /// Connections closed because of what they sent.
    protocol_errors,
    /// Sends for which the store was asked whether they are repeats.
    repeat_queries,
    /// Acknowledgements of deliveries (`received`) that were dropped for want of room: the messages may come again.
    received_shed,
    /// Appends that the log refused.
    appends_refused,
    /// Queries the store could not answer.
    queries_failed,
    /// Connections replaced by a new one of the same device.
    sessions_replaced,
    /// Sessions closed because their token ended.
    sessions_expired,
}
