//! Who asks for I/O. A peer has one job, and every request of a slot or a run belongs to it.
//!
//! ```text
//!   open(run)           a run of pages is the peer's: what must happen before its stripes can start
//!   start(slot)         a slot was taken for some stripes: fill it, or ask for its data
//!   slot_answered(slot) all requests of a slot were answered: go on with it, or give it back
//!   leaves_answered(run)
//! ```

use std::sync::Arc;

use bireme_control::units::Nanos;

use crate::desk::Desk;
use crate::message::Failure;
use crate::port::Port;
use crate::reservation::Class;

pub mod offload;
pub mod restore;

pub use restore::Mend;

#[cfg(test)]
mod tests;

/// What a peer works at.
#[derive(Clone, Debug)]
pub enum Job {
    /// Writes data sets.
    Offload(offload::Offload),
    /// Reads a data set back.
    Restore(restore::Restore),
}

impl Job {
    /// The job of writing sets, from the file with this index or generated.
    pub fn offload(input: Option<u16>) -> Job {
        Job::Offload(offload::Offload { input })
    }

    /// The job of reading a set whose pages have these roots, into the file with this index or for the checks alone, and of
    /// mending what is wrong on the devices.
    pub fn restore(roots: Arc<[u64]>, output: Option<u16>, mend: Mend) -> Job {
        Job::Restore(restore::Restore { roots, output, mend })
    }

    /// The class that it works for.
    pub fn class(&self) -> Class {
        match self {
            Job::Offload(_) => Class::Offload,
            Job::Restore(job) => job.class(),
        }
    }

    pub(crate) fn open<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, run: u16) {
        match self {
            Job::Offload(_) => offload::open(desk, run),
            Job::Restore(_) => restore::open(desk, now, run),
        }
    }

    pub(crate) fn start<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, slot: u16) {
        match self {
            Job::Offload(job) => job.start(desk, now, slot),
            Job::Restore(job) => job.start(desk, now, slot),
        }
    }

    pub(crate) fn slot_answered<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, slot: u16) -> Result<(), Failure> {
        match self {
            Job::Offload(_) => {
                offload::slot_answered(desk, now, slot);
                Ok(())
            }
            Job::Restore(job) => job.slot_answered(desk, now, slot),
        }
    }

    pub(crate) fn leaves_answered<P: Port>(&self, desk: &mut Desk<P>, run: u16) -> Result<(), Failure> {
        match self {
            Job::Offload(_) => Ok(()),
            Job::Restore(job) => job.leaves_answered(desk, run),
        }
    }
}
