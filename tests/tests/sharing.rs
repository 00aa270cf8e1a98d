//! Peers of unequal speed on the real engine, and peers that die: the set is whole, bit for bit, and no frame leaks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::balance::{Rules, Strategy};
use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::units::PeerId;
use bireme_dataplane::device::file::Input;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::engine::{self, Config, EngineError, Handles, OffloadJob, RestoreJob, Source};
use bireme_dataplane::outcome::Outcome;
use bireme_dataplane::peer::Rate;
use bireme_dataplane::pool::Shape;
use bireme_dataplane::telemetry::Gauges;
use bireme_tests::data::{assert_same, input};
use bireme_tests::members::Files;

const SETS: u32 = 4;
const PAGES: u64 = 61;
const BYTES: usize = 60 * (256 << 10) + 4097;

fn handles(devices: usize) -> Handles {
    Handles { gauges: Arc::new(Gauges::new(devices)), stop: Arc::new(AtomicBool::new(false)) }
}

/// Pages of 256 KiB in slots of 128 KiB.
fn config(strategy: Strategy, peers: u16) -> Config {
    let rules = Rules { strategy, ..Rules::default() };
    Config { rules, peers, depth: Some(4), slot_bytes: Some(128 << 10), ..Config::default() }
}

fn offload(paths: &[PathBuf], data: &Path, config: &Config) -> Result<Outcome, EngineError> {
    let geometry = Geometry::new(Level::Raid0, paths.len(), 64 << 10, 256 << 10).expect("a usable shape");
    let devices = Device::open_all(paths, Purpose::Write).expect("the files");
    let source = Source::File(Input::open(data).expect("an input"));
    let job = OffloadJob { devices, shape: Shape { geometry }, destroy_data: false, source, sets: SETS };
    engine::offload(job, config, &handles(paths.len()))
}

/// Reads the newest set back and compares it with the data.
fn compare(paths: &[PathBuf], folder: &Path, want: &[u8], what: &str) {
    let output = folder.join("output");
    let devices = Device::open_all(paths, Purpose::Read).expect("the files");
    let job = RestoreJob { devices, output: Some(output.clone()) };
    engine::restore(job, &config(Strategy::Measured, 2), &handles(paths.len())).expect("a restore");
    assert_same(&std::fs::read(output).expect("the output"), want, what);
}

/// What every good outcome shows, whoever did how much.
fn assert_whole(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.pool.frames_free, outcome.pool.frames - PAGES, "{what}: frames leaked");
    for set in &outcome.sets {
        assert_eq!(set.done.iter().sum::<u64>(), PAGES, "{what}: {set:?}");
        let divided: u64 = set.divided.iter().sum();
        assert!(divided == PAGES || outcome.balance.strategy == Strategy::Pull, "{what}: {set:?}");
    }
}

#[test]
fn slow_peers_are_helped_and_what_was_repeated_is_whole() {
    let files = Files::new(3, 48 << 20);
    let (file, data) = input(files.folder(), 1, BYTES);
    for (strategy, peers) in [
        (Strategy::Measured, 2),
        (Strategy::Measured, 4),
        (Strategy::Ratio, 2),
        (Strategy::Ratio, 3),
        (Strategy::StealHalf, 3),
        (Strategy::Pull, 2),
        (Strategy::Fixed, 2),
    ] {
        let what = format!("{strategy:?}, {peers} peers");
        // The last one is some twenty times slower than the others.
        let mut rates = vec![Some(Rate::new(160 << 20)); usize::from(peers)];
        rates[usize::from(peers) - 1] = Some(Rate::new(8 << 20));
        let config = Config { peer_rates: rates, ..config(strategy, peers) };
        let outcome = offload(files.paths(), &file, &config).expect(&what);
        assert_whole(&outcome, &what);
        compare(files.paths(), files.folder(), &data, &what);
        let balance = &outcome.balance;
        let handed: u64 = balance.hand_overs.iter().map(|hand_over| hand_over.transfers).sum();
        match strategy {
            Strategy::Fixed | Strategy::Pull => assert_eq!(balance.messages, 0, "{what}"),
            _ => assert!(handed > 0 && balance.messages > 0, "{what}: {balance:?}"),
        }
        if strategy == Strategy::Measured {
            assert!(outcome.sets[3].divided[usize::from(peers) - 1] * 4 < PAGES, "{what}: nothing learnt: {outcome:?}");
        }
        println!("{what}: {} messages, {} repeated, {} won", balance.messages, balance.repeated, balance.repeats_won);
    }
}

#[test]
fn a_peer_that_dies_does_not_lose_the_set() {
    let files = Files::new(3, 48 << 20);
    let (file, data) = input(files.folder(), 1, BYTES);
    for strategy in [Strategy::Measured, Strategy::Ratio, Strategy::StealHalf, Strategy::Pull, Strategy::Fixed] {
        for (peers, doomed) in [(2, 0), (2, 1), (4, 2)] {
            let what = format!("{strategy:?}, {peers} peers, peer {doomed} dies");
            let die = move |peer: PeerId| assert_ne!(peer.0, doomed, "this peer was told to die");
            let config = Config { on_peer_start: Some(Arc::new(die)), ..config(strategy, peers) };
            let outcome = offload(files.paths(), &file, &config).expect(&what);
            assert_whole(&outcome, &what);
            let deaths: Vec<_> = outcome.balance.deaths.iter().map(|death| death.peer).collect();
            assert_eq!(deaths, [PeerId(doomed)], "{what}");
            assert!(outcome.peers.iter().all(|peer| peer.died == (peer.peer.0 == doomed)), "{what}");
            compare(files.paths(), files.folder(), &data, &what);
        }
    }
}

#[test]
fn when_all_peers_die_the_run_says_so_and_commits_nothing() {
    let files = Files::new(2, 48 << 20);
    let (file, _) = input(files.folder(), 1, BYTES);
    let die = |peer: PeerId| panic!("{peer} was told to die");
    let config = Config { on_peer_start: Some(Arc::new(die)), ..config(Strategy::Measured, 2) };
    let error = offload(files.paths(), &file, &config).expect_err("nobody is left").to_string();
    assert!(error.contains("all peers have died") && error.contains("nothing was committed"), "{error}");
}

/// What is learnt outlives the run, unless it is to be forgotten.
#[test]
fn what_was_learnt_is_known_to_the_next_run() {
    let files = Files::new(3, 48 << 20);
    let (file, _) = input(files.folder(), 1, BYTES);
    let unequal = Config {
        // Far apart and slow, so that a machine that is busy elsewhere is not what is learnt.
        peer_rates: vec![Some(Rate::new(40 << 20)), Some(Rate::new(2 << 20))],
        ..config(Strategy::Measured, 2)
    };
    let first = |config: &Config| offload(files.paths(), &file, config).expect("an offload").sets[0].divided.clone();
    assert_eq!(first(&unequal), [31, 30]);
    let known = first(&unequal);
    assert!(known[1] * 4 < known[0], "{known:?}");
    assert_eq!(first(&Config { forget: true, ..unequal.clone() }), [31, 30]);
    let other = Config { peer_rates: Vec::new(), ..config(Strategy::Measured, 3) };
    assert_eq!(first(&other), [21, 20, 20], "three peers know nothing of what two have learnt");
}
