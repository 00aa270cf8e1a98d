//! The bytes of a generated set, computed apart from the product's own code, from what its documentation says.
//!
//! A block of 4 KiB has a base mixed from the seed, the number of the set and the block's index; word i of the block
//! is the base plus i times an odd constant, folded once by a shift of 29.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Whether a file is exactly the generated set with this number; if not, how it differs.
///
/// # Errors
/// The file cannot be read.
pub fn compare(path: &Path, seed: u64, set: u64, bytes: u64) -> io::Result<Result<(), String>> {
    let length = path.metadata()?.len();
    if length != bytes {
        return Ok(Err(format!("it has {length} bytes instead of {bytes}")));
    }
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut found = [0; 4096];
    for block in 0..bytes.div_ceil(4096) {
        let valid = usize::try_from((bytes - block * 4096).min(4096)).expect("at most a block");
        file.read_exact(&mut found[..valid])?;
        if found[..valid] != self::block(seed, set, block)[..valid] {
            return Ok(Err(format!("block {block} is not that of set {set}")));
        }
    }
    Ok(Ok(()))
}

/// One block of a generated set.
pub fn block(seed: u64, set: u64, index: u64) -> [u8; 4096] {
    let base = splitmix(splitmix(splitmix(seed) ^ set) ^ index);
    let mut block = [0; 4096];
    for (word, place) in (0u64..).zip(block.chunks_exact_mut(8)) {
        let value = base.wrapping_add(GOLDEN.wrapping_mul(word));
        place.copy_from_slice(&(value ^ (value >> 29)).to_le_bytes());
    }
    block
}

/// One step of splitmix64 from this state.
pub fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_product_writes() {
        for (seed, set, index) in [(1, 1, 0), (7, 3, 11), (u64::MAX, 1 << 40, 9)] {
            let mut want = [0; 4096];
            bireme_dataplane::pattern::Pattern::new(seed, set).fill(index, &mut want);
            assert!(block(seed, set, index) == want);
        }
    }
}
