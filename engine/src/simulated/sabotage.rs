//! Faults planted on the simulator's side of the seams, to see whether the checkers notice. `FAULTS.md` says how many
//! seeds each one took.

/// One planted fault, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sabotage {
    None,
    /// The log says "durable" when a group is written and not yet synced.
    NewsBeforeSync,
    /// The disk says "synced" and has not.
    SyncLies,
    /// The store gets a group after the shards have heard that it is durable.
    StoreToldLate,
    /// The bell of a sleeping worker is broken now and then.
    WakeLost,
    /// After a restart the store has forgotten which client ids were sent.
    RepeatsForgotten,
    /// Recovery leaves out the last records.
    TailDropped,
    /// After a restart the clock may stand before the newest message.
    FloorForgotten,
    /// A slot is used again under the name of the connection that had it before.
    GenerationKept,
    /// A short write is repeated from its middle.
    ShortWriteRepeated,
    /// A blocked connection is never said to have drained.
    DrainedLost,
    /// Reading is never resumed.
    ReadingForgotten,
    /// A connection is gone, and the worker does not hear of it.
    GoneLost,
    /// The news of a refusal does not reach the shard.
    RefusalLost,
    /// The news says one record more than there is.
    NewsAhead,
    /// A page of the store lacks a message in its middle.
    PageCut,
}

impl Sabotage {
    pub const ALL: [Self; 15] = [
        Self::NewsBeforeSync,
        Self::SyncLies,
        Self::StoreToldLate,
        Self::WakeLost,
        Self::RepeatsForgotten,
        Self::TailDropped,
        Self::FloorForgotten,
        Self::GenerationKept,
        Self::ShortWriteRepeated,
        Self::DrainedLost,
        Self::ReadingForgotten,
        Self::GoneLost,
        Self::RefusalLost,
        Self::NewsAhead,
        Self::PageCut,
    ];

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sabotage| format!("{sabotage:?}") == name)
    }
}
