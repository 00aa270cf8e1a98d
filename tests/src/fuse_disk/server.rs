//! The process under a [`FuseDisk`](super::FuseDisk): a file system with one file, which fails when it is told to.
//!
//! ```text
//!   loop device --> /disk, FUSE --> this process --> a file in memory that has no name
//!   stdin: fail all|reads|writes|some|dies AFTER, heal, count     stdout: how many requests there were, and how many failed
//! ```
//!
//! It mounts in a mount namespace of its own, and ends when its standard input does. So nothing of it is left behind,
//! however it or the test that uses it has ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, raise};

use super::{DISK, Failing, PLACE};

/// Serves a disk of this many bytes until standard input ends.
///
/// # Errors
/// There is no FUSE, or no right to use it.
pub fn serve(bytes: u64) -> io::Result<()> {
    let file = tempfile::tempfile_in(PLACE)?;
    file.set_len(bytes)?;
    // Before there is a second thread: a namespace belongs to a thread.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let fate = Arc::new(Mutex::new(Fate::default()));
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    let served = Served { file, bytes, fate: fate.clone() };
    let session = Session::new(served, PLACE, &config)?.spawn()?;
    obey(&fate)?;
    // Unmounting is the kernel's: the loop device may still have the file open.
    std::mem::forget(session);
    Ok(())
}

fn obey(fate: &Mutex<Fate>) -> io::Result<()> {
    let mut answers = io::stdout().lock();
    writeln!(answers, "0 0")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut fate = fate.lock().unwrap_or_else(PoisonError::into_inner);
        match words[..] {
            ["fail", what, after] => {
                let bad = || io::Error::other(format!("not understood: {line}"));
                let (what, after) = (Failing::parse(what).ok_or_else(bad)?, after.parse::<u64>().map_err(|_| bad())?);
                fate.failing = Some((what, fate.requests.saturating_add(after)));
            }
            ["heal"] => (fate.failing, fate.refused) = (None, 0),
            _ => {}
        }
        writeln!(answers, "{} {}", fate.requests, fate.refused)?;
    }
    Ok(())
}

/// How many requests there were, how many failed, and which fail after how many.
#[derive(Default)]
struct Fate {
    requests: u64,
    refused: u64,
    failing: Option<(Failing, u64)>,
}

struct Served {
    file: File,
    bytes: u64,
    fate: Arc<Mutex<Fate>>,
}

impl Served {
    /// Counts a request; `Err`: it fails.
    fn admit(&self, writes: bool) -> Result<(), Errno> {
        let mut fate = self.fate.lock().unwrap_or_else(PoisonError::into_inner);
        fate.requests += 1;
        let Some((what, after)) = fate.failing else { return Ok(()) };
        let is_meant = match what {
            Failing::All | Failing::Dies => true,
            Failing::Reads => !writes,
            Failing::Writes => writes,
            Failing::Some => writes && fate.refused < SOME,
        };
        if fate.requests <= after || !is_meant {
            return Ok(());
        }
        fate.refused += 1;
        if what == Failing::Dies {
            // It does not return, unless somebody has forbidden signals.
            let _ = raise(Signal::SIGKILL);
        }
        Err(Errno::EIO)
    }

    fn facts(&self, number: INodeNo) -> FileAttr {
        let is_disk = number == FILE;
        FileAttr {
            ino: number,
            size: if is_disk { self.bytes } else { 0 },
            blocks: if is_disk { self.bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: if is_disk { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == DISK {
            true => reply.entry(&FOR_EVER, &self.facts(FILE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.facts(number));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            self.admit(false)?;
            let mut data = vec![0; usize::try_from(size).map_err(|_| Errno::EINVAL)?];
            let had = self.file.read_at(&mut data, offset).map_err(|_| Errno::EIO)?;
            data.truncate(had);
            Ok(data)
        };
        match read() {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            self.admit(true)?;
            self.file.write_all_at(data, offset).map_err(|_| Errno::EIO)?;
            u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
        };
        match write() {
            Ok(bytes) => reply.written(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.admit(true) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}

const SOME: u64 = 2;
const FILE: INodeNo = INodeNo(2);
const THREADS: usize = 2;
/// Nothing about the file ever changes.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
