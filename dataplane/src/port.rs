//! How requests reach devices: through rings in production, through a model in simulation.
//!
//! ```text
//!   push(request) ... push(request)   queued, nothing has happened yet
//!   submit(next)                      one system call: hands them over and takes what has ended
//!   reap() -> completion              one at a time, until none is left
//! ```
//!
//! A port owns the memory that its requests read and write, because the kernel may touch it until the request has
//! been reaped: [`Region`] refuses to show bytes that are lent to a request.

use bireme_control::units::Nanos;

use crate::buffer::{Region, Span, Weave};

pub mod blocking;
mod in_flight;
pub mod simulated;
pub mod uring;

/// The seam under the engine, and the peer's only type parameter.
pub trait Port {
    /// The time, from an origin that all ports of one engine share.
    fn now(&self) -> Nanos;

    /// The memory that requests read from and write to.
    fn region(&self) -> &Region;

    /// The same, to fill. Lent bytes stay out of reach.
    fn region_mut(&mut self) -> &mut Region;

    /// Queues one request. [`Busy`] is a normal answer: as many are in flight as the port was built for.
    fn push(&mut self, request: Request) -> Result<(), Busy>;

    /// Wakes a thread that sleeps in its port.
    fn wake(&mut self, whom: Bell);

    /// Hands over what was pushed, and waits as told. An error means that the port itself cannot go on.
    fn submit(&mut self, next: Next) -> std::io::Result<()>;

    /// The next sleep is for this many completions, so that one wake-up serves them all; after `within` one is enough.
    /// A port that cannot do so wakes at the first.
    fn gather(&mut self, completions: u32, within: Nanos);

    /// The next request that has ended.
    fn reap(&mut self) -> Option<Completion>;

    /// Requests pushed and not yet reaped.
    fn in_flight(&self) -> usize;
}

/// One request to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Returned with the completion.
    pub token: u64,
    /// Which of the files that the port was built with.
    pub file: u16,
    /// Where on the device, in bytes.
    pub offset: u64,
    /// What to do there.
    pub operation: Operation,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Device to memory.
    Read(Span),
    /// Memory to device.
    Write(Span),
    /// File to memory, in the order of a stripe.
    ReadWoven(Weave),
    /// Memory to file, in the order of a stripe.
    WriteWoven(Weave),
    /// Memory to device, durable when it completes (FUA where the device has it, else a flush of the kernel's).
    WriteThrough(Span),
    /// What so many bytes of the device hold is not needed any more. Reads of them may show anything until they are written.
    Trim {
        /// How many.
        bytes: u32,
        /// How the kernel is asked.
        way: TrimWay,
    },
    /// Everything that was completed before is durable when this completes.
    Flush,
}

/// How the kernel is asked to trim: each kind of file has one way, and there is no other if the kernel refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimWay {
    /// The discard command of block devices, of Linux 6.12.
    Discard,
    /// A hole in a regular file, which keeps its length.
    PunchHole,
}

impl Operation {
    /// Bytes that a complete answer moves.
    pub fn bytes(&self) -> u32 {
        match self {
            Operation::Read(span) | Operation::Write(span) | Operation::WriteThrough(span) => span.bytes,
            Operation::ReadWoven(weave) | Operation::WriteWoven(weave) => weave.bytes,
            Operation::Trim { .. } | Operation::Flush => 0,
        }
    }

    /// Bytes of the device that it is about.
    pub fn reach(&self) -> u32 {
        if let Operation::Trim { bytes, .. } = self { *bytes } else { self.bytes() }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's.
    pub token: u64,
    /// Bytes moved, or the errno. Fewer bytes than asked is a short answer, not an error.
    pub result: Result<u32, i32>,
}

/// What a turn leaves to do, and so how long [`Port::submit`] may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do at once: no sleep.
    Ready,
    /// Nothing before this point in time, unless a request ends or somebody wakes this thread.
    At(Nanos),
    /// Nothing until a request ends or somebody wakes this thread. With requests in flight a port may lose patience, and
    /// says so with ETIMEDOUT.
    Event,
}

/// The thread that sleeps in a port, as its wakers know it: an index into the table of the engine's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bell(pub u16);

/// How long a peer's sleep may wait for more completions than one: a small part of what a request takes, and so no delay that
/// a device could notice, and the most that a wake-up by another thread is late.
pub const GATHER_TIME: Nanos = Nanos(100_000);

/// The port is full; try again after a reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;
