//! A child process with a time limit, that is always reaped and never outlives this process by a signal.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bireme_control::units::Nanos;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Runs children one after the other. While it lives, Ctrl-C ends the child and makes [`Runner::run`] return.
#[derive(Debug)]
pub(super) struct Runner {
    sender: Sender<Event>,
    events: Receiver<Event>,
    signals: Handle,
    thread: Option<JoinHandle<()>>,
}

/// A child that ended well.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) stdout: String,
    pub(super) cpu: Nanos,
}

enum Event {
    Signal,
    OutputEnded,
}

impl Runner {
    pub(super) fn start() -> io::Result<Runner> {
        let (sender, events) = channel();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (handle, to_runner) = (signals.handle(), sender.clone());
        // A signal that nobody receives any more has nothing to end.
        let listen = move || signals.forever().for_each(|_| drop(to_runner.send(Event::Signal)));
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(Runner { sender, events, signals: handle, thread: Some(thread) })
    }

    /// Runs a command to its end; an error is a sentence that begins with `name`.
    pub(super) fn run(&mut self, name: &str, command: &mut Command, limit: Duration) -> Result<Ended, String> {
        let before = children_cpu();
        // A group of its own: what the child starts holds its output too, and must end with it.
        command.process_group(0);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{name} was not found: install it, or say where it is"),
            _ => format!("{name} cannot be started: {error}"),
        })?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, ended) = std::thread::scope(|scope| {
            let sender = self.sender.clone();
            let stdout = scope.spawn(move || {
                let text = read(&mut stdout);
                drop(sender.send(Event::OutputEnded));
                text
            });
            let stderr = scope.spawn(move || read(&mut stderr));
            let ended = self.wait(&mut child, limit);
            (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default(), ended)
        });
        let status = ended.map_err(|reason| format!("{name} was ended: {reason}"))?;
        if !status.success() {
            let last = stderr.lines().chain(stdout.lines()).rfind(|line| !line.trim().is_empty());
            return Err(format!("{name} failed ({status}): {}", last.unwrap_or("it said nothing")));
        }
        Ok(Ended { stdout, cpu: children_cpu().since(before) })
    }

    /// Reaps the child in every case.
    fn wait(&self, child: &mut Child, limit: Duration) -> Result<ExitStatus, String> {
        let early = match self.events.recv_timeout(limit) {
            Ok(Event::OutputEnded) => None,
            Ok(Event::Signal) => Some("a signal asked for it".to_owned()),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Some(format!("it did not finish within {} s", limit.as_secs()))
            }
        };
        if early.is_some() {
            end_group(child, Signal::SIGTERM);
            if self.events.recv_timeout(GRACE).is_err() {
                end_group(child, Signal::SIGKILL);
            }
        }
        let status = child.wait().map_err(|error| format!("it cannot be waited for: {error}"))?;
        early.map_or(Ok(status), Err)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(thread) = self.thread.take() {
            // It ends because its iterator is closed.
            let _ = thread.join();
        }
    }
}

/// The child is not reaped yet, so its number still names its group.
fn end_group(child: &Child, signal: Signal) {
    if let Ok(group) = i32::try_from(child.id()) {
        // All of it may have ended by itself: then there is nothing to do.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn read(pipe: &mut Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// CPU time of all children reaped so far; they run one at a time, so a difference is one child's.
fn children_cpu() -> Nanos {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Nanos::ZERO };
    let nanos = |seconds: i64, micros: i64| {
        let (seconds, micros) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(micros).unwrap_or(0));
        Nanos(seconds * 1_000_000_000 + micros * 1000)
    };
    let (user, system) = (usage.user_time(), usage.system_time());
    nanos(user.tv_sec(), user.tv_usec()) + nanos(system.tv_sec(), system.tv_usec())
}

const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_run_reaped_and_bounded() {
        let mut runner = Runner::start().expect("signals");
        let minute = Duration::from_secs(60);
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done";
        let ended = runner.run("sh", Command::new("sh").args(["-c", burn]), minute).expect("it ends");
        assert_eq!(ended.stdout, "done\n");
        assert!(ended.cpu > Nanos::ZERO);
        let error = runner.run("sh", Command::new("sh").args(["-c", "echo why >&2; exit 3"]), minute);
        assert_eq!(error.expect_err("it fails"), "sh failed (exit status: 3): why");
        let error = runner.run("sh", Command::new("sh").args(["-c", "sleep 60 & wait"]), Duration::from_millis(20));
        assert_eq!(error.expect_err("too slow"), "sh was ended: it did not finish within 0 s");
        let error = runner.run("x", &mut Command::new("/nonexistent/x"), minute);
        assert!(error.expect_err("absent").starts_with("x was not found"));
    }
}
