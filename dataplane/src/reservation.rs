//! Classes that share devices: their balances, which all peers draw from, and what each peer has of it at hand.
//!
//! ```text
//!   control thread: [`Manager`] once a period ── rates, capacities ──▶ [`Balances`] ◀── draw a quantum ── peers
//!                                             ◀── who is active, what held them back ──
//!   peer, several classes: [`Gate`]        lanes, tags, windows: who is next
//!   peer, one class:       [`Allowance`]   may the next one start?
//! ```
//!
//! A balance is a line in time (see [`bireme_control::reservation::balance`]) in one atomic; a peer moves it by a quantum and
//! spends that locally, without asking for each request. Nobody waits for control, and nobody has to be woken: who must wait
//! knows until when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bireme_control::reservation::balance::{Account, Draw, Verdict, spend};
use bireme_control::reservation::plan::{CLASS_WORDS, Capacity, Change, ClassSet, Planner, Seen};
use bireme_control::reservation::{ClassId, LinkId, Terms};
use bireme_control::units::Nanos;
use crossbeam::utils::CachePadded;

pub use self::allowance::Allowance;
pub use self::gate::Gate;
pub use self::promises::{Class, InForce, PromiseError, Promises};

mod allowance;
mod gate;
mod promises;

/// What all classes have left on all links, fixed in size at start.
#[derive(Debug)]
pub struct Balances {
    links: Box<[CachePadded<LinkCell>]>,
    /// By link and class.
    classes: Box<[CachePadded<ClassCell>]>,
    terms: Box<[Terms]>,
}

#[derive(Debug)]
struct LinkCell {
    line: AtomicU64,
    /// Bytes per second; 0 where nobody knows.
    capacity: AtomicU64,
    drawn: AtomicU64,
    active: [AtomicU64; CLASS_WORDS],
    full: AtomicBool,
    starved: AtomicBool,
}

#[derive(Debug, Default)]
struct ClassCell {
    own: AtomicU64,
    limited: AtomicU64,
    rate: AtomicU64,
}

impl Balances {
    /// For links of these capacities and these classes. Rates are 0 until control has set them; until then the classes share
    /// what the links have.
    fn new(capacities: &[Capacity], terms: &[Terms]) -> Balances {
        let link = |&capacity: &Capacity| {
            let known = match capacity {
                Capacity::Unknown => 0,
                Capacity::Paced(rate) | Capacity::Tracked(rate) => rate.max(1),
            };
            CachePadded::new(LinkCell {
                line: AtomicU64::new(0),
                capacity: AtomicU64::new(known),
                drawn: AtomicU64::new(0),
                active: Default::default(),
                full: AtomicBool::new(false),
                starved: AtomicBool::new(false),
            })
        };
        Balances {
            links: capacities.iter().map(link).collect(),
            classes: (0..capacities.len() * terms.len()).map(|_| CachePadded::default()).collect(),
            terms: terms.into(),
        }
    }

    /// What the classes were promised.
    pub fn terms(&self) -> &[Terms] {
        &self.terms
    }

    /// Draws at least `bytes` for a class on a link, if its balance allows it.
    pub fn draw(&self, now: Nanos, link: LinkId, class: ClassId, bytes: u64) -> Draw {
        let (cell, state, limit) =
            (self.class(link, class), &self.links[link.index()], self.terms[class.index()].limit);
        self.mark(link, class);
        loop {
            let load = |atomic: &AtomicU64| Nanos(atomic.load(Ordering::Relaxed));
            let (rate, capacity) = (cell.rate.load(Ordering::Relaxed), state.capacity.load(Ordering::Relaxed));
            let account = Account {
                own: load(&cell.own),
                limited: load(&cell.limited),
                link: load(&state.line),
                rate,
                limit,
                capacity: (capacity > 0).then_some(capacity),
            };
            // The line that allows it is moved only from where it was seen: nobody spends the same twice. The others only
            // move on.
            let bytes = match account.judge(now, bytes) {
                Verdict::Wait(until) => return Draw::Wait(until),
                Verdict::Own(bytes) => {
                    if capacity > 0 {
                        if !moved(&cell.own, account.own, spend(account.own, now, bytes, rate)) {
                            continue;
                        }
                        advance(&state.line, now, bytes, capacity);
                    }
                    bytes
                }
                Verdict::Lent(bytes) => {
                    if !moved(&state.line, account.link, spend(account.link, now, bytes, capacity)) {
                        continue;
                    }
                    bytes
                }
            };
            if let Some(limit) = limit {
                advance(&cell.limited, now, bytes, limit);
            }
            state.drawn.fetch_add(bytes, Ordering::Relaxed);
            return Draw::Granted(bytes);
        }
    }

    /// Somebody of the class wants something of the link.
    fn mark(&self, link: LinkId, class: ClassId) {
        let (word, bit) = (&self.links[link.index()].active[class.index() / 64], 1 << (class.index() % 64));
        // Mostly it is set already, and then the line stays shared.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// What held somebody back.
    fn held(&self, link: LinkId, full: bool, starved: bool) {
        let link = &self.links[link.index()];
        for (flag, is) in [(&link.full, full), (&link.starved, starved)] {
            if is && !flag.load(Ordering::Relaxed) {
                flag.store(true, Ordering::Relaxed);
            }
        }
    }

    /// What was done on a link since this was last asked.
    fn look(&self, link: LinkId) -> Seen {
        let link = &self.links[link.index()];
        let mut active = ClassSet::default();
        for (word, seen) in active.0.iter_mut().zip(&link.active) {
            *word = if seen.load(Ordering::Relaxed) == 0 { 0 } else { seen.swap(0, Ordering::Relaxed) };
        }
        let take = |flag: &AtomicBool| flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed);
        Seen { active, drawn: link.drawn.load(Ordering::Relaxed), full: take(&link.full), starved: take(&link.starved) }
    }

    fn class(&self, link: LinkId, class: ClassId) -> &ClassCell {
        &self.classes[link.index() * self.terms.len() + class.index()]
    }
}

/// Control's side: once a period it looks at all links, and sets what follows.
#[derive(Debug)]
pub struct Manager {
    balances: Arc<Balances>,
    planner: Planner,
}

impl Manager {
    /// For links of these capacities and these classes.
    pub fn new(capacities: &[Capacity], terms: &[Terms]) -> Manager {
        Manager { balances: Arc::new(Balances::new(capacities, terms)), planner: Planner::new(capacities, terms) }
    }

    /// What peers draw from.
    pub fn balances(&self) -> &Arc<Balances> {
        &self.balances
    }

    /// What a class of the engine has at one peer.
    pub fn allowance(&self, class: Class) -> Allowance {
        Allowance::new(self.balances.clone(), class.id())
    }

    /// What a link can do, as far as is known.
    pub fn capacity(&self, link: LinkId) -> Capacity {
        self.planner.capacity(link)
    }

    /// One period.
    pub fn step(&mut self, now: Nanos) {
        let Manager { balances, planner } = self;
        let links = (0..).map(LinkId).take(balances.links.len());
        planner.step(now, links.map(|link| balances.look(link)), |change| match change {
            Change::Rate(link, class, rate) => balances.class(link, class).rate.store(rate, Ordering::Relaxed),
            Change::Capacity(link, rate) => balances.links[link.index()].capacity.store(rate, Ordering::Relaxed),
        });
    }
}

/// How often control looks: what a class has saved lasts twice as long.
pub const PERIOD: Nanos = Nanos::from_millis(5);

/// Moves a line from where it was seen; `false` if somebody else has moved it.
fn moved(line: &AtomicU64, from: Nanos, to: Nanos) -> bool {
    line.compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// Moves a line on by so many bytes, from wherever it is.
fn advance(line: &AtomicU64, now: Nanos, bytes: u64, rate: u64) {
    let mut seen = line.load(Ordering::Relaxed);
    loop {
        let to = spend(Nanos(seen), now, bytes, rate).0;
        match line.compare_exchange_weak(seen, to, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use bireme_control::reservation::balance::QUANTUM_BYTES;

    use super::*;

    const LINK: LinkId = LinkId(0);
    const MB: u64 = 1_000_000;

    /// Threads that draw as fast as they can, on a clock that one of them moves: however they meet, no more is drawn than the
    /// link has, and a limit is kept. Who gets what part is a matter of control, and tested there.
    #[test]
    fn threads_together_draw_no_more_than_there_is() {
        let limited = Terms { limit: Some(50 * MB), ..Terms::weight(4) };
        let mut manager = Manager::new(&[Capacity::Paced(400 * MB)], &[Terms::weight(1), Terms::weight(3), limited]);
        let (balances, clock) = (manager.balances().clone(), AtomicU64::new(1_000_000_000));
        let drawn: [AtomicU64; 3] = Default::default();
        let ends = 2_000_000_000;
        thread::scope(|scope| {
            for thread in 0..3 {
                let (balances, clock, drawn) = (&balances, &clock, &drawn);
                scope.spawn(move || {
                    let mut class = thread % 3;
                    loop {
                        let now = Nanos(clock.load(Ordering::Relaxed));
                        if now.0 >= ends {
                            return;
                        }
                        class = (class + 1) % 3;
                        if let Draw::Granted(bytes) = balances.draw(now, LINK, ClassId(class), 4096) {
                            drawn[usize::from(class)].fetch_add(bytes, Ordering::Relaxed);
                        }
                    }
                });
            }
            while clock.load(Ordering::Relaxed) < ends {
                let now = Nanos(clock.fetch_add(1_000_000, Ordering::Relaxed));
                manager.step(now);
                thread::yield_now();
            }
        });
        let [one, three, limited] = drawn.map(AtomicU64::into_inner);
        let (all, slack) = (one + three + limited, 20 * QUANTUM_BYTES);
        assert!(all <= 400 * MB + slack, "{all} drawn");
        assert!(limited <= 50 * MB + slack, "{limited} of the limited one");
        assert!(one > 0 && three > 0 && limited > 0, "{one}, {three} and {limited}");
    }

    #[test]
    fn control_sees_who_was_active_once() {
        let manager = Manager::new(&[Capacity::Paced(MB)], &[Terms::weight(1), Terms::weight(1)]);
        let balances = manager.balances();
        assert!(matches!(balances.draw(Nanos::from_secs(1), LINK, ClassId(1), 10), Draw::Granted(_)));
        balances.held(LINK, true, false);
        let seen = balances.look(LINK);
        assert!(seen.active.contains(ClassId(1)) && !seen.active.contains(ClassId(0)));
        assert!(seen.full && !seen.starved && seen.drawn >= 10);
        let again = balances.look(LINK);
        assert_eq!(again, Seen { drawn: seen.drawn, ..Seen::default() });
    }
}
