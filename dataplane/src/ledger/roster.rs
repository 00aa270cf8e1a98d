//! Members that fail while the ledger works: the superblocks that say so, beside whatever else is in flight.
//!
//! ```text
//!   lost ──▶ taken out of the pool, in memory ──▶ both ends of all others written ──▶ all flushed ──▶ durable
//!              ▲                                                                       │ somebody else was lost
//!              └───────────────────────────────────────────────────────────────────────┘ meanwhile: once more
//! ```
//!
//! Until that is durable no set is committed: it may have skipped the lost member, and a reader who does not know would
//! trust what is not there.

use bireme_control::units::Nanos;

use super::errands::{Errands, Trouble};
use crate::buffer::Span;
use crate::message::Failure;
use crate::pool::{Inscription, Pool};
use crate::port::{Completion, Operation, Port};
use crate::superblock::SUPERBLOCK_BYTES;

/// The superblocks under way.
#[derive(Debug)]
pub(super) struct Roster {
    /// Where its memory begins in the port's region: a superblock for each device.
    memory: u32,
    devices: usize,
    /// Two writes for each device, then a flush for each.
    errands: Errands,
    /// Whom to flush.
    written: Vec<u16>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All that is known is durable.
    Durable,
    /// Something has changed, and superblocks must be made of it.
    Changed,
    Writing,
    Flushing,
}

impl Roster {
    /// For the devices of a pool, with memory from here on.
    pub(super) fn new(memory: u32, devices: usize) -> Roster {
        let errands = Errands::new(TOKENS, 3 * devices);
        Roster { memory, devices, errands, written: Vec::new(), stage: Stage::Durable }
    }

    /// Bytes of the region that it needs.
    pub(super) fn region_bytes(devices: usize) -> u32 {
        u32::try_from(devices * SUPERBLOCK_BYTES).expect("few devices")
    }

    /// Somebody was lost.
    pub(super) fn changed(&mut self, file: u16) {
        self.errands.forsake(file);
        self.written.retain(|&other| other != file);
        self.stage = Stage::Changed;
    }

    /// Whether all that is known is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.stage == Stage::Durable
    }

    /// Makes the next requests; `true` when everything has just become durable.
    pub(super) fn drive<P: Port>(&mut self, pool: &mut Pool, port: &mut P, now: Nanos) -> bool {
        if self.stage == Stage::Durable {
            return false;
        }
        // What an attempt before has in flight uses the memory.
        if self.errands.all_idle() {
            match self.stage {
                Stage::Changed => {
                    self.write(&pool.inscribe(), port);
                    self.stage = Stage::Writing;
                }
                Stage::Writing => {
                    for (device, &file) in self.written.iter().enumerate() {
                        self.errands.ask(2 * self.devices + device, file, 0, Operation::Flush);
                    }
                    self.stage = Stage::Flushing;
                }
                Stage::Flushing | Stage::Durable => {
                    self.stage = Stage::Durable;
                    pool.confirm();
                    return true;
                }
            }
        }
        self.errands.drive(port, now);
        false
    }

    /// Whether an answer is its own.
    pub(super) fn own(&self, end: &Completion) -> bool {
        self.errands.own(end)
    }

    /// Takes an answer.
    pub(super) fn ended(&mut self, end: Completion) -> Result<(), Trouble> {
        self.errands.ended(end)
    }

    /// When the oldest request was handed over.
    pub(super) fn oldest(&self) -> Option<Nanos> {
        self.errands.oldest()
    }

    /// A request that has waited for longer than `patience`.
    pub(super) fn hung(&self, now: Nanos, patience: Nanos) -> Option<Failure> {
        self.errands.hung(now, patience)
    }

    fn write<P: Port>(&mut self, inscriptions: &[Inscription], port: &mut P) {
        self.written = inscriptions.iter().map(|inscription| inscription.file).collect();
        for (device, inscription) in inscriptions.iter().enumerate() {
            let bytes = Roster::region_bytes(1);
            let index = u32::try_from(device).expect("few devices");
            let span = Span::new(self.memory + index * bytes, bytes);
            port.region_mut().bytes_mut(span).copy_from_slice(&inscription.bytes);
            for (end, &offset) in inscription.offsets.iter().enumerate() {
                self.errands.ask(2 * device + end, inscription.file, offset, Operation::Write(span));
            }
        }
    }
}

/// Far from those of a replay.
const TOKENS: u64 = 1 << 32;
