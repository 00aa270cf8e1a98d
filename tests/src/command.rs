//! Runs the `bireme` command as an operator does, and never waits for it without bound.
//!
//! Output goes to files, so that no pipe can fill up. A child that is late is killed with its whole group; if even that
//! does not end it, because the kernel keeps it, the test fails and leaves it behind instead of waiting for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A command line that is put together and run.
#[derive(Debug)]
pub struct Line(Command);

/// What became of a child.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal has ended it.
    pub code: Option<i32>,
    /// The signal that has ended it.
    pub signal: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Line {
    /// A line for the program at this path.
    pub fn new(program: impl AsRef<OsStr>) -> Line {
        Line(Command::new(program))
    }

    /// Adds words.
    pub fn words<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Line {
        self.0.args(words);
        self
    }

    /// Adds words that are separated by blanks.
    pub fn text(self, text: &str) -> Line {
        self.words(text.split_whitespace())
    }

    /// Adds `--device` and the paths.
    pub fn devices<P: AsRef<Path>>(self, paths: &[P]) -> Line {
        self.words(["--device"]).words(paths.iter().map(|path| path.as_ref().as_os_str()))
    }

    /// Adds a path after its option.
    pub fn path(self, option: &str, path: impl AsRef<Path>) -> Line {
        self.words([OsStr::new(option), path.as_ref().as_os_str()])
    }

    /// Sets a variable of the child's environment.
    pub fn variable(mut self, name: &str, value: &str) -> Line {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or is late.
    pub fn run(self) -> Ended {
        self.run_within(LIMIT)
    }

    /// Runs it to its end, which must come within the limit.
    ///
    /// # Panics
    /// When it cannot be started, or is late.
    pub fn run_within(mut self, limit: Duration) -> Ended {
        let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a file for the output"));
        let copy = |file: &File| Stdio::from(file.try_clone().expect("a second descriptor"));
        self.0.stdin(Stdio::null()).stdout(copy(&stdout)).stderr(copy(&stderr)).process_group(0);
        let mut child = Guarded(self.0.spawn().expect("the program starts"));
        let status = child.within(limit);
        let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("the output is read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let Some(status) = status else {
            panic!("not ended within {limit:?}: {:?}\nstdout: {stdout}\nstderr: {stderr}", self.0)
        };
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Ended {
    /// It has ended well, and this is what it printed.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "signal {:?}, stderr: {}", self.signal, self.stderr);
        self.stdout
    }

    /// It has refused, in one sentence, and printed nothing else.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn sentence(self) -> String {
        assert_eq!((self.code, self.signal), (Some(1), None), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a refusal prints no report");
        let sentence = self.stderr.strip_suffix('\n').and_then(|line| line.strip_prefix("bireme: "));
        let sentence = sentence.unwrap_or_else(|| panic!("not a sentence of ours: {:?}", self.stderr));
        assert!(!sentence.contains('\n'), "more than one line: {sentence}");
        assert!(!sentence.contains("panicked"), "{sentence}");
        sentence.to_owned()
    }
}

/// A child that is killed with its group when the test ends in any way.
struct Guarded(Child);

impl Guarded {
    /// Its status; `None` if it was late, and then it has been killed.
    fn within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let in_time = self.poll(limit);
        if in_time.is_none() {
            self.kill();
        }
        in_time
    }

    fn poll(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child of ours can be waited for") {
                return Some(status);
            }
            if start.elapsed() >= limit {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    fn kill(&mut self) {
        // Not reaped yet, so its number still names its group.
        let group = Pid::from_raw(i32::try_from(self.0.id()).expect("process numbers are small"));
        let _ = killpg(group, Signal::SIGKILL);
        if self.poll(REAPING).is_none() {
            eprintln!("process {group} does not end, though killed: it is left behind");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.kill();
        }
    }
}

/// The backing bytes of every device, to see whether something was written.
///
/// # Panics
/// When one cannot be read.
pub fn contents<P: AsRef<Path>>(paths: &[P]) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: &P| {
        let path = path.as_ref();
        (path.to_owned(), std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    paths.iter().map(read).collect()
}

const LIMIT: Duration = Duration::from_secs(30);
const REAPING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
