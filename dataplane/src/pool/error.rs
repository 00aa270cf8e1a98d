//! Why a pool cannot be opened or made, as sentences for the operator.

use std::path::{Path, PathBuf};

use bireme_control::raid::geometry::Level;

use crate::error::{explain, request_failed};
use crate::layout::LayoutError;
use crate::message::{Doing, Failure, StoreFailure};
use crate::port::blocking::Fault;

/// A pool could not be opened or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A device refused a request.
    #[error("{}", describe(path, *fault))]
    Device {
        /// Which.
        path: PathBuf,
        /// The request and the answer.
        fault: Fault,
    },
    /// The port itself failed.
    #[error("the port to the devices failed: {}", explain(*.0))]
    Port(i32),
    /// Somebody else's data.
    #[error(
        "{} is not blank: it {what}. Nothing was written. Choose another device, or give --destroy-data to lose what \
         it holds", path.display()
    )]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What was recognised, after "it".
        what: String,
    },
    /// Some devices belong to a pool and some are blank.
    #[error(
        "{} is a member of a pool and {} is not. Nothing was written. Name the members of one pool, or give \
         --destroy-data to make a new one", ours.display(), other.display()
    )]
    Mixed {
        /// A member.
        ours: PathBuf,
        /// A blank device.
        other: PathBuf,
    },
    /// Members of different pools.
    #[error(
        "{} and {} are members of different pools. Nothing was written. Name the members of one pool, or give \
         --destroy-data to make a new one", one.display(), other.display()
    )]
    Different {
        /// Of one pool.
        one: PathBuf,
        /// Of another.
        other: PathBuf,
    },
    /// Too many members of the pool are missing.
    #[error(
        "{} is member {member} of a pool of {have} devices, and {given} were named: {level} does not hold all data \
         without {missing}. Nothing was written. Name all its members, or give --destroy-data to make a new pool",
        path.display()
    )]
    Members {
        /// One of them.
        path: PathBuf,
        /// Its index.
        member: usize,
        /// How many the pool has.
        have: u16,
        /// How many were named.
        given: usize,
        /// The pool's level.
        level: Level,
        /// Those that are missing.
        missing: String,
    },
    /// Most members are missing, and may have gone on by themselves.
    #[error(
        "only {there} of the {counted} members of the pool on {} can be used: the others are most of it and may have \
         gone on without these, so that these hold what is old. Nothing was written. Name more of the members",
        path.display()
    )]
    Minority {
        /// One that is there.
        path: PathBuf,
        /// How many are.
        there: usize,
        /// How many the pool counts.
        counted: usize,
    },
    /// Half of the members are there, and what cannot be read may be the other half.
    #[error(
        "{why}; the {there} members of the pool that can be read are only half of it, and this device may hold what is \
         newer. Nothing was written. Make it readable, or go on without it by not naming it"
    )]
    Unsure {
        /// The device and what it answered.
        why: String,
        /// How many are there.
        there: usize,
    },
    /// Two parts of one pool that have each gone on without the other.
    #[error(
        "{} and {} are of one pool, and each was written to without the other: they do not hold the same any more. \
         Nothing was written. Name only the members whose data is wanted", one.display(), other.display()
    )]
    Apart {
        /// One.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A member that the array needs.
    #[error(
        "member {member} cannot be done without: {level} does not hold all data without {missing}. Nothing was \
         changed. Copy the data away first (bireme restore), or let what is missing be rebuilt"
    )]
    Needed {
        /// Which.
        member: u16,
        /// The pool's level.
        level: Level,
        /// All that would be missing.
        missing: String,
    },
    /// No such member.
    #[error("there is no member {member}: the pool has the members 0 to {}", members - 1)]
    NoMember {
        /// Which.
        member: u16,
        /// How many there are.
        members: u16,
    },
    /// A path that is no member's.
    #[error(
        "{} is no member that is in use, among the devices that were named. Nothing was changed. Name the member by its \
         index, as `bireme array show` does", path.display()
    )]
    NotOfMembers {
        /// The path.
        path: PathBuf,
    },
    /// A member that has been replaced already.
    #[error(
        "member {member} has been replaced already, and {} is to be rebuilt. Nothing was changed. Rebuild it, or fail \
         it first", path.display()
    )]
    Rebuilding {
        /// Which.
        member: u16,
        /// The device in its place.
        path: PathBuf,
    },
    /// A device of the pool itself.
    #[error(
        "{} is in use by this very pool, though it was not named as one of its devices. Nothing was changed. Name it \
         with --device, and choose another to take the member's place", path.display()
    )]
    Own {
        /// Which.
        path: PathBuf,
    },
    /// A device that cannot take a member's place.
    #[error(
        "{} holds {have} bytes, and a member of this pool needs {need}. Nothing was changed. Choose a larger device",
        path.display()
    )]
    SmallReplacement {
        /// Which.
        path: PathBuf,
        /// Its size.
        have: u64,
        /// The least that would do.
        need: u64,
    },
    /// Two devices claim to be the same member.
    #[error("{} and {} are copies of one member: name one of them", one.display(), other.display())]
    Twice {
        /// One.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// The pool has another shape.
    #[error(
        "the pool on these devices has {have}, and {want} was asked for. Nothing was written. Ask for what it has, or \
         give --destroy-data to make a new one"
    )]
    Geometry {
        /// The pool's.
        have: String,
        /// The one asked for.
        want: String,
    },
    /// The shape is for another number of devices.
    #[error("the shape is for {want} devices, and {given} were named")]
    Count {
        /// How many were named.
        given: usize,
        /// How many the shape has.
        want: u16,
    },
    /// No pool where one was expected.
    #[error("{} holds no pool: it {what}. Name the devices that offload wrote to", path.display())]
    NoPool {
        /// Which.
        path: PathBuf,
        /// What it is instead, after "it".
        what: String,
    },
    /// A device is too small for the shape.
    #[error("{} is too small: {why}. Choose a larger device or a smaller --page", path.display())]
    TooSmall {
        /// Which.
        path: PathBuf,
        /// Figures.
        why: LayoutError,
    },
    /// The sets do not fit.
    #[error(
        "{what} {need} bytes of frames, and {free} of the pool's {total} can be had: the newest set stays readable \
         until the next is durable. Nothing was written. Use larger devices or a smaller set"
    )]
    NoRoom {
        /// What needs it, with its verb.
        what: &'static str,
        /// Bytes of frames that are needed.
        need: u64,
        /// Bytes of frames that can be had for it.
        free: u64,
        /// Bytes of all frames.
        total: u64,
    },
    /// No mirror of the metadata is valid.
    #[error(
        "no member of the pool on {} holds metadata that can be trusted: the data cannot be found. Give --destroy-data \
         to make a new pool", path.display()
    )]
    NoMetadata {
        /// The first member.
        path: PathBuf,
    },
    /// The store failed in memory.
    #[error("{}", Failure::Store(*.0).sentence(&[], None))]
    Store(StoreFailure),
    /// No name for a pool.
    #[error("/dev/urandom cannot be read: {0}")]
    Random(std::io::Error),
}

/// Turns a fault into an error that names the device.
pub(super) fn device(path: &Path) -> impl Fn(Fault) -> PoolError + use<> {
    let path = path.to_path_buf();
    move |fault| PoolError::Device { path: path.clone(), fault }
}

fn describe(path: &Path, fault: Fault) -> String {
    match fault.doing {
        Doing::Flush => format!("flushing {} failed: {}", path.display(), explain(fault.errno)),
        doing => request_failed(doing.word(), path, fault.offset, fault.errno),
    }
}
