//! A process that keeps one core busy, so that the peer on it gets about half.
//!
//! It is a child with nothing to do but to spin. It ends when it is killed, and also when the pipe to its parent closes:
//! so it never outlives the measurement, whatever ends that.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// It spins as long as this lives.
#[derive(Debug)]
pub(super) struct Rival {
    child: Child,
}

impl Rival {
    /// Starts one on a core. This program runs once more for it, see [`spin`].
    pub(super) fn start(core: usize) -> Result<Rival, String> {
        let failed = |error| format!("the competing process cannot be started: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--spin-on", &core.to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
        // A Ctrl-C at the terminal is for the measurement, which ends the child in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(Rival { child: command.spawn().map_err(failed)? })
    }

    /// Whether it still runs; an error is a sentence.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the competing process has ended ({status}): nothing competed any more")),
            Err(error) => Err(format!("the competing process cannot be watched: {error}")),
        }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and waiting reaps it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does: it never returns, and ends the process when standard input does.
pub fn spin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.map_err(|errno| format!("core {core} cannot be kept busy: {}", errno.desc()))?;
    let watch = || {
        // An error ends it too: whoever held the other end is not there to be asked.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    };
    let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(watch);
    thread.map_err(|error| format!("core {core} cannot be kept busy: {error}"))?;
    loop {
        std::hint::spin_loop();
    }
}
