//! Strategies of balance against each other: the same sets under each, and how far from the ideal they end.
//!
//! ```text
//!   Scenario ──▶ simulate ──▶ [ model: production machines in a World ] ──▶ SetFigures ──▶ to_table, to_json
//! ```
//!
//! [`live`] measures the same on real devices.
//!
//! Three figures say how good a strategy is. *Over*: the makespan over the ideal, which is the end of the last transfer
//! if no peer were ever idle and nothing had to be said. *Idle*: the peers' time without work. And *messages* per set.
//! Over is given *cold* (the first set) and *steady* (the last sets, when all that can be learnt is learnt).

use bireme_control::balance::{Minimum, Rules, Strategy};
use bireme_control::units::Permille;
use serde::Serialize;

pub mod arguments;
pub mod live;
mod model;
mod periodic;
mod report;
#[cfg(test)]
mod tests;
mod world;

pub use report::{side_by_side, to_json, to_table};

/// What is simulated.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// How fast each peer is, relative to the others; 2 to [`PEERS_MAX`] of them, all above 0.
    pub speeds: Vec<f64>,
    /// Transfers of each set.
    pub transfers: u64,
    /// From an offer to its answer, in transfers of the slowest peer.
    pub delay: f64,
    /// Transfers that a peer has in flight; nobody can take these from it.
    pub depth: usize,
    /// How many sets, one after the other.
    pub sets: usize,
    /// How much single transfers scatter: standard deviation over mean.
    pub noise: f64,
    /// How much speeds wander: the deviation of their logarithm. Of a deviation 0.9 is left after 40 slow transfers.
    pub drift: f64,
    /// In the middle of this set, counted from 1, the speeds change places.
    pub flip: Option<usize>,
    /// Transfers that take much longer now and then.
    pub stall: Option<Stall>,
    /// The scenario's chance.
    pub seed: u64,
    /// `ratio`: by how much a ratio is stepped.
    pub increment: Permille,
    /// `ratio`: the largest portion that is not worth a hand-over.
    #[serde(serialize_with = "arguments::serialize_minimum")]
    pub minimum: Minimum,
}

/// Rare long transfers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stall {
    /// How many of a thousand.
    pub permille: f64,
    /// How much longer, in transfers of the slowest peer.
    pub length: f64,
}

/// A row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Equal parts.
    Fixed,
    /// One cursor, from which transfers are drawn singly.
    Pull,
    /// Half of what is left.
    StealHalf,
    /// The reference method.
    Ratio,
    /// The default, as it ships.
    Measured,
    /// The default without the repeats at the end of a set.
    MeasuredNoRepeats,
    /// The default without these and without the early ask.
    MeasuredNotEarly,
}

/// A strategy and how its sets went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which.
    pub contender: Contender,
    /// Its sets in order.
    pub sets: Vec<SetFigures>,
}

/// How one set went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetFigures {
    /// From its begin to the end of its last transfer.
    pub makespan_ns: u64,
    /// The least that this could have been.
    pub ideal_ns: u64,
    /// Without work, all peers together.
    pub idle_ns: u64,
    /// Offers and answers; under `pull`, draws and what they brought.
    pub messages: u64,
    /// Offers that were taken.
    pub hand_overs: u64,
    /// Transfers that were started again at another peer.
    pub repeats: u64,
}

/// Runs the scenario under each of these; an error tells which machine did what wrong.
pub fn simulate(scenario: &Scenario, contenders: &[Contender]) -> Result<Vec<Outcome>, String> {
    let outcome = |&contender| Ok(Outcome { contender, sets: model::run(scenario, contender)? });
    contenders.iter().map(outcome).collect()
}

impl Contender {
    /// All of them, in the order of the table.
    pub const ALL: [Contender; 7] = [
        Contender::Fixed,
        Contender::Pull,
        Contender::StealHalf,
        Contender::Ratio,
        Contender::Measured,
        Contender::MeasuredNoRepeats,
        Contender::MeasuredNotEarly,
    ];

    /// As on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Contender::Fixed => "fixed",
            Contender::Pull => "pull",
            Contender::StealHalf => "steal-half",
            Contender::Ratio => "ratio",
            Contender::Measured => "measured",
            Contender::MeasuredNoRepeats => "measured-no-repeats",
            Contender::MeasuredNotEarly => "measured-not-early",
        }
    }

    fn rules(self, minimum: Minimum, increment: Permille) -> Rules {
        let (strategy, early, repeat) = match self {
            Contender::Fixed => (Strategy::Fixed, false, false),
            Contender::Pull => (Strategy::Pull, false, false),
            Contender::StealHalf => (Strategy::StealHalf, false, false),
            Contender::Ratio => (Strategy::Ratio, false, false),
            Contender::Measured => (Strategy::Measured, true, true),
            Contender::MeasuredNoRepeats => (Strategy::Measured, true, false),
            Contender::MeasuredNotEarly => (Strategy::Measured, false, false),
        };
        Rules { strategy, minimum, increment, early, repeat }
    }
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            speeds: vec![1.0, 4.0],
            transfers: 1024,
            delay: 1.0,
            depth: 1,
            sets: 30,
            noise: 0.0,
            drift: 0.0,
            flip: None,
            stall: None,
            seed: 1,
            increment: INCREMENT,
            minimum: Minimum::Transfers(1),
        }
    }
}

/// The scenarios by which strategies are known: three ratios of speed, and a hand-over ten times as slow.
pub fn known_scenarios() -> Vec<Scenario> {
    let known = [(2.0, 1.0), (4.0, 1.0), (8.0, 1.0), (4.0, 10.0)];
    known.map(|(ratio, delay)| Scenario { speeds: vec![1.0, ratio], delay, ..Scenario::default() }).to_vec()
}

/// Sets at the end over which the steady figures are taken: the last ten, or a third of fewer than thirty.
fn steady_from(sets: usize) -> usize {
    sets - (sets / 3).clamp(1, 10).min(sets)
}

/// The most peers of a scenario.
pub const PEERS_MAX: usize = 16;
const INCREMENT: Permille = Permille::new(50).expect("below 1000");
