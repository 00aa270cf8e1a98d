//! What is drawn from a seed before anything happens.

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::units::Nanos;
use bireme_dataplane::port::simulated::Random;
use bireme_dataplane::volume::home::Options;

/// A volume's life.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Level, members, chunk and page.
    pub geometry: Geometry,
    /// Pages of the volume.
    pub pages: u64,
    /// How many homes.
    pub homes: u16,
    /// How they are sized.
    pub options: Options,
    /// One opening after the other.
    pub episodes: Vec<Episode>,
}

/// One opening of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Operations of the clients.
    pub operations: u64,
    /// So many at a time.
    pub depth: usize,
    /// What happens meanwhile.
    pub event: Event,
    /// So many steps after the homes began.
    pub steps: u64,
    /// A step in which the power fails; it is settled otherwise.
    pub power_off: Option<u64>,
    /// Members without data are replaced by blank devices first, and filled while the clients go on.
    pub rebuild: bool,
    /// All pages are scrubbed while the clients go on.
    pub scrub: bool,
}

/// What happens in an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing.
    Nothing,
    /// A member dies, if the array survives it.
    Death,
    /// A member is gone for a while: it dies, and answers again at the next opening, with what it held.
    Absence,
    /// So many blocks rot before the homes begin, if nothing is lost.
    Rot(u64),
}

impl Plan {
    /// The life of a seed.
    pub fn draw(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x766f_6c75);
        let r = &mut random;
        let (level, members) = LEVELS[pick(r, LEVELS.len())];
        let chunk = 4096 << r.below(3);
        let stripe = Geometry::new(level, members, chunk, 4096).expect("a usable shape").stripe_bytes();
        let page = u64::from(stripe) * (1 + r.below(3)) - 4096 * r.below(2) * u64::from(stripe > 4096);
        let geometry = Geometry::new(level, members, chunk, page).expect("a usable shape");
        let options = Options {
            operations: [2, 4, 16][pick(r, 3)],
            operation_bytes: [4096, 16 << 10, 64 << 10][pick(r, 3)],
            pages: [2, 3, 8][pick(r, 3)],
            request_bytes: [4096, 16 << 10, 512 << 10][pick(r, 3)],
            hang_limit: Nanos::from_secs(10),
        };
        let count = 2 + r.below(4);
        let episodes = (0..count).map(|_| Episode::draw(r)).collect();
        Plan { geometry, pages: 1 + r.below(6), homes: 1 + u16::from(r.below(2) == 0), options, episodes }
    }
}

impl Episode {
    fn draw(r: &mut Random) -> Episode {
        let event = match r.below(8) {
            0..=2 => Event::Death,
            3 => Event::Absence,
            4 | 5 => Event::Rot(1 + r.below(6)),
            _ => Event::Nothing,
        };
        let doubled = r.below(9);
        Episode {
            operations: 1 + r.below(60),
            depth: [1, 3, 12][pick(r, 3)],
            event,
            steps: 1 + r.below(1 << doubled),
            power_off: (r.below(5) < 2).then(|| 1 + r.below(1 << (doubled + 1))),
            rebuild: r.below(2) == 0,
            scrub: r.below(3) == 0,
        }
    }
}

pub(super) fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).expect("an index")
}

const LEVELS: [(Level, usize); 12] = [
    (Level::Raid0, 2),
    (Level::Raid1, 2),
    (Level::Raid1, 3),
    (Level::Raid10, 4),
    (Level::Raid10, 3),
    (Level::Raid5, 3),
    (Level::Raid5, 4),
    (Level::Raid5, 5),
    (Level::Raid6, 4),
    (Level::Raid6, 6),
    (Level::Raid50 { groups: 2 }, 6),
    (Level::Raid60 { groups: 2 }, 8),
];
