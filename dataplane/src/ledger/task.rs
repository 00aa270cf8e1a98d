//! Replays the store's segments to every mirror: blocks, then a flush of all, then the next segment.
//!
//! ```text
//!   segment ── runs of blocks ──▶ scratch rows ──▶ every mirror ──▶ flush every mirror ──▶ next segment
//! ```
//!
//! A row is one piece of the port's region; all mirrors are written from it, so it is filled again only when the last
//! of them has answered. Rows bound what is in flight. Short answers are continued.

use std::collections::VecDeque;

use bireme_control::raid::geometry::BLOCK_BYTES;
use bireme_control::units::Nanos;

use super::image::Segment;
use crate::buffer::Span;
use crate::message::{Doing, Failure};
use crate::port::{Completion, Operation, Port, Request};

/// The segments that are not yet durable on all mirrors, and the requests for the first of them.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The port's file of each mirror.
    files: Vec<u16>,
    /// Where the metadata area starts on each.
    area: u64,
    row_bytes: u32,
    rows: Vec<Row>,
    /// One per row and mirror, then one flush per mirror. The index is the token.
    tasks: Vec<Task>,
    segments: VecDeque<Segment>,
    /// The next block of the first segment to write.
    cursor: u64,
    flushing: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    offset: u64,
    bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Idle,
    Waiting { done: u32 },
    UnderWay { done: u32, since: Nanos },
}

impl Replay {
    /// For mirrors at `area` of these files, with scratch memory in the port's region.
    pub(crate) fn new(files: Vec<u16>, area: u64, region_bytes: u32) -> Replay {
        let row_bytes = (region_bytes / ROWS / BLOCK * BLOCK).min(ROW_BYTES_MAX);
        assert!(row_bytes > 0, "a region of {region_bytes} bytes is too small for a ledger");
        let tasks = vec![Task::Idle; (ROWS as usize + 1) * files.len()];
        let rows = vec![Row::default(); ROWS as usize];
        Replay { files, area, row_bytes, rows, tasks, segments: VecDeque::new(), cursor: 0, flushing: false }
    }

    /// More to replay, after what there is.
    pub(crate) fn extend(&mut self, segments: VecDeque<Segment>) {
        self.segments.extend(segments);
    }

    /// Everything is durable on all mirrors.
    pub(crate) fn is_done(&self) -> bool {
        self.segments.is_empty()
    }

    /// Fills rows, starts flushes and pushes what the port takes.
    pub(crate) fn drive<P: Port>(&mut self, port: &mut P, now: Nanos) {
        if self.segments.is_empty() {
            return;
        }
        if !self.flushing {
            (0..self.rows.len()).for_each(|row| self.fill(row, port));
            if self.tasks.iter().all(|&task| task == Task::Idle) {
                self.flushing = true;
                let flushes = self.rows.len() * self.files.len();
                self.tasks[flushes..].fill(Task::Waiting { done: 0 });
            }
        }
        for token in 0..self.tasks.len() {
            let Task::Waiting { done } = self.tasks[token] else { continue };
            let (file, _, offset, operation) = self.request(token, done);
            if port.push(Request { token: token as u64, file, offset, operation }).is_err() {
                break;
            }
            self.tasks[token] = Task::UnderWay { done, since: now };
        }
    }

    /// Takes an answer.
    pub(crate) fn ended(&mut self, end: Completion) -> Result<(), Failure> {
        let token = usize::try_from(end.token).unwrap_or(usize::MAX);
        let Some(&Task::UnderWay { done, .. }) = self.tasks.get(token) else {
            return Err(Failure::Broken("the ledger's port answered a request that was not made"));
        };
        let (file, doing, offset, operation) = self.request(token, done);
        let moved = match end.result {
            // Nothing written where there was something to write: no progress is an error of the device.
            Ok(0) if doing == Doing::Write => Err(libc::EIO),
            result => result,
        };
        let moved = moved.map_err(|errno| Failure::Device { doing, file, offset, errno })?;
        self.tasks[token] = if moved < operation.bytes() { Task::Waiting { done: done + moved } } else { Task::Idle };
        if self.flushing && self.tasks.iter().all(|&task| task == Task::Idle) {
            self.segments.pop_front();
            (self.flushing, self.cursor) = (false, 0);
        }
        Ok(())
    }

    /// When the oldest request was handed over.
    pub(crate) fn oldest(&self) -> Option<Nanos> {
        let since = |task: &Task| if let Task::UnderWay { since, .. } = task { Some(*since) } else { None };
        self.tasks.iter().filter_map(since).min()
    }

    /// The oldest request, if it has waited for longer than `patience`.
    pub(crate) fn hung(&self, now: Nanos, patience: Nanos) -> Option<Failure> {
        self.tasks.iter().enumerate().find_map(|(token, task)| {
            let Task::UnderWay { done, since } = *task else { return None };
            let (file, doing, offset, _) = self.request(token, done);
            (now.since(since) > patience).then_some(Failure::Hung { file, doing, offset, waited: now.since(since) })
        })
    }

    /// The next run of blocks into a row that nobody uses.
    fn fill<P: Port>(&mut self, row: usize, port: &mut P) {
        let mirrors = self.files.len();
        let tasks = &mut self.tasks[row * mirrors..(row + 1) * mirrors];
        if tasks.iter().any(|&task| task != Task::Idle) {
            return;
        }
        let Some(segment) = self.segments.front() else { return };
        let mut blocks = segment.range(self.cursor..).peekable();
        let Some(&(&first, _)) = blocks.peek() else { return };
        let mut bytes = 0;
        let start = u32::try_from(row).expect("a few rows") * self.row_bytes;
        while bytes < self.row_bytes
            && let Some((_, block)) = blocks.next_if(|(index, _)| **index == first + u64::from(bytes / BLOCK))
        {
            port.region_mut().bytes_mut(Span::new(start + bytes, BLOCK)).copy_from_slice(block);
            bytes += BLOCK;
        }
        self.cursor = first + u64::from(bytes / BLOCK);
        self.rows[row] = Row { offset: self.area + first * BLOCK_BYTES, bytes };
        tasks.fill(Task::Waiting { done: 0 });
    }

    fn request(&self, token: usize, done: u32) -> (u16, Doing, u64, Operation) {
        let (row, mirror) = (token / self.files.len(), token % self.files.len());
        let file = self.files[mirror];
        match self.rows.get(row) {
            None => (file, Doing::Flush, 0, Operation::Flush),
            Some(place) => {
                let start = u32::try_from(row).expect("a few rows") * self.row_bytes;
                let span = Span::new(start + done, place.bytes - done);
                (file, Doing::Write, place.offset + u64::from(done), Operation::Write(span))
            }
        }
    }
}

const ROWS: u32 = 4;
/// Requests of an everyday size.
const ROW_BYTES_MAX: u32 = 256 << 10;
const BLOCK: u32 = 4096;
/// What the ledger's port should have for a region: room for all rows at their largest.
pub const REGION_BYTES: usize = (ROWS * ROW_BYTES_MAX) as usize;
