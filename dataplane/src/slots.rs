//! The slots of one peer: each holds some stripes of one page on their way, and owns its part of the region.
//!
//! A free slot is reused last-in first-out, so that the memory in use stays near the core.

use bireme_control::raid::members::Members;

use crate::message::Failure;

/// What a slot is waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The data file: the input is read, or the output is written.
    File,
    /// The devices.
    #[default]
    Devices,
    /// The devices that are written what was wrong on them.
    Mending,
}

/// Some stripes of one page under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The run that the page belongs to.
    pub run: u16,
    /// Which page of the run.
    pub page: u16,
    /// The first row of the page's frame.
    pub row: u32,
    /// How many rows, of whole stripes.
    pub rows: u32,
    /// Bytes of data in them; the rest is zero.
    pub bytes: u32,
    /// What it waits for.
    pub stage: Stage,
    /// Which copy of the data the data file gives or takes.
    pub copy: u16,
    /// Parity and all copies are read too.
    pub whole: bool,
    /// Members that it asks nothing.
    pub skipped: Members,
    /// Members whose blocks were wrong and have been brought back.
    pub wrong: Members,
    /// What a member has refused to read.
    pub refused: Option<Failure>,
    /// Requests that have not been answered.
    pub outstanding: u16,
}

/// All slots of a peer.
#[derive(Debug)]
pub struct Slots {
    slots: Box<[Option<Slot>]>,
    free: Vec<u16>,
}

impl Slots {
    /// So many free slots.
    pub fn new(count: u16) -> Slots {
        Slots { slots: vec![None; usize::from(count)].into_boxed_slice(), free: (0..count).rev().collect() }
    }

    /// Takes a free slot.
    pub fn take(&mut self, slot: Slot) -> Option<u16> {
        let index = self.free.pop()?;
        self.slots[usize::from(index)] = Some(slot);
        Some(index)
    }

    /// Gives a slot back.
    ///
    /// # Panics
    /// When it is free, or waits for requests.
    pub fn give_back(&mut self, index: u16) {
        let slot = self.slots[usize::from(index)].take();
        assert!(slot.is_some_and(|slot| slot.outstanding == 0), "slot {index} is given back while it is in use");
        self.free.push(index);
    }

    /// A slot in use.
    ///
    /// # Panics
    /// When it is free.
    pub fn get(&mut self, index: u16) -> &mut Slot {
        self.slots[usize::from(index)].as_mut().expect("only slots in use are named")
    }

    /// Whether one is free.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// `free + in use == all`, and the requests that those in use wait for.
    pub fn outstanding(&self) -> usize {
        let used = self.slots.iter().flatten();
        let (count, requests) = used.fold((0, 0), |(n, r), slot| (n + 1, r + usize::from(slot.outstanding)));
        assert_eq!(self.free.len() + count, self.slots.len(), "a slot is lost or counted twice");
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_given_back_last_is_taken_first() {
        let mut slots = Slots::new(3);
        let taken: Vec<_> = (0..3).filter_map(|_| slots.take(Slot::default())).collect();
        assert!(slots.take(Slot::default()).is_none());
        slots.give_back(taken[0]);
        slots.give_back(taken[2]);
        assert_eq!(slots.take(Slot::default()), Some(taken[2]));
        assert_eq!(slots.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "while it is in use")]
    fn a_slot_with_requests_is_not_given_back() {
        let mut slots = Slots::new(1);
        let index = slots.take(Slot { outstanding: 1, ..Slot::default() }).expect("a free slot");
        slots.give_back(index);
    }
}
