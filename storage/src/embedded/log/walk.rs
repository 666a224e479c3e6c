//! Reads a log from its first segment to its end, and says what kind of end it is.
//!
//! 1. Groups follow each other in a segment; the next segment begins with the group after the last one.
//! 2. Where no group follows, everything behind is searched for valid groups of the same generation.
//! 3. One of them was written after the missing group had been synced (its `durable_lsn` says so, or it follows what the
//!    store has): *damage*. If the store has all that is missing, the walk goes on behind it.
//! 4. Otherwise the missing group was never acknowledged: a *torn tail*, or simply the end.
//!
//! Media damage to the very last group cannot be told from a torn write, because nothing behind it vouches for it.

use std::io;

use bytes::Bytes;

use super::group::{self, GroupError, GroupHeader, Identity};
use crate::embedded::disk::{Disk, SegmentNumber};
use crate::limits::BLOCK_BYTES;
use crate::{Append, Lsn};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub segment: SegmentNumber,
    /// Bytes from the start of the segment.
    pub offset: u64,
}

/// A group as the walk hands it out.
#[derive(Debug)]
pub struct Group {
    pub place: Place,
    pub header: GroupHeader,
    pub records: Vec<Append>,
}

/// How a log ends.
#[derive(Debug)]
pub struct End {
    /// Where the next group goes (the segment may be too full for it). `None`: there is no segment.
    pub tail: Option<Place>,
    pub last: Option<GroupHeader>,
    /// The last record of each segment that has groups, ascending.
    pub last_in_segment: Vec<(SegmentNumber, Lsn)>,
    /// The beginning of a group was at the tail.
    pub torn: Option<GroupError>,
    /// Groups behind the tail that nothing vouches for: first byte and end.
    pub stray: Vec<(Place, u64)>,
    /// Damage that was passed over: the store has every record that is missing there.
    pub skipped: Vec<Damage>,
}

/// The log claims that something was durable which is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub place: Place,
    pub reason: DamageReason,
    /// The first record that is missing.
    pub lsn: Lsn,
    /// What can still be read behind the damage, and goes when the log is cut there.
    pub groups_behind: u64,
    pub records_behind: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageReason {
    #[error("instead of a group there is: {0}")]
    Group(GroupError),
    #[error("{0}")]
    Records(#[from] group::RecordError),
    #[error("the segment file is missing")]
    SegmentMissing,
    #[error("the records before this place are missing: the store has everything up to {checkpoint}")]
    RecordsBefore { checkpoint: Lsn },
}

/// How a walk went.
#[derive(Debug)]
pub enum Outcome {
    End(End),
    /// Also says how the log would end if it were cut there.
    Damaged(Damage, End),
}

/// What stopped a walk.
#[derive(Debug)]
pub enum Stop<E> {
    Read {
        segment: SegmentNumber,
        error: io::Error,
    },
    /// `on_group` returned this.
    Caller(E),
}

/// Walks the log and hands out every group in order. `checkpoint`: the last record that the store has, when the caller
/// knows; records before it may be missing.
pub fn walk<D: Disk, E>(
    disk: &D,
    log_id: u128,
    checkpoint: Option<Lsn>,
    on_group: &mut dyn FnMut(Group) -> Result<(), E>,
) -> Result<Outcome, Stop<E>> {
    let segments = disk
        .segments()
        .map_err(|error| Stop::Read { segment: SegmentNumber(0), error })?
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    let mut walk = Walk { disk, log_id, checkpoint, segments, end: End::empty(), handed_out: Lsn::ZERO };
    walk.run(on_group)
}

struct Walk<'a, D> {
    disk: &'a D,
    log_id: u128,
    checkpoint: Option<Lsn>,
    segments: Vec<SegmentNumber>,
    end: End,
    /// The last record handed out.
    handed_out: Lsn,
}

impl<D: Disk> Walk<'_, D> {
    fn run<E>(&mut self, on_group: &mut dyn FnMut(Group) -> Result<(), E>) -> Result<Outcome, Stop<E>> {
        let Some(&segment) = self.segments.first() else {
            return Ok(Outcome::End(self.take_end()));
        };
        let mut from = (0, Place { segment, offset: 0 });
        loop {
            let blocked = self.chain(from, on_group)?;
            let behind = self.behind(blocked.index)?;
            let Some(damage) = self.damage(&blocked, &behind) else {
                return Ok(Outcome::End(self.clean_end(&blocked.reason, &behind)));
            };
            // What the store has, the log may have lost: go on where everything that the store lacks begins.
            let stored = behind.iter().find(|(place, header)| self.continues_store(*place, header));
            let Some(&(place, _)) = stored else {
                return Ok(Outcome::Damaged(damage, self.take_end()));
            };
            let index = self.segments.iter().position(|number| *number == place.segment);
            from = (index.expect("found in one of the segments"), place);
            self.end.last = None;
            self.end.skipped.push(damage);
        }
    }

    /// Hands out groups as long as they follow each other; says what came instead of the next one.
    fn chain<E>(
        &mut self,
        (start, from): (usize, Place),
        on_group: &mut dyn FnMut(Group) -> Result<(), E>,
    ) -> Result<Blocked, Stop<E>> {
        let mut blocked = Blocked {
            index: start,
            place: from,
            blank: true,
            reason: DamageReason::Group(GroupError::NoHeader),
        };
        for index in start..self.segments.len() {
            let number = self.segments[index];
            let beginning = Place { segment: number, offset: 0 };
            if index > start && number != self.segments[index - 1].next() {
                let place = Place { segment: self.segments[index - 1].next(), offset: 0 };
                let reason = DamageReason::SegmentMissing;
                return Ok(Blocked { index: index - 1, place, blank: false, reason });
            }
            let bytes = self.read(number)?;
            if index > start {
                // An end inside the segment before is a rotation only if this segment goes on from there.
                let identity = Identity { log_id: self.log_id, generation: number.0 };
                match group::parse(&bytes, identity) {
                    Ok(header) if self.follows(&header) => {}
                    Ok(_) => return Ok(blocked),
                    Err(reason) if begins_like_a_group(reason) && !blocked.begins_like_a_group() => {
                        let reason = DamageReason::Group(reason);
                        return Ok(Blocked { index: index - 1, place: beginning, blank: false, reason });
                    }
                    Err(_) => return Ok(blocked),
                }
            }
            let offset = if index == start { from.offset } else { 0 };
            self.end.tail = Some(Place { segment: number, offset });
            let reason = self.segment(number, &bytes, offset, on_group)?;
            let place = self.end.tail.expect("set above");
            let rest =
                &bytes[usize::try_from(place.offset).expect("a segment fits into memory").min(bytes.len())..];
            let blank = rest.iter().take(BLOCK_BYTES).all(|byte| *byte == 0);
            let reason = reason.unwrap_or(DamageReason::Group(GroupError::NoHeader));
            blocked = Blocked { index, place, blank, reason };
        }
        Ok(blocked)
    }

    /// Hands out the groups of one segment; says why it stopped before the end of the segment.
    fn segment<E>(
        &mut self,
        number: SegmentNumber,
        bytes: &Bytes,
        offset: u64,
        on_group: &mut dyn FnMut(Group) -> Result<(), E>,
    ) -> Result<Option<DamageReason>, Stop<E>> {
        let identity = Identity { log_id: self.log_id, generation: number.0 };
        let mut offset = usize::try_from(offset).expect("a segment fits into memory");
        while offset < bytes.len() {
            let here = &bytes[offset..];
            let header = match group::parse(here, identity) {
                Ok(header) if self.follows(&header) => header,
                Ok(header) if self.end.last.is_none() && header.first_lsn > self.next_lsn() => {
                    let checkpoint = self.checkpoint.unwrap_or_default();
                    return Ok(Some(DamageReason::RecordsBefore { checkpoint }));
                }
                Ok(_) => return Ok(Some(DamageReason::Group(GroupError::Chain))),
                Err(reason) => return Ok(Some(DamageReason::Group(reason))),
            };
            // A copy: rows share the memory of their group, and must not hold the whole segment for as long as they live.
            let group = Bytes::copy_from_slice(&here[..header.bytes as usize]);
            let records = match group::records(&group, identity, &header) {
                Ok(records) => records,
                Err(error) => return Ok(Some(DamageReason::Records(error))),
            };
            let place = Place { segment: number, offset: offset as u64 };
            on_group(Group { place, header, records }).map_err(Stop::Caller)?;
            match self.end.last_in_segment.last_mut() {
                Some((last, lsn)) if *last == number => *lsn = header.last_lsn(),
                _ => self.end.last_in_segment.push((number, header.last_lsn())),
            }
            self.handed_out = header.last_lsn();
            self.end.last = Some(header);
            offset += header.padded_bytes();
            self.end.tail = Some(Place { segment: number, offset: offset as u64 });
        }
        Ok(None)
    }

    /// Is this group the one after the last? Records that the store has may be missing in between: a log that was cut
    /// before the store's position goes on behind it.
    fn follows(&self, header: &GroupHeader) -> bool {
        let gap_is_stored = self.checkpoint.is_none_or(|checkpoint| header.first_lsn <= checkpoint.next());
        match &self.end.last {
            None => gap_is_stored,
            Some(last) => {
                let next = last.last_lsn().next();
                header.previous_crc == last.crc
                    && (header.first_lsn == next || (header.first_lsn > next && gap_is_stored))
            }
        }
    }

    /// A group behind what came instead of the next one: can the walk go on with it, because the store has all records
    /// before it?
    fn continues_store(&self, place: Place, header: &GroupHeader) -> bool {
        let Some(checkpoint) = self.checkpoint else { return false };
        // The group at the tail itself is tried once, as the beginning of a new chain.
        let not_tried = self.end.last.is_some() || self.end.tail.is_none_or(|tail| place > tail);
        // Never back: a write that went to a wrong place left an old group there.
        not_tried && header.first_lsn > self.handed_out && header.first_lsn <= checkpoint.next()
    }

    fn next_lsn(&self) -> Lsn {
        match &self.end.last {
            Some(last) => last.last_lsn().next(),
            None => self.checkpoint.unwrap_or_default().next(),
        }
    }

    /// Torn, or damaged?
    fn damage(&self, blocked: &Blocked, behind: &[(Place, GroupHeader)]) -> Option<Damage> {
        let expected = self.next_lsn();
        // No write was cut short here: a file is gone, a checksum fits, or a version is named that nobody wrote yet.
        let certain = !matches!(&blocked.reason, DamageReason::Group(reason) if is_cut_short(*reason))
            || self.segments[blocked.index..].windows(2).any(|pair| pair[1] != pair[0].next());
        let vouched = behind
            .iter()
            .any(|(place, header)| header.durable_lsn >= expected || self.continues_store(*place, header));
        if !certain && !vouched {
            return None;
        }
        // Nothing at the end of one segment, and the rest of the log goes on in the next: its beginning is what is missing.
        let next =
            behind.first().map(|(place, _)| *place).filter(|next| next.segment > blocked.place.segment);
        let place = match next {
            Some(next) if blocked.blank => {
                Place { segment: blocked.place.segment.next().min(next.segment), offset: 0 }
            }
            _ => blocked.place,
        };
        Some(Damage {
            place,
            reason: blocked.reason.clone(),
            lsn: expected.max(self.checkpoint.unwrap_or_default().next()),
            groups_behind: behind.len() as u64,
            records_behind: behind.iter().map(|(_, header)| u64::from(header.records)).sum(),
        })
    }

    fn clean_end(&mut self, reason: &DamageReason, behind: &[(Place, GroupHeader)]) -> End {
        self.end.torn = match reason {
            DamageReason::Group(reason) if begins_like_a_group(*reason) => Some(*reason),
            _ => None,
        };
        self.end.stray = behind
            .iter()
            .map(|(place, header)| (*place, place.offset + header.padded_bytes() as u64))
            .collect();
        self.take_end()
    }

    /// Every valid group behind the tail, which is in the segment at `index`.
    fn behind<E>(&self, index: usize) -> Result<Vec<(Place, GroupHeader)>, Stop<E>> {
        let mut found = Vec::new();
        let tail = self.end.tail.expect("there is at least one segment");
        let mut offset = usize::try_from(tail.offset).expect("a segment fits into memory");
        for &number in &self.segments[index..] {
            let bytes = self.read(number)?;
            let identity = Identity { log_id: self.log_id, generation: number.0 };
            while offset < bytes.len() {
                match group::parse(&bytes[offset..], identity) {
                    Ok(header) => {
                        found.push((Place { segment: number, offset: offset as u64 }, header));
                        offset += header.padded_bytes();
                    }
                    Err(_) => offset += BLOCK_BYTES,
                }
            }
            offset = 0;
        }
        Ok(found)
    }

    fn read<E>(&self, segment: SegmentNumber) -> Result<Bytes, Stop<E>> {
        let buffer = self.disk.read(segment).map_err(|error| Stop::Read { segment, error })?;
        Ok(Bytes::from_owner(Owner(buffer)))
    }

    fn take_end(&mut self) -> End {
        std::mem::replace(&mut self.end, End::empty())
    }
}

impl End {
    fn empty() -> Self {
        End {
            tail: None,
            last: None,
            last_in_segment: Vec::new(),
            torn: None,
            stray: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

/// A header of this generation is there: a write that did not finish, not old bytes.
fn begins_like_a_group(reason: GroupError) -> bool {
    matches!(
        reason,
        GroupError::Checksum | GroupError::Sizes | GroupError::OtherVersion(_) | GroupError::Chain
    )
}

/// No group to replay is lost when the file ends, or was written only in part.
fn is_cut_short(reason: GroupError) -> bool {
    !matches!(reason, GroupError::OtherVersion(_))
}

/// What came where a group should.
struct Blocked {
    /// The segment that the last group before it is in.
    index: usize,
    place: Place,
    /// There is nothing at all.
    blank: bool,
    reason: DamageReason,
}

impl Blocked {
    fn begins_like_a_group(&self) -> bool {
        match self.reason {
            DamageReason::Group(reason) => begins_like_a_group(reason),
            _ => true,
        }
    }
}

struct Owner(crate::embedded::disk::AlignedBuffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
