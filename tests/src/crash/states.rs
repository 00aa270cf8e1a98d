//! What a crash can leave of a trace: everything that was flushed, and any part of what was not.
//!
//! ```text
//!   batch 1   w1 w2 | batch 2   w3 F | batch 3   w4         F flushes what earlier batches wrote to its disk
//!   crash in batch 3:  w1 w2 are there if they went to that disk; w3, w4 and the others in all combinations
//! ```
//!
//! States that an earlier batch could leave are not visited again while nothing more was promised meanwhile. Where so many writes are under way that their subsets cannot all be visited, some are drawn: none,
//! all, each alone, all but each, and a number of others from the seed.

use bireme_dataplane::port::simulated::Random;

use super::disks::{Batch, Disks, Write};

/// How far subsets go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Writes under way of which all subsets are visited.
    pub exhaustive: u32,
    /// Subsets that are drawn where there are more.
    pub drawn: u32,
    /// Also tear each write of a batch between sectors, with all and with none of the others.
    pub torn: bool,
}

/// Visits each state: what the disks hold, and how many batches had ended when the power went. What is under way in the
/// next batch may be there or not; and where a batch has made something durable, or is the last, so may what it has left
/// under way.
pub fn visit(before: &Disks, trace: &[Batch], bounds: Bounds, seed: u64, mut each: impl FnMut(&Disks, usize)) -> u64 {
    let mut random = Random::new(seed);
    let mut durable = before.clone();
    let mut under_way: Vec<&Write> = Vec::new();
    let mut visited = 0;
    for (index, batch) in trace.iter().enumerate() {
        let old = under_way.len();
        under_way.extend(&batch.writes);
        if under_way.len() > old {
            for subset in subsets(old, under_way.len(), bounds, &mut random) {
                let mut disks = durable.clone();
                apply(&mut disks, &under_way, &subset);
                each(&disks, index);
                visited += 1;
            }
            if bounds.torn {
                visited += tear(&durable, &under_way, old, &mut random, |disks| each(disks, index));
            }
        }
        // In the same batch a flush may come before the writes.
        let is_durable = |(at, write): (usize, &&Write)| at < old && batch.flushed.contains(write.disk);
        for (_, write) in under_way.iter().enumerate().filter(|&(at, write)| is_durable((at, write))) {
            durable.apply(write, u8::MAX);
        }
        let mut at = 0;
        under_way.retain(|write| {
            at += 1;
            !is_durable((at - 1, write))
        });
        if !batch.flushed.is_empty() || index + 1 == trace.len() {
            for subset in subsets(0, under_way.len(), bounds, &mut random) {
                let mut disks = durable.clone();
                apply(&mut disks, &under_way, &subset);
                each(&disks, index + 1);
                visited += 1;
            }
        }
    }
    visited
}

/// Subsets of `0..all`; if some of it is old, those with at least one of `old..all`.
fn subsets(old: usize, all: usize, bounds: Bounds, random: &mut Random) -> Vec<Vec<bool>> {
    let is_new = |subset: &Vec<bool>| old == 0 || subset[old..].contains(&true);
    if all <= bounds.exhaustive as usize {
        let bits = |mask: u32| (0..all).map(|at| mask >> at & 1 == 1).collect();
        return (0..1 << all).map(bits).filter(is_new).collect();
    }
    let mut chosen = vec![vec![true; all]];
    for at in 0..all {
        chosen.push((0..all).map(|other| other == at).collect());
        chosen.push((0..all).map(|other| other != at).collect());
    }
    for _ in 0..bounds.drawn {
        chosen.push((0..all).map(|_| random.below(2) == 0).collect());
    }
    chosen.into_iter().filter(is_new).collect()
}

fn apply(disks: &mut Disks, writes: &[&Write], subset: &[bool]) {
    writes.iter().zip(subset).filter(|(_, chosen)| **chosen).for_each(|(write, _)| disks.apply(write, u8::MAX));
}

/// Each new write torn, with all or none of the others.
fn tear(durable: &Disks, writes: &[&Write], old: usize, random: &mut Random, mut each: impl FnMut(&Disks)) -> u64 {
    let mut visited = 0;
    for torn in old..writes.len() {
        for others in [false, true] {
            let mut disks = durable.clone();
            let subset: Vec<bool> = (0..writes.len()).map(|at| others && at != torn).collect();
            apply(&mut disks, writes, &subset);
            let sectors = u8::try_from(1 + random.below(254)).expect("less than 256");
            disks.apply(writes[torn], sectors);
            each(&disks);
            visited += 1;
        }
    }
    visited
}
