//! The controller in the model: it steps each period and publishes what `ratio` may need, the minimum.
//!
//! The runs that it orders as well are left alone: the model's transfers are drawn and started singly.

use bireme_control::balance::HandOver;
use bireme_control::controller::{Controller, Observation};
use bireme_control::units::Nanos;

/// The controller and what it has seen.
#[derive(Debug)]
pub(super) struct Periodic {
    controller: Controller,
    seen: Observation,
}

impl Periodic {
    pub(super) fn new(peers: u16) -> Periodic {
        let count = usize::from(peers);
        let seen = Observation { completed: vec![0; count], remaining: 0, round_trip: vec![Nanos::ZERO; count] };
        Periodic { controller: Controller::new(peers), seen }
    }

    /// A peer's ask was answered.
    pub(super) fn note(&mut self, note: &HandOver) {
        self.seen.round_trip[note.to.index()] = note.round_trip;
    }

    /// One more transfer was completed.
    pub(super) fn completed(&mut self, peer: usize) {
        self.seen.completed[peer] += 1;
    }

    /// One period: the minimum of every peer.
    pub(super) fn minimums(&mut self, now: u64, left: u64) -> impl Iterator<Item = u64> {
        self.seen.remaining = left;
        self.controller.step(Nanos(now), &self.seen).iter().map(|orders| orders.minimum)
    }

    /// As in the data plane.
    pub(super) const PERIOD: Nanos = bireme_dataplane::control_thread::PERIOD;
}
