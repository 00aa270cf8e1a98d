//! Ctrl-C and SIGTERM end a run in order: the first asks it to stop, the second ends the process at once.
//!
//! ```text
//!   first signal:   stop = true, then the waker is run, because peers may be asleep
//!   second signal:  exit with 128 + its number, straight from the handler
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::{SigId, flag, low_level};

/// Signals are watched as long as this lives.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    handlers: Vec<SigId>,
}

impl SignalWatch {
    /// From now on a signal sets `stop` and runs `waker` on the thread `signals`.
    pub fn start(stop: Arc<AtomicBool>, waker: impl Fn() + Send + 'static) -> io::Result<SignalWatch> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let mut watch = SignalWatch { handle: signals.handle(), thread: None, handlers: Vec::new() };
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the handler that ends the process must not see what the same signal sets.
            watch.handlers.push(flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&seen))?);
            watch.handlers.push(flag::register(signal, Arc::clone(&seen))?);
            watch.handlers.push(flag::register(signal, Arc::clone(&stop))?);
        }
        let listen = move || signals.forever().for_each(|_| waker());
        watch.thread = Some(std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?);
        Ok(watch)
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        for &handler in &self.handlers {
            low_level::unregister(handler);
        }
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It ends because its iterator is closed. A waker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Signals belong to a process, so this test runs itself once more as a child and looks at how that ends.
    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        if std::env::var_os("BIREME_TEST_SIGNALS").is_some() {
            return be_signalled();
        }
        let mut child = Command::new(std::env::current_exe().expect("a test binary"));
        child.args(["--exact", "signals::tests::the_first_signal_asks_and_the_second_ends"]);
        let output = child.env("BIREME_TEST_SIGNALS", "1").output().expect("it runs");
        assert_eq!(output.status.code(), Some(128 + SIGTERM), "{output:?}");
    }

    fn be_signalled() {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, woken) = mpsc::channel();
        let watch = SignalWatch::start(Arc::clone(&stop), move || sender.send(()).expect("a listener"));
        low_level::raise(SIGINT).expect("a signal");
        woken.recv_timeout(Duration::from_secs(10)).expect("the waker ran");
        assert!(stop.load(Ordering::SeqCst) && watch.is_ok());
        low_level::raise(SIGTERM).expect("a signal");
    }
}
