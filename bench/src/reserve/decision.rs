//! What a decision costs: the manager alone, in a loop, without a link.

use std::collections::VecDeque;

use bireme_control::units::Nanos;
use nix::time::{ClockId, clock_gettime};

use super::manager::{Manager, Pick, id};
use super::{Rule, Scenario};

/// Processor time for each head that is let go, with all that belongs to it: asking, picking, and what has ended.
pub(super) fn cost_ns(rule: Rule, scenario: &Scenario) -> Option<f64> {
    if rule == Rule::Kernel {
        return None;
    }
    let mut manager = Manager::new(rule, scenario.link, &scenario.weights);
    let classes = [0, scenario.weights.len() - 1].map(id);
    let mut now = Nanos::ZERO;
    classes.iter().for_each(|&class| manager.ask(now, class, BYTES));
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
    let before = processor_time();
    for _ in 0..DECISIONS {
        match manager.pick(now) {
            Pick::Grant(class) => {
                manager.ask(now, class, BYTES);
                in_flight.push_back(class);
            }
            Pick::Wait(until) => now = until,
            Pick::Idle => {}
        }
        if in_flight.len() >= IN_FLIGHT {
            in_flight.pop_front().into_iter().for_each(|class| manager.done(class, BYTES));
        }
    }
    Some(processor_time().since(before).0 as f64 / f64::from(DECISIONS))
}

fn processor_time() -> Nanos {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(std::time::Duration::from);
    Nanos(time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}

/// So many that a clock with a resolution of a microsecond is good enough.
const DECISIONS: u32 = 100_000;
/// Small enough that the balances and pools seldom say no.
const BYTES: u64 = 1;
/// More is never asked of the window.
const IN_FLIGHT: usize = 16;
