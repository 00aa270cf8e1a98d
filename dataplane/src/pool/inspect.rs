//! Whose a device is, judged by its first and last 4 MiB.

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};

use super::error::{PoolError, device};
use super::{Member, Pool};
use crate::device::signature::identify;
use crate::layout::{ZONE_BYTES, zones};
use crate::port::Port;
use crate::port::blocking::{Blocking, Fault};
use crate::superblock::{SUPERBLOCK_BYTES, State, Superblock, is_ours};

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
    /// It does not let itself be read.
    Unreadable(Fault),
}

/// Looks at each device; writes nothing.
pub(super) fn look<P: Port>(members: &[Member], port: &mut P) -> Result<Vec<Device>, PoolError> {
    members.iter().zip(0..).map(|(member, file)| look_at(member, file, port)).collect()
}

/// Looks at one device. A port that gave up is an error: it has not heard from the device.
pub(super) fn look_at<P: Port>(member: &Member, file: u16, port: &mut P) -> Result<Device, PoolError> {
    let bytes = whole_blocks(member.bytes);
    let length = bytes.min(EDGE_BYTES);
    let mut head = vec![0; usize::try_from(length).expect("4 MiB")];
    let mut tail = head.clone();
    let mut blocking = Blocking::new(port);
    let read = blocking.read(file, 0, &mut head).and_then(|()| blocking.read(file, bytes - length, &mut tail));
    match read {
        Ok(()) => Ok(judge(&head, &tail, member.bytes)),
        Err(fault) if port.in_flight() == 0 => Ok(Device::Unreadable(fault)),
        Err(fault) => Err(device(&member.path)(fault)),
    }
}

impl Pool {
    /// What one device holds that would be lost if it were overwritten, to follow "it"; `None` if it is blank.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn content<P: Port>(member: &Member, port: &mut P) -> Result<Option<String>, PoolError> {
        Ok(match look_at(member, 0, port)? {
            Device::Blank => None,
            Device::Unfinished(..) | Device::Ours(..) => Some("is a part of a Bireme pool".to_owned()),
            Device::Foreign(what) => Some(holds(what)),
            Device::Unreadable(fault) => return Err(device(&member.path)(fault)),
        })
    }
}

/// Zeros over the first and last 4 MiB: superblocks, partition tables and most other signatures.
pub(super) fn wipe<P: Port>(member: &Member, file: u16, port: &mut P) -> Result<(), PoolError> {
    let mut blocking = Blocking::new(port);
    let bytes = whole_blocks(member.bytes);
    let zeros = vec![0; usize::try_from(bytes.min(EDGE_BYTES)).expect("4 MiB")];
    let written = [0, bytes - zeros.len() as u64].into_iter().try_for_each(|at| blocking.write(file, at, &zeros));
    written.and_then(|()| blocking.flush(file)).map_err(device(&member.path))
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
        // An end without one was torn by the first write, to slot 0, which is then written again.
        let slots = [&ends[0], &ends[1]].map(|end| end.as_ref().map_or(1, |(_, slot)| *slot));
        if superblock.is_unfinished() {
            return Device::Unfinished(superblock.clone(), slots);
        }
        let whole = match &ends {
            [Some((start, _)), Some((end, _))] => same_device(start, end),
            _ => holds_nothing(superblock),
        };
        if !whole {
            return Device::Foreign("a Bireme pool (the superblocks at its start and end disagree)");
        }
        if superblock.own().bytes != whole_blocks(bytes) {
            return Device::Foreign("a Bireme pool (the device has changed its size)");
        }
        return Device::Ours(superblock.clone(), slots);
    }
    if [head, tail_zone].iter().any(|zone| slots(zone).any(Superblock::is_unknown)) {
        return Device::Foreign("a Bireme pool (of another version of Bireme)");
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

fn same_device(one: &Superblock, other: &Superblock) -> bool {
    one.pool == other.pool && one.device == other.device
}

/// A device that has just joined: a crash may have cut its first superblocks short, and nothing on it counts.
fn holds_nothing(superblock: &Superblock) -> bool {
    match superblock.own().state {
        State::Spare => true,
        State::Rebuilding => superblock.watermark == 0,
        _ => false,
    }
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
