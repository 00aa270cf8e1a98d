//! What the device can do with such requests, and how many must be in flight for that: a ladder of short runs.

use bireme_control::reservation::capacity::{Found, Step, judge};
use bireme_control::reservation::plan::Capacity;
use bireme_control::units::Nanos;
use serde::Serialize;

use crate::reserve::record::Record;
use crate::reserve::{Scenario, figures};

/// What was found.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Bytes per second at most.
    pub rate: u64,
    /// What the classes share.
    pub capacity: Capacity,
    /// Bytes in flight that are enough.
    pub window: u64,
    /// What was measured.
    pub steps: Vec<Rung>,
}

/// One short run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rung {
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes per second.
    pub bytes_per_s: u64,
    /// The median of the times of requests.
    pub p50_ns: Nanos,
    /// The longest.
    pub max_ns: Nanos,
}

impl Calibration {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Calibration {
        Calibration { rate: RATE_MAX, capacity: Capacity::Unknown, window: u64::MAX, steps: Vec::new() }
    }

    /// In a sentence.
    pub fn describe(&self) -> String {
        let print = crate::size::print_rate;
        let window = crate::size::print(self.window);
        match self.capacity {
            Capacity::Unknown => "nothing is known of the device".to_owned(),
            Capacity::Paced(rate) => format!(
                "{} at most, shared at {} as it holds back what exceeds its rate; {window} in flight are enough",
                print(self.rate as f64),
                print(rate as f64)
            ),
            Capacity::Tracked(_) => format!(
                "{} at most, which is followed while it changes; {window} in flight are enough",
                print(self.rate as f64)
            ),
        }
    }
}

/// Climbs until more in flight gains nothing; `run` measures with so many requests in flight.
pub(super) fn calibrate(
    scenario: &Scenario,
    mut run: impl FnMut(&Scenario, usize) -> Result<Record, String>,
) -> Result<Calibration, String> {
    let mut step = |depth: usize, runtime: Nanos| {
        let scenario = Scenario { runtime, link: RATE_MAX, ..scenario.clone() };
        let record = run(&scenario, depth)?;
        let times = figures::all_latencies(&record.ended);
        Ok::<_, String>(Step {
            in_flight: depth as u64 * scenario.request,
            bytes_per_s: slope(&record),
            p50: Nanos(times.p50),
            longest: Nanos(times.max),
        })
    };
    let mut steps: Vec<Step> = Vec::new();
    for depth in (0..).map(|power| 1usize << power).take_while(|&depth| depth <= DEPTH_MAX) {
        // The one in the middle: one that was disturbed, or lucky, would be taken for the knee.
        let mut tries = (0..TRIES).map(|_| step(depth, STEP_TIME)).collect::<Result<Vec<_>, _>>()?;
        tries.sort_unstable_by_key(|step| step.bytes_per_s);
        steps.push(tries[TRIES / 2]);
        let gained = |pair: &[Step]| pair[1].bytes_per_s > pair[0].bytes_per_s + pair[0].bytes_per_s / 50;
        if steps.len() >= 4 && !steps[steps.len() - 3..].windows(2).any(gained) {
            break;
        }
    }
    let mut found = judge(&steps).ok_or("the device has done nothing")?;
    if let Capacity::Paced(_) = found.capacity {
        // Its rate is what matters then, over several of its time slices.
        let long = step(2, LONG_TIME)?;
        steps.push(long);
        found = judge(&steps).unwrap_or(found);
    }
    let Found { capacity, window } = found;
    let rate = match capacity {
        Capacity::Paced(_) => steps.last().map(|step| step.bytes_per_s),
        _ => steps.iter().map(|step| step.bytes_per_s).max(),
    };
    let rung = |step: &Step| Rung {
        in_flight: step.in_flight,
        bytes_per_s: step.bytes_per_s,
        p50_ns: step.p50,
        max_ns: step.longest,
    };
    Ok(Calibration { rate: rate.unwrap_or(1).max(1), capacity, window, steps: steps.iter().map(rung).collect() })
}

/// Bytes per second as the slope of the line through what had ended at each point in time (least squares): where requests
/// pass in groups, it does not depend on whether the last group is in.
fn slope(record: &Record) -> u64 {
    let Some(first) = record.ended.first() else { return 0 };
    let (mut count, mut x, mut y, mut xx, mut xy, mut bytes) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for ended in &record.ended {
        let at = ended.at.since(first.at).0 as f64 / 1e9;
        bytes += ended.bytes as f64;
        count += 1.0;
        (x, y, xx, xy) = (x + at, y + bytes, xx + at * at, xy + at * bytes);
    }
    let spread = count * xx - x * x;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of a device; of one request 0")]
    let slope = if spread > 0.0 { ((count * xy - x * y) / spread).max(0.0) as u64 } else { 0 };
    slope
}

const DEPTH_MAX: usize = 256;
/// Long enough for three time slices of a throttled device.
const STEP_TIME: Nanos = Nanos::from_millis(300);
const TRIES: usize = 3;
const LONG_TIME: Nanos = Nanos::from_secs(2);
/// Faster than any device: how much room a record needs.
const RATE_MAX: u64 = 16 << 30;

#[cfg(test)]
mod tests {
    use bireme_control::reservation::ClassId;

    use super::*;
    use crate::reserve::record::Ended;

    #[test]
    fn the_rate_of_requests_that_pass_in_groups_is_seen() {
        // Ten of 1 MiB at the start of each tenth of a second: 100 MiB/s, wherever the run ends.
        for groups in 5..=20 {
            let ended = (0..groups * 10u64).map(|index| Ended {
                class: ClassId(0),
                bytes: 1 << 20,
                arrived: Nanos::ZERO,
                at: Nanos::from_millis(index / 10 * 100) + Nanos(index % 10 * 300_000),
            });
            let record = Record { ended: ended.collect(), ..Record::default() };
            let rate = slope(&record) as f64 / (100 << 20) as f64;
            assert!((rate - 1.0).abs() < 0.05, "{groups} groups: {rate}");
        }
        assert_eq!(slope(&Record::default()), 0);
    }
}
