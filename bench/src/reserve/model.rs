//! The closed loop: the schemes that ship, between simulated classes and a simulated link.
//!
//! ```text
//!   demand ──▶ queue of its class ──▶ [ manager: the head may go, or not yet ] ──▶ link ──▶ ended ──▶ record
//!      ▲                                                                             │
//!      └──────────────────────── backlogs ask for the next ──────────────────────────┘
//! ```
//!
//! Time jumps from one happening to the next. What falls on one nanosecond has a fixed order, and the pauses of a class
//! depend on the seed and their number only, so a run is a function of its arguments.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;

use super::demand::{Demand, Load};
use super::link::{Link, Request};
use super::manager::{Manager, Pick};
use super::record::{Ended, Record};
use super::{Rule, Scenario};
use crate::random;

/// Runs the load under a rule; what is recorded begins after the warm-up.
pub(super) fn run(scenario: &Scenario, rule: Rule, load: &Load) -> Record {
    let mut model = Model::new(scenario, rule, load);
    for class in (0..).map(ClassId).take(load.demands.len()) {
        model.begin(class);
    }
    model.serve();
    while model.step(scenario.runtime) {}
    model.record.finish(model.link.busy(scenario.runtime))
}

#[derive(Debug)]
struct Model<'a> {
    seed: u64,
    demands: &'a [Demand],
    /// What waits, by class, first come first served.
    queues: Vec<VecDeque<Request>>,
    /// By class: pauses drawn so far, and whether it is off.
    drawn: Vec<u64>,
    off: Vec<bool>,
    manager: Manager,
    link: Link,
    happenings: BinaryHeap<Reverse<(Nanos, u64, Happening)>>,
    planned: u64,
    /// When the manager wants to be asked again, and when it plans.
    wake: Nanos,
    period: Nanos,
    now: Nanos,
    record: Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A class asks at random.
    Arrive(ClassId),
    /// A class that comes and goes does so.
    Turn(ClassId),
    /// What is recorded begins.
    Warm,
}

impl Model<'_> {
    fn new<'a>(scenario: &Scenario, rule: Rule, load: &'a Load) -> Model<'a> {
        let classes = load.demands.len();
        let manager = Manager::new(rule, scenario.link, &load.weights);
        let mut model = Model {
            seed: scenario.seed,
            demands: &load.demands,
            queues: vec![VecDeque::new(); classes],
            drawn: vec![0; classes],
            off: vec![true; classes],
            period: manager.period().unwrap_or(NEVER),
            manager,
            link: Link::new(scenario.link, scenario.service),
            happenings: BinaryHeap::new(),
            planned: 0,
            wake: NEVER,
            now: Nanos::ZERO,
            record: Record::new(scenario.warm_up(), scenario.runtime),
        };
        model.plan(scenario.warm_up(), Happening::Warm);
        model
    }

    /// The first requests of a class.
    fn begin(&mut self, class: ClassId) {
        match self.demands[class.index()] {
            Demand::None => {}
            Demand::Backlog { depth, bytes } => (0..depth).for_each(|_| self.arrive(class, bytes)),
            Demand::Random { pause_ns, .. } => self.pause(class, pause_ns),
            Demand::OnOff { .. } => self.turn(class),
        }
    }

    /// The next happening; false when there is none before the end.
    fn step(&mut self, until: Nanos) -> bool {
        let ends = self.link.next().unwrap_or(NEVER);
        let happens = self.happenings.peek().map_or(NEVER, |Reverse((at, ..))| *at);
        let next = ends.min(happens).min(self.wake).min(self.period);
        if next > until {
            return false;
        }
        self.now = next;
        if ends == next {
            self.ended();
        } else if self.period == next {
            self.manager.plan(next);
            self.period = self.manager.period().map_or(NEVER, |period| next + period);
        } else if self.wake == next {
            self.wake = NEVER;
        } else if let Some(Reverse((.., happening))) = self.happenings.pop() {
            self.happen(happening);
        }
        self.serve();
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Warm => self.record.begin(self.link.busy(self.now)),
            Happening::Turn(class) => self.turn(class),
            Happening::Arrive(class) => {
                if let Demand::Random { pause_ns, bytes } = self.demands[class.index()] {
                    self.arrive(class, bytes);
                    self.pause(class, pause_ns);
                }
            }
        }
    }

    fn ended(&mut self) {
        let Some(request) = self.link.end(self.now) else { return };
        let Request { class, bytes, arrived } = request;
        self.manager.done(class, bytes);
        self.record.add(Ended { class, bytes, arrived, at: self.now });
        match self.demands[class.index()] {
            Demand::Backlog { bytes, .. } => self.arrive(class, bytes),
            Demand::OnOff { bytes, .. } if !self.off[class.index()] => self.arrive(class, bytes),
            Demand::OnOff { .. } | Demand::Random { .. } | Demand::None => {}
        }
    }

    /// A class that comes and goes.
    fn turn(&mut self, class: ClassId) {
        let Demand::OnOff { depth, bytes, on, off, spread } = self.demands[class.index()] else { return };
        let was_off = std::mem::replace(&mut self.off[class.index()], false);
        if was_off && self.now > Nanos::ZERO {
            self.record.returned(self.now);
            (0..depth).for_each(|_| self.arrive(class, bytes));
            self.plan(on, Happening::Turn(class));
        } else {
            self.off[class.index()] = true;
            let more = nanos(random::uniform(self.seed, u64::from(class.0), self.draw(class)) * spread.0 as f64);
            self.plan(off + more, Happening::Turn(class));
        }
    }

    fn pause(&mut self, class: ClassId, mean_ns: f64) {
        let pause = random::exponential(self.seed, u64::from(class.0), self.draw(class), mean_ns);
        self.plan(nanos(pause), Happening::Arrive(class));
    }

    fn draw(&mut self, class: ClassId) -> u64 {
        self.drawn[class.index()] += 1;
        self.drawn[class.index()]
    }

    fn arrive(&mut self, class: ClassId, bytes: u64) {
        let queue = &mut self.queues[class.index()];
        queue.push_back(Request { class, bytes, arrived: self.now });
        if queue.len() == 1 {
            self.manager.ask(self.now, class, bytes);
        }
    }

    /// Starts whatever the manager lets go.
    fn serve(&mut self) {
        loop {
            match self.manager.pick(self.now) {
                Pick::Grant(class) => {
                    let Some(request) = self.queues[class.index()].pop_front() else { return };
                    self.link.start(self.now, request);
                    if let Some(head) = self.queues[class.index()].front() {
                        self.manager.ask(self.now, class, head.bytes);
                    }
                }
                Pick::Wait(until) => {
                    self.wake = until.max(self.now + Nanos(1));
                    return;
                }
                Pick::Idle => {
                    self.wake = NEVER;
                    return;
                }
            }
        }
    }

    fn plan(&mut self, after: Nanos, happening: Happening) {
        self.happenings.push(Reverse((self.now + after, self.planned, happening)));
        self.planned += 1;
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pauses are above 0 and far below 2^63")]
fn nanos(pause_ns: f64) -> Nanos {
    Nanos(pause_ns as u64)
}

const NEVER: Nanos = Nanos(u64::MAX);
