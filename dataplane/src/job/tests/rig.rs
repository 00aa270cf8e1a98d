//! One peer that writes a set to simulated devices, and one that reads it.

use std::sync::Arc;

use bireme_control::balance::{Learnt, Machine, Rules, Strategy};
use bireme_control::controller::Orders;
use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::raid::health::Health;
use bireme_control::raid::members::Members;
use bireme_control::units::{Extent, Nanos, PeerId};

use crate::array::Array;
use crate::board::Board;
use crate::engine::sizing;
use crate::job::{Job, Mend};
use crate::layout::Layout;
use crate::message::{Failure, ToLedger, ToPeer};
use crate::pattern::Pattern;
use crate::peer::{Peer, Wiring};
use crate::plan::{Origin, Plan, Runs};
use crate::port::simulated::{Simulated, Started, World};
use crate::port::{Bell, Next};
use crate::queue::Mailbox;
use crate::telemetry::{Gauges, Healed};

/// An array with one set, which begins in frame [`FRAME`].
pub(super) struct Rig {
    pub(super) world: World,
    pub(super) array: Array,
    pub(super) bytes: u64,
    pub(super) roots: Vec<u64>,
    pub(super) generation: u64,
    /// What the last write has asked of the devices.
    pub(super) started: Vec<Started>,
}

/// A set as it was read.
pub(super) struct Read {
    pub(super) data: Vec<u8>,
    pub(super) healed: Vec<Healed>,
}

impl Rig {
    /// Blank devices.
    pub(super) fn new(level: Level, members: usize, chunk: u64, page: u64, bytes: u64) -> Rig {
        let geometry = Geometry::new(level, members, chunk, page).expect("a usable shape");
        let mut disks = vec![DISK; members];
        disks.push(bytes.next_multiple_of(4096));
        let layout = Layout::new(geometry, DISK).expect("large enough");
        let ask = sizing::Ask { depth: Some(3), slot_bytes: Some(32 << 10), request_bytes: 12 << 10, peers: 1 };
        let (array, _) = sizing::size(geometry, layout, ask).expect("sizes that work");
        Rig { world: World::new(1, &disks), array, bytes, roots: Vec::new(), generation: 0, started: Vec::new() }
    }

    /// The same, with a set written to all members.
    pub(super) fn written(level: Level, members: usize, chunk: u64, page: u64, bytes: u64) -> Rig {
        let mut rig = Rig::new(level, members, chunk, page, bytes);
        let lost = rig.write(Health::default()).expect("sound devices");
        assert!(lost.is_empty());
        rig
    }

    /// What the set holds.
    pub(super) fn content(&self) -> Vec<u8> {
        let pattern = Pattern::new(SEED, self.generation);
        let blocks = usize::try_from(self.bytes.div_ceil(4096)).expect("small");
        let mut data = vec![0; blocks * 4096];
        data.chunks_mut(4096).zip(0..).for_each(|(block, number)| pattern.fill(number, block));
        data.truncate(usize::try_from(self.bytes).expect("small"));
        data
    }

    /// The next set, into the same frames; the members that the peer has found to be lost, which are asked nothing from then
    /// on.
    pub(super) fn write(&mut self, health: Health) -> Result<Vec<u16>, Failure> {
        self.world.watch();
        self.generation += 1;
        self.roots = vec![0; self.pages()];
        let (mut lost, mut steps) = (Vec::new(), Vec::new());
        let world = self.world.clone();
        let mut roots = std::mem::take(&mut self.roots);
        let ended = self.run(Job::offload(None), health, |letter| match letter {
            ToLedger::Page(page) => roots[usize::try_from(page.page).expect("small")] = page.root,
            ToLedger::Lost { member, .. } => {
                lost.push(member);
                steps.push(world.steps());
            }
            _ => {}
        });
        let ended = ended.map(|_| ());
        self.roots = roots;
        let started = self.world.take_started();
        for (member, step) in lost.iter().zip(steps) {
            let asked = started.iter().find(|started| started.disk == usize::from(*member) && started.step > step);
            assert_eq!(asked.map(|started| started.request), None, "member {member} was asked though it is lost");
        }
        self.started = started;
        ended?;
        Ok(lost)
    }

    /// Reads the set into the data file; without `output` it is only checked.
    pub(super) fn read(&self, health: Health, mend: Mend, output: bool) -> Result<Read, Failure> {
        let file = self.array.members();
        let bytes = usize::try_from(self.bytes).expect("small");
        self.world.poke(file.into(), 0, &vec![0xEE; bytes]);
        let job = Job::restore(self.roots.clone().into(), output.then_some(file), mend);
        let peer = self.run(job, health, |_| {})?;
        let (desk, ..) = peer.into_figures();
        assert_eq!(desk.bytes, self.bytes, "each page is counted once");
        let data = self.world.peek(file.into(), 0, if output { bytes } else { 0 });
        Ok(Read { data, healed: desk.healed.total().to_vec() })
    }

    /// Reads the set and compares it; what was brought back.
    #[track_caller]
    pub(super) fn check(&self, lost: &[u16], why: &str) -> Vec<Healed> {
        let health = without(lost);
        let read = self.read(health, Mend::Nothing, true).unwrap_or_else(|failure| panic!("{why}: {failure:?}"));
        let at = read.data.iter().zip(self.content()).position(|(&found, want)| found != want);
        assert_eq!(at, None, "{why}: wrong bytes");
        read.healed
    }

    pub(super) fn pages(&self) -> usize {
        usize::try_from(self.bytes.div_ceil(u64::from(self.array.geometry.page_bytes()))).expect("small")
    }

    /// Where a page's data and leaves lie on each member.
    pub(super) fn places(&self, page: u64) -> (u64, u64) {
        let layout = self.array.layout;
        (layout.data_offset(FRAME + page), layout.leaf_offset(FRAME + page))
    }

    /// Flips a bit.
    pub(super) fn flip(&self, member: usize, offset: u64) {
        let mut byte = self.world.peek(member, offset, 1);
        byte[0] ^= 4;
        self.world.poke(member, offset, &byte);
    }

    /// What lies on the members where the set does, and around it.
    pub(super) fn devices(&self) -> Vec<Vec<u8>> {
        (0..usize::from(self.array.members())).map(|member| self.device(member)).collect()
    }

    /// The same of one member; it begins at [`Rig::start`].
    pub(super) fn device(&self, member: usize) -> Vec<u8> {
        let end = self.places(self.pages() as u64).0;
        self.world.peek(member, self.start(), usize::try_from(end - self.start()).expect("small"))
    }

    /// Where the leaves of all frames begin.
    pub(super) fn start(&self) -> u64 {
        self.array.layout.leaf_offset(0)
    }

    /// Puts a member's bytes in the place of others.
    pub(super) fn put(&self, member: usize, bytes: &[u8]) {
        self.world.poke(member, self.start(), bytes);
    }

    fn run(&self, job: Job, health: Health, mut heard: impl FnMut(ToLedger)) -> Result<Peer<Simulated>, Failure> {
        let (inbox, ledger) = (Arc::new(Mailbox::new(16, Bell(0))), Arc::new(Mailbox::new(64, Bell(1))));
        // Runs of several pages.
        let board = Arc::new(Board::new(1));
        board.publish(PeerId(0), Orders { run: 3, minimum: 1 });
        let wiring = Wiring {
            id: PeerId(0),
            peers: 1,
            inbox: inbox.clone(),
            others: vec![inbox.clone()],
            ledger: ledger.clone(),
            board,
            gauges: Arc::new(Gauges::new(self.array.members().into())),
            hang_limit: Nanos::from_secs(100),
            rate: None,
            allowance: None,
            health,
        };
        let region = usize::try_from(self.array.region_bytes()).expect("small");
        let port = self.world.port(region, self.array.requests());
        let rules = Rules { strategy: Strategy::Pull, repeat: false, ..Rules::default() };
        let machine = Machine::new(rules, PeerId(0), 1, &Learnt::new(Strategy::Pull, 1));
        let mut peer = Peer::new(wiring, self.array, job, machine, port);
        let tell = |letter| assert!(inbox.post(letter).is_ok(), "room for a letter");
        tell(ToPeer::Begin(Arc::new(self.plan())));
        let (mut left, mut failed) = (self.pages(), None);
        while !peer.is_done(self.world.now()) {
            let next = peer.turn(self.world.now());
            peer.rest(Next::Ready);
            let mut answered = false;
            while let Some(letter) = ledger.take() {
                answered = true;
                heard(letter);
                match letter {
                    ToLedger::Page(_) => {
                        left -= 1;
                        if left == 0 {
                            tell(ToPeer::Flush { sequence: 0, whose: PeerId(0) });
                        }
                    }
                    ToLedger::Flushed { .. } => tell(ToPeer::Stop),
                    ToLedger::Failed { failure, .. } => {
                        failed = Some(failure);
                        tell(ToPeer::Stop);
                    }
                    _ => {}
                }
            }
            if next != Next::Ready && !answered {
                let alarm = if let Next::At(at) = next { Some(at) } else { None };
                let event = self.world.next_event().into_iter().chain(alarm).min();
                self.world.advance_to(event.expect("somebody goes on"));
            }
        }
        failed.map_or(Ok(peer), Err)
    }

    fn plan(&self) -> Plan {
        let pages = self.pages() as u64;
        Plan {
            sequence: 0,
            number: self.generation,
            generation: self.generation,
            bytes: self.bytes,
            pages,
            frames: Runs::from(vec![Extent::new(FRAME, pages)]),
            spares: Runs::default(),
            shares: vec![Extent::default()],
            origin: Origin::Generated { seed: SEED },
        }
    }
}

/// An array without these members.
pub(super) fn without(lost: &[u16]) -> Health {
    Health { lost: lost.iter().copied().collect::<Members>(), ..Health::default() }
}

/// Arrays of every level, with odd members, chunks that do not divide the page, and units of groups.
pub(super) fn shapes() -> Vec<(Level, usize, u64, u64)> {
    use Level::{Raid0, Raid1, Raid5, Raid6, Raid10, Raid50, Raid60};
    let (k4, k8, k16) = (4 << 10, 8 << 10, 16 << 10);
    vec![
        (Raid0, 1, k4, 64 << 10),
        (Raid0, 3, k8, 64 << 10),
        (Raid1, 2, k16, 64 << 10),
        (Raid1, 3, k4, 20 << 10),
        (Raid10, 2, k4, 64 << 10),
        (Raid10, 3, k8, 64 << 10),
        (Raid10, 4, k4, 100 << 10),
        (Raid10, 5, k4, 64 << 10),
        (Raid5, 3, k4, 64 << 10),
        (Raid5, 4, k16, 64 << 10),
        (Raid5, 5, k8, 100 << 10),
        (Raid6, 4, k4, 64 << 10),
        (Raid6, 6, k8, 64 << 10),
        (Raid50 { groups: 2 }, 6, k4, 64 << 10),
        (Raid50 { groups: 3 }, 9, k8, 64 << 10),
        (Raid60 { groups: 2 }, 8, k4, 64 << 10),
        (Raid60 { groups: 2 }, 10, k4, 20 << 10),
    ]
}

/// The first frame of a set: the array rotates parity by its own rows.
pub(super) const FRAME: u64 = 1;
const SEED: u64 = 7;
const DISK: u64 = 7 << 20;
