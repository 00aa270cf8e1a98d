//! Every kernel of every instruction set that this processor has, against arithmetic that is obviously right.

use super::*;
use crate::checksum::crc32c;
use proptest::prelude::*;

/// A product in the field, bit by bit.
fn product(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 == 0 { 0 } else { 0x1d };
        b >>= 1;
    }
    product
}

/// P and Q, byte by byte, as their definitions say.
fn parity_of(data: &[Vec<u8>]) -> [Vec<u8>; 2] {
    let bytes = data[0].len();
    let (mut p, mut q) = (vec![0; bytes], vec![0; bytes]);
    let mut weight = 1;
    for shard in data {
        for (at, &byte) in shard.iter().enumerate() {
            p[at] ^= byte;
            q[at] ^= product(weight, byte);
        }
        weight = product(weight, 2);
    }
    [p, q]
}

/// The kernels that can be tested here. What a processor lacks is said, so that a run shows what it has proved.
fn kernels() -> Vec<Kernels> {
    let (here, absent): (Vec<_>, Vec<_>) = InstructionSet::ALL.iter().partition(|&&set| Kernels::with(set).is_some());
    if !absent.is_empty() {
        println!("this processor lacks {absent:?}: compiled, not run");
    }
    here.into_iter().filter_map(|&set| Kernels::with(set)).collect()
}

/// Shards of chance with a guard before and behind each, starting anywhere in memory.
#[derive(Clone, Debug)]
struct Memory {
    bytes: usize,
    shards: Vec<(usize, Vec<u8>)>,
}

impl Memory {
    fn new(count: usize, bytes: usize, seed: u64) -> Memory {
        let mut state = seed;
        let mut next = move || {
            state = crate::checksum::mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
            state
        };
        let shard = |_| {
            let offset = usize::try_from(next() % 67).unwrap();
            let memory = (0..offset + bytes + GUARD).map(|_| next().to_le_bytes()[3]).collect();
            (offset, memory)
        };
        Memory { bytes, shards: (0..count).map(shard).collect() }
    }

    fn shard(&self, index: usize) -> &[u8] {
        let (offset, memory) = &self.shards[index];
        &memory[*offset..offset + self.bytes]
    }

    fn all(&self) -> Vec<&[u8]> {
        (0..self.shards.len()).map(|index| self.shard(index)).collect()
    }

    fn owned(&self) -> Vec<Vec<u8>> {
        self.all().into_iter().map(<[u8]>::to_vec).collect()
    }

    fn each_mut(&mut self) -> Vec<&mut [u8]> {
        let bytes = self.bytes;
        self.shards.iter_mut().map(|(offset, memory)| &mut memory[*offset..*offset + bytes]).collect()
    }

    /// Whether nothing beside the shards has changed.
    fn guards_as_in(&self, before: &Memory) -> bool {
        self.shards.iter().zip(&before.shards).all(|((offset, now), (_, then))| {
            now[..*offset] == then[..*offset] && now[offset + self.bytes..] == then[offset + self.bytes..]
        })
    }
}

const GUARD: usize = 70;

/// Lengths around each size of vector and block, and a whole number of rows and a bit.
const LENGTHS: [usize; 22] =
    [0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 4096, 4099, 8192 + 77];

#[test]
fn the_fastest_that_the_processor_has_is_chosen() {
    let names: Vec<_> = kernels().iter().map(|kernels| kernels.instructions().name()).collect();
    println!("ran: {}", names.join(", "));
    assert_eq!(names[0], "scalar");
    assert_eq!(Kernels::detect(), *kernels().last().unwrap());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flags: &[&str]| flags.iter().all(|flag| info.split_whitespace().any(|word| word == *flag));
    if cfg!(target_arch = "x86_64") && !info.is_empty() {
        assert_eq!(names.contains(&"AVX2"), has(&["avx2"]));
        assert_eq!(names.contains(&"AVX-512"), has(&["avx512f", "avx512bw"]));
        assert_eq!(names.contains(&"GFNI"), has(&["avx512f", "avx512bw", "gfni"]));
    }
}

#[test]
fn encoding_is_the_definition_for_all_counts_and_odd_lengths() {
    for kernels in kernels() {
        for data in 1..=16 {
            for (seed, &bytes) in (0..).zip(&LENGTHS) {
                check_encoding(kernels, data, bytes, seed);
            }
        }
        check_encoding(kernels, DATA_MAX, 300, 7);
    }
}

fn check_encoding(kernels: Kernels, data: usize, bytes: usize, seed: u64) {
    let context = format!("{kernels:?}, {data} x {bytes} bytes, seed {seed}");
    let sources = Memory::new(data, bytes, seed);
    let want = parity_of(&sources.owned());
    for parities in 1..=2 {
        let before = Memory::new(parities, bytes, !seed);
        let mut parity = before.clone();
        kernels.encode(&sources.all(), &mut parity.each_mut());
        assert_eq!(parity.owned(), want[..parities], "{context}");
        assert!(parity.guards_as_in(&before), "{context}");

        let mut parity = before.clone();
        let mut leaves = vec![];
        kernels.encode_rows(&sources.all(), &mut parity.each_mut(), |shard, row, crc| leaves.push((row, shard, crc)));
        assert_eq!(parity.owned(), want[..parities], "{context}, by rows");
        assert!(parity.guards_as_in(&before), "{context}, by rows");
        let shards: Vec<&[u8]> = sources.all().into_iter().chain(want[..parities].iter().map(Vec::as_slice)).collect();
        let rows = bytes.div_ceil(4096);
        let row = |row: usize, shard: usize| crc32c(&shards[shard][row * 4096..bytes.min((row + 1) * 4096)]);
        let want: Vec<_> =
            (0..rows).flat_map(|r| (0..shards.len()).map(move |s| (r, s))).map(|(r, s)| (r, s, row(r, s))).collect();
        assert_eq!(leaves, want, "{context}");
    }
}

#[test]
fn updates_give_what_encoding_anew_gives() {
    for kernels in kernels() {
        for data in 1..=16 {
            for (index, &bytes) in (0..data).cycle().zip(&LENGTHS) {
                check_update(kernels, data, index, bytes);
            }
        }
        check_update(kernels, DATA_MAX, DATA_MAX - 1, 300);
    }
}

fn check_update(kernels: Kernels, data: usize, index: usize, bytes: usize) {
    let context = format!("{kernels:?}, shard {index} of {data}, {bytes} bytes");
    let (sources, change) = (Memory::new(data, bytes, 5), Memory::new(1, bytes, 6));
    let mut changed = sources.owned();
    changed[index] = change.owned().remove(0);
    let (old, new, want) = (sources.shard(index), change.shard(0), parity_of(&changed));
    let mut before = Memory::new(2, bytes, 8);
    for (shard, parity) in before.each_mut().into_iter().zip(parity_of(&sources.owned())) {
        shard.copy_from_slice(&parity);
    }
    let (mut apart, mut together) = (before.clone(), before.clone());
    if let [p, q] = &mut apart.each_mut()[..] {
        kernels.update_p(old, new, p);
        kernels.update_q(index, old, new, q);
    }
    if let [p, q] = &mut together.each_mut()[..] {
        kernels.update_pq(index, old, new, p, q);
    }
    assert_eq!(apart.owned(), want, "{context}");
    assert_eq!(together.owned(), want, "{context}");
    assert!(apart.guards_as_in(&before) && together.guards_as_in(&before), "{context}");
}

#[test]
fn any_one_or_two_lost_shards_come_back() {
    for kernels in kernels() {
        for data in 1..=16 {
            let bytes = LENGTHS[(data * 5) % LENGTHS.len()].max(1);
            for parities in 1..=2 {
                check_recovery(kernels, data, parities, bytes);
            }
        }
        for bytes in LENGTHS {
            check_recovery(kernels, 3, 2, bytes);
        }
    }
}

/// All choices of lost shards, and of those wanted among them in both orders.
fn check_recovery(kernels: Kernels, data: usize, parities: usize, bytes: usize) {
    let sources = Memory::new(data, bytes, 11);
    let shards: Vec<Vec<u8>> = sources.owned().into_iter().chain(parity_of(&sources.owned())).collect();
    let count = data + parities;
    for x in 0..count {
        check_lost(kernels, data, &shards[..count], &[x], &[x]);
        for y in (0..count).filter(|&y| y != x && parities == 2) {
            check_lost(kernels, data, &shards[..count], &[x, y], &[x, y]);
            check_lost(kernels, data, &shards[..count], &[x, y], &[x]);
        }
    }
}

fn check_lost(kernels: Kernels, data: usize, shards: &[Vec<u8>], lost: &[usize], wanted: &[usize]) {
    let there: Vec<Option<&[u8]>> =
        shards.iter().enumerate().map(|(index, shard)| (!lost.contains(&index)).then_some(&shard[..])).collect();
    let before = Memory::new(wanted.len(), shards[0].len(), 12);
    let mut found = before.clone();
    let mut targets: Vec<_> = wanted.iter().copied().zip(found.each_mut()).collect();
    kernels.reconstruct(data, &there, &mut targets).unwrap();
    let context = format!("{kernels:?}, {data} of {}, lost {lost:?}, wanted {wanted:?}", shards.len());
    for (at, &index) in wanted.iter().enumerate() {
        assert!(found.shard(at) == &shards[index][..], "{context}");
    }
    assert!(found.guards_as_in(&before), "{context}");
}

#[test]
fn what_cannot_be_brought_back_is_refused_with_a_sentence() {
    let shard = [1u8; 8];
    let (mut one, mut two) = ([9; 8], [9; 8]);
    let error =
        Kernels::detect().reconstruct(2, &[None, None, Some(&shard)], &mut [(0, &mut one), (1, &mut two)]).unwrap_err();
    assert_eq!(error, Unrecoverable { lost: 2, parities: 1 });
    assert!(error.to_string().starts_with("2 shards of a stripe are lost and it has parity for 1: "));
    let error = Kernels::detect().reconstruct(2, &[None, None, None, Some(&shard)], &mut [(0, &mut one)]).unwrap_err();
    assert_eq!(error, Unrecoverable { lost: 3, parities: 2 });
    assert_eq!((one, two), ([9; 8], [9; 8]));
}

#[test]
#[should_panic(expected = "equally long")]
fn shards_of_different_length_are_a_mistake_of_the_caller() {
    Kernels::detect().encode(&[&[1, 2], &[3]], &mut [&mut [0, 0]]);
}

#[test]
#[should_panic(expected = "not missing")]
fn a_shard_that_is_there_is_not_brought_back() {
    let _ = Kernels::detect().reconstruct(1, &[Some(&[1]), None], &mut [(0, &mut [0])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn everything_agrees_for_any_shape(data in 1usize..=20, bytes in 1usize..1200, seed: u64, x: usize, y: usize) {
        for kernels in kernels() {
            check_encoding(kernels, data, bytes, seed);
            check_update(kernels, data, x % data, bytes);
            let sources = Memory::new(data, bytes, seed);
            let shards: Vec<Vec<u8>> = sources.owned().into_iter().chain(parity_of(&sources.owned())).collect();
            let (x, y) = (x % (data + 2), y % (data + 2));
            if x != y {
                check_lost(kernels, data, &shards, &[x, y], &[y, x]);
            }
        }
    }
}
