//! What must hold at each moment of a run, seen from the devices: who writes where, and what is durable when.

use std::collections::BTreeMap;
use std::ops::Range;

use bireme_control::raid::geometry::Geometry;
use bireme_control::units::Extent;
use bireme_dataplane::layout::Layout;
use bireme_dataplane::plan::Plan;
use bireme_dataplane::port::Operation;
use bireme_dataplane::port::simulated::{Started, World};

/// Whose each frame is.
#[derive(Debug)]
pub struct Watch {
    geometry: Geometry,
    layout: Layout,
    /// The disk of each member.
    disks: Vec<usize>,
    /// The set that holds a frame, acknowledged or not.
    owners: BTreeMap<u64, u64>,
    newest: u64,
}

impl Watch {
    /// A pool whose newest set, if any, has this number and these frames.
    pub fn new(geometry: Geometry, layout: Layout, disks: &[usize], newest: u64, frames: &[u64]) -> Watch {
        let owners = frames.iter().map(|&frame| (frame, newest)).collect();
        Watch { geometry, layout, disks: disks.to_vec(), owners, newest }
    }

    /// A set got its frames: nobody has them.
    pub fn prepared(&mut self, plan: &Plan) -> Result<(), String> {
        let frames: Vec<u64> = plan.frames.extents().iter().copied().flat_map(Extent::iter).collect();
        if frames.len() as u64 != plan.pages {
            return Err(format!("set {} has {} pages and {} frames", plan.number, plan.pages, frames.len()));
        }
        for frame in frames {
            if let Some(owner) = self.owners.insert(frame, plan.number) {
                return Err(format!("set {} got frame {frame}, which set {owner} holds", plan.number));
            }
        }
        Ok(())
    }

    /// The first write of a commit: all of the oldest set is durable.
    pub fn commit_begins(&self, world: &World) -> Result<(), String> {
        let oldest = self.owners.values().copied().filter(|&owner| owner != self.newest).min();
        let number = oldest.ok_or("a commit begins, and no set is outstanding")?;
        self.durable(world, self.places(number)).map_err(|place| format!("set {number} is committed while {place}"))
    }

    /// A set was acknowledged: nothing of it and of the metadata may be lost any more.
    pub fn committed(&mut self, world: &World, number: u64) -> Result<(), String> {
        let old = std::mem::replace(&mut self.newest, number);
        self.owners.retain(|_, owner| *owner != old);
        let mut places = self.places(number);
        places.push(self.layout.metadata());
        self.durable(world, places).map_err(|place| format!("set {number} was acknowledged while {place}"))
    }

    /// Data and leaves of a set.
    fn places(&self, number: u64) -> Vec<Range<u64>> {
        let mine = self.owners.iter().filter(|(_, owner)| **owner == number);
        mine.flat_map(|(&frame, _)| [self.data(frame), self.leaves(frame)]).collect()
    }

    fn durable(&self, world: &World, places: Vec<Range<u64>>) -> Result<(), String> {
        for &disk in &self.disks {
            for range in world.volatile(disk) {
                if places.iter().any(|place| range.start < place.end && place.start < range.end) {
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

    /// Frames that no set holds.
    pub fn frames_free(&self) -> u64 {
        self.layout.frames() - self.owners.len() as u64
    }

    /// A peer writes: only into frames of a set that is not yet acknowledged.
    pub fn peer_started(&self, started: &Started) -> Result<(), String> {
        let (Operation::Write(span), true) = (started.request.operation, self.disks.contains(&started.disk)) else {
            return Ok(());
        };
        let range = started.request.offset..started.request.offset + u64::from(span.bytes);
        let mut place = range.start;
        while place < range.end {
            let (frame, end) = self.frame_at(place).ok_or(format!("a peer writes at {place}, where no frame is"))?;
            match self.owners.get(&frame) {
                None => return Err(format!("a peer writes to frame {frame}, which no set holds")),
                Some(&owner) if owner == self.newest => {
                    return Err(format!("a peer writes to frame {frame} of set {owner}, which anybody may read"));
                }
                Some(_) => place = end,
            }
        }
        Ok(())
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
