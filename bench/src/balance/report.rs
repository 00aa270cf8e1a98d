//! The comparison for people and for programs; `bench/docs/json.md` explains the latter.

use serde_json::{Value, json};

use crate::balance::{Outcome, Scenario, SetFigures, steady_from};
use crate::report::Columns;

/// The comparison as text.
pub fn to_table(scenario: &Scenario, outcomes: &[Outcome]) -> String {
    let speeds: Vec<_> = scenario.speeds.iter().map(f64::to_string).collect();
    let mut text = format!(
        "Simulated: speeds {}, {} sets of {} transfers, delay {}, depth {}, seed {}\n",
        speeds.join(":"),
        scenario.sets,
        scenario.transfers,
        scenario.delay,
        scenario.depth,
        scenario.seed
    );
    let headings = ["Over the ideal, %", "cold", "steady", "all", "idle %", "messages", "hand-overs", "repeats"];
    let mut columns = Columns::new(&headings);
    for outcome in outcomes {
        let over = Over::of(&outcome.sets);
        let mean = |count: fn(&SetFigures) -> u64| format!("{:.1}", mean(&outcome.sets, count));
        columns.row(vec![
            outcome.contender.name().to_owned(),
            format!("{:.2}", over.cold),
            format!("{:.2}", over.steady),
            format!("{:.2}", over.all),
            format!("{:.2}", idle_percent(scenario, &outcome.sets)),
            mean(|set| set.messages),
            mean(|set| set.hand_overs),
            mean(|set| set.repeats),
        ]);
    }
    text.push_str(&columns.print());
    if let Some(flip) = scenario.flip {
        text.push('\n');
        text.push_str(&flip_table(flip, outcomes));
    }
    text
}

/// The sets from the flip on.
fn flip_table(flip: usize, outcomes: &[Outcome]) -> String {
    let sets = outcomes.first().map_or(0, |outcome| outcome.sets.len());
    let shown = flip - 1..sets.min(flip - 1 + FLIP_SETS);
    let headings: Vec<_> =
        std::iter::once("Over by set, %".to_owned()).chain(shown.clone().map(|set| (set + 1).to_string())).collect();
    let mut columns = Columns::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for outcome in outcomes {
        let cells = outcome.sets[shown.clone()].iter().map(|set| format!("{:.2}", over_percent(&[*set])));
        columns.row(std::iter::once(outcome.contender.name().to_owned()).chain(cells).collect());
    }
    columns.print()
}

/// The comparison as JSON.
pub fn to_json(scenario: &Scenario, outcomes: &[Outcome]) -> Value {
    let strategies: Vec<_> = outcomes.iter().map(|outcome| strategy_json(scenario, outcome)).collect();
    json!({ "kind": "balance-simulation", "arguments": scenario, "strategies": strategies })
}

fn strategy_json(scenario: &Scenario, outcome: &Outcome) -> Value {
    let Over { cold, steady, all } = Over::of(&outcome.sets);
    let set_json = |set: &SetFigures| {
        let mut json = serde_json::to_value(set).expect("figures are numbers with text keys");
        json["over_percent"] = json!(over_percent(&[*set]));
        json
    };
    let sets: Vec<_> = outcome.sets.iter().map(set_json).collect();
    json!({
        "strategy": outcome.contender.name(),
        "over_percent": { "cold": cold, "steady": steady, "all": all },
        "idle_percent": idle_percent(scenario, &outcome.sets),
        "messages_per_set": mean(&outcome.sets, |set| set.messages),
        "hand_overs_per_set": mean(&outcome.sets, |set| set.hand_overs),
        "repeats_per_set": mean(&outcome.sets, |set| set.repeats),
        "sets": sets,
    })
}

/// Several scenarios side by side, cold and steady each, as text and as JSON.
pub fn side_by_side(compared: &[(Scenario, Vec<Outcome>)]) -> (String, Value) {
    let label = |scenario: &Scenario| {
        let speeds: Vec<_> = scenario.speeds.iter().map(f64::to_string).collect();
        format!("{} h={}", speeds.join(":"), scenario.delay)
    };
    let headings: Vec<_> = std::iter::once("Over the ideal, %: cold/steady".to_owned())
        .chain(compared.iter().map(|(scenario, _)| label(scenario)))
        .collect();
    let mut columns = Columns::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    let rows = compared.iter().map(|(_, outcomes)| outcomes.len()).min().unwrap_or(0);
    for row in 0..rows {
        let cell = |outcomes: &[Outcome]| {
            let over = Over::of(&outcomes[row].sets);
            format!("{:.2}/{:.2}", over.cold, over.steady)
        };
        let name = compared[0].1[row].contender.name().to_owned();
        columns.row(std::iter::once(name).chain(compared.iter().map(|(_, outcomes)| cell(outcomes))).collect());
    }
    let scenarios: Vec<_> = compared.iter().map(|(scenario, outcomes)| to_json(scenario, outcomes)).collect();
    (columns.print(), json!({ "kind": "balance-table", "scenarios": scenarios }))
}

/// How far over the ideal some sets ended, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) cold: f64,
    pub(super) steady: f64,
    pub(super) all: f64,
}

impl Over {
    pub(super) fn of(sets: &[SetFigures]) -> Over {
        let steady = &sets[steady_from(sets.len())..];
        Over { cold: over_percent(&sets[..sets.len().min(1)]), steady: over_percent(steady), all: over_percent(sets) }
    }
}

fn over_percent(sets: &[SetFigures]) -> f64 {
    let sum = |part: fn(&SetFigures) -> u64| sets.iter().map(part).sum::<u64>() as f64;
    let ideal = sum(|set| set.ideal_ns);
    if ideal == 0.0 { 0.0 } else { 100.0 * (sum(|set| set.makespan_ns) / ideal - 1.0) }
}

fn idle_percent(scenario: &Scenario, sets: &[SetFigures]) -> f64 {
    let makespans = sets.iter().map(|set| set.makespan_ns).sum::<u64>() as f64;
    let idle = sets.iter().map(|set| set.idle_ns).sum::<u64>() as f64;
    100.0 * idle / (makespans * scenario.speeds.len() as f64).max(1.0)
}

fn mean(sets: &[SetFigures], count: fn(&SetFigures) -> u64) -> f64 {
    sets.iter().map(count).sum::<u64>() as f64 / sets.len().max(1) as f64
}

/// How many sets from a flip on are listed.
const FLIP_SETS: usize = 6;
