//! `bireme array`: what may be written to keep an array.

use std::path::PathBuf;

use bireme_bench::size;
use bireme_dataplane::engine::arrays::Whom;
use clap::{Args, Subcommand};

use super::{Raid, Tuning};

/// `bireme array`.
#[derive(Debug, Subcommand)]
pub enum Array {
    /// Make an array on blank devices.
    Create(ArrayCreate),
    /// Show the level, the members with their states, the sets, and how much is free.
    Show(ArrayShow),
    /// Mark a member as failed: nothing on it counts any more.
    Fail(ArrayFail),
    /// Put another device in a member's place; it is to be rebuilt then.
    Replace(ArrayReplace),
    /// Fill the members that were replaced, or whose place a spare took: sets and volumes, from where it was left off.
    Rebuild(ArrayMend),
    /// Read everything, parity and copies included, and put right what is not what was written.
    Scrub(ArrayMend),
}

/// `bireme array create`.
#[derive(Args, Debug)]
pub struct ArrayCreate {
    /// Devices or files, in the order of members; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// How the data is spread over the devices.
    #[command(flatten)]
    pub raid: Raid,
    /// Bytes that go to one device before the next one's turn. Default: the largest power of two up to 64KiB that pads
    /// a page by at most 4 %.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub chunk: Option<u64>,
    /// The unit of allocation and of balance between peers.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "4MiB")]
    pub page: u64,
    /// Devices that wait to take a failed member's place; several may follow.
    #[arg(long = "spare", value_name = "PATH", num_args = 1..)]
    pub spares: Vec<PathBuf>,
    /// Permit to overwrite devices and files that hold foreign data or another pool. Never lifts the checks for
    /// mounted or busy devices.
    #[arg(long)]
    pub destroy_data: bool,
}

/// `bireme array show`.
#[derive(Args, Debug)]
pub struct ArrayShow {
    /// The devices of the array; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `bireme array fail`.
#[derive(Args, Debug)]
pub struct ArrayFail {
    /// The devices of the array; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// The member, by its index or its path.
    #[arg(long, value_name = "INDEX|PATH", value_parser = whom)]
    pub member: Whom,
}

/// `bireme array replace`.
#[derive(Args, Debug)]
pub struct ArrayReplace {
    /// The devices of the array; several may follow. The member to be replaced may be missing.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// The member, by its index or its path.
    #[arg(long, value_name = "INDEX|PATH", value_parser = whom)]
    pub member: Whom,
    /// The device that takes its place: blank, and at least as large as the array needs.
    #[arg(long, value_name = "PATH")]
    pub with: PathBuf,
    /// Permit to overwrite what the new device holds. Never lifts the checks for mounted or busy devices.
    #[arg(long)]
    pub destroy_data: bool,
}

/// `bireme array rebuild` and `bireme array scrub`.
#[derive(Args, Debug)]
pub struct ArrayMend {
    /// The devices of the array; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// So many bytes of data per second at most, such as 100MiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub rate: Option<u64>,
    /// How requests are made.
    #[command(flatten)]
    pub tuning: Tuning,
}

fn whom(text: &str) -> Result<Whom, String> {
    // A file with such a name can be written as ./7.
    let index = text.parse().map(Whom::Index);
    Ok(index.unwrap_or_else(|_| Whom::Path(PathBuf::from(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_an_index_or_a_path() {
        assert_eq!(whom("3"), Ok(Whom::Index(3)));
        for path in ["./3", "/dev/loop3", "70000"] {
            assert_eq!(whom(path), Ok(Whom::Path(path.into())));
        }
    }
}
