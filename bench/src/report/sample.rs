//! One outcome and its environment, for tests.

use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::outcome::{DeviceOutcome, Kind, Outcome, PeerOutcome, PoolFacts, RingFacts, SetOutcome};
use bireme_dataplane::telemetry::{Latencies, State, Stopwatch};
use serde_json::json;

use crate::environment::{Core, Environment, Limits};

/// 1 GiB by two peers onto two devices in half a second.
pub(crate) fn outcome() -> Outcome {
    let peers = [peer(0, 600 << 20, 7), peer(1, 424 << 20, 9)];
    let mut latency = peers[0].latency.clone();
    latency.merge(&peers[1].latency);
    let device = |path: &str| DeviceOutcome { path: path.into(), bytes: 516 << 20, writes: 1032, reads: 0 };
    let set = SetOutcome {
        number: 3,
        bytes: 1 << 30,
        elapsed: Nanos::from_millis(500),
        write: Nanos::from_millis(480),
        flush: Nanos(18_200_000),
        commit: Nanos(1_800_000),
    };
    Outcome {
        kind: Kind::Offload,
        bytes: 1 << 30,
        elapsed: set.elapsed,
        write: set.write,
        cpu: Nanos::from_millis(320),
        sets: vec![set],
        peers: peers.into(),
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
        notes: vec!["The kernel lacks WRITEV_FIXED, so gathered writes pin their pages each time.".into()],
    }
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
