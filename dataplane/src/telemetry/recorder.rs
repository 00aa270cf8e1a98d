//! What is counted on a peer's thread, interval by interval, and how it leaves the thread.
//!
//! ```text
//!   peer: record ... record, interval over ─▶ full ─▶ reporter: live line, series, totals
//!                        ▲                              │
//!                        └────────────── empty ◀────────┘
//! ```
//!
//! Whoever counts holds a [`Recorder`]: the clients of a measurement, and the peers of a run whose gauges have an
//! [`Exchange`]. Both queues are bounded, and the intervals are made before the run: nothing is allocated or awaited on the data path.
//! When the reporter is late a peer goes on in the interval that it has, which is then longer, and says so.

use std::sync::Arc;

use bireme_control::units::Nanos;
use crossbeam::queue::ArrayQueue;

use super::Latencies;

/// What a request does, as figures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Data comes from a device.
    Read = 0,
    /// Data goes to it.
    Write = 1,
    /// It may forget data.
    Trim = 2,
}

impl Direction {
    /// In the order of their numbers.
    pub const ALL: [Direction; DIRECTIONS] = [Direction::Read, Direction::Write, Direction::Trim];

    /// In JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
            Direction::Trim => "trim",
        }
    }
}

/// How many there are.
pub const DIRECTIONS: usize = 3;

/// The requests of one direction.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// From the hand-over to the kernel to the end: service time.
    pub service: Latencies,
    /// From the intended start to the end: response time. Kept where there is a schedule; empty otherwise.
    pub response: Latencies,
    /// What they moved.
    pub bytes: u64,
}

impl Figures {
    /// What users of the device would have seen: response times where there is a schedule, service times otherwise.
    pub fn latencies(&self) -> &Latencies {
        if self.response.count() > 0 { &self.response } else { &self.service }
    }

    /// Adds other ones.
    pub fn merge(&mut self, other: &Figures) {
        self.service.merge(&other.service);
        self.response.merge(&other.response);
        self.bytes += other.bytes;
    }
}

/// What one peer has counted from one point in time to another.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Which.
    pub peer: u16,
    /// The first point.
    pub from: Nanos,
    /// The other.
    pub to: Nanos,
    /// Before the measured time began.
    pub warm_up: bool,
    /// By [`Direction`].
    pub directions: [Figures; DIRECTIONS],
    /// Those of flushes.
    pub flushes: Latencies,
    /// System calls that handed requests over.
    pub submissions: u64,
    /// Arrivals that were due, started or not.
    pub due: u64,
    /// Bytes of data that were mended beside.
    pub mended: u64,
}

impl Interval {
    fn begin(&mut self, peer: u16, now: Nanos, warm_up: bool) {
        self.directions.iter_mut().for_each(|figures| {
            figures.service.clear();
            figures.response.clear();
            figures.bytes = 0;
        });
        self.flushes.clear();
        (self.peer, self.from, self.to, self.warm_up) = (peer, now, now, warm_up);
        (self.submissions, self.due, self.mended) = (0, 0, 0);
    }

    /// Requests that ended, flushes left out.
    pub fn operations(&self) -> u64 {
        self.directions.iter().map(|figures| figures.service.count()).sum()
    }

    /// Bytes that they moved.
    pub fn bytes(&self) -> u64 {
        self.directions.iter().map(|figures| figures.bytes).sum()
    }

    /// Adds another interval: of another peer, or of another time.
    pub fn merge(&mut self, other: &Interval) {
        self.directions.iter_mut().zip(&other.directions).for_each(|(mine, theirs)| mine.merge(theirs));
        self.flushes.merge(&other.flushes);
        self.submissions += other.submissions;
        self.due += other.due;
        self.mended += other.mended;
    }
}

/// The way of intervals between the peers and the reporter.
#[derive(Clone, Debug)]
pub struct Exchange {
    full: Arc<ArrayQueue<Box<Interval>>>,
    empty: Arc<ArrayQueue<Box<Interval>>>,
}

impl Exchange {
    /// For so many peers.
    pub fn new(peers: u16) -> Exchange {
        let places = usize::from(peers) * SPARE;
        let queue = || Arc::new(ArrayQueue::new(places + usize::from(peers)));
        let (full, empty) = (queue(), queue());
        (0..places).for_each(|_| {
            // There is room for all.
            let _ = empty.push(Box::default());
        });
        Exchange { full, empty }
    }

    /// The next one that has ended; it goes back when it was looked at.
    pub fn take(&self, mut look: impl FnMut(&Interval)) -> bool {
        let Some(interval) = self.full.pop() else { return false };
        look(&interval);
        let _ = self.empty.push(interval);
        true
    }
}

/// One peer's side.
#[derive(Debug)]
pub struct Recorder {
    exchange: Exchange,
    current: Box<Interval>,
    peer: u16,
    length: Nanos,
    ends: Nanos,
}

impl Recorder {
    /// It counts from [`Recorder::start`] on, in intervals of this length.
    pub fn new(exchange: Exchange, peer: u16, length: Nanos) -> Recorder {
        Recorder { exchange, current: Box::default(), peer, length, ends: Nanos::ZERO }
    }

    /// The first interval begins, if none has: for those who learn the time by their turns.
    pub fn begin_once(&mut self, now: Nanos) {
        if self.ends == Nanos::ZERO {
            self.start(now, false);
        }
    }

    /// The first interval begins.
    pub fn start(&mut self, now: Nanos, warm_up: bool) {
        self.current.begin(self.peer, now, warm_up);
        self.ends = now + self.length;
    }

    /// What is being counted.
    #[inline]
    pub fn current(&mut self) -> &mut Interval {
        &mut self.current
    }

    /// Ends the interval if its time is over, at points that all peers share.
    #[inline]
    pub fn tick(&mut self, now: Nanos) {
        if now >= self.ends {
            self.roll(now, self.current.warm_up);
            while self.ends <= now {
                self.ends += self.length;
            }
        }
    }

    /// Ends the interval now; the next one belongs to the warm-up or not. The interval goes on when the reporter is late,
    /// but what was counted before the measured time is never mixed with what follows.
    pub fn roll(&mut self, now: Nanos, warm_up: bool) {
        match self.exchange.empty.pop() {
            Some(mut next) => {
                next.begin(self.peer, now, warm_up);
                self.current.to = now;
                let ended = std::mem::replace(&mut self.current, next);
                // There is a place for each interval that exists.
                let _ = self.exchange.full.push(ended);
            }
            None if self.current.warm_up && !warm_up => self.current.begin(self.peer, now, false),
            None => {}
        }
    }

    /// The measured time begins now.
    pub fn end_warm_up(&mut self, now: Nanos) {
        self.roll(now, false);
        self.ends = now + self.length;
    }

    /// Hands over what is left. Called once, when the peer is done.
    pub fn finish(&mut self, now: Nanos) {
        self.current.to = now;
        let ended = std::mem::take(&mut self.current);
        // There is a place for each interval that exists.
        let _ = self.exchange.full.push(ended);
    }
}

/// Intervals are not shorter than that: as often does a reporter look.
pub const INTERVAL_MIN: Nanos = Nanos::from_millis(50);
/// Intervals per peer beside the one in use.
const SPARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_the_reporter_sleeps() {
        let exchange = Exchange::new(1);
        let mut recorder = Recorder::new(exchange.clone(), 3, Nanos(100));
        recorder.start(Nanos(0), true);
        recorder.current().flushes.record(Nanos(1));
        recorder.end_warm_up(Nanos(50));
        for turn in 1u64..=2000 {
            recorder.tick(Nanos(50 + turn));
            recorder.current().directions[1].service.record(Nanos(turn));
            recorder.current().directions[1].bytes += 4096;
        }
        recorder.finish(Nanos(2100));
        let (mut sum, mut last) = (Interval::default(), Nanos::ZERO);
        let mut counted = 0;
        while exchange.take(|interval| {
            assert!(interval.peer == 3 && interval.from == last, "{} to {}", interval.from, interval.to);
            last = interval.to;
            counted += 1;
            if !interval.warm_up {
                sum.merge(interval);
            }
        }) {}
        assert_eq!((last, counted), (Nanos(2100), 5), "four spare ones and the one in use");
        assert_eq!((sum.operations(), sum.bytes(), sum.flushes.count()), (2000, 2000 * 4096, 0));
    }

    #[test]
    fn intervals_end_at_shared_points() {
        let exchange = Exchange::new(1);
        let mut recorder = Recorder::new(exchange.clone(), 0, Nanos(100));
        recorder.start(Nanos(7), false);
        let mut ends = Vec::new();
        for now in [50, 107, 110, 340, 390, 407, 420] {
            recorder.tick(Nanos(now));
            while exchange.take(|interval| ends.push(interval.to.0)) {}
        }
        assert_eq!(ends, [107, 340, 407]);
    }
}
