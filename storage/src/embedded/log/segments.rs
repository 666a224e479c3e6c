//! Which segment is written, which are ready, which can be used again. Numbers only ever go up, without a gap: a
//! missing number means a missing file.

use std::collections::VecDeque;
use std::io;

use super::walk::Place;
use crate::Lsn;
use crate::embedded::disk::{Disk, SegmentNumber};
use crate::limits::BLOCK_BYTES;

/// A step that gets a segment ready, or gives one back. May run on another thread than the commits; takes as long as
/// writing a segment once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preparation {
    pub(super) step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create { segment: SegmentNumber, bytes: u64 },
    Recycle { from: SegmentNumber, to: SegmentNumber },
    Remove { segment: SegmentNumber },
}

impl Preparation {
    /// Does it; blocks.
    pub fn perform<D: Disk>(&self, disk: &D) -> io::Result<()> {
        match self.step {
            Step::Create { segment, bytes } => disk.create(segment, bytes),
            Step::Recycle { from, to } => disk.rename(from, to),
            Step::Remove { segment } => disk.remove(segment),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub number: SegmentNumber,
    pub bytes: u64,
}

#[derive(Debug)]
struct Retired {
    segment: Segment,
    last_lsn: Lsn,
    /// Giving it back failed halfway: nobody knows what its name is, so it can only be removed.
    doubtful: bool,
}

/// Where a group can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    Here(Place),
    /// No segment is ready; this one must be made first, by whoever writes the group.
    AfterMaking(Preparation),
    /// A preparation is under way; ask again when it has finished.
    Soon,
}

#[derive(Debug)]
pub(super) struct Segments {
    /// The segment that is written, and how far.
    active: Option<(Segment, u64)>,
    prepared: VecDeque<Segment>,
    retired: VecDeque<Retired>,
    next_number: SegmentNumber,
    segment_bytes: u64,
    ahead: usize,
    /// A preparation, or a commit that makes its segment, is under way.
    under_way: bool,
    /// The retired segment that the preparation under way takes.
    taking: Option<Retired>,
    /// The last preparation failed; no other is begun until something has changed.
    stuck: bool,
}

impl Segments {
    pub fn new(segment_bytes: u64, ahead: usize) -> Self {
        Self {
            active: None,
            prepared: VecDeque::new(),
            retired: VecDeque::new(),
            next_number: SegmentNumber(1),
            segment_bytes,
            ahead,
            under_way: false,
            taking: None,
            stuck: false,
        }
    }

    /// Takes over what recovery found: `(number, bytes)` ascending, the place after the last group, and the last record
    /// of each segment that has any.
    pub fn recovered(
        &mut self,
        found: &[(SegmentNumber, u64)],
        tail: Place,
        last_in_segment: &[(SegmentNumber, Lsn)],
    ) {
        for &(number, bytes) in found {
            let whole_blocks = bytes - bytes % BLOCK_BYTES as u64;
            let segment = Segment { number, bytes: whole_blocks };
            if number < tail.segment {
                let last = last_in_segment.iter().find(|(other, _)| *other == number);
                let last_lsn = last.map_or(Lsn::ZERO, |(_, lsn)| *lsn);
                self.retired.push_back(Retired { segment, last_lsn, doubtful: false });
            } else if number == tail.segment {
                self.active = Some((segment, tail.offset));
            } else {
                self.prepared.push_back(segment);
            }
            self.next_number = number.next();
        }
    }

    /// Finds room for `bytes`, going on to the next segment if it must. `last_lsn`: the last record written so far.
    pub fn room(&mut self, bytes: u64, last_lsn: Lsn) -> Room {
        loop {
            if let Some((segment, offset)) = self.active
                && segment.bytes.saturating_sub(offset) >= bytes
            {
                return Room::Here(Place { segment: segment.number, offset });
            }
            let Some(next) = self.prepared.pop_front() else { break };
            self.activate(next, last_lsn);
        }
        if self.under_way {
            return Room::Soon;
        }
        // Whoever writes the group makes the segment; nobody else may make one of the same number meanwhile.
        self.under_way = true;
        Room::AfterMaking(Preparation {
            step: Step::Create { segment: self.next_number, bytes: self.segment_bytes },
        })
    }

    /// The place of a group in a segment that [`Room::AfterMaking`] asked for.
    pub fn place_after(making: &Preparation) -> Place {
        match making.step {
            Step::Create { segment, .. } => Place { segment, offset: 0 },
            other => unreachable!("only a created segment takes a group at once, not {other:?}"),
        }
    }

    /// The segment that [`Room::AfterMaking`] asked for could not be made.
    pub fn not_made(&mut self) {
        self.under_way = false;
    }

    /// The segment was made; it is the one written from here on. `last_lsn`: the last record in the segment before.
    pub fn made(&mut self, making: &Preparation, last_lsn: Lsn) {
        self.under_way = false;
        if let Step::Create { segment, bytes } = making.step {
            self.next_number = segment.next();
            self.stuck = false;
            self.activate(Segment { number: segment, bytes }, last_lsn);
        }
    }

    pub fn written(&mut self, place: Place, bytes: u64) {
        let (segment, offset) = self.active.as_mut().expect("a group was written into the active segment");
        assert_eq!((segment.number, *offset), (place.segment, place.offset), "groups follow each other");
        *offset += bytes;
    }

    pub fn preparation(&mut self, persisted: Lsn) -> Option<Preparation> {
        if self.under_way || self.stuck {
            return None;
        }
        let wanted = self.prepared.len() < self.ahead;
        let spare = match self.retired.front() {
            Some(retired) if retired.last_lsn <= persisted => self.retired.pop_front(),
            _ => None,
        };
        let step = match &spare {
            Some(spare) if wanted && !spare.doubtful && spare.segment.bytes == self.segment_bytes => {
                Step::Recycle { from: spare.segment.number, to: self.next_number }
            }
            Some(spare) => Step::Remove { segment: spare.segment.number },
            None if wanted => Step::Create { segment: self.next_number, bytes: self.segment_bytes },
            None => return None,
        };
        self.under_way = true;
        self.taking = spare;
        Some(Preparation { step })
    }

    pub fn prepared(&mut self, preparation: &Preparation, succeeded: bool) {
        assert!(self.under_way, "{preparation:?} was not begun, or has finished before");
        self.under_way = false;
        self.stuck = !succeeded;
        let taken = self.taking.take();
        if !succeeded {
            // Back to the front: only the oldest may ever go, or a gap in the numbers would look like a lost file. If
            // the file has its new number already, the next one made under that number replaces it.
            if let Some(retired) = taken {
                self.retired.push_front(Retired { doubtful: true, ..retired });
            }
            return;
        }
        match preparation.step {
            Step::Create { segment, bytes } => self.ready(Segment { number: segment, bytes }),
            Step::Recycle { to, .. } => self.ready(Segment { number: to, bytes: self.segment_bytes }),
            Step::Remove { .. } => {}
        }
    }

    /// Something has changed that may let a failed preparation succeed.
    pub fn try_again(&mut self) {
        self.stuck = false;
    }

    fn ready(&mut self, segment: Segment) {
        self.next_number = segment.number.next();
        self.prepared.push_back(segment);
    }

    fn activate(&mut self, next: Segment, last_lsn: Lsn) {
        if let Some((segment, _)) = self.active.replace((next, 0)) {
            self.retired.push_back(Retired { segment, last_lsn, doubtful: false });
        }
    }
}
