//! Reading a set back: leaves first, whose root is in the metadata, then data, whose sums are in the leaves.
//!
//! ```text
//!   all is well       data chunks alone, one copy of each         compared with leaves that the root vouches for
//!   a block is wrong  the rest of its rows: parity, other copies  brought back, and compared with its leaf
//!   leaves are wrong or missing                                   page by page, see `page`
//! ```
//!
//! Nothing is reported that was not compared. What cannot be brought back ends the run. The same job mends: it then reads
//! everything, parity and copies too, and writes back what was wrong, or all that lies on members that are filled again.

use std::sync::Arc;

use bireme_control::raid::geometry::{Content, Place};
use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use crate::desk::{Desk, Direction};
use crate::grid::Grid;
use crate::message::Failure;
use crate::port::Port;
use crate::reservation::Class;
use crate::slots::{Slot, Stage};
use crate::telemetry::State;

use self::heal::{Examined, examine};

mod heal;
mod page;
mod trial;

/// The job of reading a set.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The root of each page.
    pub roots: Arc<[u64]>,
    /// The file that the data is written to; it is only compared otherwise.
    pub output: Option<u16>,
    /// What is written to the devices.
    pub mend: Mend,
}

impl Restore {
    pub(super) fn class(&self) -> Class {
        match self.mend {
            Mend::Nothing => Class::Restore,
            Mend::Damage => Class::Scrub,
            Mend::Members(_) => Class::Rebuild,
        }
    }
}

/// What a reader puts right on the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mend {
    /// Nothing: it reads what it needs, and heals in memory.
    #[default]
    Nothing,
    /// It reads everything, and writes back what is not what was written.
    Damage,
    /// The same, and it writes all that lies on these members where they do not count yet: they are being rebuilt.
    Members(Members),
}

/// A run begins with its leaves.
pub(super) fn open<P: Port>(desk: &mut Desk<P>, now: Nanos, run: u16) {
    let (pages, members) = (desk.runs.get(run).pages, desk.members() - desk.lost(run));
    desk.ask_leaves(now, run, 0..pages, members, Direction::FromDevices);
}

impl Restore {
    /// Some stripes begin: they are read from the members that count.
    pub(super) fn start<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) {
        let geometry = desk.array.geometry();
        // Slots take turns with the copies, so that all members are read from.
        let turn = desk.grid(index).row / u64::from(desk.array.slot_rows);
        let copy = u16::try_from(turn % u64::from(geometry.copies())).expect("fewer copies than members");
        let slot = desk.slots.get(index);
        (slot.stage, slot.copy, slot.whole) = (Stage::Devices, copy, self.mends());
        ask(desk, now, index);
    }

    /// The leaves came, or have been written.
    pub(super) fn leaves_answered<P: Port>(&self, desk: &mut Desk<P>, index: u16) -> Result<(), Failure> {
        let run = *desk.runs.get(index);
        if run.reading.writing {
            return self.next_page(desk, index);
        }
        if !run.reading.by_page {
            let whole = desk.lost(index).is_empty();
            if whole && (0..run.pages).all(|page| self.has_root(desk, &run, index, page)) {
                desk.runs.get(index).open = true;
                return Ok(());
            }
            desk.runs.get(index).reading.by_page = true;
        }
        self.begin_page(desk, index)
    }

    /// The data came, the devices have what was mended, or the output has the data.
    pub(super) fn slot_answered<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        match desk.slots.get(index).stage {
            Stage::Devices => self.read(desk, now, index),
            Stage::Mending => self.hand_on(desk, now, index),
            Stage::File => self.end_slot(desk, now, index),
        }
    }

    fn read<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        let slot = *desk.slots.get(index);
        let is_plain = slot.skipped.is_empty() && !slot.whole;
        let state = if is_plain { State::Checksum } else { State::Parity };
        desk.stopwatch.switch(now.max(desk.requests.now()), state);
        let examined = examine(desk, index);
        let now = desk.requests.now();
        desk.stopwatch.switch(now, State::Turn);
        match examined {
            Examined::Sound => self.mend(desk, now, index),
            Examined::Rest => {
                desk.slots.get(index).whole = true;
                ask(desk, now, index);
                Ok(())
            }
            Examined::Lost(failure) => {
                let run = desk.runs.get(slot.run);
                if !run.reading.by_page || run.reading.trusted {
                    return Err(failure);
                }
                // The guess who is leafless was wrong; what is under way of the page ends before the next one.
                run.reading.failed = run.reading.failed.or(Some(failure));
                run.open = false;
                self.end_slot(desk, now, index)
            }
        }
    }

    /// Writes what was wrong, as far as that is certain, and what is rebuilt. What is rebuilt counts for nobody before the
    /// page has ended, so it need not wait for the root.
    fn mend<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        let slot = *desk.slots.get(index);
        let absent = desk.health.lost;
        let reading = &mut desk.runs.get(slot.run).reading;
        let certain = !reading.by_page || reading.trusted;
        let mut members = Members::NONE;
        if self.mends() && certain {
            members = slot.wrong - absent;
        } else if self.mends() {
            reading.damaged = reading.damaged | slot.wrong;
            members = (self.rebuilds() & slot.skipped) - absent;
        }
        if !desk.runs.get(slot.run).reading.by_page {
            desk.healed.keep(slot.run);
        }
        if members.is_empty() {
            return self.hand_on(desk, now, index);
        }
        desk.slots.get(index).stage = Stage::Mending;
        members.iter().for_each(|member| desk.ask_member(now, index, member, Direction::ToDevices));
        Ok(())
    }

    /// Gives the data to the output, if there is one.
    fn hand_on<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        let Some(file) = self.output else { return self.end_slot(desk, now, index) };
        desk.slots.get(index).stage = Stage::File;
        desk.ask_file(now, index, file, Direction::FromDevices);
        Ok(())
    }

    fn end_slot<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        let run = desk.slots.get(index).run;
        if !desk.runs.get(run).reading.by_page {
            desk.end_slot(index);
            return Ok(());
        }
        // The page is counted when it has ended, once.
        desk.drop_slot(index);
        let state = desk.runs.get(run);
        if state.slots == 0 && !state.open { self.end_page(desk, now, run) } else { Ok(()) }
    }

    fn mends(&self) -> bool {
        self.mend != Mend::Nothing
    }

    fn rebuilds(&self) -> Members {
        if let Mend::Members(members) = self.mend { members } else { Members::NONE }
    }
}

/// Asks for what is wanted of a slot: of each member the longest runs of rows.
fn ask<P: Port>(desk: &mut Desk<P>, now: Nanos, index: u16) {
    let run = desk.slots.get(index).run;
    let leafless = desk.runs.get(run).reading.leafless;
    // Without leaves a block is worth something only where nothing else is left.
    let skipped = desk.lost(run) | if desk.slots.get(index).whole { Members::NONE } else { leafless };
    desk.slots.get(index).skipped = skipped;
    let (slot, grid) = (*desk.slots.get(index), desk.grid(index));
    for member in (desk.members() - skipped).iter() {
        let is_wanted = |&row: &u32| wanted(&grid, &slot, Place { member, row: grid.row + u64::from(row) });
        let mut row = 0;
        while let Some(start) = (row..slot.rows).find(is_wanted) {
            row = (start..slot.rows).find(|row| !is_wanted(row)).unwrap_or(slot.rows);
            desk.ask_rows(now, index, member, start..row, Direction::FromDevices);
        }
    }
}

/// Whether a slot asks for what lies at a place of a member that counts.
fn wanted(grid: &Grid, slot: &Slot, place: Place) -> bool {
    let geometry = grid.geometry;
    if slot.whole {
        return true;
    }
    match geometry.content(place) {
        Content::Chunk { .. } if geometry.copies() == 1 => true,
        Content::Chunk { chunk, copy } => {
            let copies = geometry.copies();
            let mut turns = (0..copies).map(|turn| (slot.copy + turn) % copies);
            turns.find(|&copy| !slot.skipped.contains(geometry.place(chunk, copy).member)) == Some(copy)
        }
        Content::P { unit } | Content::Q { unit } => {
            !slot.skipped.is_empty() && !(geometry.unit_members(unit) & slot.skipped).is_empty()
        }
    }
}
