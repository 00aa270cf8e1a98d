//! The RAID levels, and what each demands of its members.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How chunks are laid over the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Striping without redundancy.
    Raid0,
    /// Every member holds everything.
    Raid1,
    /// Two copies on neighbours, striped: Linux md's near-2.
    Raid10,
    /// One parity per stripe.
    Raid5,
    /// Two parities per stripe.
    Raid6,
    /// Striping over groups, each of them a RAID 5.
    Raid50 {
        /// How many groups.
        groups: u16,
    },
    /// Striping over groups, each of them a RAID 6.
    Raid60 {
        /// How many groups.
        groups: u16,
    },
}

impl Level {
    /// Groups of members with parities of their own; 1 for levels that are not made of groups.
    pub const fn groups(self) -> u16 {
        match self {
            Level::Raid50 { groups } | Level::Raid60 { groups } => groups,
            _ => 1,
        }
    }

    /// Parity chunks per row of a group.
    pub const fn parities(self) -> u16 {
        match self {
            Level::Raid0 | Level::Raid1 | Level::Raid10 => 0,
            Level::Raid5 | Level::Raid50 { .. } => 1,
            Level::Raid6 | Level::Raid60 { .. } => 2,
        }
    }

    /// The fewest members of one group. Fewer would be a mirror that computes a parity: level 1 does that for less.
    pub const fn group_members_min(self) -> u16 {
        match self {
            Level::Raid0 => 1,
            Level::Raid1 | Level::Raid10 => 2,
            Level::Raid5 | Level::Raid50 { .. } => 3,
            Level::Raid6 | Level::Raid60 { .. } => 4,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Raid0 => "RAID 0",
            Level::Raid1 => "RAID 1",
            Level::Raid10 => "RAID 10",
            Level::Raid5 => "RAID 5",
            Level::Raid6 => "RAID 6",
            Level::Raid50 { .. } => "RAID 50",
            Level::Raid60 { .. } => "RAID 60",
        })
    }
}
