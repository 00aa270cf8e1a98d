//! Which level an array has, as it is written on the command line.

use bireme_control::raid::geometry::Level;
use clap::{Args, ValueEnum};

/// `--raid` and `--groups`.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raid {
    /// How the data is spread and protected: 0 stripes, 1 and 10 mirror, 5 and 6 have one and two parities per stripe, 50
    /// and 60 stripe over groups of those.
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "0")]
    pub raid: Number,
    /// Groups of RAID 50 and 60, each with parities of its own. Default: 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    pub groups: Option<u16>,
}

/// The levels by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Number {
    /// Striping without redundancy.
    #[value(name = "0", alias = "raid0")]
    Raid0,
    /// Every device holds everything.
    #[value(name = "1", alias = "raid1")]
    Raid1,
    /// Two copies, striped.
    #[value(name = "10", alias = "raid10")]
    Raid10,
    /// One parity.
    #[value(name = "5", alias = "raid5")]
    Raid5,
    /// Two parities.
    #[value(name = "6", alias = "raid6")]
    Raid6,
    /// Striped groups with one parity each.
    #[value(name = "50", alias = "raid50")]
    Raid50,
    /// Striped groups with two parities each.
    #[value(name = "60", alias = "raid60")]
    Raid60,
}

impl Raid {
    /// The level.
    ///
    /// # Errors
    /// A sentence, when groups are named that the level does not have.
    pub fn level(self) -> Result<Level, String> {
        let groups = self.groups.unwrap_or(GROUPS);
        let level = match self.raid {
            Number::Raid0 => Level::Raid0,
            Number::Raid1 => Level::Raid1,
            Number::Raid10 => Level::Raid10,
            Number::Raid5 => Level::Raid5,
            Number::Raid6 => Level::Raid6,
            Number::Raid50 => Level::Raid50 { groups },
            Number::Raid60 => Level::Raid60 { groups },
        };
        match (self.groups, level) {
            (None, _) | (_, Level::Raid50 { .. } | Level::Raid60 { .. }) => Ok(level),
            _ => Err(format!("{level} has no groups: leave --groups out, or choose --raid 50 or 60")),
        }
    }
}

const GROUPS: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_belong_to_levels_that_have_them() {
        let level = |raid, groups| Raid { raid, groups }.level();
        assert_eq!(level(Number::Raid5, None), Ok(Level::Raid5));
        assert_eq!(level(Number::Raid50, None), Ok(Level::Raid50 { groups: 2 }));
        assert_eq!(level(Number::Raid60, Some(3)), Ok(Level::Raid60 { groups: 3 }));
        let refused = level(Number::Raid6, Some(2)).expect_err("refused");
        assert!(refused.starts_with("RAID 6 has no groups"), "{refused}");
    }
}
