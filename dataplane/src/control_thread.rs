//! Observe, let control decide, publish: the thread that gives peers their parameters.
//!
//! Nothing on the data path waits for it. It sleeps in a port of its own until its period ends or somebody rings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bireme_control::controller::{Controller, Observation};
use bireme_control::units::{Nanos, PeerId};

use crate::board::Board;
use crate::reservation::Manager;

/// Control's part of an engine: one step per period.
#[derive(Debug)]
pub struct Control {
    board: Arc<Board>,
    newest: Arc<NewestSet>,
    controller: Controller,
    seen: Observation,
    reservation: Option<Manager>,
}

/// The set that was prepared last, for the control thread: its sequence number above, its transfers below.
#[derive(Debug, Default)]
pub struct NewestSet(AtomicU64);

impl NewestSet {
    /// A set was prepared.
    pub fn store(&self, sequence: u32, transfers: u64) {
        let transfers = transfers.min(u64::from(u32::MAX));
        self.0.store(u64::from(sequence) << 32 | transfers, Ordering::Relaxed);
    }

    fn load(&self) -> (u32, u64) {
        let value = self.0.load(Ordering::Relaxed);
        (u32::try_from(value >> 32).unwrap_or(0), value & u64::from(u32::MAX))
    }
}

impl Control {
    /// Control over so many peers, and over what classes are promised.
    pub fn new(peers: u16, board: Arc<Board>, newest: Arc<NewestSet>, reservation: Option<Manager>) -> Control {
        let peers_each = usize::from(peers);
        let round_trip = Vec::with_capacity(peers_each);
        let seen = Observation { completed: Vec::with_capacity(peers_each), remaining: 0, round_trip };
        Control { board, newest, controller: Controller::new(peers), seen, reservation }
    }

    /// One period; the answer is when the next one starts.
    pub fn step(&mut self, now: Nanos) -> Nanos {
        self.seen.completed.clear();
        self.seen.completed.extend(self.board.completed());
        self.seen.round_trip.clear();
        self.seen.round_trip.extend(self.board.round_trips());
        let (sequence, transfers) = self.newest.load();
        self.seen.remaining = self.board.remaining(sequence, transfers);
        let orders = self.controller.step(now, &self.seen);
        for (peer, orders) in (0..).map(PeerId).zip(orders) {
            self.board.publish(peer, *orders);
        }
        if let Some(reservation) = &mut self.reservation {
            reservation.step(now);
        }
        now + PERIOD
    }
}

/// How often parameters are set: two hundred times a second.
pub const PERIOD: Nanos = crate::reservation::PERIOD;
