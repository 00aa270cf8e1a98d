//! What a class has left on a link, and what the link has: as points in time.
//!
//! A balance is kept as its *line*: up to which point in time what was spent is paid for by the rate. What lies between the
//! line and the present is what may be spent; a line in the future is a debt. So a balance grows by `rate x dt` without
//! anybody who refills it, is carried over but not for longer than [`BURST`] or two requests, and may go below zero by one
//! quantum.
//!
//! ```text
//!   ──────────────┬───────── saved ─────────┬───────────▶ time
//!               line                       now             spend(bytes): the line moves on by bytes / rate
//! ```
//!
//! A class has a line, and so has the link, on which everything that is spent lies. A class that has something saved may
//! spend it. One that has not may spend what the link has saved, for then somebody else does not use his part: it is *lent*
//! at once, and snaps back when he does, as his own line was not touched. A class with a limit has a third line.
//!
//! The data plane keeps lines in atomics and moves them by the same [`Terms`](super::Terms) and functions.

use super::plan::Seen;
use super::{ClassId, LinkId};
use crate::units::Nanos;

/// What a class got that has asked for so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// This many bytes, at least what it has asked for.
    Granted(u64),
    /// Nothing before then.
    Wait(Nanos),
}

/// The lines and rates by which one draw is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The class's line.
    pub own: Nanos,
    /// The class's line at its limit.
    pub limited: Nanos,
    /// The link's line.
    pub link: Nanos,
    /// Bytes per second of the class.
    pub rate: u64,
    /// Bytes per second that the class never exceeds.
    pub limit: Option<u64>,
    /// Bytes per second of the link; `None` where nobody knows: then only limits hold.
    pub capacity: Option<u64>,
}

/// What a draw moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The class's own line, and the link's, by this many bytes.
    Own(u64),
    /// The link's line only: it is lent.
    Lent(u64),
    /// None before then.
    Wait(Nanos),
}

impl Account {
    /// Whether the class may spend `bytes` at `now`, and how much more it should take at once.
    pub fn judge(&self, now: Nanos, bytes: u64) -> Verdict {
        if self.limit.is_some() && self.limited > now {
            return Verdict::Wait(self.limited);
        }
        let Some(capacity) = self.capacity else {
            let rate = self.limit.unwrap_or(u64::MAX);
            return Verdict::Own(quantum(rate, bytes));
        };
        // A link that has run ahead, as those who came back spent what they had saved, makes those wait who did not save.
        let saved = now.since(self.own) >= SAVED;
        let ahead = if saved { burst(bytes, capacity) } else { AHEAD };
        // Nothing is promised to a rate of 0, and a debt at it would never end.
        if self.rate > 0 && self.own <= now && self.link <= now + ahead {
            return Verdict::Own(quantum(self.rate, bytes));
        }
        let free = self.link + LAG;
        if free <= now {
            return Verdict::Lent(quantum(capacity, bytes));
        }
        let own = self.own.max(Nanos(self.link.0.saturating_sub(ahead.0)));
        let until = if self.rate > 0 { own.min(free) } else { free };
        Verdict::Wait(until.max(now + Nanos(1)))
    }
}

/// A line after `bytes` more were spent at this rate.
pub fn spend(line: Nanos, now: Nanos, bytes: u64, rate: u64) -> Nanos {
    line.max(Nanos(now.0.saturating_sub(burst(bytes, rate).0))) + time(bytes, rate)
}

fn time(bytes: u64, rate: u64) -> Nanos {
    let time = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Nanos(u64::try_from(time).unwrap_or(u64::MAX))
}

/// For how long a balance is carried over: large requests come in groups too.
fn burst(bytes: u64, rate: u64) -> Nanos {
    BURST.max(time(bytes.saturating_mul(2), rate).min(BURST_MAX))
}

/// How much is drawn at once for a request: enough that drawing is rare, too little to matter to anybody who waits.
fn quantum(rate: u64, bytes: u64) -> u64 {
    let time = u128::from(rate) * u128::from(QUANTUM_TIME.0) / 1_000_000_000;
    bytes.max(u64::try_from(time).unwrap_or(u64::MAX).min(QUANTUM_BYTES))
}

/// Balances in plain memory: those of a simulation, or of a manager on one thread.
#[derive(Clone, Debug)]
pub struct Balances {
    links: Box<[LinkLine]>,
    classes: Box<[Cell]>,
    limits: Box<[Option<u64>]>,
}

/// A link's line, what it can do, and what was seen of it since it was looked at.
#[derive(Clone, Copy, Debug, Default)]
struct LinkLine {
    line: Nanos,
    capacity: Option<u64>,
    seen: Seen,
}

/// One class on one link.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    own: Nanos,
    limited: Nanos,
    rate: u64,
}

impl Balances {
    /// For links of these capacities and classes with these limits; all rates are 0 until they are set.
    pub fn new(capacities: &[Option<u64>], limits: &[Option<u64>]) -> Balances {
        Balances {
            links: capacities.iter().map(|&capacity| LinkLine { capacity, ..LinkLine::default() }).collect(),
            classes: vec![Cell::default(); capacities.len() * limits.len()].into_boxed_slice(),
            limits: limits.into(),
        }
    }

    /// Sets the rate of a class on a link.
    pub fn set_rate(&mut self, link: LinkId, class: ClassId, rate: u64) {
        let index = self.index(link, class);
        self.classes[index].rate = rate;
    }

    /// Sets what a link can do.
    pub fn set_capacity(&mut self, link: LinkId, bytes_per_s: u64) {
        self.links[link.index()].capacity = Some(bytes_per_s);
    }

    /// Somebody of the class waits for the link, for whatever reason.
    pub fn mark(&mut self, link: LinkId, class: ClassId) {
        self.links[link.index()].seen.active.insert(class);
    }

    /// What was done on a link since this was last asked.
    pub fn look(&mut self, link: LinkId) -> Seen {
        let link = &mut self.links[link.index()];
        let seen = link.seen;
        link.seen = Seen { drawn: seen.drawn, ..Seen::default() };
        seen
    }

    /// Draws at least `bytes` for a class, if its balance allows it.
    pub fn draw(&mut self, now: Nanos, link: LinkId, class: ClassId, bytes: u64) -> Draw {
        let (index, limit) = (self.index(link, class), self.limits[class.index()]);
        let (link, cell) = (&mut self.links[link.index()], &mut self.classes[index]);
        let (own, limited, rate) = (cell.own, cell.limited, cell.rate);
        let account = Account { own, limited, link: link.line, rate, limit, capacity: link.capacity };
        link.seen.active.insert(class);
        let bytes = match account.judge(now, bytes) {
            Verdict::Wait(until) => return Draw::Wait(until),
            Verdict::Own(bytes) => {
                cell.own = spend(own, now, bytes, rate);
                bytes
            }
            Verdict::Lent(bytes) => bytes,
        };
        if let Some(capacity) = link.capacity {
            link.line = spend(link.line, now, bytes, capacity);
        }
        if let Some(limit) = limit {
            cell.limited = spend(limited, now, bytes, limit);
        }
        link.seen.drawn += bytes;
        Draw::Granted(bytes)
    }

    fn index(&self, link: LinkId, class: ClassId) -> usize {
        link.index() * self.limits.len() + class.index()
    }
}

/// What was not spent is carried over for so long: some periods of control, so that who comes back has all of its share
/// until control has seen it.
pub const BURST: Nanos = Nanos::from_millis(10);
/// Two requests may take longer than that, but not for ever.
const BURST_MAX: Nanos = Nanos::from_millis(200);
/// Who has saved so long is served though the link has run ahead.
const SAVED: Nanos = Nanos::from_millis(1);
/// How far a link may run ahead.
const AHEAD: Nanos = Nanos(1_000_000);
/// What a link has saved is lent when it is older than a quantum: what is due now is somebody's.
const LAG: Nanos = Nanos(500_000);
/// A quantum is what the class moves in this time ...
const QUANTUM_TIME: Nanos = Nanos(250_000);
/// ... but at most this.
pub const QUANTUM_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = Nanos::from_millis(1);

    #[test]
    fn each_line_has_its_say() {
        let now = Nanos::from_millis(1000);
        let at = |micros: i64| Nanos(now.0.checked_add_signed(micros * 1000).expect("in range"));
        let (rate, capacity, limit) = (100_000_000, Some(1_000_000_000), Some(40_000_000));
        let even = Account { own: now, limited: now, link: now, rate, limit: None, capacity };
        #[rustfmt::skip]
        let cases = [
            ("its own, as much as a quantum",     even,                                                      100,    Verdict::Own(25_000)),
            ("a large request is a quantum",      even,                                                      90_000, Verdict::Own(90_000)),
            ("in debt, and nothing is free",      Account { own: at(70), ..even },                           100,    Verdict::Wait(at(70))),
            ("in debt, but the link has saved",   Account { own: at(70), link: at(-600), ..even },           100,    Verdict::Lent(250_000)),
            ("... a little later",                Account { own: at(700), link: at(-400), ..even },          100,    Verdict::Wait(at(100))),
            ("the link has run ahead",            Account { link: at(1300), ..even },                        100,    Verdict::Wait(at(300))),
            ("... who has saved does not care",   Account { own: at(-1000), link: at(1300), ..even },        100,    Verdict::Own(25_000)),
            ("a limit before all",                Account { limited: at(5), limit, own: at(-9000), ..even }, 100,    Verdict::Wait(at(5))),
            ("nothing is promised",               Account { rate: 0, ..even },                               100,    Verdict::Wait(at(500))),
            ("nothing is known: all that it may", Account { capacity: None, rate: 0, own: at(9), ..even },   100,    Verdict::Own(QUANTUM_BYTES)),
            ("nothing is known, but a limit",     Account { capacity: None, limit, ..even },                 100,    Verdict::Own(10_000)),
        ];
        for (why, account, bytes, want) in cases {
            assert_eq!(account.judge(now, bytes), want, "{why}");
        }
    }

    #[test]
    fn a_line_moves_by_what_is_spent_and_saves_no_more_than_a_burst() {
        let now = Nanos::from_millis(1000);
        assert_eq!(spend(now, now, 100, 100_000), now + MS);
        assert_eq!(spend(now + MS, now, 100, 100_000), now + MS + MS);
        assert_eq!(spend(Nanos::ZERO, now, 100, 100_000), now - BURST + MS);
        assert_eq!(spend(now, now, 1, 0), now + Nanos::from_secs(1), "a rate of 0 counts as 1");
    }

    /// Two that always want more, of which one has three times the rate: over any time each gets its rate and a quantum.
    #[test]
    fn who_is_always_behind_gets_its_rate() {
        let mut balances = Balances::new(&[Some(400_000_000)], &[None, None]);
        let classes = [(ClassId(0), 100_000_000u64), (ClassId(1), 300_000_000)];
        classes.iter().for_each(|&(class, rate)| balances.set_rate(LinkId(0), class, rate));
        let mut got = [0u64; 2];
        for micro in 0..1_000_000 {
            let now = Nanos::from_secs(1) + Nanos(micro * 1000);
            for (class, _) in classes {
                if let Draw::Granted(bytes) = balances.draw(now, LinkId(0), class, 4096) {
                    got[class.index()] += bytes;
                }
            }
        }
        for (class, rate) in classes {
            let (got, most) = (got[class.index()], rate + rate / 100 + 100_000);
            assert!((rate - rate / 100..=most + rate / 100).contains(&got), "{class:?}: {got} of {rate}");
        }
        assert!(classes.iter().all(|(class, _)| balances.look(LinkId(0)).active.contains(*class) || class.0 > 0));
    }
}
