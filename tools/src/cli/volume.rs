//! `bireme volume`: address spaces that are written in place.

use std::path::PathBuf;

use bireme_bench::class::Classes;
use bireme_bench::size;
use bireme_control::units::Nanos;
use clap::{ArgGroup, Args, Subcommand};

use super::{Cores, cores, span};

/// `bireme volume`.
#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Make a volume in the pool; it reads as zeros.
    Create(VolumeCreate),
    /// Remove a volume. What it holds is lost.
    Delete(VolumeDelete),
    /// List the volumes of the pool.
    List(VolumeList),
    /// Write a file, or parts of it, into a volume.
    Write(VolumeWrite),
    /// Store all that a volume holds in a file.
    Dump(VolumeDump),
}

/// The volume that is meant.
#[derive(Args, Debug)]
pub struct Which {
    /// The devices of the pool; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// The volume: 1 to 64 of the characters a-z 0-9 - _ .
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

/// `bireme volume create`.
#[derive(Args, Debug)]
pub struct VolumeCreate {
    /// The new volume.
    #[command(flatten)]
    pub which: Which,
    /// Its size: a multiple of 4KiB.
    #[arg(long, value_parser = size::parse)]
    pub size: u64,
    /// How many peers may ever serve it at a time. Each takes some MiB of every device for its log.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: u16,
}

/// `bireme volume delete`.
#[derive(Args, Debug)]
pub struct VolumeDelete {
    /// The volume.
    #[command(flatten)]
    pub which: Which,
}

/// `bireme volume list`.
#[derive(Args, Debug)]
pub struct VolumeList {
    /// The devices of the pool; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `bireme volume write`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("place").args(["at", "extents"]))]
pub struct VolumeWrite {
    /// The volume.
    #[command(flatten)]
    pub which: Which,
    /// The file that holds the data.
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Write the whole file here: a multiple of 4KiB, as its length must be. Default: 0.
    #[arg(long, value_name = "OFFSET", value_parser = size::parse)]
    pub at: Option<u64>,
    /// Write what the lines of this file say, in their order: offset in the volume, bytes, offset in the input; each a
    /// multiple of 4KiB.
    #[arg(long, value_name = "FILE")]
    pub extents: Option<PathBuf>,
    /// How requests are made.
    #[command(flatten)]
    pub tuning: VolumeTuning,
}

/// `bireme volume dump`.
#[derive(Args, Debug)]
pub struct VolumeDump {
    /// The volume.
    #[command(flatten)]
    pub which: Which,
    /// The file to store it in.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// How requests are made.
    #[command(flatten)]
    pub tuning: VolumeTuning,
}

/// What writing and reading share.
#[derive(Args, Debug)]
pub struct VolumeTuning {
    /// How many peers serve the volume, each a thread with a core of its own. Default: 2, or one per core of --cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: Option<u16>,
    /// The cores of the peers, such as 0,2-5. Default: all that this process may use, in turn.
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<Cores>,
    /// Operations that each peer keeps under way. Default: 8, or what the limit of locked memory allows.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub depth: Option<u32>,
    /// One operation at most.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "256KiB")]
    pub operation: u64,
    /// What classes are promised.
    #[command(flatten)]
    pub classes: Classes,
    /// Give up when a request has not been answered for this long, such as 30s or 2m.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    pub hang_limit: Nanos,
}
