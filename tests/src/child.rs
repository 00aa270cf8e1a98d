//! The `bireme` command as a child process that no test waits for without bound.
//!
//! A device that hangs may keep a process in the kernel where no signal reaches it. So every wait polls until a
//! deadline, and a child that cannot be ended is named and left behind. Output goes to files: a full pipe stops nobody.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A child that is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    output: TempDir,
    ended: Option<ExitStatus>,
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code, or 128 and the number of the signal that ended it, as a shell says it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    /// The one line in which the command says why it failed.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn sentence(&self) -> &str {
        let lines: Vec<&str> = self.stderr.lines().filter_map(|line| line.strip_prefix("bireme: ")).collect();
        assert_eq!(lines.len(), 1, "one sentence: {self:?}");
        lines[0]
    }
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn spawn(program: &Path, arguments: &[&str]) -> io::Result<Child> {
        let output = tempfile::tempdir()?;
        let (stdout, stderr) = (File::create(output.path().join(STDOUT))?, File::create(output.path().join(STDERR))?);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Ok(Child { child: command.spawn()?, output, ended: None })
    }

    /// Its number, for /proc and for control groups.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, unless it was reaped.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Ok(id) = i32::try_from(self.child.id())
        {
            // It may have ended a moment ago, which the next look at it shows.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Whether a signal that was sent to it has not been taken yet.
    pub fn has_pending(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let masks = status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
        let pending =
            masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).fold(0, |all, mask| all | mask);
        pending >> (signal as i32 - 1) & 1 == 1
    }

    /// Whether it has ended; does not wait.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// What it has complained about so far.
    pub fn stderr(&self) -> String {
        self.read(STDERR)
    }

    /// Waits for its end, or `None` once the time is up: it runs on then.
    pub fn wait(&mut self, limit: Duration) -> Option<Ended> {
        until(limit, || self.has_ended());
        let status = self.ended?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Some(Ended { code, stdout: self.read(STDOUT), stderr: self.read(STDERR) })
    }

    /// The threads of this process by name, as (number, name).
    pub fn threads(&self) -> Vec<(u32, String)> {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else { return Vec::new() };
        let thread = |path: PathBuf| {
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            Some((path.file_name()?.to_str()?.parse().ok()?, name.trim_end().to_owned()))
        };
        entries.flatten().filter_map(|entry| thread(entry.path())).collect()
    }

    /// The number of the thread whose name starts so.
    pub fn thread(&self, name: &str) -> Option<u32> {
        self.threads().into_iter().find(|(_, found)| found.starts_with(name)).map(|(number, _)| number)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path().join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        if self.wait(KILL_LIMIT).is_none() {
            eprintln!("process {} did not end within {KILL_LIMIT:?} of SIGKILL and is left behind", self.id());
        }
    }
}

/// Polls until the condition holds; `false`: it did not within the limit.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it does not end within the limit: it is killed then.
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Ended {
    let mut child = Child::spawn(program, arguments).expect("the program starts");
    let ended = child.wait(limit);
    ended.unwrap_or_else(|| panic!("{arguments:?} did not end within {limit:?}: {}", child.stderr()))
}

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const KILL_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
