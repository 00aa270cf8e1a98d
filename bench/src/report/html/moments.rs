//! The intervals of a report, as many as a picture has room for.

use serde_json::Value;

use super::source::{DIRECTIONS, Source};

/// An interval, or several that were put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    /// Seconds from the beginning of the measured time.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) bytes: f64,
    /// By peer.
    pub(super) operations: Vec<f64>,
    /// By peer; empty if the report does not say.
    pub(super) bytes_by_peer: Vec<f64>,
    /// That was mended beside.
    pub(super) mended: f64,
    /// By direction.
    pub(super) latencies: [Option<Spread>; 3],
}

/// Latencies of one interval, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

/// All intervals of a report. The second figure is how many of the report's lie in one of these at most.
pub(super) fn of(source: &Source<'_>) -> (Vec<Moment>, usize) {
    let all: Vec<Moment> = source.list("/intervals").iter().filter_map(read).collect();
    let together = all.len().div_ceil(SHOWN_MAX).max(1);
    (all.chunks(together).map(join).collect(), together)
}

impl Moment {
    pub(super) fn seconds(&self) -> f64 {
        self.to - self.from
    }

    pub(super) fn operations_per_s(&self) -> f64 {
        self.operations.iter().sum::<f64>() / self.seconds()
    }
}

fn read(value: &Value) -> Option<Moment> {
    let seconds = |name: &str| Some(value[name].as_f64()? / 1e9);
    let numbers = |name: &str| value[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let moment = Moment {
        from: seconds("from_ns")?,
        to: seconds("to_ns")?,
        bytes: value["bytes"].as_f64().unwrap_or(0.0),
        operations: numbers("operations"),
        bytes_by_peer: numbers("bytes_by_peer"),
        mended: value["mended_bytes"].as_f64().unwrap_or(0.0),
        latencies: DIRECTIONS.map(|direction| spread(&value[direction])),
    };
    (moment.to > moment.from).then_some(moment)
}

fn spread(all: &Value) -> Option<Spread> {
    let figure = |name: &str| all[name].as_f64();
    Some(Spread {
        p50: figure("p50")?,
        p90: figure("p90")?,
        p99: figure("p99")?,
        p99_9: figure("p99_9")?,
        max: figure("max")?,
    })
}

/// Amounts are added. Of percentiles the highest stands for all, as they cannot be added.
fn join(several: &[Moment]) -> Moment {
    let mut all = several.first().cloned().unwrap_or_default();
    for moment in several.iter().skip(1) {
        all.to = all.to.max(moment.to);
        all.bytes += moment.bytes;
        all.mended += moment.mended;
        all.operations.iter_mut().zip(&moment.operations).for_each(|(sum, own)| *sum += own);
        all.bytes_by_peer.iter_mut().zip(&moment.bytes_by_peer).for_each(|(sum, own)| *sum += own);
        for (mine, theirs) in all.latencies.iter_mut().zip(moment.latencies) {
            *mine = match (*mine, theirs) {
                (Some(a), Some(b)) => Some(Spread {
                    p50: a.p50.max(b.p50),
                    p90: a.p90.max(b.p90),
                    p99: a.p99.max(b.p99),
                    p99_9: a.p99_9.max(b.p99_9),
                    max: a.max.max(b.max),
                }),
                (one, other) => one.or(other),
            };
        }
    }
    all
}

const SHOWN_MAX: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_runs_are_put_together_and_keep_their_sums_and_peaks() {
        let interval = |second: u64| {
            let all = json!({ "p50": 10, "p90": 20, "p99": 30, "p99_9": 40, "max": 100 + second });
            json!({ "from_ns": second * 1_000_000_000, "to_ns": (second + 1) * 1_000_000_000, "bytes": 8,
                    "operations": [1, 2], "bytes_by_peer": [3, 5], "write": all })
        };
        let report = json!({ "bireme": { "intervals": (0..1000).map(interval).collect::<Vec<_>>() } });
        let (moments, together) = of(&Source::new(&report));
        assert_eq!((moments.len(), together), (334, 3));
        let first = &moments[0];
        assert_eq!((first.from, first.to, first.bytes), (0.0, 3.0, 24.0));
        assert_eq!((first.operations.clone(), first.bytes_by_peer.clone()), (vec![3.0, 6.0], vec![9.0, 15.0]));
        assert_eq!(first.latencies[1].map(|all| all.max), Some(102.0));
        assert_eq!((moments[333].seconds(), first.operations_per_s()), (1.0, 3.0));
    }
}
