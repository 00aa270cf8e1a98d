//! What operators write for `bench-array`; the comments are what `--help` shows.

use std::path::PathBuf;

use bireme_control::raid::geometry::{BLOCK_BYTES, Level};
use bireme_control::units::Nanos;
use clap::{Args, ValueEnum};

use super::worker::Speed;
use super::workload::{Load, Span};
use crate::class::Classes;
use crate::recording::Recording;
use crate::{duration, size};

/// The line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The devices or files to measure on; several may follow. Everything on them is overwritten.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// Permit to overwrite the devices; without it nothing is run.
    #[arg(long)]
    pub destroy_data: bool,
    /// The RAID level.
    #[arg(long, value_name = "LEVEL", default_value = "5", value_parser = ["0", "1", "10", "5", "6", "50", "60"])]
    pub raid: String,
    /// Of levels 50 and 60: how many groups.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=32))]
    pub groups: u16,
    /// Bytes that go to one device before the next one's turn. Default: the largest power of two up to 64KiB that pads a
    /// page by at most 4 %.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub chunk: Option<u64>,
    /// The unit that one peer is home to.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "4MiB")]
    pub page: u64,
    /// Bytes of the volume.
    #[arg(long, value_parser = size::parse, default_value = "1GiB")]
    pub size: u64,
    /// What is done: in the order of addresses, or at random ones; mixed is 70 % random reads and 30 % random writes.
    #[arg(long, value_name = "PATTERN", value_enum, default_value = "randwrite")]
    pub rw: Pattern,
    /// Bytes of one operation: a multiple of 4KiB. Default: 4KiB at random, 1MiB in order.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub bs: Option<u64>,
    /// Operations that each peer keeps under way.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub depth: u16,
    /// How many peers, each a thread with a core of its own.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: u16,
    /// The cores of the peers, by comma. Default: all that this process may use, in turn.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// For how many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub runtime: u64,
    /// Each write is durable when it is acknowledged.
    #[arg(long, conflicts_with = "flush_every")]
    pub fua: bool,
    /// Each peer flushes after so many writes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub flush_every: Option<u32>,
    /// The state of the array: healthy; degraded, with its first member failed after the volume was filled; or rebuilding,
    /// where a spare takes that member's place and is filled while the workload runs. What is left of the rebuild when the
    /// time is up then goes on alone. The same workload runs before on the healthy array, for comparison.
    #[arg(long, value_enum, default_value = "healthy")]
    pub state: State,
    /// Of --state rebuilding: the device to rebuild on, at least as large as the smallest of the others. Everything on it is
    /// overwritten.
    #[arg(long, value_name = "PATH")]
    pub spare: Option<PathBuf>,
    /// Of --state rebuilding: rebuild at most so many bytes per second.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub rebuild_rate: Option<u64>,
    /// Of --state rebuilding: slow the rebuild down when the p99 of reads and writes exceeds this, such as 2ms; not below
    /// 4MiB/s for each peer.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub p99_target: Option<Nanos>,
    /// What the foreground and the rebuild may use of the array.
    #[command(flatten)]
    pub classes: Classes,
    /// Do not fill the volume first. Blocks that were never written are read without a request.
    #[arg(long)]
    pub no_fill: bool,
    /// Read everything back afterwards and compare it.
    #[arg(long)]
    pub verify: bool,
    /// Addresses and data derive from this number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What is recorded, and where it goes.
    #[command(flatten)]
    pub recording: Recording,
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
    /// Both at random.
    Mixed,
}

/// What the array is when it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum State {
    /// Whole.
    Healthy,
    /// Without its first member.
    Degraded,
    /// With its first member being filled.
    Rebuilding,
}

impl Pattern {
    /// As it is written on the line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Read => "read",
            Pattern::Write => "write",
            Pattern::RandRead => "randread",
            Pattern::RandWrite => "randwrite",
            Pattern::Mixed => "mixed",
        }
    }

    fn is_random(self) -> bool {
        !matches!(self, Pattern::Read | Pattern::Write)
    }
}

impl State {
    /// As it is written on the line.
    pub fn name(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Rebuilding => "rebuilding",
        }
    }
}

impl Options {
    /// The level with its groups.
    pub(super) fn level(&self) -> Result<Level, String> {
        let groups = self.groups;
        Ok(match self.raid.as_str() {
            "0" => Level::Raid0,
            "1" => Level::Raid1,
            "10" => Level::Raid10,
            "5" => Level::Raid5,
            "6" => Level::Raid6,
            "50" => Level::Raid50 { groups },
            "60" => Level::Raid60 { groups },
            other => return Err(format!("there is no RAID {other}: choose 0, 1, 10, 5, 6, 50 or 60")),
        })
    }

    /// Whether what belongs to a rebuild is given where it is measured, and only there; an error is a sentence.
    pub(super) fn check_rebuild(&self) -> Result<(), String> {
        if self.state == State::Rebuilding {
            let spare = self.spare.as_ref().map(|_| ());
            spare.ok_or("--state rebuilding needs a device to rebuild on: name one more with --spare")?;
        }
        let given = [
            ("--spare", self.spare.is_some()),
            ("--rebuild-rate", self.rebuild_rate.is_some()),
            ("--p99-target", self.p99_target.is_some()),
        ];
        match given.iter().find(|(_, given)| *given && self.state != State::Rebuilding) {
            Some((option, _)) => Err(format!(
                "{option} says something about a rebuild, and with --state {} there is none: add --state rebuilding, or \
                 leave {option} out",
                self.state.name()
            )),
            None if self.rebuild_rate == Some(0) => {
                Err("--rebuild-rate 0 would never end: write at least 1MiB or so".to_owned())
            }
            None => Ok(()),
        }
    }

    /// How fast each peer may rebuild.
    pub(super) fn speed(&self) -> Speed {
        let most = self.rebuild_rate.map(|rate| (rate / u64::from(self.peers)).max(1));
        Speed { most, target: self.p99_target }
    }

    /// What is measured; an error is a sentence.
    pub(super) fn load(&self) -> Result<Load, String> {
        let random = self.rw.is_random();
        let bytes = self.bs.unwrap_or(if random { 4 << 10 } else { 1 << 20 });
        let good = bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES) && self.page.is_multiple_of(bytes) && bytes <= BS_MAX;
        let block_bytes = u32::try_from(bytes).ok().filter(|_| good).ok_or_else(|| {
            format!(
                "operations of {bytes} bytes cannot be made: choose a multiple of 4KiB that divides --page, up to 16MiB"
            )
        })?;
        Ok(Load {
            block_bytes,
            depth: self.depth,
            random,
            read_percent: match self.rw {
                Pattern::Read | Pattern::RandRead => 100,
                Pattern::Write | Pattern::RandWrite => 0,
                Pattern::Mixed => 70,
            },
            fua: self.fua,
            flush_every: self.flush_every,
            span: Span::Time(Nanos::from_secs(self.runtime)),
            compare: false,
        })
    }
}

const BS_MAX: u64 = 16 << 20;
