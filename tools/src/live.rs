//! Progress on stderr while a run goes on: a line that is redrawn on a terminal, a plain line each second elsewhere.
//!
//! Runs under a second print nothing. The thread reads [`Gauges`], which the peers write without knowing of it, and
//! sleeps in a channel: it ends when it is told, not at its next tick.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bireme_bench::display::Display;
use bireme_bench::size;
use bireme_control::units::Nanos;
use bireme_dataplane::telemetry::Gauges;

/// Progress is shown until this is stopped or dropped.
#[derive(Debug)]
pub struct Live {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Shows progress towards `total` bytes on all devices, padding included.
    pub fn start(gauges: Arc<Gauges>, total: u64) -> io::Result<Live> {
        let (end, told) = channel();
        let show = move || {
            let display = Display::new(total);
            if display.redraws() {
                redraw(display, &gauges, total, &told)
            } else {
                list(display, &gauges, total, &told)
            }
        };
        let thread = std::thread::Builder::new().name("live".to_owned()).spawn(show)?;
        Ok(Live { end: Some(end), thread: Some(thread) })
    }

    /// Ends the display, and clears its line, before anything else is printed.
    pub fn stop(self) {}
}

impl Drop for Live {
    fn drop(&mut self) {
        // The thread's wait ends when its channel is closed.
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A display that panicked has said so; the run is not to fail by it.
            let _ = thread.join();
        }
    }
}

fn redraw(mut display: Display, gauges: &Gauges, total: u64, told: &Receiver<()>) {
    let mut rates = Rates::new(gauges.devices());
    each(REDRAW, told, |elapsed| {
        let line = rates.line(Nanos(nanos(elapsed)), &moved(gauges), total, gauges.sets_done()) + &p99(gauges);
        if elapsed >= LISTED {
            display.show(line, gauges.total().min(total));
        }
    });
}

fn list(mut display: Display, gauges: &Gauges, total: u64, told: &Receiver<()>) {
    let mut rates = Rates::new(gauges.devices());
    each(LISTED, told, |elapsed| {
        let line = rates.line(Nanos(nanos(elapsed)), &moved(gauges), total, gauges.sets_done()) + &p99(gauges);
        display.show(line, gauges.total().min(total));
    });
}

/// Calls `show` each `tick` until the channel is closed.
fn each(tick: Duration, told: &Receiver<()>, mut show: impl FnMut(Duration)) {
    let start = Instant::now();
    while told.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
        show(start.elapsed());
    }
}

fn moved(gauges: &Gauges) -> Vec<u64> {
    (0..gauges.devices()).map(|device| gauges.bytes(device)).collect()
}

/// Of the newest interval, where intervals are recorded and one has ended.
fn p99(gauges: &Gauges) -> String {
    let p99 = gauges.p99();
    if p99 == Nanos::ZERO { String::new() } else { format!("; p99 {p99}") }
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Rates over the last second: short enough to follow a change, long enough not to flicker.
struct Rates {
    samples: VecDeque<(Nanos, Vec<u64>)>,
}

impl Rates {
    fn new(devices: usize) -> Rates {
        Rates { samples: VecDeque::from([(Nanos::ZERO, vec![0; devices])]) }
    }

    /// Takes a sample into the window and says how the run goes.
    fn line(&mut self, now: Nanos, moved: &[u64], total: u64, sets: u64) -> String {
        self.samples.push_back((now, moved.to_vec()));
        while self.samples.len() > 2 && now.since(self.samples[1].0) >= Nanos::from_millis(WINDOW_MILLIS) {
            self.samples.pop_front();
        }
        let (since, before) = &self.samples[0];
        let span = now.since(*since);
        let rates: Vec<f64> =
            moved.iter().zip(before).map(|(now, then)| size::rate(now.saturating_sub(*then), span)).collect();
        let (rate, done) = (rates.iter().sum::<f64>(), moved.iter().sum::<u64>());
        let left = total.saturating_sub(done);
        let eta = if rate > 0.0 { format!("{:.0} s left", (left as f64 / rate).ceil()) } else { "stalled".to_owned() };
        let percent = done.min(total).saturating_mul(100).checked_div(total).unwrap_or(100);
        format!(
            "{} of {} ({percent} %), {}, {eta}, {sets} sets done; {}",
            size::print(done),
            size::print(total),
            size::print_rate(rate),
            per_device(&rates)
        )
    }
}

/// The rate of each device, or of the slowest and fastest when they are many.
fn per_device(rates: &[f64]) -> String {
    let mib = |rate: &f64| format!("{:.0}", rate / f64::from(1 << 20));
    if rates.len() <= DEVICES_SHOWN {
        return format!("devices {} MiB/s", rates.iter().map(mib).collect::<Vec<_>>().join(" "));
    }
    let (slowest, fastest) = rates.iter().fold((f64::MAX, 0.0f64), |(low, high), &r| (low.min(r), high.max(r)));
    format!("{} devices {} to {} MiB/s", rates.len(), mib(&slowest), mib(&fastest))
}

const REDRAW: Duration = Duration::from_millis(100);
const LISTED: Duration = Duration::from_secs(1);
const WINDOW_MILLIS: u64 = 1000;
const DEVICES_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_line_tells_rate_devices_and_what_is_left() {
        let mut rates = Rates::new(2);
        let first = rates.line(Nanos::from_secs(1), &[300 * MIB, 100 * MIB], 1000 * MIB, 0);
        assert_eq!(first, "400 MiB of 1000 MiB (40 %), 400 MiB/s, 2 s left, 0 sets done; devices 300 100 MiB/s");
        let second = rates.line(Nanos::from_secs(2), &[400 * MIB, 200 * MIB], 1000 * MIB, 1);
        assert_eq!(second, "600 MiB of 1000 MiB (60 %), 200 MiB/s, 2 s left, 1 sets done; devices 100 100 MiB/s");
        let stalled = rates.line(Nanos::from_secs(3), &[400 * MIB, 200 * MIB], 1000 * MIB, 1);
        assert!(stalled.contains("0 MiB/s, stalled"), "{stalled}");
        assert!(Rates::new(2).line(Nanos::from_secs(3), &[0, 0], 0, 0).contains("(100 %)"));
        assert_eq!(per_device(&[MIB as f64; 9]), "9 devices 1 to 1 MiB/s");
    }

    #[test]
    fn the_newest_p99_is_told_where_there_is_one() {
        let gauges = Gauges::new(1);
        assert_eq!(p99(&gauges), "");
        gauges.set_p99(Nanos(1_500_000));
        assert_eq!(p99(&gauges), "; p99 1.50 ms");
    }

    #[test]
    fn the_window_is_about_a_second_whatever_the_tick() {
        let mut rates = Rates::new(1);
        for tick in 1..=50u64 {
            let _ = rates.line(Nanos::from_millis(tick * 100), &[tick * 10 * MIB], 1 << 40, 0);
        }
        assert!((10..=12).contains(&rates.samples.len()));
    }

    #[test]
    fn the_display_ends_at_once_when_it_is_told() {
        let start = Instant::now();
        Live::start(Arc::new(Gauges::new(1)), 100).expect("a thread").stop();
        assert!(start.elapsed() < LISTED);
    }
}
