//! What happened, as lines for a reader and as a hash for a comparison.

use std::fmt::{Debug, Display};

use bireme_control::units::Nanos;
use bireme_dataplane::port::Operation;
use bireme_dataplane::port::simulated::Started;

/// The events of one life in order.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    printed: bool,
}

impl Trace {
    /// Nothing yet; each event is printed if wanted.
    pub fn new(printed: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, printed }
    }

    /// Two lives with the same hash were the same.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Something was said or done.
    pub fn note(&mut self, now: Nanos, who: impl Display, what: impl Debug) {
        let line = format!("{who}: {what:?}");
        self.add(now.0);
        line.bytes().for_each(|byte| self.add(u64::from(byte)));
        self.events += 1;
        if self.printed {
            println!("{now:>10} {line}");
        }
    }

    /// A request was started.
    pub fn request(&mut self, now: Nanos, who: impl Display, started: &Started) {
        let Started { step, disk, request, due, .. } = *started;
        let what = match request.operation {
            Operation::Read(_) => "reads",
            Operation::Write(_) => "writes",
            Operation::ReadWoven(_) => "reads the file",
            Operation::WriteWoven(_) => "writes the file",
            Operation::WriteThrough(_) => "writes through the cache",
            Operation::Trim { .. } => "trims",
            Operation::Flush => "flushes",
        };
        [now.0, step, disk as u64, request.offset, u64::from(request.operation.bytes()), due.0, what.len() as u64]
            .into_iter()
            .for_each(|word| self.add(word));
        self.events += 1;
        if self.printed {
            let (offset, bytes) = (request.offset, request.operation.bytes());
            let result = started.result;
            println!("{now:>10} {who}: step {step} {what} disk {disk} at {offset}, {bytes} bytes; {result:?} at {due}");
        }
    }

    /// FNV-1a, a word at a time.
    fn add(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }
}
