//! How often what a simulation is to show has happened.

use std::collections::BTreeMap;

use bireme_control::balance::{HandOver, Reason};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An ask was answered with work.
    HandedOver,
    /// An ask was refused.
    Refused,
    /// A peer asked before it was dry.
    AskedEarly,
    /// A page was repeated by a peer that has lived on.
    Repeated,
    /// A repeat entered the map.
    RepeatWon,
    /// What was repeated entered the map: the repeat was too late.
    RepeatLost,
    /// The repeat, or what it repeated, was first, and the other one still in flight when the set was durable.
    LoserInFlight,
    /// A frame that a map had left out went to a later set.
    FrameReused,
    /// A set was committed after a death that it has lived through.
    Survived,
    /// All peers have died.
    AllDied,
    /// A peer has died.
    Died,
    /// With a set in its mailbox that it did not know of.
    DiedBeforeBegin,
    /// With writes to pages in flight.
    DiedWriting,
    /// With an offer out.
    DiedAsking,
    /// With work in its mailbox that another had handed over.
    DiedAnswered,
    /// With a repeat in flight.
    DiedRepeating,
    /// With a flush in flight.
    DiedFlushing,
    /// With a write in flight to a frame that the map of a durable set has left out.
    DiedAfterCommit,
    /// While an earlier death was not dealt with, and with the word of it in its mailbox.
    DiedBeforeLayingDown,
    /// With work of another one who had died in its mailbox.
    DiedBeforeTakingUp,
    /// A disk has died while a pool was opened or closed.
    DiskDiedIdle,
    /// While sets were written.
    DiskDiedWriting,
    /// While the ledger wrote a transaction.
    DiskDiedCommitting,
    /// While members were replaced or filled again.
    DiskDiedRebuilding,
    /// While a set was scrubbed.
    DiskDiedScrubbing,
    /// The ledger has marked a member as failed, and the run went on.
    WentOnWithout,
    /// A set was acknowledged that does not lie on all members.
    DegradedCommit,
    /// A set was read without all members.
    DegradedRead,
    /// A disk answered that has missed something, and was not used.
    StaleRefused,
    /// A pool was refused because too much of it is gone.
    PoolRefused,
    /// A blank disk has taken a member's place.
    Replaced,
    /// Members count again.
    Rebuilt,
    /// A set was read and mended to its end.
    Scrubbed,
    /// Blocks that did not hold what was written were mended.
    Healed,
    /// A peer took a turn, and may not go on before a time as its class has used what it may.
    HeldBack,
    /// The power failed, or the process was killed, while a pool was mended.
    MendingCut,
}

/// Counts by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Kind, u64>);

impl Tally {
    /// So many more.
    pub fn add(&mut self, kind: Kind, count: u64) {
        *self.0.entry(kind).or_default() += count;
    }

    /// How often.
    pub fn count(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// What a peer has asked for, and what it has repeated.
    pub fn asked(&mut self, hand_overs: &[HandOver], repeated: u64) {
        for hand_over in hand_overs {
            self.add(if hand_over.transfers > 0 { Kind::HandedOver } else { Kind::Refused }, 1);
            self.add(Kind::AskedEarly, u64::from(hand_over.reason == Reason::Early));
        }
        self.add(Kind::Repeated, repeated);
    }

    /// Those of another life as well.
    pub fn merge(&mut self, other: &Tally) {
        other.0.iter().for_each(|(&kind, &count)| self.add(kind, count));
    }
}
