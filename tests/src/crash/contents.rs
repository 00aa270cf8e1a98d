//! What blocks hold: bytes that tell the block and its version, and a row read back by the document alone.

use bireme_control::raid::geometry::Place;
use bireme_control::raid::members::Members;
use bireme_dataplane::checksum::Leaf;
use bireme_dataplane::parity::Kernels;
use bireme_dataplane::volume::Volume;

use super::disks::Disks;

/// How often a block was written; 0 is what it held at first.
pub type Version = u32;

/// The bytes of a block: no two blocks, versions or words of them are alike.
pub fn bytes_of(block: u64, version: Version) -> [u8; 4096] {
    let mut bytes = [0; 4096];
    let mut state = (block << 32 | u64::from(version)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in bytes.as_chunks_mut::<8>().0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *word = state.to_le_bytes();
    }
    bytes
}

/// The data of the first block row of a page's unit `unit`, with what is lost brought back; every parity and leaf is
/// compared on the way.
///
/// # Errors
/// What does not agree.
pub fn row_of(volume: &Volume, disks: &Disks, lost: Members, unit: u64) -> Result<Vec<[u8; 4096]>, String> {
    let geometry = volume.geometry;
    let frame = volume.frames[0];
    let unit = frame * u64::from(geometry.frame_chunks() / u32::from(geometry.unit_chunks())) + unit;
    let chunks = unit * u64::from(geometry.unit_chunks())..(unit + 1) * u64::from(geometry.unit_chunks());
    let mut places: Vec<Place> = chunks.map(|chunk| geometry.place(chunk, 0)).collect();
    let data = places.len();
    places.extend([geometry.p(unit), geometry.q(unit)].into_iter().flatten());
    let mut shards = Vec::new();
    for place in &places {
        if lost.contains(place.member) {
            shards.push(None);
            continue;
        }
        let row = place.row - frame * u64::from(geometry.frame_rows());
        let number = (volume.layout.data_offset(frame) + row * u64::from(geometry.chunk_bytes())) / 4096;
        let bytes = disks.block(place.member, number);
        let leaves = disks.block(place.member, volume.layout.leaf_offset(frame) / 4096);
        let index = usize::try_from(row * u64::from(geometry.chunk_bytes()) / 4096).expect("a small frame");
        let leaf = Leaf(u64::from_le_bytes(leaves.as_chunks::<8>().0[index]));
        if leaf != Leaf::of(&bytes, number, volume.generation) {
            return Err(format!("the leaf of member {} is not that of its block", place.member));
        }
        shards.push(Some(bytes));
    }
    let kernels = Kernels::detect();
    let mut whole = shards.clone();
    let there: Vec<Option<&[u8]>> = shards.iter().map(|shard| shard.as_ref().map(|bytes| bytes.as_slice())).collect();
    let gone: Vec<usize> = (0..shards.len()).filter(|&index| shards[index].is_none()).collect();
    let mut found = vec![[0; 4096]; gone.len()];
    let mut wanted: Vec<(usize, &mut [u8])> =
        gone.iter().copied().zip(found.iter_mut().map(|bytes| bytes.as_mut_slice())).collect();
    kernels.reconstruct(data, &there, &mut wanted).map_err(|error| error.to_string())?;
    gone.iter().zip(found).for_each(|(&index, bytes)| whole[index] = Some(bytes));
    let whole: Vec<[u8; 4096]> = whole.into_iter().flatten().collect();
    let sources: Vec<&[u8]> = whole[..data].iter().map(|bytes| bytes.as_slice()).collect();
    let mut parities = vec![[0; 4096]; whole.len() - data];
    kernels.encode(&sources, &mut parities.iter_mut().map(|bytes| bytes.as_mut_slice()).collect::<Vec<_>>());
    if parities != whole[data..] {
        return Err("parity and data do not agree".to_owned());
    }
    Ok(whole[..data].to_vec())
}
