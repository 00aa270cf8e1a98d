//! Loop devices that die in the middle of what Bireme does, at moments that a seed draws: nothing that was acknowledged
//! may be lost.
//!
//! ```text
//!   offload      sets are written                  the newest set restores, and a device that comes back is not believed
//!   volume       acknowledged writes, kill -9      each block holds what was acknowledged last, or was asked for after it
//!   bench        bench-array --verify              it reads back what it has written
//!   rebuild      a member is filled                the data stays readable, and the rebuild can be done again
//!   scrub        damage is put right               likewise
//! ```
//!
//! A moment is a number of requests that the device has seen, out of as many as a run without a death shows it. A device
//! dies in one of the [ways](crate::fuse_disk::Failing): all requests fail, only reads, only writes, a few writes only, or it
//! is gone for good.

use std::path::PathBuf;

use self::rig::Rig;

mod mending;
mod model;
mod offload;
mod rig;
mod volume;

/// What the cases run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The `bireme` command.
    pub bireme: PathBuf,
    /// What serves a disk.
    pub disk: PathBuf,
    /// What writes and says what was acknowledged.
    pub writer: PathBuf,
    /// `bench-array`.
    pub bench: PathBuf,
}

/// When devices die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// While sets are written.
    Offload,
    /// While a volume is written at random, and the command is killed too at times.
    Volume,
    /// While `bench-array` writes a volume, reads it back and compares it.
    Bench,
    /// While a member is rebuilt: one of the others.
    Rebuild,
    /// While a member is rebuilt: that one.
    Replacement,
    /// While all is scrubbed.
    Scrub,
}

impl Case {
    /// All of them.
    pub const ALL: [Case; 6] =
        [Case::Offload, Case::Volume, Case::Bench, Case::Rebuild, Case::Replacement, Case::Scrub];
}

/// An array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// As it is written on the line.
    pub level: &'static str,
    /// How many members.
    pub members: usize,
    /// How many of them may die.
    pub deaths: usize,
}

/// The arrays that are tried.
pub const SHAPES: [Shape; 5] = [
    Shape { level: "1", members: 2, deaths: 1 },
    Shape { level: "10", members: 4, deaths: 1 },
    Shape { level: "5", members: 4, deaths: 1 },
    Shape { level: "6", members: 5, deaths: 2 },
    Shape { level: "1", members: 3, deaths: 2 },
];

/// Plays one case from one seed.
///
/// # Panics
/// When a promise is broken, or devices cannot be had.
pub fn play(programs: &Programs, case: Case, shape: Shape, seed: u64) {
    let Shape { level, members, .. } = shape;
    println!("{case:?} on RAID {level} over {members} devices, seed {seed}");
    let rig = Rig::new(programs, shape, seed);
    match case {
        Case::Offload => offload::play(rig),
        Case::Volume => volume::play(rig),
        Case::Bench => volume::bench(rig),
        Case::Rebuild => mending::rebuild(rig),
        Case::Replacement => mending::replacement(rig),
        Case::Scrub => mending::scrub(rig),
    }
}
