//! What the members of an array must hold after a known pattern was written to it from the start: one file per member,
//! and the pattern itself.
//!
//! Places come from the mapping under test. The parities are summed here, byte by byte as the definition says, and share
//! nothing with the kernels of the data plane.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use bireme_control::raid::geometry::{Geometry, Level, Place};
use clap::Parser;

/// Writes DIR/data and DIR/member0, DIR/member1, ...
#[derive(Debug, Parser)]
struct Arguments {
    /// The RAID level: 0, 1, 10, 5, 6, 50 or 60.
    #[arg(long)]
    level: u16,
    /// How many devices.
    #[arg(long)]
    members: usize,
    /// Bytes of a chunk.
    #[arg(long)]
    chunk: u64,
    /// How many stripes.
    #[arg(long)]
    stripes: u32,
    /// Groups of level 50 or 60.
    #[arg(long, default_value_t = 2)]
    groups: u16,
    /// Where the files go.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match dump(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("geometry-dump: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn dump(arguments: &Arguments) -> Result<(), String> {
    let groups = arguments.groups;
    let level = match arguments.level {
        0 => Level::Raid0,
        1 => Level::Raid1,
        10 => Level::Raid10,
        5 => Level::Raid5,
        6 => Level::Raid6,
        50 => Level::Raid50 { groups },
        60 => Level::Raid60 { groups },
        other => return Err(format!("there is no RAID level {other}: choose 0, 1, 10, 5, 6, 50 or 60")),
    };
    let page = arguments.chunk;
    let geometry = Geometry::new(level, arguments.members, arguments.chunk, page).map_err(|error| error.to_string())?;
    let chunk_bytes = usize::try_from(geometry.chunk_bytes()).expect("at most 16 MiB");
    let chunks = u64::from(arguments.stripes) * u64::from(geometry.stripe_chunks());
    let data = pattern(chunks, chunk_bytes);
    let rows = u64::from(arguments.stripes) * u64::from(geometry.stripe_rows());
    let member_bytes = usize::try_from(rows).expect("a small number of rows") * chunk_bytes;
    let mut images = Images { chunk_bytes, members: vec![vec![0; member_bytes]; arguments.members] };
    for (index, chunk) in (0..).zip(data.chunks(chunk_bytes)) {
        let unit = geometry.unit_of(index);
        for copy in 0..geometry.copies() {
            images.at(geometry.place(index, copy)).copy_from_slice(chunk);
        }
        if let Some(place) = geometry.p(unit) {
            images.at(place).iter_mut().zip(chunk).for_each(|(sum, &byte)| *sum ^= byte);
        }
        if let Some(place) = geometry.q(unit) {
            let power = geometry.exponent(index);
            images.at(place).iter_mut().zip(chunk).for_each(|(sum, &byte)| *sum ^= times_power_of_g(byte, power));
        }
    }
    images
        .write(&arguments.out, &data)
        .map_err(|error| format!("{} cannot be written: {error}", arguments.out.display()))
}

/// What each member holds.
struct Images {
    chunk_bytes: usize,
    members: Vec<Vec<u8>>,
}

impl Images {
    fn at(&mut self, place: Place) -> &mut [u8] {
        let start = usize::try_from(place.row).expect("a small number of rows") * self.chunk_bytes;
        &mut self.members[usize::from(place.member)][start..start + self.chunk_bytes]
    }

    fn write(&self, out: &std::path::Path, data: &[u8]) -> io::Result<()> {
        fs::create_dir_all(out)?;
        fs::write(out.join("data"), data)?;
        self.members
            .iter()
            .enumerate()
            .try_for_each(|(member, image)| fs::write(out.join(format!("member{member}")), image))
    }
}

/// Words that differ from each other everywhere, so that no chunk can stand for another.
fn pattern(chunks: u64, chunk_bytes: usize) -> Vec<u8> {
    let words = chunks * (chunk_bytes as u64 / 8);
    (0..words).flat_map(|word| (word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

/// `byte` times 2 to the `power` in GF(2^8) with the polynomial 0x11d.
fn times_power_of_g(byte: u8, power: u16) -> u8 {
    (0..power).fold(byte, |value, _| if value & 0x80 == 0 { value << 1 } else { value << 1 ^ 0x1d })
}
