//! The kernels, written once: one pass over all sources, four vectors of each at a time.
//!
//! ```text
//!   for each block of four vectors:   sum = source 0;  sum ^= source 1;  ..  store the sum
//! ```
//!
//! So each byte is read once, each sum stays in registers, and four independent chains hide the latency of the loads.
//! What a vector is and how it is multiplied is given by [`Lanes`]; everything here is inlined into the one function of
//! each instruction set, and is compiled with its instructions there. Q is summed by Horner's rule, last source first:
//! one doubling per source instead of a product with g^j.

use std::ops::Range;

use bytemuck::Pod;

use super::field::Factor;

/// What one instruction set does with one vector `V`.
#[derive(Clone, Copy)]
pub(super) struct Lanes<Xor, Double, Times> {
    /// `(V, V) -> V`
    pub(super) xor: Xor,
    /// `V -> V`, each byte times g.
    pub(super) double: Double,
    /// `(V, &Factor) -> V`, each byte times the factor.
    pub(super) times: Times,
}

/// One piece of work. All slices hold the range; bytes outside of it are not written.
pub(super) enum Task<'a> {
    /// `sum = sources[0] ^ sources[1] ^ ..`
    Sum { sources: &'a [&'a [u8]], sum: &'a mut [u8] },
    /// As `Sum`, over those that are there.
    SumOfRest { sources: &'a [Option<&'a [u8]>], sum: &'a mut [u8] },
    /// `p = sum D_j`, `q = sum g^j D_j`
    Syndromes { sources: &'a [&'a [u8]], p: &'a mut [u8], q: &'a mut [u8] },
    /// With `s = p + sum D_j` and `t = q + sum g^j D_j` over those that are there, each wanted is `a s + b t`.
    Solve { shards: Shards<'a>, wanted: &'a mut [Wanted<'a>] },
    /// `p += new - old`, `q += factor (new - old)`
    Update { old: &'a [u8], new: &'a [u8], p: Option<&'a mut [u8]>, q: Option<(&'static Factor, &'a mut [u8])> },
}

/// The shards of a stripe; those that are lost are missing.
#[derive(Clone, Copy)]
pub(super) struct Shards<'a> {
    pub(super) data: &'a [Option<&'a [u8]>],
    pub(super) p: Option<&'a [u8]>,
    pub(super) q: Option<&'a [u8]>,
}

/// A lost shard, and how it follows from the two syndromes.
pub(super) struct Wanted<'a> {
    pub(super) a: &'static Factor,
    pub(super) b: &'static Factor,
    pub(super) shard: &'a mut [u8],
}

/// Does the task over the range.
#[inline(always)]
pub(super) fn run<V, Xor, Double, Times>(task: Task<'_>, range: Range<usize>, lanes: Lanes<Xor, Double, Times>)
where
    V: Pod,
    Xor: Fn(V, V) -> V + Copy,
    Double: Fn(V) -> V + Copy,
    Times: Fn(V, &'static Factor) -> V + Copy,
{
    match task {
        Task::Sum { sources, sum } => add_up(sources, sum, range, lanes),
        Task::SumOfRest { sources, sum } => add_up(sources, sum, range, lanes),
        Task::Syndromes { sources, p, q } => syndromes(sources, p, q, range, lanes),
        Task::Solve { shards, wanted } => solve(shards, wanted, range, lanes),
        Task::Update { old, new, p, q } => update((old, new), p, q, range, lanes),
    }
}

#[inline(always)]
fn add_up<'a, V, S, Xor, Double, Times>(
    sources: &[S],
    sum: &mut [u8],
    range: Range<usize>,
    lanes: Lanes<Xor, Double, Times>,
) where
    V: Pod,
    S: Into<Option<&'a [u8]>> + Copy,
    Xor: Fn(V, V) -> V + Copy,
{
    for at in blocks::<V>(range.clone()) {
        let mut total = [V::zeroed(); VECTORS];
        for &source in sources {
            if let Some(source) = source.into() {
                total = add(total, read(source, at), lanes.xor);
            }
        }
        write(total, sum, at, range.end);
    }
}

#[inline(always)]
fn syndromes<V, Xor, Double, Times>(
    sources: &[&[u8]],
    p: &mut [u8],
    q: &mut [u8],
    range: Range<usize>,
    lanes: Lanes<Xor, Double, Times>,
) where
    V: Pod,
    Xor: Fn(V, V) -> V + Copy,
    Double: Fn(V) -> V + Copy,
{
    for at in blocks::<V>(range.clone()) {
        let (mut sum, mut weighted) = ([V::zeroed(); VECTORS], [V::zeroed(); VECTORS]);
        for source in sources.iter().rev() {
            let data = read(source, at);
            sum = add(sum, data, lanes.xor);
            weighted = add(weighted.map(lanes.double), data, lanes.xor);
        }
        write(sum, p, at, range.end);
        write(weighted, q, at, range.end);
    }
}

#[inline(always)]
fn solve<V, Xor, Double, Times>(
    shards: Shards<'_>,
    wanted: &mut [Wanted<'_>],
    range: Range<usize>,
    lanes: Lanes<Xor, Double, Times>,
) where
    V: Pod,
    Xor: Fn(V, V) -> V + Copy,
    Double: Fn(V) -> V + Copy,
    Times: Fn(V, &'static Factor) -> V + Copy,
{
    for at in blocks::<V>(range.clone()) {
        let (mut sum, mut weighted) = ([V::zeroed(); VECTORS], [V::zeroed(); VECTORS]);
        for source in shards.data.iter().rev() {
            weighted = weighted.map(lanes.double);
            if let Some(source) = source {
                let data = read(source, at);
                sum = add(sum, data, lanes.xor);
                weighted = add(weighted, data, lanes.xor);
            }
        }
        if let Some(p) = shards.p {
            sum = add(sum, read(p, at), lanes.xor);
        }
        if let Some(q) = shards.q {
            weighted = add(weighted, read(q, at), lanes.xor);
        }
        for Wanted { a, b, shard } in wanted.iter_mut() {
            let found = add(sum.map(|v| (lanes.times)(v, a)), weighted.map(|v| (lanes.times)(v, b)), lanes.xor);
            write(found, shard, at, range.end);
        }
    }
}

#[inline(always)]
fn update<V, Xor, Double, Times>(
    (old, new): (&[u8], &[u8]),
    mut p: Option<&mut [u8]>,
    mut q: Option<(&'static Factor, &mut [u8])>,
    range: Range<usize>,
    lanes: Lanes<Xor, Double, Times>,
) where
    V: Pod,
    Xor: Fn(V, V) -> V + Copy,
    Times: Fn(V, &'static Factor) -> V + Copy,
{
    for at in blocks::<V>(range.clone()) {
        let change = add(read(old, at), read(new, at), lanes.xor);
        if let Some(p) = &mut p {
            write(add(read(p, at), change, lanes.xor), p, at, range.end);
        }
        if let Some((factor, q)) = &mut q {
            let weighted = change.map(|v| (lanes.times)(v, factor));
            write(add(read(q, at), weighted, lanes.xor), q, at, range.end);
        }
    }
}

#[inline(always)]
fn blocks<V>(range: Range<usize>) -> impl Iterator<Item = usize> {
    range.step_by(size_of::<[V; VECTORS]>())
}

#[inline(always)]
fn add<V: Copy>(mut a: [V; VECTORS], b: [V; VECTORS], xor: impl Fn(V, V) -> V) -> [V; VECTORS] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = xor(*a, b);
    }
    a
}

/// The block at `at`. What lies behind the range may come along: it is never written.
#[inline(always)]
fn read<V: Pod>(source: &[u8], at: usize) -> [V; VECTORS] {
    match source.get(at..at + size_of::<[V; VECTORS]>()) {
        Some(bytes) => bytemuck::pod_read_unaligned(bytes),
        None => read_end(&source[at..]),
    }
}

#[inline(always)]
fn write<V: Pod>(block: [V; VECTORS], target: &mut [u8], at: usize, end: usize) {
    match target[..end].get_mut(at..at + size_of::<[V; VECTORS]>()) {
        Some(bytes) => bytes.copy_from_slice(bytemuck::bytes_of(&block)),
        None => write_end(&block, &mut target[at..end]),
    }
}

#[cold]
#[inline(never)]
fn read_end<V: Pod>(bytes: &[u8]) -> [V; VECTORS] {
    let mut block = [V::zeroed(); VECTORS];
    bytemuck::bytes_of_mut(&mut block)[..bytes.len()].copy_from_slice(bytes);
    block
}

#[cold]
#[inline(never)]
fn write_end<V: Pod>(block: &[V; VECTORS], target: &mut [u8]) {
    target.copy_from_slice(&bytemuck::bytes_of(block)[..target.len()]);
}

/// Vectors of each source in flight.
const VECTORS: usize = 4;
