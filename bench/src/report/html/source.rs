//! Where a report keeps what the page shows: under `bireme` beside fio's keys, at the top of our other reports, or in fio's
//! own keys alone. What is not there is not shown.

use serde_json::Value;

use crate::report::curve;

/// A report.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// All of it.
    pub(super) whole: &'a Value,
    /// Our own part; in a report of fio, the report.
    pub(super) own: &'a Value,
}

/// Latencies of one kind, in nanoseconds.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) count: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
}

/// A line of the percentile picture: percentiles and nanoseconds.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl<'a> Source<'a> {
    pub(super) fn new(whole: &'a Value) -> Source<'a> {
        Source { whole, own: whole.get("bireme").filter(|own| own.is_object()).unwrap_or(whole) }
    }

    /// `device`, `array`, `offload`, or nothing.
    pub(super) fn kind(&self) -> &'a str {
        self.own["kind"].as_str().unwrap_or("")
    }

    /// A number of our own part.
    pub(super) fn number(&self, pointer: &str) -> Option<f64> {
        self.own.pointer(pointer).and_then(Value::as_f64)
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&'a str> {
        self.own.pointer(pointer).and_then(Value::as_str)
    }

    pub(super) fn list(&self, pointer: &str) -> &'a [Value] {
        self.own.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// fio's jobs.
    pub(super) fn jobs(&self) -> &'a [Value] {
        self.whole["jobs"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Operations per second: our own figure, or the sum of fio's.
    pub(super) fn operations_per_s(&self) -> Option<f64> {
        self.number("/operations_per_s").or_else(|| self.sum("iops"))
    }

    pub(super) fn bytes_per_s(&self) -> Option<f64> {
        self.number("/throughput_bytes_per_s").or_else(|| self.sum("bw_bytes"))
    }

    fn sum(&self, field: &str) -> Option<f64> {
        let each = self.jobs().iter().flat_map(|job| DIRECTIONS.map(|direction| &job[direction][field]));
        let sum: f64 = each.filter_map(Value::as_f64).sum();
        (sum > 0.0).then_some(sum)
    }

    /// All latencies that the report has, those first that its users would have seen.
    pub(super) fn latencies(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for direction in DIRECTIONS {
            let all = &self.own["directions"][direction];
            rows.extend(row(format!("{direction}, response"), &all["response_ns"]));
            rows.extend(row(format!("{direction}, service"), &all["service_ns"]));
        }
        for (kind, name) in OPERATIONS {
            rows.extend(row(name.to_owned(), &self.own["operation"][kind]["latency_ns"]));
        }
        rows.extend(row("request".to_owned(), &self.own["latency_ns"]));
        rows.extend(row("flush".to_owned(), &self.own["flush_ns"]));
        if rows.is_empty() {
            for job in self.jobs() {
                let name = job["jobname"].as_str().unwrap_or("job");
                rows.extend(DIRECTIONS.iter().filter_map(|direction| of_fio(name, direction, &job[*direction])));
            }
        }
        rows
    }

    /// The distributions: our curves, or fio's bins or percentiles.
    pub(super) fn curves(&self) -> Vec<Curve> {
        let mut curves = Vec::new();
        for direction in DIRECTIONS {
            for kind in ["response", "service"] {
                let points = pairs(&self.own["directions"][direction][format!("{kind}_curve")]);
                curves.push(Curve { name: format!("{direction}, {kind}"), points });
            }
        }
        for (kind, name) in OPERATIONS {
            curves.push(Curve { name: name.to_owned(), points: pairs(&self.own["operation"][kind]["curve"]) });
        }
        curves.push(Curve { name: "request".to_owned(), points: pairs(&self.own["latency_curve"]) });
        if curves.iter().all(|curve| curve.points.is_empty()) {
            for job in self.jobs() {
                let name = job["jobname"].as_str().unwrap_or("job");
                for direction in DIRECTIONS {
                    let points = fio_curve(&job[direction]["clat_ns"]);
                    curves.push(Curve { name: format!("{name}, {direction}"), points });
                }
            }
        }
        curves.retain(|curve| curve.points.len() > 1);
        curves.truncate(CURVES_MAX);
        curves
    }
}

fn row(name: String, all: &Value) -> Option<Row> {
    let figure = |name: &str| all[name].as_f64();
    Some(Row {
        name,
        count: figure("count").filter(|count| *count > 0.0)?,
        p50: figure("p50")?,
        p90: figure("p90")?,
        p99: figure("p99")?,
        p99_9: figure("p99_9")?,
        max: figure("max")?,
        mean: figure("mean")?,
    })
}

fn of_fio(job: &str, direction: &str, all: &Value) -> Option<Row> {
    let clat = &all["clat_ns"];
    let percentile = |name: &str| clat["percentile"][name].as_f64();
    Some(Row {
        name: format!("{job}, {direction}"),
        count: clat["N"].as_f64().or_else(|| all["total_ios"].as_f64()).filter(|count| *count > 0.0)?,
        p50: percentile("50.000000")?,
        p90: percentile("90.000000")?,
        p99: percentile("99.000000")?,
        p99_9: percentile("99.900000")?,
        max: clat["max"].as_f64()?,
        mean: clat["mean"].as_f64()?,
    })
}

fn pairs(value: &Value) -> Vec<(f64, f64)> {
    let pair = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_f64()?));
    value.as_array().into_iter().flatten().filter_map(pair).collect()
}

fn fio_curve(clat: &Value) -> Vec<(f64, f64)> {
    let numbers = |object: &str| clat[object].as_object().into_iter().flatten();
    let mut bins: Vec<(u64, u64)> =
        numbers("bins").filter_map(|(value, count)| Some((value.parse().ok()?, count.as_u64()?))).collect();
    bins.sort_unstable();
    if !bins.is_empty() {
        return curve(&bins).into_iter().map(|(percentile, value)| (percentile, value as f64)).collect();
    }
    let known = numbers("percentile").filter_map(|(name, value)| Some((name.parse().ok()?, value.as_f64()?)));
    let mut points: Vec<(f64, f64)> = known.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// As fio and we name them.
pub(super) const DIRECTIONS: [&str; 3] = ["read", "write", "trim"];
/// As reports of volumes name them, and as people do.
const OPERATIONS: [(&str, &str); 3] = [("reads", "read"), ("writes", "write"), ("flushes", "flush")];
/// So many lines can be told apart.
pub(super) const CURVES_MAX: usize = 8;
