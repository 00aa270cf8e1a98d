//! Requests of the ledger that are made again until they are whole.
//!
//! ```text
//!   idle ── ask ──▶ waiting ── drive ──▶ under way ── ended: whole ──▶ idle
//!                      ▲                     │ short
//!                      └─────────────────────┘
//! ```
//!
//! A file that is forsaken is asked nothing more. What is under way to it ends when it is answered, whatever the answer:
//! until then the kernel may still use the memory.

use bireme_control::units::Nanos;

use crate::buffer::Span;
use crate::message::{Doing, Failure};
use crate::port::{Completion, Operation, Port, Request};

/// A table of them. Its tokens begin with a number of its own.
#[derive(Debug)]
pub(crate) struct Errands {
    token: u64,
    list: Vec<Errand>,
}

#[derive(Clone, Copy, Debug)]
struct Errand {
    file: u16,
    offset: u64,
    operation: Operation,
    stage: Stage,
    forsaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Waiting,
    UnderWay { since: Nanos },
}

/// A request that has failed, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) file: u16,
    pub(crate) failure: Failure,
}

impl Errands {
    /// So many places, with tokens from this one on.
    pub(crate) fn new(token: u64, places: usize) -> Errands {
        let idle = Errand { file: 0, offset: 0, operation: Operation::Flush, stage: Stage::Idle, forsaken: false };
        Errands { token, list: vec![idle; places] }
    }

    /// Something to do for an idle place.
    pub(crate) fn ask(&mut self, place: usize, file: u16, offset: u64, operation: Operation) {
        assert_eq!(self.list[place].stage, Stage::Idle, "a place has one errand at a time");
        self.list[place] = Errand { file, offset, operation, stage: Stage::Waiting, forsaken: false };
    }

    /// Whether nothing is to be done for these places.
    pub(crate) fn are_idle(&self, places: std::ops::Range<usize>) -> bool {
        self.list[places].iter().all(|errand| errand.stage == Stage::Idle)
    }

    /// The same for all.
    pub(crate) fn all_idle(&self) -> bool {
        self.are_idle(0..self.list.len())
    }

    /// Nothing more is asked of a file.
    pub(crate) fn forsake(&mut self, file: u16) {
        for errand in self.list.iter_mut().filter(|errand| errand.file == file) {
            errand.forsaken = true;
            if errand.stage == Stage::Waiting {
                errand.stage = Stage::Idle;
            }
        }
    }

    /// Pushes what the port takes.
    pub(crate) fn drive<P: Port>(&mut self, port: &mut P, now: Nanos) {
        for (errand, token) in self.list.iter_mut().zip(self.token..) {
            let Errand { file, offset, operation, .. } = *errand;
            if errand.stage == Stage::Waiting {
                if port.push(Request { token, file, offset, operation }).is_err() {
                    break;
                }
                errand.stage = Stage::UnderWay { since: now };
            }
        }
    }

    /// Whether an answer belongs to one of these.
    pub(crate) fn own(&self, end: &Completion) -> bool {
        end.token >= self.token && end.token - self.token < self.list.len() as u64
    }

    /// Takes an answer.
    pub(crate) fn ended(&mut self, end: Completion) -> Result<(), Trouble> {
        let place = end.token.checked_sub(self.token).and_then(|place| usize::try_from(place).ok());
        let errand = place.and_then(|place| self.list.get_mut(place));
        let Some(errand) = errand.filter(|errand| matches!(errand.stage, Stage::UnderWay { .. })) else {
            let failure = Failure::Broken("the ledger's port answered a request that was not made");
            return Err(Trouble { file: 0, failure });
        };
        errand.stage = Stage::Idle;
        if errand.forsaken {
            return Ok(());
        }
        let Errand { file, offset, operation, .. } = *errand;
        let moved = match end.result {
            // Nothing written where there was something to write: no progress is an error of the device.
            Ok(0) if operation.bytes() > 0 => Err(libc::EIO),
            result => result,
        };
        let failed =
            |errno| Trouble { file, failure: Failure::Device { doing: doing(operation), file, offset, errno } };
        let moved = moved.map_err(failed)?;
        if moved < operation.bytes()
            && let Operation::Write(span) = operation
        {
            let rest = Operation::Write(Span::new(span.offset + moved, span.bytes - moved));
            *errand = Errand { offset: offset + u64::from(moved), operation: rest, stage: Stage::Waiting, ..*errand };
        }
        Ok(())
    }

    /// When the oldest request was handed over.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        self.list.iter().filter_map(Errand::since).min()
    }

    /// A request that has waited for longer than `patience`.
    pub(crate) fn hung(&self, now: Nanos, patience: Nanos) -> Option<Failure> {
        self.list.iter().find_map(|errand| {
            let waited = now.since(errand.since()?);
            let Errand { file, offset, operation, .. } = *errand;
            (waited > patience).then_some(Failure::Hung { file, doing: doing(operation), offset, waited })
        })
    }
}

impl Errand {
    fn since(&self) -> Option<Nanos> {
        if let Stage::UnderWay { since } = self.stage { Some(since) } else { None }
    }
}

fn doing(operation: Operation) -> Doing {
    if operation == Operation::Flush { Doing::Flush } else { Doing::Write }
}
