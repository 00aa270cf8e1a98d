//! What a peer asked of others, and what came of it.

use bireme_control::balance::HandOver;

use super::Latencies;

/// The asks of one peer, with room for the first 4096 of them.
#[derive(Clone, Debug)]
pub struct HandOvers {
    list: Vec<HandOver>,
    left_out: u64,
    round_trip: Latencies,
    messages: u64,
    repeated: u64,
}

impl HandOvers {
    /// None yet.
    pub fn new() -> HandOvers {
        HandOvers {
            list: Vec::with_capacity(KEPT),
            left_out: 0,
            round_trip: Latencies::new(),
            messages: 0,
            repeated: 0,
        }
    }

    /// A letter was sent to another peer.
    pub fn sent(&mut self) {
        self.messages += 1;
    }

    /// An ask was answered.
    pub fn note(&mut self, hand_over: HandOver) {
        self.round_trip.record(hand_over.round_trip);
        if self.list.len() < KEPT { self.list.push(hand_over) } else { self.left_out += 1 }
    }

    /// Transfers were repeated that another peer had in flight.
    pub fn repeat(&mut self, transfers: u64) {
        self.repeated += transfers;
    }

    /// Those that were kept, in order.
    pub fn list(&self) -> &[HandOver] {
        &self.list
    }

    /// How many more there were.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// From offer to answer, of all asks.
    pub fn round_trip(&self) -> &Latencies {
        &self.round_trip
    }

    /// Transfers that were repeated.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Letters to other peers.
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

impl Default for HandOvers {
    fn default() -> HandOvers {
        HandOvers::new()
    }
}

/// Some hundred sets' worth.
const KEPT: usize = 4096;
