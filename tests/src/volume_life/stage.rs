//! The devices of a volume from opening to opening, and which of its members count.

use std::sync::Arc;

use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::Extent;
use bireme_dataplane::layout::Layout;
use bireme_dataplane::port::simulated::{Simulated, World};
use bireme_dataplane::volume::home::Home;
use bireme_dataplane::volume::recovery::{Recovered, recover};
use bireme_dataplane::volume::{Volume, lane_bytes_min};

use super::plan::Plan;
use crate::crash::contents::Row;

/// What lasts from one opening to the next.
#[derive(Debug)]
pub struct Stage {
    /// The devices and the clock.
    pub world: World,
    /// The volume; its epoch rises with each opening.
    pub volume: Volume,
    /// Which members count, as far as that is durable.
    pub health: Health,
    /// Members that do not answer, and will again.
    pub absent: Members,
    /// The volume was settled.
    pub clean: bool,
    /// Blocks that have rotted where nothing brings them back.
    pub rotten: u64,
}

impl Stage {
    /// Blank devices with an empty volume.
    pub fn new(plan: &Plan, seed: u64) -> Stage {
        let geometry = plan.geometry;
        let lane = lane_frames(plan);
        let bytes = device_bytes(plan);
        let layout = Layout::new(geometry, bytes).expect("room");
        let volume = Volume {
            pool: [5; 16],
            geometry,
            layout,
            blocks: plan.pages * u64::from(geometry.page_bytes()) / 4096,
            generation: 11,
            epoch: 1,
            // Not in order and not side by side.
            frames: (0..plan.pages).rev().map(|page| 2 * page).collect(),
            lanes: (0..u64::from(plan.homes))
                .map(|home| Extent::new(2 * plan.pages + home * lane, lane))
                .collect::<Arc<_>>(),
            homes: plan.homes,
        };
        let world = World::new(seed, &vec![bytes; usize::from(geometry.members())]);
        Stage { world, volume, health: Health::default(), absent: Members::NONE, clean: true, rotten: 0 }
    }

    /// Which members do not answer and do not count any more by now: an opening makes that durable first.
    pub fn note_dead(&mut self, dead: Members) {
        self.health = (dead - self.health.lost).iter().fold(self.health, Health::without);
    }

    /// Makes the members agree again after a loss of power; `None` when the power fails once more.
    ///
    /// # Errors
    /// It cannot be recovered though it should.
    pub fn recover(&mut self) -> Result<Option<Recovered>, String> {
        let mut port = self.world.port(1 << 20, 64);
        match recover(&self.volume, &self.health, &mut port) {
            Ok(recovered) => Ok(Some(recovered)),
            Err(_) if self.world.is_off() => Ok(None),
            Err(fault) => Err(format!("it cannot be recovered: {fault:?}")),
        }
    }

    /// The homes of this opening.
    pub fn homes(&self, plan: &Plan) -> Vec<Home<Simulated>> {
        let region = usize::try_from(Home::<Simulated>::region_bytes(&self.volume, plan.options));
        let region = region.expect("a small home");
        let requests = Home::<Simulated>::requests(&self.volume, plan.options);
        let home = |index| {
            let port = self.world.port(region, requests);
            Home::new(self.volume.clone(), index, self.health, plan.options, port)
        };
        (0..plan.homes).map(home).collect()
    }

    /// Blank devices in the places of the members that do not count: they are to be rebuilt.
    pub fn replace_lost(&mut self, plan: &Plan) {
        let bytes = device_bytes(plan);
        for member in self.health.lost.iter() {
            self.world.replace(usize::from(member), bytes);
        }
        self.absent = self.absent - self.health.lost;
        self.health =
            Health { lost: Members::NONE, rebuilding: self.health.lost | self.health.rebuilding, watermark: 0 };
    }

    /// Every copy, parity and leaf of a settled volume agrees with its data.
    ///
    /// # Errors
    /// What does not.
    pub fn look(&self) -> Result<(), String> {
        let read = |disk: u16, block: u64| {
            let bytes = self.world.peek(usize::from(disk), block * 4096, 4096);
            <[u8; 4096]>::try_from(bytes).expect("a block")
        };
        let lost = self.health.lost | self.health.rebuilding;
        Row::all(&self.volume).try_for_each(|row| row.data(&self.volume, &read, lost).map(|_| ()))
    }
}

/// Frames of a lane: twice what it needs at least.
fn lane_frames(plan: &Plan) -> u64 {
    (lane_bytes_min(&plan.geometry) * 2).div_ceil(u64::from(plan.geometry.frame_member_bytes()))
}

/// Room for all that a plan needs.
fn device_bytes(plan: &Plan) -> u64 {
    let frames = 2 * plan.pages + u64::from(plan.homes) * lane_frames(plan) + 2;
    METADATA_BYTES + frames * (u64::from(plan.geometry.frame_member_bytes()) + 8192)
}

const METADATA_BYTES: u64 = 8 << 20;
