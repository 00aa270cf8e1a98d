//! What the classes want, in each of the situations in which schemes are compared.

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;

use super::{Scenario, Situation};

/// What one class wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Demand {
    /// Nothing.
    None,
    /// Always so many requests that wait or are in flight.
    Backlog { depth: usize, bytes: u64 },
    /// Requests at random, on average with this pause between them.
    Random { pause_ns: f64, bytes: u64 },
    /// A backlog for some time, nothing for some time. Pauses are longer by up to `spread`, so that they do not keep
    /// step with anything.
    OnOff { depth: usize, bytes: u64, on: Nanos, off: Nanos, spread: Nanos },
}

/// What is simulated at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) weights: Vec<u32>,
    /// By class.
    pub(super) demands: Vec<Demand>,
}

impl Load {
    /// The load of a situation; `cut` is the size of the requests of all but the highest class, where it is not that of
    /// the scenario.
    pub(super) fn new(scenario: &Scenario, situation: Situation, cut: Option<u64>) -> Load {
        let (bytes, depth) = (cut.unwrap_or(scenario.request), scenario.depth);
        let mut load = Load { weights: scenario.weights.clone(), demands: vec![Demand::None; scenario.weights.len()] };
        let high = load.demands.len() - 1;
        match situation {
            Situation::Alone => load.demands[high] = sparse(scenario),
            Situation::Flood => {
                load.demands[0] = Demand::Backlog { depth, bytes };
                load.demands[high] = sparse(scenario);
            }
            Situation::Backlogged => {
                load.demands[(high + 1).saturating_sub(scenario.backlogged)..].fill(Demand::Backlog { depth, bytes });
            }
            Situation::OnOff => {
                load.demands[0] = Demand::Backlog { depth, bytes };
                let (on, spread) = (scenario.phase, Nanos(scenario.phase.0 / 2));
                load.demands[high] = Demand::OnOff { depth: scenario.phase_depth, bytes, on, off: on, spread };
            }
            Situation::Many => {
                load.weights = (0..scenario.many).map(|class| 1 + class % MANY_WEIGHTS).collect();
                load.demands = vec![Demand::Backlog { depth: MANY_DEPTH, bytes }; load.weights.len()];
            }
        }
        load
    }

    /// The bytes per second that each class is entitled to while all that want something want it at once.
    pub(super) fn entitled(&self, link: u64) -> Vec<(ClassId, f64)> {
        let wanting = || (0..).map(ClassId).zip(&self.weights).zip(&self.demands).filter(|(_, d)| **d != Demand::None);
        let weights: f64 = wanting().map(|((_, weight), _)| f64::from(*weight)).sum();
        wanting().map(|((class, weight), _)| (class, link as f64 * f64::from(*weight) / weights)).collect()
    }
}

fn sparse(scenario: &Scenario) -> Demand {
    let bytes = scenario.high_request;
    let load = scenario.link as f64 * f64::from(scenario.load_percent) / 100.0;
    Demand::Random { pause_ns: bytes as f64 * 1e9 / load, bytes }
}

/// Weights of many classes go from 1 to this, again and again.
const MANY_WEIGHTS: u32 = 4;
const MANY_DEPTH: usize = 2;
