//! A few extents in a message: of fixed size, so that it travels through mailboxes without allocation.

use crate::units::Extent;

/// Up to [`EXTENTS_MAX`] extents, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    list: [Extent; EXTENTS_MAX],
    count: u8,
}

impl Extents {
    /// None.
    pub const fn new() -> Extents {
        Extents { list: [Extent::new(0, 0); EXTENTS_MAX], count: 0 }
    }

    /// Adds one; gives it back when there is no room. An empty one needs none.
    pub fn push(&mut self, extent: Extent) -> Result<(), Extent> {
        if extent.is_empty() {
            return Ok(());
        }
        *self.list.get_mut(usize::from(self.count)).ok_or(extent)? = extent;
        self.count += 1;
        Ok(())
    }

    /// They in order.
    pub fn as_slice(&self) -> &[Extent] {
        &self.list[..usize::from(self.count)]
    }

    /// All that is in them.
    pub fn transfers(&self) -> u64 {
        self.as_slice().iter().map(|extent| extent.count).sum()
    }

    /// Nothing in them.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// How many a message holds.
pub const EXTENTS_MAX: usize = 4;
