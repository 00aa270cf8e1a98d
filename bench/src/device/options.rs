//! What operators write for `bench-device`; the comments are what `--help` shows.

use std::path::PathBuf;

use bireme_control::units::Nanos;
use bireme_dataplane::port::uring::Method;
use bireme_dataplane::reservation::{Class, Promises};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::addresses::Order;
use super::arrivals::Arrivals;
use super::load::{Data, Load, Mix, Span};
use super::steady::Criterion;
use super::watch::Watching;
use crate::class::Classes;
use crate::recording::Recording;
use crate::recording::recorder::Direction;
use crate::{duration, size};

/// The line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Block devices or files; /dev/null takes writes, to measure what everything but the device costs. Each peer works on
    /// its share of them in turn; peers beyond the number of devices share them.
    #[arg(value_name = "PATH", required_unless_present_any = ["job", "verify_journal"])]
    pub devices: Vec<PathBuf>,
    /// What is done, in the order of addresses or at random ones.
    #[arg(long, value_name = "PATTERN", value_enum, default_value = "randread")]
    pub rw: Pattern,
    /// Of the mixed patterns: how many of a hundred requests are reads.
    #[arg(long, value_name = "PERCENT", default_value_t = 70, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub read_percent: u64,
    /// Of the mixed patterns: how many of a hundred requests are trims; all others that are no reads are writes.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub trim_percent: u64,
    /// Bytes of one request; or several sizes, each with how many of a hundred: 4KiB:70,64KiB:30.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_sizes)]
    pub bs: Sizes,
    /// The part of each device that is used, as FROM..TO; either may be left out.
    #[arg(long, value_name = "RANGE", value_parser = parse_region)]
    pub region: Option<(u64, u64)>,
    /// Which places at random: `uniform`, `zipf:THETA` (place k as often as 1/k^THETA), or `hot:90/10` (90 of a hundred
    /// requests go to 10 of a hundred places).
    #[arg(long, value_name = "LAW", default_value = "uniform", value_parser = parse_distribution)]
    pub distribution: Distribution,
    /// Requests that each peer keeps in flight.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=16384))]
    pub depth: u32,
    /// How many peers, each a thread with a core of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub peers: u16,
    /// The cores of the peers, by comma. Default: all that this process may use, in turn.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Requests that a peer hands to the kernel at once, at most. Default: all that there is room for.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_submit: Option<u32>,
    /// Completions that a peer waits for at once, for at most 5 ms. Default: in a closed loop as many as end within 100 us, up
    /// to a twentieth of --depth, so that a wake-up serves several; otherwise 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_complete: Option<u32>,
    /// Look into the devices' queues instead of being interrupted (IOPOLL). Only NVMe drives with poll queues have that.
    #[arg(long)]
    pub iopoll: bool,
    /// Let a thread of the kernel hand requests over for each peer (SQPOLL), so that peers make no system call while they
    /// are busy. That thread takes a core of its own.
    #[arg(long, conflicts_with = "iopoll")]
    pub sqpoll: bool,
    /// The cores of the kernel's threads, by comma, one for each peer in turn. Default: the kernel chooses.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "sqpoll")]
    pub sqpoll_cores: Vec<u32>,
    /// Start so many requests per second, all peers together, whatever the device does (open loop). Without it the next one
    /// starts when one has ended (closed loop).
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate, group = "paced")]
    pub arrival_rate: Option<f64>,
    /// How arrivals are spread over time.
    #[arg(long, value_enum, default_value = "poisson", requires = "paced")]
    pub arrivals: Spread,
    /// Find out what latency costs what rate: run in a closed loop, then in open loops with N rising rates up to what that
    /// has reached. Each run takes --runtime.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(2..=100), group = "paced")]
    pub sweep: Option<u32>,
    /// Find the highest rate at which a percentile of the response times stays within a limit: p50, p99 or p99.9, such as
    /// p99:2ms. Several runs, each of --runtime.
    #[arg(long, value_name = "P:TIME", value_parser = parse_target, group = "paced")]
    pub latency_target: Option<Target>,
    /// How long is measured, after the warm-up: 10s, 500ms, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub runtime: Nanos,
    /// End as soon as the rate is steady, at the latest after --runtime. RANGE%/WINDOW, such as 20%/30s: within the window
    /// the rates of all intervals lie that close together, and their trend (least squares) changes by half of that at most.
    #[arg(long, value_name = "CRITERION", value_parser = super::steady::parse)]
    pub steady: Option<Criterion>,
    /// How long before that is not counted.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub warmup: Option<Nanos>,
    /// End when so many bytes were asked for, all peers together, instead of after a time.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, conflicts_with = "runtime")]
    pub bytes: Option<u64>,
    /// Each write is durable when it ends (FUA; on a device without it the kernel flushes).
    #[arg(long)]
    pub fua: bool,
    /// What is written.
    #[arg(long, value_enum, default_value = "random", conflicts_with = "verify")]
    pub data: Content,
    /// Write what can be recognised, compare each read with what this run has written there last, and read back all of it at
    /// the end. Each peer has places of its own, and requests to a block in flight wait.
    #[arg(long)]
    pub verify: bool,
    /// Write down in a new file, which must lie elsewhere, which writes must survive a crash: those before a flush that has
    /// ended (--flush-every), and all with --fua. See --verify-journal.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// After a crash: whether the devices still hold what the journal of a run says that they owe. Nothing is written.
    /// Default: the devices of the run.
    #[arg(long, value_name = "FILE", conflicts_with = "job")]
    pub verify_journal: Option<PathBuf>,
    /// Read the options from a file: TOML with one table `[job]` or several `[[job]]`, and `[global]` for all, or fio's
    /// format (*.fio). Options on the line go before those of the file, and so do paths.
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// A peer flushes a device after so many writes to it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub flush_every: Option<u32>,
    /// What is recorded, and where it goes.
    #[command(flatten)]
    pub recording: Recording,
    /// What the class of the workload, foreground, may use.
    #[command(flatten)]
    pub classes: Classes,
    /// Permit to overwrite devices and files that hold something; blank ones need no permission.
    #[arg(long)]
    pub destroy_data: bool,
    /// The name of the job in reports.
    #[arg(long, value_name = "NAME", default_value = "bireme")]
    pub name: String,
    /// How the run can be watched.
    #[command(flatten)]
    pub watching: Watching,
    /// Addresses, directions, arrivals and data derive from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What a job file says that needed no action, or means something else here.
    #[arg(skip)]
    pub notes: Vec<String>,
}

/// What is done in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Pattern {
    /// Reads in order.
    Read,
    /// Writes in order.
    Write,
    /// Reads at random.
    RandRead,
    /// Writes at random.
    RandWrite,
    /// Both in order.
    Rw,
    /// Both at random.
    RandRw,
    /// Trims in order.
    Trim,
    /// Trims at random.
    RandTrim,
}

impl Pattern {
    /// As it is written on the line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Read => "read",
            Pattern::Write => "write",
            Pattern::RandRead => "randread",
            Pattern::RandWrite => "randwrite",
            Pattern::Rw => "rw",
            Pattern::RandRw => "randrw",
            Pattern::Trim => "trim",
            Pattern::RandTrim => "randtrim",
        }
    }

    /// Whether it overwrites anything.
    pub fn writes(self) -> bool {
        !matches!(self, Pattern::Read | Pattern::RandRead)
    }

    /// The direction of a pattern that has one; writes for the mixed ones.
    pub(crate) fn direction_name(self) -> &'static str {
        match self {
            Pattern::Read | Pattern::RandRead => Direction::Read.name(),
            Pattern::Trim | Pattern::RandTrim => Direction::Trim.name(),
            _ => Direction::Write.name(),
        }
    }

    fn is_random(self) -> bool {
        matches!(self, Pattern::RandRead | Pattern::RandWrite | Pattern::RandRw | Pattern::RandTrim)
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Content {
    /// Bytes that cannot be compressed.
    Random,
    /// Zeroes.
    Zero,
}

/// How arrivals are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Spread {
    /// At equal distances.
    Constant,
    /// At random, each independent of all others.
    Poisson,
}

/// A limit of a percentile of the response times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Which percentile: 99,000 is the 99th.
    pub per_100_000: u32,
    /// The longest that it may be.
    #[serde(rename = "limit_ns")]
    pub limit: Nanos,
}

impl Target {
    /// Within a sentence.
    pub(super) fn describe(self) -> String {
        let name = match self.per_100_000 {
            50_000 => "p50",
            99_000 => "p99",
            _ => "p99.9",
        };
        format!("{name} within {}", self.limit)
    }
}

/// Sizes of requests, each with how many of a hundred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(pub Vec<(u32, u64)>);

/// How often which place is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// By Zipf's law with this exponent.
    Zipf(f64),
    /// So many of a hundred requests go to so many of a hundred places.
    Hot(u32, u32),
}

impl Options {
    /// How each peer learns that requests have ended.
    pub(super) fn methods(&self) -> Vec<Method> {
        let mut cores = self.sqpoll_cores.iter().copied().cycle();
        let method = |_| match (self.iopoll, self.sqpoll) {
            (true, _) => Method::Polling,
            (_, true) => Method::KernelThread { core: cores.next() },
            _ => Method::Interrupts,
        };
        (0..self.peers).map(method).collect()
    }

    /// What the peers do; an error is a sentence.
    pub(super) fn load(&self) -> Result<Load, String> {
        let order = match (self.rw.is_random(), self.distribution) {
            (false, Distribution::Uniform) => Order::Sequential,
            (false, _) => {
                return Err("--distribution is for random patterns: choose randread, randwrite or randrw".to_owned());
            }
            (true, Distribution::Uniform) => Order::Uniform,
            (true, Distribution::Zipf(theta)) => Order::Zipf { theta },
            (true, Distribution::Hot(requests, places)) => {
                Order::HotSpot { requests: requests * 10, places: places * 10 }
            }
        };
        let (mix, data) = (self.mix()?, self.content()?);
        if let Some(steady) = &self.steady {
            steady.check(self.recording.interval, self.bytes.is_some())?;
        }
        let peers = u64::from(self.peers);
        let each = self.arrival_rate.map(|rate| rate / f64::from(self.peers));
        let arrivals = match (each, self.arrivals) {
            (None, _) => Arrivals::Closed,
            (Some(per_s), Spread::Constant) => Arrivals::Constant { per_s },
            (Some(per_s), Spread::Poisson) => Arrivals::Poisson { per_s },
        };
        // On a schedule each is to be seen when it ends, and where the peer does not sleep there are no wake-ups to save.
        let each = (arrivals != Arrivals::Closed || self.iopoll || self.sqpoll).then_some(1);
        Ok(Load {
            mix,
            sizes: self.bs.0.clone(),
            order,
            region: self.region.unwrap_or((0, u64::MAX)),
            depth: self.depth,
            batch_submit: self.batch_submit.unwrap_or(self.depth).min(self.depth),
            batch_complete: self.batch_complete.map(|count| count.min(self.depth)).or(each),
            arrivals,
            warm_up: self.warmup.unwrap_or_default(),
            span: self.bytes.map_or(Span::Time(self.runtime), |bytes| Span::Bytes(bytes.div_ceil(peers))),
            flush_every: self.flush_every,
            fua: self.fua,
            data,
            seed: self.seed,
        })
    }

    /// What its class may use; an error is a sentence.
    pub(super) fn promises(&self) -> Result<Promises, String> {
        let foreground = Class::Foreground.name();
        match self.classes.classes.iter().find(|named| named.name != foreground) {
            Some(other) => Err(format!(
                "--class names '{}', and a workload runs in class {foreground} alone: write {foreground}=..., or compare \
                 several classes with bench-reserve",
                other.name
            )),
            None => self.classes.promises(),
        }
    }

    fn mix(&self) -> Result<Mix, String> {
        let mix = match self.rw {
            Pattern::Read | Pattern::RandRead => Mix { reads: 100, trims: 0 },
            Pattern::Write | Pattern::RandWrite => Mix { reads: 0, trims: 0 },
            Pattern::Trim | Pattern::RandTrim => Mix { reads: 0, trims: 100 },
            Pattern::Rw | Pattern::RandRw => Mix { reads: self.read_percent, trims: self.trim_percent },
        };
        if self.trim_percent > 0 && !matches!(self.rw, Pattern::Rw | Pattern::RandRw) {
            return Err("--trim-percent is for mixed patterns: choose --rw rw or randrw".to_owned());
        }
        match mix.reads + mix.trims {
            0..=100 => Ok(mix),
            sum => Err(format!("--read-percent and --trim-percent sum to {sum}: make them at most 100")),
        }
    }

    fn content(&self) -> Result<Data, String> {
        let mix = self.mix()?;
        if self.data == Content::Zero && mix.reads > 0 {
            return Err("--data zero is for patterns without reads: a buffer holds what was read into it".to_owned());
        }
        if !self.verify && self.journal.is_some() {
            return Err("--journal tells what a later check compares: say --verify too".to_owned());
        }
        if !self.verify {
            return Ok(if self.data == Content::Zero { Data::Zero } else { Data::Random });
        }
        if !mix.writes() {
            return Err("--verify compares what the same run has written: choose a pattern that writes".to_owned());
        }
        let step = self.bs.0.iter().map(|(bytes, _)| *bytes).min().unwrap_or(1);
        if let Some((bytes, _)) = self.bs.0.iter().find(|(bytes, _)| bytes % step != 0) {
            return Err(format!("--verify keeps blocks of {step} bytes, and {bytes} is no multiple of that: see --bs"));
        }
        if self.journal.is_some() && mix.trims > 0 {
            return Err("--journal is for patterns without trims: a trimmed block owes nothing".to_owned());
        }
        if self.journal.is_some() && !self.fua && self.flush_every.is_none() {
            return Err(
                "--journal has nothing to write down without --flush-every N or --fua: no write is owed".to_owned()
            );
        }
        Ok(Data::Verified)
    }
}

fn parse_sizes(text: &str) -> Result<Sizes, String> {
    let size = |text: &str| -> Result<u32, String> {
        let bytes = size::parse(text).map_err(|error| error.to_string())?;
        let good = bytes > 0 && bytes.is_multiple_of(512) && bytes <= BS_MAX;
        u32::try_from(bytes)
            .ok()
            .filter(|_| good)
            .ok_or_else(|| format!("requests of {bytes} bytes cannot be made: choose a multiple of 512 up to 16MiB"))
    };
    if !text.contains(':') {
        return Ok(Sizes(vec![(size(text)?, 100)]));
    }
    let part = |part: &str| -> Result<(u32, u64), String> {
        let (bytes, share) =
            part.split_once(':').ok_or_else(|| format!("'{part}' lacks its share, such as 4KiB:70"))?;
        let share = share.parse().map_err(|_| format!("'{share}' is no whole number of a hundred"))?;
        Ok((size(bytes)?, share))
    };
    let parts = text.split(',').map(part).collect::<Result<Vec<_>, _>>()?;
    match parts.iter().map(|(_, share)| share).sum::<u64>() {
        100 => Ok(Sizes(parts)),
        sum => Err(format!("the shares of '{text}' sum to {sum}: make them 100")),
    }
}

fn parse_region(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("'{text}' is no range: write FROM..TO, such as 1GiB..3GiB, 1GiB.. or ..3GiB");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let bound = |text: &str, missing: u64| match text.trim() {
        "" => Ok(missing),
        text => size::parse(text).map_err(|error| error.to_string()),
    };
    let (from, to) = (bound(from, 0)?, bound(to, u64::MAX)?);
    let aligned = from.is_multiple_of(4096) && (to == u64::MAX || to.is_multiple_of(4096));
    match from < to {
        true if aligned => Ok((from, to)),
        true => Err(format!("the bounds of '{text}' must be multiples of 4KiB")),
        false => Err(wrong()),
    }
}

fn parse_distribution(text: &str) -> Result<Distribution, String> {
    let wrong = || format!("'{text}' is no distribution: write uniform, zipf:1.1 or hot:90/10");
    if text == "uniform" {
        return Ok(Distribution::Uniform);
    }
    if let Some(theta) = text.strip_prefix("zipf:") {
        let theta = theta.parse::<f64>().ok().filter(|theta| (0.01..=10.0).contains(theta));
        return theta.map(Distribution::Zipf).ok_or_else(|| format!("{}, with an exponent of 0.01 to 10", wrong()));
    }
    let (requests, places) = text.strip_prefix("hot:").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let percent = |text: &str| text.parse::<u32>().ok().filter(|percent| (1..=99).contains(percent)).ok_or_else(wrong);
    Ok(Distribution::Hot(percent(requests)?, percent(places)?))
}

fn parse_target(text: &str) -> Result<Target, String> {
    let wrong = || format!("'{text}' is no latency target: write p50, p99 or p99.9 and a time, such as p99:2ms");
    let (name, limit) = text.split_once(':').ok_or_else(wrong)?;
    let per_100_000 = match name {
        "p50" => 50_000,
        "p99" => 99_000,
        "p99.9" => 99_900,
        _ => return Err(wrong()),
    };
    let limit = duration::parse(limit).map_err(|_| wrong())?;
    Ok(Target { per_100_000, limit })
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().to_ascii_lowercase() {
        text if text.ends_with('k') => (text.trim_end_matches('k').to_owned(), 1e3),
        text if text.ends_with('m') => (text.trim_end_matches('m').to_owned(), 1e6),
        text => (text, 1.0),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * scale).filter(|rate| (0.001..=1e9).contains(rate));
    rate.ok_or_else(|| format!("'{text}' is no rate: write requests per second, such as 10000, 250k or 1.5M"))
}

const BS_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_read_or_refused_in_a_sentence() {
        assert_eq!(parse_sizes("4KiB"), Ok(Sizes(vec![(4096, 100)])));
        assert_eq!(parse_sizes("4KiB:70,64KiB:30"), Ok(Sizes(vec![(4096, 70), (65536, 30)])));
        for (wrong, why) in
            [("1000", "multiple of 512"), ("4KiB:70,8KiB:20", "sum to 90"), ("4KiB:x", "'x' is no"), ("0", "multiple")]
        {
            let error = parse_sizes(wrong).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(parse_region("1GiB..3GiB"), Ok((1 << 30, 3 << 30)));
        assert_eq!(parse_region("..8KiB"), Ok((0, 8192)));
        assert!(parse_region("3..1").is_err() && parse_region("100..").is_err() && parse_region("1GiB").is_err());
        assert_eq!(parse_distribution("zipf:1.2"), Ok(Distribution::Zipf(1.2)));
        assert_eq!(parse_distribution("hot:90/10"), Ok(Distribution::Hot(90, 10)));
        assert!(["zipf", "zipf:0", "hot:90", "hot:0/10", "flat"].iter().all(|text| parse_distribution(text).is_err()));
        assert_eq!((parse_rate("250k"), parse_rate("1.5M"), parse_rate("10")), (Ok(250e3), Ok(1.5e6), Ok(10.0)));
        assert_eq!(parse_target("p99:2ms"), Ok(Target { per_100_000: 99_000, limit: Nanos::from_millis(2) }));
        assert!(["p99", "p98:1ms", "p50:", ":1ms"].iter().all(|text| parse_target(text).is_err()));
        assert!(["", "-1", "0", "fast", "nan"].iter().all(|text| parse_rate(text).is_err()));
    }
}
