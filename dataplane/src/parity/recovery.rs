//! Which lost shards follow from what is left, and how.
//!
//! With the sums over what is there, `s = P + sum D_j` and `t = Q + sum g^j D_j` (a missing P or Q left out):
//!
//! ```text
//!   lost          s          t                each wanted shard is a s + b t
//!   D_x           D_x        -                D_x = s             needs no Q
//!   D_x, D_y      D_x + D_y  g^x D_x + g^y D_y   D_x = (g^y s + t) / (g^x + g^y)   and the same for y
//!   D_x, P        P + D_x    g^x D_x          D_x = t / g^x       P = s + t / g^x
//!   D_x, Q        D_x        g^x D_x + Q      D_x = s             Q = g^x s + t
//!   P, Q          P          Q                P = s               Q = t
//! ```
//!
//! Powers of g below 255 differ, so `g^x + g^y` is never 0.

use super::DATA_MAX;
use super::dispatch::Supported;
use super::field::{Factor, inverse, multiply, power};
use super::passes::{Shards, Task, Wanted};

/// More is lost than parity can bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lost} shards of a stripe are lost and it has parity for {parities}: bring back one of the missing members")]
pub struct Unrecoverable {
    /// Shards that are missing.
    pub lost: usize,
    /// Shards of parity that the stripe has.
    pub parities: usize,
}

/// Does what `Kernels::reconstruct` promises.
pub(super) fn reconstruct(
    kernels: Supported,
    data: usize,
    shards: &[Option<&[u8]>],
    wanted: &mut [(usize, &mut [u8])],
) -> Result<(), Unrecoverable> {
    let bytes = check(data, shards, wanted);
    let lost = shards.iter().filter(|shard| shard.is_none()).count();
    let parities = shards.len() - data;
    if lost > parities {
        return Err(Unrecoverable { lost, parities });
    }
    let (p, q) = (shards[data], shards.get(data + 1).copied().flatten());
    let weights = |index| weights(data, shards, index);
    match wanted {
        [] => {}
        // The sum over data and P, of which one is missing, is the missing one.
        [(index, shard)] if *index <= data && shards[..=data].iter().filter(|shard| shard.is_none()).count() == 1 => {
            kernels.run(Task::SumOfRest { sources: &shards[..=data], sum: shard }, 0..bytes);
        }
        [(index, shard)] => {
            let (a, b) = weights(*index);
            let shards = Shards { data: &shards[..data], p, q };
            kernels.run(Task::Solve { shards, wanted: &mut [Wanted { a, b, shard }] }, 0..bytes);
        }
        [(first, one), (second, two)] => {
            let ((a, b), (c, d)) = (weights(*first), weights(*second));
            let wanted = &mut [Wanted { a, b, shard: one }, Wanted { a: c, b: d, shard: two }];
            kernels.run(Task::Solve { shards: Shards { data: &shards[..data], p, q }, wanted }, 0..bytes);
        }
        _ => unreachable!("no more are wanted than are lost"),
    }
    Ok(())
}

/// How the missing shard `index` follows from s and t.
fn weights(data: usize, shards: &[Option<&[u8]>], index: usize) -> (&'static Factor, &'static Factor) {
    let (p, q) = (data, data + 1);
    let other = (0..shards.len()).find(|&other| other != index && shards[other].is_none());
    let (a, b) = match other {
        Some(y) if y < data && index < data => {
            let inverse = inverse(power(index) ^ power(y));
            (multiply(power(y), inverse), inverse)
        }
        Some(x) if x < data && index == p => (1, inverse(power(x))),
        Some(x) if x < data => (power(x), 1),
        Some(other) if other == p && index < data => (0, inverse(power(index))),
        _ if index == q => (0, 1),
        _ => (1, 0),
    };
    (Factor::of(a), Factor::of(b))
}

/// The length of the shards.
fn check(data: usize, shards: &[Option<&[u8]>], wanted: &[(usize, &mut [u8])]) -> usize {
    assert!((1..=DATA_MAX).contains(&data), "a stripe has 1 to {DATA_MAX} shards of data");
    assert!((data + 1..=data + 2).contains(&shards.len()), "a stripe has 1 or 2 shards of parity");
    for (at, (index, _)) in wanted.iter().enumerate() {
        assert!(shards[*index].is_none(), "shard {index} is not missing");
        assert!(wanted[..at].iter().all(|(other, _)| other != index), "shard {index} is wanted twice");
    }
    let there = shards.iter().flatten().map(|shard| shard.len());
    let mut lengths = there.chain(wanted.iter().map(|(_, shard)| shard.len()));
    let bytes = lengths.next().unwrap_or(0);
    assert!(lengths.all(|other| other == bytes), "shards of a stripe are equally long");
    bytes
}
