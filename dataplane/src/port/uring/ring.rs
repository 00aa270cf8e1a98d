//! One io_uring: set-up by negotiation, registration, and the one system call of the data path.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bireme_control::units::Nanos;
use io_uring::{Builder, IoUring, Probe, Submitter, cqueue, squeue};

use super::Method;
use crate::buffer::Region;

/// A ring that one thread uses.
pub(super) struct Ring {
    queues: Queues,
    /// A thread of the kernel takes what is queued (SQPOLL).
    served: bool,
    /// The ring's index among the registered rings of a thread; the kernel then need not look its descriptor up.
    registered: Option<(libc::c_int, ThreadId)>,
    known: Probe,
    /// Whether a sleep can be for several completions and end early with fewer (IORING_FEAT_MIN_TIMEOUT).
    gathers: bool,
}

/// The queues of a ring, with entries of the usual size, or with room for commands to NVMe controllers.
enum Queues {
    Narrow(IoUring),
    Wide(IoUring<squeue::Entry128, cqueue::Entry32>),
}

impl Queues {
    fn submitter(&self) -> Submitter<'_> {
        match self {
            Queues::Narrow(ring) => ring.submitter(),
            Queues::Wide(ring) => ring.submitter(),
        }
    }

    /// Shows the kernel what was queued; how much of it the kernel has not taken, and whether its thread sleeps, if there
    /// is one.
    fn sync(&mut self, served: bool) -> (usize, bool) {
        match self {
            Queues::Narrow(ring) => state(ring.submission(), served),
            Queues::Wide(ring) => state(ring.submission(), served),
        }
    }
}

fn state<S: squeue::EntryMarker>(mut queue: squeue::SubmissionQueue<'_, S>, served: bool) -> (usize, bool) {
    queue.sync();
    (queue.len(), served && queue.need_wakeup())
}

/// For how much a thread sleeps in its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    pub(super) completions: u32,
    /// After that time one is enough.
    pub(super) within: Nanos,
}

impl Least {
    pub(super) const NONE: Least = Least { completions: 0, within: Nanos::ZERO };
    pub(super) const ONE: Least = Least { completions: 1, within: Nanos::ZERO };
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
    /// A ring for devices with the newest flags that the kernel takes; `wide` for commands to NVMe controllers.
    pub(super) fn device(entries: u32, method: Method, wide: bool) -> io::Result<(Ring, Granted)> {
        let flags: Vec<Flag> = FLAGS.into_iter().filter(|flag| flag.suits(method)).collect();
        let (queues, wanted) = match wide {
            false => negotiate(flags.len(), |wanted| build(entries, method, &flags, wanted).map(Queues::Narrow))?,
            true => negotiate(flags.len(), |wanted| build(entries, method, &flags, wanted).map(Queues::Wide))?,
        };
        let names = |kept: bool| {
            flags.iter().zip(&wanted).filter(move |(_, wanted)| **wanted == kept).map(|(flag, _)| flag.name())
        };
        let wide_names: &[&str] = if wide { &["SQE128", "CQE32"] } else { &[] };
        let always = ["CLAMP", "CQSIZE"].iter().chain(wide_names).chain(method.flags()).copied();
        let granted = Granted { granted: always.chain(names(true)).collect(), refused: names(false).collect() };
        Ok((Ring::over(queues, matches!(method, Method::KernelThread { .. }))?, granted))
    }

    /// A ring that only receives messages. Its task work is not deferred: others poll it.
    pub(super) fn event(entries: u32) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        Ring::over(Queues::Narrow(builder.build(entries)?), false)
    }

    fn over(queues: Queues, served: bool) -> io::Result<Ring> {
        let mut known = Probe::new();
        queues.submitter().register_probe(&mut known)?;
        let gathers = match &queues {
            Queues::Narrow(ring) => ring.params().is_feature_min_timeout(),
            Queues::Wide(ring) => ring.params().is_feature_min_timeout(),
        };
        Ok(Ring { queues, served, registered: None, known, gathers })
    }

    /// The ring's descriptor, for messages and polls.
    pub(super) fn fd(&self) -> RawFd {
        match &self.queues {
            Queues::Narrow(ring) => ring.as_raw_fd(),
            Queues::Wide(ring) => ring.as_raw_fd(),
        }
    }

    /// Whether the kernel has an opcode.
    pub(super) fn knows(&self, opcode: u8) -> bool {
        self.known.is_supported(opcode)
    }

    /// Registers a region as buffer 0.
    pub(super) fn register_buffer(&mut self, region: &Region) -> io::Result<()> {
        // SAFETY: the region's owner keeps it longer than this ring: the field order of `Uring` drops the rings first.
        unsafe { self.queues.submitter().register_buffers(&[region.iovec()]) }
    }

    /// Registers files; requests name them by their place in the slice.
    pub(super) fn register_files(&mut self, files: &[RawFd]) -> io::Result<()> {
        self.queues.submitter().register_files(files)
    }

    /// Gives files and memory back now. The kernel takes a ring apart some time after it was closed: a claim on a block
    /// device would outlive the process by up to a second, and the next ring would find the limit of locked memory used.
    pub(super) fn unregister(&mut self) {
        // There may be none, and nothing can be done about an error.
        let _ = self.queues.submitter().unregister_files();
        let _ = self.queues.submitter().unregister_buffers();
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
        match &mut self.queues {
            // SAFETY: the memory an entry names is a lent span of the region, which `Region` keeps mapped until it is given
            // back, or a row of pieces that lives as long as the port; the files are registered or open rings.
            Queues::Narrow(ring) => unsafe { ring.submission().push(entry) }.is_ok(),
            // SAFETY: as above.
            Queues::Wide(ring) => unsafe { ring.submission().push(&entry.clone().into()) }.is_ok(),
        }
    }

    /// Queues a command to an NVMe controller. `false`: the submission queue is full, or the ring is not wide.
    pub(super) fn push_command(&mut self, entry: &squeue::Entry128) -> bool {
        let Queues::Wide(ring) = &mut self.queues else { return false };
        // SAFETY: as in `push`; the command itself lies in the entry.
        unsafe { ring.submission().push(entry).is_ok() }
    }

    /// Hands over what was pushed, and waits for `least` completions, no longer than `patience`. Being interrupted, out of patience, or asked to reap first is no error.
    pub(super) fn enter(&mut self, patience: Option<Nanos>, least: Least) -> io::Result<()> {
        let (queued, asleep) = self.queues.sync(self.served);
        let queued = u32::try_from(queued).expect("a queue holds at most 2^15 entries");
        if self.served && !asleep && (least.completions == 0 || self.spin()) {
            return Ok(());
        }
        let wake = if asleep { ENTER_SQ_WAKEUP } else { 0 };
        let time = patience.map(|nanos| Timespec { secs: nanos.0 / 1_000_000_000, nanos: nanos.0 % 1_000_000_000 });
        let waiting = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (least, min_wait_usec) = match least.completions {
            more @ 2.. if self.gathers => (more, u32::try_from(least.within.0 / 1000).unwrap_or(u32::MAX)),
            few => (few.min(1), 0),
        };
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
                ENTER_GETEVENTS | ENTER_EXT_ARG | flag | wake,
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

    /// Looks for a completion for a moment, as the kernel's thread brings them without a system call of this one.
    fn spin(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if self.has_ended() {
                return true;
            }
            if start.elapsed() >= SPIN_TIME {
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Whether there is a completion to reap.
    pub(super) fn has_ended(&mut self) -> bool {
        match &mut self.queues {
            Queues::Narrow(ring) => !ring.completion().is_empty(),
            Queues::Wide(ring) => !ring.completion().is_empty(),
        }
    }

    /// The next completion.
    pub(super) fn reap(&mut self) -> Option<cqueue::Entry> {
        match &mut self.queues {
            Queues::Narrow(ring) => ring.completion().next(),
            Queues::Wide(ring) => ring.completion().next().map(cqueue::Entry::from),
        }
    }
}

/// One attempt at a ring with those of the flags that are wanted.
fn build<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
    entries: u32,
    method: Method,
    flags: &[Flag],
    wanted: &[bool],
) -> io::Result<IoUring<S, C>> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(entries * 2);
    match method {
        Method::Interrupts => {}
        Method::Polling => {
            builder.setup_iopoll();
        }
        Method::KernelThread { core } => {
            builder.setup_sqpoll(SERVED_IDLE_MS);
            if let Some(core) = core {
                builder.setup_sqpoll_cpu(core);
            }
        }
    }
    flags.iter().zip(wanted).filter(|(_, wanted)| **wanted).for_each(|(flag, _)| flag.set(&mut builder));
    builder.build(entries)
}

/// Set-up flags that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    SubmitAll,
    CoopTaskrun,
    SingleIssuer,
    DeferTaskrun,
    NoSqarray,
}

/// Oldest first: the kernel that lacks one lacks those after it.
const FLAGS: [Flag; 5] = [Flag::SubmitAll, Flag::CoopTaskrun, Flag::SingleIssuer, Flag::DeferTaskrun, Flag::NoSqarray];

impl Flag {
    const fn name(self) -> &'static str {
        match self {
            Flag::SubmitAll => "SUBMIT_ALL",
            Flag::CoopTaskrun => "COOP_TASKRUN",
            Flag::SingleIssuer => "SINGLE_ISSUER",
            Flag::DeferTaskrun => "DEFER_TASKRUN",
            Flag::NoSqarray => "NO_SQARRAY",
        }
    }

    /// The kernel's thread has its own task work: how that of this thread is run does not apply to it.
    fn suits(self, method: Method) -> bool {
        !matches!(method, Method::KernelThread { .. }) || !matches!(self, Flag::CoopTaskrun | Flag::DeferTaskrun)
    }

    fn set<S: squeue::EntryMarker, C: cqueue::EntryMarker>(self, builder: &mut Builder<S, C>) {
        match self {
            Flag::SubmitAll => builder.setup_submit_all(),
            Flag::CoopTaskrun => builder.setup_coop_taskrun(),
            Flag::SingleIssuer => builder.setup_single_issuer(),
            Flag::DeferTaskrun => builder.setup_defer_taskrun(),
            Flag::NoSqarray => builder.setup_no_sqarray(),
        };
    }
}

/// Tries all flags, drops the newest first until the kernel agrees, then adds the dropped ones back singly.
fn negotiate<R>(count: usize, build: impl Fn(&[bool]) -> io::Result<R>) -> io::Result<(R, Vec<bool>)> {
    let mut wanted = vec![true; count];
    let mut newest = count;
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
    for index in newest..count {
        let mut more = wanted.clone();
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

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;
const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_SQ_WAKEUP: libc::c_uint = 1 << 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

/// How long the kernel's thread looks for more before it sleeps, in milliseconds.
const SERVED_IDLE_MS: u32 = 1000;
/// How long this thread looks for what that one brings before it sleeps.
const SPIN_TIME: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_lacks_one_flag_keeps_the_others() {
        for lacking in 0..FLAGS.len() {
            let build = |wanted: &[bool]| {
                if wanted[lacking] { Err(io::Error::from_raw_os_error(libc::EINVAL)) } else { Ok(()) }
            };
            let ((), wanted) = negotiate(FLAGS.len(), build).expect("a ring without the flag");
            for (index, kept) in wanted.into_iter().enumerate() {
                assert_eq!(kept, index != lacking, "flag {index} on a kernel without flag {lacking}");
            }
        }
    }

    #[test]
    fn an_error_that_is_no_refusal_of_flags_is_returned() {
        let build = |_: &[bool]| Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(negotiate(FLAGS.len(), build).expect_err("not permitted").raw_os_error(), Some(libc::EPERM));
    }
}
