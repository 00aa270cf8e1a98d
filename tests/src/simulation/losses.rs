//! Disks that die: how many, from when on, and what becomes of them; and the levels that survive it.

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_dataplane::port::simulated::Random;

use super::life::{Moment, pick};

/// A disk that dies in a boot: one of those whose loss the array survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// From when on its steps are counted.
    pub moment: Moment,
    /// So many steps later.
    pub steps: u64,
    /// It was only absent, and may answer again in a later boot, with what it held.
    pub returns: bool,
}

impl Loss {
    /// A loss at any time.
    pub fn draw(r: &mut Random) -> Loss {
        let moment = match r.below(10) {
            0 | 1 => Moment::Opening,
            2 | 3 => Moment::Running,
            4 | 5 => Moment::Prepared(few(r)),
            6 | 7 => Moment::Committing(few(r)),
            8 => Moment::Committed(few(r)),
            _ => Moment::Closing,
        };
        // A commit has a few dozen steps, a boot some hundreds.
        let doubled = if let Moment::Committing(_) = moment { r.below(5) } else { r.below(9) };
        Loss { moment, steps: 1 + r.below(1 << doubled), returns: r.below(3) == 0 }
    }

    /// None, one or two.
    pub fn draw_some(r: &mut Random) -> Vec<Loss> {
        let count = [0, 0, 0, 1, 1, 1, 1, 2, 2][pick(r, 9)];
        (0..count).map(|_| Loss::draw(r)).collect()
    }
}

fn few(r: &mut Random) -> u32 {
    u32::try_from(r.below(3)).expect("small")
}

/// How many members a level promises to do without.
pub fn promised(level: Level) -> usize {
    match level {
        Level::Raid0 => 0,
        Level::Raid1 | Level::Raid10 | Level::Raid5 | Level::Raid50 { .. } => 1,
        Level::Raid6 | Level::Raid60 { .. } => 2,
    }
}

/// A shape with redundancy.
pub fn draw_shape(r: &mut Random, long: bool) -> Geometry {
    let (level, members) = LEVELS[pick(r, LEVELS.len() as u64)];
    let chunk = 4096 << if long { 0 } else { r.below(3) };
    let stripe = Geometry::new(level, members, chunk, 4096).expect("a usable shape").stripe_bytes();
    let stripes = if long { 1 } else { 1 + r.below(3) };
    // The last block of a page is at times not used.
    let page = u64::from(stripe) * stripes - 4096 * r.below(2) * u64::from(stripe > 4096);
    Geometry::new(level, members, chunk, page).expect("a usable shape")
}

const LEVELS: [(Level, usize); 12] = [
    (Level::Raid1, 2),
    (Level::Raid1, 3),
    (Level::Raid10, 4),
    (Level::Raid10, 3),
    (Level::Raid5, 3),
    (Level::Raid5, 4),
    (Level::Raid5, 5),
    (Level::Raid6, 4),
    (Level::Raid6, 5),
    (Level::Raid6, 6),
    (Level::Raid50 { groups: 2 }, 6),
    (Level::Raid60 { groups: 2 }, 8),
];
