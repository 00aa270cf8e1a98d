//! What blocks hold: bytes that tell the block and its version, and rows read back without the code that wrote them.

use bireme_control::raid::geometry::Place;
use bireme_control::raid::members::Members;
use bireme_dataplane::checksum::Leaf;
use bireme_dataplane::parity::Kernels;
use bireme_dataplane::volume::Volume;

/// How often a block was written; 0 is what it held at first.
pub type Version = u32;

/// Reads a block of a disk: (disk, block).
pub type Reader<'a> = &'a dyn Fn(u16, u64) -> [u8; 4096];

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

/// Some blocks of a page that share their redundancy: one block of each chunk of a unit, at the same height.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which page of the volume.
    pub page: usize,
    /// Which unit of the page.
    pub unit: u64,
    /// Which block of its chunks.
    pub block: u64,
}

impl Row {
    /// All rows of a volume.
    pub fn all(volume: &Volume) -> impl Iterator<Item = Row> + use<> {
        let (units, blocks) = (units_of_frame(volume), u64::from(volume.geometry.chunk_bytes()) / 4096);
        let pages = 0..volume.frames.len();
        pages.flat_map(move |page| {
            (0..units).flat_map(move |unit| (0..blocks).map(move |block| Row { page, unit, block }))
        })
    }

    /// Which blocks of the volume these are; the last ones of a page may be padding, which nobody can address.
    pub fn blocks(self, volume: &Volume) -> impl Iterator<Item = Option<u64>> + use<> {
        let geometry = volume.geometry;
        let chunk_blocks = u64::from(geometry.chunk_bytes()) / 4096;
        let page_blocks = u64::from(geometry.page_bytes()) / 4096;
        let first = self.unit * u64::from(geometry.unit_chunks());
        (first..first + u64::from(geometry.unit_chunks())).map(move |chunk| {
            let within = chunk * chunk_blocks + self.block;
            (within < page_blocks).then(|| self.page as u64 * page_blocks + within)
        })
    }

    /// The data of a row, with what is lost brought back. Every copy, parity and leaf that is left is compared on the way.
    ///
    /// # Errors
    /// What does not agree.
    pub fn data(self, volume: &Volume, disks: Reader<'_>, lost: Members) -> Result<Vec<[u8; 4096]>, String> {
        let geometry = volume.geometry;
        let unit = volume.frames[self.page] * units_of_frame(volume) + self.unit;
        let chunks = unit * u64::from(geometry.unit_chunks())..(unit + 1) * u64::from(geometry.unit_chunks());
        if geometry.parities() == 0 {
            let copies = (0..geometry.copies()).map(|copy| geometry.place(unit, copy));
            let mut found = copies.filter_map(|place| self.block_at(volume, disks, lost, place).transpose());
            let first = found.next().ok_or("every copy is lost")??;
            for other in found {
                if other? != first {
                    return Err("two copies differ".to_owned());
                }
            }
            return Ok(vec![first]);
        }
        let mut places: Vec<Place> = chunks.map(|chunk| geometry.place(chunk, 0)).collect();
        let data = places.len();
        places.extend([geometry.p(unit), geometry.q(unit)].into_iter().flatten());
        let shards: Result<Vec<_>, _> =
            places.into_iter().map(|place| self.block_at(volume, disks, lost, place)).collect();
        complete(data, shards?)
    }

    /// The block of this height at a place, if its member is there.
    fn block_at(
        self,
        volume: &Volume,
        disks: Reader<'_>,
        lost: Members,
        place: Place,
    ) -> Result<Option<[u8; 4096]>, String> {
        if lost.contains(place.member) {
            return Ok(None);
        }
        let frame = volume.frames[self.page];
        let row = place.row - frame * u64::from(volume.geometry.frame_rows());
        let index = row * u64::from(volume.geometry.chunk_bytes()) / 4096 + self.block;
        let number = volume.layout.data_offset(frame) / 4096 + index;
        let leaves = disks(place.member, volume.layout.leaf_offset(frame) / 4096 + index / 512);
        let leaf = Leaf(u64::from_le_bytes(leaves.as_chunks::<8>().0[usize::try_from(index % 512).expect("small")]));
        let bytes = disks(place.member, number);
        match leaf {
            Leaf::ABSENT => Ok(Some([0; 4096])),
            leaf if leaf == Leaf::of(&bytes, number, volume.generation) => Ok(Some(bytes)),
            _ => Err(format!("{self:?}: the leaf of member {} is not that of its block", place.member)),
        }
    }
}

fn units_of_frame(volume: &Volume) -> u64 {
    u64::from(volume.geometry.frame_chunks() / u32::from(volume.geometry.unit_chunks()))
}

/// The data of a unit of which some shards are missing; what is there must agree.
fn complete(data: usize, shards: Vec<Option<[u8; 4096]>>) -> Result<Vec<[u8; 4096]>, String> {
    let kernels = Kernels::detect();
    let there: Vec<Option<&[u8]>> = shards.iter().map(|shard| shard.as_ref().map(|bytes| bytes.as_slice())).collect();
    let gone: Vec<usize> = (0..shards.len()).filter(|&index| shards[index].is_none()).collect();
    let mut found = vec![[0; 4096]; gone.len()];
    let mut wanted: Vec<(usize, &mut [u8])> =
        gone.iter().copied().zip(found.iter_mut().map(|bytes| bytes.as_mut_slice())).collect();
    kernels.reconstruct(data, &there, &mut wanted).map_err(|error| error.to_string())?;
    let mut whole = shards.clone();
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
