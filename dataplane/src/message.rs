//! What peers, ledger and main thread tell each other about a set.
//!
//! ```text
//!   main                  ledger                      peers
//!     Prepare ──────────▶  frames taken  ── Begin ──▶  write
//!     ◀───────── Prepared                ◀── Page ──   each page, in any order
//!                                        ◀─ Written ─  all of a peer's share
//!                          all written   ── Flush ──▶
//!                          all flushed   ◀─ Flushed ─
//!     ◀──────── Committed  transaction durable
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bireme_control::units::{Extent, Nanos, PeerId};

use crate::error::{explain, request_failed};

/// A set to write: what it is, and where its pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which set of this run, from 0.
    pub sequence: u32,
    /// Which set of the pool.
    pub number: u64,
    /// What the tags of its leaves carry: the pool's generation and the low 20 bits of the number.
    pub generation: u64,
    /// Bytes of the data.
    pub bytes: u64,
    /// Pages of the data; the last may be partial.
    pub pages: u64,
    /// Where they go.
    pub frames: Runs,
    /// Where the data comes from.
    pub origin: Origin,
}

impl Plan {
    /// The frame of a page.
    ///
    /// # Panics
    /// When the set has no such page.
    pub fn frame(&self, page: u64) -> u64 {
        self.frames.frame(page)
    }
}

/// Runs of frames: page i goes to the i-th frame of the runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    runs: Vec<Extent>,
    /// The first page of each run.
    firsts: Vec<u64>,
}

impl Runs {
    /// The i-th frame.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn frame(&self, page: u64) -> u64 {
        let run = self.firsts.partition_point(|&first| first <= page) - 1;
        let within = page - self.firsts[run];
        assert!(within < self.runs[run].count, "page {page} lies outside the set");
        self.runs[run].start + within
    }

    /// The runs.
    pub fn extents(&self) -> &[Extent] {
        &self.runs
    }
}

impl From<Vec<Extent>> for Runs {
    fn from(runs: Vec<Extent>) -> Runs {
        let mut pages = 0;
        let mut first = |run: &Extent| {
            let first = pages;
            pages += run.count;
            first
        };
        Runs { firsts: runs.iter().map(&mut first).collect(), runs }
    }
}

/// Where the data of a set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Derived from a seed.
    Generated {
        /// The seed.
        seed: u64,
    },
    /// Read from the input file.
    File,
}

/// To a peer.
#[derive(Clone, Debug)]
pub enum ToPeer {
    /// Write your share of this set.
    Begin(Arc<Plan>),
    /// Everybody has written: flush your devices.
    Flush {
        /// Which set of this run.
        sequence: u32,
    },
    /// The run is over.
    Stop,
}

/// To the ledger.
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
    /// From a peer: a page lies on the devices, though perhaps in their caches.
    Page {
        /// Which set of this run.
        sequence: u32,
        /// Which page of it.
        page: u64,
        /// Where it was written.
        frame: u64,
        /// The root of its leaves.
        root: u64,
    },
    /// From a peer: all of its share is written.
    Written {
        /// Which set of this run.
        sequence: u32,
        /// Whose share.
        peer: PeerId,
        /// When its last request ended.
        at: Nanos,
    },
    /// From a peer: its devices are flushed.
    Flushed {
        /// Which set of this run.
        sequence: u32,
        /// Whose devices.
        peer: PeerId,
        /// When the last flush ended.
        at: Nanos,
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

/// To the main thread.
#[derive(Clone, Debug)]
pub enum ToMain {
    /// A set has its frames, and the peers were told.
    Prepared(Arc<Plan>),
    /// A set is durable and visible.
    Committed {
        /// Which set of this run.
        sequence: u32,
        /// Which set of the pool.
        number: u64,
        /// The last data request of any peer ended.
        written_at: Nanos,
        /// The last flush of any peer ended.
        flushed_at: Nanos,
        /// The transaction was durable on every mirror.
        committed_at: Nanos,
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

/// What was asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Device to memory.
    Read,
    /// Memory to device.
    Write,
    /// Make it durable.
    Flush,
}

impl Doing {
    /// As a word of a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Doing::Read => "reading",
            Doing::Write => "writing",
            Doing::Flush => "flushing",
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
    fn a_page_finds_its_frame_in_the_runs() {
        let runs = Runs::from(vec![Extent::new(7, 2), Extent::new(20, 1), Extent::new(0, 3)]);
        let frames: Vec<_> = (0..6).map(|page| runs.frame(page)).collect();
        assert_eq!(frames, [7, 8, 20, 0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "lies outside the set")]
    fn a_page_past_the_end_has_no_frame() {
        let _ = Runs::from(vec![Extent::new(7, 2)]).frame(2);
    }

    #[test]
    fn a_failure_names_the_device_the_place_and_what_to_do() {
        let members = [PathBuf::from("/dev/a"), PathBuf::from("/dev/b")];
        let failure = Failure::Device { doing: Doing::Write, file: 1, offset: 4096, errno: libc::EIO };
        let sentence = failure.sentence(&members, None);
        assert!(sentence.starts_with("writing /dev/b at byte 4096 failed: "), "{sentence}");
        assert!(sentence.contains("dmesg"), "{sentence}");
    }

    #[test]
    fn the_data_file_is_named_when_it_hangs() {
        let waited = Nanos::from_secs(30);
        let failure = Failure::Hung { file: 1, doing: Doing::Read, offset: 8192, waited };
        let sentence = failure.sentence(&[PathBuf::from("/dev/a")], Some(Path::new("/mnt/input")));
        assert!(sentence.starts_with("reading /mnt/input at byte 8192 has not been answered for 30"), "{sentence}");
    }
}
