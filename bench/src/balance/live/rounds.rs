//! Makespans of single sets against the ideal, strategy by strategy, round by round.

use bireme_dataplane::outcome::{Balance, Outcome, SetOutcome};
use bireme_dataplane::telemetry::Latencies;
use serde::Serialize;

use super::Plan;
use super::ideal::{difference_percent, ideal_ns, speeds};
use super::run::{How, Stage};
use crate::balance::Contender;

/// All rounds, as they were measured.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) calibrations: Vec<Calibration>,
    pub(super) rows: Vec<Row>,
}

/// What the calibrations of one round have measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Calibration {
    /// Transfers per second by peer, of both.
    pub(super) speeds: Vec<f64>,
    pub(super) speeds_before: Vec<f64>,
    pub(super) speeds_after: Vec<f64>,
    /// By how much the two differ, at that peer where they do most.
    pub(super) difference_percent: f64,
    /// Of a set without a flip.
    pub(super) ideal_ns: f64,
    /// The sets themselves: `fixed` is what they were written under.
    pub(super) sets: Vec<SetFigures>,
}

/// A strategy and its runs, one per round.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) contender: Contender,
    pub(super) runs: Vec<RunFigures>,
}

/// One run of a strategy.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunFigures {
    pub(super) sets: Vec<SetFigures>,
    pub(super) messages: u64,
    pub(super) hand_overs: u64,
    pub(super) repeats: u64,
    pub(super) repeats_won: u64,
    #[serde(rename = "round_trip_ns")]
    pub(super) round_trip: Latencies,
}

/// One set of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SetFigures {
    /// From its first fill to its last data completion.
    pub(super) makespan_ns: u64,
    pub(super) ideal_ns: f64,
    pub(super) over_percent: f64,
    /// What the peers could have written while they idled, of what they could have written in the makespan. Unlike `over`
    /// it does not depend on how quiet the machine was.
    pub(super) lost_percent: f64,
    /// From a peer's last transfer to the end of the set, by peer.
    pub(super) idle_ns: Vec<u64>,
    pub(super) divided: Vec<u64>,
    pub(super) done: Vec<u64>,
}

/// Measures all rounds: each strategy once per round, between two calibrations.
pub(super) fn measure(plan: &Plan, stage: &mut Stage<'_>) -> Result<Comparison, String> {
    let row = |&contender| Row { contender, runs: Vec::with_capacity(plan.rounds) };
    let mut rows: Vec<Row> = plan.contenders.iter().map(row).collect();
    let mut calibrations = Vec::with_capacity(plan.rounds);
    for round in 1..=plan.rounds {
        let mut run = |contender: Contender, sets, flip| {
            eprintln!("round {round} of {}: {sets} sets under {}", plan.rounds, contender.name());
            stage.run(contender, sets, How::Alone { flip })
        };
        let before = run(Contender::Fixed, CALIBRATION_SETS, None)?;
        let judged: Vec<Outcome> = (plan.contenders.iter())
            .map(|&contender| run(contender, plan.sets, plan.flip))
            .collect::<Result<_, _>>()?;
        let after = run(Contender::Fixed, CALIBRATION_SETS, None)?;
        let calibration = Calibration::new(plan, &before.sets, &after.sets)?;
        for (row, outcome) in rows.iter_mut().zip(&judged) {
            row.runs.push(RunFigures::new(plan, &calibration, &outcome.sets, &outcome.balance));
        }
        calibrations.push(calibration);
    }
    Ok(Comparison { calibrations, rows })
}

impl Calibration {
    pub(super) fn new(plan: &Plan, before: &[SetOutcome], after: &[SetOutcome]) -> Result<Calibration, String> {
        let sets = || before.iter().chain(after);
        let (speeds_before, speeds_after) = (speeds(before.iter(), plan.peers)?, speeds(after.iter(), plan.peers)?);
        let speeds = speeds(sets(), plan.peers)?;
        let ideal_ns = ideal_ns(plan.transfers(), &speeds, false);
        Ok(Calibration {
            difference_percent: difference_percent(&speeds_before, &speeds_after),
            sets: sets().map(|set| SetFigures::new(set, ideal_ns, &speeds)).collect(),
            speeds,
            speeds_before,
            speeds_after,
            ideal_ns,
        })
    }
}

impl RunFigures {
    pub(super) fn new(plan: &Plan, calibration: &Calibration, sets: &[SetOutcome], balance: &Balance) -> RunFigures {
        let set = |(number, set): (u32, &SetOutcome)| {
            let mut speeds = calibration.speeds.clone();
            if plan.flip.is_some_and(|flip| flip <= number) {
                speeds.swap(0, 1);
            }
            // After the flip the same speeds are those of other peers, which is the same to the ideal.
            let ideal = match plan.flip == Some(number) {
                true => ideal_ns(plan.transfers(), &calibration.speeds, true),
                false => calibration.ideal_ns,
            };
            SetFigures::new(set, ideal, &speeds)
        };
        RunFigures {
            sets: (1..).zip(sets).map(set).collect(),
            messages: balance.messages,
            hand_overs: balance.hand_overs.iter().filter(|hand_over| hand_over.transfers > 0).count() as u64,
            repeats: balance.repeated,
            repeats_won: balance.repeats_won,
            round_trip: balance.round_trip.clone(),
        }
    }
}

impl SetFigures {
    fn new(set: &SetOutcome, ideal_ns: f64, speeds: &[f64]) -> SetFigures {
        let idle_ns: Vec<u64> = set.finished.iter().map(|&finished| set.write.since(finished).0).collect();
        let lost: f64 = idle_ns.iter().zip(speeds).map(|(&idle, speed)| idle as f64 * speed).sum();
        let all = set.write.0.max(1) as f64 * speeds.iter().sum::<f64>();
        SetFigures {
            lost_percent: 100.0 * lost / all,
            makespan_ns: set.write.0,
            ideal_ns,
            over_percent: 100.0 * (set.write.0 as f64 / ideal_ns.max(1.0) - 1.0),
            idle_ns,
            divided: set.divided.clone(),
            done: set.done.clone(),
        }
    }
}

/// Of each of the two calibrations of a round: the sets are long, as the slowest peer writes its equal part of each.
const CALIBRATION_SETS: u32 = 2;
