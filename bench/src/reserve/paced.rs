//! Tags, balances and planner as they ship, on one link.

use bireme_control::reservation::balance::Balances;
use bireme_control::reservation::plan::{Capacity, Change, Planner, Seen};
use bireme_control::reservation::tags::{self, Held, LaneId, Tags};
use bireme_control::reservation::{ClassId, LinkId, Terms};
use bireme_control::units::Nanos;

use super::manager::{Pick, id, the_link};

#[derive(Debug)]
pub(super) struct Paced {
    tags: Tags,
    balances: Balances,
    planner: Planner,
    /// By class.
    lanes: Vec<LaneId>,
    /// What had held back those who waited when the planner looked.
    held: Held,
}

impl Paced {
    /// As on a control thread that does 200 steps per second.
    pub(super) const PERIOD: Nanos = Nanos::from_millis(5);

    pub(super) fn new(link: u64, weights: &[u32], window: u64) -> Paced {
        let terms: Vec<Terms> = weights.iter().map(|&weight| Terms::weight(weight)).collect();
        let mut tags = Tags::new(&[tags::Link { window }], &terms);
        let lanes = (0..weights.len()).map(|class| tags.lane(id(class), the_link())).collect();
        // What is simulated is a link that is found to do as much as it does.
        let capacity = Capacity::Tracked(link);
        let mut paced = Paced {
            tags,
            balances: Balances::new(&[Some(link)], &vec![None; weights.len()]),
            planner: Planner::new(&[capacity], &terms),
            lanes,
            held: Held::default(),
        };
        paced.plan(Nanos::ZERO);
        paced
    }

    pub(super) fn plan(&mut self, now: Nanos) {
        let balances = &mut self.balances;
        for (class, links) in self.tags.waiting() {
            links.iter().for_each(|&link| balances.mark(link, class));
        }
        let before = std::mem::replace(&mut self.held, self.tags.held(LINK));
        let (full, starved) = (self.held.full > before.full, self.held.starved > before.starved);
        let seen = Seen { full, starved, ..balances.look(LINK) };
        self.planner.step(now, std::iter::once(seen), |change| match change {
            Change::Rate(link, class, rate) => balances.set_rate(link, class, rate),
            Change::Capacity(link, capacity) => balances.set_capacity(link, capacity),
        });
    }

    pub(super) fn ask(&mut self, now: Nanos, class: ClassId, bytes: u64) {
        self.tags.ask(now, self.lanes[class.index()], bytes);
    }

    pub(super) fn pick(&mut self, now: Nanos) -> Pick {
        let balances = &mut self.balances;
        match self.tags.pick(now, |link, class, bytes| balances.draw(now, link, class, bytes)) {
            tags::Pick::Grant { lane, .. } => {
                Pick::Grant(id(self.lanes.iter().position(|&of_class| of_class == lane).expect("it is a lane")))
            }
            tags::Pick::Wait(until) => Pick::Wait(until),
            tags::Pick::Idle => Pick::Idle,
        }
    }

    pub(super) fn done(&mut self, class: ClassId, bytes: u64) {
        self.tags.done(self.lanes[class.index()], bytes);
    }
}

const LINK: LinkId = LinkId(0);
