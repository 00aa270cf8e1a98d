//! When a rate has become steady.
//!
//! After the SNIA's Solid State Storage Performance Test Specification: within a window the rates of all intervals lie
//! within a range around their mean (there 20 %), and the straight line that fits them best (least squares) rises or falls by
//! at most half of that over the window (there 10 %).

use std::collections::VecDeque;

use bireme_control::units::Nanos;

use crate::recording::series::Moment;
use crate::{duration, size};

/// What counts as steady.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criterion {
    /// Of the mean, in percent: from the lowest to the highest rate.
    range: f64,
    window: Nanos,
}

/// Reads `20%/30s`; an error is a sentence.
pub(super) fn parse(text: &str) -> Result<Criterion, String> {
    let wrong = || format!("'{text}' is no criterion: write RANGE%/WINDOW, such as 20%/30s");
    let (range, window) = text.split_once("%/").ok_or_else(wrong)?;
    let range = range.trim().parse::<f64>().ok().filter(|range| (0.1..=100.0).contains(range));
    Ok(Criterion { range: range.ok_or_else(wrong)?, window: duration::parse(window)? })
}

impl Criterion {
    /// Whether it can be met by a run that is counted in intervals of this length.
    pub(super) fn check(&self, interval: Nanos, by_bytes: bool) -> Result<(), String> {
        if by_bytes {
            return Err("--steady ends a run that is bound by time: leave --bytes out".to_owned());
        }
        if self.window.0 < interval.0.saturating_mul(LEAST) {
            let (window, interval) = (self.window, interval);
            return Err(format!(
                "the window of --steady ({window}) has fewer than {LEAST} intervals ({interval}): make it longer, or --interval \
                 shorter"
            ));
        }
        Ok(())
    }
}

/// The rates of the last window.
#[derive(Debug)]
pub(super) struct Steady {
    criterion: Criterion,
    /// The middle of each interval, in seconds, and operations per second in it.
    rates: VecDeque<(f64, f64)>,
    /// The end of the newest interval, and the beginning of the window in it.
    now: Nanos,
    from: Nanos,
    since: Option<Nanos>,
}

impl Steady {
    pub(super) fn new(criterion: Criterion) -> Steady {
        Steady { criterion, rates: VecDeque::new(), now: Nanos::ZERO, from: Nanos::ZERO, since: None }
    }

    /// One more interval of all peers.
    pub(super) fn add(&mut self, moment: &Moment) {
        if self.since.is_some() || moment.elapsed() == Nanos::ZERO {
            return;
        }
        let middle = (moment.from_ns.0 + moment.to_ns.0) as f64 / 2e9;
        self.rates.push_back((middle, size::rate(moment.all(), moment.elapsed())));
        self.now = moment.to_ns;
        self.from = self.now.since(self.criterion.window);
        while self.rates.front().is_some_and(|&(middle, _)| middle * 1e9 < self.from.0 as f64) {
            self.rates.pop_front();
        }
        let Some((slope, range)) = self.figures() else { return };
        if slope <= self.criterion.range / 2.0 && range <= self.criterion.range {
            self.since = Some(self.now);
        }
    }

    /// When it was reached, from the beginning of the measured time.
    pub(super) fn reached(&self) -> Option<Nanos> {
        self.since
    }

    /// How far it is.
    pub(super) fn sentence(&self) -> String {
        let Criterion { range: most, window } = self.criterion;
        let state = match (self.figures(), self.since) {
            (None, _) => return format!("steady: the window of {window} is not yet full"),
            (Some(_), None) => "not yet steady",
            (Some(_), Some(_)) => "steady",
        };
        let (slope, range) = self.figures().unwrap_or_default();
        format!("{state}: slope {slope:.1} of {:.1} %, range {range:.1} of {most:.1} %, over {window}", most / 2.0)
    }

    /// Slope and range of a full window, in percent of the mean.
    pub(super) fn figures(&self) -> Option<(f64, f64)> {
        let count = self.rates.len() as f64;
        // An interval may be longer than asked for, and then fewer are in a window.
        if self.now < self.criterion.window || self.rates.len() < 3 {
            return None;
        }
        let times = self.rates.iter().map(|&(time, _)| time);
        let rates = || self.rates.iter().map(|&(_, rate)| rate);
        let (time, mean) = (times.sum::<f64>() / count, rates().sum::<f64>() / count);
        if mean <= 0.0 {
            return None;
        }
        let (least, most) =
            rates().fold((f64::INFINITY, 0.0_f64), |(least, most), rate| (least.min(rate), most.max(rate)));
        let (mut products, mut squares) = (0.0, 0.0);
        for &(at, rate) in &self.rates {
            products += (at - time) * (rate - mean);
            squares += (at - time) * (at - time);
        }
        let rise = products / squares * (self.criterion.window.0 as f64 / 1e9);
        Some((rise.abs() * 100.0 / mean, (most - least) * 100.0 / mean))
    }
}

/// Intervals in a window.
const LEAST: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: u64, operations: u64) -> Moment {
        Moment {
            from_ns: Nanos::from_secs(second),
            to_ns: Nanos::from_secs(second + 1),
            bytes: 0,
            operations: vec![operations],
            bytes_by_peer: vec![0],
            mended_bytes: None,
            read: None,
            write: None,
            trim: None,
        }
    }

    fn reached(criterion: &str, rates: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut steady = Steady::new(parse(criterion).expect("a criterion"));
        rates.into_iter().zip(0..).for_each(|(rate, second)| steady.add(&moment(second, rate)));
        steady.reached().map(|time| time.0 / 1_000_000_000)
    }

    #[test]
    fn it_is_steady_when_both_range_and_slope_are_small() {
        assert_eq!(reached("20%/5s", [1000; 20]), Some(5), "as soon as the window is full");
        // It falls from 2000 by 200 a second, then stays.
        let falling = (0..20).map(|second: u64| 2000 - 200 * second.min(5));
        assert_eq!(reached("20%/5s", falling), Some(10));
        // A trend of 12 % over the window, within a range of 20 %.
        assert_eq!(reached("20%/5s", (0..8).map(|second| 10_000 + 240 * second)), None);
        assert_eq!(reached("40%/5s", (0..8).map(|second| 10_000 + 240 * second)), Some(5));
        // No trend, and a range of 30 %.
        assert_eq!(reached("20%/5s", (0..40).map(|second| 1000 + 300 * (second % 2))), None);
        assert_eq!(reached("20%/5s", [0; 20]), None, "a device that does nothing is not steady");
    }

    #[test]
    fn it_says_how_far_it_is() {
        let mut steady = Steady::new(parse("20%/5s").expect("a criterion"));
        assert!(steady.sentence().contains("not yet full"));
        (0..5).for_each(|second| steady.add(&moment(second, 1000 + 500 * (second % 2))));
        assert_eq!(steady.sentence(), "not yet steady: slope 0.0 of 10.0 %, range 41.7 of 20.0 %, over 5.00 s");
    }

    #[test]
    fn what_cannot_be_is_refused_in_a_sentence() {
        for text in ["", "20%", "20/5s", "0%/5s", "x%/5s", "20%/5", "101%/5s", "-1%/1s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let criterion = parse("5%/3s").expect("a criterion");
        assert!(criterion.check(Nanos::from_secs(1), false).is_err_and(|error| error.contains("fewer than 5")));
        assert!(criterion.check(Nanos::from_millis(500), false).is_ok());
        assert!(criterion.check(Nanos::from_millis(500), true).is_err());
    }
}
