//! How a run can be watched while it goes on: the line on stderr, and the figures for Prometheus. Both live on the thread that
//! collects intervals, and are given those; the peers know of neither.

use std::net::SocketAddr;
use std::time::Instant;

use bireme_control::units::Nanos;
use clap::Args;

use super::Options;
use super::live::{Aim, Live};
use super::load::{Load, Span};
use super::metrics::Metrics;
use crate::display::Display;
use crate::recording::recorder::Interval;

/// What operators write.
#[derive(Args, Clone, Debug)]
pub struct Watching {
    /// No line on stderr that says how the run goes.
    #[arg(long)]
    pub quiet: bool,
    /// Let Prometheus read counters at http://ADDRESS:PORT/metrics while the run goes on. ADDRESS is of this machine only, such
    /// as 127.0.0.1; with port 0 a free one is chosen and printed.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback)]
    pub metrics: Option<SocketAddr>,
}

/// All who watch.
pub(super) struct Watch {
    began: Instant,
    live: Option<(Live, Display)>,
    metrics: Option<Metrics>,
}

impl Watch {
    /// As the operator has asked for.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn new(options: &Options, load: &Load) -> Result<Watch, String> {
        let per_s = options.arrival_rate;
        let aim = Aim { warm_up: load.warm_up, span: span(options, load), per_s, interval: options.recording.interval };
        let live = || (Live::new(aim, options.peers), Display::new(Live::FULL));
        let asked = u64::from(load.depth) * u64::from(options.peers);
        let metrics = options.watching.metrics.map(|address| Metrics::listen(address, options.peers, asked));
        Ok(Watch { began: Instant::now(), live: (!options.watching.quiet).then(live), metrics: metrics.transpose()? })
    }

    /// A peer has handed this over.
    pub(super) fn add(&mut self, interval: &Interval) {
        let now = self.now();
        if let Some((live, _)) = &mut self.live {
            live.add(interval, now);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.add(interval);
        }
    }

    /// Called every so often.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        if let Some((live, display)) = &mut self.live
            && let Some((line, position)) = live.turn(now, display.redraws())
        {
            display.show(line, position);
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.turn();
        }
    }

    /// A sentence on how steady the run is, for the line; `None` where nothing is to be said.
    pub(super) fn steady(&mut self, sentence: Option<String>) {
        if let Some((live, _)) = &mut self.live {
            live.steady = sentence;
        }
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Of all peers.
fn span(options: &Options, load: &Load) -> Span {
    options.bytes.map_or(load.span, Span::Bytes)
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| format!("'{text}' is no address and port: write 127.0.0.1:9100 or [::1]:9100"))?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!(
            "'{text}' could be reached from other machines, and the figures are given to whoever asks: choose 127.0.0.1 or [::1]"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_ask() {
        for good in ["127.0.0.1:0", "127.5.5.5:9100", "[::1]:9100"] {
            assert_eq!(loopback(good).map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for (bad, why) in [
            ("0.0.0.0:9100", "other machines"),
            ("10.0.0.1:1", "other machines"),
            ("[::]:1", "other machines"),
            ("9100", "is no address"),
            ("localhost:1", "is no address"),
            ("127.0.0.1:99999", "is no address"),
        ] {
            assert!(loopback(bad).is_err_and(|sentence| sentence.contains(why)), "{bad}");
        }
    }
}
