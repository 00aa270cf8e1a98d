//! Whose turn it is: what waits, in the order of virtual time.
//!
//! ```text
//!   lane (class, path), first come first served      link: window, bytes in flight, virtual time
//!   ask ─▶ [head] ──▶ pick: the least tag whose balances and windows allow it ──▶ grant ──▶ done
//! ```
//!
//! A class has two tags on each link. Its *due* tag says from when on it has got less than its reservation: due ones go
//! first, the oldest before the others. Otherwise the least *weight* tag goes: bytes by weight, begun at the virtual time of
//! the link when the class had nothing waiting (start-time fair queueing: Goyal, Vin and Cheng, 1996). That is the rule of
//! mClock (Gulati, Merchant and Varman, 2010), but for limits, which are kept by balances, and for due tags, which are never
//! later than one request's worth from now: what a class got by its weight does not count against its reservation later.
//!
//! What goes out is bounded by each link's window, so that what waits, waits here, where the order can still change. On a
//! path of several links all must allow it. A link without room for the first of those who wait for it is closed to those
//! behind: a large request is not passed for ever by small ones. Who is passed too often on its other links gets them too.

use super::balance::Draw;
use super::{ClassId, LinkId, Path, Terms};
use crate::units::Nanos;

/// A manager of some links.
#[derive(Clone, Debug)]
pub struct Tags {
    links: Box<[LinkState]>,
    terms: Box<[Terms]>,
    /// By link and class.
    cells: Box<[Cell]>,
    lanes: Vec<Lane>,
    /// Lanes with a head.
    waiting: Vec<LaneId>,
    picks: u64,
}

/// What a link is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Bytes in flight at most; one request always fits.
    pub window: u64,
}

/// What waits for one class and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneId(pub u16);

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The head of this lane; its links carry it until it is done.
    Grant {
        /// Which.
        lane: LaneId,
        /// How large it is.
        bytes: u64,
    },
    /// Nothing before then, unless something is done or asked for.
    Wait(Nanos),
    /// Nothing until something is done or asked for.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct LinkState {
    window: u64,
    in_flight: u64,
    /// The weight tag of what was granted last.
    virtual_time: i128,
    /// In which pick it was closed.
    closed: u64,
    held: Held,
}

/// How often something waited for a link, and why, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its balance would have allowed it, and the link had no room: the link is the bottleneck.
    pub full: u64,
    /// There was room, and no balance allowed it to anybody: the link could do more.
    pub starved: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// Drawn and not spent.
    credit: u64,
    /// Its balance has nothing before.
    empty_until: Nanos,
    weight_tag: i128,
    due_tag: Nanos,
    /// Requests that wait or are in flight.
    busy: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    class: ClassId,
    path: Path,
    /// Bytes of its head, where one waits.
    head: Option<u64>,
    /// Where it is in the list of those that wait.
    place: usize,
    /// How often others were granted one of its links while it was the first for another.
    passed: u32,
}

/// Lesser ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Below its reservation since then.
    Due(Nanos),
    /// How far its weight tag is ahead of the link's virtual time.
    Weight(i128),
}

impl Tags {
    /// A manager of these links for these classes. Nothing is allocated after the last [`Tags::lane`].
    pub fn new(links: &[Link], classes: &[Terms]) -> Tags {
        let link = |link: &Link| LinkState {
            window: link.window,
            in_flight: 0,
            virtual_time: 0,
            closed: 0,
            held: Held::default(),
        };
        Tags {
            links: links.iter().map(link).collect(),
            terms: classes.into(),
            cells: vec![Cell::default(); links.len() * classes.len()].into_boxed_slice(),
            lanes: Vec::new(),
            waiting: Vec::new(),
            picks: 0,
        }
    }

    /// A lane for a class over a path. The caller keeps what waits in it, first come first served.
    ///
    /// # Panics
    /// When a link of the path or the class does not exist, or with more than 65,535 lanes.
    pub fn lane(&mut self, class: ClassId, path: Path) -> LaneId {
        assert!(class.index() < self.terms.len(), "{class:?} does not exist");
        assert!(path.links().iter().all(|link| link.index() < self.links.len()), "{path:?} leads over unknown links");
        let lane = LaneId(u16::try_from(self.lanes.len()).expect("at most 65,535 lanes"));
        self.lanes.push(Lane { class, path, head: None, place: 0, passed: 0 });
        self.waiting.reserve(self.lanes.len());
        lane
    }

    /// Sets how much a link may carry at once.
    pub fn set_window(&mut self, link: LinkId, bytes: u64) {
        self.links[link.index()].window = bytes;
    }

    /// Bytes that a link carries.
    pub fn in_flight(&self, link: LinkId) -> u64 {
        self.links[link.index()].in_flight
    }

    /// What has held back those who wait for a link.
    pub fn held(&self, link: LinkId) -> Held {
        self.links[link.index()].held
    }

    /// Whether the lane has a head that waits.
    pub fn is_waiting(&self, lane: LaneId) -> bool {
        self.lanes[usize::from(lane.0)].head.is_some()
    }

    /// Who waits for which links.
    pub fn waiting(&self) -> impl Iterator<Item = (ClassId, &[LinkId])> {
        self.waiting.iter().map(|id| &self.lanes[usize::from(id.0)]).map(|lane| (lane.class, lane.path.links()))
    }

    /// The head of a lane waits from now on.
    ///
    /// # Panics
    /// When one waits already.
    pub fn ask(&mut self, now: Nanos, lane: LaneId, bytes: u64) {
        let place = self.waiting.len();
        let Lane { class, path, head, .. } = self.lanes[usize::from(lane.0)];
        assert!(head.is_none(), "{lane:?} has a head already");
        let kept = self.by_weight(bytes.saturating_mul(4).max(LAG_BYTES), class);
        for link in path.links() {
            let virtual_time = self.links[link.index()].virtual_time;
            let cell = self.cell(*link, class);
            // Who had nothing to do has no claim on what went by; who was held back has, within bounds.
            let lag = if cell.busy > 0 { kept } else { 0 };
            cell.busy += 1;
            cell.weight_tag = cell.weight_tag.max(virtual_time - lag);
            cell.due_tag = cell.due_tag.max(Nanos(now.0.saturating_sub(DUE_KEPT.0)));
        }
        let lane_state = &mut self.lanes[usize::from(lane.0)];
        (lane_state.head, lane_state.place) = (Some(bytes), place);
        self.waiting.push(lane);
    }

    /// The head of a lane does not wait any more: its job has ended.
    pub fn withdraw(&mut self, lane: LaneId) {
        if self.is_waiting(lane) {
            self.rest(lane);
            self.leave(lane);
        }
    }

    /// What was granted has ended, and leaves its links.
    pub fn done(&mut self, lane: LaneId, bytes: u64) {
        let path = self.lanes[usize::from(lane.0)].path;
        for link in path.links() {
            let in_flight = &mut self.links[link.index()].in_flight;
            *in_flight = in_flight.checked_sub(bytes).expect("what ends was granted");
        }
        self.rest(lane);
    }

    /// The next that may go. Where a class has drawn nothing that is left, `draw` asks its balance.
    pub fn pick(&mut self, now: Nanos, mut draw: impl FnMut(LinkId, ClassId, u64) -> Draw) -> Pick {
        self.picks += 1;
        let mut until: Option<Nanos> = None;
        // Each round closes a link or marks a balance as empty, so there are few.
        'next: while let Some((key, lane, bytes)) = self.first(now, &mut until) {
            let Lane { class, path, .. } = self.lanes[usize::from(lane.0)];
            if let Some(full) = self.without_room(&path, bytes) {
                self.close(lane, full);
                continue;
            }
            for link in path.links() {
                let credit = self.cell(*link, class).credit;
                if credit >= bytes {
                    continue;
                }
                match draw(*link, class, bytes - credit) {
                    Draw::Granted(more) => self.cell(*link, class).credit += more,
                    Draw::Wait(time) => {
                        // Rates may have changed by then.
                        self.cell(*link, class).empty_until = time.min(now + LOOK_AGAIN).max(now + Nanos(1));
                        continue 'next;
                    }
                }
            }
            self.grant(now, lane, bytes, key);
            return Pick::Grant { lane, bytes };
        }
        let Some(until) = until else { return Pick::Idle };
        self.count_starved();
        Pick::Wait(until)
    }

    /// Nothing can go, and somebody waits for a balance: links with room could do more.
    fn count_starved(&mut self) {
        let Tags { waiting, lanes, links, picks, .. } = self;
        for lane in waiting.iter().map(|id| &lanes[usize::from(id.0)]) {
            let links_of = lane.path.links();
            if links_of.iter().all(|link| links[link.index()].closed != *picks) {
                links_of.iter().for_each(|link| links[link.index()].held.starved += 1);
            }
        }
    }

    /// The lane with the least key of those that are not known to have to wait; `until` is when one of those may go on.
    fn first(&self, now: Nanos, until: &mut Option<Nanos>) -> Option<(Key, LaneId, u64)> {
        let mut first: Option<(Key, LaneId, u64)> = None;
        for &id in &self.waiting {
            let lane = &self.lanes[usize::from(id.0)];
            let Some(bytes) = lane.head else { continue };
            let (mut empty, mut closed) = (Nanos::ZERO, false);
            let (mut due, mut ahead, mut is_due) = (Nanos::ZERO, i128::MIN, self.terms[lane.class.index()].reserve > 0);
            for link in lane.path.links() {
                let (cell, state) = (&self.cells[self.index(*link, lane.class)], &self.links[link.index()]);
                empty = if cell.credit < bytes { empty.max(cell.empty_until) } else { empty };
                closed |= state.closed == self.picks;
                is_due &= cell.due_tag <= now;
                due = due.max(cell.due_tag);
                ahead = ahead.max(cell.weight_tag - state.virtual_time);
            }
            if empty > now {
                *until = Some(until.map_or(empty, |until| until.min(empty)));
                continue;
            }
            let key = if is_due { Key::Due(due) } else { Key::Weight(ahead) };
            if !closed && first.is_none_or(|(least, ..)| key < least) {
                first = Some((key, id, bytes));
            }
        }
        first
    }

    /// A link of the path that has no room; an empty one always has.
    fn without_room(&self, path: &Path, bytes: u64) -> Option<LinkId> {
        let is_full = |link: &&LinkId| {
            let state = &self.links[link.index()];
            state.in_flight > 0 && state.in_flight + bytes > state.window
        };
        path.links().iter().find(is_full).copied()
    }

    /// Nobody behind this lane gets the link that it waits for; nor its others, if it was passed there too often.
    fn close(&mut self, lane: LaneId, full: LinkId) {
        let Lane { path, passed, .. } = self.lanes[usize::from(lane.0)];
        let state = &mut self.links[full.index()];
        state.closed = self.picks;
        state.held.full += 1;
        if path.links().len() == 1 {
            return;
        }
        self.lanes[usize::from(lane.0)].passed += 1;
        if passed >= PASSED_MAX {
            path.links().iter().for_each(|link| self.links[link.index()].closed = self.picks);
        }
    }

    fn grant(&mut self, now: Nanos, lane: LaneId, bytes: u64, key: Key) {
        let Lane { class, path, .. } = self.lanes[usize::from(lane.0)];
        let (reserve, by_weight) = (self.terms[class.index()].reserve, self.by_weight(bytes, class));
        for link in path.links() {
            let state = &mut self.links[link.index()];
            state.in_flight += bytes;
            let cell = &mut self.cells[link.index() * self.terms.len() + class.index()];
            cell.credit -= bytes;
            // Who is served by its reservation may be far ahead of the others by weight.
            if matches!(key, Key::Weight(_)) {
                state.virtual_time = state.virtual_time.max(cell.weight_tag);
            }
            cell.weight_tag += by_weight;
            if reserve > 0 {
                let time = u128::from(bytes) * 1_000_000_000 / u128::from(reserve);
                cell.due_tag = cell.due_tag.min(now) + Nanos(u64::try_from(time).unwrap_or(u64::MAX));
            }
        }
        self.leave(lane);
    }

    /// One less waits or is in flight.
    fn rest(&mut self, lane: LaneId) {
        let Lane { class, path, .. } = self.lanes[usize::from(lane.0)];
        path.links().iter().for_each(|link| self.cell(*link, class).busy -= 1);
    }

    fn leave(&mut self, lane: LaneId) {
        let state = &mut self.lanes[usize::from(lane.0)];
        let place = state.place;
        (state.head, state.passed) = (None, 0);
        self.waiting.swap_remove(place);
        if let Some(moved) = self.waiting.get(place) {
            self.lanes[usize::from(moved.0)].place = place;
        }
    }

    /// How far bytes move a weight tag. Divided as 64 bits, which is many times quicker; no request has 2^48 bytes.
    fn by_weight(&self, bytes: u64, class: ClassId) -> i128 {
        let weight = u64::from(self.terms[class.index()].weight.max(1));
        i128::from((bytes.min(u64::MAX >> WEIGHT_BITS) << WEIGHT_BITS) / weight)
    }

    fn index(&self, link: LinkId, class: ClassId) -> usize {
        link.index() * self.terms.len() + class.index()
    }

    fn cell(&mut self, link: LinkId, class: ClassId) -> &mut Cell {
        let index = self.index(link, class);
        &mut self.cells[index]
    }
}

/// Fractions of a byte in a weight tag.
const WEIGHT_BITS: u32 = 16;
/// Who was held back may make up for so many bytes, or some requests if these are larger.
const LAG_BYTES: u64 = 2 << 20;
/// A class that was served less than its reservation may make up for so much of it.
const DUE_KEPT: Nanos = Nanos::from_millis(10);
/// How long a balance is believed to be empty without asking it again.
const LOOK_AGAIN: Nanos = Nanos::from_millis(5);
/// How often others may use the free links of one that waits for a full one.
const PASSED_MAX: u32 = 16;

#[cfg(test)]
mod tests;
