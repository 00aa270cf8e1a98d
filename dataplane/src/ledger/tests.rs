//! The ledger over simulated devices, in a closed loop with small peers, and the power failing at every step.
//!
//! The peers write the first block of each page on member 0, so that a reader can tell whose data a frame holds. After
//! each loss of power the pool must show the newest set that was acknowledged or the one that was being committed,
//! with the data of all its pages: never anything else.

use std::path::PathBuf;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::raid::health::Health;
use bireme_control::units::PeerId;

use super::*;
use crate::pool::{Member, Shape};
use crate::port::Bell;
use crate::port::blocking::Blocking;
use crate::port::simulated::{Simulated, World};

mod losses;

const SIZES: [u64; 2] = [8 << 20, 8 << 20];
const PAGE: u64 = 256 << 10;
const PEERS: u16 = 2;

fn members() -> Vec<Member> {
    let member = |index| Member { path: PathBuf::from(format!("/dev/test{index}")), bytes: SIZES[index] };
    (0..SIZES.len()).map(member).collect()
}

fn open(world: &World) -> Result<Pool, PoolError> {
    let geometry = Geometry::new(Level::Raid0, SIZES.len(), 4096, PAGE).expect("a usable shape");
    Pool::open_or_create(&members(), Shape { geometry }, false, &mut world.port(1 << 20, 32))
}

/// A peer that writes every second page, to each member that holds a copy.
struct Peer {
    id: PeerId,
    inbox: Arc<Mailbox<ToPeer>>,
    port: Simulated,
    layout: crate::layout::Layout,
    copies: u16,
    health: Health,
    /// It was told of.
    told: Option<Health>,
}

impl Peer {
    /// `None`: the power is off.
    fn turn(&mut self, ledger: &Mailbox<ToLedger>) -> Option<()> {
        let post = |letter| assert!(ledger.post(letter).is_ok(), "room for a letter");
        while let Some(letter) = self.inbox.take() {
            let at = self.port.now();
            match letter {
                ToPeer::Begin(plan) => {
                    let own = usize::from(self.id.0);
                    for page in (0..plan.pages).skip(own).step_by(usize::from(PEERS)) {
                        let frame = plan.frame(page);
                        let place = self.layout.data_offset(frame);
                        for member in 0..self.copies {
                            let bytes = block(plan.number, page);
                            self.ask(member, ledger, |port| port.write(member, place, &bytes))?;
                        }
                        let (sequence, peer, root) = (plan.sequence, self.id, plan.number << 32 | page);
                        post(ToLedger::Page(Page { sequence, peer, page, frame, root, at }));
                    }
                }
                ToPeer::Flush { sequence, whose } => {
                    for member in (0..self.copies.max(PEERS)).filter(|member| member % PEERS == whose.0) {
                        self.ask(member, ledger, |port| port.flush(member))?;
                    }
                    post(ToLedger::Flushed { sequence, whose, at });
                    post(ToLedger::Quiet { sequence, peer: self.id });
                }
                ToPeer::Health(health) => self.told = Some(health),
                ToPeer::Balance { .. } | ToPeer::LayDown { .. } | ToPeer::TakeUp { .. } | ToPeer::Stop => {}
            }
        }
        Some(())
    }

    /// A request to a member that counts. One that refuses does not count any more, where there are others.
    fn ask(
        &mut self,
        member: u16,
        ledger: &Mailbox<ToLedger>,
        request: impl FnOnce(&mut Blocking<'_, Simulated>) -> Result<(), crate::port::blocking::Fault>,
    ) -> Option<()> {
        if self.health.lost_of(0).contains(member) {
            return Some(());
        }
        let fault = request(&mut Blocking::new(&mut self.port)).err();
        if let Some(fault) = fault.filter(|_| self.copies > 1 && self.port.in_flight() == 0) {
            let failure =
                Failure::Device { doing: fault.doing, file: member, offset: fault.offset, errno: fault.errno };
            self.health = self.health.without(member);
            assert!(ledger.post(ToLedger::Lost { member, failure }).is_ok(), "room for a letter");
            return Some(());
        }
        fault.is_none().then_some(())
    }
}

fn block(number: u64, page: u64) -> Vec<u8> {
    [number.to_le_bytes(), page.to_le_bytes()].concat().repeat(256)
}

/// What a run told: the newest set acknowledged, the newest one planned, and the failure if any.
#[derive(Debug, Default)]
struct Told {
    committed: u64,
    planned: u64,
    failure: Option<Failure>,
    /// Members that are out, and the spares in their place.
    lost: Vec<(u16, Option<PathBuf>)>,
    stopped: bool,
    generation: u64,
}

/// A pool, its ledger and its peers.
struct Rig {
    world: World,
    ledger: Ledger<Simulated>,
    peers: Vec<Peer>,
    wiring: Wiring,
    told: Told,
}

impl Rig {
    fn new(world: &World, pool: Pool) -> Rig {
        let peers: Vec<_> = (0..PEERS).map(|bell| Arc::new(Mailbox::new(1, Bell(bell)))).collect();
        let wiring =
            Wiring { inbox: Arc::new(Mailbox::new(64, Bell(8))), peers, main: Arc::new(Mailbox::new(1, Bell(9))) };
        let (layout, health) = (pool.layout(), pool.health());
        let copies = pool.geometry().copies();
        // Nobody asks for a disk that is not there.
        let disks: Vec<usize> = pool.order().iter().map(|disk| disk.unwrap_or(usize::MAX)).collect();
        let peer = |(inbox, id): (&Arc<Mailbox<ToPeer>>, u16)| Peer {
            id: PeerId(id),
            inbox: inbox.clone(),
            port: world.port_to(&disks, 1 << 16, 4),
            layout,
            copies,
            health,
            told: None,
        };
        let peers = wiring.peers.iter().zip(0..).map(peer).collect();
        let port = world.port_to(&disks, 256 << 10, 5);
        let rules = Rules { strategy: Strategy::Measured, ..Rules::default() };
        let sharing = Sharing { rules, learnt: Learnt::new(rules.strategy, PEERS) };
        let ledger = Ledger::new(pool, port, wiring.clone(), sharing, Nanos::from_secs(5));
        let planned = ledger.pool().newest_set().map_or(0, |set| set.number);
        let generation = ledger.pool().generation();
        let told = Told { committed: planned, planned, generation, ..Told::default() };
        Rig { world: world.clone(), ledger, peers, wiring, told }
    }

    /// Writes sets of these sizes, two outstanding when there is room; ends early without power.
    fn run(&mut self, pages: &[u64]) {
        let (mut begun, mut open) = (0, 0);
        for _ in 0..100_000 {
            while open < 2 && begun < pages.len() && self.told.failure.is_none() {
                let (bytes, sequence) = (pages[begun] * PAGE - 1, u32::try_from(begun).expect("few"));
                let letter = ToLedger::Prepare { sequence, bytes, origin: Origin::Generated { seed: 5 } };
                assert!(self.wiring.inbox.post(letter).is_ok());
                (begun, open) = (begun + 1, open + 1);
            }
            if begun == pages.len() && open == 0 || self.told.failure.is_some() {
                break;
            }
            open -= self.turn();
            if self.world.is_off() {
                return;
            }
        }
        assert!(self.wiring.inbox.post(ToLedger::Stop).is_ok());
        for _ in 0..10_000 {
            self.turn();
            if self.world.is_off() || self.told.stopped {
                return;
            }
        }
        panic!("the ledger does not stop: {:?}", self.told);
    }

    /// Everybody's turn, and how many sets were committed.
    fn turn(&mut self) -> usize {
        let next = self.ledger.turn(self.world.now());
        let _ = self.ledger.rest(Next::Ready);
        for peer in &mut self.peers {
            if peer.turn(&self.wiring.inbox).is_none() {
                return 0;
            }
        }
        match (next, self.world.next_event()) {
            (Next::Ready, _) | (_, None) => {}
            (Next::At(time), Some(event)) => self.world.advance_to(event.min(time)),
            (Next::Event, Some(event)) => self.world.advance_to(event),
        }
        let mut committed = 0;
        while let Some(letter) = self.wiring.main.take() {
            match letter {
                ToMain::Prepared(plan) => self.told.planned = plan.number,
                ToMain::Committed(Committed { number, written_at, flushed_at, committed_at, .. }) => {
                    assert_eq!(number, self.told.committed + 1, "sets commit in order");
                    assert!(written_at <= flushed_at && flushed_at <= committed_at);
                    self.told.committed = number;
                    committed += 1;
                }
                ToMain::InDoubt { .. } => {}
                ToMain::Lost { file, spare, .. } => self.told.lost.push((file, spare)),
                ToMain::Failed(failure) => self.told.failure = Some(failure),
                ToMain::Stopped => self.told.stopped = true,
            }
        }
        committed
    }
}

/// A whole run on a world: open, write, close. What it told, also when the power failed in it.
fn write_sets(world: &World, pages: &[u64]) -> Told {
    let Ok(pool) = open(world) else { return Told::default() };
    let mut rig = Rig::new(world, pool);
    rig.run(pages);
    let told = std::mem::take(&mut rig.told);
    if told.stopped {
        let _ = rig.ledger.close();
    }
    told
}

/// The number of the newest set, after its data were compared.
fn read_back(world: &World, pool: &Pool) -> u64 {
    let Some(set) = pool.newest_set() else { return 0 };
    let pages = pool.store().pages(set.number).expect("readable");
    assert_eq!(pages.len() as u64, set.pages);
    assert_eq!(pool.store().sets().expect("readable").len(), 1, "older sets are gone");
    for (page, record) in (0..).zip(&pages) {
        assert_eq!(record.root, set.number << 32 | page);
        let found = world.peek(0, pool.layout().data_offset(record.frame), 4096);
        assert!(found == block(set.number, page), "set {}, page {page} is not what was written", set.number);
    }
    set.number
}

#[test]
fn sets_follow_each_other_and_the_newest_can_be_read() {
    let world = World::new(1, &SIZES);
    let told = write_sets(&world, &[3, 5, 1, 8, 2]);
    assert_eq!((told.committed, told.failure, told.stopped), (5, None, true));
    let pool = open(&world.reboot()).expect("closed in order");
    assert_eq!(read_back(&world, &pool), 5);
    assert_eq!(pool.free_frames().count(), pool.layout().frames() - 2);
}

#[test]
fn a_set_that_does_not_fit_beside_the_newest_fails_before_anything_is_written() {
    let world = World::new(1, &SIZES);
    let frames = open(&world).expect("blank devices").layout().frames();
    assert_eq!(write_sets(&world, &[frames - 3]).committed, 1);
    let told = write_sets(&world, &[4]);
    assert!(matches!(told.failure, Some(Failure::NoSpace { need, free, .. }) if need == 4 * PAGE && free == 3 * PAGE));
    assert_eq!(read_back(&world, &open(&world).expect("ours")), 1);
    // Three fit; then the frames of the first set are free for the next, which waits for them.
    let told = write_sets(&world, &[3, frames - 3]);
    assert_eq!((told.committed, told.failure), (3, None));
    assert_eq!(read_back(&world, &open(&world).expect("ours")), 3);
}

#[test]
fn a_device_that_fails_or_hangs_ends_the_run_and_loses_nothing() {
    let fail: fn(&World) = |world| world.error_rate(1_000_000);
    let hang: fn(&World) = |world| world.hang(1);
    for spoil in [fail, hang] {
        let world = World::new(6, &SIZES);
        assert_eq!(write_sets(&world, &[3]).committed, 1);
        let mut rig = Rig::new(&world, open(&world).expect("ours"));
        let letter = ToLedger::Prepare { sequence: 0, bytes: PAGE, origin: Origin::File };
        assert!(rig.wiring.inbox.post(letter).is_ok());
        while rig.ledger.replay.is_done() {
            rig.turn();
        }
        spoil(&world);
        for _ in 0..1000 {
            rig.turn();
            world.advance_to(world.now() + Nanos::from_millis(20));
        }
        assert!(matches!(rig.told.failure, Some(Failure::Device { .. } | Failure::Hung { .. })), "{:?}", rig.told);
        assert_eq!(rig.told.committed, 1);
        let world = world.reboot();
        let newest = read_back(&world, &open(&world).expect("ours"));
        assert!((1..=2).contains(&newest));
    }
}

#[test]
fn nothing_is_committed_after_the_ledger_has_said_that_it_stopped() {
    let world = World::new(8, &SIZES);
    let mut rig = Rig::new(&world, open(&world).expect("blank devices"));
    let letters = [ToLedger::Prepare { sequence: 0, bytes: PAGE, origin: Origin::File }, ToLedger::Stop];
    letters.into_iter().for_each(|letter| assert!(rig.wiring.inbox.post(letter).is_ok()));
    // The peers have not looked at their mail: there are letters to deliver, and the set can still become whole.
    rig.ledger.turn(world.now());
    assert!(rig.ledger.stopped && !rig.ledger.is_stopped());
    for _ in 0..1000 {
        rig.turn();
        assert!(rig.ledger.replay.is_done(), "a transaction is under way");
    }
    assert!(rig.told.stopped && rig.ledger.is_stopped());
    assert_eq!(rig.told.committed, 0);
}

#[test]
fn a_peer_that_fails_aborts_its_set() {
    let world = World::new(7, &SIZES);
    assert_eq!(write_sets(&world, &[3]).committed, 1);
    let mut rig = Rig::new(&world, open(&world).expect("ours"));
    let failure = Failure::Damaged { file: 0, offset: 0, page: 0 };
    let letters = [
        ToLedger::Prepare { sequence: 0, bytes: PAGE, origin: Origin::File },
        ToLedger::Failed { peer: PeerId(0), failure },
    ];
    letters.into_iter().for_each(|letter| assert!(rig.wiring.inbox.post(letter).is_ok()));
    (0..20).for_each(|_| {
        rig.turn();
    });
    assert_eq!((rig.told.failure, rig.told.committed), (Some(failure), 1));
    assert_eq!(read_back(&world, &open(&world.reboot()).expect("ours")), 1);
}

/// The first life makes the pool and writes three sets; the power fails in it at every step. In the second life the
/// power fails while the pool is opened, or soon after; the third must be sound, and able to write.
#[test]
fn the_power_may_fail_at_every_step() {
    let sets = [2, 3, 2];
    let steps = {
        let world = World::new(0, &SIZES);
        assert_eq!(write_sets(&world, &sets).committed, 3);
        world.steps()
    };
    let opening = {
        let world = World::new(0, &SIZES);
        let _ = open(&world);
        world.steps()
    };
    let mut seen = [0; 4];
    for (step, seed) in (opening / 2..=steps + 20).flat_map(|step| (0..2).map(move |seed| (step, seed))) {
        let world = World::new(step * 4 + seed, &SIZES);
        world.power_off_at(step);
        let first = write_sets(&world, &sets);
        let world = world.reboot();
        world.power_off_at(1 + (step * 13 + seed * 17) % opening);
        let second = open(&world).map_or(0, |pool| pool.generation());
        let world = world.reboot();
        let pool = open(&world).unwrap_or_else(|error| panic!("step {step}, second {second}: {error}"));
        let newest = read_back(&world, &pool);
        assert!(pool.generation() > first.generation.max(second), "step {step}: a generation was used twice");
        assert!(
            (first.committed..=first.planned.max(first.committed)).contains(&newest) && newest <= first.committed + 1,
            "step {step}: set {newest} after {first:?}"
        );
        seen[usize::try_from(newest).expect("few")] += 1;
        let mut rig = Rig::new(&world, pool);
        rig.run(&[2]);
        assert_eq!(rig.told.committed, newest + 1, "step {step}: {:?}", rig.told);
        assert_eq!(read_back(&world, rig.ledger.pool()), newest + 1);
    }
    assert!(seen.iter().all(|&count| count > 5), "each state was reached: {seen:?}");
}
