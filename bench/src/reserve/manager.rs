//! Who may go, under each of the rules, behind one face: heads of queues in, grants out.

use std::sync::Arc;

use bireme_control::reservation::epoch::{Answer, Epoch};
use bireme_control::reservation::tags::{self, LaneId};
use bireme_control::reservation::{ClassId, LinkId, Path};
use bireme_control::units::Nanos;
use bireme_dataplane::reservation::{Balances, Gate};

use super::Rule;
use super::lending::Lending;
use super::paced::Paced;

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// The head of this class.
    Grant(ClassId),
    /// Nothing before then, unless something arrives or ends.
    Wait(Nanos),
    /// Nothing until something arrives or ends.
    Idle,
}

/// The rule, and the heads that it has not let go yet.
#[derive(Debug)]
pub(super) enum Manager {
    None {
        heads: Heads,
    },
    Epoch {
        epoch: Epoch,
        path: Path,
        heads: Heads,
        denied: Denied,
    },
    Lending {
        lending: Lending,
        heads: Heads,
    },
    Tags(Paced),
    /// Balances that several peers share, and this one's gate.
    Shared {
        gate: Box<Gate>,
        lanes: Vec<LaneId>,
    },
}

/// By class, the bytes of the request that waits at the head of its queue.
pub(super) type Heads = Vec<Option<u64>>;

/// By class, until when its head was denied.
type Denied = Vec<Nanos>;

impl Manager {
    pub(super) fn new(rule: Rule, link: u64, weights: &[u32]) -> Manager {
        let heads = vec![None; weights.len()];
        match rule {
            Rule::None | Rule::Kernel => Manager::None { heads },
            Rule::Epoch { length, booking } => Manager::Epoch {
                epoch: Epoch::new(&[link], weights, length, booking),
                path: the_link(),
                denied: vec![Nanos::ZERO; heads.len()],
                heads,
            },
            Rule::Lending { length, carry } => {
                Manager::Lending { lending: Lending::new(link, weights, length, carry), heads }
            }
            Rule::Tags { window, .. } => Manager::Tags(Paced::new(link, weights, window)),
        }
    }

    /// One peer's, over balances that all share; at most so many bytes of its are in flight.
    pub(super) fn shared(balances: Arc<Balances>, classes: usize, window: u64) -> Manager {
        let mut gate = Box::new(Gate::new(balances, &[window]));
        let lanes = (0..classes).map(|class| gate.lane(id(class), the_link())).collect();
        Manager::Shared { gate, lanes }
    }

    /// How often it plans; `None`: never.
    pub(super) fn period(&self) -> Option<Nanos> {
        matches!(self, Manager::Tags(_)).then_some(Paced::PERIOD)
    }

    /// Plans.
    pub(super) fn plan(&mut self, now: Nanos) {
        if let Manager::Tags(paced) = self {
            paced.plan(now);
        }
    }

    /// The head of a class waits from now on.
    pub(super) fn ask(&mut self, now: Nanos, class: ClassId, bytes: u64) {
        match self {
            Manager::None { heads } | Manager::Lending { heads, .. } => heads[class.index()] = Some(bytes),
            Manager::Epoch { heads, denied, .. } => {
                heads[class.index()] = Some(bytes);
                denied[class.index()] = Nanos::ZERO;
            }
            Manager::Tags(paced) => paced.ask(now, class, bytes),
            Manager::Shared { gate, lanes } => gate.ask(now, lanes[class.index()], bytes),
        }
    }

    /// What may go now. What is granted does not wait any more.
    pub(super) fn pick(&mut self, now: Nanos) -> Pick {
        match self {
            Manager::None { heads } => match heads.iter_mut().position(|head| head.take().is_some()) {
                Some(class) => Pick::Grant(id(class)),
                None => Pick::Idle,
            },
            Manager::Epoch { epoch, path, heads, denied } => pick_in_epoch(now, epoch, *path, heads, denied),
            Manager::Lending { lending, heads } => lending.pick(now, heads),
            Manager::Tags(paced) => paced.pick(now),
            // Lanes are numbered as classes are.
            Manager::Shared { gate, .. } => match gate.pick(now) {
                tags::Pick::Grant { lane, .. } => Pick::Grant(ClassId(lane.0)),
                tags::Pick::Wait(until) => Pick::Wait(until),
                tags::Pick::Idle => Pick::Idle,
            },
        }
    }

    /// What was granted has left the link.
    pub(super) fn done(&mut self, class: ClassId, bytes: u64) {
        match self {
            Manager::Tags(paced) => paced.done(class, bytes),
            Manager::Shared { gate, lanes } => gate.done(lanes[class.index()], bytes),
            Manager::None { .. } | Manager::Epoch { .. } | Manager::Lending { .. } => {}
        }
    }
}

/// Asks for the heads, that of the highest class first. Who was denied asks again when the next epoch starts: until then
/// its pool does not grow.
fn pick_in_epoch(now: Nanos, epoch: &mut Epoch, path: Path, heads: &mut Heads, denied: &mut Denied) -> Pick {
    let mut waits = false;
    for class in (0..heads.len()).rev() {
        let Some(bytes) = heads[class] else { continue };
        waits = true;
        if denied[class] > now {
            continue;
        }
        match epoch.ask(now, &[path], id(class), bytes) {
            Answer::Granted { .. } => {
                heads[class] = None;
                return Pick::Grant(id(class));
            }
            Answer::Denied => denied[class] = epoch.next_start(now),
        }
    }
    if waits { Pick::Wait(epoch.next_start(now)) } else { Pick::Idle }
}

/// A path over the one link that is simulated.
pub(super) fn the_link() -> Path {
    Path::new(&[LinkId(0)]).expect("one link")
}

pub(super) fn id(class: usize) -> ClassId {
    ClassId(u16::try_from(class).expect("there are fewer classes than ids"))
}
