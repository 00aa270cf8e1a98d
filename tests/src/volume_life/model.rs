//! What each block of a volume may hold, from what was asked and what was promised.

use std::collections::{BTreeMap, BTreeSet};

use crate::crash::contents::bytes_of;

/// Each write has a version of its own. 0 was never written.
pub type Version = u32;

/// A flat array of blocks, each with the versions that it may have.
#[derive(Clone, Debug)]
pub struct Model {
    blocks: Vec<Block>,
    version: Version,
    /// What a loss of power has torn, by block.
    torn: BTreeMap<u64, Box<[u8; 4096]>>,
}

#[derive(Clone, Debug)]
struct Block {
    /// What was acknowledged, oldest first; it began with what was found.
    history: Vec<Version>,
    /// Which of them a loss of power leaves at least.
    durable: usize,
    under_way: BTreeSet<Version>,
}

impl Block {
    fn of(version: Version) -> Block {
        Block { history: vec![version], durable: 0, under_way: BTreeSet::new() }
    }
}

impl Model {
    /// Nothing was written.
    pub fn new(blocks: u64) -> Model {
        Model { blocks: vec![Block::of(0); index(blocks)], version: 0, torn: BTreeMap::new() }
    }

    /// A write begins; its version.
    pub fn write(&mut self, block: u64, blocks: u64) -> Version {
        self.version += 1;
        for block in &mut self.blocks[index(block)..index(block + blocks)] {
            block.under_way.insert(self.version);
        }
        self.version
    }

    /// Whether one of these blocks is being written: of two writes at a time nobody can say which comes last.
    pub fn is_written(&self, block: u64, blocks: u64) -> bool {
        self.blocks[index(block)..index(block + blocks)].iter().any(|block| !block.under_way.is_empty())
    }

    /// A write was acknowledged.
    pub fn written(&mut self, block: u64, blocks: u64, version: Version, durable: bool) {
        for block in &mut self.blocks[index(block)..index(block + blocks)] {
            block.under_way.remove(&version);
            block.history.push(version);
            if durable {
                block.durable = block.history.len() - 1;
            }
        }
    }

    /// How much was acknowledged by now of each block: what a flush that begins promises to keep, and what a read may
    /// show at least.
    pub fn acknowledged(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.history.len() - 1).collect()
    }

    /// A flush was acknowledged that began when this was.
    pub fn flushed(&mut self, acknowledged: &[usize]) {
        for (block, &at) in self.blocks.iter_mut().zip(acknowledged) {
            block.durable = block.durable.max(at);
        }
    }

    /// Compares what a read has shown that began when this was acknowledged.
    ///
    /// # Errors
    /// It is none of the versions that it may be.
    pub fn read(&self, block: u64, bytes: &[u8], acknowledged: &[usize]) -> Result<(), String> {
        let now = &self.blocks[index(block)];
        let since = &now.history[acknowledged[index(block)]..];
        let mut may_be = since.iter().chain(&now.under_way);
        match may_be.any(|&version| self.bytes(block, version) == *bytes) {
            true => Ok(()),
            false => Err(format!("a read of block {block} shows none of {since:?} and {:?}", now.under_way)),
        }
    }

    /// The bytes of a version of a block.
    pub fn bytes(&self, block: u64, version: Version) -> [u8; 4096] {
        match version {
            0 => [0; 4096],
            TORN => *self.torn[&block],
            version => bytes_of(block, version),
        }
    }

    /// What was found after a loss of power stays, if it may be there: whole, or where `sectors` may differ, each of them.
    ///
    /// # Errors
    /// It may not be there.
    pub fn found(&mut self, block: u64, bytes: &[u8; 4096], sectors: bool) -> Result<(), String> {
        let now = &self.blocks[index(block)];
        let may_be: Vec<Version> = now.history[now.durable..].iter().chain(&now.under_way).copied().collect();
        let contents: Vec<[u8; 4096]> = may_be.iter().map(|&version| self.bytes(block, version)).collect();
        let is_known =
            |(index, sector): (usize, &[u8])| contents.iter().any(|content| content[index * 512..][..512] == *sector);
        let version = match contents.iter().position(|content| content == bytes) {
            Some(at) => may_be[at],
            None if sectors && bytes.chunks(512).enumerate().all(is_known) => {
                self.torn.insert(block, Box::new(*bytes));
                TORN
            }
            None => return Err(format!("after the power cut block {block} is none of {may_be:?}")),
        };
        self.blocks[index(block)] = Block::of(version);
        Ok(())
    }
}

/// Torn by a loss of power: a version like no other, whose bytes are kept.
const TORN: Version = Version::MAX;

fn index(block: u64) -> usize {
    usize::try_from(block).expect("few blocks")
}
