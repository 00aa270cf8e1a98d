//! What is about to be written, and whether there is room for it: asked before the first write.

use bireme_control::raid::geometry::Geometry;

use super::error::PoolError;

/// What is about to be written into a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes of one set.
    pub bytes: u64,
    /// How many such sets, one after the other.
    pub sets: u32,
}

impl Load {
    /// The first set goes beside what is there, and each further one beside the one before.
    pub(super) fn check(self, geometry: Geometry, free: u64, total: u64) -> Result<(), PoolError> {
        let pages = self.bytes.div_ceil(u64::from(geometry.page_bytes()));
        let frame_bytes = u64::from(geometry.frame_member_bytes()) * u64::from(geometry.members());
        let bytes = |frames: u64| frames.saturating_mul(frame_bytes);
        let no_room = |what, need, free| {
            let (need, free, total) = (bytes(need), bytes(free), bytes(total));
            Err(PoolError::NoRoom { what, need, free, total })
        };
        if self.sets > 0 && pages > free {
            return no_room("the set needs", pages, free);
        }
        if self.sets > 1 && pages.saturating_mul(2) > total {
            return no_room("two sets, one beside the other, need", pages.saturating_mul(2), total);
        }
        Ok(())
    }
}
