//! How many decisions of reservation one core makes per second, and what a step of the planner takes.
//!
//! `cargo bench -p bireme-control --bench reservation`. An element is a decision, or one link and class of a step. At 200
//! steps per second, control stays below 2 % of a core when a step takes less than 100 us.

use std::hint::black_box;

use bireme_control::reservation::balance::Balances;
use bireme_control::reservation::epoch::{Answer, Booking, Epoch};
use bireme_control::reservation::plan::{Capacity, Change, ClassSet, Planner, Seen};
use bireme_control::reservation::tags::{self, LaneId, Pick, Tags};
use bireme_control::reservation::{ClassId, LinkId, PATH_LINKS_MAX, Path, Terms};
use bireme_control::units::Nanos;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    epoch(&mut criterion);
    tags(&mut criterion);
    planner(&mut criterion);
    criterion.final_summary();
}

fn epoch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("epoch");
    group.throughput(Throughput::Elements(1));
    granted(&mut group, "1 link, 3 classes", 1, 3);
    granted(&mut group, "1 link, 100 classes", 1, 100);
    granted(&mut group, "7 links, 3 classes", PATH_LINKS_MAX, 3);
    granted(&mut group, "7 links, 100 classes", PATH_LINKS_MAX, 100);
    // The worst that a request can do: it tries all of its sources, twice, and has none.
    let mut epoch = Epoch::new(&[GIGABYTE; LINKS], &[1, 2, 3], EPOCH, Booking::Ahead);
    let sources = [0, 4, 8].map(|first| path(first, PATH_LINKS_MAX));
    while epoch.ask(Nanos::ZERO, &sources, ClassId(2), GIGABYTE) != Answer::Denied {}
    group.bench_function("7 links, 3 sources, denied", |bencher| {
        bencher.iter(|| epoch.ask(Nanos::ZERO, black_box(&sources), ClassId(2), GIGABYTE));
    });
    group.finish();
}

fn granted(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, links: usize, classes: u16) {
    let weights: Vec<u32> = (1..=u32::from(classes)).collect();
    let mut epoch = Epoch::new(&[u64::MAX >> 2; LINKS], &weights, EPOCH, Booking::Off);
    let paths: Vec<Path> = (0..LINKS).map(|first| path(first, links)).collect();
    let (mut now, mut turn) = (Nanos::ZERO, 0);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            now += MICROSECOND;
            turn += 1;
            let class = ClassId(u16::try_from(turn % usize::from(classes)).unwrap_or(0));
            let answer = epoch.ask(now, black_box(&paths[turn % LINKS..][..1]), class, REQUEST);
            assert!(matches!(answer, Answer::Granted { .. }));
        });
    });
}

fn tags(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tags");
    group.throughput(Throughput::Elements(1));
    let cases = [
        ("1 link, 3 classes", 1, 3),
        ("1 link, 100 classes", 1, 100),
        ("7 links, 3 classes", PATH_LINKS_MAX, 3),
        ("7 links, 100 classes", PATH_LINKS_MAX, 100),
    ];
    for (name, links, classes) in cases {
        let mut loaded = Loaded::new(links, classes);
        group.bench_function(name, |bencher| bencher.iter(|| loaded.decide()));
    }
    group.finish();
}

/// Classes that always have something that waits, each on a lane of its own, before links with room for one more.
struct Loaded {
    tags: Tags,
    balances: Balances,
    now: Nanos,
    in_flight: Option<LaneId>,
}

impl Loaded {
    fn new(links: usize, classes: u16) -> Loaded {
        let terms: Vec<Terms> = (0..classes).map(|class| Terms::weight(1 + u32::from(class) % 4)).collect();
        let mut tags = Tags::new(&[tags::Link { window: 2 * REQUEST }; LINKS], &terms);
        let mut balances = Balances::new(&[Some(RATE); LINKS], &vec![None; terms.len()]);
        for class in (0..classes).map(ClassId) {
            let lane = tags.lane(class, path(0, links));
            tags.ask(Nanos::ZERO, lane, REQUEST);
            (0..LINKS).for_each(|link| balances.set_rate(id(link), class, RATE / u64::from(classes)));
        }
        Loaded { tags, balances, now: Nanos::ZERO, in_flight: None }
    }

    /// All that belongs to one request: it is picked, the one before it ends, and its lane asks for the next.
    fn decide(&mut self) {
        let (now, balances) = (self.now, &mut self.balances);
        match self.tags.pick(now, |link, class, bytes| balances.draw(now, link, class, bytes)) {
            Pick::Grant { lane, bytes } => {
                self.now += Nanos(REQUEST * 1_000_000_000 / RATE);
                self.tags.ask(self.now, lane, bytes);
                if let Some(ended) = self.in_flight.replace(lane) {
                    self.tags.done(ended, REQUEST);
                }
            }
            // A pick for nothing counts as a decision too.
            Pick::Wait(until) => self.now = until,
            Pick::Idle => unreachable!("all classes wait"),
        }
    }
}

fn planner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner, 100 classes, 16 links");
    group.throughput(Throughput::Elements(u64::from(CLASSES) * LINKS as u64));
    // On how many of 100 links others are active than in the step before.
    for (name, changing) in [("all change", 100), ("1 % change", 1), ("none change", 0)] {
        let terms = vec![Terms::weight(1); usize::from(CLASSES)];
        let mut planner = Planner::new(&[Capacity::Paced(RATE); LINKS], &terms);
        let mut turns = [0; LINKS];
        let (mut now, mut step) = (Nanos::ZERO, 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                now += Nanos::from_millis(5);
                step += 1;
                for (link, turn) in turns.iter_mut().enumerate() {
                    *turn += usize::from((step + link * 37) % 100 < changing);
                }
                let mut changes = 0;
                planner.step(now, turns.iter().map(|&turn| seen(turn)), |change: Change| {
                    black_box(change);
                    changes += 1;
                });
                changes
            });
        });
    }
    group.finish();
}

/// All classes but for ten in a row, others at each turn.
fn seen(turn: usize) -> Seen {
    let classes = usize::from(CLASSES);
    let mut active = ClassSet([!0, (1 << (classes - 64)) - 1, 0, 0]);
    for left_out in (turn..turn + 10).map(|class| class % classes) {
        active.0[left_out / 64] &= !(1 << (left_out % 64));
    }
    Seen { active, drawn: 0, ..Seen::default() }
}

/// So many links from the first on, around.
fn path(first: usize, links: usize) -> Path {
    let links: Vec<LinkId> = (first..first + links).map(|link| id(link % LINKS)).collect();
    Path::new(&links).expect("links of a path differ")
}

fn id(link: usize) -> LinkId {
    LinkId(u16::try_from(link).expect("links are few"))
}

const LINKS: usize = 16;
const CLASSES: u16 = 100;
const EPOCH: Nanos = Nanos::from_secs(2);
const MICROSECOND: Nanos = Nanos(1000);
const REQUEST: u64 = 4096;
const GIGABYTE: u64 = 1_000_000_000;
/// A request takes a little more than 2 us.
const RATE: u64 = 2 * GIGABYTE;
