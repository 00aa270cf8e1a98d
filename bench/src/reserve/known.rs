//! The comparison by which the schemes are known: one link of 500 MB/s, weights 1:2:3, a flood of 40 requests of 64 MB.

use bireme_control::reservation::epoch::Booking;
use bireme_control::units::Nanos;

use super::{Contender, Outcome, Rule, Scenario, Situation, simulate};

/// A table: its scenario, and its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What differs from the other tables.
    pub title: String,
    /// What was simulated.
    pub scenario: Scenario,
    /// The rows.
    pub outcomes: Vec<Outcome>,
}

/// Three tables: the high class with 10 % of the link in requests of 64 MB, with 2 %, and with 10 % in requests of 4 MB.
/// Classes 2 and 3 of 3 are those that are backlogged together.
pub fn known(seed: u64, runtime: Nanos) -> Vec<Cell> {
    let cases = [(64, 10), (64, 2), (4, 10)];
    let cell = |(megabytes, load_percent)| {
        let scenario = Scenario {
            request: 64 * MB,
            high_request: megabytes * MB,
            load_percent,
            backlogged: 2,
            phase: Nanos::from_secs(30),
            runtime,
            seed,
            ..Scenario::default()
        };
        let title = format!("High class: {load_percent} % of the link, requests of {megabytes} MB");
        let outcomes = simulate(&scenario, &contenders(), &SITUATIONS);
        Cell { title, scenario, outcomes }
    };
    cases.map(cell).to_vec()
}

fn contenders() -> Vec<Contender> {
    let epoch = |millis, booking| Rule::Epoch { length: Nanos::from_millis(millis), booking };
    let lending = |millis, carry| Rule::Lending { length: Nanos::from_millis(millis), carry };
    let tags = |window, cut| Rule::Tags { window, cut };
    let rows = [
        ("none", Rule::None),
        ("epoch, 2 s", epoch(2000, Booking::Off)),
        ("epoch, 0.5 s", epoch(500, Booking::Off)),
        ("epoch, 2 s, booking ahead", epoch(2000, Booking::Ahead)),
        ("epoch, 2 s, lending", lending(2000, false)),
        ("epoch, 0.1 s, lending, carried over", lending(100, true)),
        ("tags, 128 MB window", tags(128 * MB, None)),
        ("tags, 64 MB window", tags(64 * MB, None)),
        ("tags, 16 MB window, 4 MB quanta", tags(16 * MB, Some(4 * MB))),
    ];
    rows.map(|(name, rule)| Contender { name: name.to_owned(), rule }).to_vec()
}

const SITUATIONS: [Situation; 4] = [Situation::Alone, Situation::Flood, Situation::Backlogged, Situation::OnOff];
const MB: u64 = 1_000_000;
