//! What may be written on the command line; its comments are what `--help` shows to the operator.

use std::path::PathBuf;

use bireme_bench::class::Classes;
use bireme_bench::recording::Recording;
use bireme_bench::size;
use bireme_control::units::Nanos;
use clap::{ArgGroup, Args, Parser, Subcommand};

mod array;
mod compare;
mod raid;
mod sharing;
mod volume;

pub use array::{Array, ArrayCreate, ArrayFail, ArrayMend, ArrayReplace, ArrayShow};
pub use compare::{Compare, Report};
pub use raid::{Number, Raid};
pub use sharing::{Balance, Sharing};
pub use volume::{Volume, VolumeCreate, VolumeDelete, VolumeDump, VolumeList, VolumeTuning, VolumeWrite, Which};

/// Moves data sets onto block devices and files with io_uring and O_DIRECT, and says how fast and why.
#[derive(Debug, Parser)]
#[command(name = "bireme", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write data sets over the devices; each becomes visible at once when it is durable.
    Offload(Offload),
    /// Read the newest data set back, compare all checksums, and store it in a file.
    Restore(Restore),
    /// Print the pool's metadata as JSON: sets, frames and roots, for readers other than this program.
    Export(Export),
    /// Address spaces in the pool that are written in place.
    #[command(subcommand)]
    Volume(Volume),
    /// Make arrays, look at them, and fail and replace their members.
    #[command(subcommand)]
    Array(Array),
    /// Say whether runs are the same, faster or slower than others, and how sure that is: reports of Bireme or fio.
    Compare(Compare),
    /// Draw the JSON of a run that has ended.
    Report(Report),
    /// Loop devices for trying things out.
    #[command(subcommand)]
    Lab(Lab),
}

/// `bireme offload`.
#[derive(Args, Debug)]
pub struct Offload {
    /// The file to offload.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Offload this much generated data instead of a file, such as 1GiB.
    #[arg(long, value_parser = size::parse, default_value = "1GiB", conflicts_with = "input")]
    pub size: u64,
    /// Generated data derives from this number: the same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "input")]
    pub seed: u64,
    /// Devices or files to write to, in the order of members; several may follow. Without any, four scratch files are
    /// made in a directory of their own.
    #[arg(long = "device", value_name = "PATH", num_args = 1..)]
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
    /// How requests are made.
    #[command(flatten)]
    pub tuning: Tuning,
    /// How peers share the work.
    #[command(flatten)]
    pub sharing: Sharing,
    /// Write this many data sets, one after the other; each replaces the one before.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sets: u32,
    /// Read everything back afterwards and compare it.
    #[arg(long)]
    pub verify: bool,
    /// Permit to overwrite devices and files that hold foreign data or another pool. Never lifts the checks for
    /// mounted or busy devices.
    #[arg(long)]
    pub destroy_data: bool,
    /// Where the reports go.
    #[command(flatten)]
    pub reports: Reports,
}

/// `bireme restore`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("purpose").required(true).multiple(true).args(["output", "verify"]))]
pub struct Restore {
    /// The devices of the pool; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
    /// The file to store the data set in.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Compare every checksum; this is done in any case. Alone, nothing is stored.
    #[arg(long)]
    pub verify: bool,
    /// How requests are made.
    #[command(flatten)]
    pub tuning: Tuning,
    /// Where the reports go.
    #[command(flatten)]
    pub reports: Reports,
}

/// `bireme export`.
#[derive(Args, Debug)]
pub struct Export {
    /// The devices of the pool; several may follow.
    #[arg(long = "device", value_name = "PATH", num_args = 1.., required = true)]
    pub devices: Vec<PathBuf>,
}

/// What offload and restore share.
#[derive(Args, Debug)]
pub struct Tuning {
    /// How many peers move data, each a thread with a core of its own. Default: 2, or one per core of --cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub peers: Option<u16>,
    /// The cores of the peers, such as 0,2-5. Default: chosen near the devices.
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<Cores>,
    /// Slots per peer, that is how much it keeps under way.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub depth: Option<u32>,
    /// Data of one slot at most. Default: one request to each device, within 1MiB to 4MiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub slot: Option<u64>,
    /// One request to a device at most.
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "512KiB")]
    pub request: u64,
    /// What classes are promised.
    #[command(flatten)]
    pub classes: Classes,
    /// Give up when a request has not been answered for this long, such as 30s or 2m.
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30s")]
    pub hang_limit: Nanos,
}

/// What is recorded, and where reports go beside the table on standard output.
#[derive(Args, Debug)]
pub struct Reports {
    /// Write the report files into this directory: the table, the JSON, a page for a browser, and the balance between peers as
    /// a picture.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the JSON to this file; "-" is standard output, in place of the table.
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Write the report as one page for a browser, with pictures; it needs no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// What is recorded over time.
    #[command(flatten)]
    pub recording: Recording,
}

/// `bireme lab`.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Make loop devices over files in a folder, and print their paths.
    Up(LabUp),
    /// Detach the loop devices of a folder and remove their files.
    Down(LabDown),
}

/// `bireme lab up`.
#[derive(Args, Debug)]
pub struct LabUp {
    /// Where the files lie.
    #[arg(default_value = LAB_FOLDER)]
    pub folder: PathBuf,
    /// How many devices.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub count: u16,
    /// Size of each.
    #[arg(long, value_parser = size::parse, default_value = "256MiB")]
    pub size: u64,
    /// Logical block size of each: 512 or 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = block)]
    pub block: u32,
    /// Keep the files in memory: mounts a tmpfs on the folder.
    #[arg(long)]
    pub tmpfs: bool,
}

/// `bireme lab down`.
#[derive(Args, Debug)]
pub struct LabDown {
    /// Where the files lie.
    #[arg(default_value = LAB_FOLDER)]
    pub folder: PathBuf,
}

/// Cores in the order in which peers take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

fn cores(text: &str) -> Result<Cores, String> {
    let bad = || format!("'{text}' is no list of cores: write numbers and ranges below {CORES_MAX}, such as 0,2-5");
    let number = |word: &str| word.trim().parse::<usize>().ok().filter(|&core| core < CORES_MAX).ok_or_else(bad);
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(bad());
        }
        list.extend(first..=last);
    }
    let distinct: std::collections::BTreeSet<_> = list.iter().collect();
    if distinct.len() < list.len() {
        return Err(format!("'{text}' names a core twice: give each peer a core of its own"));
    }
    Ok(Cores(list))
}

fn span(text: &str) -> Result<Nanos, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim() {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => 0,
    };
    let nanos = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).filter(|&nanos| nanos > 0);
    nanos.map(Nanos).ok_or_else(|| format!("'{text}' is no time: write a whole number with ms, s or m, such as 30s"))
}

fn block(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err(format!("'{text}' is no block size of loop devices here: write 512 or 4096")),
    }
}

const LAB_FOLDER: &str = "/var/tmp/bireme-lab";
const CORES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn an_offload_is_read_with_its_defaults() {
        let cli = parse("bireme offload --size 1GiB --device /a /b --device /c --cores 0,2-3 --hang-limit 2m --json -");
        let Command::Offload(offload) = cli.expect("a good line").command else { panic!("an offload") };
        assert_eq!(offload.devices, ["/a", "/b", "/c"].map(PathBuf::from));
        assert_eq!((offload.size, offload.seed, offload.page, offload.sets), (1 << 30, 1, 4 << 20, 1));
        assert_eq!((offload.chunk, offload.sharing.balance, offload.destroy_data), (None, Balance::Measured, false));
        assert_eq!(offload.tuning.cores, Some(Cores(vec![0, 2, 3])));
        assert_eq!((offload.tuning.slot, offload.tuning.request), (None, 512 << 10));
        assert_eq!(offload.tuning.hang_limit, Nanos::from_secs(120));
        assert_eq!(offload.reports.json, Some(PathBuf::from("-")));
        let cli = parse("bireme lab up --block 4096 --tmpfs").expect("a good line");
        let Command::Lab(Lab::Up(up)) = cli.command else { panic!("lab up") };
        assert_eq!((up.folder, up.count, up.size), (PathBuf::from("/var/tmp/bireme-lab"), 4, 256 << 20));
    }

    #[test]
    fn a_comparison_takes_two_files_or_two_sides() {
        let compare = |line: &str| match parse(line).expect(line).command {
            Command::Compare(compare) => {
                (compare.files.len(), compare.base.len(), compare.new.len(), compare.fail_on_regression)
            }
            _ => panic!("a comparison"),
        };
        assert_eq!(compare("bireme compare a b"), (2, 0, 0, None));
        assert_eq!(compare("bireme compare --base a b --new c d e --fail-on-regression"), (0, 2, 3, Some(5.0)));
        assert_eq!(compare("bireme compare --fail-on-regression=2.5% a b"), (2, 0, 0, Some(2.5)));
    }

    #[test]
    fn bad_lines_are_answered_with_what_to_write() {
        #[rustfmt::skip]
        let cases = [
            ("bireme offload --size 1G", "write KiB, MiB, GiB or TiB"),
            ("bireme offload --size 1GiB --input f", "cannot be used with"),
            ("bireme offload --input f --seed 3", "cannot be used with"),
            ("bireme offload --size 1GiB --cores 3-1", "such as 0,2-5"),
            ("bireme offload --size 1GiB --cores 0-99999999999", "such as 0,2-5"),
            ("bireme offload --size 1GiB --cores 1,0-2", "names a core twice"),
            ("bireme offload --size 1GiB --hang-limit 0s", "such as 30s"),
            ("bireme offload --size 1GiB --peers 0", "0 is not in 1.."),
            ("bireme restore --device a", "<--output <FILE>|--verify>"),
            ("bireme lab up --block 1024", "write 512 or 4096"),
            ("bireme compare", "the following required arguments"),
            ("bireme compare a", "2 values required"),
            ("bireme compare --base a", "--new"),
            ("bireme compare a b --fail-on-regression=x", "is no percentage"),
        ];
        for (line, want) in cases {
            let error = parse(line).expect_err(line);
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
