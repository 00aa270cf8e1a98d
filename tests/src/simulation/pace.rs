//! How fast one peer is beside the others: its thread, its requests, and the rate that it is held back to.

use bireme_control::units::Nanos;
use bireme_dataplane::port::simulated::Random;

use super::life::pick;

/// The speed of one peer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// After a turn its thread is away for up to so long.
    pub away_max: Nanos,
    /// Its requests take so many times as long as others'.
    pub request_times: u64,
    /// Bytes per second at most.
    pub rate: Option<u64>,
    /// After so many turns of a million it is away for up to [`Pace::nap_max`].
    pub naps_per_million: u32,
    /// The longest absence.
    pub nap_max: Nanos,
}

impl Pace {
    /// Never away, and as fast as its devices.
    pub const QUICK: Pace =
        Pace { away_max: Nanos::ZERO, request_times: 1, rate: None, naps_per_million: 0, nap_max: Nanos::ZERO };

    /// One of four is slow in one way or another: up to fifty times. Absences stay well below the limit of a request.
    pub fn draw(r: &mut Random, hang_limit: Nanos) -> Pace {
        let times = [2, 4, 8, 16, 50][pick(r, 5)];
        let slow = [r.below(4) == 0, r.below(4) == 0, r.below(6) == 0];
        Pace {
            away_max: if slow[0] { Nanos(times * 100_000) } else { Nanos::ZERO },
            request_times: if slow[1] { times.min(16) } else { 1 },
            rate: slow[2].then_some((64 << 20) / times),
            naps_per_million: [0, 0, 5_000, 50_000][pick(r, 4)],
            nap_max: Nanos(hang_limit.0 / 8),
        }
    }

    /// For how long its thread is away after a turn.
    pub fn away(&self, r: &mut Random) -> Nanos {
        let nap = if r.chance(self.naps_per_million) { r.below(self.nap_max.0) } else { 0 };
        Nanos(nap + r.below(self.away_max.0))
    }
}
