//! Runs of consecutive pages in consecutive frames that a peer has under way.
//!
//! The leaf blocks of consecutive frames are neighbours on the devices, so a run's are written as one request per
//! device. A page of a run is complete when all of the run is.
//!
//! ```text
//!   offload   fill and sum all stripes -> write data ... -> all summed: write the leaves -> all answered: complete
//!   restore   read the leaves -> compare the roots -> read data, compare the leaves ... -> all answered: complete
//!             or page by page, where leaves are wrong or missing
//! ```

use bireme_control::balance::Work;
use bireme_control::raid::members::Members;
use bireme_control::units::Extent;

pub use self::reading::Reading;

mod reading;

/// One run under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which set of the engine's run.
    pub sequence: u32,
    /// The first page.
    pub page: u64,
    /// The first page's frame; the others follow it.
    pub frame: u64,
    /// How many pages.
    pub pages: u16,
    /// Another peer has them in flight too.
    pub repeat: bool,
    /// The next page to start, as an index into the run; `pages` when all are started.
    pub next_page: u16,
    /// The next row of that page.
    pub next_row: u32,
    /// Whether slots may be started: a restore must have the leaves first.
    pub open: bool,
    /// Slots that have not ended.
    pub slots: u16,
    /// Slots whose data has not been summed.
    pub unsummed: u16,
    /// Requests for leaf blocks that have not been answered.
    pub leaves: u16,
    /// Whether the leaves were asked for.
    pub leaves_asked: bool,
    /// Members that are asked nothing for it: they do not count for its frames, or have been lost since it began.
    pub skipped: Members,
    /// Of a run that is read.
    pub reading: Reading,
    /// The root of each page.
    pub roots: [u64; RUN_PAGES_MAX],
}

impl Run {
    /// Of this work, whose pages lie from this frame on.
    pub fn new(work: Work, frame: u64, skipped: Members) -> Run {
        Run {
            sequence: work.sequence,
            page: work.extent.start,
            frame,
            pages: u16::try_from(work.extent.count).expect("a run has few pages"),
            repeat: work.repeat,
            next_page: 0,
            next_row: 0,
            open: false,
            slots: 0,
            unsummed: 0,
            leaves: 0,
            leaves_asked: false,
            skipped,
            reading: Reading::default(),
            roots: [0; RUN_PAGES_MAX],
        }
    }

    /// Whether every slot of it was started.
    pub fn all_started(&self) -> bool {
        self.next_page == self.pages
    }

    /// Whether nothing of it is left to do.
    pub fn is_complete(&self) -> bool {
        self.all_started() && self.leaves_asked && self.slots == 0 && self.leaves == 0
    }
}

/// All runs of a peer.
#[derive(Debug)]
pub struct Runs {
    runs: Box<[Option<Run>]>,
    /// Those with stripes to start, oldest first.
    order: std::collections::VecDeque<u16>,
}

impl Runs {
    /// Room for so many.
    pub fn new(count: u16) -> Runs {
        let count = usize::from(count);
        Runs { runs: vec![None; count].into_boxed_slice(), order: std::collections::VecDeque::with_capacity(count) }
    }

    /// Takes up a run, if there is room.
    pub fn begin(&mut self, run: Run) -> Option<u16> {
        let index = self.runs.iter().position(Option::is_none)?;
        self.runs[index] = Some(run);
        let index = u16::try_from(index).expect("the table was sized by a u16");
        self.order.push_back(index);
        Some(index)
    }

    /// A run under way.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn get(&mut self, index: u16) -> &mut Run {
        self.runs[usize::from(index)].as_mut().expect("only runs under way are named")
    }

    /// The oldest run with a stripe that may be started.
    pub fn startable(&mut self) -> Option<u16> {
        while let Some(&oldest) = self.order.front() {
            if !self.get(oldest).all_started() {
                break;
            }
            self.order.pop_front();
        }
        let runs = &self.runs;
        let ready = |index: &&u16| runs[usize::from(**index)].is_some_and(|run| run.open && !run.all_started());
        self.order.iter().find(ready).copied()
    }

    /// Cuts off what is not started of the runs of a set, but for one page of each that is the next to start, and gives it
    /// to `returned`. Repeats stay as they are.
    pub fn cut(&mut self, sequence: u32, mut returned: impl FnMut(Extent)) {
        for run in self.runs.iter_mut().flatten().filter(|run| run.sequence == sequence && !run.repeat) {
            // The last page to start is what ends a run, so one is left to be started.
            let kept = run.next_page + 1;
            if kept < run.pages {
                returned(Extent::new(run.page + u64::from(kept), u64::from(run.pages - kept)));
                run.pages = kept;
            }
        }
    }

    /// Members were lost: nothing more is asked of them for any run.
    pub fn lose(&mut self, members: Members) {
        self.runs.iter_mut().flatten().for_each(|run| run.skipped = run.skipped | members);
    }

    /// Ends a run.
    pub fn end(&mut self, index: u16) -> Run {
        self.order.retain(|&other| other != index);
        self.runs[usize::from(index)].take().expect("only runs under way are ended")
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.runs.iter().any(Option::is_none)
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(Option::is_none)
    }

    /// The runs of a set that are under way.
    pub fn of_set(&self, sequence: u32) -> usize {
        self.runs.iter().flatten().filter(|run| run.sequence == sequence).count()
    }

    /// Requests for leaf blocks that have not been answered.
    pub fn outstanding(&self) -> usize {
        self.runs.iter().flatten().map(|run| usize::from(run.leaves)).sum()
    }
}

/// The most pages of one run.
pub const RUN_PAGES_MAX: usize = 16;
const _: () = assert!(bireme_control::controller::RUN_MAX <= RUN_PAGES_MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_started_can_be_cut_off_but_for_the_next_page() {
        let run = Run {
            sequence: 3,
            page: 10,
            frame: 20,
            pages: 8,
            repeat: false,
            next_page: 2,
            next_row: 1,
            open: true,
            slots: 1,
            unsummed: 0,
            leaves: 0,
            leaves_asked: false,
            skipped: Members::NONE,
            reading: Reading::default(),
            roots: [0; RUN_PAGES_MAX],
        };
        let mut runs = Runs::new(4);
        for run in [run, Run { page: 40, next_page: 8, ..run }, Run { repeat: true, ..run }, Run { sequence: 4, ..run }]
        {
            runs.begin(run).expect("room");
        }
        let mut cut = Vec::new();
        runs.cut(3, |extent| cut.push(extent));
        runs.cut(3, |extent| cut.push(extent));
        assert_eq!(cut, [Extent::new(13, 5)]);
        let left: Vec<_> = (0..4).map(|index| runs.get(index).pages).collect();
        assert_eq!(left, [3, 8, 8, 8]);
        assert!(!runs.get(0).all_started(), "the last page is started as usual, and ends the run");
    }
}
