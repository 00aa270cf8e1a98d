//! Who asks a home for reads and writes.

use std::sync::Arc;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::reservation::LinkId;
use bireme_control::units::Nanos;

use crate::message::Failure;
use crate::port::{Next, Port};
use crate::reservation::{Allowance, Balances, Class, Manager};
use crate::volume::Volume;
use crate::volume::home::Home;

/// A user of one home, on the home's thread: [`Copier`](super::Copier) for the command line, and a benchmark's workload.
pub trait Client<P: Port>: Send {
    /// Takes what has ended, and asks for more while the home takes it; when `stopping`, nothing more.
    ///
    /// # Errors
    /// It cannot go on. The run ends, and what was acknowledged stays.
    fn turn(&mut self, home: &mut Home<P>, now: Nanos, stopping: bool) -> Result<Step, Failure>;
}

/// What a client's turn leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It wants another turn: at once, at a time, or when something has ended.
    On(Next),
    /// It wants another turn when something has ended, and at the latest then: until then its class, or its pace, holds it
    /// back.
    Held(Nanos),
    /// All is done, and every operation was given back.
    Done,
}

/// What the classes may use of a volume's array, in bytes of data.
#[derive(Clone, Debug, Default)]
pub struct Classes(Option<Arc<Balances>>);

impl Classes {
    pub(super) fn new(manager: Option<&Manager>) -> Classes {
        Classes(manager.map(|manager| manager.balances().clone()))
    }

    /// What a class has at one home; `None` where it may use what it wants.
    pub fn allowance(&self, class: Class) -> Option<Allowance> {
        Some(Allowance::new(self.0.clone()?, class.id()))
    }
}

/// The link of [`Classes`].
pub const ARRAY: LinkId = LinkId(0);

/// A run of blocks that lies at one home, and where its bytes begin elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first block.
    pub block: u64,
    /// How many.
    pub blocks: u32,
    /// Where its bytes lie in the client's file.
    pub at: u64,
}

/// Which blocks of a volume lie at a home.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    page_blocks: u64,
    homes: u64,
    home: u64,
    blocks: u64,
}

impl Share {
    /// Of home number `home`.
    pub fn new(volume: &Volume, home: u16) -> Share {
        let page_blocks = u64::from(volume.geometry.page_bytes()) / BLOCK_BYTES;
        Share { page_blocks, homes: u64::from(volume.homes), home: u64::from(home), blocks: volume.blocks }
    }

    /// How many blocks of the volume's are at this home.
    pub fn blocks(&self) -> u64 {
        let round = self.page_blocks * self.homes;
        let mine = self.page_blocks * self.home;
        let rest = (self.blocks % round).saturating_sub(mine).min(self.page_blocks);
        self.blocks / round * self.page_blocks + rest
    }

    /// The volume's block that is number `index` of this home's, and how many follow it without a gap, itself included.
    pub fn block(&self, index: u64) -> (u64, u64) {
        let (round, within) = (index / self.page_blocks, index % self.page_blocks);
        let block = (round * self.homes + self.home) * self.page_blocks + within;
        (block, (self.page_blocks - within).min(self.blocks - block))
    }

    /// The first page of this home's, or the one that follows one of them.
    pub fn page_after(&self, page: Option<u64>) -> Option<u64> {
        let next = page.map_or(self.home, |page| page + self.homes);
        (next * self.page_blocks < self.blocks).then_some(next)
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u32 {
        u32::try_from(self.page_blocks * BLOCK_BYTES).expect("a page of at most 64 MiB")
    }

    /// The first piece of at most `most` blocks of this run that lies here, and what of the run is behind it.
    pub fn cut(&self, mut run: Run, most: u32) -> Option<(Piece, Run)> {
        while run.blocks > 0 {
            let page = run.block / self.page_blocks;
            let until_next = (self.page_blocks - run.block % self.page_blocks).min(run.blocks);
            if page % self.homes == self.home {
                let blocks = u32::try_from(until_next).unwrap_or(u32::MAX).min(most);
                let piece = Piece { block: run.block, blocks, at: run.at };
                return Some((piece, run.behind(u64::from(blocks))));
            }
            run = run.behind(until_next);
        }
        None
    }
}

/// A run of blocks of a volume, at any homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block.
    pub block: u64,
    /// How many.
    pub blocks: u64,
    /// Where its bytes lie in the client's file.
    pub at: u64,
}

impl Run {
    fn behind(self, blocks: u64) -> Run {
        let bytes = blocks * BLOCK_BYTES;
        Run { block: self.block + blocks, blocks: self.blocks - blocks, at: self.at + bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(home: u64, homes: u64, blocks: u64) -> Share {
        Share { page_blocks: 4, homes, home, blocks }
    }

    #[test]
    fn homes_have_all_blocks_together_and_none_twice() {
        for homes in 1..5 {
            for blocks in 1..40 {
                let mut seen = [0; 40];
                for home in 0..homes {
                    let share = share(home, homes, blocks);
                    for index in 0..share.blocks() {
                        let (block, room) = share.block(index);
                        assert!(room >= 1 && block + room <= blocks, "{share:?}: {index}");
                        seen[usize::try_from(block).expect("few")] += 1;
                    }
                }
                let (all, behind) = seen.split_at(usize::try_from(blocks).expect("few"));
                assert!(all.iter().all(|&count| count == 1) && behind.iter().all(|&count| count == 0));
            }
        }
    }

    #[test]
    fn a_run_is_cut_at_pages_and_at_the_size_of_an_operation() {
        let mut run = Run { block: 3, blocks: 10, at: 4096 };
        let mut pieces = Vec::new();
        while let Some((piece, behind)) = share(1, 2, 100).cut(run, 3) {
            pieces.push((piece.block, piece.blocks, piece.at / 4096));
            run = behind;
        }
        assert_eq!(pieces, [(4, 3, 2), (7, 1, 5), (12, 1, 10)]);
    }
}
