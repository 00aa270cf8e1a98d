//! A set of members of one array, as the bits of a word.

use std::ops::{BitAnd, BitOr, Sub};

use super::geometry::MEMBERS_MAX;

/// Some of the members of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members(u64);

impl Members {
    /// None.
    pub const NONE: Members = Members(0);

    /// One more.
    ///
    /// # Panics
    /// When no array has so many members.
    #[must_use]
    pub fn with(self, member: u16) -> Members {
        assert!(member < MEMBERS_MAX, "no array has a member {member}");
        Members(self.0 | 1 << member)
    }

    /// Whether a member is in the set.
    pub fn contains(self, member: u16) -> bool {
        member < MEMBERS_MAX && self.0 >> member & 1 == 1
    }

    /// How many.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Nobody.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..MEMBERS_MAX).filter(move |&member| self.contains(member))
    }
}

impl FromIterator<u16> for Members {
    fn from_iter<I: IntoIterator<Item = u16>>(members: I) -> Members {
        members.into_iter().fold(Members::NONE, Members::with)
    }
}

impl BitOr for Members {
    type Output = Members;
    fn bitor(self, other: Members) -> Members {
        Members(self.0 | other.0)
    }
}

impl BitAnd for Members {
    type Output = Members;
    fn bitand(self, other: Members) -> Members {
        Members(self.0 & other.0)
    }
}

impl Sub for Members {
    type Output = Members;
    fn sub(self, other: Members) -> Members {
        Members(self.0 & !other.0)
    }
}

const _: () = assert!(MEMBERS_MAX as u32 <= u64::BITS, "a member has a bit");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_united_cut_and_walked_in_order() {
        let (low, high) = ([0, 3].into_iter().collect::<Members>(), [3, 63].into_iter().collect::<Members>());
        assert_eq!((low | high).iter().collect::<Vec<_>>(), [0, 3, 63]);
        assert_eq!((low & high).iter().collect::<Vec<_>>(), [3]);
        assert_eq!((low - high).iter().collect::<Vec<_>>(), [0]);
        assert!(high.contains(63) && !high.contains(0) && !high.contains(64));
        assert_eq!((low.count(), Members::NONE.is_empty(), low.is_empty()), (2, true, false));
    }
}
