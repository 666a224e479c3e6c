//! What happens to segment files between two openings.

use tidegate_storage::embedded::disk::{Disk, SegmentNumber, SimulatedDisk};

/// A list of damages: kind, segment (counted from the first), place in units of 8 bytes (2), length in units of 64
/// bytes, value; see [`Damages::apply`]. Bytes that a kind takes from the input follow it.
#[derive(Debug)]
pub struct Damages<'a>(pub &'a [u8]);

impl Damages<'_> {
    pub fn apply(mut self, disk: &SimulatedDisk) {
        let mut budget = 24;
        while let [kind, segment, low, high, length, value, rest @ ..] = self.0 {
            self.0 = rest;
            budget -= 1;
            let segments = disk.segments().expect("a disk that works");
            if segments.is_empty() || budget == 0 {
                return;
            }
            let (number, bytes) = segments[usize::from(*segment) % segments.len()];
            let bytes = usize::try_from(bytes).expect("small");
            let at = (usize::from(u16::from_le_bytes([*low, *high])) * 8).min(bytes);
            let length = usize::from(*length) * 64;
            let end = (at + length).min(bytes);
            match kind % 8 {
                // A bit flips.
                0 => disk.corrupt(number, |file| {
                    if let Some(byte) = file.get_mut(at + usize::from(*value % 8)) {
                        *byte ^= 1 << (length / 64 % 8);
                    }
                }),
                // Sectors are lost, or come back as something else.
                1 => disk.corrupt(number, |file| file[at..end].fill(*value)),
                // The file ends early.
                2 => disk.corrupt(number, |file| file.truncate(at)),
                // It has grown.
                3 => disk.corrupt(number, |file| {
                    let grown = file.len() + length;
                    file.resize(grown, *value);
                }),
                4 => disk.remove(number).expect("a disk that works"),
                // A write went to the wrong place.
                5 => disk.corrupt(number, |file| {
                    let to = (usize::from(*value) * 512).min(file.len());
                    let room = file.len() - to;
                    file.copy_within(at..end.min(at + room), to);
                }),
                // Bytes that somebody chose.
                6 => {
                    let (chosen, rest) = self.0.split_at(length.min(self.0.len()));
                    self.0 = rest;
                    disk.corrupt(number, |file| {
                        let end = (at + chosen.len()).min(file.len());
                        file[at..end].copy_from_slice(&chosen[..end - at]);
                    });
                }
                // A file was copied over the next number, or far beyond.
                _ => {
                    let to = SegmentNumber(number.0 + 1 + u64::from(*value) % 4);
                    let image = disk.read(number).expect("it is there");
                    disk.create(to, bytes as u64).expect("a disk that works");
                    disk.corrupt(to, |file| file.copy_from_slice(&image.bytes()[..bytes]));
                }
            }
        }
    }
}

/// What only a program with the log's secret id could have written: wherever a block looks like a group of this log, its
/// checksums are made right, so that what stands behind them is reached.
pub fn make_checksums_right(disk: &SimulatedDisk, log_id: u128) {
    for (number, _) in disk.segments().expect("a disk that works") {
        let seed = crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), &number.0.to_le_bytes());
        disk.corrupt(number, |file| {
            for block in 0..file.len() / BLOCK_BYTES {
                let group = &mut file[block * BLOCK_BYTES..];
                let bytes = u32_at(group, 60) as usize;
                if group[..4] == *b"TGG1"
                    && group[8..24] == log_id.to_le_bytes()
                    && (72..=group.len()).contains(&bytes)
                {
                    group[24..32].copy_from_slice(&number.0.to_le_bytes());
                    seal(&mut group[..bytes], seed);
                }
            }
        });
    }
}

/// The layout of `storage/src/embedded/log/group.rs`.
fn seal(group: &mut [u8], seed: u32) {
    let mut records = &mut group[72..];
    while records.len() >= 24 && u32_at(records, 0) as usize <= records.len() - 24 {
        let (record, rest) = records.split_at_mut(24 + u32_at(records, 0) as usize);
        let crc = crc32c::crc32c_append(seed, &record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        records = rest;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &group[..68]), &group[72..]);
    group[68..72].copy_from_slice(&crc.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("a block has its header"))
}

const BLOCK_BYTES: usize = 4096;
