//! What all peers have counted, over time and in total.
//!
//! Intervals of the peers that belong to the same part of the measured time are put together. A part is complete when every
//! peer has handed over a later one; then its figures are kept and the histograms are given on and forgotten, so that a long
//! run needs no more memory than its lines. Nobody waits long for a peer that sleeps or has ended: what it tells later, and
//! that is little, counts to the first part that is still open, so that the parts sum to the totals always.

use std::collections::BTreeMap;

use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::{Latencies, LatencySummary};
use serde::Serialize;
use serde_json::{Value, json};

use super::recorder::{DIRECTIONS, Direction, Interval};

/// The measured time so far.
pub(crate) struct Series<'a> {
    length: Nanos,
    figures: Figures,
    pending: BTreeMap<u64, Part>,
    /// Up to which part each peer has told.
    told: Vec<u64>,
    /// The first part that is not complete.
    open: u64,
    sink: Sink<'a>,
}

/// All peers, all of the measured time.
#[derive(Debug, Default)]
pub struct Figures {
    pub(crate) total: Interval,
    pub(crate) moments: Vec<Moment>,
    /// Operations of the warm-up.
    pub(crate) warm_up: u64,
    began: Option<Nanos>,
    ended: Nanos,
}

/// Who is given each part when it is complete: what it is in short, and all of it.
pub(crate) type Sink<'a> = Box<dyn FnMut(&Moment, &Interval) + 'a>;

#[derive(Default)]
struct Part {
    all: Interval,
    by_peer: Vec<u64>,
    bytes_by_peer: Vec<u64>,
    from: Option<Nanos>,
    to: Nanos,
}

/// A part of the measured time. Times count from its beginning.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) from_ns: Nanos,
    pub(crate) to_ns: Nanos,
    pub(crate) bytes: u64,
    /// By peer.
    pub(crate) operations: Vec<u64>,
    pub(crate) bytes_by_peer: Vec<u64>,
    /// Data that was mended beside, if any was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mended_bytes: Option<u64>,
    pub(crate) read: Option<LatencySummary>,
    pub(crate) write: Option<LatencySummary>,
    pub(crate) trim: Option<LatencySummary>,
}

impl Moment {
    /// Operations of all peers.
    pub(crate) fn all(&self) -> u64 {
        self.operations.iter().sum()
    }

    /// How long it was.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.to_ns.since(self.from_ns)
    }

    /// That of the slowest direction.
    pub(crate) fn p99(&self) -> Nanos {
        self.directions().map(|(_, latencies)| latencies.p99).max().unwrap_or_default()
    }

    /// The directions that occurred.
    pub(crate) fn directions(&self) -> impl Iterator<Item = (Direction, LatencySummary)> {
        Direction::ALL
            .into_iter()
            .zip([self.read, self.write, self.trim])
            .filter_map(|(direction, all)| Some((direction, all?)))
    }
}

impl<'a> Series<'a> {
    /// For so many peers, with intervals of this length.
    pub(crate) fn new(peers: u16, length: Nanos, sink: Sink<'a>) -> Series<'a> {
        Series {
            length,
            figures: Figures::default(),
            pending: BTreeMap::new(),
            told: vec![0; usize::from(peers)],
            open: 0,
            sink,
        }
    }

    /// A peer has handed this over.
    pub(crate) fn add(&mut self, interval: &Interval) {
        if interval.warm_up {
            self.figures.warm_up += interval.operations();
            return;
        }
        self.figures.total.merge(interval);
        let began = *self.figures.began.get_or_insert(interval.from);
        self.figures.ended = self.figures.ended.max(interval.to);
        // Peers begin a moment apart: half an interval is far more than that.
        let own = (interval.from.since(began).0 + self.length.0 / 2) / self.length.0;
        let index = own.max(self.open);
        let start = |index| began + Nanos(index * self.length.0);
        let (from, to) = match own < index {
            // What comes late lies within its part.
            true => (interval.to.min(start(index)), interval.to.min(start(index + 1))),
            false => (interval.from, interval.to),
        };
        let part = self.pending.entry(index).or_default();
        part.by_peer.resize(self.told.len(), 0);
        part.bytes_by_peer.resize(self.told.len(), 0);
        part.by_peer[usize::from(interval.peer)] += interval.operations();
        part.bytes_by_peer[usize::from(interval.peer)] += interval.bytes();
        part.all.merge(interval);
        part.from = Some(part.from.map_or(from, |known| known.min(from)));
        part.to = part.to.max(to);
        self.told[usize::from(interval.peer)] = index;
        let (least, newest) = (self.told.iter().copied().min(), self.told.iter().copied().max());
        self.open = self.open.max(least.unwrap_or(0)).max(newest.unwrap_or(0).saturating_sub(WAITING_MAX));
        while let Some(first) = self.pending.first_entry().filter(|first| *first.key() < self.open) {
            let part = first.remove();
            self.settle(&part);
        }
    }

    /// No peer tells anything more.
    pub(crate) fn finish(&mut self) {
        for part in std::mem::take(&mut self.pending).into_values() {
            self.settle(&part);
        }
    }

    fn settle(&mut self, part: &Part) {
        let began = self.figures.began.unwrap_or_default();
        let [read, write, trim] = std::array::from_fn::<_, DIRECTIONS, _>(|index| {
            let latencies = part.all.directions[index].latencies();
            (latencies.count() > 0).then(|| latencies.summary())
        });
        let moment = Moment {
            from_ns: part.from.unwrap_or_default().since(began),
            to_ns: part.to.since(began),
            bytes: part.all.bytes(),
            operations: part.by_peer.clone(),
            bytes_by_peer: part.bytes_by_peer.clone(),
            mended_bytes: (part.all.mended > 0).then_some(part.all.mended),
            read,
            write,
            trim,
        };
        (self.sink)(&moment, &part.all);
        self.figures.moments.push(moment);
    }

    /// What is left when nobody is to be given anything more.
    pub(crate) fn into_figures(self) -> Figures {
        self.figures
    }
}

impl Figures {
    /// The parts of the measured time, for reports.
    pub fn intervals(&self) -> Value {
        json!(self.moments)
    }

    /// The measured time.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.ended.since(self.began.unwrap_or(self.ended))
    }

    /// The mean number of requests in flight, by Little's law: the sum of their times by the time.
    pub(crate) fn mean_depth(&self) -> f64 {
        let busy: u64 = self.total.directions.iter().map(|figures| figures.service.sum().0).sum();
        busy as f64 / self.elapsed().0.max(1) as f64
    }

    /// All latencies of one direction that readers look at first.
    pub(crate) fn latencies(&self, direction: Direction) -> &Latencies {
        self.total.directions[direction as usize].latencies()
    }
}

/// So many parts wait for a peer that tells nothing.
const WAITING_MAX: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(peer: u16, from: u64, to: u64, operations: u64) -> Interval {
        let mut interval = Interval { peer, from: Nanos(from), to: Nanos(to), ..Interval::default() };
        for index in 0..operations {
            interval.directions[0].service.record(Nanos(100 + index));
            interval.directions[0].bytes += 10;
        }
        interval
    }

    #[test]
    fn parts_are_put_together_and_nothing_is_lost_or_counted_twice() {
        let mut seen = Vec::new();
        let mut series = Series::new(2, Nanos(1000), Box::new(|moment, all| seen.push((moment.all(), all.bytes()))));
        // Peer 1 began a little later, and its second interval is two long.
        let told = [(0, 50, 1050, 3), (1, 60, 1061, 4), (0, 1050, 2050, 5), (0, 2050, 3050, 7), (1, 1061, 3060, 6)];
        told.into_iter().for_each(|(peer, from, to, operations)| series.add(&interval(peer, from, to, operations)));
        series.finish();
        let figures = series.into_figures();
        let all: Vec<_> = figures
            .moments
            .iter()
            .map(|moment| (moment.from_ns.0, moment.to_ns.0, moment.operations.clone()))
            .collect();
        assert_eq!(all, [(0, 1011, vec![3, 4]), (1000, 3010, vec![5, 6]), (2000, 3000, vec![7, 0])]);
        assert_eq!(figures.moments[1].bytes_by_peer, [50, 60]);
        assert_eq!((figures.total.operations(), figures.elapsed()), (25, Nanos(3010)));
        assert_eq!(seen, [(7, 70), (11, 110), (7, 70)]);
    }

    #[test]
    fn a_peer_that_sleeps_holds_nobody_up_and_loses_nothing() {
        let mut seen = Vec::new();
        let mut series = Series::new(2, Nanos(1000), Box::new(|moment, _| seen.push(moment.all())));
        for second in 0..8 {
            series.add(&interval(0, second * 1000, (second + 1) * 1000, 10));
        }
        // What it has counted before it fell asleep.
        series.add(&interval(1, 0, 7900, 3));
        series.add(&interval(1, 7900, 8100, 2));
        series.finish();
        let figures = series.into_figures();
        let all: Vec<_> =
            figures.moments.iter().map(|moment| (moment.from_ns.0, moment.to_ns.0, moment.all())).collect();
        assert_eq!(all[..3], [(0, 1000, 10), (1000, 2000, 10), (2000, 3000, 10)]);
        assert_eq!(all[3..5], [(3000, 4000, 13), (4000, 5000, 10)]);
        assert_eq!(all[7..], [(7000, 8000, 10), (7900, 8100, 2)]);
        assert_eq!((figures.total.operations(), seen), (85, vec![10, 10, 10, 13, 10, 10, 10, 10, 2]));
    }
}
