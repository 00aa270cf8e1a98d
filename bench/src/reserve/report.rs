//! The comparison for people and for programs; `bench/docs/json.md` explains the latter.

use bireme_control::units::Nanos;
use serde_json::{Value, json};

use super::{Cell, Error, Outcome, Quantiles, Scenario};
use crate::report::Columns;
use crate::size;

/// The comparison as text.
pub fn to_table(scenario: &Scenario, outcomes: &[Outcome]) -> String {
    let weights: Vec<_> = scenario.weights.iter().map(u32::to_string).collect();
    let mut text = format!(
        "Simulated: a link of {} per second, weights {}, requests of {}, high class {} % in requests of {}, {} each, seed {}\n",
        size::print(scenario.link),
        weights.join(":"),
        size::print(scenario.request),
        scenario.load_percent,
        size::print(scenario.high_request),
        scenario.runtime,
        scenario.seed
    );
    text.push_str(&latencies(outcomes));
    text.push('\n');
    text.push_str(&shares(outcomes));
    text
}

pub(super) fn latencies(outcomes: &[Outcome]) -> String {
    let headings =
        ["High class under the flood", "link use %", "p50", "p99", "p99.9", "alone p50", "p99", "p99.9", "p99 ratio"];
    let mut columns = Columns::new(&headings);
    for outcome in outcomes {
        let mut row = vec![outcome.contender.name.clone(), percent(outcome.link_use_percent)];
        for quantiles in [outcome.flood, outcome.alone] {
            let figures = quantiles.filter(|quantiles| quantiles.count > 0).map(|q| [q.p50, q.p99, q.p99_9]);
            row.extend(
                figures.map_or_else(|| [(); 3].map(|()| NONE.to_owned()), |q| q.map(|ns| Nanos(ns).to_string())),
            );
        }
        row.push(p99_ratio(outcome).map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.2}")));
        columns.row(row);
    }
    columns.print()
}

pub(super) fn shares(outcomes: &[Outcome]) -> String {
    let headings = [
        "Error of the shares, %",
        "10 ms",
        "100 ms",
        "1 s",
        "run",
        "many: 100 ms",
        "1 s",
        "run",
        "share back after",
        "at worst",
        "use %",
        "ns/decision",
    ];
    let mut columns = Columns::new(&headings);
    let mut requests: Vec<Vec<String>> = Vec::new();
    for outcome in outcomes {
        let cells = |of: fn(&Error) -> super::Isolation| {
            let backlogged = outcome.isolation.as_ref().map(of);
            let many = outcome.many.as_ref().map(of);
            let backlogged =
                [0, 1, 2, 3].map(|at| backlogged.map(|error| [error.ms10, error.ms100, error.ms1000, error.run][at]));
            let many = [0, 1, 2].map(|at| many.map(|error| [error.ms100, error.ms1000, error.run][at]));
            backlogged.into_iter().chain(many).map(percent).collect::<Vec<_>>()
        };
        let mut row = vec![outcome.contender.name.clone()];
        row.extend(cells(|error| error.error));
        let time = |of: fn(&super::SnapBack) -> Nanos| {
            outcome.snap_back.as_ref().map_or_else(|| NONE.to_owned(), |back| of(back).to_string())
        };
        row.extend([
            time(|back| back.mean),
            time(|back| back.max),
            percent(outcome.on_off_use_percent),
            outcome.decision_ns.map_or_else(|| NONE.to_owned(), |ns| format!("{ns:.0}")),
        ]);
        columns.row(row);
        let one = cells(|error| error.one_request);
        if !requests.contains(&one) && one.iter().any(|cell| cell != NONE) {
            requests.push(one);
        }
    }
    for one in requests {
        columns.row(std::iter::once("one request is".to_owned()).chain(one).collect());
    }
    columns.print()
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.2}"))
}

pub(super) fn p99_ratio(outcome: &Outcome) -> Option<f64> {
    let (flood, alone) = (outcome.flood?, outcome.alone?);
    (alone.p99 > 0 && flood.count > 0).then(|| flood.p99 as f64 / alone.p99 as f64)
}

/// The comparison as JSON.
pub fn to_json(scenario: &Scenario, outcomes: &[Outcome]) -> Value {
    let schemes: Vec<_> = outcomes.iter().map(scheme_json).collect();
    json!({ "kind": "reserve-simulation", "arguments": scenario, "schemes": schemes })
}

pub(super) fn scheme_json(outcome: &Outcome) -> Value {
    let quantiles = |of: Option<Quantiles>| of.filter(|quantiles| quantiles.count > 0);
    json!({
        "scheme": outcome.contender.rule.scheme(),
        "name": outcome.contender.name,
        "link_use_percent": outcome.link_use_percent,
        "backlogged_use_percent": outcome.backlogged_use_percent,
        "on_off_use_percent": outcome.on_off_use_percent,
        "isolation_error_percent": outcome.isolation.map(|error| error.error),
        "one_request_percent": outcome.isolation.map(|error| error.one_request),
        "high_latency_ns": { "alone": quantiles(outcome.alone), "flood": quantiles(outcome.flood) },
        "high_p99_ratio": p99_ratio(outcome),
        "snap_back_ns": outcome.snap_back.map(|back| back.mean.0),
        "snap_back_ns_max": outcome.snap_back.map(|back| back.max.0),
        "many": outcome.many.map(|error| json!({
            "isolation_error_percent": error.error,
            "one_request_percent": error.one_request,
        })),
        "cpu_ns_per_decision": outcome.decision_ns,
    })
}

/// Several tables under each other, as text and as JSON.
pub fn known_report(cells: &[Cell]) -> (String, Value) {
    let part = |cell: &Cell| format!("{}\n{}", cell.title, to_table(&cell.scenario, &cell.outcomes));
    let text: Vec<_> = cells.iter().map(part).collect();
    let scenarios: Vec<_> = cells.iter().map(|cell| to_json(&cell.scenario, &cell.outcomes)).collect();
    (text.join("\n"), json!({ "kind": "reserve-table", "scenarios": scenarios }))
}

const NONE: &str = "-";
