//! What a link can do, and how much must be in flight for that, from a few short measurements.
//!
//! ```text
//!   in flight   1    2    4    8   16        rates rise up to the knee, and from there on only times do
//!   rate       40   78  142  180  181        ─▶ 181, at a window of 8
//! ```
//!
//! A link that gives no more for more in flight from the start, and has some requests wait many times as long as the others,
//! does not work off a queue: it holds back what exceeds a rate of its own, as a throttled device does. Whoever shares it
//! must stay below that rate, or all wait; and the rate that was measured is what it lets through at most.

use super::plan::Capacity;
use crate::units::Nanos;

/// One measurement: so much in flight all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes per second.
    pub bytes_per_s: u64,
    /// Times of requests: the median, and the longest.
    pub p50: Nanos,
    /// The longest.
    pub longest: Nanos,
}

/// What follows from the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the link can do.
    pub capacity: Capacity,
    /// Bytes in flight that are enough for that.
    pub window: u64,
}

/// Judges measurements with rising amounts in flight; `None` without any.
pub fn judge(steps: &[Step]) -> Option<Found> {
    let (first, most) = (steps.first()?, steps.iter().map(|step| step.bytes_per_s).max()?);
    let gains_nothing = first.bytes_per_s >= most - most / SAME;
    if gains_nothing && first.longest.0 >= first.p50.0.saturating_mul(HELD_BACK) && first.longest >= HELD_BACK_LEAST {
        let paced = most - most / BELOW;
        let in_time = u128::from(paced) * u128::from(first.p50.0) / 1_000_000_000;
        let window = u64::try_from(in_time).unwrap_or(u64::MAX).saturating_add(first.in_flight);
        return Some(Found { capacity: Capacity::Paced(paced), window });
    }
    let knee = steps.iter().find(|step| step.bytes_per_s >= most - most / SAME)?;
    Some(Found { capacity: Capacity::Tracked(most), window: knee.in_flight })
}

/// Rates within this part of each other are the same.
const SAME: u64 = 50;
/// Some requests take so many times as long as half of them ...
const HELD_BACK: u64 = 20;
/// ... and at least this long.
const HELD_BACK_LEAST: Nanos = Nanos::from_millis(2);
/// How far below the rate of a device that holds back one has to stay, as a part of it.
const BELOW: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_the_window_and_a_throttle_is_recognised() {
        let step = |in_flight, bytes_per_s, p50_us: u64, longest_us: u64| Step {
            in_flight,
            bytes_per_s,
            p50: Nanos(p50_us * 1000),
            longest: Nanos(longest_us * 1000),
        };
        let queue = [
            step(4, 400, 10, 90),
            step(8, 780, 10, 300),
            step(16, 1400, 11, 90),
            step(32, 1500, 21, 80),
            step(64, 1510, 42, 99),
        ];
        assert_eq!(judge(&queue), Some(Found { capacity: Capacity::Tracked(1510), window: 32 }));
        let (mib, slice) = (1 << 20, 98_000);
        let throttled = [step(65536, 100 * mib, 200, slice), step(131_072, 100 * mib, 300, slice)];
        let rate = 100 * mib - 100 * mib / BELOW;
        let window = 65536 + rate / 5000;
        assert_eq!(judge(&throttled), Some(Found { capacity: Capacity::Paced(rate), window }));
        let slow = [step(65536, 100, 200, 900), step(131_072, 100, 400, 990)];
        assert_eq!(
            judge(&slow),
            Some(Found { capacity: Capacity::Tracked(100), window: 65536 }),
            "one request at a time"
        );
        assert_eq!(judge(&[]), None);
    }
}
