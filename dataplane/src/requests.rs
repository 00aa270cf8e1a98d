//! The requests of one peer that are under way: who waits for each, and since when.
//!
//! ```text
//!   start(owner, ..) -> row -> Port -> devices
//!   finish() <- whole answer <- row <-- short answer: the rest is asked for again
//! ```
//!
//! A short answer is no error and never seen by the owner. A latency runs from the first submission to the last answer.

use std::sync::Arc;

use bireme_control::units::Nanos;

use crate::buffer::{Region, Span};
use crate::message::{Doing, Failure};
use crate::port::{Completion, Operation, Port, Request};
use crate::telemetry::recorder::{Direction, Recorder};
use crate::telemetry::{Depth, Gauges, Latencies};

/// Who waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The data of a slot.
    Slot(u16),
    /// The leaf blocks of a run of pages.
    Leaves(u16),
    /// The flush of the devices that this peer is home to.
    Flush,
}

/// What is asked: a request without its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which file: a member of the array, or the data file after them.
    pub file: u16,
    /// Where.
    pub offset: u64,
    /// What.
    pub operation: Operation,
    /// With fewer bytes the answer is not whole; an input may end before the block that was asked for does.
    pub needed: u32,
    /// A read that is refused goes on block by block, and what is refused then is filled with ones: no leaf is like that.
    /// The answer is still that it was refused.
    pub by_block: bool,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done<W = Owner> {
    /// Who waits.
    pub owner: W,
    /// Which file was asked.
    pub file: u16,
    /// What was asked.
    pub doing: Doing,
    /// What became of it.
    pub result: Result<(), Failure>,
}

/// Counts of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes moved.
    pub bytes: u64,
    /// Writes answered.
    pub writes: u64,
    /// Reads answered.
    pub reads: u64,
}

/// A port with a table of who waits for what.
#[derive(Debug)]
pub struct Requests<P, W = Owner> {
    port: P,
    rows: Box<[Option<Row<W>>]>,
    free: Vec<u16>,
    /// Files below this are members; the one after them is the input or the output.
    members: u16,
    traffic: Box<[Traffic]>,
    latency: Latencies,
    depth: Depth,
    gauges: Arc<Gauges>,
    /// The same figures by interval, where somebody collects them.
    recorder: Option<Recorder>,
}

#[derive(Clone, Copy, Debug)]
struct Row<W> {
    owner: W,
    ask: Ask,
    /// Bytes of the whole request; `ask` shrinks to what is left of it.
    bytes: u32,
    started: Nanos,
    /// The first refusal of a read that goes on block by block, and what follows the block that is asked for.
    refused: Option<(Failure, Ask)>,
}

impl<P: Port, W: Copy> Requests<P, W> {
    /// A table for at most `limit` requests.
    pub fn new(port: P, members: u16, limit: u16, gauges: Arc<Gauges>) -> Requests<P, W> {
        Requests {
            depth: Depth::new(port.now()),
            port,
            rows: vec![None; usize::from(limit)].into_boxed_slice(),
            free: (0..limit).rev().collect(),
            members,
            traffic: vec![Traffic::default(); usize::from(members)].into_boxed_slice(),
            latency: Latencies::new(),
            gauges,
            recorder: None,
        }
    }

    /// The same, counted by interval too.
    pub fn recorded(self, recorder: Option<Recorder>) -> Requests<P, W> {
        Requests { recorder, ..self }
    }

    /// A turn begins: an interval whose time is up is handed over.
    pub fn tick(&mut self, now: Nanos) {
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_once(now);
            recorder.tick(now);
        }
    }

    /// The memory of its port.
    pub fn region(&self) -> &Region {
        self.port.region()
    }

    /// The port.
    pub fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.port.now()
    }

    /// Starts a request.
    ///
    /// # Panics
    /// When the table is full: peers size it for everything that they can have under way.
    pub fn start(&mut self, now: Nanos, owner: W, ask: Ask) {
        let row = self.free.pop().expect("the table holds all requests of all slots, runs and flushes");
        self.rows[usize::from(row)] =
            Some(Row { owner, ask, bytes: ask.operation.bytes(), started: now, refused: None });
        self.push(row, ask);
        self.depth.change(now, self.in_flight());
    }

    /// The next request that was answered as a whole.
    pub fn finish(&mut self, now: Nanos) -> Option<Done<W>> {
        loop {
            let Completion { token, result } = self.port.reap()?;
            let index = u16::try_from(token).expect("tokens are rows");
            let row = self.rows[usize::from(index)].expect("an answered request has its row");
            let result = match result {
                Ok(bytes) if bytes >= row.ask.needed => Ok(()),
                Ok(bytes) => match rest(row.ask, bytes) {
                    Some(ask) => {
                        self.rows[usize::from(index)] = Some(Row { ask, ..row });
                        self.push(index, ask);
                        continue;
                    }
                    None => Err(self.failure(row.ask, 0)),
                },
                Err(libc::EINTR | libc::EAGAIN) => {
                    self.push(index, row.ask);
                    continue;
                }
                Err(errno) => Err(self.failure(row.ask, errno)),
            };
            let Some(result) = self.by_block(index, row, result) else { continue };
            self.rows[usize::from(index)] = None;
            self.free.push(index);
            self.depth.change(now, self.in_flight());
            if result.is_ok() {
                self.count(now, &row);
            }
            return Some(Done { owner: row.owner, file: row.ask.file, doing: doing(row.ask.operation), result });
        }
    }

    /// Goes on with a read that was refused, a block at a time; otherwise this is the end of the request.
    fn by_block(&mut self, index: u16, row: Row<W>, result: Result<(), Failure>) -> Option<Result<(), Failure>> {
        let (failure, todo) = match (row.refused, result, row.ask.operation) {
            (None, Err(failure), Operation::Read(_)) if row.ask.by_block => (failure, row.ask),
            (None, result, _) => return Some(result),
            (Some((failure, todo)), result, operation) => {
                if let (Err(_), Operation::Read(span)) = (result, operation) {
                    self.port.region_mut().bytes_mut(span).fill(0xFF);
                }
                (failure, todo)
            }
        };
        let Operation::Read(span) = todo.operation else { return Some(Err(failure)) };
        if span.bytes == 0 {
            return Some(Err(failure));
        }
        let bytes = span.bytes.min(BLOCK);
        let piece = |offset, bytes| {
            let operation = Operation::Read(span.part(offset, bytes));
            Ask { offset: todo.offset + u64::from(offset), operation, needed: bytes, ..todo }
        };
        let (ask, todo) = (piece(0, bytes), piece(bytes, span.bytes - bytes));
        self.rows[usize::from(index)] = Some(Row { ask, refused: Some((failure, todo)), ..row });
        self.push(index, ask);
        None
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Requests under way to the data file, not to a member.
    pub fn in_flight_to_file(&self) -> usize {
        self.rows.iter().flatten().filter(|row| row.ask.file >= self.members).count()
    }

    /// The request that has waited longest, if that is as long as `limit`, as the failure that it is.
    pub fn stuck(&self, now: Nanos, limit: Nanos) -> Option<Failure> {
        let row = self.rows.iter().flatten().min_by_key(|row| row.started)?;
        (now.since(row.started) >= limit).then(|| Failure::Hung {
            file: row.ask.file,
            doing: doing(row.ask.operation),
            offset: row.ask.offset,
            waited: now.since(row.started),
        })
    }

    /// What was measured, at the end of the run.
    pub fn into_figures(self) -> (P, Box<[Traffic]>, Latencies, Depth) {
        if let Some(mut recorder) = self.recorder {
            recorder.finish(self.port.now());
        }
        (self.port, self.traffic, self.latency, self.depth)
    }

    fn push(&mut self, row: u16, ask: Ask) {
        let Ask { file, offset, operation, .. } = ask;
        let request = Request { token: u64::from(row), file, offset, operation };
        self.port.push(request).expect("the port holds as many requests as the table");
    }

    fn count(&mut self, now: Nanos, row: &Row<W>) {
        let Some(traffic) = self.traffic.get_mut(usize::from(row.ask.file)) else { return };
        let direction = match row.ask.operation {
            Operation::Read(_) | Operation::ReadWoven(_) => Direction::Read,
            Operation::Write(_) | Operation::WriteWoven(_) | Operation::WriteThrough(_) => Direction::Write,
            Operation::Trim { .. } | Operation::Flush => return,
        };
        let took = now.since(row.started);
        match direction {
            Direction::Read => traffic.reads += 1,
            _ => traffic.writes += 1,
        }
        self.latency.record(took);
        if let Some(recorder) = &mut self.recorder {
            let figures = &mut recorder.current().directions[direction as usize];
            figures.service.record(took);
            figures.bytes += u64::from(row.bytes);
        }
        traffic.bytes += u64::from(row.bytes);
        self.gauges.add(usize::from(row.ask.file), u64::from(row.bytes));
    }

    fn failure(&self, ask: Ask, errno: i32) -> Failure {
        match doing(ask.operation) {
            Doing::Read if ask.file >= self.members => Failure::Input { offset: ask.offset, errno },
            // A device that moves nothing and says nothing has ended: an error of its own making.
            doing => {
                let errno = if errno == 0 { libc::EIO } else { errno };
                Failure::Device { doing, file: ask.file, offset: ask.offset, errno }
            }
        }
    }
}

/// What is left of a request after `bytes` of it, in whole sectors; `None` when nothing was moved.
fn rest(ask: Ask, bytes: u32) -> Option<Ask> {
    let moved = bytes - bytes % SECTOR;
    if moved == 0 {
        return None;
    }
    let part = |span: Span| span.part(moved, span.bytes - moved);
    let operation = match ask.operation {
        Operation::Read(span) => Operation::Read(part(span)),
        Operation::Write(span) => Operation::Write(part(span)),
        Operation::WriteThrough(span) => Operation::WriteThrough(part(span)),
        Operation::ReadWoven(mut weave) => {
            (weave.skip, weave.bytes) = (weave.skip + moved, weave.bytes - moved);
            Operation::ReadWoven(weave)
        }
        Operation::WriteWoven(mut weave) => {
            (weave.skip, weave.bytes) = (weave.skip + moved, weave.bytes - moved);
            Operation::WriteWoven(weave)
        }
        Operation::Trim { .. } | Operation::Flush => return None,
    };
    Some(Ask { offset: ask.offset + u64::from(moved), operation, needed: ask.needed - moved, ..ask })
}

fn doing(operation: Operation) -> Doing {
    match operation {
        Operation::Read(_) | Operation::ReadWoven(_) => Doing::Read,
        Operation::Write(_) | Operation::WriteWoven(_) | Operation::WriteThrough(_) => Doing::Write,
        Operation::Trim { .. } => Doing::Trim,
        Operation::Flush => Doing::Flush,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK: u32 = bireme_control::raid::geometry::BLOCK_BYTES as u32;
/// No device moves less than this.
const SECTOR: u32 = 512;

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::{Geometry, Level};

    use super::*;
    use crate::buffer::Weave;

    #[test]
    fn the_rest_of_a_short_answer_starts_at_a_sector() {
        let ask = |operation| Ask { file: 0, offset: 8192, operation, needed: 4096, by_block: false };
        let write = ask(Operation::Write(Span::new(0, 4096)));
        let want = Ask {
            file: 0,
            offset: 9216,
            operation: Operation::Write(Span::new(1024, 3072)),
            needed: 3072,
            by_block: false,
        };
        assert_eq!(rest(write, 1300), Some(want));
        assert_eq!(rest(write, 300), None, "less than a sector is no progress");
        let geometry = Geometry::new(Level::Raid0, 2, 4096, 16384).expect("a usable shape");
        let weave = Weave { offset: 0, geometry, row: 0, copy: 0, column_bytes: 8192, bytes: 4096, skip: 512 };
        let woven = rest(ask(Operation::ReadWoven(weave)), 512).expect("a rest");
        assert_eq!(woven.operation, Operation::ReadWoven(Weave { bytes: 3584, skip: 1024, ..weave }));
    }
}
