//! Data sets as the tests know them without the engine.

use std::path::{Path, PathBuf};

/// Bytes that do not repeat and that a seed decides (xorshift64 by Marsaglia).
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        data.extend(next());
    }
    data.truncate(bytes);
    data
}

/// An input file of noise, and its bytes.
///
/// # Panics
/// When it cannot be written.
pub fn input(folder: &Path, seed: u64, bytes: usize) -> (PathBuf, Vec<u8>) {
    let (path, data) = (folder.join(format!("input-{seed}-{bytes}")), noise(seed, bytes));
    std::fs::write(&path, &data).expect("room for the input");
    (path, data)
}

/// Generated data by the description alone: word j of block b of set s is `w ^ (w >> 29)`, where `w` is
/// `mix(mix(mix(seed) ^ s) ^ b) + j * G`, `mix` is one step of splitmix64 and `G` its increment.
pub fn generated(seed: u64, set: u64, bytes: usize) -> Vec<u8> {
    const G: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |value: u64| {
        let mut z = value.wrapping_add(G);
        z ^= z >> 30;
        z = z.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^= z >> 27;
        z = z.wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let word = |index: u64| {
        let (block, within) = (index / 512, index % 512);
        let w = mix(mix(mix(seed) ^ set) ^ block).wrapping_add(G.wrapping_mul(within));
        (w ^ (w >> 29)).to_le_bytes()
    };
    let mut data: Vec<u8> = (0..bytes.div_ceil(8) as u64).flat_map(word).collect();
    data.truncate(bytes);
    data
}

/// Compares without printing megabytes.
///
/// # Panics
/// When they differ: says where first.
#[track_caller]
pub fn assert_same(found: &[u8], want: &[u8], what: &str) {
    assert_eq!(found.len(), want.len(), "{what}: the length");
    let first = found.iter().zip(want).position(|(a, b)| a != b);
    assert_eq!(first, None, "{what}: the first byte that differs");
}
