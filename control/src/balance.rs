//! How peers share the transfers of a data set, so that all are busy to its end.
//!
//! Every peer holds the whole set; what moves is the responsibility for extents of it. Each peer has a [`Machine`] of
//! its own, which runs inside the peer's turn: events in, at most one action out of each, no clock, no waiting.
//!
//! ```text
//!   Begin(share) ──▶ [ Machine ]                     its part of the first division
//!   Room(most)   ──▶             ──▶ Start(work)     begin these transfers
//!                                ──▶ Draw            `pull` only: take some from the set's common cursor, see Drawn
//!   Completed    ──▶
//!   Look(view)   ──▶             ──▶ Send(offer)     I run dry: shall I help?
//!   Heard(offer) ──▶             ──▶ Send(answer)    "assistance needed": these extents; or "no assistance needed"
//!   Heard(answer)──▶             ──▶ Note(hand-over) for the report
//!   Ended(view)  ──▶                                 the set is written, by whomever; see Machine::learnt
//! ```
//!
//! Two sets may be under way; a peer works at the oldest one that has something for it.
//!
//! - `fixed`: equal parts, no exchange. The baseline that every unequal pair of peers defeats.
//! - `pull`: runs from one cursor. Within about a run of the optimum where taking one is free.
//! - `steal_half`: whoever is dry takes half of what the other can still give.
//! - `ratio`: the reference method: ratios that are stepped by what happened before.
//! - `measured`: shares that follow what was measured, asked for before the asker is dry.

use serde::{Deserialize, Serialize};

use crate::units::{Extent, Nanos, PeerId, Permille};

mod exchange;
pub mod extents;
mod fixed;
mod learnt;
mod machine;
mod measured;
mod pair;
mod pull;
mod rate;
mod ratio;
mod repeats;
mod share;
mod steal_half;
#[cfg(test)]
mod tests;

use extents::Extents;
pub use learnt::Learnt;
pub use machine::Machine;
pub use pair::Pair;

/// Which rule shares the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Equal parts from the start.
    Fixed,
    /// Whoever has room takes the next run.
    Pull,
    /// Whoever is dry takes half of what is left.
    StealHalf,
    /// Ratios, stepped by the outcome of each ask.
    Ratio,
    /// Shares as measured, learnt from set to set.
    #[default]
    Measured,
}

/// A strategy with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which.
    pub strategy: Strategy,
    /// `ratio`: a portion of at most this is not worth a hand-over.
    pub minimum: Minimum,
    /// `ratio`: by how much a ratio is stepped.
    pub increment: Permille,
    /// `measured`: ask before the asker is dry. Without it for comparison only.
    pub early: bool,
    /// `measured`: repeat what is locked in flight at a much slower peer, near the end.
    pub repeat: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            strategy: Strategy::default(),
            minimum: Minimum::Transfers(1),
            increment: Permille::new(50).unwrap_or_default(),
            early: true,
            repeat: true,
        }
    }
}

/// The largest portion that is not worth a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minimum {
    /// So many transfers.
    Transfers(u64),
    /// A part of the set.
    Share(Permille),
    /// What the victim does in the measured time of a hand-over.
    Delay,
}

/// What happens to one peer.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A set begins. Sets begin in order, without gaps, two at most at a time.
    Begin {
        /// Which set of this run, from 0.
        sequence: u32,
        /// Transfers of the whole set.
        transfers: u64,
        /// This peer's part of the first division; empty under `pull`.
        share: Extent,
    },
    /// The peer can start up to `most` transfers.
    Room {
        /// The most.
        most: u64,
    },
    /// What a [`Action::Draw`] brought; empty when the cursor is at the end. Answered like `Room`.
    Drawn {
        /// Of which set.
        sequence: u32,
        /// What it brought.
        extent: Extent,
    },
    /// Transfers of one [`Work`] have ended, all of it or any run of it.
    Completed(Work),
    /// The rest of a [`Work`] that was not begun after all: it is pending again, before all else. A repeat that comes
    /// back had no frame to go to, and no more of its set are started.
    Returned(Work),
    /// [`Machine::wants_to_ask`] has named a set, and this is how its peers are doing.
    Look(View<'a>),
    /// A letter from another peer.
    Heard {
        /// From whom.
        from: PeerId,
        /// What it says.
        message: Message,
    },
    /// Every transfer of the set is written. What this peer still has in flight of it was repeated by others.
    Ended(View<'a>),
    /// A peer has died: nobody starts anything of the sets under way before [`Event::TakeUp`] deals out anew what is
    /// missing, what a common cursor still held included. What is in flight goes on.
    LayDown {
        /// Who.
        gone: PeerId,
    },
    /// This peer's part of what is missing after a death. For each set that was under way every living peer gets at
    /// least one, an empty one if it has no part; several may come.
    TakeUp {
        /// Of which set.
        sequence: u32,
        /// What is its.
        extent: Extent,
    },
}

/// How all peers are doing at one set, as far as one of them sees, by peer.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Which set.
    pub sequence: u32,
    /// Transfers completed.
    pub done: &'a [u64],
    /// Transfers that are a peer's and not completed.
    pub left: &'a [u64],
}

/// What the peer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start these transfers.
    Start(Work),
    /// Take up to `most` transfers from the set's cursor, and report them as [`Event::Drawn`].
    Draw {
        /// From which set.
        sequence: u32,
        /// The most to take.
        most: u64,
    },
    /// Post a letter to another peer.
    Send {
        /// To whom.
        to: PeerId,
        /// What it says.
        message: Message,
    },
    /// An ask was answered.
    Note(HandOver),
}

/// Transfers that a peer starts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of which set.
    pub sequence: u32,
    /// Which transfers.
    pub extent: Extent,
    /// Another peer has them in flight; they go to a frame of their own, and the first to end counts.
    pub repeat: bool,
}

/// What peers tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// I am dry, or shall be soon.
    Offer(Offer),
    /// The answer to an offer.
    Answer(Answer),
}

/// Offers help with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which set.
    pub sequence: u32,
    /// How many deaths the sender knows of; see [`Event::LayDown`].
    pub epoch: u32,
    /// Transfers of the set that are the sender's and not completed.
    pub own: u64,
    /// How long a hand-over takes the sender, from offer to answer; zero when it does not know.
    pub round_trip: Nanos,
    /// What the two know of each other.
    pub pair: Pair,
}

/// Answers an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which set.
    pub sequence: u32,
    /// As in the offer.
    pub epoch: u32,
    /// "Assistance needed": these are the asker's now. Empty: "no assistance needed".
    pub extents: Extents,
    /// With a refusal: what is in flight at the sender, oldest first.
    pub in_flight: Extents,
    /// The share that the portion was computed from.
    pub share: Permille,
    /// What the two know of each other.
    pub pair: Pair,
}

/// An ask and its answer, as the asker saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HandOver {
    /// When the answer came.
    #[serde(rename = "at_ns")]
    pub at: Nanos,
    /// From the offer to the answer.
    #[serde(rename = "round_trip_ns")]
    pub round_trip: Nanos,
    /// Which set of the run.
    pub sequence: u32,
    /// Who was asked.
    pub from: PeerId,
    /// Who asked.
    pub to: PeerId,
    /// How much was handed over; 0: refused.
    pub transfers: u64,
    /// Why it was asked.
    pub reason: Reason,
    /// The share that the portion was computed from.
    pub share: Permille,
}

/// Why a peer asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It had nothing left.
    Dry,
    /// It was going to have nothing left before an answer could come.
    Early,
    /// Nothing was known about the others' speed yet.
    Probe,
}
