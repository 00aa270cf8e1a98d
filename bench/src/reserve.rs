//! Schemes of reservation against each other: the same classes on the same link under each.
//!
//! ```text
//!   Scenario ──▶ simulate ──▶ [ situation: demand, manager, link ] ──▶ record ──▶ figures ──▶ to_table, to_json, to_svg
//! ```
//!
//! Each contender meets each [`Situation`], with the requests of a class at the same times. What counts:
//!
//! - *Isolation error*: how far classes that all want more are from their shares, over 10, 100 and 1000 ms.
//! - *Link use*, and the latency of a sparse high class, both beside a low class that floods the link; the latency also
//!   alone, under the same scheme.
//! - *Snap-back*: how long a class that comes back waits for its share.
//! - CPU time for a decision.

use bireme_control::reservation::ClassId;
use bireme_control::reservation::epoch::Booking;
use bireme_control::units::Nanos;
use serde::Serialize;

pub mod arguments;
mod decision;
mod demand;
pub mod figures;
mod known;
mod lending;
mod link;
pub mod live;
mod manager;
mod model;
mod paced;
mod picture;
mod record;
mod report;
mod shares;
#[cfg(test)]
mod tests;

use demand::Load;
use figures::{Against, Isolation, Quantiles, SnapBack};
pub use known::{Cell, known};
pub use picture::to_svg;
pub use record::{Ended, Record};
pub use report::{known_report, to_json, to_table};
use shares::Shares;

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// What the link carries, in bytes per second.
    #[serde(rename = "link_bytes_per_s")]
    pub link: u64,
    /// How it serves several requests at once.
    pub service: Service,
    /// Of the classes, the lowest first; at least two.
    pub weights: Vec<u32>,
    /// How large requests are.
    #[serde(rename = "request_bytes")]
    pub request: u64,
    /// How large those of the sparse high class are.
    #[serde(rename = "high_request_bytes")]
    pub high_request: u64,
    /// What the sparse high class wants of the link.
    pub load_percent: u8,
    /// How many requests of a class that is backlogged wait or are in flight.
    pub depth: usize,
    /// And of the class that comes and goes.
    pub phase_depth: usize,
    /// How many of the classes are backlogged where all are that want anything: the highest ones.
    pub backlogged: usize,
    /// How many classes there are where there are many.
    pub many: u32,
    /// For how long a class that comes and goes is there.
    #[serde(rename = "phase_ns")]
    pub phase: Nanos,
    /// Simulated time of each situation. The first tenth, and at most ten seconds, is not counted.
    #[serde(rename = "runtime_ns")]
    pub runtime: Nanos,
    /// Chance: the same seed gives the same figures.
    pub seed: u64,
}

/// How a link serves several requests at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// All at the same speed.
    #[default]
    Sharing,
    /// One after the other.
    Fifo,
}

/// What the classes want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Situation {
    /// The high class now and then, and nobody else.
    Alone,
    /// The same beside the lowest class, which floods the link.
    Flood,
    /// All want more than there is.
    Backlogged,
    /// The lowest class floods the link, the highest one wants all it can have for some time, then nothing.
    OnOff,
    /// Many classes that all want more than there is.
    Many,
}

/// A row of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// As in tables.
    pub name: String,
    /// What it goes by.
    pub rule: Rule,
}

/// A scheme with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nobody waits.
    None,
    /// The reference.
    Epoch {
        /// Of an epoch.
        length: Nanos,
        /// Whether pools are booked ahead.
        booking: Booking,
    },
    /// Pools whose idle ones are lent: for comparison only.
    Lending {
        /// Of an epoch.
        length: Nanos,
        /// What is left is carried into the next epoch.
        carry: bool,
    },
    /// Balances and tags: what ships.
    Tags {
        /// Bytes in flight at most.
        window: u64,
        /// Requests are cut into so many bytes, but for those of the sparse high class.
        cut: Option<u64>,
    },
    /// Caps of the kernel's blkio controller, on devices only.
    Kernel,
}

/// A contender and what was found; nothing where a situation was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which.
    pub contender: Contender,
    /// How much of the link was used under the flood.
    pub link_use_percent: Option<f64>,
    /// How much of the link was used while all wanted more than there is.
    pub backlogged_use_percent: Option<f64>,
    /// How much of the link was used while one class came and went.
    pub on_off_use_percent: Option<f64>,
    /// Of backlogged classes.
    pub isolation: Option<Error>,
    /// Of the high class alone.
    pub alone: Option<Quantiles>,
    /// Of the high class under the flood.
    pub flood: Option<Quantiles>,
    /// Of the class that comes and goes.
    pub snap_back: Option<SnapBack>,
    /// Of many classes.
    pub many: Option<Error>,
    /// Who had what of the link while one class came and went.
    pub shares: Option<Shares>,
    /// Processor time for one decision, in nanoseconds, beside two backlogged classes; none where the kernel decides. The
    /// only figure of a simulation that is measured on this computer.
    pub decision_ns: Option<f64>,
}

/// How far from their shares classes were, and what one request is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Error {
    /// In percent of the share.
    pub error: Isolation,
    /// One request of the class with the smallest share, in percent of it.
    pub one_request: Isolation,
}

/// Runs each contender through these situations.
pub fn simulate(scenario: &Scenario, contenders: &[Contender], situations: &[Situation]) -> Vec<Outcome> {
    let outcome = |contender: &Contender| {
        let run = |&situation: &Situation| {
            let load = Load::new(scenario, situation, contender.rule.cut());
            (situation, model::run(scenario, contender.rule, &load), load)
        };
        Outcome::new(scenario, contender, situations.iter().map(run).collect(), Against::Link)
    };
    contenders.iter().map(outcome).collect()
}

impl Outcome {
    /// From what was seen of a contender in each situation.
    fn new(
        scenario: &Scenario,
        contender: &Contender,
        found: Vec<(Situation, Record, Load)>,
        against: Against,
    ) -> Outcome {
        let (rule, high) = (contender.rule, scenario.high());
        let of = |situation: Situation| {
            found.iter().find(|(other, ..)| *other == situation).map(|(_, record, load)| (record, load))
        };
        let latencies = |(record, _): (&Record, &Load)| figures::latencies(&record.ended, high);
        let busy = |(record, _): (&Record, &Load)| percent(record.busy, record.until - record.from);
        let error = |(record, load): (&Record, &Load)| {
            let entitled = load.entitled(scenario.link);
            let bytes = rule.cut().unwrap_or(scenario.request);
            let one_request = figures::one_request(&entitled, bytes, record.until - record.from);
            Error { error: figures::isolation(record, &entitled, against), one_request }
        };
        let snap_back = |(record, load): (&Record, &Load)| {
            let share = load.entitled(scenario.link).into_iter().find(|(class, _)| *class == high)?;
            figures::snap_back(record, high, share.1 / scenario.link as f64, scenario.link as f64, against)
        };
        Outcome {
            contender: contender.clone(),
            link_use_percent: of(Situation::Flood).map(busy),
            backlogged_use_percent: of(Situation::Backlogged).map(busy),
            on_off_use_percent: of(Situation::OnOff).map(busy),
            isolation: of(Situation::Backlogged).map(error),
            alone: of(Situation::Alone).map(latencies),
            flood: of(Situation::Flood).map(latencies),
            snap_back: of(Situation::OnOff).and_then(snap_back),
            many: of(Situation::Many).map(error),
            shares: of(Situation::OnOff).map(|(record, _)| Shares::new(record, scenario)),
            decision_ns: decision::cost_ns(rule, scenario),
        }
    }
}

fn percent(part: Nanos, whole: Nanos) -> f64 {
    100.0 * part.0 as f64 / whole.0.max(1) as f64
}

impl Scenario {
    /// The highest class.
    pub(crate) fn high(&self) -> ClassId {
        manager::id(self.weights.len() - 1)
    }

    fn warm_up(&self) -> Nanos {
        Nanos(self.runtime.0 / 10).min(WARM_UP_MAX)
    }
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            link: 500_000_000,
            service: Service::default(),
            weights: vec![1, 2, 3],
            request: 1 << 20,
            high_request: 1 << 20,
            load_percent: 10,
            depth: 40,
            phase_depth: 8,
            backlogged: 3,
            many: 100,
            phase: Nanos::from_secs(5),
            runtime: Nanos::from_secs(200),
            seed: 1,
        }
    }
}

impl Situation {
    /// All of them.
    pub const ALL: [Situation; 5] =
        [Situation::Alone, Situation::Flood, Situation::Backlogged, Situation::OnOff, Situation::Many];
}

impl Rule {
    /// The scheme that it belongs to, as in JSON.
    pub const fn scheme(self) -> &'static str {
        match self {
            Rule::None => "none",
            Rule::Epoch { .. } | Rule::Lending { .. } => "epoch",
            Rule::Tags { .. } => "tags",
            Rule::Kernel => "blkio",
        }
    }

    const fn cut(self) -> Option<u64> {
        match self {
            Rule::Tags { cut, .. } => cut,
            Rule::None | Rule::Epoch { .. } | Rule::Lending { .. } | Rule::Kernel => None,
        }
    }
}

const WARM_UP_MAX: Nanos = Nanos::from_secs(10);
