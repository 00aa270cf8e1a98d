//! What the line says while a run goes on, drawn from the newest interval of each peer.
//!
//! ```text
//!   3 of 10 s; 312k/s, 1219 MiB/s, p99 412 us; peers 155k 157k/s; 7 s left
//! ```
//!
//! It is as new as an interval is long: nothing is asked of the peers for it.

use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::Latencies;

use super::load::Span;
use crate::recording::recorder::Interval;
use crate::size::{self, digits};

/// What the run is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) warm_up: Nanos,
    /// Of all peers.
    pub(super) span: Span,
    /// The schedule of all peers, if there is one.
    pub(super) per_s: Option<f64>,
    pub(super) interval: Nanos,
}

/// How the run goes.
#[derive(Debug)]
pub(super) struct Live {
    aim: Aim,
    newest: Vec<Newest>,
    /// When the first interval began, as far as is known.
    began: Nanos,
    known: bool,
    /// Bytes of the measured time.
    bytes: u64,
    /// Which of the times to show a line was the last one used.
    shown: u64,
    /// There was an interval since.
    fresh: bool,
    /// How steady the run is.
    pub(super) steady: Option<String>,
}

/// The newest interval of one peer.
#[derive(Debug, Default)]
struct Newest {
    operations_per_s: f64,
    bytes_per_s: f64,
    latencies: Latencies,
}

impl Live {
    /// Where the position of [`turn`](Live::turn) ends.
    pub(super) const FULL: u64 = 1000;

    pub(super) fn new(aim: Aim, peers: u16) -> Live {
        let newest = (0..peers).map(|_| Newest::default()).collect();
        Live { aim, newest, began: Nanos::ZERO, known: false, bytes: 0, shown: 0, fresh: false, steady: None }
    }

    /// A peer has handed this over, about now.
    pub(super) fn add(&mut self, interval: &Interval, now: Nanos) {
        let elapsed = interval.to.since(interval.from);
        if !std::mem::replace(&mut self.known, true) {
            self.began = Nanos(now.0.saturating_sub(elapsed.0));
        }
        self.bytes += if interval.warm_up { 0 } else { interval.bytes() };
        // What is left of an interval at a change of phase says little.
        if elapsed.0 * 4 < self.aim.interval.0 {
            return;
        }
        self.fresh = true;
        let newest = &mut self.newest[usize::from(interval.peer)];
        newest.operations_per_s = size::rate(interval.operations(), elapsed);
        newest.bytes_per_s = size::rate(interval.bytes(), elapsed);
        newest.latencies.clear();
        for figures in interval.directions.iter().filter(|figures| figures.service.count() > 0) {
            newest.latencies.merge(figures.latencies());
        }
    }

    /// The line and how far the run is, if it is time to show it again.
    pub(super) fn turn(&mut self, now: Nanos, redraws: bool) -> Option<(String, u64)> {
        let period = if redraws { REDRAWN } else { self.listed() };
        let due = now.0 / period.0;
        // A listed line without news is no news.
        if due <= self.shown || !(self.fresh || redraws && self.known) {
            return None;
        }
        (self.shown, self.fresh) = (due, false);
        let elapsed = now.since(self.began);
        Some((self.line(elapsed), self.position(elapsed)))
    }

    /// How often lines are listed: each interval, at most each second; of long runs less often.
    fn listed(&self) -> Nanos {
        match self.aim.span {
            Span::Time(time) if time > LONG => LISTED_OF_LONG,
            _ => self.aim.interval.max(LISTED),
        }
    }

    fn line(&self, elapsed: Nanos) -> String {
        let operations: f64 = self.newest.iter().map(|newest| newest.operations_per_s).sum();
        let bytes: f64 = self.newest.iter().map(|newest| newest.bytes_per_s).sum();
        let mut all = Latencies::new();
        self.newest.iter().for_each(|newest| all.merge(&newest.latencies));
        let (where_, left) = self.progress(elapsed, bytes);
        let rate =
            format!("{}/s, {}, p99 {}", size::print_count(operations), size::print_rate(bytes), all.percentile(99_000));
        let schedule = self.aim.per_s.map(|asked| {
            format!("{} % of {}/s asked for", digits(operations * 100.0 / asked), size::print_count(asked))
        });
        let parts = [Some(where_), Some(rate), schedule, self.by_peer(), left, self.steady.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// How far it is, and what is left.
    fn progress(&self, elapsed: Nanos, bytes_per_s: f64) -> (String, Option<String>) {
        let seconds = |time: Nanos| digits((time.0 as f64 / 1e8).round() / 10.0);
        if elapsed < self.aim.warm_up {
            return (format!("warm-up {} of {} s", seconds(elapsed), seconds(self.aim.warm_up)), None);
        }
        let elapsed = elapsed.since(self.aim.warm_up);
        let rest = |seconds: f64| format!("{:.0} s left", seconds.ceil());
        match self.aim.span {
            Span::Time(time) => {
                let left = rest(time.since(elapsed).0 as f64 / 1e9);
                (format!("{} of {} s", seconds(elapsed.min(time)), seconds(time)), Some(left))
            }
            Span::Bytes(bytes) => {
                let left = bytes.saturating_sub(self.bytes) as f64;
                let left = if bytes_per_s > 0.0 { rest(left / bytes_per_s) } else { "stalled".to_owned() };
                (format!("{} of {}", size::print(self.bytes.min(bytes)), size::print(bytes)), Some(left))
            }
        }
    }

    /// The rate of each peer, or of the slowest and the fastest when they are many.
    fn by_peer(&self) -> Option<String> {
        let rates = || self.newest.iter().map(|newest| newest.operations_per_s);
        match self.newest.len() {
            0 | 1 => None,
            2..=PEERS_SHOWN => {
                Some(format!("peers {}/s", rates().map(size::print_count).collect::<Vec<_>>().join(" ")))
            }
            many => {
                let (slowest, fastest) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
                let [slowest, fastest] = [slowest, fastest].map(size::print_count);
                Some(format!("{many} peers {slowest} to {fastest}/s"))
            }
        }
    }

    fn position(&self, elapsed: Nanos) -> u64 {
        let (done, all) = match self.aim.span {
            Span::Time(time) => (elapsed.since(self.aim.warm_up).0, time.0),
            Span::Bytes(bytes) => (self.bytes, bytes),
        };
        let part = u128::from(done) * u128::from(Live::FULL) / u128::from(all.max(1));
        u64::try_from(part).unwrap_or(Live::FULL).min(Live::FULL)
    }
}

const REDRAWN: Nanos = Nanos::from_millis(250);
const LISTED: Nanos = Nanos::from_secs(1);
const LISTED_OF_LONG: Nanos = Nanos::from_secs(10);
const LONG: Nanos = Nanos::from_secs(60);
const PEERS_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn live(warm_up: u64, span: Span, per_s: Option<f64>, peers: u16) -> Live {
        let aim = Aim { warm_up: Nanos::from_secs(warm_up), span, per_s, interval: Nanos::from_secs(1) };
        Live::new(aim, peers)
    }

    /// One second of so many requests of 4 KiB, each of 100 us.
    fn second(peer: u16, from: u64, requests: u64, warm_up: bool) -> Interval {
        let (from, to) = (Nanos::from_secs(from), Nanos::from_secs(from + 1));
        let mut interval = Interval { peer, from, to, warm_up, ..Interval::default() };
        (0..requests).for_each(|_| interval.directions[1].service.record(Nanos(100_000)));
        interval.directions[1].bytes = requests * 4096;
        interval
    }

    #[test]
    fn the_line_tells_where_the_run_is_and_how_fast() {
        let ten = Span::Time(Nanos::from_secs(10));
        let mut live = live(2, ten, Some(4000.0), 2);
        let at = |tenths: u64| Nanos::from_millis(500 + tenths * 100);
        assert_eq!(live.turn(at(1), false), None, "nothing is known yet");
        live.add(&second(0, 0, 1000, true), at(10));
        live.add(&second(1, 0, 3000, true), at(10));
        let (line, position) = live.turn(at(11), false).expect("news");
        let rest = "4k/s, 15.6 MiB/s, p99 99.8 us; 100 % of 4k/s asked for; peers 1k 3k/s";
        assert_eq!((line.as_str(), position), (format!("warm-up 1.1 of 2 s; {rest}").as_str(), 0));
        assert_eq!(live.turn(at(20), false), None, "no news");
        live.add(&second(1, 1, 1000, true), at(20));
        live.steady = Some("steady: slope 1 %".to_owned());
        let (line, position) = live.turn(at(70), false).expect("news");
        assert_eq!(
            line,
            "5 of 10 s; 2k/s, 7.81 MiB/s, p99 99.8 us; 50 % of 4k/s asked for; peers 1k 1k/s; 5 s left; steady: slope 1 %"
        );
        assert_eq!(position, 500);
    }

    #[test]
    fn a_run_for_bytes_tells_bytes() {
        let mut live = live(0, Span::Bytes(40 << 20), None, 1);
        live.add(&second(0, 0, 2560, false), Nanos::from_secs(1));
        let (line, position) = live.turn(Nanos::from_secs(1), true).expect("it is time");
        assert_eq!((line.as_str(), position), ("10 MiB of 40 MiB; 2.56k/s, 10 MiB/s, p99 99.8 us; 3 s left", 250));
    }

    #[test]
    fn lines_are_redrawn_four_times_a_second_and_listed_each_second_or_each_ten() {
        let count = |span: u64, redraws: bool| {
            let mut live = live(0, Span::Time(Nanos::from_secs(span)), None, 1);
            let tick = |tick: u64| {
                if tick.is_multiple_of(20) {
                    live.add(&second(0, tick / 20, 10, false), Nanos::from_millis(tick * 50));
                }
                live.turn(Nanos::from_millis(tick * 50), redraws).is_some()
            };
            (0..20 * span).map(tick).filter(|shown| *shown).count()
        };
        assert_eq!((count(30, true), count(30, false), count(100, false)), (119, 29, 9));
    }

    #[test]
    fn many_peers_are_told_in_short() {
        let mut live = live(0, Span::Time(Nanos::from_secs(10)), None, 9);
        (0..9).for_each(|peer| live.add(&second(peer, 0, 100 + u64::from(peer), false), Nanos::from_secs(1)));
        assert_eq!(live.by_peer().as_deref(), Some("9 peers 100 to 108/s"));
    }
}
