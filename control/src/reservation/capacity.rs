//! What a link can do, and how much must be in flight for that, from a few short measurements.
//!
//! ```text
//!   in flight   1    2    4    8   16        rates rise up to the knee, and from there on only times do
//!   rate       40   78  142  180  181        ─▶ 181, at a knee of 8: a window of 16
//! ```
//!
//! At the knee all is on time or something stands still, so the window is twice that, as congestion control has it (BBR:
//! Cardwell, Cheng, Gunn, Yeganeh and Jacobson, 2016); but no more than whoever comes alone can stand.
//!
//! Where a link works off a queue, all that is in flight waits alike. If most requests are quick at the full rate and a few
//! wait for so long that the mean is far above the median, it holds back what exceeds a rate of its own, as a throttled device
//! does. Whoever shares it must stay below that rate, or all wait; and the rate that was measured is what it lets through.

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

impl Step {
    /// The mean of the times, by Little's law: what is in flight passes once in it.
    fn mean(&self) -> Nanos {
        let time = u128::from(self.in_flight) * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
        Nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }

    fn holds_back(&self) -> bool {
        self.mean().0 >= self.p50.0.saturating_mul(HELD_BACK) && self.longest >= HELD_BACK_LEAST
    }
}

/// Judges measurements with rising amounts in flight; `None` without any.
pub fn judge(steps: &[Step]) -> Option<Found> {
    let (first, most) = (steps.first()?, steps.iter().map(|step| step.bytes_per_s).max()?);
    let is_full = |part: u64| move |step: &&Step| step.bytes_per_s >= most - most / part;
    if steps.iter().filter(is_full(ABOUT)).any(Step::holds_back) {
        // What passes between two slices of its time differs; the last measurement is the longest.
        let rate = steps.last()?.bytes_per_s;
        let paced = rate - rate / BELOW;
        let in_time = u128::from(paced) * u128::from(first.p50.0) / 1_000_000_000;
        // It is the pace that keeps what waits at the link short; the window is for when the link is slower than it was.
        let window = u64::try_from(in_time).unwrap_or(u64::MAX).saturating_mul(ROUND_TRIPS);
        let window = window.saturating_add(2 * first.in_flight);
        return Some(Found { capacity: Capacity::Paced(paced), window });
    }
    // What gains a little more and makes all wait for many times as long is no knee.
    let quick = |step: &&Step| step.p50.0 <= first.p50.0.saturating_mul(QUEUED);
    let most = steps.iter().filter(quick).map(|step| step.bytes_per_s).max()?;
    let knee = steps.iter().filter(quick).find(|step| step.bytes_per_s >= most - most / SAME)?;
    let window =
        steps.iter().filter(quick).map(|step| step.in_flight).filter(|&bytes| bytes <= 2 * knee.in_flight).max()?;
    Some(Found { capacity: Capacity::Tracked(most), window })
}

/// Rates within this part of each other are the same ...
const SAME: u64 = 32;
/// ... and within this about the same.
const ABOUT: u64 = 8;
/// More in flight is not tried for where requests take so many times as long as one alone: whoever comes to a full window
/// waits for most of that, and a request alone takes up to three times its median now and then.
const QUEUED: u64 = 6;
/// The mean is so many times the median ...
const HELD_BACK: u64 = 5;
/// ... and some wait at least this long.
const HELD_BACK_LEAST: Nanos = Nanos::from_millis(5);
/// What passes in so many of the times of a request may be in flight, and two requests.
const ROUND_TRIPS: u64 = 8;
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
            step(32, 1480, 21, 80),
            step(64, 1510, 42, 99),
        ];
        assert_eq!(judge(&queue), Some(Found { capacity: Capacity::Tracked(1510), window: 64 }));
        let deep = [queue.as_slice(), &[step(2048, 1700, 400, 900)]].concat();
        let window = |steps: &[Step]| judge(steps).map(|found| found.window);
        assert_eq!((window(&queue), window(&deep)), (Some(64), Some(64)), "a little more, and far slower");
        let slower = [&queue[..4], &[step(64, 1510, 61, 99)]].concat();
        assert_eq!(window(&slower), Some(32), "twice the knee is too slow for who comes alone");
        let (mib, slice, kib) = (1 << 20, 98_000, 1 << 10);
        let rate = 100 * mib - 100 * mib / BELOW;
        let throttled = |request: u64, p50_us| {
            let one = |depth, rate, p50_us| step(depth * request, rate, p50_us, slice);
            judge(&[
                one(1, 90 * mib, p50_us),
                one(2, 104 * mib, p50_us),
                one(32, 98 * mib, 2 * p50_us),
                one(2, 100 * mib, p50_us),
            ])
        };
        for (request, p50_us) in [(4 * kib, 30), (64 * kib, 200), (mib, 200)] {
            let window = 2 * request + rate * p50_us / 1_000_000 * ROUND_TRIPS;
            assert_eq!(
                throttled(request, p50_us),
                Some(Found { capacity: Capacity::Paced(rate), window }),
                "{request}"
            );
        }
        // One request at a time, and somebody else had the core for some milliseconds.
        let slow = [step(65536, 6_000_000, 10_000, 19_000), step(131_072, 6_010_000, 21_000, 29_000)];
        assert_eq!(judge(&slow), Some(Found { capacity: Capacity::Tracked(6_010_000), window: 131_072 }));
        assert_eq!(judge(&[]), None);
    }
}
