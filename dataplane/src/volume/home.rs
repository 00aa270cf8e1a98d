//! The part of a volume that one peer is home to, over that peer's port.
//!
//! ```text
//!   begin ─▶ data_mut ─▶ write ┐                     ┌─▶ reap ─▶ end
//!   begin ─▶ read ─────────────┼─▶ turn .. submit .. ┼─▶ reap ─▶ data ─▶ end
//!   begin ─▶ flush ────────────┘                     └─▶ reap ─▶ end
//! ```
//!
//! The one who drives it calls `turn`, then submits through the port, as a peer does. Nothing here blocks, allocates after
//! `new`, or knows a clock but the port's.

use bireme_control::raid::health::Health;
use bireme_control::units::Nanos;

use super::Volume;
use crate::message::Failure;
use crate::port::{Next, Port};

/// The pages of a volume that one peer is home to.
#[derive(Debug)]
pub struct Home<P> {
    volume: Volume,
    index: u16,
    health: Health,
    options: Options,
    port: P,
}

impl<P: Port> Home<P> {
    /// Bytes that the region of the port must have.
    pub fn region_bytes(_volume: &Volume, _options: Options) -> u64 {
        1 << 20
    }

    /// Requests that the port must take at a time.
    pub fn requests(_volume: &Volume, _options: Options) -> u32 {
        64
    }

    /// Home number `index` of a volume that was recovered. Files of the port are members by index.
    pub fn new(volume: Volume, index: u16, health: Health, options: Options, port: P) -> Home<P> {
        Home { volume, index, health, options, port }
    }

    /// Takes a free operation with its buffer.
    pub fn begin(&mut self) -> Option<Operation> {
        None
    }

    /// The first bytes of its buffer, to fill before a write.
    pub fn data_mut(&mut self, _operation: Operation, bytes: u32) -> &mut [u8] {
        self.port.region_mut().bytes_mut(crate::buffer::Span::new(0, bytes))
    }

    /// The first bytes of its buffer, after a read has ended.
    pub fn data(&self, _operation: Operation, bytes: u32) -> &[u8] {
        self.port.region().bytes(crate::buffer::Span::new(0, bytes))
    }

    /// Reads blocks of pages that this is home to.
    pub fn read(&mut self, _operation: Operation, _block: u64, _blocks: u32) {}

    /// Writes blocks of pages that this is home to. With `fua` they are durable when it has ended.
    pub fn write(&mut self, _operation: Operation, _block: u64, _blocks: u32, _fua: bool) {}

    /// All writes of this home that have ended are durable when it has ended.
    pub fn flush(&mut self, _operation: Operation) {}

    /// As a flush, and nothing is left to recover: for closing.
    pub fn settle(&mut self, _operation: Operation) {}

    /// Fills what members that are being rebuilt hold of a page.
    pub fn rebuild(&mut self, _operation: Operation, _page: u64) {}

    /// Reads all of a page, parity and copies included; heals and counts what is wrong.
    pub fn scrub(&mut self, _operation: Operation, _page: u64) {}

    /// The next operation that has ended.
    pub fn reap(&mut self) -> Option<Ended> {
        None
    }

    /// Gives an operation back.
    pub fn end(&mut self, _operation: Operation) {}

    /// Takes in what has ended and starts what can be.
    pub fn turn(&mut self, _now: Nanos) -> Next {
        Next::Event
    }

    /// Hands the requests over, and waits as told.
    pub fn submit(&mut self, next: Next) {
        let _ = self.port.submit(next);
    }

    /// A member that has refused a request, and how. Whoever keeps the metadata makes that durable, then tells the new
    /// health.
    pub fn lost(&self) -> Option<(u16, Failure)> {
        None
    }

    /// A member's loss is durable, or one counts again.
    pub fn set_health(&mut self, health: Health) {
        self.health = health;
    }

    /// What was healed so far.
    pub fn healed(&self) -> Healed {
        Healed::default()
    }

    /// The time, as the port tells it.
    pub fn now(&self) -> Nanos {
        self.port.now()
    }

    /// The port, to look at.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Wakes a thread that sleeps in its port.
    pub fn wake(&mut self, whom: crate::port::Bell) {
        self.port.wake(whom);
    }

    /// The port, at the end.
    pub fn into_port(self) -> P {
        let _ = (self.volume, self.index, self.health, self.options);
        self.port
    }
}

/// How a home is sized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Operations under way at most.
    pub operations: u16,
    /// Bytes of one operation at most: a multiple of 4 KiB.
    pub operation_bytes: u32,
    /// Pages whose leaves are kept in memory.
    pub pages: u16,
    /// Bytes of one request to a device at most.
    pub request_bytes: u32,
    /// A request that takes longer is a failure.
    pub hang_limit: Nanos,
}

/// An operation under way: a buffer, and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(u16);

/// An operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub operation: Operation,
    /// What became of it. A failed read has returned nothing; after a failed write each block is old or new.
    pub result: Result<(), Failure>,
    /// When it was asked.
    pub asked: Nanos,
}

/// What was found and healed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Blocks that were not what was written, and are again.
    pub blocks: u64,
    /// Blocks that could not be brought back; reads of them fail.
    pub lost: u64,
}
