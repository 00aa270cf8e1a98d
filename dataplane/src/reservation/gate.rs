//! A peer's side where several classes ask: who is next.
//!
//! ```text
//!   ask(lane, bytes) ─▶ pick ─▶ Grant(lane) ─▶ the peer starts it ─▶ done(lane, bytes)
//!                        └────▶ Wait(until), Idle: nothing may go yet
//! ```

use std::sync::Arc;

use bireme_control::reservation::tags::{Held, LaneId, Link, Pick, Tags};
use bireme_control::reservation::{ClassId, LinkId, Path};
use bireme_control::units::Nanos;

use super::{Balances, PERIOD};

/// Lanes of one peer, over the balances that all share.
#[derive(Debug)]
pub struct Gate {
    tags: Tags,
    balances: Arc<Balances>,
    /// What control was told of each link.
    told: Box<[Held]>,
    /// When those who wait are shown to control next.
    shown: Nanos,
}

impl Gate {
    /// For one peer, which has so many bytes in flight on each link at most.
    pub fn new(balances: Arc<Balances>, windows: &[u64]) -> Gate {
        let links: Vec<Link> = windows.iter().map(|&window| Link { window }).collect();
        let tags = Tags::new(&links, balances.terms());
        Gate { tags, balances, told: vec![Held::default(); windows.len()].into_boxed_slice(), shown: Nanos::ZERO }
    }

    /// A lane for a class over a path; see [`Tags::lane`].
    pub fn lane(&mut self, class: ClassId, path: Path) -> LaneId {
        self.tags.lane(class, path)
    }

    /// The head of a lane waits from now on; see [`Tags::ask`].
    pub fn ask(&mut self, now: Nanos, lane: LaneId, bytes: u64) {
        self.tags.ask(now, lane, bytes);
    }

    /// Whether the lane has a head that waits.
    pub fn is_waiting(&self, lane: LaneId) -> bool {
        self.tags.is_waiting(lane)
    }

    /// The head of a lane does not wait any more.
    pub fn withdraw(&mut self, lane: LaneId) {
        self.tags.withdraw(lane);
    }

    /// What was granted has ended.
    pub fn done(&mut self, lane: LaneId, bytes: u64) {
        self.tags.done(lane, bytes);
    }

    /// The next that may go.
    pub fn pick(&mut self, now: Nanos) -> Pick {
        let balances = &self.balances;
        let picked = self.tags.pick(now, |link, class, bytes| balances.draw(now, link, class, bytes));
        if !matches!(picked, Pick::Grant { .. }) {
            self.tell(now);
        }
        picked
    }

    /// Tells control who waits, and what holds them back.
    fn tell(&mut self, now: Nanos) {
        for (link, told) in (0..).map(LinkId).zip(&mut self.told) {
            let held = self.tags.held(link);
            if held != *told {
                self.balances.held(link, held.full != told.full, held.starved != told.starved);
                *told = held;
            }
        }
        if now >= self.shown {
            self.shown = now + Nanos(PERIOD.0 / 2);
            for (class, links) in self.tags.waiting() {
                links.iter().for_each(|&link| self.balances.mark(link, class));
            }
        }
    }
}
