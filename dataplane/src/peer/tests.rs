//! A peer over simulated devices that do not answer: what it says, and when it gives up.

use std::path::PathBuf;

use bireme_control::balance::Learnt;
use bireme_control::balance::{Rules, Strategy};
use bireme_control::raid::geometry::{Geometry, Level};

use super::*;
use crate::layout::Layout;
use crate::message::Doing;
use crate::plan::{Origin, Plan, Runs as Frames};
use crate::port::Bell;
use crate::port::simulated::{Simulated, World};

const DISK: u64 = 64 << 20;
const LIMIT: Nanos = Nanos::from_secs(4);
const PAGES: u64 = 3;

/// One peer, alone with two disks.
struct Rig {
    world: World,
    peer: Peer<Simulated>,
    inbox: Arc<Mailbox<ToPeer>>,
    ledger: Arc<Mailbox<ToLedger>>,
}

impl Rig {
    fn new() -> Rig {
        let world = World::new(1, &[DISK, DISK]);
        let geometry = Geometry::new(Level::Raid0, 2, 64 << 10, 1 << 20).expect("a usable shape");
        let layout = Layout::new(geometry, DISK).expect("large enough");
        let run_pages = u16::try_from(RUN_PAGES_MAX).expect("small");
        let array = Array { geometry, layout, slot_rows: 2, slots: 4, request_bytes: 64 << 10, run_pages, runs: 3 };
        let (inbox, ledger) = (Arc::new(Mailbox::new(16, Bell(0))), Arc::new(Mailbox::new(64, Bell(1))));
        let wiring = Wiring {
            id: PeerId(0),
            peers: 1,
            inbox: inbox.clone(),
            others: vec![inbox.clone()],
            ledger: ledger.clone(),
            board: Arc::new(Board::new(1)),
            gauges: Arc::new(Gauges::new(2)),
            hang_limit: LIMIT,
            rate: None,
            allowance: None,
            health: Health::default(),
        };
        let port = world.port(usize::try_from(array.region_bytes()).expect("small"), array.requests());
        let rules = Rules { strategy: Strategy::Pull, ..Rules::default() };
        let machine = Machine::new(rules, PeerId(0), 1, &Learnt::new(Strategy::Pull, 1));
        let peer = Peer::new(wiring, array, Job::offload(None), machine, port);
        Rig { world, peer, inbox, ledger }
    }

    fn tell(&self, letter: ToPeer) {
        assert!(self.inbox.post(letter).is_ok(), "room for a letter");
    }

    fn begin(&self) {
        let bytes = PAGES << 20;
        let frames = Frames::from(vec![Extent::new(0, PAGES)]);
        let origin = Origin::Generated { seed: 1 };
        let (spares, shares) = (Frames::default(), vec![Extent::default()]);
        let plan = Plan { sequence: 0, number: 1, generation: 1, bytes, pages: PAGES, frames, spares, shares, origin };
        self.tell(ToPeer::Begin(Arc::new(plan)));
    }

    /// Turns until there is a letter that the choice takes, or until the time has come.
    fn turn_until<T>(&mut self, end: Nanos, choose: impl Fn(ToLedger) -> Option<T>) -> Option<T> {
        while self.world.now() < end && !self.peer.is_done(self.world.now()) {
            let next = self.peer.turn(self.world.now());
            self.peer.rest(Next::Ready);
            while let Some(letter) = self.ledger.take() {
                if let Some(chosen) = choose(letter) {
                    return Some(chosen);
                }
            }
            let event = self.world.next_event().filter(|&event| event < end);
            match (next, event) {
                (Next::Ready, _) => {}
                (Next::At(time), event) => self.world.advance_to(event.map_or(time, |event| event.min(time))),
                (Next::Event, event) => self.world.advance_to(event.unwrap_or(end)),
            }
        }
        None
    }

    fn failure(&mut self, end: Nanos) -> Option<Failure> {
        self.turn_until(end, |letter| if let ToLedger::Failed { failure, .. } = letter { Some(failure) } else { None })
    }
}

fn sentence(failure: Failure) -> String {
    failure.sentence(&[PathBuf::from("/dev/a"), PathBuf::from("/dev/b")], None)
}

#[test]
fn a_write_that_hangs_is_named_within_the_limit_and_a_quarter() {
    let mut rig = Rig::new();
    rig.world.hang(1);
    rig.begin();
    let failure = rig.failure(Nanos::from_secs(60)).expect("a failure");
    let Failure::Hung { file: 1, doing: Doing::Write, offset, waited } = failure else { panic!("{failure:?}") };
    assert!(offset > 0 && waited >= LIMIT && rig.world.now() <= Nanos(LIMIT.0 / 4 * 5 + 1_000_000_000), "{waited}");
    let sentence = sentence(failure);
    assert!(sentence.starts_with(&format!("writing /dev/b at byte {offset} has not been answered for ")), "{sentence}");
    assert!(sentence.contains("dmesg") && sentence.contains("--hang-limit"), "{sentence}");
}

#[test]
fn a_flush_that_hangs_is_named_without_a_place() {
    let mut rig = Rig::new();
    rig.begin();
    for _ in 0..PAGES {
        let page = |letter| matches!(letter, ToLedger::Page(_)).then_some(());
        rig.turn_until(Nanos::from_secs(60), page).expect("a page is written");
    }
    rig.world.hang(0);
    rig.tell(ToPeer::Flush { sequence: 0, whose: PeerId(0) });
    let failure = rig.failure(Nanos::from_secs(60)).expect("a failure");
    assert!(matches!(failure, Failure::Hung { file: 0, doing: Doing::Flush, .. }), "{failure:?}");
    let sentence = sentence(failure);
    assert!(sentence.starts_with("flushing /dev/a has not been answered for "), "{sentence}");
}

#[test]
fn a_slow_device_is_no_hung_one() {
    let mut rig = Rig::new();
    rig.begin();
    assert_eq!(rig.failure(Nanos::from_secs(60)), None);
}

#[test]
fn told_to_stop_it_waits_for_what_is_in_flight_and_gives_up_after_the_limit() {
    let mut rig = Rig::new();
    rig.world.hang(1);
    rig.begin();
    rig.turn_until(Nanos::from_millis(10), |_| None::<()>);
    let stopped = rig.world.now();
    rig.tell(ToPeer::Stop);
    rig.turn_until(stopped + LIMIT, |_| None::<()>);
    assert!(!rig.peer.is_done(rig.world.now()), "the kernel may still write what is in flight");
    assert!(rig.peer.desk.requests.in_flight() > 0);
    rig.turn_until(Nanos::from_secs(60), |_| None::<()>);
    assert!(rig.peer.is_done(rig.world.now()));
    assert!(rig.world.now() <= stopped + Nanos(LIMIT.0 / 4 * 6), "given up at {}", rig.world.now());
}

#[test]
fn told_to_stop_with_nothing_in_flight_it_is_done_at_once() {
    let mut rig = Rig::new();
    rig.tell(ToPeer::Stop);
    rig.turn_until(Nanos::from_secs(60), |_| None::<()>);
    assert!(rig.peer.is_done(rig.world.now()) && rig.world.now() < Nanos::from_millis(1));
}
