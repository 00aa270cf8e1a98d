//! What peers, ledger and main thread tell each other about a set.
//!
//! ```text
//!   main                  ledger                      peers
//!     Prepare ──────────▶  frames taken  ── Begin ──▶  write, and share the work: Balance
//!     ◀───────── Prepared                ◀── Page ──   each page, in any order
//!                          all reported  ── Flush ──▶
//!                          all flushed   ◀─ Flushed ─
//!     ◀──────── Committed  transaction durable
//!                                        ◀── Quiet ──  nothing of the set is in flight any more
//!     Died ─────────────▶  a peer is gone ─ LayDown ▶  start nothing more
//!                          all laid down  ◀ LaidDown   nothing is in flight
//!                          what is missing ─ TakeUp ▶
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bireme_control::balance::Message;
use bireme_control::balance::Pair;
use bireme_control::raid::health::Health;
use bireme_control::units::{Extent, Nanos, PeerId};

use crate::error::{explain, request_failed};
use crate::plan::{Origin, Plan};

/// To a peer.
#[derive(Clone, Debug)]
pub enum ToPeer {
    /// Write your share of this set.
    Begin(Arc<Plan>),
    /// From another peer: about sharing the work.
    Balance {
        /// Who.
        from: PeerId,
        /// What.
        message: Message,
    },
    /// Every page was reported: flush these devices.
    Flush {
        /// Which set of this run.
        sequence: u32,
        /// Whose devices: the peer's own, or those of one that has died.
        whose: PeerId,
    },
    /// A peer has died: start nothing more of the sets under way.
    LayDown {
        /// Who.
        gone: PeerId,
    },
    /// Pages that are missing since a peer has died.
    TakeUp {
        /// Of which set of this run.
        sequence: u32,
        /// Which.
        extent: Extent,
    },
    /// A member was lost, and that is durable; or one counts again.
    Health(Health),
    /// The run is over.
    Stop,
}

/// To the ledger, or whoever stands for it where a set is read.
#[derive(Clone, Copy, Debug)]
pub enum ToLedger {
    /// From main: find room for a set.
    Prepare {
        /// Which set of this run, from 0 and without gaps.
        sequence: u32,
        /// Bytes of the data.
        bytes: u64,
        /// Where it comes from.
        origin: Origin,
    },
    /// From a peer: a page lies on the devices, though perhaps in their caches; or it was read and compared.
    Page(Page),
    /// From a peer: what it and another have learnt of each other by the end of a set.
    Learnt {
        /// The two, the lower one first.
        peers: [PeerId; 2],
        /// What they have learnt.
        pair: Pair,
    },
    /// From a peer: devices are flushed.
    Flushed {
        /// Which set of this run.
        sequence: u32,
        /// Whose devices.
        whose: PeerId,
        /// When the last flush ended.
        at: Nanos,
    },
    /// From a peer: the set is flushed, and nothing of it is in flight here any more, repeats included.
    Quiet {
        /// Which set of this run.
        sequence: u32,
        /// Who.
        peer: PeerId,
    },
    /// From a peer: nothing at all is in flight here, as [`ToPeer::LayDown`] asked for.
    LaidDown {
        /// Who.
        peer: PeerId,
        /// How many deaths it knows of.
        deaths: u16,
    },
    /// From main: a peer's thread has ended before it was told to. Nothing that it started is in flight.
    Died {
        /// Who.
        peer: PeerId,
    },
    /// From a peer: a member refuses its requests, and what was asked of it can be done without it. The peer asks nothing
    /// more of it. No set that has skipped it is committed before this is durable on the others.
    Lost {
        /// Which member.
        member: u16,
        /// What it has refused.
        failure: Failure,
    },
    /// From a peer: it cannot go on.
    Failed {
        /// Who.
        peer: PeerId,
        /// Why.
        failure: Failure,
    },
    /// From main: the run is over.
    Stop,
}

/// A page that was written, or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which set of this run.
    pub sequence: u32,
    /// By whom.
    pub peer: PeerId,
    /// Which page of it.
    pub page: u64,
    /// Where it lies.
    pub frame: u64,
    /// The root of its leaves.
    pub root: u64,
    /// When its last request had ended.
    pub at: Nanos,
}

/// To the main thread.
#[derive(Clone, Debug)]
pub enum ToMain {
    /// A set has its frames, and the peers were told.
    Prepared(Arc<Plan>),
    /// A set is durable and visible.
    Committed(Committed),
    /// A member or a spare is out, and the run goes on without it.
    Lost {
        /// Which: the members by index, as the pool was opened, and then the spares.
        file: u16,
        /// What it has refused.
        failure: Failure,
        /// The spare in its place, which is to be rebuilt.
        spare: Option<PathBuf>,
    },
    /// The ledger's devices failed in the middle of this set's transaction: some mirrors may hold it and others not. The
    /// next opening decides.
    InDoubt {
        /// Which set of the pool.
        number: u64,
    },
    /// The run has failed; the peers were told to stop.
    Failed(Failure),
    /// The ledger has nothing under way any more.
    Stopped,
}

/// A set that is durable and visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which set of this run.
    pub sequence: u32,
    /// Which set of the pool.
    pub number: u64,
    /// The last data request of any page ended.
    pub written_at: Nanos,
    /// The last flush of any peer ended.
    pub flushed_at: Nanos,
    /// The transaction was durable on every mirror.
    pub committed_at: Nanos,
    /// Pages in the map, by the peer that wrote them.
    pub done: Vec<u64>,
    /// Pages in the map that were repeats.
    pub repeats: u64,
    /// When the last of a peer's pages in the map was written, by peer; zero if there is none.
    pub finished: Vec<Nanos>,
}

/// What was asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Device to memory.
    Read,
    /// Memory to device.
    Write,
    /// Make it durable.
    Flush,
    /// Forget what it holds.
    Trim,
}

impl Doing {
    /// As a word of a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Doing::Read => "reading",
            Doing::Write => "writing",
            Doing::Flush => "flushing",
            Doing::Trim => "trimming",
        }
    }
}

/// Why a run cannot go on, without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A device refused a request.
    Device {
        /// What was asked.
        doing: Doing,
        /// Which member.
        file: u16,
        /// Where.
        offset: u64,
        /// The answer.
        errno: i32,
    },
    /// The input cannot be read.
    Input {
        /// Where.
        offset: u64,
        /// The answer; 0 when the file ended early.
        errno: i32,
    },
    /// The port itself failed.
    Port {
        /// The kernel's answer.
        errno: i32,
    },
    /// A device does not answer.
    Hung {
        /// Which member.
        file: u16,
        /// What was asked.
        doing: Doing,
        /// Where.
        offset: u64,
        /// For how long.
        waited: Nanos,
    },
    /// The set does not fit beside the newest one.
    NoSpace {
        /// Bytes of frames that it needs.
        need: u64,
        /// Bytes of frames that are free.
        free: u64,
        /// Bytes of frames of the pool.
        total: u64,
    },
    /// A block is not the one that was written.
    Damaged {
        /// Which member.
        file: u16,
        /// Where.
        offset: u64,
        /// Which page of the set.
        page: u64,
    },
    /// The checksums of a page are not those that the metadata vouch for, and they do not tell whose are wrong.
    Checksums {
        /// Where they lie on each member.
        offset: u64,
        /// Which page of the set.
        page: u64,
    },
    /// The metadata cannot take the transaction.
    Store(StoreFailure),
    /// A part of the engine broke a promise; nothing was committed.
    Broken(&'static str),
}

/// Why the metadata cannot take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// Its area is full.
    Full,
    /// It contradicts itself.
    Corrupted,
    /// The store refused for another reason.
    Refused,
}

impl Failure {
    /// A sentence for the operator, given the members' paths by index and the input's.
    pub fn sentence(&self, members: &[PathBuf], input: Option<&Path>) -> String {
        // The data file comes after the members.
        let input_path = input.unwrap_or(Path::new("the data file"));
        let path = |file: u16| members.get(usize::from(file)).map_or(input_path, |path| path);
        match *self {
            Failure::Device { doing: Doing::Flush, file, errno, .. } => {
                format!("flushing {} failed: {}", path(file).display(), explain(errno))
            }
            Failure::Device { doing: Doing::Trim, file, offset, errno: libc::EOPNOTSUPP | libc::EINVAL } => format!(
                "{} refuses to be trimmed at byte {offset}: its driver or file system does not support it, the range is no \
                 multiple of its logical blocks, or the kernel is older than Linux 6.12, which brought trim of block devices to \
                 io_uring; choose another pattern or another device",
                path(file).display(),
            ),
            Failure::Device { doing, file, offset, errno } => request_failed(doing.word(), path(file), offset, errno),
            Failure::Input { offset, errno: 0 } => {
                let input = input.unwrap_or(Path::new("the input")).display();
                format!("{input} ended at byte {offset}, before its size at the start: do not change it during the run")
            }
            Failure::Input { offset, errno } => {
                request_failed("reading", input.unwrap_or(Path::new("the input")), offset, errno)
            }
            Failure::Port { errno } => format!("the port to the devices failed: {}", explain(errno)),
            Failure::Hung { file, doing, offset, waited } => {
                let place = if doing == Doing::Flush { String::new() } else { format!(" at byte {offset}") };
                format!(
                    "{} {}{place} has not been answered for {waited}: see the kernel log (dmesg), leave this device out, \
                     or allow more time (--hang-limit)",
                    doing.word(),
                    path(file).display(),
                )
            }
            Failure::NoSpace { need, free, total } => format!(
                "the set needs {need} bytes of frames and {free} of the pool's {total} are free: the newest set stays \
                 readable until the next is durable, so use larger devices or a smaller set; nothing of it was written"
            ),
            Failure::Damaged { file, offset, page } => format!(
                "{} at byte {offset} does not hold what was written there (page {page} of the set): the device, its \
                 cable or its memory damages data",
                path(file).display(),
            ),
            Failure::Checksums { offset, page } => format!(
                "the checksums of page {page} of the set, at byte {offset} of each device, are not those that were \
                 written: one of the devices, its cable or its memory damages data"
            ),
            Failure::Store(StoreFailure::Full) => {
                "the metadata area is full: the set was not committed; make a new pool with a larger page".into()
            }
            Failure::Store(StoreFailure::Corrupted) => {
                "the metadata contradict themselves: the set was not committed; copy the newest set with restore and \
                 make a new pool"
                    .into()
            }
            Failure::Store(StoreFailure::Refused) => {
                "the metadata store refused the transaction: the set was not committed; open the pool again".into()
            }
            Failure::Broken(what) => format!("{what}: this is a fault of Bireme itself; the set was not committed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_device_the_place_and_what_to_do() {
        let members = [PathBuf::from("/dev/a"), PathBuf::from("/dev/b")];
        let failure = Failure::Device { doing: Doing::Write, file: 1, offset: 4096, errno: libc::EIO };
        let sentence = failure.sentence(&members, None);
        assert!(sentence.starts_with("writing /dev/b at byte 4096 failed: "), "{sentence}");
        assert!(sentence.contains("dmesg"), "{sentence}");
    }

    #[test]
    fn a_device_that_cannot_be_trimmed_is_told_apart_from_one_that_fails() {
        let sentence = |errno| {
            let failure = Failure::Device { doing: Doing::Trim, file: 0, offset: 512, errno };
            failure.sentence(&[PathBuf::from("/dev/a")], None)
        };
        assert!(sentence(libc::EOPNOTSUPP).starts_with("/dev/a refuses to be trimmed at byte 512: "));
        assert!(sentence(libc::EIO).starts_with("trimming /dev/a at byte 512 failed: "));
    }

    #[test]
    fn the_data_file_is_named_when_it_hangs() {
        let waited = Nanos::from_secs(30);
        let failure = Failure::Hung { file: 1, doing: Doing::Read, offset: 8192, waited };
        let sentence = failure.sentence(&[PathBuf::from("/dev/a")], Some(Path::new("/mnt/input")));
        assert!(sentence.starts_with("reading /mnt/input at byte 8192 has not been answered for 30"), "{sentence}");
    }
}
