//! What a verified write puts into each sector, and what a read makes of one.
//!
//! ```text
//!   sector of 512 bytes   magic 8 | run 8 | offset 8 | device 4 | stamp 4 | crc32c 4 | zero 4 | body 472
//! ```
//!
//! A sector speaks for itself: a device writes one wholly or not at all, and so a block that was torn between two writes
//! shows which part of it is of which. The stamp counts the writes to its block in this run. The body derives from all the
//! rest, so that no two writes look alike; the checksum is over the sector with zeroes in its own place.

use bireme_dataplane::checksum::crc32c;

/// Who writes: nothing that another run has left can be taken for what this one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    /// The number of the run.
    pub(super) run: u64,
    /// Which of its devices.
    pub(super) device: u32,
}

/// How often a block was written. It wraps around; see [`is_since`].
pub(super) type Stamp = u32;

/// What a sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What this writer wrote here, by its stamp.
    Written(Stamp),
    /// Nothing but zeroes.
    Zeroes,
    /// Nothing that a verified write makes.
    Foreign,
    /// A sound sector of another run, by its number.
    OtherRun(u64),
    /// A sound sector of this run that belongs elsewhere.
    Elsewhere {
        /// Which device.
        device: u32,
        /// Where on it.
        offset: u64,
    },
    /// A sector whose checksum does not fit.
    Damaged,
}

impl Writer {
    /// Makes all sectors of one block that begins at `offset`.
    pub(super) fn write(self, offset: u64, stamp: Stamp, block: &mut [u8]) {
        for (at, sector) in (offset..).step_by(SECTOR).zip(block.as_chunks_mut::<SECTOR>().0) {
            let mut words = sector.as_chunks_mut::<8>().0.iter_mut();
            let place = u64::from(self.device) | u64::from(stamp) << 32;
            for (word, value) in words.by_ref().zip([MAGIC, self.run, at, place, 0]) {
                *word = value.to_le_bytes();
            }
            let base = mix(mix(self.run ^ at) ^ place);
            for (word, index) in words.zip(0u64..) {
                let value = base.wrapping_add(index.wrapping_mul(STEP));
                *word = (value ^ (value >> 29)).to_le_bytes();
            }
            let crc = crc32c(sector);
            sector[CRC..CRC + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// What the sector at `offset` holds.
    pub(super) fn judge(self, offset: u64, sector: &[u8; SECTOR]) -> Found {
        let word = |index: usize| u64::from_le_bytes(sector.as_chunks().0[index]);
        if word(0) != MAGIC {
            return if sector.iter().all(|&byte| byte == 0) { Found::Zeroes } else { Found::Foreign };
        }
        let mut bare = *sector;
        bare[CRC..CRC + 4].fill(0);
        let [run, at, place, crc] = [1, 2, 3, 4].map(word);
        if u64::from(crc32c(&bare)) != crc {
            return Found::Damaged;
        }
        let [device, stamp] = [place & u64::from(u32::MAX), place >> 32].map(|half| u32::try_from(half).unwrap_or(0));
        match () {
            () if run != self.run => Found::OtherRun(run),
            () if device != self.device || at != offset => Found::Elsewhere { device, offset: at },
            () => Found::Written(stamp),
        }
    }
}

/// Whether a write is the other one or came after it. Stamps count to 2^30 and go on from 0; two that meet are never half as
/// far apart.
pub(super) fn is_since(stamp: Stamp, other: Stamp) -> bool {
    stamp.wrapping_sub(other) & STAMP_MAX <= STAMP_MAX / 2
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// No device writes less at once.
pub(super) const SECTOR: usize = 512;
pub(super) const STAMP_MAX: Stamp = (1 << 30) - 1;
const MAGIC: u64 = u64::from_le_bytes(*b"Bireme/1");
const CRC: usize = 32;
/// 2^64 divided by the golden ratio, made odd: multiples of it are spread evenly.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: Writer = Writer { run: 77, device: 2 };

    fn block(writer: Writer, offset: u64, stamp: Stamp) -> Vec<u8> {
        let mut block = vec![0xEE; 4096];
        writer.write(offset, stamp, &mut block);
        block
    }

    fn sector(block: &[u8], index: usize) -> &[u8; SECTOR] {
        &block.as_chunks().0[index]
    }

    #[test]
    fn each_sector_says_who_wrote_it_where_and_when() {
        let written = block(WRITER, 8192, 5);
        for (index, offset) in (0..8).zip((8192..).step_by(SECTOR)) {
            assert_eq!(WRITER.judge(offset, sector(&written, index)), Found::Written(5), "sector {index}");
        }
        assert_eq!(WRITER.judge(8192, sector(&written, 1)), Found::Elsewhere { device: 2, offset: 8704 });
        let other = Writer { device: 3, ..WRITER };
        assert_eq!(other.judge(8192, sector(&written, 0)), Found::Elsewhere { device: 2, offset: 8192 });
        let other = Writer { run: 78, ..WRITER };
        assert_eq!(other.judge(8192, sector(&written, 0)), Found::OtherRun(77));
        assert_eq!(WRITER.judge(0, &[0; SECTOR]), Found::Zeroes);
        assert_eq!(WRITER.judge(0, &[9; SECTOR]), Found::Foreign);
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let written = block(WRITER, 0, 1);
        for bit in 0..SECTOR * 8 {
            let mut damaged = *sector(&written, 0);
            damaged[bit / 8] ^= 1 << (bit % 8);
            let found = WRITER.judge(0, &damaged);
            assert_eq!(found, if bit < 64 { Found::Foreign } else { Found::Damaged }, "bit {bit}");
        }
    }

    #[test]
    fn two_writes_share_next_to_nothing() {
        let (one, other) = (block(WRITER, 0, 1), block(WRITER, 0, 2));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        assert!(same < 8 * 40 + 64, "{same} bytes are the same");
    }

    #[test]
    fn stamps_go_round() {
        for (stamp, other, want) in
            [(5, 5, true), (6, 5, true), (5, 6, false), (0, STAMP_MAX, true), (STAMP_MAX, 0, false)]
        {
            assert_eq!(is_since(stamp, other), want, "{stamp} and {other}");
        }
    }
}
