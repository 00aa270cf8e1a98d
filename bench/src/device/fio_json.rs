//! The report in the form of fio's JSON (`--output-format=json+`), for the programs that read it; what fio has no place for
//! lies under the one key `bireme`.
//!
//! The names, units and shapes are those of fio 3.33: `bw` in whole KiB/s, `bw_bytes` in B/s, runtimes in ms, latencies in
//! ns, CPU in percent of the runtime, job options as strings. Bins are the middles of our buckets.

use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::Latencies;
use serde_json::{Map, Value, json};

use super::Measured;
use crate::recording::recorder::Direction;
use crate::recording::series::Moment;
use crate::size;

/// The whole report; `own` is what lies under `bireme`.
pub(super) fn report(measured: &Measured<'_>, own: Value) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    json!({
        "fio version": "fio-3.33",
        "timestamp": now.as_secs(),
        "timestamp_ms": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        "time": measured.environment.time,
        "global options": {},
        "jobs": [job(measured)],
        "disk_util": disk_util(measured),
        "bireme": own,
    })
}

/// The reports of several jobs as one: that of the first, with the jobs of all, and what is our own as a list.
pub(super) fn together(reports: Vec<Value>) -> Value {
    // Sweeps have no form of fio: they are what they are in our part, and have no entry in fio's list.
    let jobs: Vec<Value> = reports.iter().filter_map(|report| report["jobs"].as_array().cloned()).flatten().collect();
    let own: Vec<Value> = reports.iter().map(|report| report.get("bireme").unwrap_or(report).clone()).collect();
    let mut all = reports.into_iter().find(|report| report.get("bireme").is_some()).unwrap_or_else(|| json!({}));
    all["jobs"] = Value::Array(jobs);
    all["bireme"] = json!({ "kind": "device-jobs", "jobs": own });
    all
}

fn job(measured: &Measured<'_>) -> Value {
    let elapsed = measured.series.elapsed();
    let total = &measured.series.total;
    let percent = |time: Nanos| time.0 as f64 * 100.0 / elapsed.0.max(1) as f64;
    let mut job = json!({
        "jobname": measured.options.name,
        "groupid": 0,
        "error": 0,
        "eta": 0,
        "elapsed": elapsed.0.div_ceil(1_000_000_000).max(1),
        "job options": options(measured),
        "sync": sync(&total.flushes),
        "job_runtime": elapsed.0 / 1_000_000,
        "usr_cpu": percent(measured.ran.usage.user),
        "sys_cpu": percent(measured.ran.usage.system),
        "ctx": measured.ran.usage.switches,
        "majf": measured.ran.usage.major_faults,
        "minf": measured.ran.usage.minor_faults,
        "iodepth_level": depth_level(measured.series.mean_depth()),
        "iodepth_submit": batches(measured),
        "iodepth_complete": batches(measured),
    });
    let object = job.as_object_mut().expect("an object was written");
    for direction in Direction::ALL {
        object.insert(direction.name().to_owned(), one_direction(measured, direction));
    }
    let mut all = Latencies::new();
    Direction::ALL.iter().for_each(|&direction| all.merge(measured.series.latencies(direction)));
    for (name, value) in distribution(&all) {
        object.insert(name.to_owned(), value);
    }
    for (name, value) in [("latency_depth", json!(measured.load.depth)), ("latency_target", json!(0))] {
        object.insert(name.to_owned(), value);
    }
    object.insert("latency_percentile".to_owned(), json!(100.0));
    object.insert("latency_window".to_owned(), json!(0));
    job
}

/// All values are strings, and always there, as readers expect.
fn options(measured: &Measured<'_>) -> Value {
    let (options, load) = (measured.options, measured.load);
    let names: Vec<String> = options.devices.iter().map(|path| path.display().to_string()).collect();
    let sizes: Vec<String> = load.sizes.iter().map(|(bytes, _)| bytes.to_string()).collect();
    let bytes: u64 = measured.facts.iter().map(|device| device.bytes).sum();
    json!({
        "name": options.name,
        "filename": names.join(":"),
        "rw": options.rw.name(),
        "rwmixread": load.mix.reads.to_string(),
        "bs": sizes.join(","),
        "iodepth": load.depth.to_string(),
        "numjobs": options.peers.to_string(),
        "size": bytes.to_string(),
        "runtime": (options.runtime.0 / 1_000_000_000).to_string(),
        "time_based": "1",
        "ioengine": "io_uring",
        "direct": "1",
        "group_reporting": "1",
    })
}

fn one_direction(measured: &Measured<'_>, direction: Direction) -> Value {
    let elapsed = measured.series.elapsed();
    let figures = &measured.series.total.directions[direction as usize];
    let (count, bytes) = (figures.service.count(), figures.bytes);
    // A direction that did not occur has no runtime either.
    let elapsed = if count == 0 { Nanos::ZERO } else { elapsed };
    let rate = |amount| if elapsed == Nanos::ZERO { 0.0 } else { size::rate(amount, elapsed) };
    let each = |value: fn(&Moment, u64, u64) -> f64| -> Vec<f64> {
        let moments = measured.series.moments.iter().filter(|moment| moment.elapsed() > Nanos::ZERO);
        let share = |moment: &Moment| {
            let own = moment.directions().find(|(own, _)| *own == direction).map_or(0, |(_, all)| all.count);
            value(moment, own, moment.all().max(1))
        };
        moments.map(share).collect()
    };
    let iops = Samples::of(&each(|moment, own, _| size::rate(own, moment.elapsed())));
    let bw = Samples::of(&each(|moment, own, all| {
        size::rate(moment.bytes, moment.elapsed()) / 1024.0 * own as f64 / all as f64
    }));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are positive and far below 2^64"
    )]
    let whole = |rate: f64| rate as u64;
    json!({
        "io_bytes": bytes,
        "io_kbytes": bytes >> 10,
        "bw_bytes": whole(rate(bytes)),
        "bw": whole(rate(bytes) / 1024.0),
        "iops": rate(count),
        "runtime": elapsed.0 / 1_000_000,
        "total_ios": count,
        "short_ios": 0,
        "drop_ios": 0,
        "slat_ns": latency(&Latencies::new(), false),
        "clat_ns": latency(&figures.service, true),
        "lat_ns": latency(figures.latencies(), false),
        "bw_min": whole(bw.min),
        "bw_max": whole(bw.max),
        "bw_agg": if count == 0 { 0.0 } else { 100.0 },
        "bw_mean": bw.mean,
        "bw_dev": bw.deviation,
        "bw_samples": bw.count,
        "iops_min": whole(iops.min),
        "iops_max": whole(iops.max),
        "iops_mean": iops.mean,
        "iops_stddev": iops.deviation,
        "iops_samples": iops.count,
    })
}

/// fio gives percentiles and bins for one of its latencies.
fn latency(latencies: &Latencies, full: bool) -> Value {
    let mut value = json!({
        "min": latencies.min(),
        "max": latencies.max(),
        "mean": latencies.sum().0 as f64 / latencies.count().max(1) as f64,
        "stddev": latencies.stddev(),
        "N": latencies.count(),
    });
    if full && latencies.count() > 0 {
        let percentile = |per_100_000: &u32| {
            let name = format!("{}.{:03}000", per_100_000 / 1000, per_100_000 % 1000);
            (name, json!(latencies.percentile(*per_100_000)))
        };
        let percentiles: Map<String, Value> = PERCENTILES.iter().map(percentile).collect();
        let bins: Map<String, Value> =
            latencies.counts().map(|(middle, count)| (middle.0.to_string(), json!(count))).collect();
        let object = value.as_object_mut().expect("an object was written");
        object.insert("percentile".to_owned(), Value::Object(percentiles));
        object.insert("bins".to_owned(), Value::Object(bins));
    }
    value
}

fn sync(flushes: &Latencies) -> Value {
    json!({ "lat_ns": latency(flushes, true), "total_ios": flushes.count() })
}

/// The shares of latencies up to each of fio's bounds, in percent, by unit.
fn distribution(all: &Latencies) -> Vec<(&'static str, Value)> {
    let bounds: Vec<u64> = UNITS.iter().flat_map(|(_, bounds)| bounds.iter().map(|&(_, bound)| bound)).collect();
    let mut counts = vec![0; bounds.len()];
    for (middle, count) in all.counts() {
        counts[bounds.partition_point(|&bound| bound < middle.0)] += count;
    }
    let mut shares = counts.iter().map(|&count| count as f64 * 100.0 / all.count().max(1) as f64);
    let unit = |(name, bounds): &(&'static str, Bounds)| {
        let each = bounds.iter().zip(shares.by_ref()).map(|((label, _), share)| ((*label).to_owned(), json!(share)));
        (*name, Value::Object(each.collect()))
    };
    UNITS.iter().map(unit).collect()
}

/// fio counts how often which depth was met; here it is the mean.
fn depth_level(mean: f64) -> Value {
    spread(&["1", "2", "4", "8", "16", "32", ">=64"], mean)
}

fn batches(measured: &Measured<'_>) -> Value {
    let total = &measured.series.total;
    let mean = total.operations() as f64 / total.submissions.max(1) as f64;
    spread(&["0", "4", "8", "16", "32", "64", ">=64"], mean)
}

/// All in the last class whose bound the mean reaches.
fn spread(classes: &[&str], mean: f64) -> Value {
    let bound = |class: &str| class.trim_start_matches(">=").parse::<f64>().unwrap_or(0.0);
    let own = classes.iter().rposition(|class| mean.round() >= bound(class)).unwrap_or(0);
    let each = |(index, class): (usize, &&str)| ((*class).to_owned(), json!(if index == own { 100.0 } else { 0.0 }));
    Value::Object(classes.iter().enumerate().map(each).collect())
}

fn disk_util(measured: &Measured<'_>) -> Vec<Value> {
    let name =
        |path: &std::path::Path| path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    measured.facts.iter().map(|device| json!({ "name": name(&device.path) })).collect()
}

/// The least, the most, the mean and the standard deviation of a series.
struct Samples {
    min: f64,
    max: f64,
    mean: f64,
    deviation: f64,
    count: usize,
}

impl Samples {
    fn of(values: &[f64]) -> Samples {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        Samples {
            min: if count == 0 { 0.0 } else { min },
            max: values.iter().copied().fold(0.0, f64::max),
            mean,
            deviation,
            count,
        }
    }
}

/// Those that fio gives by itself, in thousandths of a percent.
const PERCENTILES: [u32; 17] = [
    1_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000, 80_000, 90_000, 95_000, 99_000, 99_500,
    99_900, 99_950, 99_990,
];

type Bounds = &'static [(&'static str, u64)];
const UNITS: [(&str, Bounds); 3] = [
    (
        "latency_ns",
        &[
            ("2", 2),
            ("4", 4),
            ("10", 10),
            ("20", 20),
            ("50", 50),
            ("100", 100),
            ("250", 250),
            ("500", 500),
            ("750", 750),
            ("1000", 1000),
        ],
    ),
    (
        "latency_us",
        &[
            ("2", 2_000),
            ("4", 4_000),
            ("10", 10_000),
            ("20", 20_000),
            ("50", 50_000),
            ("100", 100_000),
            ("250", 250_000),
            ("500", 500_000),
            ("750", 750_000),
            ("1000", 1_000_000),
        ],
    ),
    (
        "latency_ms",
        &[
            ("2", 2_000_000),
            ("4", 4_000_000),
            ("10", 10_000_000),
            ("20", 20_000_000),
            ("50", 50_000_000),
            ("100", 100_000_000),
            ("250", 250_000_000),
            ("500", 500_000_000),
            ("750", 750_000_000),
            ("1000", 1_000_000_000),
            ("2000", 2_000_000_000),
            (">=2000", u64::MAX),
        ],
    ),
];
