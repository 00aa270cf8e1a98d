//! The operations of a home: what their owners asked for, and how much of it is left.
//!
//! ```text
//!   free ─begin─▶ begun ─read, write ..─▶ asked: cut into pieces, in the order of asking ─▶ ended ─reap, end─▶ free
//! ```

use std::collections::VecDeque;

use bireme_control::units::Nanos;

use super::{Ended, Operation};
use crate::message::Failure;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Read,
    Write {
        fua: bool,
    },
    Flush,
    /// The half of the log that was in use when it began is drained, or all bits of the bitmap are.
    Settle,
    Rebuild,
    Scrub,
}

/// Where an operation is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    Begun,
    Asked,
    Ended,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    stage: Stage,
    pub(super) what: What,
    /// The first block of a read or write; the page of a rebuild or a scrub.
    pub(super) start: u64,
    /// Blocks.
    pub(super) count: u32,
    /// Where the next piece is cut off: a block of the volume, or a unit of the page.
    pub(super) at: u64,
    /// The next row there.
    pub(super) row: u32,
    /// Pieces that are not answered.
    pub(super) left: u16,
    pub(super) all_cut: bool,
    pub(super) result: Result<(), Failure>,
    asked: Nanos,
    /// Pieces up to this one were made before.
    pub(super) ticket: u64,
    /// How far a flush, a settling or a rebuild has come.
    pub(super) step: Step,
}

/// The steps of what is not cut into pieces only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Pieces made before must be answered; those of a settling must have ended.
    Earlier,
    /// Writes up to this tick must be durable.
    Durable(u64),
    /// Leaves and log are being drained.
    Drain,
}

/// All operations of a home.
#[derive(Debug)]
pub(super) struct Operations {
    operations: Box<[Asked]>,
    free: Vec<u16>,
    /// Those to be cut into pieces, oldest first.
    pub(super) queue: VecDeque<u16>,
    ended: VecDeque<u16>,
}

impl Operations {
    pub(super) fn new(count: u16) -> Operations {
        let blank = Asked {
            stage: Stage::Free,
            what: What::Flush,
            start: 0,
            count: 0,
            at: 0,
            row: 0,
            left: 0,
            all_cut: false,
            result: Ok(()),
            asked: Nanos::ZERO,
            ticket: 0,
            step: Step::Earlier,
        };
        let capacity = usize::from(count);
        Operations {
            operations: vec![blank; capacity].into_boxed_slice(),
            free: (0..count).rev().collect(),
            queue: VecDeque::with_capacity(capacity),
            ended: VecDeque::with_capacity(capacity),
        }
    }

    pub(super) fn begin(&mut self) -> Option<Operation> {
        let index = self.free.pop()?;
        self.operations[usize::from(index)].stage = Stage::Begun;
        Some(Operation(index))
    }

    pub(super) fn ask(
        &mut self,
        operation: Operation,
        what: What,
        (start, count): (u64, u32),
        now: Nanos,
        ticket: u64,
    ) {
        let asked = self.at(operation.0);
        assert!(asked.stage == Stage::Begun, "an operation is asked once between begin and end");
        let at = if matches!(what, What::Read | What::Write { .. }) { start } else { 0 };
        *asked = Asked {
            stage: Stage::Asked,
            what,
            start,
            count,
            at,
            row: 0,
            left: 0,
            all_cut: false,
            result: Ok(()),
            asked: now,
            ticket,
            step: Step::Earlier,
        };
        if !matches!(what, What::Flush | What::Settle) {
            self.queue.push_back(operation.0);
        }
    }

    pub(super) fn at(&mut self, index: u16) -> &mut Asked {
        &mut self.operations[usize::from(index)]
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.operations.len()).expect("counted with 16 bits")
    }

    /// Whether an operation waits, and is of a kind that waits for more than its pieces.
    pub(super) fn waits(&self, index: u16) -> Option<Asked> {
        let asked = self.operations[usize::from(index)];
        let more = matches!(asked.what, What::Flush | What::Settle | What::Rebuild);
        (asked.stage == Stage::Asked && more).then_some(asked)
    }

    /// Whether an operation was asked and has not ended.
    pub(super) fn is_asked(&self, index: u16) -> bool {
        self.operations[usize::from(index)].stage == Stage::Asked
    }

    /// The operation has ended.
    pub(super) fn finish(&mut self, index: u16, result: Result<(), Failure>) {
        let asked = self.at(index);
        assert!(asked.stage == Stage::Asked, "an operation ends once");
        (asked.stage, asked.result) = (Stage::Ended, result);
        self.ended.push_back(index);
    }

    pub(super) fn reap(&mut self) -> Option<Ended> {
        let index = self.ended.pop_front()?;
        let asked = self.at(index);
        Some(Ended { operation: Operation(index), result: asked.result, asked: asked.asked })
    }

    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    pub(super) fn end(&mut self, operation: Operation) {
        let waits = self.ended.contains(&operation.0);
        let asked = self.at(operation.0);
        assert!(
            matches!(asked.stage, Stage::Begun | Stage::Ended) && !waits,
            "an operation is ended after it was reaped"
        );
        asked.stage = Stage::Free;
        self.free.push(operation.0);
    }
}
