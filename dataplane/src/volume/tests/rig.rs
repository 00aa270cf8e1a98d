//! A volume over simulated disks, its homes, and a model of what each block may hold.
//!
//! A block says which block it is and which version: so a test can tell old from new, and both from anything else.

use std::collections::BTreeMap;

use bireme_control::raid::health::Health;
use bireme_control::units::Nanos;

use super::super::Volume;
use super::super::home::{Ended, Home, Operation, Options};
use super::super::recovery::{Recovered, recover};
use crate::checksum::mix;
use crate::message::Failure;
use crate::port::Next;
use crate::port::simulated::{Random, Simulated, World};

/// What a block may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Model {
    /// It holds this one or a newer one after a crash.
    pub(super) durable: u64,
    /// A read shows this one or a newer one.
    pub(super) acknowledged: u64,
    /// The newest that was ever written.
    pub(super) issued: u64,
}

/// What was asked of a home.
#[derive(Clone, Debug)]
enum Ask {
    Read {
        block: u64,
        oldest: Vec<u64>,
    },
    Write {
        block: u64,
        versions: Vec<u64>,
        fua: bool,
    },
    /// What was acknowledged when it was asked.
    Flush(BTreeMap<u64, u64>),
    Other,
}

pub(super) struct Rig {
    pub(super) world: World,
    pub(super) volume: Volume,
    pub(super) health: Health,
    pub(super) homes: Vec<Home<Simulated>>,
    pub(super) model: Vec<Model>,
    pub(super) failed: Vec<Failure>,
    /// Members that are answered for at once when they are lost.
    pub(super) keeps: bool,
    asks: BTreeMap<(usize, Operation), Ask>,
    pub(super) options: Options,
}

impl Rig {
    /// New disks with old data all over them, and a volume that was made ready on them.
    pub(super) fn new(volume: &Volume, options: Options, seed: u64) -> Rig {
        let members = usize::from(volume.geometry.members());
        let world = World::new(seed, &vec![64 << 20; members]);
        let layout = volume.layout;
        let mut random = Random::new(seed);
        for disk in 0..members {
            let frame_bytes = usize::try_from(volume.geometry.frame_member_bytes()).expect("small");
            let lanes = volume.lanes.iter().flat_map(|lane| lane.iter());
            for frame in volume.frames.iter().copied().chain(lanes) {
                let mut garbage = vec![0; frame_bytes];
                garbage.chunks_mut(8).for_each(|word| word.copy_from_slice(&random.bits().to_le_bytes()));
                world.poke(disk, layout.data_offset(frame), &garbage);
            }
            for &frame in volume.frames.iter() {
                world.poke(
                    disk,
                    layout.leaf_offset(frame),
                    &vec![0; usize::try_from(layout.leaf_bytes()).expect("small")],
                );
            }
            for lane in volume.lanes.iter() {
                world.poke(disk, layout.data_offset(lane.start), &[0; 4096]);
            }
        }
        let blocks = usize::try_from(volume.blocks).expect("small");
        let mut rig = Rig {
            world,
            volume: volume.clone(),
            health: Health::default(),
            homes: Vec::new(),
            model: vec![Model::default(); blocks],
            failed: Vec::new(),
            keeps: true,
            asks: BTreeMap::new(),
            options,
        };
        rig.open();
        rig
    }

    /// Opens the homes over the disks as they are.
    pub(super) fn open(&mut self) {
        let bytes = usize::try_from(Home::<Simulated>::region_bytes(&self.volume, self.options)).expect("small");
        let requests = Home::<Simulated>::requests(&self.volume, self.options);
        self.asks.clear();
        self.homes = (0..self.volume.homes)
            .map(|index| {
                let port = self.world.port(bytes, requests);
                Home::new(self.volume.clone(), index, self.health, self.options, port)
            })
            .collect();
    }

    /// The power comes back: what is under way is gone, the volume is recovered and opened again.
    pub(super) fn reboot(&mut self) -> Recovered {
        self.crash();
        self.recover().expect("the power stays on")
    }

    /// The power goes and comes back; nothing is done about it yet.
    pub(super) fn crash(&mut self) {
        self.homes.clear();
        self.world = self.world.reboot();
        self.spoil_lost();
    }

    /// Whoever asks a lost member for anything waits for ever, and what it has is not what it had.
    pub(super) fn spoil_lost(&mut self) {
        for member in self.health.lost.iter() {
            self.world.replace(usize::from(member), 64 << 20);
            self.world.hang(usize::from(member));
        }
    }

    /// Recovers and opens the volume; `None` when the power fails meanwhile.
    pub(super) fn recover(&mut self) -> Option<Recovered> {
        let mut port = self.world.port(1 << 20, 8);
        let recovered = recover(&self.volume, &self.health, &mut port);
        if self.world.is_off() {
            return None;
        }
        let recovered = recovered.expect("living members answer");
        self.volume.epoch += 1;
        self.open();
        Some(recovered)
    }

    pub(super) fn home_of(&self, block: u64) -> usize {
        let page = block / u64::from(self.volume.geometry.page_bytes() / 4096);
        usize::try_from(page % u64::from(self.volume.homes)).expect("small")
    }

    /// Writes a new version of some blocks; `false` when the home is busy.
    pub(super) fn write(&mut self, block: u64, blocks: u32, fua: bool) -> bool {
        let home = self.home_of(block);
        let Some(operation) = self.homes[home].begin() else { return false };
        let mut versions = Vec::new();
        let data = self.homes[home].data_mut(operation, blocks * 4096);
        for (index, bytes) in (block..).zip(data.chunks_mut(4096)) {
            let model = &mut self.model[usize::try_from(index).expect("small")];
            model.issued += 1;
            fill(bytes, index, model.issued);
            versions.push(model.issued);
        }
        self.homes[home].write(operation, block, blocks, fua);
        self.asks.insert((home, operation), Ask::Write { block, versions, fua });
        true
    }

    pub(super) fn read(&mut self, block: u64, blocks: u32) -> bool {
        let home = self.home_of(block);
        let Some(operation) = self.homes[home].begin() else { return false };
        let range = block..block + u64::from(blocks);
        let oldest = range.map(|block| self.model[usize::try_from(block).expect("small")].acknowledged).collect();
        self.homes[home].read(operation, block, blocks);
        self.asks.insert((home, operation), Ask::Read { block, oldest });
        true
    }

    pub(super) fn flush(&mut self, home: usize) -> bool {
        let Some(operation) = self.homes[home].begin() else { return false };
        let mine = (0u64..).zip(&self.model).filter(|(block, _)| self.home_of(*block) == home);
        let acknowledged = mine.map(|(block, model)| (block, model.acknowledged)).collect();
        self.homes[home].flush(operation);
        self.asks.insert((home, operation), Ask::Flush(acknowledged));
        true
    }

    pub(super) fn other(&mut self, home: usize, ask: impl FnOnce(&mut Home<Simulated>, Operation)) -> bool {
        let Some(operation) = self.homes[home].begin() else { return false };
        ask(&mut self.homes[home], operation);
        self.asks.insert((home, operation), Ask::Other);
        true
    }

    /// One turn of each home.
    pub(super) fn turn(&mut self) {
        let now = self.world.now();
        for home in 0..self.homes.len() {
            self.homes[home].turn(now);
            while let Some(ended) = self.homes[home].reap() {
                self.ended(home, ended);
            }
            self.homes[home].submit(Next::Ready);
            if let Some((member, _)) = self.homes[home].lost().filter(|_| self.keeps) {
                self.lose(member);
            }
        }
    }

    /// A member is lost, and everybody knows.
    pub(super) fn lose(&mut self, member: u16) {
        self.set_health(self.health.without(member));
    }

    pub(super) fn set_health(&mut self, health: Health) {
        self.health = health;
        self.homes.iter_mut().for_each(|home| home.set_health(health));
    }

    /// Turns until nothing is under way any more, or the power is off.
    pub(super) fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "no end: {:?}", self.asks);
            self.turn();
            if self.asks.is_empty() || self.world.is_off() {
                return;
            }
            let soon = self.world.now() + Nanos(100_000);
            self.world.advance_to(self.world.next_event().unwrap_or(soon));
        }
    }

    /// Lets everything in place become durable, with its leaves.
    pub(super) fn settle(&mut self) {
        for home in 0..self.homes.len() {
            assert!(self.other(home, |home, operation| home.settle(operation)));
        }
        self.drain();
    }

    /// Everything is read and compared.
    pub(super) fn check_all(&mut self) {
        let page = u64::from(self.volume.geometry.page_bytes() / 4096);
        let longest = u64::from(self.options.operation_bytes / 4096).min(page);
        let mut block = 0;
        while block < self.volume.blocks {
            let page_end = (block / page + 1) * page;
            let blocks = longest.min(page_end - block).min(self.volume.blocks - block);
            while !self.read(block, u32::try_from(blocks).expect("small")) {
                self.drain();
            }
            block += blocks;
        }
        self.drain();
    }

    /// After a crash: reads show what they find from now on, which must be one of what may be there.
    pub(super) fn accept_what_is_there(&mut self) {
        for model in &mut self.model {
            model.acknowledged = model.durable;
        }
        for block in 0..self.volume.blocks {
            let home = self.home_of(block);
            let operation = self.homes[home].begin().expect("an idle home");
            self.homes[home].read(operation, block, 1);
            self.asks.insert((home, operation), Ask::Other);
            let found = loop {
                let now = self.world.now();
                self.homes[home].turn(now);
                if let Some(ended) = self.homes[home].reap() {
                    assert_eq!(ended.result, Ok(()), "block {block} after a crash");
                    break version(self.homes[home].data(operation, 4096), block);
                }
                self.homes[home].submit(Next::Ready);
                let soon = now + Nanos(100_000);
                self.world.advance_to(self.world.next_event().unwrap_or(soon));
            };
            self.homes[home].end(operation);
            self.asks.remove(&(home, operation));
            let model = &mut self.model[usize::try_from(block).expect("small")];
            let found = found.unwrap_or_else(|| panic!("block {block} is neither old nor new: {model:?}"));
            let allowed = model.durable..=model.issued;
            assert!(allowed.contains(&found), "block {block} is version {found}, allowed {allowed:?}");
            *model = Model { durable: found, acknowledged: found, issued: model.issued };
        }
    }

    fn ended(&mut self, home: usize, ended: Ended) {
        let key = (home, ended.operation);
        let ask = self.asks.remove(&key).expect("it was asked for");
        if let Err(failure) = ended.result {
            self.failed.push(failure);
        } else {
            self.succeeded(home, ended.operation, ask);
        }
        self.homes[home].end(ended.operation);
    }

    fn succeeded(&mut self, home: usize, operation: Operation, ask: Ask) {
        match ask {
            Ask::Read { block, oldest } => {
                let bytes = u32::try_from(oldest.len() * 4096).expect("small");
                let data = self.homes[home].data(operation, bytes);
                for ((block, oldest), bytes) in (block..).zip(oldest).zip(data.chunks(4096)) {
                    let newest = self.model[usize::try_from(block).expect("small")].issued;
                    let found = version(bytes, block);
                    let good = found.is_some_and(|found| (oldest..=newest).contains(&found));
                    assert!(good, "block {block} is version {found:?}, allowed {oldest}..={newest}");
                }
            }
            Ask::Write { block, versions, fua } => {
                for (block, version) in (block..).zip(versions) {
                    let model = &mut self.model[usize::try_from(block).expect("small")];
                    model.acknowledged = model.acknowledged.max(version);
                    if fua {
                        model.durable = model.durable.max(version);
                    }
                }
            }
            Ask::Flush(acknowledged) => {
                for (block, version) in acknowledged {
                    let model = &mut self.model[usize::try_from(block).expect("small")];
                    model.durable = model.durable.max(version);
                }
            }
            Ask::Other => {}
        }
    }
}

/// The bytes of one version of a block; of version 0, nothing.
pub(super) fn fill(bytes: &mut [u8], block: u64, version: u64) {
    for (index, word) in (0u64..).zip(bytes.chunks_mut(8)) {
        let value = if version == 0 { 0 } else { mix(block << 32 ^ version << 10 ^ index) };
        word.copy_from_slice(&value.to_le_bytes());
    }
    if version > 0 {
        bytes[..8].copy_from_slice(&version.to_le_bytes());
    }
}

/// Which version of a block these bytes are.
pub(super) fn version(bytes: &[u8], block: u64) -> Option<u64> {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    let version = u64::from_le_bytes(word);
    let mut want = vec![0; bytes.len()];
    fill(&mut want, block, version);
    (want == bytes).then_some(version)
}

pub(super) fn small_options() -> Options {
    Options {
        operations: 6,
        operation_bytes: 64 << 10,
        pages: 3,
        request_bytes: 32 << 10,
        hang_limit: Nanos::from_secs(30),
    }
}
