//! A loop device that dies when a test wants it to: over the one file of a file system that a process of ours serves.
//!
//! ```text
//!   /dev/loopN --> FUSE --> process fuse-disk, which answers EIO, or is gone (the kernel's EIO then), after so many requests
//! ```
//!
//! Moments are counted in requests that the disk sees, and not in time, so that a number names a moment.
//! The device is detached at its last close, by whoever that is, and the process ends when the test does: nothing is left
//! behind even by a test that is killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bireme_tools::loop_device::{self, LoopDevice};

pub mod server;

/// What fails, from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Every request is answered with EIO.
    All,
    /// Reads are.
    Reads,
    /// Writes and flushes are.
    Writes,
    /// A few writes or flushes are, and then it works again: it holds what is old, and does not show it.
    Some,
    /// The process is killed, and all the disk held is gone.
    Dies,
}

impl Failing {
    /// All ways to fail.
    pub const ALL: [Failing; 5] = [Failing::All, Failing::Reads, Failing::Writes, Failing::Some, Failing::Dies];

    fn name(self) -> &'static str {
        match self {
            Failing::All => "all",
            Failing::Reads => "reads",
            Failing::Writes => "writes",
            Failing::Some => "some",
            Failing::Dies => "dies",
        }
    }

    fn parse(name: &str) -> Option<Failing> {
        Failing::ALL.into_iter().find(|what| what.name() == name)
    }
}

/// What a disk has seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Reads, writes and flushes.
    pub requests: u64,
    /// Those that failed.
    pub refused: u64,
}

/// A disk that can be killed.
#[derive(Debug)]
pub struct FuseDisk {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    child: Child,
    device: LoopDevice,
    /// As long as this is open the device stays attached, also when its process is gone.
    _held: File,
}

impl FuseDisk {
    /// A disk of this many bytes, served by this program.
    ///
    /// # Panics
    /// When FUSE or loop devices cannot be had: a test that runs as root needs them.
    pub fn new(program: &Path, bytes: u64) -> FuseDisk {
        let mut command = Command::new(program);
        command.arg(bytes.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the disk's process starts");
        let commands = child.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        read_seen(&mut answers).expect("a disk that is served: FUSE works here");
        // The process has mounted in a namespace of its own, which is seen through it.
        let file = PathBuf::from(format!("/proc/{}/root{PLACE}/{DISK}", child.id()));
        let device = loop_device::attach(&file, 4096).expect("a loop device");
        let held = File::open(&device.path).expect("the device is there");
        loop_device::detach_at_last_close(&device).expect("the kernel takes note");
        FuseDisk { commands, answers, child, device, _held: held }
    }

    /// The node.
    pub fn path(&self) -> &Path {
        &self.device.path
    }

    /// From now on it fails so, after this many more requests.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn fail(&mut self, what: Failing, after: u64) {
        self.ask(&format!("fail {} {after}", what.name())).expect("the disk takes note");
    }

    /// It works again, and what has failed is forgotten.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn heal(&mut self) {
        self.ask("heal").expect("the disk takes note");
    }

    /// What it has seen; `None`: its process is gone.
    pub fn seen(&mut self) -> Option<Seen> {
        self.ask("count").ok()
    }

    /// Kills its process.
    ///
    /// # Panics
    /// When that cannot be had.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a process of ours");
    }

    fn ask(&mut self, line: &str) -> io::Result<Seen> {
        writeln!(self.commands, "{line}")?;
        read_seen(&mut self.answers)
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        // What waits for the disk fails now, and the loop device goes with the last who has it open.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("the process under {} is left behind: {error}", self.path().display());
        }
    }
}

fn read_seen(answers: &mut BufReader<ChildStdout>) -> io::Result<Seen> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let counts = line.trim().split_once(' ').and_then(|(all, failed)| Some((all.parse().ok()?, failed.parse().ok()?)));
    let (requests, refused) = counts.ok_or_else(|| io::Error::other(format!("no counts but '{line}'")))?;
    Ok(Seen { requests, refused })
}

/// Where the file system is mounted: a folder that is always there.
const PLACE: &str = "/dev/shm";
const DISK: &str = "disk";
