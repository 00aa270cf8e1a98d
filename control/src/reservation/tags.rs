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
    /// What they go by in this pick, in the same order: the least first. See [`Tags::order`].
    keys: Vec<i64>,
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

/// Those that wait, in order.
struct Ordered {
    /// Where the first of them is.
    first: Option<usize>,
    /// When the first of those may go that are known to have to wait.
    until: Nanos,
}

/// What holds back the head of a lane.
enum Hindrance {
    /// Its class has nothing left on a link before then.
    Balance(Nanos),
    /// A link has no room for it, or for somebody before it.
    Window,
}

impl Hindrance {
    /// When it goes by itself.
    fn until(&self) -> Nanos {
        match *self {
            Hindrance::Balance(until) => until,
            Hindrance::Window => NEVER,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct LinkState {
    window: u64,
    in_flight: u64,
    /// The weight tag of what was granted last.
    virtual_time: i64,
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
    weight_tag: i64,
    due_tag: Nanos,
    /// Requests that wait or are in flight.
    busy: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    class: ClassId,
    path: Path,
    /// The class has a reservation.
    is_reserved: bool,
    /// Bytes of its head, where one waits.
    head: Option<u64>,
    /// Where it is in the list of those that wait.
    place: usize,
    /// How often others were granted one of its links while it was the first for another.
    passed: u32,
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
            keys: Vec::new(),
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
        let is_reserved = self.terms[class.index()].reserve > 0;
        self.lanes.push(Lane { class, path, is_reserved, head: None, place: 0, passed: 0 });
        // Both are shorter than there are lanes.
        self.waiting.reserve(self.lanes.len());
        self.keys.reserve(self.lanes.len());
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
        let Ordered { mut first, mut until } = self.order(now);
        while let Some(place) = first {
            let key = self.keys[place];
            let lane = self.waiting[place];
            let bytes = self.lanes[usize::from(lane.0)].head.unwrap_or_default();
            match self.hindrance(now, lane, bytes, &mut draw) {
                None => {
                    self.grant(now, lane, bytes, key < FIRST_BY_WEIGHT);
                    return Pick::Grant { lane, bytes };
                }
                // Once in a pick is enough: what holds it back now does so until there is another.
                Some(hindrance) => {
                    until = until.min(hindrance.until());
                    self.keys[place] = LAST;
                    first = self.least();
                }
            }
        }
        if until == NEVER {
            return Pick::Idle;
        }
        self.count_starved();
        Pick::Wait(until)
    }

    /// Why the head of a lane cannot go over its links now, having drawn what it needs if it can.
    fn hindrance(
        &mut self,
        now: Nanos,
        lane: LaneId,
        bytes: u64,
        draw: &mut impl FnMut(LinkId, ClassId, u64) -> Draw,
    ) -> Option<Hindrance> {
        let Lane { class, path, .. } = self.lanes[usize::from(lane.0)];
        let empty_until = |link: &LinkId| {
            let cell = &self.cells[self.index(*link, class)];
            if cell.credit < bytes { cell.empty_until } else { Nanos::ZERO }
        };
        if let Some(until) = path.links().iter().map(empty_until).max().filter(|until| *until > now) {
            return Some(Hindrance::Balance(until));
        }
        if path.links().iter().any(|link| self.links[link.index()].closed == self.picks) {
            return Some(Hindrance::Window);
        }
        if let Some(full) = self.without_room(&path, bytes) {
            self.close(lane, full);
            return Some(Hindrance::Window);
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
                    let until = time.min(now + LOOK_AGAIN).max(now + Nanos(1));
                    self.cell(*link, class).empty_until = until;
                    return Some(Hindrance::Balance(until));
                }
            }
        }
        None
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

    /// Puts a key for each lane that waits: when it was due, if it is, else how far its weight tag is ahead of its links'
    /// virtual times; [`LAST`] for those that are known to have to wait.
    fn order(&mut self, now: Nanos) -> Ordered {
        let Tags { waiting, keys, lanes, cells, links, terms, .. } = self;
        let (mut first, mut least, mut until) = (None, LAST, NEVER);
        keys.clear();
        for (place, id) in waiting.iter().enumerate() {
            let lane = &lanes[usize::from(id.0)];
            let bytes = lane.head.unwrap_or_default();
            let (mut empty, mut due, mut ahead) = (Nanos::ZERO, Nanos::ZERO, i64::MIN);
            // Who has to wait is as good as random: it is computed, since a processor that guesses it is mostly wrong.
            for link in lane.path.links() {
                let cell = &cells[link.index() * terms.len() + lane.class.index()];
                empty = empty.max(Nanos(cell.empty_until.0 * u64::from(cell.credit < bytes)));
                due = due.max(cell.due_tag);
                ahead = ahead.max(cell.weight_tag - links[link.index()].virtual_time);
            }
            let waits = empty > now;
            until = until.min(if waits { empty } else { NEVER });
            let key = if lane.is_reserved && due <= now { i64::MIN + due.0.cast_signed() } else { ahead.min(LAST - 1) };
            let key = if waits { LAST } else { key };
            keys.push(key);
            if key < least {
                (first, least) = (Some(place), key);
            }
        }
        Ordered { first, until }
    }

    /// Where the least key is.
    fn least(&self) -> Option<usize> {
        let (place, key) = self.keys.iter().enumerate().min_by_key(|(_, key)| **key)?;
        (*key < LAST).then_some(place)
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

    fn grant(&mut self, now: Nanos, lane: LaneId, bytes: u64, is_due: bool) {
        let Lane { class, path, .. } = self.lanes[usize::from(lane.0)];
        let (reserve, by_weight) = (self.terms[class.index()].reserve, self.by_weight(bytes, class));
        for link in path.links() {
            let state = &mut self.links[link.index()];
            state.in_flight += bytes;
            let cell = &mut self.cells[link.index() * self.terms.len() + class.index()];
            cell.credit -= bytes;
            // Who is served by its reservation may be far ahead of the others by weight.
            if !is_due {
                state.virtual_time = state.virtual_time.max(cell.weight_tag);
            }
            cell.weight_tag = cell.weight_tag.saturating_add(by_weight);
            if reserve > 0 {
                let time = u128::from(bytes) * 1_000_000_000 / u128::from(reserve);
                cell.due_tag = cell.due_tag.min(now) + Nanos(u64::try_from(time).unwrap_or(u64::MAX));
            }
        }
        for link in path.links() {
            if self.links[link.index()].virtual_time > VIRTUAL_TIME_MAX {
                self.start_again(*link);
            }
        }
        self.leave(lane);
    }

    /// Counts a link's virtual time from 0 again. Who is so far behind that this says less of it does not wait: who asks is
    /// never far behind.
    fn start_again(&mut self, link: LinkId) {
        let passed = std::mem::take(&mut self.links[link.index()].virtual_time);
        let classes = self.terms.len();
        for cell in &mut self.cells[link.index() * classes..][..classes] {
            cell.weight_tag = cell.weight_tag.saturating_sub(passed).max(-VIRTUAL_TIME_MAX);
        }
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

    /// How far bytes move a weight tag; no request is larger than [`REQUEST_MAX`].
    fn by_weight(&self, bytes: u64, class: ClassId) -> i64 {
        let weight = u64::from(self.terms[class.index()].weight.max(1));
        ((bytes.min(REQUEST_MAX) << WEIGHT_BITS) / weight).cast_signed()
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
const REQUEST_MAX: u64 = 1 << 40;
/// A link's virtual time starts again from 0 after 16 TiB by weight 1, long before it has no room in its bits.
const VIRTUAL_TIME_MAX: i64 = 1 << 60;
/// Keys of those that are due are less: a point in time is less than 146 years.
const FIRST_BY_WEIGHT: i64 = i64::MIN + (1 << 62);
/// The key of who cannot go in this pick.
const LAST: i64 = i64::MAX;
const NEVER: Nanos = Nanos(u64::MAX);
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
