//! What a run reports: plain data that the engine fills and that tables and JSON are made of.
//!
//! The names in JSON carry their unit (`elapsed_ns`, `slot_bytes`); `bench/docs/json.md` explains them to readers.

use std::path::PathBuf;

use bireme_control::balance::{HandOver, Strategy};
use bireme_control::units::{Nanos, PeerId};
use serde::Serialize;

use crate::reservation::{Class, InForce};
use crate::telemetry::{Healed, Latencies, TimeStates};

/// A run that has ended well.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was done.
    pub kind: Kind,
    /// Data of all sets, without padding and metadata.
    pub bytes: u64,
    /// From the first fill to the durable commit; for reading, to the last byte checked or stored.
    #[serde(rename = "elapsed_ns")]
    pub elapsed: Nanos,
    /// From the first fill to the last data completion.
    #[serde(rename = "write_ns")]
    pub write: Nanos,
    /// CPU time of the whole process within `elapsed`.
    #[serde(rename = "cpu_ns")]
    pub cpu: Nanos,
    /// Each data set in the order of commit.
    pub sets: Vec<SetOutcome>,
    /// Each peer.
    pub peers: Vec<PeerOutcome>,
    /// How the peers shared the work.
    pub balance: Balance,
    /// Each device in the order of members.
    pub devices: Vec<DeviceOutcome>,
    /// Requests of all peers, from submission to reaping.
    #[serde(rename = "latency_ns")]
    pub latency: Latencies,
    /// How requests reached the devices.
    pub ring: RingFacts,
    /// Where the data lies.
    pub pool: PoolFacts,
    /// What its class was held to on each device; empty where it might use what it wanted.
    pub classes: Vec<InForce>,
    /// Whole sentences that the operator should know: fallbacks, scratch files, what could not be asked.
    pub notes: Vec<String>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Data sets were written.
    Offload,
    /// The newest set was read back into a file.
    Restore,
    /// The newest set was read and its checksums compared.
    Verify,
    /// The newest set was read with all its parity and copies, and what was wrong was mended on the devices.
    Scrub,
    /// The same, and members were filled again.
    Rebuild,
}

impl Kind {
    /// The class that works at it.
    pub const fn class(self) -> Class {
        match self {
            Kind::Offload => Class::Offload,
            Kind::Restore | Kind::Verify => Class::Restore,
            Kind::Scrub => Class::Scrub,
            Kind::Rebuild => Class::Rebuild,
        }
    }
}

/// One data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SetOutcome {
    /// Its number in the pool.
    pub number: u64,
    /// Its data, without padding.
    pub bytes: u64,
    /// Its first fill, from the first of the run.
    #[serde(rename = "start_ns")]
    pub start: Nanos,
    /// From its first fill to its durable commit.
    #[serde(rename = "elapsed_ns")]
    pub elapsed: Nanos,
    /// From its first fill to its last data completion.
    #[serde(rename = "write_ns")]
    pub write: Nanos,
    /// Flushing the devices before the commit.
    #[serde(rename = "flush_ns")]
    pub flush: Nanos,
    /// The ledger's commit.
    #[serde(rename = "commit_ns")]
    pub commit: Nanos,
    /// Transfers of the first division, by peer; empty under `pull`.
    pub divided: Vec<u64>,
    /// Transfers whose copy by this peer is the one in the map, by peer.
    pub done: Vec<u64>,
    /// From the set's start to the last of them, by peer; zero if there is none.
    #[serde(rename = "finished_ns")]
    pub finished: Vec<Nanos>,
}

/// One peer.
#[derive(Clone, Debug, Serialize)]
pub struct PeerOutcome {
    /// Which.
    pub peer: PeerId,
    /// The core that it was pinned to; `None` if it was not.
    pub core: Option<usize>,
    /// Data that it moved, without padding.
    pub bytes: u64,
    /// Transfers, that is pages, that it completed.
    pub transfers: u64,
    /// Where its time went.
    #[serde(rename = "time_ns")]
    pub times: TimeStates,
    /// Time mean of its requests in flight.
    pub achieved_depth: f64,
    /// Its requests, from submission to reaping.
    #[serde(rename = "latency_ns")]
    pub latency: Latencies,
    /// Its thread ended before the run did.
    pub died: bool,
}

/// How the peers shared the work.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Balance {
    /// By which rule.
    pub strategy: Strategy,
    /// Asks and their answers in the order of time, refused ones too. Their times count from the first fill.
    pub hand_overs: Vec<HandOver>,
    /// Asks that the peers' logs had no room for.
    pub left_out: u64,
    /// Offers and answers.
    pub messages: u64,
    /// Every ask, from the offer to the answer.
    #[serde(rename = "round_trip_ns")]
    pub round_trip: Latencies,
    /// Transfers that were repeated in the end game.
    pub repeated: u64,
    /// Repeats that were first, and so entered the map.
    pub repeats_won: u64,
    /// Peers that died, in the order of time.
    pub deaths: Vec<Death>,
}

/// A peer whose thread ended before the run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// Which.
    pub peer: PeerId,
    /// When it was noticed, from the first fill.
    #[serde(rename = "at_ns")]
    pub at: Nanos,
    /// Transfers that the others had to take over.
    pub taken_over: u64,
}

/// One device.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeviceOutcome {
    /// As the operator named it.
    pub path: PathBuf,
    /// What it is worth at the end: active, failed, absent or rebuilding.
    pub state: &'static str,
    /// Bytes moved by data requests, padding included.
    pub bytes: u64,
    /// Write requests.
    pub writes: u64,
    /// Read requests.
    pub reads: u64,
    /// What was not as it had been written, and was brought back.
    #[serde(flatten)]
    pub healed: Healed,
}

/// How requests reached the devices: what was in effect, not what was asked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RingFacts {
    /// Set-up flags that the device rings have.
    pub device_flags: Vec<String>,
    /// Set-up flags that the kernel refused.
    pub refused_flags: Vec<String>,
    /// Set-up flags that the event rings have; empty if there are none.
    pub event_flags: Vec<String>,
    /// How gathered requests are made, and what the kernel lacks.
    pub opcodes: String,
    /// Files are registered with the rings.
    pub registered_files: bool,
    /// Buffers are registered with the rings.
    pub registered_buffers: bool,
    /// What pages the buffers have.
    pub paging: String,
    /// Slots per peer that were asked for.
    pub depth_asked: u32,
    /// Slots per peer that were used.
    pub depth: u32,
    /// Data of one slot at most.
    pub slot_bytes: u64,
    /// One request to a device at most.
    pub request_bytes: u64,
    /// Kernel worker threads (`iou-wrk`) seen at the end: requests that could not be made without blocking.
    pub iou_workers: u32,
}

/// Where the data lies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PoolFacts {
    /// The pool's identity.
    pub uuid: String,
    /// The RAID level.
    pub level: String,
    /// How many devices.
    pub members: usize,
    /// Bytes of one chunk.
    pub chunk_bytes: u64,
    /// Bytes of one page.
    pub page_bytes: u64,
    /// Frames of the pool.
    pub frames: u64,
    /// Frames that were free at the end.
    pub frames_free: u64,
}
