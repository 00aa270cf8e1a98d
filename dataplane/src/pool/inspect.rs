//! Whose a device is, judged by its first and last 4 MiB.

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};

use super::error::{PoolError, device};
use super::{Member, Standing};
use crate::device::signature::identify;
use crate::layout::{ZONE_BYTES, zones};
use crate::port::Port;
use crate::port::blocking::Blocking;
use crate::superblock::{SUPERBLOCK_BYTES, Superblock, is_ours};

/// One device on its own.
#[derive(Debug)]
pub(super) enum Device {
    /// Zeros, or the traces of a pool that was never finished.
    Blank,
    /// Being made into a member, and which slot holds the newest superblock at each end.
    Unfinished(Superblock, [u8; 2]),
    /// A member, and which slot holds the newest superblock at each end.
    Ours(Superblock, [u8; 2]),
    /// Somebody's.
    Foreign(&'static str),
}

/// Looks at each device; writes nothing.
pub(super) fn look<P: Port>(members: &[Member], port: &mut P) -> Result<Vec<Device>, PoolError> {
    let mut blocking = Blocking::new(port);
    let mut devices = Vec::with_capacity(members.len());
    for (member, file) in members.iter().zip(0..) {
        let bytes = whole_blocks(member.bytes);
        let length = bytes.min(EDGE_BYTES);
        let mut head = vec![0; usize::try_from(length).expect("4 MiB")];
        let mut tail = head.clone();
        blocking.read(file, 0, &mut head).map_err(device(&member.path))?;
        blocking.read(file, bytes - length, &mut tail).map_err(device(&member.path))?;
        devices.push(judge(&head, &tail, member.bytes));
    }
    Ok(devices)
}

/// Whose the devices are together.
pub(super) fn standing(members: &[Member], devices: &[Device]) -> Result<Standing, PoolError> {
    let foreign = devices.iter().enumerate().find_map(|(member, device)| match device {
        Device::Foreign(what) => Some(Standing::Foreign { member, what }),
        _ => None,
    });
    if let Some(foreign) = foreign {
        return Ok(foreign);
    }
    let Some((first, superblock)) = devices.iter().enumerate().find_map(|(index, device)| match device {
        Device::Ours(superblock, _) => Some((index, superblock)),
        _ => None,
    }) else {
        return Ok(Standing::Blank);
    };
    agree(members, devices, first, superblock)?;
    Ok(Standing::Ours { uuid: superblock.pool, geometry: superblock.geometry })
}

/// All given devices are the members of one pool, each once.
fn agree(members: &[Member], devices: &[Device], first: usize, superblock: &Superblock) -> Result<(), PoolError> {
    let path = |index: usize| members[index].path.clone();
    let mut given: Vec<Option<usize>> = vec![None; superblock.members.len()];
    for (index, device) in devices.iter().enumerate() {
        // Where the last superblocks of a creation reached some members only, the metadata were durable on all before:
        // the others belong to the pool too.
        let other = match device {
            Device::Ours(other, _) => other,
            Device::Unfinished(other, _) if other.pool == superblock.pool => other,
            _ => return Err(PoolError::Mixed { ours: path(first), other: path(index) }),
        };
        if other.pool != superblock.pool || other.members.len() != superblock.members.len() {
            return Err(PoolError::Different { one: path(first), other: path(index) });
        }
        if let Some(before) = given[usize::from(other.member)].replace(index) {
            return Err(PoolError::Twice { one: path(before), other: path(index) });
        }
    }
    if given.iter().any(Option::is_none) {
        let (have, member) = (superblock.members.len(), superblock.member);
        return Err(PoolError::Members { path: path(first), member, have, given: members.len() });
    }
    Ok(())
}

/// The same, for callers that want nothing but a pool.
pub(super) fn require_ours(members: &[Member], devices: &[Device]) -> Result<(), PoolError> {
    let none = |index: usize, what| PoolError::NoPool { path: members[index].path.clone(), what };
    match standing(members, devices)? {
        Standing::Ours { .. } => Ok(()),
        Standing::Foreign { member, what } => Err(none(member, holds(what))),
        Standing::Blank => Err(none(0, "is blank".to_owned())),
    }
}

/// A member with its place among the given devices.
pub(super) fn ours((index, device): (usize, Device)) -> Option<(usize, Superblock, [u8; 2])> {
    match device {
        Device::Ours(superblock, slots) | Device::Unfinished(superblock, slots) => Some((index, superblock, slots)),
        Device::Blank | Device::Foreign(_) => None,
    }
}

/// Zeros over the first and last 4 MiB: superblocks, partition tables and most other signatures.
pub(super) fn wipe<P: Port>(members: &[Member], port: &mut P) -> Result<(), PoolError> {
    let mut blocking = Blocking::new(port);
    for (member, file) in members.iter().zip(0..) {
        let bytes = whole_blocks(member.bytes);
        let zeros = vec![0; usize::try_from(bytes.min(EDGE_BYTES)).expect("4 MiB")];
        for offset in [0, bytes - zeros.len() as u64] {
            blocking.write(file, offset, &zeros).map_err(device(&member.path))?;
        }
        blocking.flush(file).map_err(device(&member.path))?;
    }
    Ok(())
}

/// A device is used in whole blocks.
pub(super) fn whole_blocks(bytes: u64) -> u64 {
    bytes / BLOCK_BYTES * BLOCK_BYTES
}

/// A shape in the operator's words.
pub(super) fn describe(geometry: Geometry) -> String {
    let level = geometry.level();
    let (members, chunk, page) = (geometry.members(), geometry.chunk_bytes() >> 10, geometry.page_bytes() >> 10);
    format!("{level} over {members} devices with chunks of {chunk} KiB and pages of {page} KiB")
}

fn judge(head: &[u8], tail: &[u8], bytes: u64) -> Device {
    let zone = usize::try_from(ZONE_BYTES).expect("64 KiB");
    let tail_zone = &tail[tail.len().saturating_sub(zone)..];
    let ends = [newest(head), newest(tail_zone)];
    let winner = ends.iter().flatten().max_by_key(|(superblock, _)| superblock.generation);
    if let Some((superblock, _)) = winner {
        if superblock.is_unfinished() {
            // An end without one was torn by the first write, to slot 0, which is then written again.
            let slots = [&ends[0], &ends[1]].map(|end| end.as_ref().map_or(1, |(_, slot)| *slot));
            return Device::Unfinished(superblock.clone(), slots);
        }
        return match &ends {
            [Some((start, a)), Some((end, b))] if same_member(start, end) => {
                let recorded = superblock.members[usize::from(superblock.member)].bytes;
                if recorded != whole_blocks(bytes) {
                    return Device::Foreign("a Bireme pool (the device has changed its size)");
                }
                Device::Ours(superblock.clone(), [*a, *b])
            }
            _ => Device::Foreign("a Bireme pool (the superblocks at its start and end disagree)"),
        };
    }
    if [head, tail_zone].iter().any(|zone| slots(zone).any(Superblock::is_of_unknown_level)) {
        return Device::Foreign("a Bireme pool (of a RAID level that is not supported yet)");
    }
    if only_a_torn_first_write(head, bytes, 0) && only_a_torn_first_write(tail, bytes, bytes_before(tail, bytes)) {
        return Device::Blank;
    }
    let torn = head.chunks(512).take(16).chain(tail_zone.chunks(512).take(16)).any(is_ours);
    if torn {
        return Device::Foreign("a Bireme pool (its superblocks are damaged)");
    }
    Device::Foreign(identify(head, tail, bytes).unwrap_or(UNKNOWN))
}

/// The newest sound superblock at one end, and its slot.
fn newest(zone: &[u8]) -> Option<(Superblock, u8)> {
    let sound = slots(zone).zip(0..).filter_map(|(bytes, slot)| Some((Superblock::decode(bytes)?, slot)));
    sound.max_by_key(|(superblock, _)| superblock.generation)
}

fn slots(zone: &[u8]) -> impl Iterator<Item = &[u8]> {
    zone.chunks(SUPERBLOCK_BYTES).take(2)
}

fn same_member(one: &Superblock, other: &Superblock) -> bool {
    one.pool == other.pool && one.member == other.member
}

fn bytes_before(tail: &[u8], bytes: u64) -> u64 {
    whole_blocks(bytes) - tail.len() as u64
}

/// Zeros, except for sectors of ours where the first write of a creation goes: slot 0 of either end.
fn only_a_torn_first_write(edge: &[u8], bytes: u64, offset: u64) -> bool {
    let in_first_slot = |at: u64| zones(bytes).iter().any(|&zone| at >= zone && at < zone + SUPERBLOCK_BYTES as u64);
    edge.chunks(512).zip(0u64..).all(|(sector, index)| {
        sector == &ZEROS[..sector.len()] || (is_ours(sector) && in_first_slot(offset + index * 512))
    })
}

/// What a device holds, to follow "it".
pub(super) fn holds(what: &str) -> String {
    if what == UNKNOWN { format!("holds data of {what}") } else { format!("bears the signature of {what}") }
}

const UNKNOWN: &str = "an unknown kind";
const ZEROS: [u8; 512] = [0; 512];
const EDGE_BYTES: u64 = 4 << 20;
