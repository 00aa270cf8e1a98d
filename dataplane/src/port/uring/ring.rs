//! One io_uring: set-up by negotiation, registration, and the one system call of the data path.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::thread::{self, ThreadId};

use bireme_control::units::Nanos;
use io_uring::{Builder, IoUring, Probe, cqueue, squeue};

use crate::buffer::Region;
use crate::port::GATHER_TIME;

/// A ring that one thread uses.
pub(super) struct Ring {
    ring: IoUring,
    /// The ring's index among the registered rings of a thread; the kernel then need not look its descriptor up.
    registered: Option<(libc::c_int, ThreadId)>,
    known: Probe,
    /// Whether a sleep can be for several completions and end early with fewer (IORING_FEAT_MIN_TIMEOUT).
    gathers: bool,
}

/// The flags that the kernel took and refused, by name.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) granted: Vec<&'static str>,
    pub(super) refused: Vec<&'static str>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("fd", &self.fd()).field("registered", &self.registered).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring for devices with the newest flags that the kernel takes.
    pub(super) fn device(entries: u32) -> io::Result<(Ring, Granted)> {
        let build = |wanted: &[bool; FLAGS.len()]| {
            let mut builder = IoUring::builder();
            builder.dontfork().setup_clamp().setup_cqsize(entries * 2);
            for (flag, _) in FLAGS.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
                (flag.set)(&mut builder);
            }
            builder.build(entries)
        };
        let (ring, wanted) = negotiate(build)?;
        let names = |kept: bool| FLAGS.iter().zip(wanted).filter(move |(_, w)| *w == kept).map(|(flag, _)| flag.name);
        let granted = ["CLAMP", "CQSIZE"].into_iter().chain(names(true)).collect();
        Ok((Ring::over(ring)?, Granted { granted, refused: names(false).collect() }))
    }

    /// A ring that only receives messages. Its task work is not deferred: others poll it.
    pub(super) fn event(entries: u32) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        Ring::over(builder.build(entries)?)
    }

    fn over(ring: IoUring) -> io::Result<Ring> {
        let mut known = Probe::new();
        ring.submitter().register_probe(&mut known)?;
        let gathers = ring.params().is_feature_min_timeout();
        Ok(Ring { ring, registered: None, known, gathers })
    }

    /// The ring's descriptor, for messages and polls.
    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Whether the kernel has an opcode.
    pub(super) fn knows(&self, opcode: u8) -> bool {
        self.known.is_supported(opcode)
    }

    /// Registers a region as buffer 0.
    pub(super) fn register_buffer(&mut self, region: &Region) -> io::Result<()> {
        // SAFETY: the region's owner keeps it longer than this ring: the field order of `Uring` drops the rings first.
        unsafe { self.ring.submitter().register_buffers(&[region.iovec()]) }
    }

    /// Registers files; requests name them by their place in the slice.
    pub(super) fn register_files(&mut self, files: &[RawFd]) -> io::Result<()> {
        self.ring.submitter().register_files(files)
    }

    /// Gives files and memory back now. The kernel takes a ring apart some time after it was closed: a claim on a block
    /// device would outlive the process by up to a second, and the next ring would find the limit of locked memory used.
    pub(super) fn unregister(&mut self) {
        // There may be none, and nothing can be done about an error.
        let _ = self.ring.submitter().unregister_files();
        let _ = self.ring.submitter().unregister_buffers();
        self.unregister_itself();
    }

    /// Registers the ring's own descriptor with this thread. `false`: the plain descriptor is used.
    pub(super) fn register_itself(&mut self) -> bool {
        let mut update = RsrcUpdate { offset: u32::MAX, reserved: 0, data: u64::from(self.fd().unsigned_abs()) };
        let index =
            if self.update(REGISTER_RING_FDS, &mut update) { libc::c_int::try_from(update.offset).ok() } else { None };
        self.registered = index.map(|index| (index, thread::current().id()));
        self.registered.is_some()
    }

    /// Takes that back. Else the ring would live as long as the thread, though it is closed, and with it the file of a
    /// request whose last reference a worker of the kernel gives back late: a claim that nobody can see.
    fn unregister_itself(&mut self) {
        let Some((index, _)) = self.registered.take().filter(|&(_, owner)| owner == thread::current().id()) else {
            return;
        };
        let mut update = RsrcUpdate { offset: index.unsigned_abs(), reserved: 0, data: 0 };
        self.update(UNREGISTER_RING_FDS, &mut update);
    }

    /// One change of the thread's registered rings; whether the kernel made it.
    fn update(&self, what: libc::c_uint, update: &mut RsrcUpdate) -> bool {
        // SAFETY: the kernel reads and writes one `io_uring_rsrc_update`, laid out as its header says, and keeps nothing.
        let answer =
            unsafe { libc::syscall(libc::SYS_io_uring_register, self.fd(), what, std::ptr::from_mut(update), 1) };
        answer == 1
    }

    /// Queues an entry. `false`: the submission queue is full.
    pub(super) fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the memory an entry names is a lent span of the region, which `Region` keeps mapped until it is given
        // back, or a row of pieces that lives as long as the port; the files are registered or open rings.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Hands over what was pushed, and waits for `least` completions, or for one after [`GATHER_TIME`], no longer than
    /// `patience`. Being interrupted, out
    /// of patience, or asked to reap first is no error.
    pub(super) fn enter(&mut self, patience: Option<Nanos>, least: u32) -> io::Result<()> {
        let queued = {
            let mut queue = self.ring.submission();
            queue.sync();
            u32::try_from(queue.len()).expect("a queue holds at most 2^15 entries")
        };
        let time = patience.map(|nanos| Timespec { secs: nanos.0 / 1_000_000_000, nanos: nanos.0 % 1_000_000_000 });
        let waiting = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (least, min_wait_usec) = if least > 1 && self.gathers { (least, GATHER_USEC) } else { (least.min(1), 0) };
        let argument = GetEvents { sigmask: 0, sigmask_bytes: 0, min_wait_usec, time: waiting };
        let (ring, flag) = match self.registered {
            Some((index, _)) => (index, ENTER_REGISTERED_RING),
            None => (self.fd(), 0),
        };
        // SAFETY: the kernel reads `argument` and the time it points to during the call; both live until it returns. The
        // memory named by the entries is covered by `push`.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                ring,
                queued,
                least,
                ENTER_GETEVENTS | ENTER_EXT_ARG | flag,
                &raw const argument,
                size_of::<GetEvents>(),
            )
        };
        if answer >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        }
    }

    /// Whether there is a completion to reap.
    pub(super) fn has_ended(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The next completion.
    pub(super) fn reap(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }
}

struct Flag {
    name: &'static str,
    set: fn(&mut Builder),
}

/// Oldest first: the kernel that lacks one lacks those after it.
const FLAGS: [Flag; 5] = [
    Flag {
        name: "SUBMIT_ALL",
        set: |b| {
            b.setup_submit_all();
        },
    },
    Flag {
        name: "COOP_TASKRUN",
        set: |b| {
            b.setup_coop_taskrun();
        },
    },
    Flag {
        name: "SINGLE_ISSUER",
        set: |b| {
            b.setup_single_issuer();
        },
    },
    Flag {
        name: "DEFER_TASKRUN",
        set: |b| {
            b.setup_defer_taskrun();
        },
    },
    Flag {
        name: "NO_SQARRAY",
        set: |b| {
            b.setup_no_sqarray();
        },
    },
];

/// Tries all flags, drops the newest first until the kernel agrees, then adds the dropped ones back singly.
fn negotiate<R>(build: impl Fn(&[bool; FLAGS.len()]) -> io::Result<R>) -> io::Result<(R, [bool; FLAGS.len()])> {
    let mut wanted = [true; FLAGS.len()];
    let mut newest = FLAGS.len();
    let mut ring = loop {
        match build(&wanted) {
            Ok(ring) => break ring,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && newest > 0 => {
                newest -= 1;
                wanted[newest] = false;
            }
            Err(error) => return Err(error),
        }
    };
    for index in newest..FLAGS.len() {
        let mut more = wanted;
        more[index] = true;
        if let Ok(better) = build(&more) {
            (ring, wanted) = (better, more);
        }
    }
    Ok((ring, wanted))
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEvents {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_usec: u32,
    time: *const Timespec,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    secs: u64,
    nanos: u64,
}

#[expect(clippy::cast_possible_truncation, reason = "100 microseconds")]
const GATHER_USEC: u32 = (GATHER_TIME.0 / 1000) as u32;
const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;
const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_lacks_one_flag_keeps_the_others() {
        for lacking in 0..FLAGS.len() {
            let build = |wanted: &[bool; FLAGS.len()]| {
                if wanted[lacking] { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
            };
            let ((), wanted) = negotiate(build).expect("a ring without the flag");
            for (index, kept) in wanted.into_iter().enumerate() {
                assert_eq!(kept, index != lacking, "flag {index} on a kernel without flag {lacking}");
            }
        }
    }

    #[test]
    fn an_error_that_is_no_refusal_of_flags_is_returned() {
        let build = |_: &[bool; FLAGS.len()]| Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(negotiate(build).expect_err("not permitted").raw_os_error(), Some(libc::EPERM));
    }
}
