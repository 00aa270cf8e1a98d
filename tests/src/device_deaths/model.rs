//! What a volume must hold: of each block one content, or some that are as good.

use std::collections::BTreeMap;

use crate::acknowledged::Written;

/// A volume as its user knows it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    bytes: Vec<u8>,
    /// What blocks may hold instead: what was asked for, and not acknowledged.
    instead: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Model {
    /// Of a new volume.
    pub(super) fn new(bytes: usize) -> Model {
        Model { bytes: vec![0; bytes], instead: BTreeMap::new() }
    }

    /// Bytes from a block on were acknowledged, or asked for at least.
    pub(super) fn write(&mut self, block: u64, data: &[u8], acknowledged: bool) {
        for (block, data) in (block..).zip(data.chunks(BLOCK)) {
            if acknowledged {
                self.bytes[place(block)].copy_from_slice(data);
                self.instead.remove(&block);
            } else {
                self.instead.entry(block).or_default().push(data.to_vec());
            }
        }
    }

    /// What a writer of this seed has said.
    pub(super) fn hear(&mut self, said: &str, seed: u64) {
        let mut asked: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
        for (written, durable) in said.lines().filter_map(Written::parse) {
            for block in written.block..written.block + u64::from(written.blocks) {
                if durable {
                    let newest = acknowledged.entry(block).or_default();
                    *newest = written.version.max(*newest);
                } else {
                    asked.entry(block).or_default().push(written.version);
                }
            }
        }
        for (block, versions) in asked {
            let durable = acknowledged.get(&block).copied();
            if let Some(version) = durable {
                self.write(block, &Written::content(seed, version, block), true);
            }
            for version in versions.into_iter().filter(|&version| durable.is_none_or(|durable| version > durable)) {
                self.write(block, &Written::content(seed, version, block), false);
            }
        }
    }

    /// Compares, and holds to what was found from now on.
    ///
    /// # Panics
    /// When a block holds what it may not.
    #[track_caller]
    pub(super) fn settle(&mut self, found: &[u8], when: &str) {
        assert_eq!(found.len(), self.bytes.len(), "{when}: the length");
        let mut wrong = Vec::new();
        for (block, found) in (0..).zip(found.chunks(BLOCK)) {
            let is_other = |data: &Vec<u8>| data == found;
            if self.bytes[place(block)] != *found
                && !self.instead.get(&block).is_some_and(|all| all.iter().any(is_other))
            {
                wrong.push(block);
            }
        }
        assert!(wrong.is_empty(), "{when}: {} blocks hold what they must not: {wrong:?}", wrong.len());
        self.bytes.copy_from_slice(found);
        self.instead.clear();
    }
}

fn place(block: u64) -> std::ops::Range<usize> {
    let start = usize::try_from(block).expect("small") * BLOCK;
    start..start + BLOCK
}

const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(model: &Model, block: u64, version: u64) -> Vec<u8> {
        let mut found = model.bytes.clone();
        found[place(block)].copy_from_slice(&Written::content(7, version, block));
        found
    }

    #[test]
    fn what_was_acknowledged_is_the_least_that_must_be_there() {
        let said = "+ 1 2 1 .\n+ 1 1 2 .\n= 1 1 2 .\n= 1 2 1 .\n+ 1 1 3 .\n+ 0 1 4 .\n= 0 1";
        for (block, version, good) in
            [(1, 2, true), (1, 3, true), (1, 1, false), (2, 1, true), (2, 2, false), (0, 4, true), (0, 3, false)]
        {
            let mut model = Model::new(3 * BLOCK);
            model.hear(said, 7);
            let found = found(&model, block, version);
            let settled = std::panic::catch_unwind(move || model.settle(&found, "test"));
            assert_eq!(settled.is_ok(), good, "version {version} of block {block}");
        }
    }
}
