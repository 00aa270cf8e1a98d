//! What was measured, for people and for programs: the medians of the rounds, and the rounds.

use serde_json::{Value, json};

use super::Measured;
use crate::report::Columns;
use crate::reserve::figures::{Isolation, Quantiles, SnapBack};
use crate::reserve::report::{self, p99_ratio, scheme_json};
use crate::reserve::{Error, Outcome};
use crate::size;
use crate::versus::interval::median;
use bireme_control::units::Nanos;

/// The comparison as text.
pub fn to_table(measured: &Measured) -> String {
    let Measured { scenario, calibration, plan, lost, .. } = measured;
    let weights: Vec<_> = scenario.weights.iter().map(u32::to_string).collect();
    let mut text = format!(
        "{}: {}, weights {}, requests of {}, high class {} % in requests of {}; {} each, {} rounds{}\n{}{}\n\n",
        plan.device.display(),
        if plan.writes { "random writes" } else { "random reads" },
        weights.join(":"),
        size::print(scenario.request),
        scenario.load_percent,
        size::print(scenario.high_request),
        scenario.runtime,
        plan.rounds,
        if plan.split { ", a peer for each class" } else { "" },
        if plan.capacity.is_some() { "As given: " } else { "Calibrated: " },
        calibration.describe(),
    );
    if let Some(rate) = plan.throttle {
        text.push_str(&format!("The kernel caps the device at {} (blkio)\n\n", size::print_rate(rate as f64)));
    }
    let medians = medians(measured);
    text.push_str(&report::latencies(&medians));
    text.push('\n');
    text.push_str(&report::shares(&medians));
    if measured.rounds.len() > 1 {
        text.push('\n');
        text.push_str(&rounds(measured));
    }
    if *lost > 0 {
        text.push_str(&format!("Note: {lost} requests had no room in the record or in their queue\n"));
    }
    text
}

/// Least and most of the rounds.
fn rounds(measured: &Measured) -> String {
    let headings = ["Range over the rounds", "link use %", "p99 ratio", "error at 100 ms, %", "share back after"];
    let mut columns = Columns::new(&headings);
    for index in 0..measured.rounds.first().map_or(0, Vec::len) {
        let all: Vec<&Outcome> = measured.rounds.iter().map(|round| &round[index]).collect();
        let range = |of: &dyn Fn(&Outcome) -> Option<f64>, print: &dyn Fn(f64) -> String| {
            let values: Vec<f64> = all.iter().filter_map(|outcome| of(outcome)).collect();
            let least = values.iter().copied().reduce(f64::min);
            let most = values.iter().copied().reduce(f64::max);
            least
                .zip(most)
                .map_or_else(|| "-".to_owned(), |(least, most)| format!("{} to {}", print(least), print(most)))
        };
        let number = |value: f64| format!("{value:.2}");
        let time = |value: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of seconds")]
            let time = Nanos(value as u64);
            time.to_string()
        };
        columns.row(vec![
            all[0].contender.name.clone(),
            range(&|outcome| outcome.link_use_percent, &number),
            range(&p99_ratio, &number),
            range(&|outcome| outcome.isolation.map(|error| error.error.ms100), &number),
            range(&|outcome| outcome.snap_back.map(|back| back.mean.0 as f64), &time),
        ]);
    }
    columns.print()
}

/// The comparison as JSON.
pub fn to_json(measured: &Measured) -> Value {
    let Measured { scenario, calibration, plan, lost, environment, .. } = measured;
    let schemes = medians(measured).into_iter().enumerate().map(|(index, outcome)| {
        let mut scheme = scheme_json(&outcome);
        let rounds: Vec<Value> = measured.rounds.iter().map(|round| scheme_json(&round[index])).collect();
        scheme["rounds"] = json!(rounds);
        scheme
    });
    let schemes: Vec<Value> = schemes.collect();
    json!({
        "kind": "reserve",
        "device": plan.device,
        "writes": plan.writes,
        "split": plan.split,
        "throttle_bytes_per_s": plan.throttle,
        "arguments": scenario,
        "calibration": {
            "bytes_per_s": calibration.rate,
            "window_bytes": calibration.window,
            "capacity": calibration.describe(),
            "steps": calibration.steps,
        },
        "schemes": schemes,
        "lost": lost,
        "environment": environment,
    })
}

/// Who had what of the device while a class came and went, in the first round.
pub fn to_svg(measured: &Measured) -> Option<String> {
    crate::reserve::to_svg(&measured.scenario, &medians(measured))
}

/// Each figure's median over the rounds, by contender. Who had what over time is that of the first round.
fn medians(measured: &Measured) -> Vec<Outcome> {
    let contenders = measured.rounds.first().map_or(0, Vec::len);
    (0..contenders)
        .map(|index| of_rounds(&measured.rounds.iter().map(|round| &round[index]).collect::<Vec<_>>()))
        .collect()
}

fn of_rounds(rounds: &[&Outcome]) -> Outcome {
    let over = |of: &dyn Fn(&Outcome) -> Option<f64>| {
        let values: Vec<f64> = rounds.iter().filter_map(|outcome| of(outcome)).collect();
        (!values.is_empty()).then(|| median(&values))
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time in nanoseconds")]
    let nanos =
        |of: &dyn Fn(&Outcome) -> Option<u64>| over(&|outcome| of(outcome).map(|ns| ns as f64)).map(|ns| ns as u64);
    let quantiles = |of: &dyn Fn(&Outcome) -> Option<Quantiles>| {
        let count = rounds.iter().filter_map(|outcome| of(outcome)).map(|quantiles| quantiles.count).min()?;
        let one = |which: fn(Quantiles) -> u64| nanos(&|outcome| of(outcome).map(which));
        Some(Quantiles {
            p50: one(|q| q.p50)?,
            p99: one(|q| q.p99)?,
            p99_9: one(|q| q.p99_9)?,
            max: one(|q| q.max)?,
            count,
        })
    };
    let error = |of: &dyn Fn(&Outcome) -> Option<Error>| {
        let isolation = |which: fn(Error) -> Isolation| {
            let one = |size: fn(Isolation) -> f64| over(&|outcome| of(outcome).map(which).map(size));
            let (ms10, ms100) = (one(|i| i.ms10)?, one(|i| i.ms100)?);
            Some(Isolation { ms10, ms100, ms1000: one(|i| i.ms1000)?, run: one(|i| i.run)? })
        };
        Some(Error { error: isolation(|error| error.error)?, one_request: isolation(|error| error.one_request)? })
    };
    let back = |which: fn(SnapBack) -> Nanos| nanos(&|outcome| outcome.snap_back.map(|back| which(back).0)).map(Nanos);
    Outcome {
        contender: rounds[0].contender.clone(),
        link_use_percent: over(&|outcome| outcome.link_use_percent),
        backlogged_use_percent: over(&|outcome| outcome.backlogged_use_percent),
        on_off_use_percent: over(&|outcome| outcome.on_off_use_percent),
        isolation: error(&|outcome| outcome.isolation),
        alone: quantiles(&|outcome| outcome.alone),
        flood: quantiles(&|outcome| outcome.flood),
        snap_back: back(|back| back.mean).zip(back(|back| back.max)).map(|(mean, max)| SnapBack { mean, max }),
        many: error(&|outcome| outcome.many),
        shares: rounds[0].shares.clone(),
        decision_ns: over(&|outcome| outcome.decision_ns),
    }
}
