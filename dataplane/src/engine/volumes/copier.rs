//! Copies between a file and a volume, for the command line.
//!
//! Each home's copier walks the whole list of runs and takes what lies at its home. Runs are taken in order, and a home
//! orders writes of the same blocks as they were asked, so a block ends up with what the last run says. The file is read
//! and written on the spot: nobody measures a copier.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;

use super::client::{ARRAY, Classes, Client, Piece, Run, Share, Step};
use crate::message::{Doing, Failure};
use crate::port::{Next, Port};
use crate::reservation::{Allowance, Class};
use crate::volume::home::{Ended, Home, Operation};

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the file into the volume, with a flush at the end.
    IntoVolume,
    /// From the volume into the file.
    OutOfVolume,
}

/// What copiers copy.
#[derive(Clone, Debug)]
pub struct Copy {
    /// From or to this file.
    pub file: Arc<File>,
    /// Which way.
    pub way: Way,
    /// What, in this order.
    pub runs: Arc<[Run]>,
    /// Bytes of one operation at most: those of the home's.
    pub operation_bytes: u32,
    /// The number of the file in messages: behind the members.
    pub file_number: u16,
}

/// Copies what lies at one home.
#[derive(Debug)]
pub struct Copier {
    copy: Copy,
    share: Share,
    /// What is left of the run that is being copied, and how many runs were begun.
    run: Run,
    begun: usize,
    /// Waits for the allowance of its class.
    next: Option<Piece>,
    allowance: Option<Allowance>,
    under_way: Vec<(Operation, Task)>,
    flushed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Copy(Piece),
    Flush,
}

impl Copier {
    /// A copier for one home's share.
    pub fn new(copy: Copy, share: Share, classes: &Classes) -> Copier {
        let flushed = copy.way == Way::OutOfVolume;
        let (run, allowance) = (Run { block: 0, blocks: 0, at: 0 }, classes.allowance(Class::Foreground));
        Copier { copy, share, run, begun: 0, next: None, allowance, under_way: Vec::new(), flushed }
    }

    fn next_piece(&mut self) -> Option<Piece> {
        let most = self.copy.operation_bytes / BLOCK;
        loop {
            if let Some((piece, behind)) = self.share.cut(self.run, most) {
                self.run = behind;
                return Some(piece);
            }
            self.run = *self.copy.runs.get(self.begun)?;
            self.begun += 1;
        }
    }

    /// Starts what it may; until when the next one must wait, if that is what holds it.
    fn start<P: Port>(&mut self, home: &mut Home<P>, now: Nanos) -> Result<Option<Nanos>, Failure> {
        while let Some(operation) = home.begin() {
            let Some(piece) = self.next.take().or_else(|| self.next_piece()) else {
                home.end(operation);
                return Ok(None);
            };
            let bytes = u64::from(piece.blocks * BLOCK);
            let allowed = self.allowance.as_mut().map(|all| all.take(now, std::iter::once(ARRAY), bytes));
            if let Some(Err(until)) = allowed {
                home.end(operation);
                self.next = Some(piece);
                return Ok(Some(until));
            }
            if self.copy.way == Way::IntoVolume {
                let data = home.data_mut(operation, piece.blocks * BLOCK);
                self.copy.file.read_exact_at(data, piece.at).map_err(|error| self.unreadable(piece, &error))?;
                home.write(operation, piece.block, piece.blocks, false);
            } else {
                home.read(operation, piece.block, piece.blocks);
            }
            self.under_way.push((operation, Task::Copy(piece)));
        }
        Ok(None)
    }

    fn take<P: Port>(&mut self, home: &mut Home<P>, ended: Ended) -> Result<(), Failure> {
        let place = self.under_way.iter().position(|(operation, _)| *operation == ended.operation);
        let (operation, task) = self.under_way.swap_remove(place.expect("homes end what was asked of them"));
        ended.result?;
        if let Task::Copy(piece) = task
            && self.copy.way == Way::OutOfVolume
        {
            let data = home.data(operation, piece.blocks * BLOCK);
            let written = self.copy.file.write_all_at(data, piece.at);
            let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
            let (doing, file, offset) = (Doing::Write, self.copy.file_number, piece.at);
            written.map_err(|error| Failure::Device { doing, file, offset, errno: errno(error) })?;
        }
        home.end(operation);
        Ok(())
    }

    fn unreadable(&self, piece: Piece, error: &io::Error) -> Failure {
        Failure::Input { offset: piece.at, errno: error.raw_os_error().unwrap_or(0) }
    }
}

impl<P: Port> Client<P> for Copier {
    fn turn(&mut self, home: &mut Home<P>, now: Nanos, stopping: bool) -> Result<Step, Failure> {
        while let Some(ended) = home.reap() {
            self.take(home, ended)?;
        }
        let held = if stopping { None } else { self.start(home, now)? };
        if let Some(until) = held {
            return Ok(Step::Held(until));
        }
        if !self.under_way.is_empty() {
            return Ok(Step::On(Next::Event));
        }
        if self.flushed || stopping {
            return Ok(Step::Done);
        }
        if let Some(operation) = home.begin() {
            home.flush(operation);
            self.under_way.push((operation, Task::Flush));
            self.flushed = true;
        }
        Ok(Step::On(Next::Event))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = BLOCK_BYTES as u32;
