//! A set as peers and ledger see it: its pages, its frames, and how it is divided at first.

use bireme_control::units::{Extent, PeerId};

/// A set to write: what it is, and where its pages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which set of this run, from 0.
    pub sequence: u32,
    /// Which set of the pool.
    pub number: u64,
    /// What the tags of its leaves carry: the pool's generation and the low 20 bits of the number.
    pub generation: u64,
    /// Bytes of the data.
    pub bytes: u64,
    /// Pages of the data; the last may be partial.
    pub pages: u64,
    /// Where they go.
    pub frames: Runs,
    /// Frames for pages that a peer repeats while another has them in flight: so many for each peer in turn. Fewer or
    /// none where the pool is nearly full.
    pub spares: Runs,
    /// The first division, by peer.
    pub shares: Vec<Extent>,
    /// Where the data comes from.
    pub origin: Origin,
}

impl Plan {
    /// The frame of a page.
    ///
    /// # Panics
    /// When the set has no such page.
    pub fn frame(&self, page: u64) -> u64 {
        self.frames.frame(page)
    }

    /// The spare frames of a peer.
    pub fn spares_of(&self, peer: PeerId) -> impl Iterator<Item = u64> + '_ {
        let each = self.spares.count() / self.shares.len().max(1) as u64;
        let first = u64::from(peer.0) * each;
        (first..first + each).map(|index| self.spares.frame(index))
    }
}

/// Runs of frames: page i goes to the i-th frame of the runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    runs: Vec<Extent>,
    /// The first page of each run.
    firsts: Vec<u64>,
}

impl Runs {
    /// The i-th frame.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn frame(&self, page: u64) -> u64 {
        let run = self.firsts.partition_point(|&first| first <= page) - 1;
        let within = page - self.firsts[run];
        assert!(within < self.runs[run].count, "page {page} lies outside the set");
        self.runs[run].start + within
    }

    /// How many frames.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// The runs.
    pub fn extents(&self) -> &[Extent] {
        &self.runs
    }
}

impl From<Vec<Extent>> for Runs {
    fn from(runs: Vec<Extent>) -> Runs {
        let mut pages = 0;
        let mut first = |run: &Extent| {
            let first = pages;
            pages += run.count;
            first
        };
        Runs { firsts: runs.iter().map(&mut first).collect(), runs }
    }
}

/// Where the data of a set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Derived from a seed.
    Generated {
        /// The seed.
        seed: u64,
    },
    /// Read from the input file.
    File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_finds_its_frame_in_the_runs() {
        let runs = Runs::from(vec![Extent::new(7, 2), Extent::new(20, 1), Extent::new(0, 3)]);
        let frames: Vec<_> = (0..6).map(|page| runs.frame(page)).collect();
        assert_eq!(frames, [7, 8, 20, 0, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "lies outside the set")]
    fn a_page_past_the_end_has_no_frame() {
        let _ = Runs::from(vec![Extent::new(7, 2)]).frame(2);
    }
}
