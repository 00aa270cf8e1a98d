//! Figures of merit, from what a run has left.

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;
use serde::Serialize;

use super::record::{Ended, Record};

/// How far from their shares backlogged classes were: of each window the class that was furthest off, and the mean of
/// that over all windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Isolation {
    /// In windows of 10 ms.
    pub ms10: f64,
    /// In windows of 100 ms.
    pub ms100: f64,
    /// In windows of a second.
    pub ms1000: f64,
    /// Over the whole run.
    pub run: f64,
}

/// What shares are parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// What the link carries, which is the same all the time.
    Link,
    /// What all classes got together in the window: a device is not equally fast all the time, and that is no class's fault.
    Delivered,
}

/// A distribution, exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: u64,
    /// One of a hundred was slower.
    pub p99: u64,
    /// One of a thousand was slower.
    pub p99_9: u64,
    /// The slowest.
    pub max: u64,
    /// How many there were.
    pub count: usize,
}

/// How long a class that came back waited for its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapBack {
    /// On average.
    pub mean: Nanos,
    /// At worst.
    pub max: Nanos,
}

/// The error of each window size, in percent of what each class is entitled to, in bytes per second.
pub fn isolation(record: &Record, entitled: &[(ClassId, f64)], against: Against) -> Isolation {
    let whole = record.until - record.from;
    let [ms10, ms100, ms1000, run] = [10, 100, 1000]
        .map(Nanos::from_millis)
        .into_iter()
        .chain([whole])
        .map(|window| worst(record, entitled, window.min(whole), against))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_default();
    Isolation { ms10, ms100, ms1000, run }
}

/// What one request more or less is to the class that it is most to, in percent.
pub fn one_request(entitled: &[(ClassId, f64)], bytes: u64, run: Nanos) -> Isolation {
    let least = entitled.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    let percent = |window: Nanos| 100.0 * bytes as f64 * 1e9 / (least * window.0 as f64);
    let [ms10, ms100, ms1000] = [10, 100, 1000].map(|millis| percent(Nanos::from_millis(millis)));
    Isolation { ms10, ms100, ms1000, run: percent(run) }
}

fn worst(record: &Record, entitled: &[(ClassId, f64)], window: Nanos, against: Against) -> f64 {
    let windows = usize::try_from((record.until - record.from).0 / window.0.max(1)).unwrap_or(0);
    let highest = entitled.iter().map(|(class, _)| class.index()).max().unwrap_or(0);
    let mut place = vec![None; highest + 1];
    entitled.iter().enumerate().for_each(|(at, (class, _))| place[class.index()] = Some(at));
    let mut got = vec![0u64; windows * entitled.len()];
    for ended in &record.ended {
        let index = usize::try_from(ended.at.since(record.from).0 / window.0.max(1)).unwrap_or(usize::MAX);
        let place = place.get(ended.class.index()).copied().flatten();
        if let Some(place) = place.filter(|_| index < windows) {
            got[index * entitled.len() + place] += ended.bytes;
        }
    }
    let all: f64 = entitled.iter().map(|(_, rate)| rate).sum();
    let furthest = |got: &[u64]| {
        let delivered = got.iter().sum::<u64>() as f64;
        let rate_of_all = match against {
            Against::Link => 1.0,
            // Where nothing was delivered each class lacks all of its share.
            Against::Delivered if delivered == 0.0 => 1.0,
            Against::Delivered => delivered * 1e9 / window.0 as f64 / all,
        };
        let error = |(got, (_, rate)): (&u64, &(ClassId, f64))| {
            let due = rate * rate_of_all * window.0 as f64 / 1e9;
            (*got as f64 / due - 1.0).abs()
        };
        got.iter().zip(entitled).map(error).fold(0.0, f64::max)
    };
    let sum: f64 = got.chunks(entitled.len().max(1)).map(furthest).sum();
    100.0 * sum / windows.max(1) as f64
}

/// From asking to the end, of one class.
pub fn latencies(ended: &[Ended], class: ClassId) -> Quantiles {
    quantiles(ended.iter().filter(|ended| ended.class == class))
}

/// From asking to the end, of all.
pub fn all_latencies(ended: &[Ended]) -> Quantiles {
    quantiles(ended.iter())
}

fn quantiles<'a>(ended: impl Iterator<Item = &'a Ended>) -> Quantiles {
    let mut latencies: Vec<u64> = ended.map(|ended| ended.at.since(ended.arrived).0).collect();
    latencies.sort_unstable();
    let count = latencies.len();
    // The least value that so many of a thousand do not exceed.
    let quantile = |permille: usize| {
        latencies.get((count * permille).div_ceil(1000).saturating_sub(1)).copied().unwrap_or_default()
    };
    Quantiles { p50: quantile(500), p99: quantile(990), p99_9: quantile(999), max: quantile(1000), count }
}

/// A class has its share back where [`IN_A_ROW`] of its requests end at least as fast as at 95 % of its share, a part of
/// the link's rate, or of what all classes got meanwhile; the time from its return to the start of the first such row. One that does not get there before it leaves again counts with the
/// whole time until its last request ended. `None` when it never came back.
pub fn snap_back(record: &Record, class: ClassId, share: f64, link: f64, against: Against) -> Option<SnapBack> {
    let ends: Vec<&Ended> = record.ended.iter().filter(|ended| ended.class == class).collect();
    let mut times = Vec::new();
    // The last return is cut off by the end of the run.
    for pair in record.returns.windows(2) {
        let (from, until) = (pair[0], pair[1]);
        let first = ends.partition_point(|ended| ended.at < from);
        let last = ends.partition_point(|ended| ended.at < until);
        times.push(back_after(from, &ends[first..last], |from, until| {
            share * delivered(record, link, against, from, until)
        }));
    }
    let sum: u64 = times.iter().map(|time| time.0).sum();
    let mean = Nanos(sum.checked_div(times.len() as u64)?);
    Some(SnapBack { mean, max: times.into_iter().fold(Nanos::ZERO, Nanos::max) })
}

/// What all classes together get in a time, in bytes.
fn delivered(record: &Record, link: f64, against: Against, from: Nanos, until: Nanos) -> f64 {
    match against {
        Against::Link => link * until.since(from).0 as f64 / 1e9,
        Against::Delivered => {
            let [first, last] = [from, until].map(|time| record.ended.partition_point(|ended| ended.at <= time));
            record.ended[first..last].iter().map(|ended| ended.bytes as f64).sum()
        }
    }
}

fn back_after(from: Nanos, ends: &[&Ended], due: impl Fn(Nanos, Nanos) -> f64) -> Nanos {
    let mut begin = from;
    for row in ends.windows(IN_A_ROW) {
        let bytes: u64 = row.iter().map(|ended| ended.bytes).sum();
        if bytes as f64 >= 0.95 * due(begin, row[IN_A_ROW - 1].at) {
            return begin.since(from);
        }
        begin = row[0].at;
    }
    ends.last().map_or(Nanos::ZERO, |last| last.at.since(from))
}

/// Requests of a row.
pub const IN_A_ROW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(class: u16, bytes: u64, arrived: u64, at: u64) -> Ended {
        let [arrived, at] = [arrived, at].map(Nanos::from_millis);
        Ended { class: ClassId(class), bytes, arrived, at }
    }

    #[test]
    fn the_class_that_is_furthest_off_counts_in_each_window() {
        // 100 bytes per 100 ms are due to each. The first window has 150 and 50, the second 100 and 120.
        let all = [(0, 150, 10), (1, 50, 99), (0, 100, 100), (1, 60, 150), (1, 60, 199)];
        let record = Record {
            until: Nanos::from_millis(200),
            ended: all.map(|(class, bytes, at)| ended(class, bytes, 0, at)).to_vec(),
            ..Record::default()
        };
        let found = isolation(&record, &[(ClassId(0), 1000.0), (ClassId(1), 1000.0)], Against::Link);
        assert!((found.ms100 - (50.0 + 20.0) / 2.0).abs() < 1e-9, "{found:?}");
        assert!((found.run - 25.0).abs() < 1e-9, "250 of 200 and 170 of 200: {found:?}");
        assert_eq!(found.ms1000, found.run, "a window is not longer than the run");
        // The second window has 220 for both: 110 each.
        let found = isolation(&record, &[(ClassId(0), 1000.0), (ClassId(1), 1000.0)], Against::Delivered);
        assert!((found.ms100 - (50.0 + 100.0 / 11.0) / 2.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let all: Vec<Ended> = (1..=1000u16).map(|millis| ended(millis % 2, 1, 0, millis.into())).collect();
        let found = latencies(&all, ClassId(0));
        let [p50, p99, max] = [500, 990, 1000].map(|millis| Nanos::from_millis(millis).0);
        assert_eq!(found, Quantiles { p50, p99, p99_9: max, max, count: 500 });
        assert_eq!(latencies(&all, ClassId(7)), Quantiles::default());
    }

    #[test]
    fn a_share_is_back_when_a_row_of_requests_is_as_fast_as_it() {
        // Due: a request of 100 bytes each 100 ms. From 1 s on there is one each 300 ms, from 1.9 s on one each 100 ms.
        let slow = (1..=3).map(|index| ended(0, 100, 0, 1000 + 300 * index));
        let fast = (1..=10).map(|index| ended(0, 100, 0, 1900 + 100 * index));
        let record = Record {
            until: Nanos::from_secs(9),
            ended: slow.chain(fast).collect(),
            returns: [1, 5].map(Nanos::from_secs).to_vec(),
            ..Record::default()
        };
        let back = snap_back(&record, ClassId(0), 1.0, 1000.0, Against::Link).expect("it came back");
        assert_eq!(back, SnapBack { mean: Nanos::from_millis(900), max: Nanos::from_millis(900) });
        let back = snap_back(&record, ClassId(0), 1.0, 3000.0, Against::Link).expect("it came back");
        assert_eq!(back.max, Nanos::from_millis(1900), "never: all of its time");
        assert_eq!(snap_back(&record, ClassId(0), 0.1, 1000.0, Against::Link).map(|back| back.max), Some(Nanos::ZERO));
        // Alone on the link it has all that is delivered, however slow that is.
        let alone = snap_back(&record, ClassId(0), 1.0, 3000.0, Against::Delivered);
        assert_eq!(alone.map(|back| back.max), Some(Nanos::ZERO));
        // With as much of another one beside each of its own it has half, and that is all that is due to a half.
        let beside = record.ended.iter().flat_map(|own| [*own, Ended { class: ClassId(1), ..*own }]).collect();
        let shared = Record { ended: beside, ..record };
        let of = |share| snap_back(&shared, ClassId(0), share, 3000.0, Against::Delivered).map(|back| back.max);
        assert_eq!((of(0.5), of(0.75)), (Some(Nanos::ZERO), Some(Nanos::from_millis(1900))));
        assert_eq!(snap_back(&Record::default(), ClassId(0), 1.0, 1.0, Against::Link), None);
    }
}
