//! What a strategy costs in use: its throughput against another's, pair by pair.

use bireme_control::units::Nanos;
use bireme_dataplane::outcome::Outcome;
use bireme_dataplane::telemetry::Latencies;
use serde::Serialize;
use serde_json::{Value, json};

use super::Plan;
use super::report::{arguments, describe, hand_over_table, histogram};
use super::run::{How, Stage};
use crate::environment::Environment;
use crate::report::Columns;
use crate::size;
use crate::versus::interval::{interval, median, verdict};

/// All pairs of runs of two strategies.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    pairs: Vec<Pair>,
    round_trips: [Latencies; 2],
}

/// One run of each.
#[derive(Clone, Copy, Debug, Serialize)]
struct Pair {
    bytes: u64,
    /// Until the last set was durable, of the first strategy and of the second.
    elapsed_ns: [Nanos; 2],
    /// The first one's throughput divided by the second one's.
    ratio: f64,
}

/// Runs both in turn.
pub(super) fn measure(plan: &Plan, stage: &mut Stage<'_>, pairs: usize) -> Result<Cost, String> {
    let mut cost = Cost { pairs: Vec::with_capacity(pairs), ..Cost::default() };
    for number in 1..=pairs {
        let mut run = |index: usize| stage.run(plan.contenders[index], plan.sets, How::Overlapped);
        let (first, second) = (run(0)?, run(1)?);
        let pair = Pair::new(&first, &second);
        eprintln!("pair {number} of {pairs}: ratio {:.3}", pair.ratio);
        cost.pairs.push(pair);
        for (all, outcome) in cost.round_trips.iter_mut().zip([&first, &second]) {
            all.merge(&outcome.balance.round_trip);
        }
    }
    Ok(cost)
}

impl Pair {
    fn new(first: &Outcome, second: &Outcome) -> Pair {
        let elapsed_ns = [first.elapsed, second.elapsed];
        let [one, other] = elapsed_ns.map(|elapsed| size::rate(first.bytes, elapsed));
        Pair { bytes: first.bytes, elapsed_ns, ratio: one / other }
    }

    fn rate(&self, index: usize) -> f64 {
        size::rate(self.bytes, self.elapsed_ns[index])
    }
}

impl Cost {
    /// As text and as JSON.
    pub(super) fn print(&self, plan: &Plan, environment: &Environment) -> (String, Value) {
        (self.to_table(plan, environment), self.to_json(plan, environment))
    }

    fn ratios(&self) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair.ratio).collect()
    }

    fn to_table(&self, plan: &Plan, environment: &Environment) -> String {
        let names = [0, 1].map(|index| plan.contenders[index].name());
        let mut columns = Columns::new(&["Pairs", names[0], names[1], "ratio"]);
        for (number, pair) in self.pairs.iter().enumerate() {
            let rates = [0, 1].map(|index| size::print_rate(pair.rate(index)));
            let [first, second] = rates;
            columns.row(vec![(number + 1).to_string(), first, second, format!("{:.3}", pair.ratio)]);
        }
        let middle =
            |index| size::print_rate(median(&self.pairs.iter().map(|pair| pair.rate(index)).collect::<Vec<_>>()));
        columns.row(vec!["median".to_owned(), middle(0), middle(1), format!("{:.3}", median(&self.ratios()))]);
        let mut text = describe(plan) + "\n" + &columns.print();
        let (first, second) = (names[0], names[1]);
        text += &format!("\nMedian ratio {first} / {second}: {}\n\n", verdict(&self.ratios()));
        text += &hand_over_table(names.into_iter().zip(self.round_trips.clone()));
        text += &format!("\n{}, Linux {}, {}\n", environment.cpu, environment.kernel, environment.time);
        text
    }

    fn to_json(&self, plan: &Plan, environment: &Environment) -> Value {
        let strategy = |index: usize| {
            json!({
                "strategy": plan.contenders[index].name(),
                "round_trip_ns": self.round_trips[index],
                "round_trips": histogram(&self.round_trips[index]),
            })
        };
        json!({
            "kind": "balance-cost",
            "arguments": arguments(plan),
            "strategies": [strategy(0), strategy(1)],
            "pairs": self.pairs,
            "ratio_median": median(&self.ratios()),
            "ratio_interval": interval(&self.ratios()),
            "environment": environment,
        })
    }
}
