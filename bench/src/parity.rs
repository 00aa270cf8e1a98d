//! How fast parity and checksums are, from the second-level cache and from memory, beside Intel's ISA-L.
//!
//! ```text
//!   round 1: [4+1 hot: sweep, scalar, AVX2, .., ISA-L, ..] [4+1 cold: ..] [8+1 hot: ..] ..
//!   round 2: the same, each list begun one further on
//!   medians over the rounds; the ratio to ISA-L is taken round by round, so a drift of the machine touches both
//! ```
//!
//! Hot is one stripe again and again; cold goes on through an arena far larger than the caches, for data and parity.

use std::io;
use std::time::{Duration, Instant};

use bireme_dataplane::buffer::Region;
use bireme_dataplane::checksum::crc32c;
use bireme_dataplane::parity::Kernels;
use serde::Serialize;

use crate::versus::interval::{Interval, interval, median};

#[expect(unsafe_code, reason = "calls the functions of a C library that is found at run time")]
pub mod isal;
mod kernel;
mod report;

use isal::Isal;
use kernel::{Kernel, Stripe};
pub use report::{to_json, to_table};

/// What to measure.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Shards of data and of parity.
    pub shapes: Vec<Shape>,
    /// Bytes of one shard.
    pub shard_bytes: usize,
    /// Bytes that the cold kernels go through.
    pub cold_bytes: usize,
    /// How often each kernel is measured.
    pub rounds: usize,
    /// How long each time, in microseconds.
    pub slice_us: u64,
}

/// How many shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Of data.
    pub data: usize,
    /// Of parity.
    pub parity: usize,
}

/// Where the stripes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The second-level cache, if a stripe fits in there.
    Hot,
    /// Memory.
    Cold,
}

/// What one kernel reached.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    #[serde(flatten)]
    shape: Shape,
    source: Source,
    kernel: String,
    /// The median, 10^9 bytes of data per second.
    gb_per_s: f64,
    gb_per_s_interval: Option<Interval>,
    /// The median of the rounds' ratios to ISA-L.
    isal_ratio: Option<f64>,
    isal_ratio_interval: Option<Interval>,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The instructions that the data plane would use here.
    pub instructions: &'static str,
    /// Whether ISA-L was found.
    pub isal: bool,
    /// The pages under the arena.
    pub paging: &'static str,
    /// One for each shape, source and kernel.
    pub figures: Vec<Figure>,
}

/// The rates of the kernels of one list, round by round.
struct Group {
    shape: Shape,
    source: Source,
    kernels: Vec<Kernel>,
    rates: Vec<Vec<f64>>,
    /// The stripe to go on with.
    next: usize,
}

/// Measures, on the core that the caller has pinned itself to.
///
/// # Errors
/// When there is no memory, and when ISA-L and our kernels disagree.
pub fn measure(plan: &Plan) -> Result<Outcome, String> {
    let isal = Isal::load();
    let widest = plan.shapes.iter().map(|shape| (shape.data + shape.parity) * plan.shard_bytes).max().unwrap_or(0);
    let mut region = Region::new(plan.cold_bytes.max(widest))
        .map_err(|error: io::Error| format!("memory for the stripes: {error}; lower --cold"))?;
    let all = region.all();
    let paging = region.paging().describe();
    let arena = region.bytes_mut(all);
    fill(arena);
    let mut groups: Vec<Group> = plan.shapes.iter().flat_map(|&shape| groups(shape, isal)).collect();
    for group in &mut groups {
        if let Some(isal) = isal.filter(|_| group.shape.data >= 2) {
            agree(&arena[..group.shape.data * plan.shard_bytes], group.shape, isal)?;
        }
    }
    for round in 0..=plan.rounds {
        for group in &mut groups {
            group.round(plan, arena, round);
        }
    }
    let figures = groups.iter().flat_map(|group| group.figures(isal)).collect();
    Ok(Outcome { instructions: Kernels::detect().instructions().name(), isal: isal.is_some(), paging, figures })
}

fn groups(shape: Shape, isal: Option<Isal>) -> [Group; 2] {
    [Source::Hot, Source::Cold].map(|source| {
        let kernels = Kernel::all(shape.data, shape.parity, isal);
        Group { shape, source, rates: vec![vec![]; kernels.len()], kernels, next: 0 }
    })
}

impl Group {
    /// Each kernel once. Round 0 warms up and is not counted.
    fn round(&mut self, plan: &Plan, arena: &mut [u8], round: usize) {
        let stripe_bytes = (self.shape.data + self.shape.parity) * plan.shard_bytes;
        let used = if self.source == Source::Hot { stripe_bytes } else { arena.len() };
        let stripe = |memory| Stripe::new(memory, self.shape.data, plan.shard_bytes);
        let mut stripes: Vec<_> = arena[..used].chunks_exact_mut(stripe_bytes).map(stripe).collect();
        let slice = Duration::from_micros(plan.slice_us);
        for turn in 0..self.kernels.len() {
            let index = (turn + round) % self.kernels.len();
            let kernel = self.kernels[index];
            if self.source == Source::Hot {
                kernel.run(&mut stripes[0]);
            }
            let (mut done, start) = (0, Instant::now());
            let elapsed = loop {
                for _ in 0..STRIPES_PER_LOOK {
                    kernel.run(&mut stripes[self.next]);
                    self.next = (self.next + 1) % stripes.len();
                }
                done += STRIPES_PER_LOOK;
                let elapsed = start.elapsed();
                if elapsed >= slice {
                    break elapsed;
                }
            };
            if round > 0 {
                let bytes = done * kernel.bytes(self.shape.data, plan.shard_bytes);
                self.rates[index].push(bytes as f64 / 1e9 / elapsed.as_secs_f64());
            }
        }
    }

    fn figures(&self, isal: Option<Isal>) -> impl Iterator<Item = Figure> {
        self.kernels.iter().zip(&self.rates).map(move |(kernel, rates)| {
            let rival = kernel.rival(isal).map(Kernel::name);
            let rival = rival.and_then(|name| self.kernels.iter().position(|kernel| kernel.name() == name));
            let ratios: Option<Vec<f64>> =
                rival.map(|rival| rates.iter().zip(&self.rates[rival]).map(|(our, other)| our / other).collect());
            Figure {
                shape: self.shape,
                source: self.source,
                kernel: kernel.name(),
                gb_per_s: median(rates),
                gb_per_s_interval: interval(rates),
                isal_ratio: ratios.as_deref().map(median),
                isal_ratio_interval: ratios.as_deref().and_then(interval),
            }
        })
    }
}

/// That ISA-L, which others wrote, comes to the same parity and checksums.
fn agree(data: &[u8], shape: Shape, isal: Isal) -> Result<(), String> {
    let shard = data.len() / shape.data;
    let data: Vec<&[u8]> = data.chunks_exact(shard).collect();
    let mut region = Region::new(2 * shape.parity * shard).map_err(|error| format!("memory for parity: {error}"))?;
    let all = region.all();
    let (ours, theirs) = region.bytes_mut(all).split_at_mut(shape.parity * shard);
    Kernels::detect().encode(&data, &mut ours.chunks_exact_mut(shard).collect::<Vec<_>>());
    isal.encode(&data, &mut theirs.chunks_exact_mut(shard).collect::<Vec<_>>());
    let Shape { data: count, parity } = shape;
    if ours == theirs && crc32c(data[0]) == isal.crc32c(data[0]) {
        return Ok(());
    }
    Err(format!("ISA-L and Bireme disagree about {count}+{parity}: do not trust this build"))
}

fn fill(arena: &mut [u8]) {
    let mut state = 1u64;
    for word in arena.as_chunks_mut::<8>().0 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *word = (state ^ state >> 29).to_le_bytes();
    }
}

/// Looking at the clock costs some 30 ns, a stripe from the cache some 3 us.
const STRIPES_PER_LOOK: usize = 4;
