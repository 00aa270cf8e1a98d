//! Who had what of the link over time, for the picture.

use bireme_control::units::Nanos;

use super::Scenario;
use super::record::Record;

/// Shares of the link by window and class, in percent; from the first return of the class that comes and goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shares {
    /// Of one window.
    pub window: Nanos,
    /// By window, by class.
    pub percent: Vec<Vec<f64>>,
}

impl Shares {
    pub(super) fn new(record: &Record, scenario: &Scenario) -> Shares {
        let from = record.returns.first().map_or(record.from, |at| at.since(Nanos(scenario.phase.0 / 2)));
        let until = (from + Nanos(scenario.phase.0 * PHASES)).min(record.until);
        let window = Nanos((until.since(from).0 / WINDOWS).max(1));
        let mut percent = vec![vec![0.0; scenario.weights.len()]; usize::try_from(WINDOWS).unwrap_or(0)];
        let most = scenario.link as f64 * window.0 as f64 / 1e9;
        for ended in record.ended.iter().filter(|ended| ended.at >= from) {
            let index = usize::try_from(ended.at.since(from).0 / window.0).unwrap_or(usize::MAX);
            if let Some(window) = percent.get_mut(index) {
                window[ended.class.index()] += 100.0 * ended.bytes as f64 / most;
            }
        }
        Shares { window, percent }
    }
}

/// A return, a pause of one to one and a half phases, and a return again.
const PHASES: u64 = 4;
const WINDOWS: u64 = 200;
