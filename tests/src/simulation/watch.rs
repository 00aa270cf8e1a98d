//! What must hold at each moment of a run, seen from the devices: who writes where, and what is durable when.
//!
//! ```text
//!   (free) ─ a plan has it ─▶ open ─ the map of the durable set has it ─▶ mapped ─ the next set is durable ─▶ (free)
//!                              └─── the map leaves it out ─▶ left ─ nothing to it is in flight: a later plan ─▶ open
//! ```
//!
//! Peers write to open frames, and what was begun ends in left ones. A page's frame has one writer, until that one is
//! dead and nothing of it is in flight; a spare frame has its owner.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bireme_control::raid::geometry::Geometry;
use bireme_control::raid::health::Health;
use bireme_control::units::{Extent, Nanos, PeerId};
use bireme_dataplane::layout::Layout;
use bireme_dataplane::ledger::store::PageRecord;
use bireme_dataplane::message::Committed;
use bireme_dataplane::plan::Plan;
use bireme_dataplane::port::Operation;
use bireme_dataplane::port::simulated::{Started, World};

use super::life::Moment;
use super::tally::{Kind, Tally};

/// Whose each frame is, and what is in flight.
#[derive(Debug)]
pub struct Watch {
    geometry: Geometry,
    layout: Layout,
    /// The disk of each member.
    disks: Vec<usize>,
    /// Disks that nothing is written to, with the first set from which on that holds for all peers.
    lost: BTreeMap<usize, u64>,
    /// Those that were lost since a set was acknowledged: peers may not know it.
    news: Vec<usize>,
    /// Frames that a set holds or has left; the others are free.
    frames: BTreeMap<u64, Frame>,
    /// Sets that are not acknowledged, by number.
    plans: BTreeMap<u64, Arc<Plan>>,
    /// What the store says of the set that is being committed.
    map: Vec<PageRecord>,
    newest: u64,
    /// What peers have in flight.
    in_flight: Vec<Flight>,
    dead: Vec<PeerId>,
    /// What was seen.
    pub tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    set: u64,
    state: State,
    /// Who may write to it alone.
    writer: Option<PeerId>,
    spare: bool,
    written: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Mapped,
    Left,
}

/// A request of a peer to one frame, or to none.
#[derive(Clone, Debug)]
struct Flight {
    peer: PeerId,
    disk: usize,
    range: Range<u64>,
    frame: Option<u64>,
    flush: bool,
    due: Nanos,
}

impl Watch {
    /// A pool whose newest set, if any, has this number and these frames.
    pub fn new(
        geometry: Geometry,
        layout: Layout,
        (disks, health): (&[usize], Health),
        newest: u64,
        frames: &[u64],
    ) -> Watch {
        let mapped = Frame { set: newest, state: State::Mapped, writer: None, spare: false, written: true };
        Watch {
            geometry,
            layout,
            disks: disks.to_vec(),
            lost: (health.lost | health.rebuilding).iter().map(|member| (disks[usize::from(member)], 0)).collect(),
            news: Vec::new(),
            frames: frames.iter().map(|&frame| (frame, mapped)).collect(),
            plans: BTreeMap::new(),
            map: Vec::new(),
            newest,
            in_flight: Vec::new(),
            dead: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// A member is lost; its disk.
    pub fn lost(&mut self, file: u16) -> usize {
        let disk = self.disk(file);
        self.lost.insert(disk, u64::MAX);
        self.news.push(disk);
        disk
    }

    /// The disk of a member.
    pub fn disk(&self, member: u16) -> usize {
        self.disks[usize::from(member)]
    }

    /// Whether a request of the ledger belongs to a transaction.
    pub fn is_commit(&self, started: &Started) -> bool {
        let place = self.layout.metadata();
        matches!(started.request.operation, Operation::Write(_)) && place.contains(&started.request.offset)
    }

    /// A set got its frames: nobody has them, and nobody writes to them any more.
    pub fn prepared(&mut self, now: Nanos, plan: &Arc<Plan>) -> Result<(), String> {
        let number = plan.number;
        // A set was acknowledged since: the peers were told before they were told of this one.
        let known = self.lost.iter_mut().filter(|(disk, first)| **first == u64::MAX && !self.news.contains(disk));
        known.for_each(|(_, first)| *first = number);
        if plan.frames.count() != plan.pages {
            return Err(format!("set {number} has {} pages and {} frames", plan.pages, plan.frames.count()));
        }
        let each = |frames: &[Extent]| frames.iter().copied().flat_map(Extent::iter).collect::<Vec<_>>();
        let pages = each(plan.frames.extents()).into_iter().map(|frame| (frame, None, false));
        let owners = (0..).map(PeerId).take(plan.shares.len());
        let spares = owners.flat_map(|peer| plan.spares_of(peer).map(move |frame| (frame, Some(peer), true)));
        self.land(now);
        for (frame, writer, spare) in pages.chain(spares) {
            if let Some(flight) = self.in_flight.iter().find(|flight| flight.frame == Some(frame)) {
                return Err(format!("set {number} got frame {frame} while {flight:?}"));
            }
            match self.frames.insert(frame, Frame { set: number, state: State::Open, writer, spare, written: false }) {
                Some(Frame { state: State::Left, .. }) => self.tally.add(Kind::FrameReused, 1),
                Some(other) => return Err(format!("set {number} got frame {frame}, which is {other:?}")),
                None => {}
            }
        }
        self.plans.insert(number, plan.clone());
        Ok(())
    }

    /// The first write of a commit: all that the oldest set maps is durable.
    pub fn commit_begins(
        &mut self,
        world: &World,
        store: impl Fn(u64) -> Option<Vec<PageRecord>>,
    ) -> Result<(), String> {
        let (&number, _) = self.plans.first_key_value().ok_or("a commit begins, and no set is outstanding")?;
        self.map = store(number).ok_or(format!("set {number} is committed and not in the store"))?;
        self.durable(world, self.places(&self.map)).map_err(|place| format!("set {number} is committed while {place}"))
    }

    /// A set was acknowledged: its map is made of its frames, and nothing of it and of the metadata may be lost any more.
    pub fn committed(&mut self, world: &World, said: &Committed) -> Result<(), String> {
        let number = said.number;
        let map = std::mem::take(&mut self.map);
        self.news.clear();
        let plan = self.plans.remove(&number).ok_or(format!("set {number} was committed and never prepared"))?;
        let wrong = |what: &str| Err(format!("set {number} was committed, and {what}"));
        if map.len() as u64 != plan.pages || said.done.iter().sum::<u64>() != plan.pages {
            return wrong("its pages are not those of its plan");
        }
        self.land(world.now());
        let mut repeats = 0;
        for (page, record) in (0..).zip(&map) {
            match self.frames.get_mut(&record.frame) {
                Some(frame) if frame.set == number && frame.state == State::Open => {
                    if !frame.spare && plan.frame(page) != record.frame {
                        return wrong("a page lies in the frame of another");
                    }
                    repeats += u64::from(frame.spare);
                    frame.state = State::Mapped;
                }
                other => return Err(format!("set {number} maps frame {}, which is {other:?}", record.frame)),
            }
        }
        if repeats != said.repeats {
            return wrong("it does not say how many repeats are in its map");
        }
        let left = |frame: &Frame| frame.set == number && frame.state == State::Open;
        let lost = self.frames.values().filter(|frame| left(frame) && frame.spare && frame.written).count();
        self.tally.add(Kind::RepeatLost, lost as u64);
        self.frames.values_mut().filter(|frame| left(frame)).for_each(|frame| frame.state = State::Left);
        self.tally.add(Kind::LoserInFlight, self.losers().len() as u64);
        self.tally.add(Kind::RepeatWon, repeats);
        self.tally.add(Kind::Survived, u64::from(!self.dead.is_empty()));
        let old = std::mem::replace(&mut self.newest, number);
        self.frames.retain(|_, frame| frame.set != old || frame.state != State::Mapped);
        let mut places = self.places(&map);
        places.push(self.layout.metadata());
        self.durable(world, places).map_err(|place| format!("set {number} was acknowledged while {place}"))
    }

    /// At the end the store still holds what was committed last.
    pub fn maps(&self, store: impl Fn(u64) -> Option<Vec<PageRecord>>) -> Result<(), String> {
        let mut frames: Vec<u64> = store(self.newest).unwrap_or_default().iter().map(|page| page.frame).collect();
        frames.sort_unstable();
        let mapped = self.frames.iter().filter(|(_, frame)| frame.state == State::Mapped).map(|(&frame, _)| frame);
        if mapped.eq(frames) { Ok(()) } else { Err("the store holds other frames than were committed".to_owned()) }
    }

    /// Data and leaves of pages.
    fn places(&self, map: &[PageRecord]) -> Vec<Range<u64>> {
        map.iter().flat_map(|page| [self.data(page.frame), self.leaves(page.frame)]).collect()
    }

    fn durable(&self, world: &World, places: Vec<Range<u64>>) -> Result<(), String> {
        for &disk in self.disks.iter().filter(|&disk| !self.lost.contains_key(disk)) {
            for range in world.volatile(disk) {
                if places.iter().any(|place| overlap(place, &range)) {
                    return Err(format!("{range:?} of disk {disk} is not durable"));
                }
            }
        }
        Ok(())
    }

    /// The shape of the pool.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// All frames.
    pub fn frames(&self) -> u64 {
        self.layout.frames()
    }

    /// Frames that no map and no outstanding set has.
    pub fn frames_free(&self) -> u64 {
        let held = self.frames.values().filter(|frame| frame.state != State::Left).count();
        self.layout.frames() - held as u64
    }

    /// A peer asks for something: it writes only where it may. What is special about it, if something is.
    pub fn peer_started(&mut self, now: Nanos, peer: PeerId, started: &Started) -> Result<Option<Moment>, String> {
        self.land(now);
        let Started { disk, request, due, .. } = *started;
        let range = request.offset..request.offset + u64::from(request.operation.bytes());
        let flush = request.operation == Operation::Flush;
        let mut flight = Flight { peer, disk, range, frame: None, flush, due };
        if !matches!(request.operation, Operation::Write(_)) || !self.disks.contains(&disk) {
            self.in_flight.push(flight);
            return Ok(flush.then_some(Moment::Flushing));
        }
        let twice =
            |other: &&Flight| other.disk == disk && other.frame.is_some() && overlap(&other.range, &flight.range);
        // A request that hangs is never answered; when its port is given up the run fails in the end.
        if let Some(other) = self.in_flight.iter().filter(|other| other.due != NEVER).find(twice) {
            return Err(format!("{flight:?} and {other:?} at one time"));
        }
        let mut place = flight.range.start;
        while place < flight.range.end {
            let (frame, end) = self.frame_at(place).ok_or(format!("a peer writes at {place}, where no frame is"))?;
            self.may_write(peer, frame)?;
            flight.frame = Some(frame);
            self.in_flight.push(flight.clone());
            place = end;
        }
        let set = flight.frame.and_then(|frame| self.frames.get(&frame)).map_or(0, |frame| frame.set);
        if self.lost.get(&disk).is_some_and(|&first| first <= set) {
            return Err(format!("{peer} writes to disk {disk} for set {set}, which is lost"));
        }
        let repeats = flight.frame.and_then(|frame| self.frames.get(&frame)).is_some_and(|frame| frame.spare);
        Ok(repeats.then_some(Moment::Repeating))
    }

    /// Who writes to a frame that a map leaves out.
    pub fn losers(&self) -> Vec<PeerId> {
        self.in_flight.iter().filter(|flight| self.is_left(flight)).map(|flight| flight.peer).collect()
    }

    fn may_write(&mut self, peer: PeerId, number: u64) -> Result<(), String> {
        let frame =
            self.frames.get_mut(&number).ok_or(format!("{peer} writes to frame {number}, which no set holds"))?;
        if frame.state == State::Mapped {
            return Err(format!("{peer} writes to frame {number} of set {}, which anybody may read", frame.set));
        }
        frame.written = true;
        match frame.writer {
            Some(writer) if writer == peer => return Ok(()),
            Some(writer) if frame.spare || !self.dead.contains(&writer) => {
                return Err(format!("{peer} writes to frame {number}, which is {frame:?}"));
            }
            Some(writer) => {
                let under_way = |flight: &Flight| (flight.peer, flight.frame) == (writer, Some(number));
                if self.in_flight.iter().any(|flight| under_way(flight) && flight.due != NEVER) {
                    return Err(format!("{peer} writes to frame {number} while something of the dead {writer} does"));
                }
            }
            None => {}
        }
        frame.writer = Some(peer);
        Ok(())
    }

    /// A peer has died: what it had in flight, and when the last of it ends.
    pub fn died(&mut self, now: Nanos, peer: PeerId) -> Nanos {
        self.land(now);
        self.dead.push(peer);
        let mine = || self.in_flight.iter().filter(|flight| flight.peer == peer);
        let to_frames = || mine().filter_map(|flight| self.frames.get(&flight.frame?));
        let seen = [
            (Kind::Died, true),
            (Kind::DiedFlushing, mine().any(|flight| flight.flush)),
            (Kind::DiedWriting, to_frames().any(|frame| frame.state == State::Open && !frame.spare)),
            (Kind::DiedRepeating, to_frames().any(|frame| frame.state == State::Open && frame.spare)),
            (Kind::DiedAfterCommit, to_frames().any(|frame| frame.state == State::Left)),
        ];
        let last = mine().map(|flight| flight.due).max().unwrap_or(now);
        seen.into_iter().filter(|&(_, is)| is).for_each(|(kind, _)| self.tally.add(kind, 1));
        last
    }

    /// How many have died.
    pub fn deaths(&self) -> usize {
        self.dead.len()
    }

    /// Forgets what has ended.
    fn land(&mut self, now: Nanos) {
        self.in_flight.retain(|flight| flight.due > now);
    }

    fn is_left(&self, flight: &Flight) -> bool {
        flight.frame.and_then(|frame| self.frames.get(&frame)).is_some_and(|frame| frame.state == State::Left)
    }

    /// The frame whose data or leaves lie at this offset, and where they end.
    fn frame_at(&self, offset: u64) -> Option<(u64, u64)> {
        let [data, leaves] = [self.data(0), self.leaves(0)];
        let of =
            |first: Range<u64>| (offset >= first.start).then(|| (offset - first.start) / (first.end - first.start));
        let inside = |frame: &u64| *frame < self.layout.frames();
        let in_data = of(data).filter(inside).map(|frame| (frame, self.data(frame).end));
        in_data.or_else(|| of(leaves).filter(inside).map(|frame| (frame, self.leaves(frame).end)))
    }

    fn data(&self, frame: u64) -> Range<u64> {
        let start = self.layout.data_offset(frame);
        start..start + u64::from(self.geometry.frame_member_bytes())
    }

    fn leaves(&self, frame: u64) -> Range<u64> {
        let start = self.layout.leaf_offset(frame);
        start..start + self.layout.leaf_bytes()
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The end of a request to a disk that hangs.
pub const NEVER: Nanos = Nanos(u64::MAX);
