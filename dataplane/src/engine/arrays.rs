//! Arrays as an operator keeps them: made, looked at, members failed and replaced.
//!
//! What cannot be done is found out before anything is written: the pool is opened for reading first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::{Config, EngineError, main_port, member};
use crate::device::Device;
use crate::pool::error::PoolError;
use crate::pool::{Member, Pool, Replacement, Shape};
use crate::port::Bell;
use crate::port::uring::{Bells, Uring};
use crate::superblock::State;

/// An array, as it was found or left.
#[derive(Clone, Debug, Serialize)]
pub struct ArrayFacts {
    /// The pool's name.
    pub pool: String,
    /// Its generation.
    pub generation: u64,
    /// The RAID level.
    pub level: String,
    /// Groups with parities of their own, where the level has them.
    pub groups: u16,
    /// Bytes of one chunk.
    pub chunk_bytes: u64,
    /// Bytes of one page.
    pub page_bytes: u64,
    /// Frames, each for one page.
    pub frames: u64,
    /// Those that hold nothing.
    pub frames_free: u64,
    /// Frames below this are whole on members that are rebuilding.
    pub watermark: u64,
    /// Whether all members count for all frames.
    pub whole: bool,
    /// The members in order, then the spares.
    pub members: Vec<MemberFacts>,
    /// The sets, oldest first.
    pub sets: Vec<SetFacts>,
    /// Whole sentences that the operator should know.
    pub notes: Vec<String>,
}

/// One member or spare.
#[derive(Clone, Debug, Serialize)]
pub struct MemberFacts {
    /// Its index; none of a spare.
    pub member: Option<u16>,
    /// Where it is; none if it is not there.
    pub path: Option<PathBuf>,
    /// What it is worth: active, failed, rebuilding, spare or absent.
    pub state: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The generation of its superblocks; none if it is not there.
    pub generation: Option<u64>,
    /// The generation with which it was marked as failed.
    pub failed_at: Option<u64>,
}

/// One set.
#[derive(Clone, Debug, Serialize)]
pub struct SetFacts {
    /// Its number in the pool.
    pub number: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

/// A member as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// By its index.
    Index(u16),
    /// By its path, which must be among the devices.
    Path(PathBuf),
}

/// Makes an array on blank devices, or on any with `destroy_data`. Devices after the members of the shape are spares.
///
/// # Errors
/// A sentence for the operator; nothing was written.
pub fn create_array(devices: &[Device], shape: Shape, destroy_data: bool) -> Result<ArrayFacts, EngineError> {
    devices.iter().try_for_each(Device::check_read)?;
    work(devices, &[], |members, port| {
        let pool = Pool::create(members, shape, destroy_data, port)?;
        close(pool, port)
    })
}

/// Looks at an array and writes nothing.
///
/// # Errors
/// A sentence for the operator.
pub fn show_array(devices: &[Device]) -> Result<ArrayFacts, EngineError> {
    work(devices, &[], |members, port| facts(&Pool::open_read_only(members, port)?))
}

/// Marks a member as failed, for good: nothing on it counts any more.
///
/// # Errors
/// A sentence for the operator; when the array does not survive without the member, nothing was written.
pub fn fail_member(devices: &[Device], whom: &Whom) -> Result<ArrayFacts, EngineError> {
    work(devices, &[], |members, port| {
        let looked = Pool::open_read_only(members, port)?;
        let member = find(&looked, devices, whom)?;
        looked.check_failing(member)?;
        drop(looked);
        let mut pool = Pool::open(members, port)?;
        pool.fail(member, port)?;
        close(pool, port)
    })
}

/// Puts a device in the place of a member, which is failed if it was not. The device is to be rebuilt.
///
/// # Errors
/// A sentence for the operator; where the device or the array cannot be used so, nothing was written.
pub fn replace_member(
    devices: &[Device],
    whom: &Whom,
    with: &Device,
    destroy_data: bool,
) -> Result<ArrayFacts, EngineError> {
    with.check_read()?;
    work(devices, &[with], |members, port| {
        let looked = Pool::open_read_only(members, port)?;
        let member = find(&looked, devices, whom)?;
        let file = u16::try_from(devices.len()).expect("few devices");
        let with = Replacement { device: super::member(with), file, destroy_data };
        looked.check_replacement(member, &with, port)?;
        drop(looked);
        let mut pool = Pool::open(members, port)?;
        pool.replace(member, &with, port)?;
        close(pool, port)
    })
}

/// Does something with the devices of a pool, and more files after them, through a port of this thread.
fn work<T>(
    devices: &[Device],
    more: &[&Device],
    what: impl FnOnce(&[Member], &mut Uring) -> Result<T, PoolError>,
) -> Result<T, EngineError> {
    let members: Vec<Member> = devices.iter().map(member).collect();
    let files: Vec<_> = devices.iter().chain(more.iter().copied()).map(|device| Some(device.as_fd())).collect();
    let mut port = main_port(&files, Instant::now(), &Bells::new(1), Bell(0), Config::default().hang_limit)?;
    Ok(what(&members, &mut port)?)
}

/// The facts of a pool, which is closed.
fn close(pool: Pool, port: &mut Uring) -> Result<ArrayFacts, PoolError> {
    let facts = facts(&pool)?;
    pool.close(port)?;
    Ok(facts)
}

/// The index of a member.
fn find(pool: &Pool, devices: &[Device], whom: &Whom) -> Result<u16, PoolError> {
    let members = pool.geometry().members();
    match whom {
        &Whom::Index(member) if member < members => Ok(member),
        &Whom::Index(member) => Err(PoolError::NoMember { member, members }),
        Whom::Path(path) => {
            let given = devices.iter().position(|device| is_same(device.path(), path));
            let row = given.and_then(|given| pool.order().iter().position(|&device| device == Some(given)));
            let member = row.and_then(|row| u16::try_from(row).ok()).filter(|&member| member < members);
            member.ok_or_else(|| PoolError::NotOfMembers { path: path.clone() })
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || std::fs::canonicalize(one).ok().is_some_and(|one| std::fs::canonicalize(other).ok() == Some(one))
}

fn facts(pool: &Pool) -> Result<ArrayFacts, PoolError> {
    let geometry = pool.geometry();
    let mut members = Vec::new();
    for (((index, entry), path), generation) in (0..).zip(pool.rows()).zip(pool.present()).zip(pool.generations()) {
        members.push(MemberFacts {
            member: (index < geometry.members()).then_some(index),
            path: path.cloned(),
            state: if path.is_none() && entry.state != State::Failed { "absent" } else { entry.state.word() },
            bytes: entry.bytes,
            generation,
            failed_at: (entry.state == State::Failed).then_some(entry.failed_at),
        });
    }
    let sets = pool.store().sets().map_err(PoolError::Store)?;
    let health = pool.health();
    Ok(ArrayFacts {
        pool: pool.name(),
        generation: pool.generation(),
        level: geometry.level().to_string(),
        groups: geometry.groups(),
        chunk_bytes: u64::from(geometry.chunk_bytes()),
        page_bytes: u64::from(geometry.page_bytes()),
        frames: pool.layout().frames(),
        frames_free: pool.frames_free(),
        watermark: health.watermark,
        whole: health.is_whole(),
        members,
        sets: sets.iter().map(|set| SetFacts { number: set.number, bytes: set.bytes }).collect(),
        notes: pool.notes().to_vec(),
    })
}
