//! One outcome and its environment, for tests.

use bireme_control::balance::{HandOver, Reason, Strategy};
use bireme_control::units::{Nanos, PeerId, Permille};
use bireme_dataplane::outcome::{Balance, DeviceOutcome, Kind, Outcome, PeerOutcome, PoolFacts, RingFacts, SetOutcome};
use bireme_dataplane::telemetry::{Latencies, State, Stopwatch};
use serde_json::json;

use crate::environment::{Core, Environment, Limits};

/// 1 GiB by two peers onto two devices in half a second.
pub(crate) fn outcome() -> Outcome {
    let peers = [peer(0, 600 << 20, 7), peer(1, 424 << 20, 9)];
    let mut latency = peers[0].latency.clone();
    latency.merge(&peers[1].latency);
    let device = |path: &str| DeviceOutcome {
        path: path.into(),
        state: "active",
        bytes: 516 << 20,
        writes: 1032,
        ..DeviceOutcome::default()
    };
    let set = SetOutcome {
        number: 3,
        bytes: 1 << 30,
        start: Nanos::ZERO,
        elapsed: Nanos::from_millis(500),
        write: Nanos::from_millis(480),
        flush: Nanos(18_200_000),
        commit: Nanos(1_800_000),
        divided: vec![128, 128],
        done: vec![150, 106],
        finished: vec![Nanos::from_millis(480), Nanos::from_millis(478)],
    };
    Outcome {
        kind: Kind::Offload,
        bytes: 1 << 30,
        elapsed: set.elapsed,
        write: set.write,
        cpu: Nanos::from_millis(320),
        sets: vec![set],
        peers: peers.into(),
        balance: balance(),
        devices: vec![device("/dev/loop0"), device("/dev/loop11")],
        latency,
        ring: ring(),
        pool: PoolFacts {
            uuid: "2f1c55c0-0d6c-4a6f-9c51-1d2e3f405162".into(),
            level: "RAID 0".into(),
            members: 2,
            chunk_bytes: 64 << 10,
            page_bytes: 4 << 20,
            frames: 1000,
            frames_free: 744,
        },
        classes: Vec::new(),
        notes: vec!["The kernel lacks WRITEV_FIXED, so gathered writes pin their pages each time.".into()],
    }
}

/// Peer 0 helps twice, and a third time there is nothing to help with.
fn balance() -> Balance {
    let asks = [(402, 18, 585, Reason::Early), (461, 4, 588, Reason::Early), (474, 0, 588, Reason::Dry)];
    let hand_overs = asks.map(|(millis, transfers, share, reason)| HandOver {
        at: Nanos::from_millis(millis),
        round_trip: Nanos(millis * 10),
        sequence: 0,
        from: PeerId(1),
        to: PeerId(0),
        transfers,
        reason,
        share: Permille::new(share).expect("a share"),
    });
    let mut round_trip = Latencies::new();
    hand_overs.iter().for_each(|hand_over| round_trip.record(hand_over.round_trip));
    Balance {
        strategy: Strategy::Measured,
        hand_overs: hand_overs.into(),
        messages: 6,
        round_trip,
        repeated: 2,
        repeats_won: 1,
        ..Balance::default()
    }
}

/// So many peers of growing speed at so many sets, with about so many asks at each: for pictures and wide tables.
pub(crate) fn shared(peers: u16, sets: u32, asks: u64) -> Outcome {
    const SET: u64 = 40_000_000;
    let mut outcome = outcome();
    let count = u64::from(peers);
    outcome.peers = (0..peers).map(|number| peer(number, 100 << 20, 8)).collect();
    let speeds = count * (count + 1) / 2;
    let done: Vec<u64> = (1..=count).map(|speed| 1024 * speed / speeds).collect();
    let set = |index: u32| SetOutcome {
        number: u64::from(index) + 1,
        start: Nanos(u64::from(index) * SET),
        write: Nanos(SET - 300_000),
        divided: if index == 0 { vec![1024 / count; peers.into()] } else { done.clone() },
        done: done.clone(),
        ..SetOutcome::default()
    };
    outcome.sets = (0..sets).map(set).collect();
    outcome.write = Nanos(u64::from(sets) * SET);
    outcome.balance.hand_overs.clear();
    for sequence in 0..sets {
        for ask in 0..asks {
            // Asks come closer together and bring less towards the end of a set.
            let left = SET / (ask + 2);
            let (from, to) = (ask % count, (ask * 3 + 1 + u64::from(sequence)) % count);
            if from == to {
                continue;
            }
            let [from, to] = [from, to].map(|peer| PeerId(u16::try_from(peer).expect("few peers")));
            let share = u16::try_from(done[to.index()] * 1000 / (done[from.index()] + done[to.index()]).max(1));
            outcome.balance.hand_overs.push(HandOver {
                at: Nanos(u64::from(sequence) * SET + SET - left),
                round_trip: Nanos(4_000 + ask * 100),
                sequence,
                from,
                to,
                transfers: 100 / (ask * ask + 1),
                reason: Reason::Dry,
                share: Permille::new(share.expect("a share")).expect("a share"),
            });
        }
    }
    outcome
}

fn ring() -> RingFacts {
    RingFacts {
        device_flags: ["SINGLE_ISSUER", "DEFER_TASKRUN", "COOP_TASKRUN", "CQSIZE"].map(String::from).into(),
        refused_flags: vec!["NO_SQARRAY".into()],
        event_flags: vec!["SINGLE_ISSUER".into()],
        opcodes: "READV/WRITEV, the kernel lacks WRITEV_FIXED".into(),
        registered_files: true,
        registered_buffers: true,
        paging: "transparent huge pages".into(),
        depth_asked: 16,
        depth: 16,
        slot_bytes: 1 << 20,
        request_bytes: 512 << 10,
        iou_workers: 0,
    }
}

fn peer(number: u16, bytes: u64, depth: u16) -> PeerOutcome {
    let mut watch = Stopwatch::new(Nanos::ZERO, State::Turn);
    let ends =
        [(25, State::Devices), (250, State::Kernel), (300, State::Filling), (440, State::Idle), (451, State::Idle)];
    for (millis, next) in ends {
        watch.switch(Nanos::from_millis(millis), next);
    }
    watch.split(State::Filling, State::Checksum, Nanos::from_millis(33));
    watch.split(State::Turn, State::Idle, Nanos(275_000));
    let mut latency = Latencies::new();
    (1..=1000).for_each(|step| latency.record(Nanos(step * 8_000)));
    PeerOutcome {
        peer: PeerId(number),
        core: Some(usize::from(number)),
        bytes,
        transfers: bytes >> 22,
        times: watch.totals(),
        achieved_depth: f64::from(depth) + 0.25,
        latency,
        died: false,
    }
}

/// A machine that never was.
pub(crate) fn environment() -> Environment {
    Environment {
        version: "0.1.0".into(),
        commit: "437136e".into(),
        kernel: "6.18.44".into(),
        cpu: "A Processor 9000".into(),
        cpus: 2,
        cores: vec![Core { core: 0, numa_node: Some(0) }, Core { core: 1, numa_node: None }],
        devices: vec![json!({ "path": "/dev/loop0" }), json!({ "path": "/dev/loop11" })],
        limits: Limits { memlock_bytes: Some(8 << 20), open_files: None },
        seed: Some(7),
        command: ["bireme", "offload", "--size", "1GiB"].map(String::from).into(),
        time: "2026-11-21T13:07:48Z".into(),
    }
}
