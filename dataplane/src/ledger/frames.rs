//! The free frames of a pool, as runs in order.

use bireme_control::units::Extent;

/// What no set holds. Derived from the store at opening, and never written anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    runs: Vec<Extent>,
}

impl Frames {
    /// All of `0 .. frames` but those in use; `None` when one is used twice or lies outside.
    pub(crate) fn all_but(frames: u64, mut used: Vec<u64>) -> Option<Frames> {
        used.sort_unstable();
        let sound = used.windows(2).all(|pair| pair[0] < pair[1]) && used.last().is_none_or(|&last| last < frames);
        let mut runs = Vec::new();
        let mut start = 0;
        for frame in used.into_iter().chain([frames]) {
            if frame > start {
                runs.push(Extent::new(start, frame - start));
            }
            start = frame + 1;
        }
        sound.then_some(Frames { runs })
    }

    /// How many are free.
    pub(crate) fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }

    /// Takes the first `count`; `None`, and nothing taken, when there are fewer.
    pub(crate) fn take(&mut self, count: u64) -> Option<Vec<Extent>> {
        if self.count() < count {
            return None;
        }
        let mut taken = Vec::new();
        let mut missing = count;
        for run in &mut self.runs {
            let part = run.take_front(missing);
            missing -= part.count;
            if !part.is_empty() {
                taken.push(part);
            }
        }
        self.runs.retain(|run| !run.is_empty());
        Some(taken)
    }

    /// Takes `count` frames in one run; `None` when there is none that is so long.
    pub(crate) fn take_run(&mut self, count: u64) -> Option<Extent> {
        let run = self.runs.iter_mut().find(|run| run.count >= count)?;
        let taken = run.take_front(count);
        self.runs.retain(|run| !run.is_empty());
        Some(taken)
    }

    /// Gives frames back.
    ///
    /// # Panics
    /// When one of them is free already.
    pub(crate) fn give_back(&mut self, runs: impl IntoIterator<Item = Extent>) {
        self.runs.extend(runs);
        self.runs.sort_unstable_by_key(|run| run.start);
        let mut merged: Vec<Extent> = Vec::with_capacity(self.runs.len());
        for run in self.runs.drain(..) {
            match merged.last_mut() {
                Some(last) if last.end() == run.start => last.count += run.count,
                Some(last) => {
                    assert!(last.end() < run.start, "{run:?} is free already");
                    merged.push(run);
                }
                None => merged.push(run),
            }
        }
        self.runs = merged;
    }
}

/// Numbers as runs, in rising order.
pub(crate) fn runs_of(mut numbers: Vec<u64>) -> Vec<Extent> {
    numbers.sort_unstable();
    runs_in_order(numbers)
}

/// Numbers as runs, in the order given.
pub(crate) fn runs_in_order(numbers: impl IntoIterator<Item = u64>) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.end() == number => run.count += 1,
            _ => runs.push(Extent::new(number, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_as_one_run() {
        let mut frames = Frames::all_but(10, vec![7, 2]).expect("sound");
        assert_eq!(frames.count(), 8);
        assert_eq!(frames.take(9), None);
        let taken = frames.take(4).expect("enough");
        assert_eq!(taken, [Extent::new(0, 2), Extent::new(3, 2)]);
        frames.give_back(taken);
        frames.give_back([Extent::new(7, 1), Extent::new(2, 1)]);
        assert_eq!(frames, Frames::all_but(10, vec![]).expect("sound"));
    }

    #[test]
    fn a_run_is_taken_in_one_piece_or_not_at_all() {
        let mut frames = Frames::all_but(10, vec![2, 6]).expect("sound");
        assert_eq!(
            [4, 3, 3, 3].map(|count| frames.take_run(count)),
            [None, Some(Extent::new(3, 3)), Some(Extent::new(7, 3)), None]
        );
        assert_eq!((frames.take_run(2), frames.count()), (Some(Extent::new(0, 2)), 0));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(Frames::all_but(10, vec![3, 3]), None);
        assert_eq!(Frames::all_but(10, vec![10]), None);
        assert_eq!(Frames::all_but(0, vec![]).map(|frames| frames.count()), Some(0));
    }

    #[test]
    #[should_panic(expected = "is free already")]
    fn a_frame_is_not_freed_twice() {
        Frames::all_but(10, vec![]).expect("sound").give_back([Extent::new(4, 1)]);
    }
}
