//! What a run leaves: each request that ended, and when a class came back.

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of which class.
    pub class: ClassId,
    /// How large it was.
    pub bytes: u64,
    /// When it was asked for.
    pub arrived: Nanos,
    /// When it ended.
    pub at: Nanos,
}

/// What was seen between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// From when on.
    pub from: Nanos,
    /// Until when.
    pub until: Nanos,
    /// In the order of time.
    pub ended: Vec<Ended>,
    /// When the class that comes and goes came, in the order of time.
    pub returns: Vec<Nanos>,
    /// For how long the link was busy.
    pub busy: Nanos,
}

impl Record {
    pub(super) fn new(from: Nanos, until: Nanos) -> Record {
        Record { from, until, ..Record::default() }
    }

    /// The link had been busy for so long when the record began.
    pub(super) fn begin(&mut self, busy: Nanos) {
        self.busy = busy;
    }

    /// Bytes of all that ended.
    pub(super) fn bytes(&self) -> u64 {
        self.ended.iter().map(|ended| ended.bytes).sum()
    }

    pub(super) fn add(&mut self, ended: Ended) {
        if ended.at >= self.from {
            self.ended.push(ended);
        }
    }

    pub(super) fn returned(&mut self, at: Nanos) {
        if at >= self.from {
            self.returns.push(at);
        }
    }

    pub(super) fn finish(mut self, busy: Nanos) -> Record {
        self.busy = busy - self.busy;
        self
    }
}
