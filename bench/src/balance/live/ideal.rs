//! The least time that a set can take, from the speeds that calibrations have measured.

use bireme_dataplane::outcome::SetOutcome;

use crate::versus::interval::median;

/// Transfers per second by peer: what each did of a set by the time it had finished, the median over the sets.
pub(super) fn speeds<'a>(sets: impl Iterator<Item = &'a SetOutcome>, peers: u16) -> Result<Vec<f64>, String> {
    let sets: Vec<_> = sets.collect();
    let speed = |peer: usize| {
        let of_set = |set: &&SetOutcome| {
            let (done, finished) = (*set.done.get(peer)?, set.finished.get(peer)?.0);
            (done > 0 && finished > 0).then(|| done as f64 * 1e9 / finished as f64)
        };
        let measured: Vec<f64> = sets.iter().filter_map(of_set).collect();
        match measured.is_empty() {
            true => {
                Err(format!("peer {peer} wrote nothing in the calibration: choose a larger --size or fewer --peers"))
            }
            false => Ok(median(&measured)),
        }
    };
    (0..usize::from(peers)).map(speed).collect()
}

/// By how many percent two measurements of the speeds differ at most.
pub(super) fn difference_percent(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| 100.0 * (one / other - 1.0).abs()).fold(0.0, f64::max)
}

/// Nanoseconds until the last of so many transfers has ended, if no peer is ever idle. With a flip peers 0 and 1 change
/// their speeds when half of the transfers have ended; what is under way goes on at the new speed.
pub(super) fn ideal_ns(transfers: u64, speeds: &[f64], flips: bool) -> f64 {
    let mut speeds = speeds.to_vec();
    let mut next: Vec<f64> = speeds.iter().map(|speed| 1.0 / speed).collect();
    let mut now = 0.0;
    for ended in 0..transfers {
        if flips && speeds.len() > 1 && ended == transfers / 2 {
            let rest = [0, 1].map(|peer| (next[peer] - now) * speeds[peer]);
            speeds.swap(0, 1);
            (0..2).for_each(|peer| next[peer] = now + rest[peer] / speeds[peer]);
        }
        let first = (0..next.len()).min_by(|&a, &b| next[a].total_cmp(&next[b])).unwrap_or(0);
        now = next[first];
        next[first] += 1.0 / speeds[first];
    }
    now * 1e9
}

#[cfg(test)]
mod tests {
    use bireme_control::units::Nanos;

    use super::*;

    #[test]
    fn the_ideal_is_the_integer_optimum() {
        #[rustfmt::skip]
        let cases = [
            // why,                                    transfers, speeds,            flips, seconds
            ("equal peers",                            10,        &[1.0, 1.0][..],   false, 5.0),
            ("an odd one is whole",                    11,        &[1.0, 1.0],       false, 6.0),
            ("four to one",                            100,       &[4.0, 1.0],       false, 20.0),
            ("the slow one would end it too late",     101,       &[4.0, 1.0],       false, 20.25),
            ("three peers",                            70,        &[1.0, 2.0, 4.0],  false, 10.0),
            ("one peer",                               3,         &[2.0],            false, 1.5),
            ("nothing",                                0,         &[2.0, 1.0],       false, 0.0),
            ("a flip leaves the sum as it is",         100,       &[4.0, 1.0],       true,  20.0),
            ("what is under way goes on faster",       2,         &[4.0, 1.0],       true,  0.4375),
        ];
        for (why, transfers, speeds, flips, seconds) in cases {
            let got = ideal_ns(transfers, speeds, flips) / 1e9;
            assert!((got - seconds).abs() < 1e-6, "{why}: {got}");
        }
    }

    #[test]
    fn speeds_are_medians_over_the_sets() {
        let set = |done: [u64; 2], millis: [u64; 2]| SetOutcome {
            done: done.to_vec(),
            finished: millis.map(Nanos::from_millis).to_vec(),
            ..SetOutcome::default()
        };
        let sets = [set([8, 2], [1000, 1000]), set([8, 2], [2000, 500]), set([9, 3], [3000, 1000])];
        assert_eq!(speeds(sets.iter(), 2), Ok(vec![4.0, 3.0]));
        let idle = speeds([set([8, 0], [1000, 0])].iter(), 2).expect_err("peer 1 has done nothing");
        assert!(idle.contains("peer 1 wrote nothing"), "{idle}");
        assert!(speeds(sets.iter(), 3).is_err());
        assert!((difference_percent(&[1.0, 2.0], &[1.0, 1.9]) - 5.263).abs() < 0.001);
    }
}
