//! What lies where on one member: pure arithmetic, the same for all members of a pool.
//!
//! ```text
//!   0        64 KiB                       1 MiB aligned        1 MiB aligned              end of device
//!   │ slots  │ metadata area              │ leaf blocks of all │ data of all frames ... │ last 64 KiB │
//!   │ A, B   │ (a mirror on each member)  │ frames, in order   │ in order               │ slots A, B  │
//! ```
//!
//! The tail is measured from the end of each device, so that members may differ in size; everything else is the same
//! on all and counts with the smallest.

use std::ops::Range;

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};

/// The places of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    metadata_bytes: u64,
    leaves: u64,
    data: u64,
    frames: u64,
    frame_bytes: u64,
    leaf_bytes: u64,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not even one frame fits.
    #[error("it holds {have} bytes, a pool of this shape needs at least {need}")]
    TooSmall {
        /// Bytes of the smallest device.
        have: u64,
        /// Bytes for one frame.
        need: u64,
    },
}

impl Layout {
    /// As many frames as the smallest device holds.
    pub fn new(geometry: Geometry, smallest_device_bytes: u64) -> Result<Layout, LayoutError> {
        let smallest = smallest_device_bytes / BLOCK_BYTES * BLOCK_BYTES;
        let with = |frames: u64| Layout::with_frames(geometry, frames, metadata_bytes(frames));
        let too_small = LayoutError::TooSmall { have: smallest_device_bytes, need: with(1).end() + ZONE_BYTES };
        let room = smallest.checked_sub(ZONE_BYTES).filter(|&room| with(1).end() <= room).ok_or(too_small)?;
        let fits = |frames: u64| with(frames).end() <= room;
        // The area grows in steps with the frames, so the most that fit are found by halving.
        let (mut fit, mut over) = (1, room / u64::from(geometry.frame_member_bytes()) + 1);
        while over - fit > 1 {
            let middle = fit + (over - fit) / 2;
            if fits(middle) { fit = middle } else { over = middle }
        }
        Ok(with(fit))
    }

    fn with_frames(geometry: Geometry, frames: u64, metadata_bytes: u64) -> Layout {
        let frame_bytes = u64::from(geometry.frame_member_bytes());
        let leaf_bytes = (frame_bytes / BLOCK_BYTES * 8).next_multiple_of(BLOCK_BYTES);
        let leaves = (ZONE_BYTES + metadata_bytes).next_multiple_of(SLICE_ALIGNMENT);
        let data = (leaves + frames * leaf_bytes).next_multiple_of(SLICE_ALIGNMENT);
        Layout { metadata_bytes, leaves, data, frames, frame_bytes, leaf_bytes }
    }

    /// As a superblock tells it; `None` when the figures do not fit each other or the device.
    pub fn recorded(geometry: Geometry, frames: u64, metadata_bytes: u64, device_bytes: u64) -> Option<Layout> {
        let sane = frames > 0
            && frames <= device_bytes / u64::from(geometry.frame_member_bytes())
            && metadata_bytes <= device_bytes
            && metadata_bytes > LENGTHS_BYTES
            && metadata_bytes.is_multiple_of(BLOCK_BYTES);
        let layout = sane.then(|| Layout::with_frames(geometry, frames, metadata_bytes))?;
        (layout.end().checked_add(ZONE_BYTES)? <= device_bytes).then_some(layout)
    }

    /// Whether all of it lies within a device of this size.
    pub fn fits(&self, device_bytes: u64) -> bool {
        device_bytes / BLOCK_BYTES * BLOCK_BYTES >= self.device_bytes_min()
    }

    /// The least size of a member.
    pub fn device_bytes_min(&self) -> u64 {
        self.end() + ZONE_BYTES
    }

    /// How many frames.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Where a frame's data lies on each member.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn data_offset(&self, frame: u64) -> u64 {
        assert!(frame < self.frames, "frame {frame} lies outside the pool");
        self.data + frame * self.frame_bytes
    }

    /// Where a frame's leaf blocks lie on each member.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn leaf_offset(&self, frame: u64) -> u64 {
        assert!(frame < self.frames, "frame {frame} lies outside the pool");
        self.leaves + frame * self.leaf_bytes
    }

    /// Bytes of the leaf blocks of a frame on each member.
    pub fn leaf_bytes(&self) -> u64 {
        self.leaf_bytes
    }

    /// The metadata area.
    pub fn metadata(&self) -> Range<u64> {
        ZONE_BYTES..ZONE_BYTES + self.metadata_bytes
    }

    /// Where the store's image begins: after two blocks that record its length.
    pub fn image(&self) -> Range<u64> {
        ZONE_BYTES + LENGTHS_BYTES..ZONE_BYTES + self.metadata_bytes
    }

    /// One past the last data.
    fn end(&self) -> u64 {
        self.data + self.frames * self.frame_bytes
    }
}

/// Where the superblock slots of a device of this size begin: at its start and before its end.
pub fn zones(device_bytes: u64) -> [u64; 2] {
    [0, (device_bytes / BLOCK_BYTES * BLOCK_BYTES).saturating_sub(ZONE_BYTES)]
}

/// Room for the records of all frames twice over, half-full pages, and the pages that the store frees one transaction
/// late. Measured after such transactions: 70 bytes per frame and 300 KiB; taken as 512 and 1 MiB.
fn metadata_bytes(frames: u64) -> u64 {
    let need = STORE_BYTES_MIN + frames * 512;
    let mut units = 2;
    while units * STORE_UNIT_BYTES < need {
        units *= 2;
    }
    LENGTHS_BYTES + BLOCK_BYTES + units * STORE_UNIT_BYTES
}

/// Bytes kept for superblock slots at the start and at the end of a device.
pub const ZONE_BYTES: u64 = 64 << 10;
/// Two blocks at the start of the metadata area that record, in turn, how long the store's image is.
pub const LENGTHS_BYTES: u64 = 2 * BLOCK_BYTES;
const SLICE_ALIGNMENT: u64 = 1 << 20;
/// The store may grow by doubling, to 4096 + 2^n x this.
const STORE_UNIT_BYTES: u64 = 1_052_672;
/// What the store takes for itself, with room to move.
const STORE_BYTES_MIN: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::Level;

    use super::*;

    fn geometry(members: usize, chunk: u64, page: u64) -> Geometry {
        Geometry::new(Level::Raid0, members, chunk, page).expect("a usable shape")
    }

    #[test]
    fn nothing_overlaps_and_everything_is_aligned() {
        for members in [1, 2, 3, 7] {
            for bytes in [16 << 20, 64 << 20, 1_000_000_000, 1 << 40] {
                for page in [64 << 10, 1 << 20, 4 << 20] {
                    let geometry = geometry(members, 4096, page);
                    let layout = Layout::new(geometry, bytes).expect("room");
                    let last = layout.frames() - 1;
                    assert!(layout.metadata().start >= ZONE_BYTES);
                    assert!(layout.leaf_offset(0) >= layout.metadata().end);
                    assert!(layout.data_offset(0) >= layout.leaf_offset(last) + layout.leaf_bytes());
                    let end = layout.data_offset(last) + u64::from(geometry.frame_member_bytes());
                    assert!(end <= zones(bytes)[1], "{members} members of {bytes}");
                    for place in [layout.leaf_offset(last), layout.data_offset(last), layout.metadata().end] {
                        assert!(place.is_multiple_of(BLOCK_BYTES));
                    }
                    let recorded = Layout::recorded(geometry, layout.frames(), layout.metadata_bytes, bytes);
                    assert_eq!(recorded, Some(layout));
                }
            }
        }
    }

    #[test]
    fn small_devices_hold_a_few_frames_and_too_small_ones_say_what_they_need() {
        let geometry = geometry(2, 65536, 4 << 20);
        assert!(Layout::new(geometry, 16 << 20).expect("room").frames() >= 4);
        let Err(LayoutError::TooSmall { have, need }) = Layout::new(geometry, 1 << 20) else { panic!("too small") };
        assert_eq!(have, 1 << 20);
        assert_eq!(Layout::new(geometry, need).expect("what it asked for").frames(), 1);
        let least = Layout::new(geometry, need).expect("what it asked for");
        assert!(least.device_bytes_min() == need && least.fits(need) && !least.fits(need - 1));
        assert!(Layout::new(geometry, need - 1).is_err());
        assert!(Layout::new(geometry, 0).is_err());
    }

    #[test]
    fn figures_from_a_damaged_superblock_are_refused() {
        let geometry = geometry(2, 65536, 4 << 20);
        for (frames, metadata) in [(0, 1 << 20), (u64::MAX, 1 << 20), (1, u64::MAX), (1, 0), (100, 1 << 20), (1, 4097)]
        {
            assert_eq!(Layout::recorded(geometry, frames, metadata, 16 << 20), None, "{frames} {metadata}");
        }
    }
}
