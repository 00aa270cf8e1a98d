//! The flushes that a peer was asked for: one at a time, because two would wait for the same devices.

use std::collections::VecDeque;

use bireme_control::units::{Nanos, PeerId};

use super::Peer;
use crate::message::ToLedger;
use crate::port::{Operation, Port};
use crate::requests::{Ask, Owner};

/// Whose devices are to be flushed for which set, oldest first.
#[derive(Debug)]
pub(super) struct Flushes {
    asked: VecDeque<(u32, PeerId)>,
    /// Requests that the first of them waits for; `None` before it is begun.
    waits: Option<u16>,
}

impl Flushes {
    /// Room for all that can be asked for: two sets, and the devices of every peer.
    pub(super) fn new(peers: usize) -> Flushes {
        Flushes { asked: VecDeque::with_capacity(2 * peers), waits: None }
    }

    pub(super) fn ask(&mut self, sequence: u32, whose: PeerId) {
        assert!(self.asked.len() < self.asked.capacity(), "at most two sets are under way");
        self.asked.push_back((sequence, whose));
    }

    /// One request was answered; what was flushed, if it was the last.
    pub(super) fn answered(&mut self) -> Option<(u32, PeerId)> {
        let waits = self.waits.as_mut().expect("a flush was begun");
        *waits -= 1;
        if *waits > 0 {
            return None;
        }
        self.waits = None;
        self.asked.pop_front()
    }

    /// Requests that have not been answered.
    pub(super) fn outstanding(&self) -> usize {
        self.waits.map_or(0, usize::from)
    }
}

impl<P: Port> Peer<P> {
    /// Flushes the devices of the first who waits, if nobody's are being flushed.
    pub(super) fn flush_next(&mut self, now: Nanos) {
        while self.flushes.waits.is_none()
            && let Some(&(_, whose)) = self.flushes.asked.front()
        {
            let mut count = 0;
            let members = self.desk.members() - self.desk.health.lost;
            for member in members.iter().filter(|member| member % self.wiring.peers == whose.0) {
                let ask = Ask { file: member, offset: 0, operation: Operation::Flush, needed: 0, by_block: false };
                self.desk.requests.start(now, Owner::Flush, ask);
                count += 1;
            }
            // Whoever has no devices is done at once.
            self.flushes.waits = (count > 0).then_some(count);
            if count == 0 {
                let flushed = self.flushes.asked.pop_front();
                self.report_flushed(now, flushed);
            }
        }
    }

    pub(super) fn flushed(&mut self, now: Nanos, flushed: Option<(u32, PeerId)>) {
        self.report_flushed(now, flushed);
        self.flush_next(now);
    }

    fn report_flushed(&mut self, now: Nanos, flushed: Option<(u32, PeerId)>) {
        if let Some((sequence, whose)) = flushed.filter(|_| !self.failed) {
            self.letters.push_back(ToLedger::Flushed { sequence, whose, at: now });
        }
    }
}
