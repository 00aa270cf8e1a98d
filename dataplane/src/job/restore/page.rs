//! Reading page by page, where leaves are missing or wrong.
//!
//! ```text
//!   leaves there ─▶ begin: who is leafless? ─▶ stripes: what is missing is brought back, its leaves are computed
//!        ▲                                        │ all of the page
//!        │            no: try another set         ▼
//!        '──────────────────────────────── is the root right? ── yes ─▶ mended, if that is the job ─▶ next page
//! ```
//!
//! The root of a page covers the leaves of all members, so it tells whether all of them are right, and not whose are
//! wrong. Members that are lost have no leaves, and those whose leaves do not carry the tags of their places have wrong
//! ones. Where that is not all, each of the others is suspected in turn. A wrong guess ends with blocks that cannot be
//! brought back or with a wrong root, never with a page.

use bireme_control::raid::members::Members;
use bireme_control::units::Nanos;

use super::{Restore, trial};
use crate::checksum::{Root, tag};
use crate::desk::{Desk, Direction};
use crate::grid::{BLOCK, LEAF};
use crate::message::Failure;
use crate::port::Port;
use crate::runs::Run;
use crate::telemetry::Healed;

impl Restore {
    /// The leaves of the next page are in memory: who is leafless is decided, and its stripes can start.
    pub(super) fn begin_page<P: Port>(&self, desk: &mut Desk<P>, index: u16) -> Result<(), Failure> {
        let run = *desk.runs.get(index);
        let (page, lost) = (run.next_page, desk.lost(index));
        let liars = liars(desk, index, page) - lost;
        let mut reading = run.reading;
        let known = lost | liars;
        let offset = desk.array.layout.leaf_offset(run.frame + u64::from(page));
        let number = run.page + u64::from(page);
        reading.trusted = reading.trial == 0 && known.is_empty() && self.has_root(desk, &run, index, page);
        if !reading.trusted {
            if let Some(file) = liars.iter().next() {
                reading.first =
                    reading.first.or(reading.refused).or(Some(Failure::Damaged { file, offset, page: number }));
            } else if known.is_empty() {
                reading.first = reading.first.or(Some(Failure::Checksums { offset, page: number }));
                // Nobody is leafless, and the root is wrong.
                reading.trial = reading.trial.max(1);
            }
            let next = trial::next(&desk.array.geometry(), known, reading.trial);
            let unknown = Failure::Checksums { offset, page: number };
            (reading.trial, reading.leafless) = next.ok_or(reading.first.unwrap_or(unknown))?;
        } else {
            reading.leafless = Members::NONE;
        }
        for member in reading.leafless.iter() {
            let leaves = desk.array.page_leaves(index, member, page);
            desk.requests.port().region_mut().bytes_mut(leaves).fill(0);
        }
        let run = desk.runs.get(index);
        (run.reading, run.next_row, run.open) = (reading, 0, true);
        Ok(())
    }

    /// Nothing of the page is under way: it is read, or has failed.
    pub(super) fn end_page<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        let run = *desk.runs.get(index);
        let page = run.next_page;
        if run.reading.failed.is_some() || !self.has_root(desk, &run, index, page) {
            return self.try_another(desk, now, index);
        }
        let (lost, reading) = (desk.lost(index), run.reading);
        // Nothing damaged was written over on the word of leaves that might have been the wrong ones, and what those
        // vouch for whose leaves were wrong was not looked at.
        let again = self.mends() && !(reading.damaged | (reading.leafless - lost)).is_empty();
        if again && !reading.trusted {
            // It is counted when it is mended.
            desk.healed.forget(index);
        }
        desk.healed.keep(index);
        if !reading.trusted {
            self.believe(desk, index, lost);
            if again {
                let run = desk.runs.get(index);
                (run.next_row, run.open) = (0, true);
                return Ok(());
            }
        }
        let members = desk.runs.get(index).reading.leaves_to_write;
        if !members.is_empty() {
            desk.runs.get(index).reading.writing = true;
            desk.ask_leaves(now, index, page..page + 1, members, Direction::ToDevices);
            return Ok(());
        }
        self.next_page(desk, index)
    }

    /// The page has ended, mended if that is the job: the next one begins, if there is one.
    pub(super) fn next_page<P: Port>(&self, desk: &mut Desk<P>, index: u16) -> Result<(), Failure> {
        let page = desk.runs.get(index).next_page;
        let number = desk.runs.get(index).page + u64::from(page);
        let plan = *desk.runs.get(index);
        desk.bytes += u64::from(desk.page_bytes(desk.plan(&plan), number));
        let run = desk.runs.get(index);
        (run.next_page, run.next_row) = (page + 1, 0);
        run.reading.start_over();
        if run.all_started() { Ok(()) } else { self.begin_page(desk, index) }
    }

    /// The root is right: so are all leaves in memory.
    fn believe<P: Port>(&self, desk: &mut Desk<P>, index: u16, lost: Members) {
        let leafless = desk.runs.get(index).reading.leafless;
        let blocks = u64::from(desk.array.leaf_bytes()) / BLOCK as u64;
        for member in (leafless - lost).iter() {
            desk.healed.count(index, member, Healed { damaged: blocks, reconstructed: 0 });
        }
        desk.healed.keep(index);
        let rebuilt = (self.rebuilds() & lost) - desk.health.lost;
        let reading = &mut desk.runs.get(index).reading;
        (reading.trusted, reading.leafless) = (true, Members::NONE);
        reading.leaves_to_write = if self.mends() { (leafless - lost) | rebuilt } else { Members::NONE };
    }

    /// The next guess needs the leaves as they are on the devices.
    fn try_another<P: Port>(&self, desk: &mut Desk<P>, now: Nanos, index: u16) -> Result<(), Failure> {
        desk.healed.forget(index);
        let run = *desk.runs.get(index);
        let (page, number) = (run.next_page, run.page + u64::from(run.next_page));
        let offset = desk.array.layout.leaf_offset(run.frame + u64::from(page));
        let failure = run.reading.failed.unwrap_or(Failure::Checksums { offset, page: number });
        let reading = &mut desk.runs.get(index).reading;
        reading.first = reading.first.or(Some(failure));
        (reading.failed, reading.damaged, reading.trial) = (None, Members::NONE, reading.trial + 1);
        let members = desk.members() - desk.lost(index);
        desk.ask_leaves(now, index, page..page + 1, members, Direction::FromDevices);
        Ok(())
    }

    /// Whether the leaves of a page are those that the metadata vouch for.
    pub(super) fn has_root<P: Port>(&self, desk: &mut Desk<P>, run: &Run, index: u16, page: u16) -> bool {
        let mut root = Root::new();
        for member in 0..desk.array.members() {
            let leaves = desk.array.page_leaves(index, member, page);
            root.feed(desk.requests.port().region().bytes(leaves));
        }
        let place = usize::try_from(run.page + u64::from(page)).expect("the roots are in memory");
        root.finish() == self.roots[place]
    }
}

/// Members whose leaf blocks are certainly wrong: a leaf does not carry the tag of its place, or is where none should be.
/// When all tags are right, the sums beside them cannot be told from right ones.
fn liars<P: Port>(desk: &mut Desk<P>, index: u16, page: u16) -> Members {
    let run = *desk.runs.get(index);
    let (generation, bytes) = {
        let plan = desk.plan(&run);
        (plan.generation, desk.page_bytes(plan, run.page + u64::from(page)))
    };
    let first = desk.array.layout.data_offset(run.frame + u64::from(page)) / BLOCK as u64;
    let written = u64::from(desk.array.rows_of(bytes)) * u64::from(desk.array.geometry().chunk_bytes()) / BLOCK as u64;
    let lies = |&member: &u16| {
        let leaves = desk.array.page_leaves(index, member, page);
        let leaves = desk.requests.port().region().bytes(leaves).as_chunks::<LEAF>().0;
        let mut numbered = leaves.iter().map(|leaf| u64::from_le_bytes(*leaf)).zip(0..);
        numbered.any(|(leaf, number)| match number < written {
            true => leaf >> 32 != u64::from(tag(first + number, generation)),
            false => leaf != 0,
        })
    };
    (0..desk.array.members()).filter(lies).collect()
}
