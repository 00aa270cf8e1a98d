//! Makespans for people and for programs; `bench/docs/json.md` explains the latter.

use bireme_dataplane::telemetry::Latencies;
use serde_json::{Value, json};

use super::Plan;
use super::rounds::{Comparison, Row, RunFigures, SetFigures};
use crate::balance::arguments::print_minimum;
use crate::environment::Environment;
use crate::report::Columns;
use crate::size;
use crate::versus::interval::median;

impl Comparison {
    /// As text and as JSON.
    pub(super) fn print(&self, plan: &Plan, environment: &Environment) -> (String, Value) {
        (self.to_table(plan, environment), self.to_json(plan, environment))
    }

    fn to_table(&self, plan: &Plan, environment: &Environment) -> String {
        let mut text = describe(plan) + &self.describe_calibrations(plan);
        let headings = [
            "Over the ideal, %",
            "cold",
            "median",
            "worst",
            "lost %",
            "idle %",
            "messages",
            "hand-overs",
            "repeats",
            "won",
        ];
        let mut columns = Columns::new(&headings);
        let mut fixed: Vec<String> = vec!["fixed (calibrations)".to_owned()];
        let calibrated: Vec<SetFigures> = self.calibrations.iter().flat_map(|one| one.sets.clone()).collect();
        let over: Vec<f64> = calibrated.iter().map(|set| set.over_percent).collect();
        fixed.extend([
            String::new(),
            percent(median(&over)),
            percent(worst(&over)),
            percent(lost(&calibrated)),
            idle(plan, &calibrated),
        ]);
        columns.row(fixed);
        for row in &self.rows {
            let (over, sets) = (row.over_by_set(), row.sets());
            let later = later(&over);
            let mean = |count: fn(&RunFigures) -> u64| format!("{:.1}", row.mean_per_set(count));
            columns.row(vec![
                row.contender.name().to_owned(),
                percent(over[0]),
                percent(median(later)),
                percent(worst(later)),
                percent(row.lost_percent()),
                idle(plan, &sets),
                mean(|run| run.messages),
                mean(|run| run.hand_overs),
                mean(|run| run.repeats),
                mean(|run| run.repeats_won),
            ]);
        }
        text += &columns.print();
        text += "Cold is the first set, median and worst are of all later ones; lost is what the peers could have written\n\
                 while they idled before the end of these, which no noise of the machine changes; idle is by peer; messages,\n\
                 hand-overs, repeats and those that were first (won) are per set\n\n";
        text += &self.by_set(plan);
        text.push('\n');
        text += &hand_over_table(self.rows.iter().map(|row| (row.contender.name(), row.round_trip())));
        text += &format!("\n{}, Linux {}, {}\n", environment.cpu, environment.kernel, environment.time);
        text
    }

    fn describe_calibrations(&self, plan: &Plan) -> String {
        let mut text = String::new();
        for (round, one) in (1..).zip(&self.calibrations) {
            let speeds: Vec<_> = one.speeds.iter().map(|speed| size::print_rate(speed * plan.page as f64)).collect();
            let ideal = one.ideal_ns / 1e6;
            text += &format!("Round {round}: peers write {}; ideal {ideal:.1} ms", speeds.join(", "));
            text += &match one.difference_percent {
                differ if differ > DIFFERENCE_MAX => format!(
                    "; the speeds before and after differ by {differ:.1} %, and so uncertain is the ideal: quiet the machine\n"
                ),
                _ => "\n".to_owned(),
            };
        }
        text + "\n"
    }

    /// Every set of every strategy; over several rounds the median.
    fn by_set(&self, plan: &Plan) -> String {
        let name = |set: u32| if plan.flip == Some(set) { format!("{set} (flip)") } else { set.to_string() };
        let headings: Vec<_> = std::iter::once("Over by set, %".to_owned()).chain((1..=plan.sets).map(name)).collect();
        let mut columns = Columns::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
        for row in &self.rows {
            let cells = row.over_by_set().into_iter().map(percent);
            columns.row(std::iter::once(row.contender.name().to_owned()).chain(cells).collect());
        }
        columns.print()
    }

    fn to_json(&self, plan: &Plan, environment: &Environment) -> Value {
        let strategy = |row: &Row| {
            let (over, round_trip) = (row.over_by_set(), row.round_trip());
            json!({
                "strategy": row.contender.name(),
                "over_percent": { "cold": over[0], "median": median(later(&over)), "worst": worst(later(&over)) },
                "over_percent_by_set": over,
                "lost_percent": row.lost_percent(),
                "idle_percent": idle_percent(plan, &row.sets()),
                "messages_per_set": row.mean_per_set(|run| run.messages),
                "hand_overs_per_set": row.mean_per_set(|run| run.hand_overs),
                "repeats_per_set": row.mean_per_set(|run| run.repeats),
                "repeats_won_per_set": row.mean_per_set(|run| run.repeats_won),
                "round_trip_ns": round_trip,
                "round_trips": histogram(&round_trip),
                "rounds": row.runs,
            })
        };
        json!({
            "kind": "balance-live",
            "arguments": arguments(plan),
            "calibrations": self.calibrations,
            "strategies": self.rows.iter().map(strategy).collect::<Vec<_>>(),
            "environment": environment,
        })
    }
}

impl Row {
    /// The median over the rounds, set by set.
    fn over_by_set(&self) -> Vec<f64> {
        let sets = self.runs.iter().map(|run| run.sets.len()).min().unwrap_or(0);
        let of_set = |set: usize| self.runs.iter().map(|run| run.sets[set].over_percent).collect::<Vec<_>>();
        (0..sets).map(|set| median(&of_set(set))).collect()
    }

    fn sets(&self) -> Vec<SetFigures> {
        self.runs.iter().flat_map(|run| run.sets.clone()).collect()
    }

    /// The median over all later sets of all rounds.
    fn lost_percent(&self) -> f64 {
        let all: Vec<SetFigures> = self.runs.iter().flat_map(|run| later(&run.sets).to_vec()).collect();
        lost(&all)
    }

    fn mean_per_set(&self, count: fn(&RunFigures) -> u64) -> f64 {
        let sets: usize = self.runs.iter().map(|run| run.sets.len()).sum();
        self.runs.iter().map(count).sum::<u64>() as f64 / sets.max(1) as f64
    }

    fn round_trip(&self) -> Latencies {
        let mut all = Latencies::new();
        self.runs.iter().for_each(|run| all.merge(&run.round_trip));
        all
    }
}

/// What was measured, in a line or two.
pub(super) fn describe(plan: &Plan) -> String {
    let devices: Vec<_> = plan.devices.iter().map(|path| path.display().to_string()).collect();
    let mut text = format!(
        "Measured: {} sets of {} transfers of {} by {} peers on {}\n",
        plan.sets,
        plan.transfers(),
        size::print(plan.page),
        plan.peers,
        devices.join(" ")
    );
    let limit = |(peer, limit): (usize, &Option<u64>)| {
        limit.map(|bytes| format!("peer {peer} to {}", size::print_rate(bytes as f64)))
    };
    let list = |limits: &[Option<u64>]| limits.iter().enumerate().filter_map(limit).collect::<Vec<_>>().join(", ");
    if plan.rates.iter().any(Option::is_some) {
        text += &format!("Held back: {}\n", list(&plan.rates));
    }
    if plan.caps.iter().any(Option::is_some) {
        text += &format!("Capped on {}: {}\n", plan.capped_device.display(), list(&plan.caps));
    }
    if let Some(peer) = plan.rival_of {
        text += &format!("A process competes for the core of {peer}\n");
    }
    text
}

pub(super) fn arguments(plan: &Plan) -> Value {
    let limits = |limits: &[Option<u64>]| {
        (0..usize::from(plan.peers)).map(|peer| limits.get(peer).copied().flatten()).collect::<Vec<_>>()
    };
    json!({
        "devices": plan.devices.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "bytes": plan.bytes,
        "page_bytes": plan.page,
        "transfers": plan.transfers(),
        "sets": plan.sets,
        "peers": plan.peers,
        "depth": plan.depth,
        "slot_bytes": plan.slot,
        "minimum": print_minimum(plan.minimum),
        "increment": plan.increment,
        "rates_bytes_per_s": limits(&plan.rates),
        "caps_bytes_per_s": limits(&plan.caps),
        "capped_device": plan.capped_device.display().to_string(),
        "rival_of": plan.rival_of,
        "flip": plan.flip,
        "rounds": plan.rounds,
        "pairs": plan.pairs,
    })
}

/// How long hand-overs took: some percentiles, and how many fell between powers of two.
pub(super) fn hand_over_table<'a>(rows: impl Iterator<Item = (&'a str, Latencies)>) -> String {
    let mut columns = Columns::new(&["Hand-over, us", "asks", "p50", "p99", "max", "up to: how many"]);
    for (name, times) in rows.filter(|(_, times)| times.count() > 0) {
        let micros = |nanos: u64| format!("{:.1}", nanos as f64 / 1e3);
        let count = |(up_to, count): &(u64, u64)| format!("{}: {count}", micros(*up_to));
        columns.row(vec![
            name.to_owned(),
            times.count().to_string(),
            micros(times.percentile(50_000).0),
            micros(times.percentile(99_000).0),
            micros(times.max().0),
            counts(&times).iter().map(count).collect::<Vec<_>>().join(", "),
        ]);
    }
    columns.print()
}

/// The same for programs.
pub(super) fn histogram(times: &Latencies) -> Value {
    counts(times).iter().map(|(up_to, count)| json!({ "up_to_ns": up_to, "count": count })).collect()
}

/// How many took up to 1.024, 2.048 .. microseconds, and more than what is named before; without empty ones.
fn counts(times: &Latencies) -> Vec<(u64, u64)> {
    let steps = times.to_hdrhistogram();
    let steps = steps.iter_log(1024, 2.0).map(|step| (step.value_iterated_to() + 1, step.count_since_last_iteration()));
    steps.filter(|&(_, count)| count > 0).collect()
}

/// All but the first; the first if it is the only one.
fn later<T>(sets: &[T]) -> &[T] {
    if sets.len() > 1 { &sets[1..] } else { sets }
}

fn worst(over: &[f64]) -> f64 {
    over.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn lost(sets: &[SetFigures]) -> f64 {
    median(&sets.iter().map(|set| set.lost_percent).collect::<Vec<_>>())
}

fn percent(value: f64) -> String {
    format!("{value:.2}")
}

/// Of the makespans, by peer.
fn idle_percent(plan: &Plan, sets: &[SetFigures]) -> Vec<f64> {
    let makespans = sets.iter().map(|set| set.makespan_ns).sum::<u64>().max(1) as f64;
    let idle = |peer: usize| sets.iter().filter_map(|set| set.idle_ns.get(peer)).sum::<u64>() as f64;
    (0..usize::from(plan.peers)).map(|peer| 100.0 * idle(peer) / makespans).collect()
}

fn idle(plan: &Plan, sets: &[SetFigures]) -> String {
    let by_peer: Vec<_> = idle_percent(plan, sets).into_iter().map(|idle| format!("{idle:.1}")).collect();
    by_peer.join("/")
}

/// Percent by which calibrations may differ before the report says so.
const DIFFERENCE_MAX: f64 = 3.0;
