//! The port to the kernel: a device ring for requests, and an event ring that others ring to wake this thread.
//!
//! ```text
//!   push -> device ring --io_uring_enter--> devices          one system call per turn submits, waits and reaps
//!              ^  polls (multishot)
//!           event ring <--MSG_RING-- device rings of other threads
//! ```
//!
//! The event ring exists because a device ring may become one that polls (IOPOLL), which refuses everything that is no
//! I/O. Flushes stay in the device ring: a thread can sleep in one ring only, and a poll on a ring with deferred task
//! work does not see completions that are still deferred.
//!
//! Flags are negotiated newest-first and reported; nothing is lost silently.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use bireme_control::units::Nanos;
use io_uring::{cqueue, opcode, squeue, types};

use super::in_flight::{InFlight, Ticket};
use super::{Bell, Busy, Completion, Next, Operation, Port, Request, TrimWay};
use crate::buffer::{Region, Weave};
use crate::device::Namespace;
use ring::{Least, Ring};

mod bare;
mod command;
mod method;
#[expect(unsafe_code, reason = "hands memory to the kernel")]
mod ring;

pub use bare::Bare;
pub use method::Method;

/// What a port is built from.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The files that requests name by index; nothing is asked of one that is `None`.
    pub files: &'a [Option<BorrowedFd<'a>>],
    /// The files that requests go to as commands to a controller, by the same index; it may be shorter.
    pub namespaces: &'a [Option<Namespace>],
    /// How completions are learnt of.
    pub method: Method,
    /// Bytes of memory for requests.
    pub region_bytes: usize,
    /// The most requests in flight.
    pub limit: u32,
    /// The most pieces of one woven request.
    pub weave_pieces: usize,
    /// Where time starts, the same for all ports of an engine.
    pub origin: Instant,
    /// The table of event rings, and this port's place in it.
    pub bells: Bells,
    /// This port's own place.
    pub bell: Bell,
    /// How long [`Next::Event`] waits for the answer to a request: whoever waits on the spot must not wait for ever.
    pub patience: Nanos,
}

/// The event rings of all threads of an engine, by [`Bell`]. A thread enters its ring when its port is built.
#[derive(Clone, Debug)]
pub struct Bells(Arc<[AtomicI32]>);

impl Bells {
    /// A table for `count` threads.
    pub fn new(count: u16) -> Bells {
        Bells((0..count).map(|_| AtomicI32::new(NO_RING)).collect())
    }
}

/// What the kernel granted, for the report.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// Set-up flags of the device ring in force.
    pub device_flags: Vec<&'static str>,
    /// Those that the kernel refused.
    pub refused_flags: Vec<&'static str>,
    /// Set-up flags of the event ring.
    pub event_flags: Vec<&'static str>,
    /// Whether woven requests use the registered buffer (READV_FIXED, WRITEV_FIXED); plain READV and WRITEV otherwise.
    pub woven_fixed: bool,
    /// Whether the ring's own descriptor is registered.
    pub registered_ring: bool,
    /// How many files are registered.
    pub registered_files: usize,
    /// Bytes of the registered buffer.
    pub registered_bytes: u64,
    /// The pages under the buffer.
    pub paging: &'static str,
}

/// Why a port could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// io_uring as a whole is refused.
    #[error(
        "the kernel refused io_uring ({0}): set the sysctl kernel.io_uring_disabled to 0, and allow io_uring_setup in the \
         seccomp profile of the container; Linux 6.1 or newer is needed"
    )]
    Refused(io::Error),
    /// The rings themselves find no memory.
    #[error(
        "io_uring found no memory for its queues ({0}): run with sudo, raise the limit of locked memory (ulimit -l), or \
         lower --depth or --peers"
    )]
    Queues(io::Error),
    /// Memory could not be mapped.
    #[error("{bytes} bytes of buffers could not be had ({cause}): lower --depth, --slot or --peers")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// Memory could not be registered.
    #[error(
        "{bytes} bytes of buffers could not be registered with io_uring ({cause}): run with sudo, raise the limit of locked \
         memory (ulimit -l), or lower --depth, --slot or --peers"
    )]
    Register {
        /// What was asked for.
        bytes: usize,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// Something else that the ring needs is missing.
    #[error("the kernel's io_uring lacks {what} ({cause}); Linux 6.1 or newer has it")]
    Missing {
        /// The feature.
        what: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
}

/// A port of one thread. It is built on the thread that uses it.
#[derive(Debug)]
pub struct Uring {
    // The rings go first: the kernel must be done with the memory before the region is unmapped.
    device: Ring,
    event: Ring,
    in_flight: InFlight,
    region: Region,
    /// Room for the pieces of a woven request, per ticket: the kernel reads them at submission.
    pieces: Box<[libc::iovec]>,
    pieces_each: usize,
    namespaces: Box<[Option<Namespace>]>,
    method: Method,
    effective: Effective,
    bells: Bells,
    bell: Bell,
    origin: Instant,
    patience: Nanos,
    /// Whether the event ring is listened to.
    listening: bool,
    gathering: Least,
    /// On a ring that polls: since when nothing has ended, or zero.
    stalled: Nanos,
}

impl Uring {
    /// Builds the rings and registers files and memory.
    pub fn new(wishes: &Wishes<'_>) -> Result<Uring, SetupError> {
        let wide = wishes.namespaces.iter().any(Option::is_some);
        let (mut device, granted) = Ring::device(entries(wishes.limit), wishes.method, wide).map_err(refused)?;
        let event = Ring::event(EVENT_ENTRIES).map_err(refused)?;
        let bytes = wishes.region_bytes;
        let region = Region::new(bytes).map_err(|cause| SetupError::Memory { bytes, cause })?;
        device.register_buffer(&region).map_err(|cause| SetupError::Register { bytes, cause })?;
        if !wishes.files.is_empty() {
            // A gap keeps its place in the table.
            let fd = |file: &Option<BorrowedFd<'_>>| file.map_or(-1, |file| file.as_raw_fd());
            let fds: Vec<RawFd> = wishes.files.iter().map(fd).collect();
            device.register_files(&fds).map_err(|cause| SetupError::Missing { what: "registered files", cause })?;
        }
        let effective = Effective {
            device_flags: granted.granted,
            refused_flags: granted.refused,
            event_flags: vec!["CLAMP"],
            woven_fixed: device.knows(opcode::ReadvFixed::CODE) && device.knows(opcode::WritevFixed::CODE),
            registered_ring: device.register_itself(),
            registered_files: wishes.files.iter().flatten().count(),
            registered_bytes: bytes as u64,
            paging: region.paging().describe(),
        };
        wishes.bells.0[usize::from(wishes.bell.0)].store(event.fd(), Ordering::Release);
        let no_piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let pieces_each = wishes.weave_pieces.min(PIECES_MAX);
        let mut port = Uring {
            device,
            event,
            in_flight: InFlight::new(wishes.limit),
            region,
            pieces: vec![no_piece; pieces_each * wishes.limit as usize].into_boxed_slice(),
            pieces_each,
            namespaces: wishes.namespaces.into(),
            method: wishes.method,
            effective,
            bells: wishes.bells.clone(),
            bell: wishes.bell,
            origin: wishes.origin,
            patience: wishes.patience,
            listening: false,
            gathering: Least::ONE,
            stalled: Nanos::ZERO,
        };
        port.listen();
        Ok(port)
    }

    /// What the kernel granted.
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// Asks to be told when the event ring has something. Re-armed whenever the kernel ends it. A ring that polls takes no
    /// such request.
    fn listen(&mut self) {
        if self.method == Method::Polling {
            self.listening = true;
            return;
        }
        let poll = opcode::PollAdd::new(types::Fd(self.event.fd()), POLL_IN).multi(true).build().user_data(BELL);
        self.listening = self.device.push(&poll);
    }

    fn entry(&mut self, ticket: Ticket, request: &Request) -> squeue::Entry {
        let file = types::Fixed(u32::from(request.file));
        match request.operation {
            Operation::Read(span) => opcode::ReadFixed::new(file, self.region.address(span.offset), span.bytes, BUFFER)
                .offset(request.offset)
                .build(),
            Operation::Write(span) => {
                let start = self.region.address(span.offset).cast_const();
                opcode::WriteFixed::new(file, start, span.bytes, BUFFER).offset(request.offset).build()
            }
            Operation::ReadWoven(weave) => {
                let (start, count) = self.lay_out(ticket, weave);
                match self.effective.woven_fixed {
                    true => opcode::ReadvFixed::new(file, start, count, BUFFER).offset(request.offset).build(),
                    false => opcode::Readv::new(file, start, count).offset(request.offset).build(),
                }
            }
            Operation::WriteWoven(weave) => {
                let (start, count) = self.lay_out(ticket, weave);
                match self.effective.woven_fixed {
                    true => opcode::WritevFixed::new(file, start, count, BUFFER).offset(request.offset).build(),
                    false => opcode::Writev::new(file, start, count).offset(request.offset).build(),
                }
            }
            Operation::WriteThrough(span) => {
                let start = self.region.address(span.offset).cast_const();
                let write = opcode::WriteFixed::new(file, start, span.bytes, BUFFER).offset(request.offset);
                write.rw_flags(libc::RWF_DSYNC).build()
            }
            Operation::Trim { bytes, way: TrimWay::Discard } => {
                // The command's own bytes begin with the length.
                let mut length = [0; 16];
                length[..8].copy_from_slice(&u64::from(bytes).to_ne_bytes());
                opcode::UringCmd16::new(file, BLOCK_DISCARD).addr(Some(request.offset)).cmd(length).build()
            }
            Operation::Trim { bytes, way: TrimWay::PunchHole } => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                opcode::Fallocate::new(file, u64::from(bytes)).offset(request.offset).mode(mode).build()
            }
            Operation::Flush => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
        }
    }

    fn push_command(&mut self, ticket: Ticket, namespace: Namespace, request: &Request) -> bool {
        let start = match request.operation {
            Operation::Read(span) | Operation::Write(span) | Operation::WriteThrough(span) => {
                self.region.address(span.offset).cast_const()
            }
            _ => std::ptr::null(),
        };
        let file = types::Fixed(u32::from(request.file));
        let entry = command::entry(namespace, file, request.operation, request.offset, start);
        let entry = entry.expect("clients of namespaces read, write and flush: other requests are refused before");
        self.device.push_command(&entry.user_data(u64::from(ticket)))
    }

    /// Hands over, and looks into the devices' queues until enough has ended or the thread is to do something else.
    fn poll(&mut self, next: Next, least: Least) -> io::Result<()> {
        let waits = next == Next::Event && self.in_flight.len() > 0;
        self.device.enter(None, if waits { least } else { Least::NONE })?;
        if !waits || self.device.has_ended() {
            self.stalled = Nanos::ZERO;
            return Ok(());
        }
        // The kernel returns early when somebody else wants the core, so a device that hangs is noticed here.
        let now = self.now();
        if self.stalled == Nanos::ZERO {
            self.stalled = now;
        }
        if now.since(self.stalled) < self.patience {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
    }

    /// Writes the pieces of a woven request into the ticket's row. Pieces past the row's end are left out: that makes a
    /// short answer, which callers continue.
    fn lay_out(&mut self, ticket: Ticket, weave: Weave) -> (*const libc::iovec, u32) {
        let first = ticket as usize * self.pieces_each;
        let row = &mut self.pieces[first..first + self.pieces_each];
        let mut count = 0;
        for (piece, span) in row.iter_mut().zip(weave.spans()) {
            *piece = libc::iovec { iov_base: self.region.address(span.offset).cast(), iov_len: span.bytes as usize };
            count += 1;
        }
        (row.as_ptr(), count)
    }
}

fn refused(cause: io::Error) -> SetupError {
    match cause.raw_os_error() {
        Some(libc::ENOMEM) => SetupError::Queues(cause),
        _ => SetupError::Refused(cause),
    }
}

/// What the rings of a port for so many requests take of the limit of locked memory.
pub fn queue_bytes(limit: u32) -> u64 {
    let entry = size_of::<squeue::Entry>() + 2 * size_of::<cqueue::Entry>();
    u64::from(entries(limit) + EVENT_ENTRIES) * entry as u64 + QUEUE_HEADS_BYTES
}

/// Besides the requests: wake-ups of others, and the poll on the event ring.
fn entries(limit: u32) -> u32 {
    (limit + 64).next_power_of_two()
}

impl Port for Uring {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn region(&self) -> &Region {
        &self.region
    }

    fn region_mut(&mut self) -> &mut Region {
        &mut self.region
    }

    fn push(&mut self, request: Request) -> Result<(), Busy> {
        let ticket = self.in_flight.enter(request, &mut self.region)?;
        let pushed = match self.namespaces.get(usize::from(request.file)) {
            Some(&Some(namespace)) => self.push_command(ticket, namespace, &request),
            _ => {
                let entry = self.entry(ticket, &request).user_data(u64::from(ticket));
                self.device.push(&entry)
            }
        };
        if !pushed {
            self.in_flight.leave(ticket, &mut self.region);
            return Err(Busy);
        }
        Ok(())
    }

    fn wake(&mut self, whom: Bell) {
        let target = self.bells.0[usize::from(whom.0)].load(Ordering::Acquire);
        assert!(target != NO_RING, "every port is built before the first letter is posted");
        if target == GONE {
            return;
        }
        let letter = opcode::MsgRingData::new(types::Fd(target), 0, BELL, None).build();
        let letter = letter.flags(squeue::Flags::SKIP_SUCCESS).user_data(RUNG);
        while !self.device.push(&letter) {
            // The submission queue is full of requests: hand them over to make room.
            if self.device.enter(None, Least::NONE).is_err() {
                return;
            }
        }
    }

    fn submit(&mut self, next: Next) -> io::Result<()> {
        if !self.listening {
            self.listen();
        }
        let least = std::mem::replace(&mut self.gathering, Least::ONE);
        if self.method == Method::Polling {
            return self.poll(next, least);
        }
        match next {
            Next::Ready => self.device.enter(None, Least::NONE),
            Next::Event if self.in_flight.len() == 0 => self.device.enter(None, least),
            Next::Event => {
                let until = self.now() + self.patience;
                self.device.enter(Some(self.patience), least)?;
                if self.device.has_ended() || self.now() < until {
                    return Ok(());
                }
                Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
            }
            Next::At(time) => self.device.enter(Some(time.since(self.now())), least),
        }
    }

    fn gather(&mut self, completions: u32, within: Nanos) {
        self.gathering = Least { completions: completions.max(1), within };
    }

    fn reap(&mut self) -> Option<Completion> {
        loop {
            let answer = self.device.reap()?;
            match answer.user_data() {
                BELL => {
                    while self.event.reap().is_some() {}
                    if !cqueue::more(answer.flags()) {
                        self.listen();
                    }
                }
                RUNG => {}
                ticket => {
                    let ticket = Ticket::try_from(ticket).expect("only tickets and the two marks are pushed");
                    let request = self.in_flight.leave(ticket, &mut self.region);
                    let request = request.expect("the kernel answers each request once");
                    let result = match self.namespaces.get(usize::from(request.file)) {
                        Some(Some(_)) => command::outcome(answer.result(), request.operation.bytes()),
                        _ => u32::try_from(answer.result()).map_err(|_| -answer.result()),
                    };
                    return Some(Completion { token: request.token, result });
                }
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

impl Uring {
    /// Waits, as long as patience lasts, for what is in flight: others may be about to write to the same places.
    fn drain(&mut self) {
        let until = self.now() + self.patience;
        // Letters were posted whose wake-ups are in the ring: nobody else would ring for their readers.
        let _ = self.submit(Next::Ready);
        while self.in_flight.len() > 0 && self.now() < until && self.submit(Next::At(until)).is_ok() {
            while self.reap().is_some() {}
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // A thread that dies leaves its work to others, who write to the same frames once it has ended.
        if std::thread::panicking() {
            self.bells.0[usize::from(self.bell.0)].store(GONE, Ordering::Release);
            self.drain();
        }
        self.device.unregister();
    }
}

/// `user_data` of the poll on the event ring, and of the messages in it.
const BELL: u64 = u64::MAX;
/// `user_data` of a wake-up sent; only a failed one is answered, and its addressee is gone.
const RUNG: u64 = u64::MAX - 1;
const BUFFER: u16 = 0;
/// `BLOCK_URING_CMD_DISCARD` of linux/blkdev.h.
const BLOCK_DISCARD: u32 = 0x1200;
const NO_RING: i32 = -1;
/// The thread has died, and its ring with it.
const GONE: i32 = -2;
const EVENT_ENTRIES: u32 = 64;
/// Two rings, each with two queues that begin and end within a page.
const QUEUE_HEADS_BYTES: u64 = 4 * 4096;
/// The kernel's limit of pieces in one vectored request (UIO_MAXIOV).
const PIECES_MAX: usize = 1024;
const POLL_IN: u32 = libc::POLLIN.unsigned_abs() as u32;

#[cfg(test)]
mod tests;
