//! Several runs with rising rates: what latency costs what rate.
//!
//! ```text
//!   closed loop ─▶ the most that the devices give
//!   --sweep N          open loop at 1/N, 2/N .. N/N of that ─▶ knee
//!   --latency-target   open loop, bisected ─▶ the highest rate that keeps to the target
//! ```
//!
//! The knee is where the power of the system, its rate divided by its mean response time, is greatest (Kleinrock, "Power and
//! deterministic rules of thumb for probabilistic problems in computer communications", 1979).

use bireme_control::units::Nanos;
use serde::Serialize;
use serde_json::{Value, json};

use super::options::{Spread, Target};
use super::verdict::KEPT;
use super::{Options, measure};
use crate::recording::recorder::Direction;
use crate::report::Columns;
use crate::size;

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Probe {
    /// Arrivals per second that were asked for; `None` for the closed loop.
    asked_per_s: Option<f64>,
    achieved_per_s: f64,
    throughput_bytes_per_s: f64,
    /// Response times in the open loop, service times in the closed one; of the slowest direction.
    p50_ns: Nanos,
    p99_ns: Nanos,
    p99_9_ns: Nanos,
    mean_ns: Nanos,
    verdict: String,
    interrupted: bool,
}

impl Probe {
    /// Whether the schedule was kept.
    fn kept(&self) -> bool {
        self.asked_per_s.is_none_or(|asked| self.achieved_per_s >= asked * KEPT)
    }

    fn meets(&self, target: Target) -> bool {
        let latency = match target.per_100_000 {
            50_000 => self.p50_ns,
            99_000 => self.p99_ns,
            _ => self.p99_9_ns,
        };
        self.kept() && latency <= target.limit
    }

    /// Rate by mean response time.
    fn power(&self) -> f64 {
        self.achieved_per_s / self.mean_ns.0.max(1) as f64
    }
}

/// What all runs together have shown.
#[derive(Debug)]
struct Swept {
    probes: Vec<Probe>,
    /// The place of the one that answers the question, if one does.
    best: Option<usize>,
}

/// Runs as often as is needed, and returns the table and the JSON.
///
/// # Errors
/// A sentence for the operator.
pub(super) fn run(options: &Options) -> Result<(String, Value), String> {
    let of_one_run = [&options.recording.hlog, &options.recording.hgrm, &options.recording.intervals, &options.journal];
    if of_one_run.into_iter().any(Option::is_some) {
        return Err("--sweep and --latency-target make several runs: leave out what one run writes into a file (--hlog, --hgrm, \
                    --intervals, --journal)"
            .to_owned());
    }
    let mut base = options.clone();
    (base.sweep, base.latency_target) = (None, None);
    let probe = |rate: Option<f64>| -> Result<Probe, String> {
        base.arrival_rate = rate;
        let (_, json) = measure(&base)?;
        // What the devices hold now is ours.
        base.destroy_data = true;
        let probe = read(&json["bireme"], rate)?;
        eprintln!("{}", line(&probe));
        Ok(probe)
    };
    let swept = match options.latency_target {
        Some(target) => search(target, probe)?,
        None => climb(options.sweep.unwrap_or(STEPS), probe)?,
    };
    Ok((to_table(options, &swept), to_json(options, &swept)))
}

/// Rates in equal steps up to what the closed loop has reached.
fn climb(steps: u32, mut probe: impl FnMut(Option<f64>) -> Result<Probe, String>) -> Result<Swept, String> {
    let closed = probe(None)?;
    let most = closed.achieved_per_s;
    let mut probes = vec![closed];
    for step in 1..=steps {
        if probes.last().is_some_and(|last| last.interrupted) {
            break;
        }
        probes.push(probe(Some(most * f64::from(step) / f64::from(steps)))?);
    }
    let open = probes.iter().enumerate().skip(1).filter(|(_, probe)| probe.kept());
    let best = open.max_by(|(_, a), (_, b)| a.power().total_cmp(&b.power())).map(|(place, _)| place);
    Ok(Swept { probes, best })
}

/// The highest rate that keeps to the target, to within a fiftieth of what the closed loop has reached.
fn search(target: Target, mut probe: impl FnMut(Option<f64>) -> Result<Probe, String>) -> Result<Swept, String> {
    let closed = probe(None)?;
    let most = closed.achieved_per_s;
    let mut probes = vec![closed];
    let (mut low, mut high, mut best) = (0.0, most, None);
    while high - low > most * RESOLUTION && !probes.last().is_some_and(|last| last.interrupted) {
        let rate = f64::midpoint(low, high);
        let one = probe(Some(rate))?;
        if one.meets(target) {
            (low, best) = (rate, Some(probes.len()));
        } else {
            high = rate;
        }
        probes.push(one);
    }
    Ok(Swept { probes, best })
}

fn read(own: &Value, asked_per_s: Option<f64>) -> Result<Probe, String> {
    let rate = |name: &str| own[name].as_f64().ok_or_else(|| format!("the run's report lacks {name}"));
    let latencies: Vec<&Value> = Direction::ALL
        .iter()
        .map(|direction| &own["directions"][direction.name()])
        .filter(|direction| !direction.is_null())
        .map(
            |direction| {
                if direction["response_ns"].is_null() { &direction["service_ns"] } else { &direction["response_ns"] }
            },
        )
        .collect();
    let slowest = |name: &str| Nanos(latencies.iter().filter_map(|all| all[name].as_u64()).max().unwrap_or(0));
    Ok(Probe {
        asked_per_s,
        achieved_per_s: rate("operations_per_s")?,
        throughput_bytes_per_s: rate("throughput_bytes_per_s")?,
        p50_ns: slowest("p50"),
        p99_ns: slowest("p99"),
        p99_9_ns: slowest("p99_9"),
        mean_ns: slowest("mean"),
        verdict: own["verdict"].as_str().unwrap_or_default().to_owned(),
        interrupted: own["interrupted"].as_bool().unwrap_or(false),
    })
}

fn line(probe: &Probe) -> String {
    let asked = probe.asked_per_s.map_or("closed loop".to_owned(), |rate| format!("{rate:.0} asked"));
    format!("{asked}: {:.0} operations/s, p50 {}, p99 {}", probe.achieved_per_s, probe.p50_ns, probe.p99_ns)
}

fn to_table(options: &Options, swept: &Swept) -> String {
    let arrivals = if options.arrivals == Spread::Poisson { "Poisson" } else { "constant" };
    let mut columns = Columns::new(&["Asked per s", "achieved", "rate", "p50", "p99", "p99.9", "mean", "schedule"]);
    for (place, probe) in swept.probes.iter().enumerate() {
        let mark = if swept.best == Some(place) { " <" } else { "" };
        columns.row(vec![
            probe.asked_per_s.map_or("closed loop".to_owned(), |rate| format!("{rate:.0}{mark}")),
            format!("{:.0}", probe.achieved_per_s),
            size::print_rate(probe.throughput_bytes_per_s),
            probe.p50_ns.to_string(),
            probe.p99_ns.to_string(),
            probe.p99_9_ns.to_string(),
            probe.mean_ns.to_string(),
            match (probe.asked_per_s, probe.kept()) {
                (None, _) => "-".to_owned(),
                (_, true) => "kept".to_owned(),
                (_, false) => "missed".to_owned(),
            },
        ]);
    }
    let best = swept.best.map(|place| &swept.probes[place]);
    let answer = match (options.latency_target, best) {
        (Some(target), Some(best)) => format!(
            "{:.0} per second is the highest rate with {}; the closed loop reached {:.0}",
            best.achieved_per_s,
            target.describe(),
            swept.probes[0].achieved_per_s
        ),
        (Some(target), None) => {
            format!("no rate was found with {}: the device takes longer by itself", target.describe())
        }
        (None, Some(best)) => format!(
            "the knee is at {:.0} per second: beyond it response times grow faster than the rate (p99 {})",
            best.achieved_per_s, best.p99_ns
        ),
        (None, None) => "no schedule was kept, so there is no knee to name".to_owned(),
    };
    let stopped = if swept.probes.iter().any(|probe| probe.interrupted) { "  interrupted by a signal\n" } else { "" };
    format!(
        "{}: {arrivals} arrivals, {} a run\n  {answer}\n{stopped}\n{}\nLatencies are response times, from the intended start; of the closed loop, service times\n",
        options.rw.name(),
        options.runtime,
        columns.print()
    )
}

fn to_json(options: &Options, swept: &Swept) -> Value {
    json!({
        "kind": if options.latency_target.is_some() { "latency target" } else { "sweep" },
        "name": options.name,
        "rw": options.rw.name(),
        "runtime_ns": options.runtime,
        "target": options.latency_target,
        "runs": swept.probes,
        "best": swept.best,
        "best_per_s": swept.best.map(|place| swept.probes[place].achieved_per_s),
    })
}

/// Steps of a sweep without a number.
pub(super) const STEPS: u32 = 10;
const RESOLUTION: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with one queue (M/M/1) that takes 100 us: the mean response time is 1 / (most - rate).
    #[expect(clippy::unnecessary_wraps, reason = "the shape of a probe")]
    fn queue(rate: Option<f64>) -> Result<Probe, String> {
        const MOST: f64 = 10_000.0;
        let achieved = rate.unwrap_or(MOST).min(MOST * 0.999);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        let at = |quantile: f64| Nanos((1e9 / (MOST - achieved) * -(1.0 - quantile).ln()) as u64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
        let mean = Nanos((1e9 / (MOST - achieved)) as u64);
        Ok(Probe {
            asked_per_s: rate,
            achieved_per_s: achieved,
            throughput_bytes_per_s: achieved * 4096.0,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            mean_ns: mean,
            verdict: String::new(),
            interrupted: false,
        })
    }

    #[test]
    fn the_knee_of_a_single_queue_is_at_half_its_rate() {
        let swept = climb(10, queue).expect("a queue");
        assert_eq!(swept.probes.len(), 11);
        let knee = &swept.probes[swept.best.expect("a knee")];
        assert!((knee.achieved_per_s - 4995.0).abs() < 1.0, "{}", knee.achieved_per_s);
    }

    #[test]
    fn the_search_finds_the_rate_that_the_formula_gives() {
        // p99 = 4.605 / (most - rate): 1 ms is kept up to 10,000 - 4605.
        let target = Target { per_100_000: 99_000, limit: Nanos::from_millis(1) };
        let swept = search(target, queue).expect("a queue");
        let best = swept.probes[swept.best.expect("a rate")].achieved_per_s;
        assert!((5395.0 - 200.0..=5395.0).contains(&best), "{best}");
        assert!(swept.probes.len() < 10);
        let impossible = Target { limit: Nanos(1000), ..target };
        assert_eq!(search(impossible, queue).expect("a queue").best, None);
    }
}
