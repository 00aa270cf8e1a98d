//! How large slots and requests are, and how many slots a peer has.
//!
//! A slot holds whole stripes. Where the depth is not given, it is what keeps devices busy, or what the limit of locked
//! memory allows without root; a depth that was given is never changed.

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};
use nix::sys::resource::{Resource, getrlimit};

use crate::array::Array;
use crate::buffer::{REGION_BYTES_MAX, Region};
use crate::layout::Layout;
use crate::port::uring::queue_bytes;
use crate::runs::RUN_PAGES_MAX;

use super::{METADATA_REGION, metadata_requests};

/// A size that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizingError {
    /// A request that is no multiple of a block.
    #[error("requests of {0} bytes cannot be made: choose a multiple of 4 KiB, at most 64 MiB")]
    Request(u64),
    /// A slot that is no multiple of a block.
    #[error("a slot of {0} bytes cannot be used: choose a multiple of 4 KiB, at most 64 MiB")]
    Slot(u64),
    /// Too much memory or too many requests.
    #[error(
        "a depth of {depth} slots of {slot_bytes} bytes needs {bytes} bytes and {requests} requests per peer; at most {REGION_BYTES_MAX} bytes and {REQUESTS_MAX} requests can be registered: lower --depth or --slot"
    )]
    Depth {
        /// Slots per peer.
        depth: u32,
        /// Bytes of a slot.
        slot_bytes: u64,
        /// Bytes of all of a peer's memory.
        bytes: u64,
        /// Its requests.
        requests: u64,
    },
    /// More memory than the process may lock.
    #[error(
        "{peers} peers with a depth of {depth} lock {bytes} bytes of memory, and {limit} are allowed: run with sudo, raise the limit of locked memory (ulimit -l), or lower --depth, --slot or --peers"
    )]
    Locked {
        /// How many peers.
        peers: u16,
        /// Slots per peer.
        depth: u32,
        /// Bytes of all memory that is registered.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Slots per peer, if the operator named them.
    pub depth: Option<u32>,
    /// Data of one slot at most; what makes the requests of a slot whole otherwise.
    pub slot_bytes: Option<u64>,
    /// One request at most.
    pub request_bytes: u64,
    /// How many peers share the limit of locked memory.
    pub peers: u16,
}

/// The sizes of one peer's array, and a note where the limit of locked memory made the depth smaller.
pub fn size(geometry: Geometry, layout: Layout, ask: Ask) -> Result<(Array, Option<String>), SizingError> {
    let request_bytes = whole_blocks(ask.request_bytes).ok_or(SizingError::Request(ask.request_bytes))?;
    // As much data as makes each member's part of a slot one request.
    let data_chunks = u64::from(geometry.stripe_chunks()) * ask.request_bytes / u64::from(geometry.stripe_rows());
    let whole_requests = data_chunks.clamp(SLOT_BYTES_MIN, SLOT_BYTES_MAX);
    let usual_slot = ask.slot_bytes.unwrap_or(whole_requests);
    whole_blocks(usual_slot).ok_or(SizingError::Slot(usual_slot))?;
    let frame = Frame { geometry, layout, request_bytes, peers: ask.peers, limit: locked_memory_limit() };
    if let Some(depth) = ask.depth {
        return Ok((frame.within_limit(usual_slot, depth)?, None));
    }
    // Under a limit smaller slots come first, as a peer with one slot waits for its devices.
    let smaller = if ask.slot_bytes.is_some() { 0 } else { SLOT_HALVINGS };
    let slots = (0..=smaller).map(|halvings| usual_slot >> halvings);
    let pairs = slots.flat_map(|slot| (2..=DEPTH).rev().map(move |depth| (slot, depth)));
    let found = pairs.filter_map(|(slot, depth)| frame.within_limit(slot, depth).ok()).next();
    let array = found.map_or_else(|| frame.within_limit(usual_slot >> smaller, 1), Ok)?;
    let is_usual = u32::from(array.slots) == DEPTH && array.slot_rows == frame.slot_rows(usual_slot);
    Ok((array, (!is_usual).then(|| note(&array))))
}

fn note(array: &Array) -> String {
    format!(
        "the limit of locked memory allows {} slots of {} KiB per peer, fewer or smaller than usual: run with sudo, or raise \
         ulimit -l",
        array.slots,
        array.slot_data_bytes() / 1024
    )
}

/// What is fixed while slot and depth are looked for.
struct Frame {
    geometry: Geometry,
    layout: Layout,
    request_bytes: u32,
    peers: u16,
    limit: Option<u64>,
}

impl Frame {
    /// Rows of a slot of so much data, of whole stripes, one at least.
    fn slot_rows(&self, slot_bytes: u64) -> u32 {
        let rows = self.geometry.stripe_rows();
        let stripes = slot_bytes / u64::from(self.geometry.stripe_bytes());
        let most = self.geometry.frame_rows() / rows;
        u32::try_from(stripes).unwrap_or(u32::MAX).clamp(1, most) * rows
    }

    /// An array of slots that rings can register.
    fn array(&self, slot_bytes: u64, slots: u32) -> Result<Array, SizingError> {
        let Frame { geometry, layout, request_bytes, .. } = *self;
        let slot_rows = self.slot_rows(slot_bytes);
        let slots_per_page = geometry.frame_rows().div_ceil(slot_rows);
        // As many runs as slots can hold pages, one whose leaves are on their way, and one that begins.
        let runs = slots.div_ceil(slots_per_page).saturating_add(2);
        let pages = u16::try_from(RUN_PAGES_MAX).expect("small");
        let shape = Array { geometry, layout, slot_rows, slots: 0, request_bytes, run_pages: pages, runs: 0 };
        let fits = u16::try_from(slots).ok().zip(u16::try_from(runs).ok());
        let array = fits.map(|(slots, runs)| Array { slots, runs, ..shape });
        let requests = u64::from(shape.requests_of_slot_at_most()) * u64::from(slots)
            + u64::from(geometry.members()) * (u64::from(runs) + 1);
        let good = |array: &Array| array.region_bytes() <= u64::from(REGION_BYTES_MAX) && requests <= REQUESTS_MAX;
        let slot_bytes = u64::from(shape.slot_bytes());
        let bytes = u64::from(slots) * slot_bytes;
        array.filter(good).ok_or(SizingError::Depth { depth: slots, slot_bytes, bytes, requests })
    }

    /// The same, if all ports of an engine may lock their memory.
    fn within_limit(&self, slot_bytes: u64, depth: u32) -> Result<Array, SizingError> {
        let array = self.array(slot_bytes, depth)?;
        let region = usize::try_from(array.region_bytes()).map_or(u64::MAX, |bytes| Region::mapped_bytes(bytes) as u64);
        let peer = region.saturating_add(queue_bytes(array.requests()));
        let others = METADATA_REGION + OTHER_PORTS * queue_bytes(metadata_requests(self.geometry.members()));
        let bytes = peer.saturating_mul(u64::from(self.peers)) + others;
        match self.limit.filter(|&limit| bytes > limit) {
            Some(limit) => Err(SizingError::Locked { peers: self.peers, depth, bytes, limit }),
            None => Ok(array),
        }
    }
}

/// Bytes that this process may lock; `None` without a limit, as for root.
pub(super) fn locked_memory_limit() -> Option<u64> {
    let unlimited = nix::unistd::geteuid().is_root();
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (!unlimited && soft != nix::libc::RLIM_INFINITY).then_some(soft)
}

fn whole_blocks(bytes: u64) -> Option<u32> {
    let good = bytes > 0 && bytes <= SIZE_MAX && bytes.is_multiple_of(BLOCK_BYTES);
    u32::try_from(bytes).ok().filter(|_| good)
}

/// Slots per peer: enough to keep devices busy with whole requests, and few enough that the memory of all peers stays in
/// a last-level cache beside what the devices' own copies take (measured: 4 are faster than 8 by a tenth).
pub const DEPTH: u32 = 4;
/// The ledger's port, and those of the main thread and control, which register next to nothing.
const OTHER_PORTS: u64 = 3;
/// How often a slot may be halved to fit under the limit of locked memory.
const SLOT_HALVINGS: u32 = 3;
/// A slot whose size was not given makes whole requests, but is no smaller than what hides a turn's cost, and no larger
/// than what a core's cache holds for a moment.
const SLOT_BYTES_MIN: u64 = 1 << 20;
const SLOT_BYTES_MAX: u64 = 4 << 20;
const SIZE_MAX: u64 = 64 << 20;
pub(super) const REQUESTS_MAX: u64 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_control::raid::geometry::Level;

    fn sized(members: usize, chunk: u64, page: u64, ask: Ask) -> Result<Array, SizingError> {
        let geometry = Geometry::new(Level::Raid0, members, chunk, page).expect("a usable shape");
        let layout = Layout::new(geometry, 4 << 30).expect("room");
        size(geometry, layout, ask).map(|(array, _)| array)
    }

    #[test]
    fn a_slot_holds_whole_stripes_of_one_frame() {
        let ask = Ask { depth: Some(4), slot_bytes: Some(1 << 20), request_bytes: 512 << 10, peers: 1 };
        #[rustfmt::skip]
        let cases = [
            // members, chunk, page, rows of a slot
            (4, 64 << 10, 4 << 20, 4),
            (5, 64 << 10, 4 << 20, 3),
            (1, 16 << 10, 4 << 20, 64),
            (4, 1 << 20, 4 << 20, 1),
            (2, 64 << 10, 128 << 10, 1),
        ];
        for (members, chunk, page, rows) in cases {
            let array = sized(members, chunk, page, ask).expect("sizes");
            assert_eq!(array.slot_rows, rows, "{members} members, chunk {chunk}, page {page}");
        }
    }

    #[test]
    fn figures_that_cannot_work_are_refused() {
        let ask = Ask { depth: Some(4), slot_bytes: Some(1 << 20), request_bytes: 512 << 10, peers: 1 };
        let shape = |ask| sized(4, 64 << 10, 4 << 20, ask);
        assert_eq!(shape(Ask { request_bytes: 1000, ..ask }).unwrap_err(), SizingError::Request(1000));
        assert_eq!(shape(Ask { slot_bytes: Some(0), ..ask }).unwrap_err(), SizingError::Slot(0));
        assert!(matches!(shape(Ask { depth: Some(2000), ..ask }), Err(SizingError::Depth { .. })));
        assert!(matches!(shape(Ask { depth: Some(100_000), ..ask }), Err(SizingError::Depth { .. })));
        assert!(matches!(shape(Ask { depth: Some(u32::MAX), ..ask }), Err(SizingError::Depth { .. })));
    }
}
